"""A page as text for a terminal, and as JSON for a program."""

import dataclasses
import json
import unicodedata
from collections.abc import Mapping, Sequence

from tastemaker_client.page import Page, Tier, TierOutcome, TierReport

__all__ = ["page_as_json", "page_as_text"]

_TIER_WORDS = {
    Tier.LIVE_MODEL: "ranked just now by a model, from this user's newest history",
    Tier.PRECOMPUTED: "from a list that a batch job computed for this user or item",
    Tier.POPULAR: "what most users consumed",
    Tier.UNSPECIFIED: "a tier that this client does not know",
}

_OUTCOME_WORDS = {
    TierOutcome.NOT_NEEDED: "not needed: the page was full before its turn",
    TierOutcome.NO_HISTORY: "had nothing: the user is unknown or has too little history",
    TierOutcome.EMPTY: "had nothing for this user that is not on the page or consumed already",
    TierOutcome.TIMED_OUT: "did not answer within its share of the deadline",
    TierOutcome.SKIPPED_FOR_DEADLINE: "not asked: too little time was left",
    TierOutcome.UNAVAILABLE: "could not be reached, or answered with an error",
    TierOutcome.NO_LIST: "has no list for this user or item: the batch job has not run, or it was not in it",
    TierOutcome.UNSPECIFIED: "an outcome that this client does not know",
}

_MAX_TITLE_COLUMNS = 60


def page_as_text(page: Page, titles: Mapping[str, str]) -> str:
    """Lays a page out as a table, with which tier answered and why below it.

    Args:
        page: the page.
        titles: titles by item id; empty to leave their column out.

    Returns:
        Lines of text.
    """
    header = ["rank", "item", *(["title"] if titles else []), "score", "tier"]
    rows = [
        [
            str(rank),
            _printable(item.item_id),
            *([_cut(_printable(titles.get(item.item_id, "")))] if titles else []),
            _score(item.score),
            item.tier.value,
        ]
        for rank, item in enumerate(page.items, start=1)
    ]
    lines = _table(header, rows, right_aligned={"rank", "score"}) if rows else ["no items: no tier had any to offer"]
    lines += ["", f"answered by {page.tier}: {_TIER_WORDS[page.tier]}"]
    width = max((len(report.tier) for report in page.tier_reports), default=0)
    lines += [f"  {report.tier:<{width}}  {_report_words(report)}" for report in page.tier_reports]
    lines.append(f"attribution token: {page.attribution_token}")
    return "\n".join(lines)


def page_as_json(page: Page, titles: Mapping[str, str]) -> str:
    """The page as one JSON object, its items with a title where `titles` has one."""
    document = dataclasses.asdict(page)
    for item in document["items"]:
        if item["item_id"] in titles:
            item["title"] = titles[item["item_id"]]
    return json.dumps(document, ensure_ascii=False, indent=2)


def _report_words(report: TierReport) -> str:
    return _outcome_words(report) + _lists_words(report)


def _lists_words(report: TierReport) -> str:
    if not report.list_generation:
        return ""
    age_hours = (report.list_age_seconds or 0) / 3600
    return f" (lists of generation {report.list_generation}, computed {age_hours:.1f} h ago)"


def _outcome_words(report: TierReport) -> str:
    if report.outcome is TierOutcome.USED:
        return f"gave {report.item_count} item{'' if report.item_count == 1 else 's'}"
    return _OUTCOME_WORDS[report.outcome]


def _score(score: float) -> str:
    """A count of users has no decimals, a logit has."""
    return f"{score:.0f}" if score.is_integer() else f"{score:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right_aligned: set[str]) -> list[str]:
    widths = [max(_columns(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, *rows]:
        cells = [
            " " * (width - _columns(cell)) + cell if name in right_aligned else cell + " " * (width - _columns(cell))
            for name, width, cell in zip(header, widths, row, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _columns(text: str) -> int:
    """How many columns a terminal takes: two for wide East Asian letters, none for combining marks."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str) -> str:
    while _columns(text) > _MAX_TITLE_COLUMNS:
        text = text[:-2] + "…"
    return text


def _printable(text: str) -> str:
    """Keeps a catalogue's stray control characters from steering the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
