"""Small data with a pattern to learn, for tests that must be quick."""

from pathlib import Path

import numpy as np

from tastemaker_jobs.data.ratings import Ratings

__all__ = ["synthetic_ratings", "write_ratings"]


def synthetic_ratings(*, seed: int, users: int = 40, items: int = 30, per_user: tuple[int, int] = (8, 20)) -> Ratings:
    """Users who walk through the items in order: after item i mostly comes item i + 1.

    Args:
        seed: The same seed gives the same ratings.
        users: How many.
        items: How many, with ids from "film-0".
        per_user: The fewest and the most ratings of a user; some of them are at one timestamp.

    Returns:
        Ratings in a shuffled row order, as files have them.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        place, time = int(rng.integers(items)), 1_000_000 + int(rng.integers(1_000_000))
        for _ in range(int(rng.integers(per_user[0], per_user[1] + 1))):
            rows.append((f"user-{user}", f"film-{place % items}", int(rng.integers(1, 6)), time))
            place += 1 if rng.random() < 0.8 else int(rng.integers(2, items))
            time += int(rng.integers(0, 3))
    rows = [rows[row] for row in rng.permutation(len(rows))]
    user_id, item_id, rating, timestamp = zip(*rows, strict=True)
    return Ratings(
        np.array(user_id, dtype=object),
        np.array(item_id, dtype=object),
        np.array(rating, dtype=np.float32),
        np.array(timestamp, dtype=np.int64),
    )


def write_ratings(ratings: Ratings, path: Path) -> Path:
    """Write a ratings file; returns its path."""
    columns = (ratings.user_id, ratings.item_id, ratings.rating, ratings.timestamp)
    lines = (",".join(map(str, row)) for row in zip(*columns, strict=True))
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *lines]) + "\n")
    return path
