"""Everything that `deploy/` holds, read once: rendered overlays, the compose file, the Dockerfiles."""

import functools
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
K8S = DEPLOY / "k8s"
OVERLAYS = ("dev", "prod", "gpu")
RAY_JOBS = ("crossval", "precompute", "train", "tune")
IMAGES = ("front", "jobs", "modelserver")
SCHEMAS = Path(__file__).parent / "schemas"

Manifest = dict[str, Any]


def kustomize(folder: Path) -> list[Manifest]:
    """The objects that a kustomization renders to."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    # Relative, from the root: kustomize takes no absolute paths among the resources of a kustomization.
    where = os.path.relpath(folder, ROOT)
    run = subprocess.run(
        ["kubectl", "kustomize", where], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return list(yaml.safe_load_all(run.stdout))


@functools.cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """The objects of an overlay, or `jobs`: the RayJobs that are created by hand."""
    if overlay == "jobs":
        return tuple(yaml.safe_load((K8S / "jobs" / f"{name}.yaml").read_text("utf-8")) for name in RAY_JOBS)
    return tuple(kustomize(K8S / "overlays" / overlay))


def found(overlay: str, kind: str, name: str) -> Manifest:
    """One object of an overlay."""
    (manifest,) = [m for m in rendered(overlay) if m["kind"] == kind and m["metadata"].get("name") == name]
    return manifest


def title(manifest: Manifest) -> str:
    """What a failed assertion calls an object."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']}/{metadata.get('name') or metadata.get('generateName')}"


def pod_templates(value: Any) -> Iterator[Manifest]:
    """Every pod template in an object, wherever its kind keeps it."""
    if isinstance(value, dict):
        if isinstance(value.get("spec"), dict) and "containers" in value["spec"]:
            yield value
        else:
            for inner in value.values():
                yield from pod_templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pod_templates(inner)


def containers(template: Manifest) -> list[Manifest]:
    """All containers of a pod, in the order in which they start."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


@functools.cache
def compose() -> Manifest:
    """The compose file, with its variables as they stand."""
    content: Manifest = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return content


@dataclass
class Dockerfile:
    """The instructions of a Dockerfile, those of its last stage and those of the one before."""

    build: list[tuple[str, str]] = field(default_factory=list)
    final: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        """The argument of the last such instruction of the image."""
        return [argument for name, argument in self.final if name == instruction][-1]

    def words(self, instruction: str) -> list[str]:
        """The same, in exec form."""
        words: list[str] = json.loads(self.last(instruction).partition("CMD ")[2] or self.last(instruction))
        return words

    def environment(self) -> dict[str, str]:
        """What the image sets."""
        pairs = [pair for name, argument in self.final if name == "ENV" for pair in shlex.split(argument)]
        return dict(pair.split("=", 1) for pair in pairs)


@functools.cache
def dockerfile(name: str) -> Dockerfile:
    """An image's Dockerfile, which has two stages."""
    read = Dockerfile()
    stages = []
    for line in (DEPLOY / "docker" / f"{name}.Dockerfile").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        assert not line.endswith("\\"), "one instruction, one line: the tests read it so"
        instruction, _, argument = line.partition(" ")
        if instruction == "FROM":
            stages.append(argument)
        elif len(stages) == 1:
            read.build.append((instruction, argument))
        elif len(stages) == 2:
            read.final.append((instruction, argument))
    assert len(stages) == 2
    return read
