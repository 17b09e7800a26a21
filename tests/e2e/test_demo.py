"""`make demo`, run as a user runs it: it checks what it claims, and ends with status 0 only if all of it held."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.usefixtures("trained")  # which skips where the data cannot be had
def test_demo_tells_its_six_steps_and_leaves_nothing_behind(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "demo", "--folder", tmp_path, "--epochs", "2"],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        env=dict(os.environ, COLUMNS="100"),
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert re.findall(r"^\[(\d)/6\]", run.stdout, re.MULTILINE) == ["1", "2", "3", "4", "5", "6"]
    assert "from tier LIVE_MODEL" in run.stdout
    assert run.stdout.count("from tier POPULAR") == 2
    assert run.stdout.count("✓") == 3
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or [])
    ]
    assert not left
