"""The serving signatures, the same for every model: ids in, ids out.

Owns the contract of docs/architecture.md on the model's side: vocabulary tables inside the SavedModel, exclusion,
ranking, padding. What the scores are is the model's own matter. Only stock TensorFlow ops, so that tensorflow/serving
loads it.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tastemaker_jobs.models.recommender import Recommender
from tastemaker_jobs.models.unit_length import unit_length

__all__ = ["export_saved_model"]


def export_saved_model(model: Recommender, item_ids: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Write a model as a SavedModel: `recommend` (also `serving_default`), `score`, `similar`, and what it has besides.

    Those are `explain`, `encode` and `embed_items`.

    Args:
        model: Trained.
        item_ids: [I], in the order of the model's item numbers.
        folder: Made; must not exist.

    Returns:
        The names of the signatures, sorted.
    """
    with tempfile.TemporaryDirectory(prefix="tastemaker-vocabulary-") as aside:
        vocabulary = Path(aside, "item_ids.txt")
        vocabulary.write_bytes("".join(f"{item}\n" for item in item_ids).encode())
        served = _ServedModel(model, vocabulary)
        signatures = served.signatures()
        tf.saved_model.save(served, str(folder), signatures=signatures)
    return tuple(sorted(signatures))


class _ServedModel(tf.Module):
    """A model with its vocabulary. Holds the model's variables alone, not its Keras objects: nothing else is saved."""

    def __init__(self, model: Recommender, vocabulary: Path) -> None:
        super().__init__()
        self._asset = tf.saved_model.Asset(str(vocabulary))
        number, line = (tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER), (tf.string, tf.lookup.TextFileIndex.WHOLE_LINE)
        self._number_of = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(self._asset, *line, *number), -1)
        self._id_of = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(self._asset, *number, *line), "")
        self._variables = [weight.value for weight in model.weights]
        self._unit_vectors = tf.Variable(unit_length(model.item_vectors()), trainable=False)  # [I, D]
        self._model: Callable[[], Recommender] = lambda: model
        self._item_count = model.item_count
        self._embedder = model.embedder()
        self._resources = list(self._embedder.resources) if self._embedder else []

    def signatures(self) -> dict[str, Any]:
        """Each signature's name and traced function."""
        ids = tf.TensorSpec([None, None], tf.string)
        history, exclude, candidate = (
            tf.TensorSpec(ids.shape, ids.dtype, n) for n in ("history", "exclude", "candidate")
        )
        item = tf.TensorSpec([None], tf.string, "item_id")
        # A scalar by contract. TensorFlow Serving can batch calls only if every input has a batch axis, so one value
        # per row must work as well; no shape but the unknown one admits both.
        k = tf.TensorSpec(None, tf.int32, "k")
        recommend = tf.function(self._recommend).get_concrete_function(history, exclude, k)
        found = {
            "recommend": recommend,
            "score": tf.function(self._score).get_concrete_function(history, candidate),
            "serving_default": recommend,
            "similar": tf.function(self._similar).get_concrete_function(item, exclude, k),
        }
        if self._model().explains:
            found["explain"] = tf.function(self._explain).get_concrete_function(history, item)
        if self._model().encodes:
            found["encode"] = tf.function(self._encode).get_concrete_function(history)
        if embedder := self._embedder:
            embed = tf.function(lambda *inputs: {"embedding": embedder.function(*inputs)})
            found["embed_items"] = embed.get_concrete_function(*embedder.inputs)
        return found

    def _recommend(self, history: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best k items after a history.

        Args:
            history: string [B, T], oldest first, left-padded with "". Unknown ids count as padding.
            exclude: string [B, E], padded with ""; these never return. Items of the history do, unless they are in
                here.
            k: int32 [], or [B] with one value per row. Above the catalogue's size the rest is filled up, below 0 it is
                0.

        Returns:
            item_id string [B, K] and score float32 [B, K], best first, K the largest k; "" and -inf where there are
            fewer, and beyond a row's own k.
        """
        scores = self._model().score_items(self._numbers(history))  # [B, I]
        return self._ranked(self._without(scores, self._numbers(exclude)), k)

    def _score(self, history: tf.Tensor, candidate: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores of given items.

        Args:
            history: string [B, T], as for `recommend`.
            candidate: string [B, C], padded with "".

        Returns:
            score float32 [B, C], -inf where the item is unknown.
        """
        scores = self._model().score_items(self._numbers(history))  # [B, I]
        number = self._numbers(candidate)  # [B, C]
        found = tf.gather(scores, tf.maximum(number - 1, 0), batch_dims=1)  # [B, C]
        return {"score": tf.where(number > 0, found, -float("inf"))}

    def _similar(self, item_id: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k items most like an item, by cosine of what the model has learnt of them. Never the item itself.

        Args:
            item_id: string [B]. An unknown one has nothing like it.
            exclude: string [B, E], as for `recommend`.
            k: As for `recommend`.

        Returns:
            As `recommend`.
        """
        number = self._numbers(item_id)[:, tf.newaxis]  # [B, 1]
        query = tf.gather(self._unit_vectors, tf.maximum(number[:, 0] - 1, 0))  # [B, D]
        cosine = tf.matmul(query, self._unit_vectors, transpose_b=True)  # [B, I]
        cosine = tf.where(number > 0, cosine, -float("inf"))  # [B, I]
        return self._ranked(self._without(cosine, tf.concat([number, self._numbers(exclude)], axis=1)), k)

    def _explain(self, history: tf.Tensor, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        """The event of a history that adds most to the score of an item.

        Args:
            history: string [B, T], as for `recommend`.
            item_id: string [B], the item to explain.

        Returns:
            item_id string [B], an id of the history, and weight float32 [B], how much it adds to the score that
            `score` gives. "" and 0 where nothing adds, or the item is unknown.
        """
        number, item = self._numbers(history), self._numbers(item_id)  # [B, T], [B]
        nothing = tf.zeros([tf.shape(history)[0], 1])  # [B, 1]; so that there is something where T is 0
        added = self._model().contributions(number, tf.maximum(item, 1))  # [B, T]
        added = tf.concat([nothing, tf.where((number > 0) & (item > 0)[:, tf.newaxis], added, 0.0)], axis=1)
        event = tf.argmax(added, axis=1, output_type=tf.int32)  # [B], 0 where nothing is above 0
        ids = tf.concat([tf.fill([tf.shape(history)[0], 1], ""), history], axis=1)  # [B, 1 + T]
        return {"item_id": tf.gather(ids, event, batch_dims=1), "weight": tf.reduce_max(added, axis=1)}

    def _encode(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the model makes of a user, as features for other models.

        Args:
            history: string [B, T], as for `recommend`.

        Returns:
            user_vector float32 [B, H].
        """
        return {"user_vector": self._model().user_vectors(self._numbers(history))}

    def _numbers(self, ids: tf.Tensor) -> tf.Tensor:
        """Item numbers int32 of the same shape: 1 to I, 0 where unknown or "" (which no vocabulary has)."""
        return tf.cast(self._number_of.lookup(ids) + 1, tf.int32)

    def _without(self, scores: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """Scores [B, I] with -inf at each row's item numbers [B, E]; zeros mean no item."""
        coordinates = tf.cast(tf.where(number > 0), tf.int32)  # [M, 2]
        cells = tf.stack([coordinates[:, 0], tf.gather_nd(number, coordinates) - 1], axis=1)  # [M, 2]
        nothing = tf.fill([tf.shape(cells)[0]], -float("inf"))  # [M]
        return tf.tensor_scatter_nd_update(scores, cells, nothing)  # [B, I]

    def _ranked(self, scores: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores [B, I] as lists of K. Equal scores come in vocabulary order, the more popular item first."""
        row_k = tf.maximum(tf.reshape(k, [-1]), 0)  # [1] or [B]
        longest = tf.maximum(tf.reduce_max(row_k), 0)  # [], K; 0 where the batch is empty
        within = tf.minimum(longest, self._item_count)
        best, index = tf.math.top_k(scores, within)  # [B, min(K, I)] each
        missing = [[0, 0], [0, longest - within]]
        best = tf.pad(best, missing, constant_values=-float("inf"))  # [B, K]
        index = tf.pad(index, missing)  # [B, K]
        wanted = tf.range(longest) < row_k[:, tf.newaxis]  # [1 or B, K]
        best = tf.where(wanted, best, -float("inf"))  # [B, K]
        ids = self._id_of.lookup(tf.cast(index, tf.int64))  # [B, K]
        return {"item_id": tf.where(tf.math.is_inf(best), "", ids), "score": best}
