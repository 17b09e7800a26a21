"""What every pod keeps to: the restricted pod security standard, resources, probes, nothing open, no password."""

import re

import pytest
from tests.deploy.manifests import (
    DEPLOY,
    IMAGES,
    OVERLAYS,
    compose,
    containers,
    dockerfile,
    pod_templates,
    rendered,
    title,
)

_EVERYTHING = [*OVERLAYS, "jobs"]


def _templates(overlay):
    return [
        (title(manifest), template)
        for manifest in rendered(overlay)
        if "spec" in manifest
        for template in pod_templates(manifest["spec"])
    ]


@pytest.mark.parametrize("overlay", _EVERYTHING)
def test_pods_keep_to_the_restricted_standard(overlay):
    templates = _templates(overlay)
    assert templates
    for name, template in templates:
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, f"{name}: variables of service links are refused as settings"
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        for container in containers(template):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, (name, container["name"])
            assert context["readOnlyRootFilesystem"] is True, (name, container["name"])
            assert context["capabilities"] == {"drop": ["ALL"]}, (name, container["name"])
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][kind].keys(), (name, container["name"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_serves_has_probes_and_labels_and_an_account_of_its_own(overlay):
    accounts = {m["metadata"]["name"] for m in rendered(overlay) if m["kind"] == "ServiceAccount"}
    for manifest in rendered(overlay):
        assert manifest["metadata"]["labels"]["app.kubernetes.io/name"] == "tastemaker", title(manifest)
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "tastemaker", title(manifest)
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                assert {"readinessProbe", "livenessProbe"} <= container.keys(), title(manifest)
        for template in pod_templates(manifest.get("spec")):
            assert template["spec"]["serviceAccountName"] in accounts, title(manifest)
            assert template["metadata"]["labels"]["app.kubernetes.io/component"], title(manifest)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_reachable_unless_a_policy_says_so(overlay):
    policies = {m["metadata"]["name"]: m["spec"] for m in rendered(overlay) if m["kind"] == "NetworkPolicy"}
    assert policies["tastemaker-default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, spec in policies.items():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule.get("from") or rule.get("to"), f"{name}: a rule without peers opens to all"
            within = name == "tastemaker-ray" and "ports" not in rule  # Ray's nodes among themselves
            assert rule.get("ports") or within, f"{name}: a rule without ports opens all of them"
    (namespace,) = [m for m in rendered(overlay) if m["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespace["metadata"]["name"] == ("tastemaker-dev" if overlay == "dev" else "tastemaker")


def test_no_password_has_a_default():
    for path in [p for p in DEPLOY.rglob("*") if p.is_file()]:
        text = path.read_text("utf-8")
        assert not re.search(r"kind: Secret\b", text), f"{path}: secrets are made by hand, see docs/deploy.md"
        for line in text.splitlines():
            for name, rest in re.findall(r"\$\{(\w*PASSWORD\w*)([^}]*)\}", line):
                assert rest.startswith(":?"), f"{path}: ${{{name}}} has a default, or may be empty"
            assert not re.search(r"PASSWORD=\S", line), f"{path}: {line}"


def test_compose_services_are_hardened_and_watched():
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service or name == "jobs", name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to every network of the machine"


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_a_number_and_hold_nothing_that_builds(image):
    file = dockerfile(image)
    assert file.last("USER") == "10001:10001"
    assert file.last("STOPSIGNAL") == "SIGTERM"
    assert "HEALTHCHECK" in dict(file.final)
    assert file.environment()["PYTHONDONTWRITEBYTECODE"] == "1"
    assert "RUN" not in dict(file.final), "the last stage only copies what was built"
