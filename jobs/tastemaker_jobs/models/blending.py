"""The weights of a blend, learnt: which part to believe for which kind of user.

Knows nothing of models: scores come in, weights go out.
"""

from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.training.validation import Validation

__all__ = ["BlendProblem", "learn_weights"]

_MAX_QUESTIONS = 4000
_BEST_OF_EACH_PART = 100
_BATCH = 128
_STEPS = 300
_STEP_SIZE = 0.05
_MIN_QUESTIONS = 20  # below that a weight would be luck


@dataclass(frozen=True)
class BlendProblem:
    """N questions with C candidates each, among them the right one."""

    scores: npt.NDArray[np.float32]
    """[N, C, P]: standardised scores of the parts; 0 where a candidate is padding."""
    is_candidate: npt.NDArray[np.bool_]
    """[N, C]: False for padding."""
    segment: npt.NDArray[np.int32]
    """[N]: 0 cold, 1 in between, 2 heavy. The right candidate is the first one."""
    stand_in: npt.NDArray[np.float32]
    """[P]: the slope by which each part follows the last part that knows all items, over items known to both."""

    @classmethod
    def of(
        cls,
        validation: Validation,
        part_scores: tf.types.experimental.PolymorphicFunction,
        *,
        cold: int,
        heavy: int,
        seed: int,
    ) -> "BlendProblem | None":
        """Ask the parts the validation questions, and each once more as if the user were new.

        A new user is one of whom only the newest 1 to `cold` events are known: real new users are rare in data that
        was filtered, and what is asked for must be an event that no part was trained on.

        Args:
            validation: Events that no part was trained on, of items that all parts know.
            part_scores: int32 [B, T] to float32 [B, P, I] and bool [P, I].
            cold: At most so many events make a new user.
            heavy: At least so many make a heavy one.
            seed: Of the choice of questions and of how much is known of new users.

        Returns:
            None where there are too few questions to learn from.
        """
        history, target = validation.questions
        rng = np.random.default_rng(seed)
        asked = np.flatnonzero(target)
        asked = rng.permutation(asked)[:_MAX_QUESTIONS]
        if len(asked) < _MIN_QUESTIONS:
            return None
        history, target = history[asked], target[asked]
        newest = _newest(history, rng.integers(1, cold + 1, len(asked)))
        candidates, scores, slopes = [], [], []
        for whole in (history, newest):
            for start in range(0, len(asked), _BATCH):
                rows = slice(start, start + _BATCH)
                found, known = (part.numpy() for part in part_scores(tf.constant(whole[rows])))
                slopes.append(_slopes(found, known))
                chosen = [
                    _candidates(of_user[:, known.all(axis=0)], seen, wanted)
                    for of_user, seen, wanted in zip(found, history[rows], target[rows], strict=True)
                ]
                candidates += chosen
                scores += [of_user[:, items].T for of_user, items in zip(found, chosen, strict=True)]
        width = max(map(len, candidates))
        padded = np.zeros((len(candidates), width, scores[0].shape[1]), dtype=np.float32)  # [N, C, P]
        for row, of_user in zip(padded, scores, strict=True):
            row[: len(of_user)] = of_user
        is_candidate = np.arange(width) < np.array([len(items) for items in candidates])[:, np.newaxis]  # [N, C]
        count = np.concatenate([(history > 0).sum(axis=1), (newest > 0).sum(axis=1)])  # [N]
        segment = (count > cold).astype(np.int32) + (count >= heavy).astype(np.int32)  # [N]
        return cls(padded, is_candidate, segment, np.mean(slopes, axis=0).astype(np.float32))


def learn_weights(
    problem: BlendProblem, *, shrinkage: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights under which the right candidates are likeliest: softmax over candidates, maximum likelihood.

    Args:
        problem: What to get right.
        shrinkage: Factor of the squared distance of a segment's weights from those of all users.

    Returns:
        Weights [S, P], none below 0, a row per segment; and `stand_in` [P].
    """
    scores, segment = tf.constant(problem.scores), tf.constant(problem.segment)
    padding = tf.constant(np.where(problem.is_candidate, 0, -1e9).astype(np.float32))  # [N, C]
    part_count = problem.scores.shape[2]
    common = tf.Variable(tf.fill([part_count], 1.0 / part_count))  # [P]
    own = tf.Variable(tf.zeros([3, part_count]))  # [S, P]
    optimizer = keras.optimizers.Adam(_STEP_SIZE)
    optimizer.build([common, own])

    def step() -> None:
        with tf.GradientTape() as tape:
            weights = tf.nn.relu(common + own)  # [S, P]
            logits = tf.einsum("np,ncp->nc", tf.gather(weights, segment), scores) + padding  # [N, C]
            likelihood = tf.reduce_mean(tf.nn.log_softmax(logits)[:, 0])
            loss = -likelihood + shrinkage * tf.reduce_mean(tf.square(own))
        optimizer.apply(tape.gradient(loss, [common, own]), [common, own])

    one_step = tf.function(step)
    for _ in range(_STEPS):
        one_step()
    return tf.nn.relu(common + own).numpy(), problem.stand_in


def _newest(history: npt.NDArray[np.int32], count: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Histories [N, T] with nothing but the newest `count` [N] items."""
    is_item = history > 0
    from_end = is_item[:, ::-1].cumsum(axis=1)[:, ::-1]  # [N, T], 1 for the newest item
    return np.where(is_item & (from_end <= count[:, np.newaxis]), history, 0)


def _candidates(
    scores: npt.NDArray[np.float32], seen: npt.NDArray[np.int32], wanted: np.int32
) -> npt.NDArray[np.int64]:
    """The right item's column, and those that each part [P, I] puts first and the user has not seen.

    All parts know the first I items, and nothing behind them is a candidate.
    """
    hidden = np.zeros(scores.shape[1], dtype=np.bool_)  # [I]
    hidden[seen[seen > 0] - 1] = True
    open_to_all = np.where(hidden, -np.inf, scores)  # [P, I]
    count = min(_BEST_OF_EACH_PART, scores.shape[1])
    best = np.unique(np.argpartition(-open_to_all, count - 1, axis=1)[:, :count])
    best = best[~hidden[best] & (best != wanted - 1)]
    return np.concatenate([[int(wanted) - 1], best])


def _slopes(scores: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """[B, P, I] and [P, I] to [P]: regression through 0 of each part on the one that knows most, over what it knows."""
    widest = int(known.sum(axis=1).argmax())
    return np.array(
        [
            (scores[:, part, of_part] * scores[:, widest, of_part]).sum()
            / max(1e-6, float(np.square(scores[:, widest, of_part]).sum()))
            for part, of_part in enumerate(known)
        ]
    )
