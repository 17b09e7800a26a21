"""The models that the model server is measured with: GRUs over 50 items of 3,706, untrained.

`keras` runs the Keras layer step by step, as most users' models do: a call costs much, a row in a batch little. `fused`
is our own `rnn`, which serves with a fused cell: a call costs little, so that a batch can gain less.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tastemaker_server.model_client import ServedModel, recommend_request

__all__ = ["HISTORY", "in_process", "predict_request", "save"]

_ITEMS = 3706
_PAGE = 10
HISTORY = [str(item) for item in range(1, 51)]
"""T = 50 item ids."""


def save(version: Path, kind: Literal["fused", "keras"]) -> None:
    """Writes the SavedModel, with warm-up requests, into the new folder `version`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from tastemaker_jobs.models.rnn import Rnn, RnnConfig
    from tastemaker_jobs.models.signatures import export_saved_model
    from tastemaker_jobs.publishing.warmup import write_warmup_requests

    class KerasGru(Rnn):
        def _last_state(self, items: Any) -> Any:
            return self.gru(self.items.embed(items), mask=items > 0)[:, -1]  # [B, H]

    model_class = KerasGru if kind == "keras" else Rnn
    item_ids = [str(item) for item in range(1, _ITEMS + 1)]
    signatures = export_saved_model(model_class(RnnConfig(), item_count=_ITEMS, seed=0), item_ids, version)
    write_warmup_requests(version, name="gru", item_ids=item_ids, signatures=signatures)


def in_process(version: Path, batch: int) -> Callable[[], Any]:
    """A call of the same signature without any server: `batch` rows at once, results as numpy arrays."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))
    recommend = loaded.signatures["recommend"]
    inputs = {
        "history": tf.constant([HISTORY] * batch),  # [B, T]
        "exclude": tf.constant([HISTORY + [""] * 14] * batch),  # [B, E], as the front pads it
        "k": tf.constant([_PAGE] * batch),  # [B]
    }

    def call(model: Any = loaded) -> Any:  # the signature holds its variables weakly: `loaded` must live on
        return {name: value.numpy() for name, value in recommend(**inputs).items()}, model

    return call


def predict_request() -> Any:
    """One row, as the front sends it."""
    return recommend_request(ServedModel("gru"), history=HISTORY, history_length=len(HISTORY), exclude=HISTORY, k=_PAGE)
