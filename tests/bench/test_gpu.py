"""The benchmark of GPUs where there is none: it says so, and writes no table."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU")
def test_without_a_gpu_it_is_skipped_and_the_page_stays_as_it_is() -> None:
    page = (_ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "gpu"], cwd=_ROOT, capture_output=True, text=True, check=False, timeout=150
    )
    assert ran.returncode == 0, ran.stderr
    assert "no GPU: skipped" in ran.stdout
    assert (_ROOT / "docs" / "benchmarks.md").read_text("utf-8") == page
