"""What is known of the items themselves: title, attributes, image. Read from a list of items and a folder of images."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tastemaker_jobs.errors import DataError, ItemsFormatError, RatingsProblem

__all__ = ["ItemFeatures", "read_item_features"]

_MAX_PROBLEMS = 20
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class ItemFeatures:
    """I items. Anything of an item may be missing."""

    item_ids: tuple[str, ...]
    """[I]."""
    titles: tuple[str, ...]
    """[I], "" where there is none."""
    attributes: tuple[tuple[str, ...], ...]
    """[I], of each item its attributes as "column=value"; a cell with `|` in it has several values."""
    images: tuple[Path | None, ...]
    """[I], JPEG or PNG files."""

    def __len__(self) -> int:
        return len(self.item_ids)

    def in_order(self, item_ids: Sequence[str]) -> "ItemFeatures":
        """The features of these items; an item that is not listed has none.

        Args:
            item_ids: In the order wanted, such as a vocabulary's.
        """
        place = {item: number for number, item in enumerate(self.item_ids)}
        rows = [place.get(item) for item in item_ids]
        return ItemFeatures(
            tuple(item_ids),
            tuple("" if row is None else self.titles[row] for row in rows),
            tuple(() if row is None else self.attributes[row] for row in rows),
            tuple(None if row is None else self.images[row] for row in rows),
        )


def read_item_features(items: Path, images: Path | None = None) -> ItemFeatures:
    """Read a list of items: UTF-8 CSV with a header that has item_id and, as you like, title and attribute columns.

    Args:
        items: The list. Each column but item_id and title is an attribute; empty cells mean unknown.
        images: A folder of `<item_id>.jpg`, `.jpeg` or `.png`; items without one have no image.

    Raises:
        ItemsFormatError: The list breaks the format; lists the first 20 places.
        DataError: The list or the folder cannot be read.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"{images} is not a folder. Give the folder that holds <item_id>.jpg.")
    problems: list[RatingsProblem] = []
    rows: dict[str, dict[str, str]] = {}
    try:
        with items.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            for name in {"item_id", *header}:
                if header.count(name) != 1:
                    found = f"{header.count(name) or 'no'} such column in {','.join(header)[:60]!r}"
                    problems.append(RatingsProblem(1, f"column {name}", found, "each column once, item_id among them"))
            for row in reader if not problems else ():
                item = row.get("item_id")
                if None in row or None in row.values() or not item:
                    expected = f"{len(header)} fields, as in the header, item_id not empty"
                    problems.append(
                        RatingsProblem(reader.line_num, "whole line", f"{list(row.values())}"[:60], expected)
                    )
                elif item in rows:
                    problems.append(RatingsProblem(reader.line_num, "column item_id", repr(item), "each item once"))
                else:
                    rows[item] = row
                if len(problems) >= _MAX_PROBLEMS:
                    break
    except UnicodeDecodeError as error:
        problems.append(
            RatingsProblem(0, f"byte {error.start + 1}", f"byte 0x{error.object[error.start]:02x}", "UTF-8")
        )
    except csv.Error as error:
        problems.append(RatingsProblem(reader.line_num, "whole line", f"broken CSV ({error})", "valid CSV"))
    except OSError as error:
        raise DataError(f"{items} cannot be read: {error.strerror or error}. Check the path.") from error
    if problems:
        raise ItemsFormatError(items, problems, more=len(problems) >= _MAX_PROBLEMS)
    columns = [name for name in header if name not in ("item_id", "title")]
    return ItemFeatures(
        tuple(rows),
        tuple(row.get("title", "").strip() for row in rows.values()),
        tuple(_attributes(row, columns) for row in rows.values()),
        tuple(_image(item, images) for item in rows),
    )


def _attributes(row: dict[str, str], columns: Sequence[str]) -> tuple[str, ...]:
    found = ((column, value.strip()) for column in columns for value in row[column].split("|"))
    return tuple(f"{column}={value}" for column, value in found if value)


def _image(item: str, folder: Path | None) -> Path | None:
    if folder is None or "/" in item:
        return None
    return next((path for suffix in _IMAGE_SUFFIXES if (path := folder / f"{item}{suffix}").is_file()), None)
