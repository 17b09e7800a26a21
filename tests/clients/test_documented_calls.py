"""What docs/clients.md shows works: grpcurl's calls against a real front, and the commands that make stubs."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

_ROOT = Path(__file__).resolve().parents[2]
_BLOCKS = re.findall(r"```sh\n(.*?)```", (_ROOT / "docs" / "clients.md").read_text("utf-8"), re.DOTALL)
_CALLS = [line for block in _BLOCKS for line in block.splitlines() if line.startswith("grpcurl ") and " -d " in line]


@pytest.fixture
def front(start_front: Callable[..., Any]) -> Any:
    return start_front()


def _send(address: str, method: str, text: str) -> Any:
    """Sends JSON as grpcurl does: with what reflection says of the method."""
    service, _, name = method.partition("/")
    with grpc.insecure_channel(address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        found = pool.FindServiceByName(service).FindMethodByName(name)
        request, response = GetMessageClass(found.input_type), GetMessageClass(found.output_type)
        send = channel.unary_unary(
            f"/{method}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return send(json_format.Parse(text, request(), descriptor_pool=pool), timeout=20)


@pytest.mark.parametrize("line", _CALLS)
def test_a_documented_call_is_answered(line: str, front: Any) -> None:
    *options, _, method = shlex.split(line)
    _send(front.address, method, options[options.index("-d") + 1])


def test_every_method_has_an_example(front: Any) -> None:
    with grpc.insecure_channel(front.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        ours = [name for name in database.get_services() if name.startswith("tastemaker.")]
        methods = {f"{name}/{method.name}" for name in ours for method in pool.FindServiceByName(name).methods}
    assert methods
    assert methods <= {line.split()[-1] for line in _CALLS}


@pytest.mark.parametrize(
    ("output", "programs", "made"),
    [
        (
            "--java_out",
            ("protoc", "grpc_java_plugin"),
            ("tastemaker/v1/RecommendRequest.java", "tastemaker/v1/RecommendationServiceGrpc.java"),
        ),
        (
            "--go_out",
            ("protoc", "protoc-gen-go", "protoc-gen-go-grpc"),
            ("tastemaker/v1/feedback_service.pb.go", "tastemaker/v1/recommendation_service_grpc.pb.go"),
        ),
    ],
)
def test_a_documented_command_makes_stubs(
    output: str, programs: tuple[str, ...], made: tuple[str, ...], tmp_path: Path
) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")
    (block,) = (block for block in _BLOCKS if f"{output}=" in block)
    (tmp_path / "proto").symlink_to(_ROOT / "proto")
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True, timeout=60)
    files = {str(path.relative_to(tmp_path / "build")).partition("/")[2] for path in (tmp_path / "build").rglob("*.*")}
    assert set(made) <= files
