"""A GRU over whole sequences by TensorFlow's fused cell, with its gradient.

The Keras layer is a loop of some fifteen small ops per step, and as many again for each of their gradients; the fused
cell is one op, its gradient another, and the gradients of the weights are two products over all steps at once. Takes
half the time at batch 64 and L = 50, a sixth at batch 1. A test holds it to the layer's results.

Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation"
(EMNLP 2014); Appleyard et al., "Optimizing Performance of Recurrent Neural Networks on GPUs" (2016) for weight
gradients that are one product over all steps.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

__all__ = ["all_states", "last_state"]


def last_state(embedded: tf.Tensor, present: tf.Tensor, weights: Sequence[Any]) -> tf.Tensor:
    """The state after the last step. Has no gradient.

    Args:
        embedded: float32 [B, L, D], L known when the graph is made.
        present: bool [B, L]; false, if anywhere, only before the first true.
        weights: Of a Keras GRU with `reset_after=False`: kernel [D, 3 H], recurrent kernel [H, 3 H], bias [3 H].

    Returns:
        float32 [B, H], zeros where nothing is present.
    """
    return _run(tf.transpose(embedded, [1, 0, 2]), _steps(present), *_gates(weights))[-1].after


def all_states(embedded: tf.Tensor, present: tf.Tensor, weights: Sequence[Any]) -> tf.Tensor:
    """The state after each step. See `last_state`.

    Returns:
        float32 [B, L, H], zeros before what is present.
    """
    steps = _steps(present)

    def run(inputs: tf.Tensor, *gates: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
        ran = _run(inputs, steps, *gates)
        return tf.stack([step.after for step in ran]), lambda upstream: _gradient(ran, inputs, gates, upstream)

    states = tf.custom_gradient(run)(tf.transpose(embedded, [1, 0, 2]), *_gates(weights))  # [L, B, H]
    return tf.transpose(states, [1, 0, 2])


class _Step:
    """What the gradient needs of one step."""

    def __init__(self, inputs: tf.Tensor, present: tf.Tensor, before: tf.Tensor, gates: dict[str, tf.Tensor]) -> None:
        self.inputs, self.present, self.before = inputs, present, before  # [B, D], [B, 1], [B, H]
        self.cell = tf.raw_ops.GRUBlockCell(x=inputs, h_prev=before, **gates)
        self.after = self.cell.h * present  # [B, H]


def _run(inputs: tf.Tensor, present: list[tf.Tensor], *gates: tf.Tensor) -> list[_Step]:
    """Inputs [L, B, D], L times [B, 1], and gates as from `_gates`."""
    ran: list[_Step] = []
    state = tf.zeros([tf.shape(inputs)[1], gates[3].shape[0]])  # [B, H]
    for one, is_there in zip(tf.unstack(inputs), present, strict=True):
        ran.append(_Step(one, is_there, state, _named(gates)))
        state = ran[-1].after
    return ran


def _gradient(ran: list[_Step], inputs: tf.Tensor, gates: Sequence[tf.Tensor], upstream: tf.Tensor) -> list[tf.Tensor]:
    """Of the inputs [L, B, D] and of each gate, from that of the states [L, B, H]."""
    carried = tf.zeros_like(upstream[0])  # [B, H]
    cells: list[Any] = []
    for step, from_above in zip(reversed(ran), reversed(tf.unstack(upstream, num=len(ran))), strict=True):
        cell, named = step.cell, _named(gates)
        found = tf.raw_ops.GRUBlockCellGrad(
            x=step.inputs,
            h_prev=step.before,
            **named,
            r=cell.r,
            u=cell.u,
            c=cell.c,
            d_h=(carried + from_above) * step.present,
        )
        carried = found.d_h_prev
        cells.append(found)
    cells.reverse()
    to_candidate = tf.concat([cell.d_c_bar for cell in cells], axis=0)  # [L B, H]
    to_gates = tf.concat([cell.d_r_bar_u_bar for cell in cells], axis=0)  # [L B, 2 H]
    flat = tf.reshape(inputs, [-1, inputs.shape[2]])  # [L B, D]
    before = tf.concat([step.before for step in ran], axis=0)  # [L B, H]
    reset = tf.concat([step.cell.r for step in ran], axis=0) * before  # [L B, H]
    return [
        tf.stack([cell.d_x for cell in cells]),
        tf.matmul(tf.concat([flat, before], axis=1), to_gates, transpose_a=True),
        tf.matmul(tf.concat([flat, reset], axis=1), to_candidate, transpose_a=True),
        tf.reduce_sum(to_gates, axis=0),
        tf.reduce_sum(to_candidate, axis=0),
    ]


def _steps(present: tf.Tensor) -> list[tf.Tensor]:
    """Bool [B, L] to L times float32 [B, 1]."""
    steps: list[tf.Tensor] = tf.unstack(tf.transpose(tf.cast(present, tf.float32))[:, :, tf.newaxis])
    return steps


def _gates(weights: Sequence[Any]) -> tuple[tf.Tensor, ...]:
    """From Keras' order, update, reset and candidate, to the fused cell's: [D + H, 2 H], [D + H, H], [2 H], [H]."""
    kernel, recurrent, bias = (tf.convert_to_tensor(weight) for weight in weights)
    update, reset, candidate = tf.split(tf.concat([kernel, recurrent], axis=0), 3, axis=1)
    update_bias, reset_bias, candidate_bias = tf.split(bias, 3)
    return (
        tf.concat([reset, update], axis=1),
        candidate,
        tf.concat([reset_bias, update_bias], axis=0),
        candidate_bias,
    )


def _named(gates: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    return dict(zip(("w_ru", "w_c", "b_ru", "b_c"), gates, strict=True))
