"""Which question a folder of a search belongs to: a search that goes on must be the one that was begun there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tastemaker_jobs.errors import DataError

__all__ = ["claim_search"]

_FILE = "search.json"


def claim_search(out: Path, question: Mapping[str, Any]) -> None:
    """Note whose folder this is, or see that it is this search's.

    Args:
        out: Of the search; there.
        question: What decides the outcome: data, model, settings, trials, seed, what may be tried.

    Raises:
        DataError: The folder is of another search; says in what it differs. Or it cannot be read or written.
    """
    path = out / _FILE
    asked = json.loads(json.dumps(question, default=str, sort_keys=True))
    try:
        if path.exists():
            began = json.loads(path.read_text("utf-8"))
            names = sorted(name for name in began.keys() | asked.keys() if began.get(name) != asked.get(name))
            if names:
                raise DataError(
                    f"{out} is of another search, with other {' and '.join(names)}. Name an empty folder with --out, or"
                    " ask as before to go on."
                )
            return
        draft = path.with_suffix(".part")
        draft.write_text(json.dumps(asked, indent=1) + "\n", "utf-8")
        draft.replace(path)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read or written: {error}. Name an empty folder with --out.") from error
