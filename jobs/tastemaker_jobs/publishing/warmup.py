"""Warm-up requests: what TensorFlow Serving replays when it loads a version, before the first caller has to wait."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

__all__ = ["WARMUP_FILE", "write_image_warmup_requests", "write_warmup_requests"]

WARMUP_FILE = "tf_serving_warmup_requests"
_BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # servers pad batches to powers of two
_HISTORY_LENGTH = 50
_K = 50


def write_warmup_requests(folder: Path, *, name: str, item_ids: Sequence[str], signatures: Collection[str]) -> None:
    """Write `assets.extra/tf_serving_warmup_requests`: a TFRecord of PredictionLog, a call of each signature.

    `k` is sent as one value per row, because a server that batches refuses scalars.

    Args:
        folder: Of the SavedModel.
        name: The model's name, as the server knows it.
        item_ids: [I], 1 or more; the first ones are asked about.
        signatures: That the model has; `embed_items`, whose inputs differ between models, is not warmed up.
    """
    _write(folder, _requests(name, [item.encode() for item in item_ids[:_HISTORY_LENGTH]], signatures))


def write_image_warmup_requests(
    folder: Path, *, name: str, images: Sequence[bytes], signatures: Collection[str]
) -> None:
    """The same for a model whose signatures take images and nothing else.

    Args:
        folder: Of the SavedModel.
        name: The model's name, as the server knows it.
        images: Files, 1 or more; the first one is asked about.
        signatures: That the model has.
    """
    _write(
        folder,
        (
            _request(name, signature, image=[images[0]] * batch)
            for signature in sorted(set(signatures) - {"serving_default"})
            for batch in _BATCH_SIZES
        ),
    )


def _write(folder: Path, requests: Iterator[predict_pb2.PredictRequest]) -> None:
    extra = folder / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / WARMUP_FILE)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def _requests(name: str, items: list[bytes], signatures: Collection[str]) -> Iterator[predict_pb2.PredictRequest]:
    history = [b""] * (_HISTORY_LENGTH - len(items)) + items  # [T]
    for batch in _BATCH_SIZES:
        ids, k = [history] * batch, [_K] * batch  # [B, T], [B]
        yield _request(name, "recommend", history=ids, exclude=ids, k=k)
    yield _request(name, "score", history=[history], candidate=[items])
    yield _request(name, "similar", item_id=items[:1], exclude=[items[:1]], k=[_K])
    if "explain" in signatures:
        yield _request(name, "explain", history=[history], item_id=items[:1])
    if "encode" in signatures:
        yield _request(name, "encode", history=[history])


def _request(name: str, signature: str, **inputs: object) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        dtype = tf.int32 if key == "k" else tf.string
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value, dtype))
    return request
