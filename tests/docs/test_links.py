"""Links between pages lead somewhere: the file exists, and so does the heading."""

import re
from pathlib import Path

from tests.docs.blocks import pages

_LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]+)?\)")


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_to_a_file_and_a_heading() -> None:
    broken, seen = [], 0
    for page in pages():
        for path, anchor in _LINK.findall(page.read_text("utf-8")):
            if "://" in path:
                continue
            seen += 1
            target = (page.parent / path) if path else page
            if not target.exists() or (anchor and anchor[1:] not in _anchors(target)):
                broken.append(f"{page.name}: {path}{anchor}")
    assert broken == []
    assert seen > 50
