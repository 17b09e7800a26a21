"""The package as a whole: what it exports and imports, that its examples run, that its words are the contract's."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tastemaker_client
from tastemaker.v1 import feedback_service_pb2, recommendation_service_pb2
from tastemaker_client import EventType, ItemReason, Tier, TierOutcome

MODULES = [
    "tastemaker_client",
    *(f"tastemaker_client.{module.name}" for module in pkgutil.iter_modules(tastemaker_client.__path__)),
]


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def test_exported_members_are_sorted_and_exist(module: ModuleType) -> None:
    # As ruff sorts them: constants, then classes, then functions.
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(set(module.__all__)) == len(module.__all__)
    assert list(module.__all__) == sorted(
        module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )


def test_examples_run(module: ModuleType, peer: Any) -> None:
    result = doctest.testmod(module, extraglobs={"address": peer.address})

    assert result.failed == 0


def test_both_clients_have_an_example() -> None:
    for name in ("client", "aio", "event", "page"):
        finder = doctest.DocTestFinder().find(importlib.import_module(f"tastemaker_client.{name}"))
        assert sum(len(found.examples) for found in finder) > 0, name


def test_nothing_heavy_is_imported() -> None:
    code = "import tastemaker_client.cli, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    heavy = {"numpy", "pydantic", "ray", "tastemaker_jobs", "tastemaker_server", "tensorflow"}
    assert heavy & set(loaded.stdout.split()) == set()


def test_only_the_contract_grpc_and_the_standard_library_are_imported(module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    names = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    allowed = {"google", "grpc", "grpc_status", "tastemaker", "tastemaker_client"} | sys.stdlib_module_names
    assert {name.partition(".")[0] for name in names} - allowed == set()


def test_types_are_shipped() -> None:
    assert (Path(str(tastemaker_client.__file__)).parent / "py.typed").exists()


@pytest.mark.parametrize(
    ("ours", "proto", "prefix"),
    [
        (Tier, recommendation_service_pb2.Tier, "TIER_"),
        (TierOutcome, recommendation_service_pb2.TierOutcome, "TIER_OUTCOME_"),
        (ItemReason, recommendation_service_pb2.ItemReason, "ITEM_REASON_"),
        (EventType, feedback_service_pb2.EventType, "EVENT_TYPE_"),
    ],
)
def test_enums_have_the_words_of_the_contract(ours: Any, proto: Any, prefix: str) -> None:
    words = {name.removeprefix(prefix) for name in proto.keys()}  # noqa: SIM118 -- not a dict
    if ours is EventType:
        words -= {"UNSPECIFIED"}  # not allowed in a request

    assert {member.value for member in ours} == words
