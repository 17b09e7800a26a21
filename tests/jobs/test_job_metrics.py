"""What a running job tells Prometheus: real commands, scraped while they run."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.servers.prometheus import Scrape, documented, parsed, scrape

from tastemaker_jobs import job_metrics
from tastemaker_jobs.cli import main
from tastemaker_jobs.job_metrics import JobMetrics
from tastemaker_jobs.precompute.progress import ShardEvent
from tastemaker_jobs.training.progress import EpochEvent, StageEvent


def _seen(registry: CollectorRegistry) -> Scrape:
    return parsed(generate_latest(registry).decode())


def test_documented_metrics_are_all_that_a_job_can_tell(free_port: int) -> None:
    with job_metrics.exposed(f"127.0.0.1:{free_port}", "train") as metrics:
        metrics.parts("model", 0, 2)
        metrics.told(EpochEvent("rnn", 1, 10, 0.5, 0.1, 2.0, examples=1000))
        metrics.shard(ShardEvent("home", 1, 8, computed=100))
        seen = scrape(f"http://127.0.0.1:{free_port}/metrics")
    assert seen.described() == documented("Jobs")
    assert all(family.documentation for family in seen.families.values())
    with socket.create_server(("127.0.0.1", free_port)):
        pass  # the port is free again


def test_epochs_and_restarts_are_told_by_task() -> None:
    metrics = JobMetrics(registry=(registry := CollectorRegistry()), command="crossval")
    metrics.told(EpochEvent("rnn, fold 1", 1, 10, 0.9, 0.1, 2.0, examples=1000))
    metrics.told(StageEvent("rnn, fold 1", "going on after epoch 1", is_restart=True))
    metrics.told(EpochEvent("rnn, fold 1", 2, 10, 0.5, float("nan"), 4.0, examples=1000))
    seen, task = _seen(registry), {"task": "rnn, fold 1"}
    assert seen.value("tastemaker_jobs_epoch", **task) == 2
    assert seen.value("tastemaker_jobs_epochs", **task) == 10
    assert seen.value("tastemaker_jobs_loss", **task) == 0.5
    assert seen.value("tastemaker_jobs_examples_total", **task) == 2000
    assert seen.value("tastemaker_jobs_examples_per_second", **task) == 250
    assert seen.value("tastemaker_jobs_restarts_total", **task) == 1
    assert seen.value("tastemaker_jobs_validation", measure="NDCG@10", **task) == 0.1  # NaN says nothing


def test_taken_or_malformed_address_is_named(ratings_csv: Path, tmp_path: Path, capsys: Any) -> None:
    argv = ["train", "rnn", "--no-ray", "--ratings", str(ratings_csv), "--models-dir", f"{tmp_path}/models"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main([*argv, "--metrics-address", address]) == 1
    assert (
        f"error: --metrics-address {address} cannot be listened on: Address already in use" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main([*argv, "--metrics-address", "9465"])
    assert "'9465' is not HOST:PORT" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_training_can_be_watched_epoch_by_epoch(
    ratings_csv: Path, tmp_path: Path, free_port: int, scraped_at: Callable[..., list[Scrape]]
) -> None:
    pytest.importorskip("tensorflow")
    argv = ["train", "autoencoder", "--no-ray", "--ratings", str(ratings_csv), "--epochs", "2"]
    argv += ["--models-dir", f"{tmp_path}/models", "--metrics-address", f"127.0.0.1:{free_port}"]
    url = f"http://127.0.0.1:{free_port}/metrics"
    seen = scraped_at(url, "told", argv)
    epochs = [scraped.value("tastemaker_jobs_epoch", task="autoencoder") for scraped in seen]
    assert [epoch for at, epoch in enumerate(epochs) if epoch and epoch not in epochs[:at]] == [1, 2]
    last = seen[-1]
    assert last.value("tastemaker_jobs_examples_total", task="autoencoder")
    assert last.value("tastemaker_jobs_examples_per_second", task="autoencoder")
    assert last.value("tastemaker_jobs_validation", task="autoencoder", measure="NDCG@10") is not None
    assert last.samples("tastemaker_jobs_parts") == {("train", "model"): 1}
    assert last.samples("tastemaker_jobs_parts_done") == {}
