"""The Prometheus page: TensorFlow Serving's names, labels and types, and what counts."""

import re
from typing import Any

import pytest
from tests.modelserver.saved_models import REGRESS
from tests.servers.prometheus import documented

from tastemaker_modelserver.errors import ServingError
from tastemaker_modelserver.metrics import Counter, Histogram, Metrics
from tastemaker_modelserver.states import State, VersionStates


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


def test_a_large_count_keeps_all_its_digits() -> None:
    counter = Counter("c", ["a"])
    counter.add("x", by=12_345_678)
    assert list(counter.lines()) == ['c{a="x"} 12345678']


def test_documented_metrics_are_all_there_are() -> None:
    assert {metric.name: (metric.kind, set(metric.labels)) for metric in Metrics().all()} == documented("Model server")


def test_a_version_shows_its_state_until_it_is_gone_and_an_error_stays() -> None:
    states = VersionStates(metrics=(metrics := Metrics()))
    name = ":tastemaker:modelserver:version_state"
    for state in (State.START, State.LOADING, State.AVAILABLE):
        states.publish("affine", 1, state)
    assert list(metrics.version_state.lines()) == [f'{name}{{model_name="affine",version="1"}} 30']
    states.publish("affine", 1, State.END)
    states.publish("affine", 2, State.END, ServingError("broken"))
    assert list(metrics.version_state.lines()) == [f'{name}{{model_name="affine",version="2"}} 50']


def predict(server: Any, request: Any) -> None:
    server.prediction.Predict(request, timeout=20)


class Page:
    """The samples of a Prometheus page."""

    def __init__(self, edges: Any) -> None:
        status, headers, self.text = edges.rest.send("GET", edges.page)
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        found = re.findall(r"^(:[\w:]+)\{(.*)\} (\S+)$", self.text, re.MULTILINE)
        self.samples = {(name, labels): float(value) for name, labels, value in found}

    def value(self, name: str, labels: str) -> float:
        """A sample; 0 before the first one."""
        return self.samples.get((name, labels), 0)


@pytest.mark.slow
def test_every_call_is_counted_under_tensorflow_servings_names(edges: Any, ask: Any) -> None:
    server, rest = edges.server, edges.rest
    before = Page(edges)
    for version in (1, 2, 2):
        predict(server, ask.predict("affine", version=version, x=[[2.0]]))
    rest.post("/v1/models/affine/versions/1:predict", {"instances": [[2.0]]})
    rest.post("/v1/models/affine:regress", {"signature_name": "regress", "examples": [{}]})
    rest.get("/v1/models/affine/metadata")
    ask.failure(lambda: predict(server, ask.predict("affine", z=[[2.0]])))
    ask.failure(lambda: predict(server, ask.predict("other", x=[[2.0]])))
    rest.post("/v1/models/other:predict", {"instances": [[2.0]]})
    server.prediction.Regress(ask.regression("affine", {}, signature="regress"), timeout=20)
    several = ask.inference([("affine", "regress", REGRESS)], {}, {}, {})
    server.prediction.MultiInference(several, timeout=20)
    ask.failure(lambda: server.prediction.MultiInference(ask.inference([("affine", "", REGRESS)]), timeout=20))
    after = Page(edges)

    serving, own = ":tensorflow:serving:", ":tastemaker:modelserver:"
    affine = 'model_name="affine"'
    grown = {
        (f"{serving}request_count", f'{affine},status="INVALID_ARGUMENT"'): 1,
        (f"{serving}request_count", 'model_name="other",status="NOT_FOUND"'): 2,
        (f"{serving}request_latency_count", f'{affine},API="Predict",entrypoint="GRPC"'): 3,
        (f"{serving}request_latency_count", f'{affine},API="Regress",entrypoint="GRPC"'): 1,
        (f"{serving}request_latency_count", f'{affine},API="predict",entrypoint="REST"'): 1,
        (f"{serving}request_latency_count", f'{affine},API="regress",entrypoint="REST"'): 1,
        (f"{serving}request_latency_count", f'{affine},API="",entrypoint="REST"'): 1,
        (f"{serving}runtime_latency_count", f'{affine},API="Predict",runtime="TF1"'): 4,
        (f"{serving}runtime_latency_count", f'{affine},API="Regress",runtime="TF1"'): 2,
        (f"{serving}request_example_counts_count", 'model="affine"'): 1,
        (f"{serving}request_example_counts_sum", 'model="affine"'): 3,
        (f"{serving}request_example_count_total", 'model="affine"'): 3,
        (f"{own}request_latency_count", f'{affine},version="1",signature_name="serving_default",API="Predict"'): 1,
        (f"{own}request_latency_count", f'{affine},version="2",signature_name="serving_default",API="Predict"'): 2,
        (f"{own}request_latency_count", f'{affine},version="1",signature_name="serving_default",API="predict"'): 1,
        (f"{own}request_latency_count", f'{affine},version="2",signature_name="regress",API="Regress"'): 1,
        (f"{own}request_count", f'{affine},version="2",signature_name="serving_default",API="Predict",status="OK"'): 2,
    }
    assert {key: after.value(*key) - before.value(*key) for key in grown} == grown
    # Three predictions, a regression, and three calls over REST: TensorFlow Serving counts no MultiInference.
    assert (
        after.value(f"{serving}request_count", f'{affine},status="OK"')
        - before.value(f"{serving}request_count", f'{affine},status="OK"')
        == 7
    )
    assert not any(name.startswith(serving) and 'API="MultiInference"' in labels for name, labels in after.samples)


@pytest.mark.slow
def test_latencies_are_microseconds_in_tensorflow_servings_buckets(edges: Any, ask: Any) -> None:
    predict(edges.server, ask.predict("affine", x=[[2.0]]))
    page = Page(edges)
    for name in ("request_latency", "runtime_latency"):
        assert f"# TYPE :tensorflow:serving:{name} histogram\n" in page.text
    labels = 'model_name="affine",API="Predict",entrypoint="GRPC"'
    name = ":tensorflow:serving:request_latency"
    buckets = re.findall(rf'^{name}_bucket\{{{labels},le="(.*)"\}} (\d+)$', page.text, re.MULTILINE)
    assert [limit for limit, _ in buckets][:4] == ["10", "18", "32.4", "58.32"]
    assert (len(buckets), buckets[-1][0]) == (33, "+Inf")
    counts = [int(count) for _, count in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == page.value(f"{name}_count", labels)
    assert page.value(f"{name}_sum", labels) > 100 * counts[-1]  # no call over the network takes less than 0.1 ms


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("request_count", "counter"),
        ("request_latency", "histogram"),
        ("runtime_latency", "histogram"),
        ("request_example_counts", "histogram"),
        ("request_example_count_total", "counter"),
        ("model_warmup_latency", "histogram"),
        ("model_warmup_records_read", "counter"),
        ("batching_session:queuing_latency", "histogram"),
        ("batching_session:wrapped_run_count", "counter"),
    ],
)
def test_every_name_of_tensorflow_serving_is_there(standard: Any, name: str, kind: str) -> None:
    code, page = standard.rest("/monitoring/prometheus/metrics")
    assert code == 200
    assert f"# TYPE :tensorflow:serving:{name} {kind}\n" in page


@pytest.mark.slow
def test_the_page_is_where_the_config_says_and_nowhere_else(edges: Any) -> None:
    assert edges.rest.send("GET", edges.page)[0] == 200
    assert edges.rest.send("GET", "/monitoring/prometheus/metrics")[0] == 404


@pytest.mark.slow
def test_running_server_exports_what_is_documented(edges: Any, ask: Any) -> None:
    predict(edges.server, ask.predict("affine", x=[[2.0]]))
    page = Page(edges)
    exported = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page.text, re.MULTILINE))
    known = documented("Model server")
    assert exported == {name: kind for name, (kind, _) in known.items()}
    for name, labels in page.samples:
        family = name if name in known else name.rpartition("_")[0]
        assert set(re.findall(r'(\w+)="', labels)) - {"le"} == known[family][1]


@pytest.mark.slow
def test_saturation_and_versions_are_those_of_now(edges: Any, ask: Any) -> None:
    predict(edges.server, ask.predict("affine", x=[[2.0]]))
    page, own, pool = Page(edges), ":tastemaker:modelserver:", 'thread_pool_name="adaptive"'
    assert page.value(f"{own}threads", pool) >= 4
    assert (f"{own}calls_waiting", pool) in page.samples
    assert page.value(f"{own}calls_waiting", pool) == page.value(f"{own}batches_running", pool) == 0
    for version in (1, 2):
        assert page.value(f"{own}version_state", f'model_name="affine",version="{version}"') == 30
