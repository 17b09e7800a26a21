"""The generated code beside the .proto files is what the generator makes of them now; the protos are lint-clean."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from tastemaker.v1 import (
    error_reason_pb2,
    feedback_service_pb2_grpc,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)

_ROOT = Path(__file__).resolve().parents[2]
_GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")


def _generated_files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text("utf-8") for pattern in _GENERATED for path in root.rglob(pattern)
    }


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    subprocess.run([sys.executable, _ROOT / "tools" / "generate_protos.py", tmp_path], check=True, timeout=60)
    fresh, checked_in = _generated_files(tmp_path), _generated_files(_ROOT / "proto")
    assert sorted(fresh) == sorted(checked_in)
    stale = [name for name, text in fresh.items() if checked_in[name] != text]
    assert not stale, "run `make protos`"


def test_generated_code_runs_on_tensorflows_lowest_protobuf() -> None:
    for name, text in _generated_files(_ROOT / "proto").items():
        for version in re.findall(r"# Protobuf Python Version: (\d+)\.(\d+)", text):
            assert tuple(map(int, version)) == (6, 31), name


def test_protos_are_lint_clean() -> None:
    run = subprocess.run(
        [Path(sys.executable).parent / "buf", "lint"], cwd=_ROOT / "proto", capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("reason", error_reason_pb2.ErrorReason.keys())
def test_every_error_reason_documents_its_metadata(reason: str) -> None:
    if reason == "ERROR_REASON_UNSPECIFIED":
        return
    text = (_ROOT / "proto" / "tastemaker" / "v1" / "error_reason.proto").read_text("utf-8")
    comment = text.partition(f"  {reason} =")[0].rpartition(";")[2]
    assert "Sample metadata: {" in comment


def test_service_stubs_are_importable_without_the_servers() -> None:
    assert feedback_service_pb2_grpc.FeedbackServiceStub
    assert recommendation_service_pb2_grpc.RecommendationServiceStub
    assert descriptor_pb2.FileDescriptorProto.FromString(recommendation_service_pb2.DESCRIPTOR.serialized_pb).service
