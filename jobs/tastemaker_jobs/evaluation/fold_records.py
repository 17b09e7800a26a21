"""Finished folds of a cross-validation on disk: what is there is not run again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tastemaker_jobs.data.contents import contents_of
from tastemaker_jobs.errors import DataError
from tastemaker_jobs.evaluation.cross_validation import Confusion, Fold, FoldRequest
from tastemaker_jobs.evaluation.metrics import Figure

__all__ = ["FoldRecords"]


class FoldRecords:
    """Finished folds on disk, so that none is run twice: a file each, written in one step."""

    def __init__(self, folder: Path, request: FoldRequest) -> None:
        """Nothing is read yet.

        Args:
            folder: Of the cross-validation; made where it is missing.
            request: Records of another one, or of other files of the same names, are refused.
        """
        self._folder = folder
        question = {**asdict(request), "number": 0, "data": contents_of(request.data)}
        text = json.dumps(question, sort_keys=True, default=str)
        self._digest = hashlib.sha256(text.encode()).hexdigest()

    def read(self) -> dict[int, Fold]:
        """The folds that are finished, by number.

        Raises:
            DataError: The folder has folds of another cross-validation, or a broken file.
        """
        found = {}
        for path in sorted(self._folder.glob("fold-*.json")):
            try:
                content = json.loads(path.read_text("utf-8"))
                figures = {
                    name: [Figure(**figure) for figure in of_model] for name, of_model in content["figures"].items()
                }
                confusion = _confusion(content["confusion"]) if content.get("confusion") else None
                fold = Fold(content["number"], figures, content["epochs"], content["seconds"], confusion)
                other = content["request"] != self._digest
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path} cannot be read: {error}. Remove it, and its fold is run again.") from error
            if other:
                raise DataError(
                    f"{path} belongs to another cross-validation: other data, model, seed, folds or settings. Name an"
                    " empty folder with --out."
                )
            found[fold.number] = fold
        return found

    def write(self, fold: Fold) -> None:
        """Keep a fold.

        Raises:
            DataError: The folder cannot be written.
        """
        path = self._folder / f"fold-{fold.number}.json"
        draft = path.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"request": self._digest, **asdict(fold)}), "utf-8")
            draft.replace(path)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror or error}. Name another --out.") from error


def _confusion(content: Mapping[str, Any]) -> Confusion:
    return Confusion(tuple(content["labels"]), tuple(map(tuple, content["counts"])))
