"""What deploy/ names exists in the code: commands, flags, settings, images, ports, probes, paths, models.

Parsers and settings are the programs' own. `NOT_YET` lists what manifests name ahead of the code: an entry that the
code has by now fails as well, so the list only ever shrinks.
"""

import itertools
import re
import shlex
import tomllib

import pytest
import yaml
from tests.deploy.command_lines import PROGRAMS, problem
from tests.deploy.manifests import (
    DEPLOY,
    IMAGES,
    K8S,
    OVERLAYS,
    ROOT,
    compose,
    containers,
    dockerfile,
    found,
    pod_templates,
    rendered,
    title,
)

from tastemaker.v1 import feedback_service_pb2, recommendation_service_pb2
from tastemaker_client.readiness import COMPONENTS
from tastemaker_jobs.models import RECOMMENDERS
from tastemaker_jobs.registry.serving_config import ServingConfig
from tastemaker_modelserver.flags import parse_flags
from tastemaker_modelserver.model_config import read_config
from tastemaker_modelserver.process_log import read_log_settings
from tastemaker_modelserver.server import _METRICS_PATH
from tastemaker_modelserver.text_config import monitoring_config
from tastemaker_server.errors import SettingsError
from tastemaker_server.settings_loader import ENVIRONMENT_PREFIX, load_settings

NOT_YET: set[str] = set()
"""Named in deploy/ or needed by its images, and not in the code yet. Empty it as the code comes."""

EXTRAS = {
    "front": {"postgres", "redis", "server"},
    "jobs": {"jobs", "mlflow", "parquet", "postgres", "redis", "server"},
    "jobs-gpu": {"gpu", "jobs", "mlflow", "parquet", "postgres", "redis", "server"},
    "modelserver": {"modelserver"},
    "modelserver-gpu": {"gpu", "modelserver"},
}
"""Lock → what of the distribution its image needs."""

FOREIGN = {
    "postgres",
    "prom/prometheus",
    "rclone/rclone",
    "redis",
    "tensorflow/serving",
}
"""Images that others build."""

LOG_VARIABLES = {"TASTEMAKER_LOG_FORMAT", "TASTEMAKER_LOG_LEVEL"}
"""What the model server and the jobs read; the front has settings for it."""

_GUIDE = ROOT / "docs" / "deploy.md"
_VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def _containers():
    """Every container of every manifest and of the compose file: where, image, words of its command, variables."""
    for overlay in (*OVERLAYS, "jobs"):
        for manifest in rendered(overlay):
            for template in pod_templates(manifest.get("spec")):
                for container in containers(template):
                    command = container.get("command") or _entrypoint(container["image"])
                    if manifest["kind"] in ("RayCluster", "RayJob"):
                        command = []  # the operator's
                    names = [variable["name"] for variable in container.get("env", [])]
                    where = f"{overlay}: {title(manifest)}: {container['name']}"
                    yield where, container["image"], [*command, *container.get("args", [])], names
    for name, service in compose()["services"].items():
        words = service.get("entrypoint") or _entrypoint(service["image"])
        words = [*words, *(service.get("command") or _default_arguments(service["image"]))]
        yield f"compose: {name}", service["image"], words, [*service.get("environment", {})]


def _ours(image):
    name = image.partition(":")[0].removeprefix("tastemaker/")
    return dockerfile(name) if name in IMAGES else None


def _entrypoint(image):
    file = _ours(image)
    return file.words("ENTRYPOINT") if file else []


def _default_arguments(image):
    file = _ours(image)
    return file.words("CMD") if file else []


def _command_lines():
    """Every command line of ours or of TensorFlow Serving's: where, program, arguments."""
    for where, _, words, _ in _containers():
        if words and words[0] in PROGRAMS:
            yield where, words[0], words[1:]
    for manifest in rendered("jobs"):
        program, *arguments = shlex.split(manifest["spec"]["entrypoint"])
        yield title(manifest), program, arguments
    for image in IMAGES:
        file = dockerfile(image)
        yield f"{image}.Dockerfile: CMD", file.words("ENTRYPOINT")[0], file.words("ENTRYPOINT")[1:] + file.words("CMD")
        if "CMD" in file.last("HEALTHCHECK"):
            program, *arguments = file.words("HEALTHCHECK")
            yield f"{image}.Dockerfile: HEALTHCHECK", program, arguments
    for name, service in compose()["services"].items():
        kind, *words = service.get("healthcheck", {}).get("test", ["NONE"])
        if kind == "CMD" and words[0] in PROGRAMS:
            yield f"compose: {name}: healthcheck", words[0], words[1:]


@pytest.mark.slow
def test_commands_and_their_flags_exist():
    unknown, seen = {}, set()
    for where, program, arguments in _command_lines():
        seen.add(program)
        said = problem(program, arguments)
        if said is not None:
            unknown.setdefault(
                " ".join([program, *arguments[:1]]), f"{where}: {program} {shlex.join(arguments)}: {said}"
            )
    assert unknown.keys() == {entry for entry in NOT_YET if " " in entry and not entry.startswith("extra ")}, unknown
    assert seen == {
        "tastemaker",
        "tastemaker-jobs",
        "tastemaker-modelserver",
        "tastemaker-server",
        "tensorflow_model_server",
    }


def test_a_flag_that_does_not_exist_is_found():
    assert "rating" in problem("tastemaker-jobs", ["train", "rnn", "--ratingz", "x"])
    assert "--prt" in problem("tensorflow_model_server", ["--prt=8500", "--model_base_path=/x"])
    assert problem("tastemaker-server", ["--confg", "x"])
    assert problem("tastemaker", ["healt"])


def test_variables_are_settings():
    unknown, seen = set(), 0
    for where, _, _, names in _containers():
        for name in names:
            if not name.startswith(ENVIRONMENT_PREFIX) and name not in LOG_VARIABLES:
                assert not name.startswith("TASTEMAKER_"), f"{where}: {name}: nothing of ours reads it"
                continue
            seen += 1
            if name in LOG_VARIABLES:
                continue
            value = (
                "postgresql://x:y@z/d" if name.endswith("EVENT_LOG") else "redis://x:1/0" if "STORES" in name else "a:1"
            )
            try:
                load_settings(None, {name: value})
            except SettingsError:
                unknown.add(name)
    assert seen
    assert unknown == {entry for entry in NOT_YET if entry.startswith(ENVIRONMENT_PREFIX)}


def test_every_image_writes_json_in_a_form_that_its_program_reads():
    for name in ("jobs", "modelserver"):
        log = read_log_settings(dockerfile(name).environment())
        assert log.format == "json"
    in_image = load_settings(DEPLOY / "docker" / "front.toml", {})
    assert in_image.logging.format == "json"
    for overlay in OVERLAYS:
        assert tomllib.loads(_front_toml(overlay))["logging"]["format"] == "json"


def _front_toml(overlay):
    return next(
        m["data"]["front.toml"]
        for m in rendered(overlay)
        if m["kind"] == "ConfigMap" and m["metadata"]["name"].startswith("tastemaker-front")
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_front_listens_drains_and_asks_where_the_manifests_say(overlay, tmp_path):
    (config := tmp_path / "front.toml").write_text(_front_toml(overlay))
    settings = load_settings(config, {})
    pod = found(overlay, "Deployment", "tastemaker-front")["spec"]["template"]["spec"]
    (front,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in front["ports"]}
    assert settings.server.address == f"0.0.0.0:{ports['grpc']}"
    assert settings.metrics.address == f"0.0.0.0:{ports['metrics']}"
    assert front["readinessProbe"]["grpc"]["port"] == ports["grpc"]
    assert front["readinessProbe"]["grpc"]["service"] in COMPONENTS
    services = (*recommendation_service_pb2.DESCRIPTOR.services_by_name.values(),)
    services += (*feedback_service_pb2.DESCRIPTOR.services_by_name.values(),)
    assert front["readinessProbe"]["grpc"]["service"] in {service.full_name for service in services}
    drain = settings.server.drain_delay_seconds + settings.server.drain_grace_seconds
    assert drain + 5 <= pod["terminationGracePeriodSeconds"], "it would be killed while it drains"
    assert settings.server.drain_delay_seconds >= 2 * front["readinessProbe"]["periodSeconds"]
    mounts = {mount["mountPath"] for mount in front["volumeMounts"]}
    assert {str(settings.server.data_dir), f"{settings.server.data_dir}/attribution.key", "/etc/tastemaker"} <= mounts
    host, _, asked = settings.model_server.address.partition(":")
    service = found(overlay, "Service", host)
    assert service["spec"]["clusterIP"] == "None", "one address would pin each front to one model server"
    assert int(asked) in [p["port"] for p in service["spec"]["ports"]]
    config_map = found(overlay, "Deployment", host)["spec"]["template"]["spec"]["volumes"]
    assert config_map
    models = {model.name for model in read_config(K8S / "base/model-server/models.config")}
    assert {surface.model for surface in settings.surfaces.values()} <= models <= set(RECOMMENDERS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_model_server_listens_and_answers_where_the_manifests_say(overlay):
    pod = found(overlay, "Deployment", "tastemaker-model-server")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    flags = parse_flags(server["args"])
    assert {port["name"]: port["containerPort"] for port in server["ports"]} == {
        "grpc": flags.port,
        "http": flags.rest_api_port,
    }
    assert flags.enable_grpc_healthcheck_service
    assert server["readinessProbe"]["grpc"] == {"port": flags.port, "service": "PredictionService"}
    assert pod["terminationGracePeriodSeconds"] > server["lifecycle"]["preStop"]["sleep"]["seconds"]
    mounts = {mount["mountPath"] for mount in server["volumeMounts"]}
    assert {flags.model_config_file.rpartition("/")[0], "/models"} <= mounts


def test_models_config_is_read_by_the_model_server_and_by_the_jobs(tmp_path):
    path = K8S / "base" / "model-server" / "models.config"
    (model,) = read_config(path)
    assert (model.name, str(model.base_path)) == ("rnn", "/models/rnn")
    config = ServingConfig.read(path)
    assert config.names() == ["rnn"]
    copy = config.copy()
    copy.path = tmp_path / "models.config"
    copy.write()
    assert read_config(copy.path) == read_config(path)
    assert "/models" in {mount["mountPath"] for mount in _nightly_steps()["publish"]["volumeMounts"]}


def _scraped_by_compose(service):
    """Path, host and port of a job of deploy/prometheus, which is called as the cluster's Service is."""
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert [job["job_name"] for job in scrape] == ["tastemaker-front", "tastemaker-model-server"]
    (job,) = [job for job in scrape if job["job_name"] == service]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    return job.get("metrics_path", "/metrics"), host, int(port)


def _scraped_in_the_cluster(service):
    """Path of an endpoint, and the port of the pods that it means."""
    (endpoint,) = found("prod", "ServiceMonitor", service)["spec"]["endpoints"]
    (target,) = [
        p["targetPort"] for p in found("prod", "Service", service)["spec"]["ports"] if p["name"] == endpoint["port"]
    ]
    (container,) = found("prod", "Deployment", service)["spec"]["template"]["spec"]["containers"]
    (port,) = [p["containerPort"] for p in container["ports"] if target in (p["name"], p["containerPort"])]
    (rule,) = found("prod", "NetworkPolicy", f"{service}-from-monitoring")["spec"]["ingress"]
    assert [opened["port"] for opened in rule["ports"]] == [port], "Prometheus is not let in"
    return endpoint["path"], port


def test_metrics_are_scraped_where_the_model_server_has_them():
    config = monitoring_config(K8S / "base" / "model-server" / "monitoring.config")
    path = config.prometheus_config.path or _METRICS_PATH
    assert _scraped_in_the_cluster("tastemaker-model-server") == (path, 8501)
    scraped, host, port = _scraped_by_compose("tastemaker-model-server")
    assert scraped == path
    assert parse_flags(compose()["services"][host]["command"]).rest_api_port == port


def test_metrics_are_scraped_where_the_front_has_them(tmp_path):
    (config := tmp_path / "front.toml").write_text(_front_toml("prod"))
    port = int(load_settings(config, {}).metrics.address.rpartition(":")[2])
    assert _scraped_in_the_cluster("tastemaker-front") == ("/metrics", port)
    in_image = int(load_settings(DEPLOY / "docker" / "front.toml", {}).metrics.address.rpartition(":")[2])
    assert _scraped_by_compose("tastemaker-front") == ("/metrics", "front", in_image)


def _nightly_steps():
    template = found("prod", "CronJob", "tastemaker-nightly")["spec"]["jobTemplate"]["spec"]["template"]
    return {container["name"]: container for container in containers(template)}


def test_nightly_steps_run_one_after_another_and_hand_on_files():
    job = found("prod", "CronJob", "tastemaker-nightly")["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    steps = [container["name"] for container in pod["initContainers"]]
    assert steps == ["export", "train", "evaluate", "publish", "precompute"]
    assert [container["name"] for container in pod["containers"]] == ["publish-lists"]
    assert pod["restartPolicy"] == "Never"
    assert not any(container.get("restartPolicy") for container in pod["initContainers"]), "a sidecar gates nothing"
    flags = {
        name: dict(word.partition("=")[::2] for word in step["args"] if word.startswith("--"))
        for name, step in _nightly_steps().items()
    }
    events = flags["export"]["--out"]
    assert flags["train"]["--ratings"] == flags["evaluate"]["--ratings"] == flags["precompute"]["--events"] == events
    trained = f"{flags['train']['--models-dir']}/rnn"
    assert flags["evaluate"]["--model-dir"] == flags["publish"]["--model-dir"] == trained
    assert flags["precompute"]["--model-dir"] == f"{flags['publish']['--to']}/rnn"
    written = f"{flags['precompute']['--lists-dir']}/{flags['precompute']['--surface']}"
    assert written == flags["publish-lists"]["--lists"]
    for name, step in _nightly_steps().items():
        mounts = tuple(f"{mount['mountPath']}/" for mount in step["volumeMounts"])
        for value in flags[name].values():
            if value.startswith("/"):
                assert f"{value}/".startswith(mounts), f"{name}: nothing is mounted at {value}"


def test_images_are_ours_of_this_version_or_known():
    for where, image, _, _ in _containers():
        name, _, tag = image.partition(":")
        if name.startswith("tastemaker/"):
            assert name.removeprefix("tastemaker/") in IMAGES, f"{where}: {image} has no Dockerfile"
            assert tag.removesuffix("-gpu") == _VERSION, f"{where}: {image} is not this version"
        else:
            assert name in FOREIGN, f"{where}: {image}"
            assert tag not in ("", "latest"), f"{where}: {image} changes under your feet"


def test_images_expose_what_their_programs_listen_on(tmp_path):
    front = load_settings(DEPLOY / "docker" / "front.toml", {})
    file = dockerfile("front")
    grpc, metrics = (address.rpartition(":")[2] for address in (front.server.address, front.metrics.address))
    assert file.last("EXPOSE") == f"{grpc} {metrics}"
    assert str(front.server.data_dir) in file.last("VOLUME")
    flags = parse_flags(dockerfile("modelserver").words("CMD"))
    assert dockerfile("modelserver").last("EXPOSE") == f"{flags.port} {flags.rest_api_port}"
    head = found("prod", "RayCluster", "tastemaker")["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert dockerfile("jobs").last("EXPOSE") == " ".join(str(port["containerPort"]) for port in head["ports"])
    ports = compose()["services"]["front"]["ports"]
    assert ports == [f"127.0.0.1:{grpc}:{grpc}"]


def test_policies_open_ports_that_pods_have():
    for overlay in OVERLAYS:
        ports = {}
        for manifest in rendered(overlay):
            for template in pod_templates(manifest.get("spec")):
                component = template["metadata"]["labels"]["app.kubernetes.io/component"]
                for container in containers(template):
                    ports.setdefault(component, set()).update(p["containerPort"] for p in container.get("ports", []))
        for manifest in rendered(overlay):
            if manifest["kind"] != "NetworkPolicy" or not manifest["spec"].get("ingress"):
                continue
            component = manifest["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            for rule in manifest["spec"]["ingress"]:
                opened = {port["port"] for port in rule.get("ports", [])}
                assert opened <= ports[component], f"{overlay}: {title(manifest)}"


def test_paths_in_the_guide_exist():
    named = set(re.findall(r"\b(?:deploy|requirements|tests)/[\w./-]*\w", _GUIDE.read_text("utf-8")))
    assert len(named) > 10
    assert {path for path in named if not (ROOT / path).exists()} == {"deploy/.env"}, "made by hand, from .env.example"


def test_ray_of_the_cluster_is_the_locked_one():
    (version,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements" / "jobs.lock").read_text("utf-8"), re.MULTILINE)
    assert found("prod", "RayCluster", "tastemaker")["spec"]["rayVersion"] == version


def test_locks_hold_what_their_images_need():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    missing = {f"extra {name}" for name in set(itertools.chain(*EXTRAS.values())) - extras.keys()}
    assert missing == {entry for entry in NOT_YET if entry.startswith("extra ")}
    for lock, needed in EXTRAS.items():
        locked = set(
            re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements" / f"{lock}.lock").read_text("utf-8"), re.MULTILINE)
        )
        for extra in sorted(needed & extras.keys()):
            for requirement in extras[extra]:
                name = re.split(r"[\[<>=;~ ]", requirement)[0].lower()
                assert name in locked, f"{lock}.lock lacks {name} of [{extra}]: make lock"
    locks = {path.stem for path in (ROOT / "requirements").glob("*.lock")}
    assert locks == EXTRAS.keys() | {"build", "dev", "policy"}
    assert not any("index-url" in path.read_text("utf-8") for path in (ROOT / "requirements").glob("*.lock"))
