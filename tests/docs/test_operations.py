"""docs/operations.md tells of every setting of the front and of every alert, and of none that is not there."""

import re
from pathlib import Path
from typing import Any

import yaml

from tastemaker_server.settings import Settings, SurfaceSettings

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = (_ROOT / "docs" / "operations.md").read_text("utf-8")


def _settings() -> set[str]:
    names = {f"surfaces.NAME.{name}" for name in SurfaceSettings.model_fields}
    for section, field in Settings.model_fields.items():
        if section != "surfaces":
            kind: Any = field.annotation
            names |= {f"{section}.{name}" for name in kind.model_fields}
    return names


def test_every_setting_says_when_to_turn_it() -> None:
    (table,) = re.findall(r"^\| setting \|.*?\n\n", _PAGE, re.MULTILINE | re.DOTALL)
    told = [name for row in table.splitlines()[2:] if row for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert sorted(told) == sorted(_settings())


def test_every_alert_says_what_to_do() -> None:
    rules = yaml.safe_load((_ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text("utf-8"))
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^\| `(Tastemaker\w+)` \|", _PAGE, re.MULTILINE) == alerts
    assert set(re.findall(r"Tastemaker[A-Z]\w+", _PAGE)) == set(alerts)


def test_every_metric_that_the_page_names_is_documented() -> None:
    metrics = (_ROOT / "docs" / "metrics.md").read_text("utf-8")
    named = set(re.findall(r"`(tastemaker_\w+)`", _PAGE))
    assert len(named) >= 5
    assert [name for name in sorted(named) if f"`{name}`" not in metrics] == []
