"""From a trained version to the one that serves: publish, promote, rollback, against a real model server."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from tastemaker.tfserving.v1 import predict_pb2
from tastemaker_jobs.cli import main
from tastemaker_jobs.errors import PromotionError
from tastemaker_jobs.publishing.manifests import read_manifest, write_manifest
from tastemaker_jobs.publishing.versions import versions
from tastemaker_jobs.registry.gate import objections
from tastemaker_jobs.registry.promotion import promote
from tastemaker_jobs.registry.serving import Serving
from tastemaker_jobs.registry.serving_config import ServingConfig
from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

pytestmark = pytest.mark.slow
tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A version as `train` wrote it, whose manifest says that it beats its baselines."""
    folder = tmp_path_factory.mktemp("trained")
    ratings = write_ratings(synthetic_ratings(seed=3), folder / "films.csv")
    argv = ["train", "autoencoder", "--no-ray", "--ratings", str(ratings), "--models-dir", str(folder), "--epochs", "1"]
    assert main(argv) == 0
    version = folder / "autoencoder" / "1"
    manifest = read_manifest(version)
    for baseline in manifest.baselines:
        for metric in baseline.metrics:
            metric.value = 0.0
    write_manifest(manifest, version)
    return version


def published(trained: Path, models: Path, *more: str) -> int:
    return main(["publish", "--model-dir", str(trained), "--to", str(models), *more])


def test_publish_copies_a_version_that_passes(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "models" / "autoencoder" / "1")
    assert published(trained, tmp_path / "models") == 0
    assert capsys.readouterr().out == f"{tmp_path}/models/autoencoder/2\n"
    manifest = read_manifest(tmp_path / "models" / "autoencoder" / "2")
    assert (manifest.version, manifest.parent_version, manifest.source) == (2, 1, str(trained))
    assert (tmp_path / "models/autoencoder/2/assets.extra/tf_serving_warmup_requests").is_file()


@pytest.fixture
def losing(trained, tmp_path) -> Path:
    """The same version, of which the manifest says that popularity is better."""
    folder = tmp_path / "losing" / "1"
    shutil.copytree(trained, folder)
    manifest = read_manifest(folder)
    popularity = next(b for b in manifest.baselines if b.name == "popularity")
    popularity.metrics[0].value = manifest.metrics[0].value + 0.01
    write_manifest(manifest, folder)
    return folder


def test_publish_refuses_a_model_that_loses_until_somebody_says_why_it_must(losing, tmp_path, capsys):
    assert published(losing, tmp_path / "models") == 1
    error = capsys.readouterr().err
    assert "it loses to popularity on leave-last-out" in error
    assert "--force" in error
    assert versions(tmp_path / "models" / "autoencoder") == []
    assert published(losing, tmp_path / "models", "--force", "the old one is gone") == 0
    manifest = read_manifest(tmp_path / "models" / "autoencoder" / "1")
    assert manifest.force_reason == "the old one is gone"
    assert "loses to popularity" in manifest.gate_objections[0]


def test_a_version_that_was_never_judged_is_objected_to(trained):
    manifest = read_manifest(trained)
    manifest.metrics[0].value = float("nan")
    assert "is NaN" in next(objections(manifest))
    manifest.ClearField("metrics")
    assert "never judged" in next(objections(manifest))


def test_force_does_not_overrule_the_contract(trained, tmp_path, capsys):
    folder = tmp_path / "broken" / "1"
    shutil.copytree(trained, folder)

    class Wrong(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, "history")])
        def recommend(self, history):
            return {"item_id": history, "score": tf.zeros_like(history, tf.float64)}

    shutil.rmtree(folder / "variables")
    module = Wrong()
    tf.saved_model.save(module, str(tmp_path / "wrong"), signatures={"recommend": module.recommend})
    shutil.copytree(tmp_path / "wrong", folder, dirs_exist_ok=True)
    assert published(folder, tmp_path / "models", "--force", "no matter") == 1
    error = capsys.readouterr().err
    for line in (
        "recommend: input exclude is missing",
        "recommend: output score is float64, and should be float32",
        "it has no signature serving_default",
    ):
        assert line in error
    manifest = read_manifest(folder)
    manifest.contract_version = 99
    write_manifest(manifest, folder)
    assert published(folder, tmp_path / "models") == 1
    assert "keeps version 99 of the contract" in capsys.readouterr().err
    assert not list((tmp_path / "models").rglob("[0-9]*"))


def test_a_corrupt_model_and_one_with_foreign_ops_are_refused(trained, tmp_path, capsys):
    folder = tmp_path / "corrupt" / "1"
    shutil.copytree(trained, folder)
    (folder / "saved_model.pb").write_bytes(b"not a model")
    assert published(folder, tmp_path / "models") == 1
    assert "it does not load" in capsys.readouterr().err

    class Python(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, "history")])
        def recommend(self, history):
            return {"item_id": tf.numpy_function(lambda value: value, [history], tf.string)}

    module = Python()
    tf.saved_model.save(module, str(tmp_path / "python"), signatures={"recommend": module.recommend})
    shutil.copytree(tmp_path / "python", folder, dirs_exist_ok=True)
    assert published(folder, tmp_path / "models") == 1
    assert "ops that stock TensorFlow Serving does not have: " in capsys.readouterr().err


@pytest.fixture
def serving(trained, tmp_path, free_port):
    """Three versions behind a real model server; yields its address and its config file."""
    for number in (1, 2, 3):
        shutil.copytree(trained, tmp_path / "models" / "autoencoder" / str(number))
    config = tmp_path / "models.config"
    model = f'name: "autoencoder" base_path: "{tmp_path}/models/autoencoder" model_platform: "tensorflow"'
    config.write_text(f"model_config_list {{ config {{ {model} }} }}\n")
    flags = [f"--port={free_port}", f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"]
    command = [sys.executable, "-m", "tastemaker_modelserver", *flags, "--file_system_poll_wait_seconds=1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    address = f"127.0.0.1:{free_port}"
    try:
        with grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 200)]) as channel:
            grpc.channel_ready_future(channel).result(120)
        yield address, config
    finally:
        process.terminate()
        process.wait(30)


def version_behind(label: str, address: str) -> int:
    """Which version answers to a label."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "autoencoder", "recommend"
    request.model_spec.version_label = label
    for name in ("history", "exclude"):
        request.inputs[name].dtype = 7
        for size in (1, 1):
            request.inputs[name].tensor_shape.dim.add(size=size)
        request.inputs[name].string_val.append(b"film-1")
    request.inputs["k"].dtype = 3
    request.inputs["k"].tensor_shape.dim.add(size=1)
    request.inputs["k"].int_val.append(3)
    with grpc.insecure_channel(address) as channel:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )
        return predict(request, timeout=30).model_spec.version.value


def test_labels_move_forth_and_back(serving, tmp_path, capsys):
    address, config = serving
    where = ["--server", address, "--config-file", str(config)]
    assert main(["promote", "autoencoder", "2", *where]) == 0
    assert version_behind("stable", address) == 2
    assert main(["promote", "autoencoder", "3", "--label", "canary", "--via", "file", *where]) == 0
    assert ServingConfig.read(config).labels("autoencoder") == {"stable": 2, "canary": 3}
    assert main(["promote", "autoencoder", "3", *where]) == 0
    assert (version_behind("stable", address), version_behind("canary", address)) == (3, 3)
    assert ServingConfig.read(config).versions("autoencoder") == [2, 3], "what was stable stays loaded"
    assert main(["rollback", "autoencoder", *where]) == 0
    assert version_behind("stable", address) == 2
    assert "stable is now version 2; it was version 3" in capsys.readouterr().err
    moves = (tmp_path / "models" / "autoencoder" / ".promotions.jsonl").read_text().splitlines()
    assert [json.loads(line)["version"] for line in moves] == [2, 3, 3, 2]

    # A version that cannot be loaded changes nothing, for nobody; not even a comment.
    before = "# ours\n" + config.read_text()
    config.write_text(before)
    broken = tmp_path / "models" / "autoencoder" / "9"
    shutil.copytree(tmp_path / "models" / "autoencoder" / "3", broken)
    (broken / "saved_model.pb").write_bytes(b"broken")
    assert main(["promote", "autoencoder", "9", *where, "--timeout-seconds", "30"]) == 1
    assert "error: " in capsys.readouterr().err
    assert config.read_text() == before
    assert version_behind("stable", address) == 2

    # Old versions go once no label needs them.
    assert main(["promote", "autoencoder", "3", "--keep", "0", *where]) == 0
    assert versions(tmp_path / "models" / "autoencoder") == [2, 3, 9]
    assert main(["models", "list", "--models-dir", str(tmp_path / "models"), "--config-file", str(config)]) == 0
    assert "canary, stable" in capsys.readouterr().out


def test_old_versions_are_pruned_to_the_newest_n_and_none_that_a_label_names(serving, tmp_path):
    address, config = serving
    where = ["--server", address, "--config-file", str(config)]
    models = tmp_path / "models" / "autoencoder"
    for number in (4, 5, 6):
        shutil.copytree(models / "1", models / str(number))
    assert main(["promote", "autoencoder", "2", "--label", "canary", *where]) == 0
    assert main(["promote", "autoencoder", "5", *where]) == 0
    assert versions(models) == [1, 2, 3, 4, 5, 6], "three unlabelled ones are kept if nobody says otherwise"
    assert main(["promote", "autoencoder", "6", "--keep", "1", *where]) == 0
    assert versions(models) == [2, 4, 5, 6], "the canary, the newest that nobody names, and both ways of stable"
    assert (version_behind("canary", address), version_behind("stable", address)) == (2, 6)


class DeafAt(Serving):
    """A connection to a model server whose n-th reload begins when its time is over."""

    def __init__(self, address, channel, *, nth):
        super().__init__(address, channel)
        self.calls, self.nth = 0, nth

    def reload(self, config, *, timeout_seconds):
        self.calls += 1
        super().reload(config, timeout_seconds=-1 if self.calls == self.nth else timeout_seconds)


def test_a_promotion_that_fails_anywhere_leaves_label_file_and_history_as_they_were(serving, tmp_path, capsys):
    address, config = serving
    where = ["--server", address, "--config-file", str(config)]
    models = tmp_path / "models" / "autoencoder"
    assert main(["promote", "autoencoder", "1", *where]) == 0
    assert main(["promote", "autoencoder", "2", *where]) == 0
    before, moves = config.read_text(), (models / ".promotions.jsonl").read_text()

    def as_it_was():
        assert config.read_text() == before
        assert (models / ".promotions.jsonl").read_text() == moves
        assert version_behind("stable", address) == 2

    promotion = {"label": "stable", "config_path": config, "by_reload": True, "keep": 3, "timeout_seconds": 60}
    with grpc.insecure_channel(address) as channel:
        for nth in (1, 2, 3):  # load it, move the label, unload what nobody needs
            deaf = DeafAt(address, channel, nth=nth)
            with pytest.raises(PromotionError, match="DEADLINE_EXCEEDED"):
                promote("autoencoder", 3, serving=deaf, **promotion)
            assert deaf.calls == nth + 1, "it was told to go back"
            as_it_was()

    # The file alone: the label waits for the version all the same.
    shutil.copytree(models / "3", models / "9")
    (models / "9" / "saved_model.pb").write_bytes(b"broken")
    assert main(["promote", "autoencoder", "9", "--via", "file", *where, "--timeout-seconds", "20"]) == 1
    assert "autoencoder" in capsys.readouterr().err
    as_it_was()
    assert main(["promote", "autoencoder", "3", "--via", "file", *where]) == 0
    assert ServingConfig.read(config).labels("autoencoder") == {"stable": 3}

    assert main(["rollback", "autoencoder", *where]) == 0
    assert version_behind("stable", address) == 2, "what it named before, whatever was tried in between"


def test_what_cannot_be_promoted_is_named(trained, tmp_path, capsys, free_port):
    shutil.copytree(trained, tmp_path / "models" / "autoencoder" / "1")
    config = tmp_path / "models.config"
    where = ["--server", f"127.0.0.1:{free_port}", "--config-file", str(config)]
    assert main(["promote", "autoencoder", "1", *where]) == 1
    assert "models.config is not a model server's config file that can be read" in capsys.readouterr().err
    model = f'name: "autoencoder" base_path: "{tmp_path}/models/autoencoder" model_platform: "tensorflow"'
    config.write_text(text := f"model_config_list {{ config {{ {model} }} }}\n")
    for argv, says in (
        (["promote", "rnn", "1"], "has no model 'rnn'; it has autoencoder"),
        (["promote", "autoencoder", "7"], "has no version 7"),
        (["promote", "autoencoder", "1"], "Is it running there?"),
        (["rollback", "autoencoder"], "there is nothing to go back to"),
    ):
        assert main([*argv, *where]) == 1
        assert says in capsys.readouterr().err
    assert config.read_text() == text


def test_models_show_prints_the_manifest(trained, capsys):
    assert main(["models", "show", str(trained)]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "autoencoder"
