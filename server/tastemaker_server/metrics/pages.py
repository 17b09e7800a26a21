"""Pages and items by surface and tier, and what became of each tier.

A page is what `Recommender` makes, whichever call asked for it: one of a batch counts like one of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.metrics.buckets import LATENCY_SECONDS
from tastemaker_server.metrics.unlocked import Count, Counts, Histogram, Histograms
from tastemaker_server.settings import SurfaceSettings

__all__ = ["NO_TIER", "PageMetrics"]

NO_TIER = "NONE"
"""The tier of a page without items."""


class PageMetrics:
    """Counts pages. Everything is looked up beforehand: this is part of every `Recommend`."""

    def __init__(self, *, registry: CollectorRegistry, surfaces: Mapping[str, SurfaceSettings]) -> None:
        """Takes the surfaces, which are all that there will ever be."""
        seconds = Histograms(
            "tastemaker_front_page_seconds",
            "How long it took to fill a page, by the tier of its first item.",
            ("surface", "tier"),
            bounds=LATENCY_SECONDS,
            registry=registry,
        )
        items = Counts(
            "tastemaker_front_page_items", "Items on pages, by their tier.", ("surface", "tier"), registry=registry
        )
        outcomes = Counts(
            "tastemaker_front_tier_outcomes",
            "What became of a surface's tiers, for each page.",
            ("surface", "tier", "outcome"),
            registry=registry,
        )
        self._surfaces: dict[str, _Surface] = {}
        for name, surface in surfaces.items():
            made = self._surfaces[name] = _Surface({0: seconds.labels(name, NO_TIER)}, {}, {})
            for tier in surface.tiers:
                made.seconds[tier.number] = seconds.labels(name, tier.value)
                made.items[tier.number] = items.labels(name, tier.value)
                made.outcomes[tier.number] = {
                    outcome: outcomes.labels(name, tier.value, told.removeprefix("TIER_OUTCOME_"))
                    for told, outcome in pb.TierOutcome.items()
                    if outcome != pb.TIER_OUTCOME_UNSPECIFIED
                }

    def count(self, surface: str, response: pb.RecommendResponse, seconds: float) -> None:
        """Counts a page.

        Args:
            surface: The name of one of the surfaces.
            response: The page, with the reports of its tiers.
            seconds: How long it took.
        """
        children = self._surfaces[surface]
        first = 0
        for report in response.tier_reports:
            tier = report.tier
            children.outcomes[tier][report.outcome].value += 1
            item_count = report.item_count
            if item_count:
                first = first or tier
                children.items[tier].value += item_count
        children.seconds[first].observe(seconds)


@dataclass(frozen=True, slots=True)
class _Surface:
    """The counters of a surface, by tier; 0 is `NO_TIER`."""

    seconds: dict[int, Histogram]
    items: dict[int, Count]
    outcomes: dict[int, dict[int, Count]]
