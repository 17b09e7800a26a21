"""What the demo prints: numbered steps, a line of explanation each, and pages with titles."""

from collections.abc import Mapping, Sequence

from tastemaker_client import Page, RecommendedItem

__all__ = ["say", "show_items", "show_page", "step"]

_STEPS = 6


def step(number: int, title: str, explanation: str) -> None:
    """Opens a step."""
    print(f"\n[{number}/{_STEPS}] {title}\n      {explanation}", flush=True)


def say(line: str) -> None:
    """A line within a step."""
    print(f"      {line}", flush=True)


def show_items(titles: Mapping[str, str], item_ids: Sequence[str]) -> None:
    """Films by title, one a line."""
    for item_id in item_ids:
        say(f"   · {titles.get(item_id, item_id)}")


def show_page(titles: Mapping[str, str], page: Page, *, milliseconds: float, top: int = 5) -> None:
    """The first films of a page, and where it came from."""
    say(f"→ {len(page.items)} films from tier {page.tier} in {milliseconds:.0f} ms")
    for place, item in enumerate(page.items[:top], 1):
        say(f"   {place}. {_title(titles, item)}")
    outcomes = ", ".join(f"{report.tier} {report.outcome}" for report in page.tier_reports)
    say(f"   (tiers: {outcomes})")


def _title(titles: Mapping[str, str], item: RecommendedItem) -> str:
    return f"{titles.get(item.item_id, item.item_id):<44} {item.score:9.2f}  {item.reason}"
