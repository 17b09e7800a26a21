"""MovieLens 100K in its three published forms, brought into one canonical form.

Owns what the canonical bytes are and their checksum. Where each form is downloaded from is `sources`' matter.

Source: F. Maxwell Harper and Joseph A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass

from tastemaker_jobs.errors import ChecksumError

__all__ = ["ITEM_COUNT", "NAME", "RATINGS_SHA256", "MovieLens", "from_csv", "from_grouplens", "from_recbole"]

NAME = "ml-100k"
RATINGS_SHA256 = "010fac14271cf92527353173e77ddb19b9168a476d99c55c2f4bd55d93d4c205"
"""Of the canonical ratings.csv: a header, then GroupLens' rows in GroupLens' order (which breaks ties of time)."""
ITEM_COUNT = 1682

_GENRES = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""In the order of the flags in GroupLens' u.item."""
_TITLE_YEAR = re.compile(r"^(.*\S)\s*\((\d{4})\)(?:\s*\(V\))?\s*$")  # (V): made for video
_Row = tuple[str, str, str, str]


@dataclass(frozen=True)
class MovieLens:
    """The data set in its canonical form."""

    ratings_csv: bytes
    """user_id,item_id,rating,timestamp; \\n line ends; GroupLens' order."""
    items_csv: bytes
    """item_id,title,year,genres (joined by |); UTF-8; the year empty where unknown."""


def from_csv(ratings_csv: bytes, items_csv: bytes) -> MovieLens:
    """From files that are (nearly) canonical already.

    Raises:
        ChecksumError: They are not MovieLens 100K.
    """
    rows = list(csv.reader(io.StringIO(items_csv.decode(errors="replace"), newline="")))[1:]
    return _checked(ratings_csv, ((row[0], row[1], row[2], row[3]) for row in rows if len(row) >= 4))


def from_grouplens(archive: bytes) -> MovieLens:
    """From GroupLens' ml-100k.zip.

    Raises:
        ChecksumError: It is not MovieLens 100K.
    """
    ratings, items = _members(archive, "ml-100k/u.data", "ml-100k/u.item")
    rows = (line.split("|") for line in items.decode("latin-1").splitlines() if line)
    canonical = (
        (row[0], row[1], "", "|".join(name for name, flag in zip(_GENRES, row[5:], strict=False) if flag == "1"))
        for row in rows
        if len(row) > 5
    )
    return _checked(_ratings_csv(ratings.splitlines()), canonical)


def from_recbole(wheel: bytes) -> MovieLens:
    """From the copy that RecBole's wheel carries as an example data set.

    Raises:
        ChecksumError: It is not MovieLens 100K.
    """
    folder = "recbole/dataset_example/ml-100k"
    ratings, items = _members(wheel, f"{folder}/ml-100k.inter", f"{folder}/ml-100k.item")
    rows = (line.split("\t") for line in items.decode(errors="replace").splitlines()[1:] if line)
    canonical = ((row[0], row[1], row[2], row[3].replace(" ", "|")) for row in rows if len(row) >= 4)
    return _checked(_ratings_csv(ratings.splitlines()[1:]), canonical)


def _members(archive: bytes, *names: str) -> list[bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            return [files.read(name) for name in names]
    except (zipfile.BadZipFile, KeyError) as error:
        raise ChecksumError(f"what came is not a zip file with {', '.join(names)} ({error})") from error


def _ratings_csv(lines: Iterable[bytes]) -> bytes:
    return b"user_id,item_id,rating,timestamp\n" + b"".join(line.replace(b"\t", b",") + b"\n" for line in lines)


def _checked(ratings_csv: bytes, items: Iterable[_Row]) -> MovieLens:
    digest = hashlib.sha256(ratings_csv).hexdigest()
    if digest != RATINGS_SHA256:
        raise ChecksumError(f"the ratings have SHA-256 {digest}, and MovieLens 100K has {RATINGS_SHA256}")
    rows = [_tidied(row) for row in items]
    if sorted(int(row[0]) if row[0].isdigit() else 0 for row in rows) != list(range(1, ITEM_COUNT + 1)):
        raise ChecksumError(f"the items are not the {ITEM_COUNT} films of MovieLens 100K")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("item_id", "title", "year", "genres"))
    writer.writerows(rows)
    return MovieLens(ratings_csv, text.getvalue().encode())


def _tidied(row: _Row) -> _Row:
    """One film as every source should give it: the year out of the title, and empty where there is none.

    >>> _tidied(("1412", "Land Before Time III (1995)", "V", "Animation"))
    ('1412', 'Land Before Time III', '1995', 'Animation')
    >>> _tidied(("267", "unkonwn", "unkonwn", "unknown"))
    ('267', 'unknown', '', 'unknown')
    """
    item, title, year, genres = row
    match = _TITLE_YEAR.match(title)
    if match:
        title, year = match.groups()
    if title == "unkonwn":  # RecBole's spelling
        title = "unknown"
    return item, title.strip(), year if re.fullmatch(r"\d{4}", year) else "", genres
