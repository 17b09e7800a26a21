"""The how-to pages, run: the blocks of a page in order, in one shell, in an empty folder, with real servers.

Ports and the addresses of the stores are replaced by those of this test. For the one block that needs a container
engine, our own model server stands in: a shell function `docker` gives it the flags that the page gives the image.
"""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.docs.blocks import ROOT, scripts

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

_HOW_TO = ROOT / "docs" / "how-to"
_PORTS = ("50051", "50052", "8500", "8510")
_PREAMBLE = """
set -euo pipefail
docker() {
  while [[ "$1" != tensorflow/serving:* ]]; do shift; done
  shift
  tastemaker-modelserver "${@/#--port=*/--port=8510}" &
}
"""


@pytest.fixture
def run_page(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Runs a page: `run_page("roll-back-a-model.md", {"redis://…": url})`; returns what it printed."""
    from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

    started: list[subprocess.Popen[str]] = []

    def run(name: str, replaced: dict[str, str] | None = None) -> str:
        write_ratings(synthetic_ratings(seed=1), tmp_path / "ratings.csv")
        blocks = scripts(_HOW_TO / name)
        assert blocks
        script = _PREAMBLE + "\n".join(blocks)
        for there, here in (replaced or {}).items():
            assert there in script
            script = script.replace(there, here)
        ports = _free_ports()
        script = re.sub(rf"\b({'|'.join(_PORTS)})\b", lambda found: ports[found.group()], script)
        (tmp_path / "page.sh").write_text(script)
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TASTEMAKER_ADDRESS": f"127.0.0.1:{ports['50051']}",
        }
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(
                ["bash", "page.sh"],
                cwd=tmp_path,
                env=environment,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
            started.append(process)
            status = process.wait(500)
        printed = (tmp_path / "output").read_text()
        assert status == 0, printed
        return printed

    yield run
    for process in started:
        # What a page that failed left running; our own session, so nobody else's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _free_ports() -> dict[str, str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in _PORTS]
    free = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return dict(zip(_PORTS, free, strict=True))


def _tiers(printed: str) -> list[str]:
    """Which tier answered each `tastemaker recommend` of the page."""
    return re.findall(r"^answered by (\w+):", printed, re.MULTILINE)


def test_move_to_postgresql_and_redis(
    run_page: Callable[..., str], start_redis: Callable[..., Any], postgres_url: str, tmp_path: Path
) -> None:
    redis = start_redis()
    printed = run_page(
        "move-to-postgresql-and-redis.md",
        {"redis://127.0.0.1:6379/0": redis.url, "postgresql://front@127.0.0.1:5432/tastemaker": postgres_url},
    )
    assert _tiers(printed) == ["POPULAR"]
    assert "(lists of generation 1, computed " in printed, "from the lists that were published again"
    with sqlite3.connect(tmp_path / "var/old/events.db") as old, psycopg.connect(postgres_url) as new:
        (before,) = old.execute("SELECT count(*) FROM events").fetchone()
        (after,) = new.execute("SELECT count(*) FROM tastemaker.events").fetchone()
        assert before == after > 100, "every event once, that of the last minute too"
    assert (tmp_path / "var/old/attribution.key").read_bytes() == (tmp_path / "var/new/attribution.key").read_bytes()
    assert not (tmp_path / "var/new/events.db").exists()


def test_move_to_tensorflow_serving(run_page: Callable[..., str]) -> None:
    assert _tiers(run_page("move-to-tensorflow-serving.md")) == ["LIVE_MODEL"], "asked after ours had ended"


def test_roll_back_a_model(run_page: Callable[..., str]) -> None:
    printed = run_page("roll-back-a-model.md")
    moves = re.findall(r"item_knn: stable is now version (\d); it was (?:version )?(\w+)", printed)
    assert [now for now, _ in moves] == ["1", "2", "1"]
    assert _tiers(printed) == ["LIVE_MODEL"] * 3, "promoted, rolled back, pinned"


def test_run_the_nightly_loop(run_page: Callable[..., str], tmp_path: Path) -> None:
    printed = run_page("run-the-nightly-loop.md")
    assert _tiers(printed) == ["PRECOMPUTED"] * 2
    assert (tmp_path / "nightly/report/report.html").is_file()
    assert sorted(path.name for path in (tmp_path / "models/item_knn").glob("[0-9]*")) == ["1", "2"]
    assert "generation 2 " in printed


def test_every_page_is_run_here_or_says_what_it_needs() -> None:
    own = Path(__file__).read_text("utf-8")
    for page in _HOW_TO.glob("*.md"):
        if scripts(page) and page.name != "go-to-gpus.md":  # each of its blocks is marked: test_commands holds that
            assert f'"{page.name}"' in own, f"{page.name} is run by no test"
