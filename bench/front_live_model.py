"""What a live answer costs beyond asking the model oneself: `Recommend` from LIVE_MODEL beside a direct `Predict`."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from bench.processes import front, modelserver
from bench.report import Result
from tastemaker.tfserving.v1 import predict_pb2
from tastemaker.v1 import feedback_service_pb2, feedback_service_pb2_grpc
from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker.v1 import recommendation_service_pb2_grpc as pb_grpc
from tastemaker_server.model_client import ServedModel, recommend_request

__all__ = ["measure"]

_PAIRS = 1500
_WARM_UP = 200
_HISTORY = [str(item) for item in range(1, 51)]
_PAGE = 10
_TARGET_MILLISECONDS = 2.0


def measure() -> list[Result]:
    """One call after the other, direct and through the front in turns: what is compared met the same machine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = _trained(folder / "models")
        (folder / "front").mkdir()
        with modelserver(models / "rnn", "rnn") as server:
            settings = f'[model_server]\naddress = "{server.address}"\n[surfaces.home]\nmodel = "rnn"\n'
            with (
                front(folder, settings, data_dir=folder / "front") as address,
                grpc.insecure_channel(address) as front_channel,
                grpc.insecure_channel(server.address) as model_channel,
            ):
                recommend = _recommend(front_channel)
                direct, through = [], []
                predict = _predict(model_channel)
                for number in range(_WARM_UP + _PAIRS):
                    pair = _milliseconds(predict), _milliseconds(recommend)
                    if number >= _WARM_UP:
                        direct.append(pair[0])
                        through.append(pair[1])
    more = statistics.median(through) - statistics.median(direct)
    result = Result(
        what="Recommend from LIVE_MODEL (rnn, history 50), median of one caller",
        measured=f"{statistics.median(through):.2f} ms",
        reference=f"direct Predict of the same request: {statistics.median(direct):.2f} ms",
        ratio=f"{more:+.2f} ms",
        target=f"≤ +{_TARGET_MILLISECONDS:.0f} ms",
        is_met=more <= _TARGET_MILLISECONDS,
    )
    return [result]


def _trained(models: Path) -> Path:
    """A model to ask: one epoch will do, the cost of a call does not depend on what was learned."""
    command = Path(sys.executable).parent / "tastemaker-jobs"
    arguments = ["train", "rnn", "--no-ray", "--epochs", "1", "--models-dir", str(models)]
    subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return models


def _recommend(channel: grpc.Channel) -> Callable[[], None]:
    consume = feedback_service_pb2.EVENT_TYPE_CONSUME
    events = feedback_service_pb2.FeedbackRequest()
    for number, item_id in enumerate(_HISTORY):
        events.events.add(event_id=str(number), user_id="reader", item_id=item_id, event_type=consume)
    feedback_service_pb2_grpc.FeedbackServiceStub(channel).Feedback(events, timeout=30)
    stub = pb_grpc.RecommendationServiceStub(channel)
    request = pb.RecommendRequest(user_id="reader", surface="home", max_results=_PAGE)

    def call() -> None:
        response = stub.Recommend(request, timeout=5)
        if response.tier != pb.TIER_LIVE_MODEL or len(response.items) != _PAGE:
            raise RuntimeError(f"expected a full page from LIVE_MODEL, got {response}")

    return call


def _predict(channel: grpc.Channel) -> Callable[[], Any]:
    stub = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=predict_pb2.PredictRequest.SerializeToString,
        response_deserializer=predict_pb2.PredictResponse.FromString,
    )
    request = recommend_request(ServedModel("rnn"), history=_HISTORY, history_length=50, exclude=_HISTORY, k=_PAGE)
    return lambda: stub(request, timeout=5)


def _milliseconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000
