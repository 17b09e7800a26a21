"""`image_cnn`: what it is made of, that it learns, what its signatures promise, and its commands on files."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tastemaker_jobs import environment
from tastemaker_jobs.cli import main
from tastemaker_jobs.data.labelled_images import read_labelled_images
from tastemaker_jobs.errors import ConfigError, ImagesFormatError
from tastemaker_jobs.publishing.manifests import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from tastemaker_jobs.models.image_cnn import ImageCnn, ImageCnnConfig, Pictures  # noqa: E402
from tastemaker_jobs.models.image_decoding import decode_images  # noqa: E402
from tastemaker_jobs.models.image_signatures import export_classifier  # noqa: E402
from tastemaker_jobs.models.image_weights import load_encoder_weights  # noqa: E402
from tastemaker_jobs.testing.synthetic_items import plain_image  # noqa: E402
from tastemaker_jobs.training.loop import descend  # noqa: E402
from tastemaker_jobs.training.settings import config_of  # noqa: E402

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
SMALL = {"filters": (4, 8), "embedding_size": 8, "batch_size": 16}


def write_images(path, rows):
    ids, images, labels = zip(*rows, strict=True)
    pq.write_table(pa.table({"id": list(ids), "image": list(images), "label": list(labels)}), path)
    return path


def colours(count, first=0):
    names = [list(COLOURS)[number % 3] for number in range(first, first + count)]
    return [
        (f"image-{number}", plain_image(COLOURS[name], height=32, width=32, seed=number), name)
        for number, name in enumerate(names, start=first)
    ]


def learned(seed, epochs=3, **settings):
    config = dataclasses.replace(ImageCnnConfig(), epochs=epochs, **{**SMALL, **settings})
    model = ImageCnn(config, class_count=3, seed=seed)
    rows = colours(60)
    pixels = decode_images(tf.constant([image for _, image, _ in rows]), height=32, width=32)[0].numpy()
    data = Pictures(pixels, np.array([list(COLOURS).index(name) for *_, name in rows], np.int32), len(COLOURS))
    descend(model, data, score=lambda: float("nan"), seed=seed, report=lambda _: None)
    return model, data


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model, data = learned(seed=3, epochs=8)
    folder = tmp_path_factory.mktemp("image_cnn") / "1"
    export_classifier(model, list(COLOURS), [0.5, 0.3, 0.2], folder)
    return model, data, folder, tf.saved_model.load(str(folder))


def test_seed_preset_has_exactly_the_layers_named():
    config = config_of(ImageCnn, {"preset": "seed"})
    model = ImageCnn(config, class_count=10, seed=0)
    layers = [layer for layer in model.encoder.steps if not isinstance(layer, keras.layers.Rescaling)]
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Conv2D", "Flatten", "Dense"]
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [32, 64, 64]
    assert all(layer.kernel_size == (3, 3) and layer.activation.__name__ == "relu" for layer in convolutions)
    assert (layers[-1].units, layers[-1].activation.__name__) == (64, "relu")
    assert model.classifier.units == 10
    assert (config.dropout, config.label_smoothing, config.flip, config.shift_pixels) == (0, 0, False, 0)
    assert sum(np.prod(weight.shape) for weight in model.trainable_variables) == 122_570  # as the tutorial prints


def test_settings_are_stronger_than_the_preset_and_unknown_presets_are_named():
    assert config_of(ImageCnn, {"preset": "seed", "batch_size": 7}).batch_size == 7
    assert config_of(ImageCnn, {}).batch_norm
    with pytest.raises(ConfigError, match="there are default, seed"):
        config_of(ImageCnn, {"preset": "large"})
    with pytest.raises(ConfigError, match="too small"):
        ImageCnn(ImageCnnConfig(height=8, width=8), class_count=2, seed=0)


def test_learns_an_easy_task(exported):
    model, data, _, _ = exported
    assert (np.argmax(model.logits(data.pixels), axis=1) == data.labels).mean() > 0.95


def test_one_seed_gives_one_model():
    one, again, other = (learned(seed)[0].get_weights() for seed in (5, 5, 6))
    for left, right in zip(one, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert any((left != right).any() for left, right in zip(one, other, strict=True))


def test_probabilities_are_best_first_and_sum_to_one(exported):
    model, data, _, loaded = exported
    images = [image for _, image, _ in colours(9)]
    answer = loaded.signatures["classify"](image=tf.constant(images))
    probability = answer["probability"].numpy()
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(probability, axis=1) <= 0).all()
    assert [row[0].decode() for row in answer["label"].numpy()] == [name for *_, name in colours(9)]
    np.testing.assert_allclose(probability, -np.sort(-tf.nn.softmax(model.logits(data.pixels[:9]))), atol=1e-5)


def test_empty_and_broken_images_are_no_error_of_the_batch(exported):
    whole = plain_image(COLOURS["blue"], height=40, width=50)
    images = [b"", whole, b"garbage", whole[: len(whole) // 3]]
    signatures = exported[3].signatures
    answer = signatures["classify"](image=tf.constant(images))
    for row in (0, 2, 3):
        assert [label.decode() for label in answer["label"].numpy()[row]] == ["red", "green", "blue"]
        np.testing.assert_allclose(answer["probability"].numpy()[row], [0.5, 0.3, 0.2])
    assert answer["label"].numpy()[1, 0] == b"blue"
    embedding = signatures["embed_items"](image=tf.constant(images))["embedding"].numpy()
    assert not embedding[[0, 2, 3]].any()
    alone = signatures["embed_items"](image=tf.constant([whole]))["embedding"].numpy()
    np.testing.assert_allclose(embedding[1], alone[0], rtol=1e-5, atol=1e-6)
    assert signatures["embed_items"](image=tf.constant([], tf.string))["embedding"].shape == (0, 8)


def test_png_of_any_size_is_read():
    png = tf.io.encode_png(np.full((5, 7, 3), 9, np.uint8)).numpy()
    pixels, present = decode_images(tf.constant([png]), height=4, width=3)
    assert (pixels.shape, present.numpy().tolist()) == ((1, 4, 3, 3), [True])
    assert (pixels.numpy() == 9).all()


def test_encoder_weights_come_back_from_a_version(exported):
    model, _, folder, _ = exported
    for left, right in zip(load_encoder_weights(folder), model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_loads_where_our_code_is_not(exported, tmp_path):
    """In a process without our packages, with tf.saved_model.load and as TensorFlow Serving does."""
    _, _, folder, _loaded = exported
    image = tmp_path / "image.jpg"
    image.write_bytes(plain_image(COLOURS["green"], height=32, width=32))
    program = (
        "import sys, tensorflow as tf\n"
        "data = open(sys.argv[2], 'rb').read()\n"
        "modern = tf.saved_model.load(sys.argv[1]).signatures['classify'](image=tf.constant([data, b'']))\n"
        "with tf.compat.v1.Session(graph=tf.Graph()) as session:\n"
        "    signature = tf.compat.v1.saved_model.load(session, ['serve'], sys.argv[1]).signature_def['classify']\n"
        "    classic = session.run(signature.outputs['label'].name, {signature.inputs['image'].name: [data, b'']})\n"
        "assert not any(name.startswith('tastemaker') for name in sys.modules)\n"
        "print(modern['label'].numpy()[0, 0].decode(), classic[0, 0].decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(image)], capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["green", "green"]


def test_a_file_is_trained_on_judged_and_its_leaks_refused(tmp_path, capsys):
    train = write_images(tmp_path / "train.parquet", colours(90))
    test = write_images(tmp_path / "test.parquet", colours(30, first=200))
    out = tmp_path / "models" / "image_cnn"
    sets = ["--set", "filters=[4, 8]", "--set", "embedding_size=8", "--set", "batch_size=16", "--epochs", "8"]
    argv = ["train", "--model", "image_cnn", "--no-ray", "--train", str(train), "--out", str(out), "--seed", "1"]
    assert main([*argv, *sets]) == 0
    assert (out / "1" / "assets.extra" / "tf_serving_warmup_requests").stat().st_size
    assert json.loads((out / "1" / "training.json").read_text())["epochs"][0]["valid_accuracy"] is not None
    argv = ["evaluate", "--model-dir", str(out), "--train", str(train), "--out", str(tmp_path / "report")]
    assert main([*argv, "--test", str(test)]) == 0
    content = json.loads((tmp_path / "report" / "metrics.json").read_text())
    judged = content["models"]["image_cnn/1"]
    assert judged["accuracy"]["value"] > 0.9 > content["models"]["most frequent label"]["accuracy"]["value"]
    assert np.sum(judged["confusion"]["counts"]) == 30
    assert "confusion" in judged
    assert "image_cnn/1" in (tmp_path / "report" / "report.html").read_text()
    published = ["publish", "--model-dir", str(out), "--to", str(tmp_path / "served")]
    assert main(published) == 0, capsys.readouterr().err
    assert read_manifest(tmp_path / "served" / "image_cnn" / "1").source == str(out / "1")
    assert main([*argv, "--test", str(train)]) == 1
    assert "leaks test data" in capsys.readouterr().err
    argv[argv.index(str(train))] = str(write_images(tmp_path / "others.parquet", colours(90, first=400)))
    assert main([*argv, "--test", str(test)]) == 1
    assert "which are not the 81 here" in capsys.readouterr().err


def test_crossval_tests_each_image_once(tmp_path, capsys):
    images = write_images(tmp_path / "images.parquet", colours(90))
    argv = ["crossval", "--model", "image_cnn", "--train", str(images), "--folds", "3", "--no-ray"]
    argv += ["--out", f"{tmp_path}/cv", "--epochs", "8", "--set", "batch_size=16"]
    argv += ["--set", "filters=[4, 8]", "--set", "embedding_size=8"]
    assert main(argv) == 0
    assert "mean over 3 folds of images" in capsys.readouterr().out
    found = json.loads((tmp_path / "cv" / "crossval.json").read_text())
    assert found["mean"]["image_cnn"][0]["value"] > 0.8 > 0.4 > found["mean"]["most frequent label"][0]["value"]
    for fold in found["folds"]:
        counts = np.array(fold["confusion"]["counts"])
        assert counts.sum(axis=1).tolist() == [10, 10, 10], "each class alike"
        assert np.trace(counts) / 30 == pytest.approx(fold["figures"]["image_cnn"][0]["value"])
    report = (tmp_path / "cv" / "report.html").read_text()
    assert report.count("<svg") == 2
    assert "What is taken for what" in report
    (tmp_path / "cv" / "fold-2.json").unlink()
    assert main(argv) == 0
    assert "2 of 3 folds were finished before" in capsys.readouterr().err
    assert json.loads((tmp_path / "cv" / "crossval.json").read_text())["mean"] == found["mean"]


def test_folds_of_images_that_cannot_be_are_refused(tmp_path, capsys):
    def refused(rows, *more):
        path = write_images(tmp_path / "images.parquet", rows)
        assert main(["crossval", "image_cnn", "--train", str(path), "--folds", "3", "--no-ray", *more]) == 1
        return capsys.readouterr().err

    twin = ("a twin", colours(1)[0][1], "red")
    assert "have a twin in training. Give twins one id" in refused([*colours(90), twin])
    rare = ("the only one", plain_image((9, 9, 9), height=32, width=32, seed=1), "black")
    assert "has no image of 'black' to train on" in refused([*colours(90), rare])
    assert main(["crossval", "image_cnn", "--train", "ratings.csv", "--no-ray"]) == 1
    assert "Give a Parquet file of them with --train" in capsys.readouterr().err


def test_what_is_wrong_with_a_file_is_named(tmp_path, capsys):
    path = write_images(tmp_path / "bad.parquet", [("a", b"x", "1"), ("", b"", "2"), ("c", b"y", "")])
    with pytest.raises(ImagesFormatError, match=r"row 2, column id: found nothing") as caught:
        read_labelled_images(path)
    assert str(path) in str(caught.value)
    assert len(caught.value.problems) == 3
    pq.write_table(pa.table({"id": [1], "label": [2]}), path)
    with pytest.raises(ImagesFormatError, match="column image: found no such column"):
        read_labelled_images(path)
    path.write_bytes(b"not Parquet")
    with pytest.raises(ImagesFormatError, match="Parquet file"):
        read_labelled_images(path)
    broken = [*colours(30), ("the broken one", b"\xff\xd8 cut off", "red")]
    argv = ["train", "image_cnn", "--no-ray", "--train", str(write_images(path, broken)), "--models-dir", str(tmp_path)]
    assert main(argv) == 1
    assert "row 31, column image of id 'the broken one'" in capsys.readouterr().err
    assert main(["train", "image_cnn", "rnn", "--no-ray", "--train", str(path), "--models-dir", str(tmp_path)]) == 1
    assert "Train them one by one" in capsys.readouterr().err


def test_whole_numbers_are_labels_and_ids(tmp_path):
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"id": [1, 2], "image": [b"x", b"y"], "label": [7, 0]}), path)
    found = read_labelled_images(path)
    assert (found.ids, found.labels) == (("1", "2"), ("7", "0"))


def test_beats_chance_on_cifar_10():
    data_dir = environment.data_dir()[1]
    path = data_dir / "cifar10" / "train.parquet" if data_dir else None
    if path is None or not path.exists():
        pytest.skip("needs CIFAR-10 as ../shared/data/cifar10/train.parquet")
    table = next(pq.ParquetFile(path).iter_batches(batch_size=3000, columns=["image", "label"]))
    names = sorted(set(table["label"].to_pylist()))
    labels = np.array([names.index(name) for name in table["label"].to_pylist()], np.int32)
    pixels = decode_images(tf.constant(table["image"].to_pylist()), height=32, width=32)[0].numpy()
    config = dataclasses.replace(ImageCnnConfig(), epochs=3)
    model = ImageCnn(config, class_count=10, seed=1)
    data = Pictures(pixels[:2500], labels[:2500], 10)
    descend(model, data, score=lambda: float("nan"), seed=1, report=lambda _: None)
    assert (np.argmax(model.logits(pixels[2500:]), axis=1) == labels[2500:]).mean() > 0.25
