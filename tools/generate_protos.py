"""Generates the Python code beside the .proto files: `make protos`.

Proto package equals Python package, so nothing is rewritten afterwards. The drift test generates into an empty folder
and compares. Stubs of services are made only for the files that define one.
"""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTO_ROOT = Path(__file__).resolve().parent.parent / "proto"


def proto_files(root: Path = PROTO_ROOT) -> list[Path]:
    """Every .proto file under `root`, sorted, relative to it."""
    return sorted(path.relative_to(root) for path in root.rglob("*.proto"))


def generate(target: Path) -> None:
    """Writes `_pb2.py`, `_pb2.pyi` and, for services, `_pb2_grpc.py` files under `target`.

    Raises:
        RuntimeError: protoc refused a file; its message is on stderr.
    """
    well_known = resources.files("grpc_tools") / "_proto"
    files = proto_files()
    services = [path for path in files if "\nservice " in (PROTO_ROOT / path).read_text("utf-8")]
    include = [f"-I{PROTO_ROOT}", f"-I{well_known}"]
    runs = [
        [f"--python_out={target}", f"--pyi_out={target}", *map(str, files)],
        [f"--grpc_python_out={target}", *map(str, services)],
    ]
    for arguments in runs:
        if protoc.main(["protoc", *include, *arguments]) != 0:
            raise RuntimeError("protoc failed; its message is above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO_ROOT)
