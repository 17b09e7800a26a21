"""The Prometheus page: TensorFlow Serving's names, labels and types."""

import re
from typing import Any

import pytest

from tastemaker_modelserver.metrics import Counter, Histogram


def test_buckets_are_cumulative_and_closed() -> None:
    histogram = Histogram("h", ["a"], [1.0, 10.0])
    for value in (0.5, 5.0, 50.0):
        histogram.observe(value, 'x"y')
    assert list(histogram.lines()) == [
        'h_bucket{a="x\\"y",le="1"} 1',
        'h_bucket{a="x\\"y",le="10"} 2',
        'h_bucket{a="x\\"y",le="+Inf"} 3',
        'h_sum{a="x\\"y"} 55.5',
        'h_count{a="x\\"y"} 3',
    ]


def test_a_counter_sums_over_its_labels() -> None:
    counter = Counter("c", ["a"])
    counter.add("x")
    counter.add("y", by=2)
    assert (counter.value("x"), counter.value()) == (1, 3)


@pytest.mark.slow
def test_calls_show_under_tensorflow_servings_names(standard: Any, ask: Any) -> None:
    standard.prediction.Predict(ask.predict("affine", x=[[2.0]]), timeout=10)
    ask.failure(lambda: standard.prediction.Predict(ask.predict("affine"), timeout=10))
    standard.rest("/v1/models/affine:predict", {"instances": [[1.0]]})
    code, page = standard.rest("/monitoring/prometheus/metrics")
    assert code == 200
    for name, kind in (
        (":tensorflow:serving:request_count", "counter"),
        (":tensorflow:serving:request_latency", "histogram"),
        (":tensorflow:serving:runtime_latency", "histogram"),
        (":tensorflow:serving:model_warmup_latency", "histogram"),
        (":tensorflow:serving:model_warmup_records_read", "counter"),
        (":tensorflow:serving:batching_session:queuing_latency", "histogram"),
        (":tensorflow:serving:batching_session:wrapped_run_count", "counter"),
    ):
        assert f"# TYPE {name} {kind}\n" in page
    for sample in (
        r':tensorflow:serving:request_count{model_name="affine",status="OK"} \d+',
        r':tensorflow:serving:request_count{model_name="affine",status="INVALID_ARGUMENT"} \d+',
        r':tensorflow:serving:request_latency_count{model_name="affine",API="Predict",entrypoint="GRPC"} \d+',
        r':tensorflow:serving:request_latency_count{model_name="affine",API="predict",entrypoint="REST"} \d+',
        r':tensorflow:serving:runtime_latency_count{model_name="affine",API="Predict",runtime="TF1"} \d+',
        r':tastemaker:modelserver:request_latency_count{model_name="affine",version="123",signature_name="[^"]+",API=".*',
    ):
        assert re.search(sample, page), sample
