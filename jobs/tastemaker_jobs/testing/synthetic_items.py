"""Items to look at, to go with the synthetic ratings: neighbours in their order look and sound alike."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tastemaker_jobs.data.item_features import ItemFeatures

__all__ = ["plain_image", "synthetic_features"]

_GROUP = 10  # items that have one colour and one attribute
_COLOURS = ((220, 30, 30), (30, 220, 30), (30, 30, 220))


def plain_image(colour: tuple[int, int, int], *, height: int = 12, width: int = 8, seed: int = 0) -> bytes:
    """A JPEG of one colour with a little noise.

    Args:
        colour: Red, green, blue, 0 to 255 each.
        height: In pixels.
        width: Likewise.
        seed: Of the noise.
    """
    noise = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    data: bytes = tf.io.encode_jpeg(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).numpy()
    return data


def synthetic_features(folder: Path, *, items: int = 30) -> ItemFeatures:
    """Features of `film-0` and so on, and of `new-0` to `new-2`, which no rating has.

    One in seven has no image, one in five no title, and one no attributes; one image is broken.

    Args:
        folder: The images go there.
        items: How many films; of the new ones there are always three.
    """
    names = [*(f"film-{number}" for number in range(items)), "new-0", "new-1", "new-2"]
    titles, attributes, images = [], [], []
    for number, name in enumerate(names):
        group = (number if name.startswith("film") else number * _GROUP) // _GROUP % len(_COLOURS)
        path = folder / f"{name}.jpg"
        path.write_bytes(b"broken" if number == 11 else plain_image(_COLOURS[group], seed=number))
        images.append(None if number % 7 == 6 else path)
        titles.append("" if number % 5 == 4 else f"Film {number} of group {group}")
        attributes.append(() if number == 8 else (f"group={group}", f"year={1980 + number}"))
    return ItemFeatures(tuple(names), tuple(titles), tuple(attributes), tuple(images))
