"""Who has which items: as a sparse matrix to learn from, as sets of items in tensors when serving.

For models that look at the set of a user's items, not at their order.
"""

import numpy as np
import numpy.typing as npt
import scipy.sparse
import tensorflow as tf
from scipy.sparse import linalg

from tastemaker_jobs.models.training_data import TrainingData

__all__ = ["bag_of_items", "distinct_items", "item_directions", "lighten_heavy_users", "user_item_matrix"]

_MAX_DIRECTIONS = 64


def user_item_matrix(data: TrainingData, *, add_repeats: bool) -> scipy.sparse.csr_matrix:
    """Each user's items with their weights.

    Args:
        data: U users.
        add_repeats: Whether the weights of events with one item add up; else the largest counts.

    Returns:
        float64 [U, I], column i - 1 for item i; what is not stored is 0.
    """
    lengths = [len(history) for history in data.histories]
    user = np.repeat(np.arange(len(lengths)), lengths)  # [N]
    item = np.concatenate(data.histories).astype(np.int64) - 1  # [N]
    weight = np.concatenate(data.weights).astype(np.float64)  # [N]
    if not add_repeats:
        order = np.lexsort((weight, item, user))  # the largest of each user and item comes last
        user, item, weight = user[order], item[order], weight[order]
        last = np.append((np.diff(user) != 0) | (np.diff(item) != 0), True)  # [N]
        user, item, weight = user[last], item[last], weight[last]
    return scipy.sparse.csr_matrix((weight, (user, item)), shape=(len(lengths), data.item_count))


def lighten_heavy_users(matrix: scipy.sparse.csr_matrix, *, power: float) -> scipy.sparse.csr_matrix:
    """Rows divided by a power of their number of items, relative to the mean of these.

    A user's pairs of items grow with the square of their number, so a few heavy users would decide what goes with what.

    Args:
        matrix: [U, I], as from `user_item_matrix`.
        power: 0 changes nothing; 0.5 gives rows of 0 and 1 one length.
    """
    count = np.maximum(np.diff(matrix.indptr), 1)  # [U]
    return scipy.sparse.csr_matrix(scipy.sparse.diags((count / count.mean()) ** -power) @ matrix)


def item_directions(matrix: scipy.sparse.csr_matrix) -> npt.NDArray[np.float32]:
    """Short vectors of the items whose cosines come close to those of who has them: for `similar`.

    The matrix' leading singular vectors, scaled, with columns of length 1 so that popularity has no part in it. The
    full vectors would be as long as there are users.

    Args:
        matrix: [U, I], as from `user_item_matrix`.

    Returns:
        float32 [I, D], D of 64, or fewer where there are fewer users or items.
    """
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel())  # [I]
    unit = matrix @ scipy.sparse.diags(1 / np.maximum(length, 1e-12))  # [U, I]
    size = min(_MAX_DIRECTIONS, *matrix.shape)  # D
    if size == min(matrix.shape):  # ARPACK finds some of them, not all; then the matrix is small
        _, scale, right = np.linalg.svd(unit.toarray(), full_matrices=False)
    else:
        _, scale, right = linalg.svds(unit, k=size, v0=np.ones(min(matrix.shape)))  # v0: else it starts at random
    return np.asarray((scale[:, np.newaxis] * right).T, dtype=np.float32)  # [I, D]


def distinct_items(history: tf.Tensor) -> tf.Tensor:
    """Each row's items once, in order of number.

    Args:
        history: int32 [B, T], zeros anywhere.

    Returns:
        int32 [B, T], zeros anywhere.
    """
    ordered = tf.sort(history, axis=1)  # [B, T]
    repeated = tf.pad(ordered[:, 1:] == ordered[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(history)[1]]  # [B, T]
    return tf.where(repeated, 0, ordered)


def bag_of_items(history: tf.Tensor, item_count: int) -> tf.SparseTensor:
    """The set of each row's items.

    Args:
        history: int32 [B, T], zeros anywhere; an item may be there several times.
        item_count: I.

    Returns:
        Sparse float32 [B, I]: 1 where item i - 1 is among them. `tf.sparse.to_dense` makes it dense.
    """
    items = distinct_items(history)  # [B, T]
    place = tf.where(items > 0)  # [M, 2]
    number = tf.cast(tf.gather_nd(items, place), tf.int64)  # [M]
    cells = tf.stack([place[:, 0], number - 1], axis=1)  # [M, 2], ordered, as rows are
    shape = tf.stack([tf.shape(history, tf.int64)[0], item_count])
    return tf.SparseTensor(cells, tf.ones([tf.shape(cells)[0]]), shape)
