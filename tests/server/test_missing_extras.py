"""What is not installed is named with the extra that brings it."""

import subprocess
import sys
from pathlib import Path

import pytest

_WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None  # as if it were not installed
from tastemaker_server.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("package", "event_log", "command", "extra"),
    [
        ("psycopg", "postgresql://u@127.0.0.1/db", [], "tastemaker[postgres]"),
        ("pyarrow", "sqlite", ["export-events", "--out", "out"], "tastemaker[parquet]"),
    ],
)
def test_missing_package_stops_the_start_with_the_extra_that_brings_it(
    tmp_path: Path, package: str, event_log: str, command: list[str], extra: str
) -> None:
    config = tmp_path / "front.toml"
    config.write_text(
        f'[server]\ndata_dir = "{tmp_path}"\naddress = "127.0.0.1:0"\n[stores]\nevent_log = "{event_log}"\n'
    )
    (tmp_path / "events.db").touch()
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT, package, "--config", config, *command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 2
    assert f"the package {package}; pip install '{extra}'" in ended.stderr
    assert "Traceback" not in ended.stderr
