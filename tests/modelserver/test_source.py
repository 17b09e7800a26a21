from pathlib import Path

import pytest

from tastemaker_modelserver.model_config import (
    AllVersions,
    LatestVersions,
    ModelSettings,
    SpecificVersions,
    VersionPolicy,
)
from tastemaker_modelserver.policy import Action, Load, Phase, Snapshot, Unload, next_action
from tastemaker_modelserver.source import folder_fingerprint, list_versions


def folder_with(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).mkdir()
    return path


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (LatestVersions(), {12}),
        (LatestVersions(2), {3, 12}),
        (AllVersions(), {1, 3, 12}),
        (SpecificVersions(frozenset({1, 99})), {1}),
    ],
)
def test_the_policy_picks_the_versions(tmp_path: Path, policy: VersionPolicy, expected: set[int]) -> None:
    folder_with(tmp_path, "1", "00003", "12", "v4", "5.tmp", "latest")
    listing = list_versions(ModelSettings(name="m", base_path=tmp_path, policy=policy))
    assert set(listing.versions) == expected


def test_a_missing_folder_offers_nothing_and_says_so(tmp_path: Path) -> None:
    listing = list_versions(ModelSettings(name="m", base_path=tmp_path / "none"))
    assert not listing.versions
    assert "Could not find base path" in listing.complaint


def test_a_folder_without_numbers_offers_nothing_and_says_so(tmp_path: Path) -> None:
    listing = list_versions(ModelSettings(name="m", base_path=folder_with(tmp_path, "one")))
    assert not listing.versions
    assert "name your leaf directory as a number" in listing.complaint


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    before = folder_fingerprint(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"half")
    half = folder_fingerprint(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"the whole of it")
    assert len({before, half, folder_fingerprint(tmp_path)}) == 3


OLD, NEW = (1, False), (2, True)


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([Snapshot(1, Phase.READY, False), Snapshot(2, Phase.NEW, True)], Load(2)),
        ([Snapshot(1, Phase.READY, False), Snapshot(2, Phase.BUSY, True)], None),
        ([Snapshot(1, Phase.READY, False), Snapshot(2, Phase.FAILED, True)], None),
        ([Snapshot(1, Phase.READY, False), Snapshot(2, Phase.READY, True)], Unload(1)),
        ([Snapshot(1, Phase.READY, False)], Unload(1)),
        ([Snapshot(1, Phase.READY, False), Snapshot(2, Phase.READY, False), Snapshot(3, Phase.NEW, True)], Unload(1)),
        ([Snapshot(1, Phase.NEW, True), Snapshot(4, Phase.NEW, True), Snapshot(3, Phase.READY, True)], Load(4)),
        ([], None),
    ],
)
def test_a_serving_version_goes_only_when_a_wanted_one_serves(
    versions: list[Snapshot], expected: Action | None
) -> None:
    assert next_action(versions) == expected
