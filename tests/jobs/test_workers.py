"""Workers that train one model together: the same weights everywhere, the losses of one with the whole batch."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("tensorflow")

EPOCHS = 6
PROGRAM = """
import json, sys
import numpy as np
from tastemaker_jobs import environment
environment.quiet_libraries()
from pathlib import Path
from tastemaker_jobs.training.workers import Progress, Together, descend_together
number, count, ratings, out = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
together = Together(number=number, count=count)
from tastemaker_jobs.data.ratings import read_ratings
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.models import model_class
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.settings import config_of
kind = model_class("autoencoder")
settings = dict(batch_norm=True, middle_size=16, hidden_size=16, input_dropout=0.0, batch_size=16, learning_rate=0.01,
                weight_decay=1e-4, linear_weight=0.0, epochs=int(sys.argv[5]), final_rate_share=1.0)
config = config_of(kind, settings)
events = read_ratings(ratings).in_time_order()
whole = TrainingData.of(events, Vocabulary.of(sorted(set(events.item_id))), config=config)
mine = slice(number, None, count)
data = TrainingData(whole.vocabulary, whole.histories[mine], whole.weights[mine], whole.ratings[mine],
                    whole.timestamps[mine])
model = kind.for_data(config, data, seed=3)
losses, scores = [], iter([0.1, 0.3, 0.2, 0.2, 0.2, 0.2])
def report(event):
    losses.append((event.loss, event.valid_ndcg))
progress = descend_together(
    model, data, together, score=lambda: (next(scores) + number, 10 * (number + 1)), seed=5, report=report,
    save=lambda *_: "", resume=lambda optimizer: Progress())
np.savez(out, *[variable.numpy() for variable in model.trainable_variables + model.non_trainable_variables])
print(json.dumps([losses, [progress.epoch, progress.best_epoch]]))
"""


def free_ports(count):
    with socket.socket() as one, socket.socket() as other:
        found = []
        for probe in (one, other)[:count]:
            probe.bind(("127.0.0.1", 0))
            found.append(probe.getsockname()[1])
        return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Number of workers to, for each of them, losses and scores, last and best epoch, and all its variables."""
    folder = tmp_path_factory.mktemp("workers")
    ratings = write_ratings(synthetic_ratings(seed=3), folder / "ratings.csv")
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    running = {}
    for count in (1, 2):
        for number in range(count):
            environment = dict(os.environ)
            if count > 1:
                task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
                environment["TF_CONFIG"] = json.dumps(task)
            out = folder / f"{number}-of-{count}.npz"
            argv = [sys.executable, "-c", PROGRAM, str(number), str(count), str(ratings), str(out), str(EPOCHS)]
            running[count, number] = subprocess.Popen(
                argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
    found = {1: [], 2: []}
    for (count, number), process in running.items():
        printed, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
        with np.load(folder / f"{number}-of-{count}.npz") as arrays:
            variables = [arrays[name] for name in arrays.files]
        found[count].append((*json.loads(printed.splitlines()[-1]), variables))
    return found


def test_weights_and_batch_norm_statistics_agree_on_all_workers(trained):
    (*_, ours), (*_, theirs) = trained[2]
    assert len(ours) > 8
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_workers_give_the_losses_of_one_with_the_whole_batch(trained):
    one, two = (np.array(trained[count][0][0])[:, 0] for count in (1, 2))
    assert one[0] - one[-1] > 0.1, "it learns"
    np.testing.assert_allclose(two, one, rtol=0.05)  # batches of 16 users differ
    assert trained[2][0][0] == trained[2][1][0], "both report the same"


def test_scores_are_averaged_by_how_many_each_is_the_mean_of(trained):
    scores = np.array(trained[2][0][0])[:, 1]
    np.testing.assert_allclose(scores, np.array([0.1, 0.3, 0.2, 0.2, 0.2, 0.2])[: len(scores)] + 2 / 3, rtol=1e-5)
    assert trained[2][0][1] == [EPOCHS, 2]
