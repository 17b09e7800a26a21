"""Reads what a process tells Prometheus, as Prometheus does."""

import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scrape", "documented", "front_metrics_url", "parsed", "scrape", "scrape_until"]

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@dataclass
class Scrape:
    """One answer."""

    text: str = field(repr=False)
    """As it came."""
    families: dict[str, Metric] = field(repr=False)
    """By the name in the line of its type; of a counter with `_total`."""

    def described(self) -> dict[str, tuple[str, set[str]]]:
        """As `documented` has it; of a metric without a sample the labels are not known, and are empty."""
        found = {}
        for name, family in self.families.items():
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = family.type, labels
        return found

    def value(self, name: str, **labels: str) -> float | None:
        """A sample; None where there is none."""
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name and {**sample.labels, **labels} == sample.labels:
                    return float(sample.value)
        return None

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """A name's samples that are not 0: the labels' values, in the order of the labels' names, to their value."""
        found = [sample for family in self.families.values() for sample in family.samples if sample.name == name]
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found if sample.value
        }


def front_metrics_url(log: list[str]) -> str:
    """Where a front that was started with `metrics.address` says that its metrics are."""
    (line,) = [line for line in log if " metrics are at " in line]
    return line.rpartition(" ")[2].strip()


def scrape(url: str) -> Scrape:
    """Asks once."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # http, as the tests say
        return parsed(answer.read().decode())


def parsed(text: str) -> Scrape:
    """Reads an answer."""
    families = {}
    for family in text_string_to_metric_families(text):
        families[f"{family.name}_total" if family.type == "counter" else family.name] = family
    return Scrape(text, families)


def scrape_until(url: str, settled: Callable[[Scrape], object], *, seconds: float = 20) -> Scrape:
    """Asks until something holds; fails when it does not come to hold."""
    deadline = time.monotonic() + seconds
    while not settled(seen := scrape(url)):
        assert time.monotonic() < deadline, f"it did not come to hold:\n{seen.text}"
        time.sleep(0.02)
    return seen


def documented(*sections: str) -> dict[str, tuple[str, set[str]]]:
    """What docs/metrics.md has under these headings: names to type and labels."""
    text = _PAGE.read_text("utf-8")
    found = {}
    for section in sections:
        for line in text.partition(f"\n## {section}\n")[2].partition("\n## ")[0].splitlines():
            if line.startswith("| `"):
                name, kind, labels, unit, meaning = (cell.strip() for cell in line[1:-1].split("|"))
                assert meaning, f"{name} says nothing"
                assert name not in found, f"{name} stands there twice"
                assert not name.endswith("_seconds`") or unit == "seconds", f"{name} is not in {unit}"
                found[name.strip("`")] = kind, set(re.findall(r"`(\w+)`", labels))
    assert found
    return found
