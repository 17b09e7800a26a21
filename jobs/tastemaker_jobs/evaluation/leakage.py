"""The leakage check: refuses an evaluation in which a model would be judged by what it has seen.

`train` and `evaluate` both run it: on the split itself, on what was fitted (vocabulary, popularity), and on what a
published version says that it was trained on. It lists every leak that it finds, not only the first.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tastemaker.artefacts.v1 import manifest_pb2
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.errors import LeakageError
from tastemaker_jobs.publishing.training_records import TrainingRecord, fingerprint, seen_fingerprint

__all__ = ["CHECKS", "FittedOn", "check_fitted", "check_folds", "check_split", "check_trained_on"]

CHECKS = (
    "no event, user or item that the split keeps apart stands on both sides of it",
    "no event of the training part is later than the split allows",
    "vocabulary and popularity were fitted on the training part alone",
    "each model was trained on this training part, or on nothing as new as the test",
)
"""What has been looked at where nothing was refused."""

_SHOWN = 3  # examples in a message


def check_split(split: Split) -> None:
    """Hold a split against what its protocol promises.

    Args:
        split: Of any protocol; of one that is unknown here, only that its parts share no event.

    Raises:
        LeakageError: Lists each promise that is broken.
    """
    leaks = []
    for part in ("valid", "test"):
        held_out: Ratings = getattr(split, part)
        rules = (_shared_events, *_RULES.get(split.protocol, ()))
        leaks += [f"{found} of the {part} part" for rule in rules if (found := rule(split.train, held_out))]
    if shared := _shared_events(split.valid, split.test):
        leaks.append(f"in the validation part, {shared} of the test part")
    _refuse(f"the split {split.protocol}", leaks)


def check_fitted(item_ids: Sequence[str], split: Split, *, name: str, catalogue: frozenset[str] = frozenset()) -> None:
    """Hold a vocabulary, and the popularity that its order shows, against the training part.

    Args:
        item_ids: [I], as the model has them: most trained-on first.
        split: What the model is judged on.
        name: What to call the model.
        catalogue: Items that a model may know although nobody touched them, from a list of the items themselves.

    Raises:
        LeakageError: It knows items from the held-out part alone, or its order is that of the held-out events too.
    """
    trained, leaks = Counter(split.train.item_id), []
    held_out = {*split.valid.item_id, *split.test.item_id}
    if foreign := sorted(held_out.intersection(item_ids) - trained.keys() - catalogue):
        leaks.append(f"the vocabulary has {_some(foreign, 'item')} that only held-out events have")
    known = [item for item in item_ids if item in trained]
    if not _falls(known, trained):
        for parts, words in (((split.test,), "the test"), ((split.valid, split.test), "validation and test")):
            if _falls(known, trained + Counter(item for part in parts for item in part.item_id)):
                leaks.append(f"popularity, the order of the vocabulary, was counted with {words} included")
                break
    _refuse(name, leaks)


def check_folds(splits: Sequence[Split]) -> None:
    """Hold each fold against its promises, and the folds against each other.

    Args:
        splits: All folds of one K-fold split.

    Raises:
        LeakageError: A fold leaks, or an event is tested in more than one.
    """
    tested: Counter[tuple[str, str, int]] = Counter()
    for split in splits:
        check_split(split)
        tested.update(set(_events(split.test)))
    if twice := sorted(event for event, folds in tested.items() if folds > 1):
        _refuse(f"the split {splits[0].protocol}", [f"duplicates: {_some(twice, 'event')} tested in several folds"])


@dataclass(frozen=True)
class FittedOn:
    """What a published version says that it was trained on."""

    manifest: manifest_pb2.ModelManifest
    """Its manifest."""
    record: TrainingRecord | None
    """Its training record, if it has one."""


def check_trained_on(fitted: FittedOn, split: Split, *, sha256: str, name: str) -> None:
    """Hold what a version was trained on against a split.

    It passes if it was trained on exactly this training part. Where the split is one in time, it also passes if all
    that it was trained on is older than the whole test: then it may be of another file. A version without a record
    passes if its data window is that of the training part.

    Args:
        fitted: What the version says.
        split: What it is to be judged on.
        sha256: Of the ratings file that the split was made from.
        name: What to call the version.

    Raises:
        LeakageError: It was trained on something else, which may hold the test.
    """
    window, train = fitted.manifest.data_window, split.train
    newest = window.last_event_time.seconds
    in_time = split.protocol in ("leave-last-out", "temporal")
    if in_time and newest < int(split.test.timestamp.min()):
        return  # whatever it was trained on, the test came later
    if fitted.record is not None:
        seen = (seen_fingerprint(train), seen_fingerprint(train, split.valid))
        same = fitted.record.train_sha256 == fingerprint(train) or fitted.record.seen_sha256 in seen
    else:
        said = (window.sha256, window.event_count, window.user_count, window.item_count, newest)
        users, items = len(set(train.user_id)), len(set(train.item_id))
        same = said == (sha256, len(train), users, items, int(train.timestamp.max()))
    if same:
        return
    other = f"the split {fitted.record.protocol}" if fitted.record else "another split"
    which = f"{other} of this file" if window.sha256 == sha256 else f"another file ({window.dataset})"
    leaks = [f"it was trained on {which}: {window.event_count} events, and the training part here has {len(train)}"]
    if in_time:
        late = int((split.test.timestamp <= newest).sum())
        leaks.append(f"it saw events later than the split: {late} of {len(split.test)} test events are no newer")
    _refuse(
        name, leaks, fix=f"Train it with `tastemaker-jobs train {fitted.manifest.name} --protocol {split.protocol}`."
    )


def _shared_events(train: Ratings, held_out: Ratings) -> str | None:
    both = set(_events(train)) & set(_events(held_out))
    return f"duplicates: {_some(sorted(both), 'event')} stand in training and are events" if both else None


def _shared_users(train: Ratings, held_out: Ratings) -> str | None:
    both = set(train.user_id) & set(held_out.user_id)
    return f"training knows {_some(sorted(both), 'user')}" if both else None


def _shared_items(train: Ratings, held_out: Ratings) -> str | None:
    both = set(train.item_id) & set(held_out.item_id)
    return f"training knows {_some(sorted(both), 'item')}" if both else None


def _later_than_the_moment(train: Ratings, held_out: Ratings) -> str | None:
    if not len(train) or not len(held_out):
        return None
    late = train.timestamp >= held_out.timestamp.min()
    users = [f"user {user}" for user in train.user_id[late]]
    return f"training has {_some(users, 'event')} later than the split: not before the first one" if users else None


def _later_than_the_users_own(train: Ratings, held_out: Ratings) -> str | None:
    first: dict[str, int] = {}
    for user, time in zip(held_out.user_id, held_out.timestamp.tolist(), strict=True):
        first[user] = min(time, first.get(user, time))
    late = np.array(
        [time > first.get(user, time) for user, time in zip(train.user_id, train.timestamp.tolist(), strict=True)],
        dtype=np.bool_,
    )
    users = [f"user {user}" for user in train.user_id[late]]
    return f"training has {_some(users, 'event')} later than the split: after their user's own" if users else None


_Rule = Callable[[Ratings, Ratings], str | None]
_RULES: Mapping[str, tuple[_Rule, ...]] = {
    "leave-last-out": (_later_than_the_users_own,),
    "temporal": (_later_than_the_moment,),
    "strong-generalisation": (_shared_users,),
    "user-folds": (_shared_users,),
    "cold-users": (_shared_users,),
    "cold-items": (_shared_items,),
}


def _events(ratings: Ratings) -> list[tuple[str, str, int]]:
    return list(zip(ratings.user_id, ratings.item_id, ratings.timestamp.tolist(), strict=True))


def _falls(item_ids: Sequence[str], counts: Mapping[str, int]) -> bool:
    """Whether the counts of these items never rise."""
    values = [counts[item] for item in item_ids]
    return values == sorted(values, reverse=True)


def _some(found: Sequence[object], what: str) -> str:
    """How many, and the first few.

    >>> _some(["7", "9"], "item"), _some("abcd", "user")
    ('2 items (7, 9)', '4 users (a, b, c, ...)')
    """
    shown = ", ".join(str(thing) for thing in found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'} ({shown})"


def _refuse(
    what: str, leaks: Sequence[str], *, fix: str = "Figures from it would be too good; nothing was judged."
) -> None:
    if leaks:
        raise LeakageError(what, leaks, fix)
