"""The rendered overlays pass checkov's Kubernetes policies; each one left out says why."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.deploy.manifests import OVERLAYS, ROOT, rendered

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SKIPPED = {
    "CKV_K8S_11": "a CPU limit is set everywhere; this one also asks it of pods it has not rendered",
    "CKV_K8S_35": "stores' addresses come by environment: the front reads no secret files",
    "CKV_K8S_43": "images by digest: overlays of whoever builds them pin theirs, we publish none",
    "CKV_K8S_15": "imagePullPolicy Always makes a registry that is down stop a restart; tags here never move",
    "CKV_K8S_21": "each overlay sets a namespace; the RayJobs take the one they are created in",
}

EXCUSED = {
    # PostgreSQL's image, on Alpine, makes its files as its own user 70 and knows no other.
    ("CKV_K8S_40", "StatefulSet.tastemaker-dev.tastemaker-postgresql"),
}
"""Single objects that may fail a check."""


@pytest.fixture(scope="module")
def checkov(tmp_path_factory):
    """In an environment of its own: it pins packages that ours need newer."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    environment = tmp_path_factory.mktemp("checkov") / "venv"
    lock = ROOT / "requirements" / "policy.lock"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    install = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        environment / "bin" / "python",
        "--require-hashes",
        "-r",
        lock,
    ]
    subprocess.run(install, check=True)
    return environment / "bin" / "checkov"


def test_overlays_pass_the_policies(checkov, tmp_path):
    for overlay in OVERLAYS:
        (tmp_path / f"{overlay}.yaml").write_text(yaml.safe_dump_all(rendered(overlay)))
    command = [
        checkov,
        "--directory",
        tmp_path,
        "--framework",
        "kubernetes",
        "--output",
        "json",
        "--quiet",
        "--compact",
    ]
    skips = ["--skip-check", ",".join(SKIPPED), "--skip-download"]
    run = subprocess.run([*command, *skips], capture_output=True, text=True, check=False, cwd=tmp_path)
    report = json.loads(run.stdout)
    failed = {
        (check["check_id"], check["resource"]): check["check_name"] for check in report["results"]["failed_checks"]
    }
    assert failed.keys() == EXCUSED, failed
    assert report["summary"]["passed"] > 100, "it looked at next to nothing"
    assert report["summary"]["parsing_errors"] == 0
