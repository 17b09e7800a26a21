"""What items are called and look like, for people: titles from a CSV file, posters from a folder."""

import base64
import csv
from dataclasses import dataclass, field
from pathlib import Path

from tastemaker_jobs.errors import DataError

__all__ = ["Catalogue"]


@dataclass(frozen=True)
class Catalogue:
    """Titles and posters by item id. Both may be missing, for one item or for all."""

    titles: dict[str, str] = field(default_factory=dict)
    """Item id to title, with the year where it is known."""
    images: Path | None = None
    """Holds <item_id>.jpg."""

    @classmethod
    def read(cls, items: Path | None, images: Path | None) -> "Catalogue":
        """From files.

        Args:
            items: CSV with item_id, title and perhaps year; None without.
            images: Folder of <item_id>.jpg; None without.

        Raises:
            DataError: A file cannot be read, or lacks a column.
        """
        if items is None:
            return cls({}, images)
        try:
            with items.open(newline="", encoding="utf-8-sig") as file:
                rows = csv.DictReader(file)
                if missing := {"item_id", "title"} - set(rows.fieldnames or ()):
                    raise DataError(f"{items} has no column {' and no '.join(sorted(missing))}. Give it a header.")
                titles = {row["item_id"]: _title(row["title"] or "", row.get("year") or "") for row in rows}
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{items} cannot be read: {error}. Give a CSV file with item_id and title.") from error
        return cls(titles, images)

    def title(self, item: str) -> str:
        """The title, or the id where there is none."""
        return self.titles.get(item) or item

    def poster(self, item: str) -> str | None:
        """The poster as a data URI, so that the report needs no other file; None where there is none."""
        if self.images is None or Path(item).name != item:  # an id with a slash in it names no file here
            return None
        path = self.images / f"{item}.jpg"
        if not path.is_file():
            return None
        return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()


def _title(title: str, year: str) -> str:
    return f"{title} ({year})" if year else title
