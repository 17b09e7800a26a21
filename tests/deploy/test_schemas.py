"""What lies in deploy/ is what Kubernetes, its operators and Compose take; strict, so that a misspelt key is found."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from tests.deploy.manifests import (
    DEPLOY,
    IMAGES,
    K8S,
    OVERLAYS,
    ROOT,
    SCHEMAS,
    compose,
    kustomize,
    pod_templates,
    rendered,
    title,
)

_KUBERNETES = "1.32"
_CUSTOM = {path.stem for path in SCHEMAS.glob("[A-Z]*.json")}


def _problems(manifest):
    """What a strict API server would refuse."""
    if manifest["kind"] not in _CUSTOM:
        try:
            kubernetes_validate.validate(manifest, _KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{title(manifest)}: {error.path}: {error.message}"
        return
    schema = json.loads((SCHEMAS / f"{manifest['kind']}.json").read_text("utf-8"))
    for error in jsonschema.Draft7Validator(schema).iter_errors(manifest):
        yield f"{title(manifest)}: {error.json_path}: {error.message}"
    for template in pod_templates(manifest["spec"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", **template.get("metadata", {})}}
        yield from _problems({**pod, "spec": template["spec"]})


@pytest.mark.slow
@pytest.mark.parametrize("overlay", [*OVERLAYS, "jobs"])
def test_every_object_keeps_to_its_schema(overlay):
    assert [line for manifest in rendered(overlay) for line in _problems(manifest)] == []


@pytest.mark.parametrize("kind", ["Deployment", "CronJob", "RayCluster"])
def test_a_misspelt_key_is_found(kind):
    right = next(m for m in rendered("prod") if m["kind"] == kind)
    assert list(_problems(right)) == []
    wrong = copy.deepcopy(right)
    next(pod_templates(wrong))["spec"]["containers"][0]["redinessProbe"] = {}
    assert any("redinessProbe" in line for line in _problems(wrong))
    wrong = copy.deepcopy(right)
    wrong["spec"]["scedule"] = "* * * * *"
    assert any("scedule" in line for line in _problems(wrong))


@pytest.mark.slow
def test_a_bucket_may_take_the_place_of_the_volume(tmp_path):
    """Components that no overlay has render too, over the same base."""
    up = Path(*[".."] * len(tmp_path.resolve().parts))
    deploy = up / K8S.relative_to("/")
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{deploy}/base]\ncomponents: [{deploy}/jobs/nightly, {deploy}/components/bucket]\n"
    )
    manifests = kustomize(tmp_path)
    assert [line for manifest in manifests for line in _problems(manifest)] == []
    (server,) = [m for m in manifests if title(m) == "Deployment/tastemaker-model-server"]
    pod = server["spec"]["template"]["spec"]
    assert [c["name"] for c in pod["initContainers"]] == ["first-pull", "pull"]
    assert [v for v in pod["volumes"] if v["name"] == "models"] == [{"name": "models", "emptyDir": {}}]


def test_compose_file_keeps_to_its_schema():
    schema = json.loads((SCHEMAS / "compose-spec.json").read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(compose())] == []
    assert not validator.is_valid({"services": {"front": {"imag": "x"}}})


def test_no_file_of_the_manifests_holds_two_objects():
    for path in K8S.rglob("*.yaml"):
        assert "\n---" not in path.read_text("utf-8"), f"{path.relative_to(K8S)}: one object, one file"


@pytest.mark.parametrize("image", IMAGES)
def test_dockerfiles_are_linted(image):
    lint = Path(sys.executable).with_name("hadolint")
    command = [lint, "--config", ROOT / ".hadolint.yaml", DEPLOY / "docker" / f"{image}.Dockerfile"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
