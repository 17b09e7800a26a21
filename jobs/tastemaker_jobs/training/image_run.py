"""One training run from a file of labelled images to a published version. `run` dispatches here; Ray wraps that."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker.artefacts.v1 import manifest_pb2
from tastemaker_jobs.data.labelled_images import LabelledImages, broken_images, images_fingerprint, read_parts
from tastemaker_jobs.data.ratings import sha256_of
from tastemaker_jobs.evaluation.classification import judge_labels
from tastemaker_jobs.evaluation.classifier import ServedClassifier
from tastemaker_jobs.models import classifier_class
from tastemaker_jobs.models.contract import CONTRACT_VERSION
from tastemaker_jobs.models.image_cnn import ImageCnn, ImageCnnConfig, Pictures
from tastemaker_jobs.models.image_decoding import decode_images
from tastemaker_jobs.models.image_signatures import export_classifier
from tastemaker_jobs.models.recommender import Fit
from tastemaker_jobs.publishing.manifests import as_toml, metrics, new_manifest, numbered
from tastemaker_jobs.publishing.training_records import TRAINING_RECORD
from tastemaker_jobs.publishing.versions import check_writable, staged
from tastemaker_jobs.publishing.warmup import write_image_warmup_requests
from tastemaker_jobs.training.image_validation import ImageValidation, teller
from tastemaker_jobs.training.loop import fit as descend_here
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import Trained, TrainingRequest, TrainingResult
from tastemaker_jobs.training.settings import config_of

__all__ = ["LearntImages", "decoded", "learn_images", "train_classifier"]

_CHUNK = 512  # images at a time, so that what is between bytes and pixels stays small


def train_classifier(request: TrainingRequest, report: Report, *, fit: Fit | None = None) -> TrainingResult:
    """Read, hold out, train, export, judge what was exported, publish. Unless all of it goes well, no version appears.

    Args:
        request: What to train.
        report: Told of stages and epochs.
        fit: Descends the gradient, in place of the loop in this process.

    Raises:
        TastemakerJobsError: See `errors`; the message says what to do.
    """
    check_writable(request.model_dir)
    kind = classifier_class(request.model)
    config: Any = config_of(kind, request.settings)
    train, valid = read_parts(request.data)
    epochs: list[dict[str, Any]] = []

    def recorded(event: StageEvent | EpochEvent) -> None:
        if isinstance(event, EpochEvent):
            accuracy = None if np.isnan(event.valid_ndcg) else event.valid_ndcg
            epoch = {"epoch": event.epoch, "loss": event.loss, "valid_accuracy": accuracy, "seconds": event.seconds}
            epochs.append(epoch)
        report(event)

    learnt = learn_images(kind, config, train, valid, seed=request.seed, report=recorded, fit=fit)
    model, labels, trained, counts = learnt.model, learnt.labels, learnt.trained, Counter(train.labels)
    with staged(request.model_dir) as draft:
        report(StageEvent(request.model, "exporting"))
        shares = [counts[label] / len(train) for label in labels]
        signatures = draft.receive(lambda made: export_classifier(model, labels, shares, made))
        write_image_warmup_requests(draft.folder, name=request.model, images=train.images, signatures=signatures)
        record = {"protocol": "held-out-images", "train_sha256": images_fingerprint(train), "epochs": epochs}
        (draft.folder / TRAINING_RECORD).write_text(json.dumps(record, indent=1) + "\n")
        report(StageEvent(request.model, "evaluating"))
        answers = ServedClassifier(draft.folder).labels(valid.images)
        most = max(labels, key=lambda label: counts[label])
        figure = judge_labels(request.model, answers, valid.labels, seed=request.seed).accuracy
        baseline = judge_labels("most frequent label", [most] * len(valid), valid.labels, seed=request.seed).accuracy
        manifest = new_manifest(request.model, contract_version=CONTRACT_VERSION, signatures=signatures)
        manifest.data_window.CopyFrom(
            manifest_pb2.DataWindow(
                dataset=request.data.dataset,
                sha256=sha256_of(request.data.ratings),
                event_count=len(train),
                item_count=len(set(train.ids)),
            )
        )
        manifest.metrics.extend(metrics([figure], protocol="held-out-images, on what chose the epoch"))
        manifest.baselines.add(
            name="most frequent label", metrics=metrics([baseline], protocol="held-out-images, on what chose the epoch")
        )
        manifest.config_toml = f"seed = {request.seed}\n{as_toml(config)}"

        report(StageEvent(request.model, "publishing"))
        published = draft.publish(numbered(manifest, draft.folder, request.model_dir))
    return TrainingResult(request.model, published, trained, [figure], {"most frequent label": [baseline]})


@dataclass(frozen=True)
class LearntImages:
    """A classifier, and what it learnt to tell apart."""

    model: ImageCnn
    """Ready to classify."""
    labels: list[str]
    """[K], in the order of its logits."""
    trained: Trained
    """How it went."""

    def answers(self, data: LabelledImages) -> list[str]:
        """The most probable label of each image, [N].

        Raises:
            ImagesFormatError: Some cannot be decoded; names them.
        """
        tell = teller(self.model)
        return [self.labels[number] for number in tell(_pixels(data, self.model.config))]


def learn_images(
    kind: type[ImageCnn],
    config: Any,
    train: LabelledImages,
    valid: LabelledImages,
    *,
    seed: int,
    report: Report,
    fit: Fit | None = None,
) -> LearntImages:
    """Learn from the training images alone; the others decide which epoch is the best.

    Args:
        kind: The model.
        config: Of its `config_class`.
        train: Two labels or more.
        valid: Labels of `train` only.
        seed: One seed gives one model.
        report: Told of stages and epochs.
        fit: Descends the gradient, in place of the loop in this process.

    Raises:
        ImagesFormatError: Some cannot be decoded; names them.
        TrainingDivergedError: The loss became NaN or infinite.
    """
    labels = sorted(set(train.labels))
    keras.backend.clear_session()  # names of variables start anew, so that two runs in one process are alike
    report(StageEvent(kind.name_in_registry, "decoding"))
    pictures, held_out = (decoded(part, labels, config) for part in (train, valid))
    model = kind.for_data(config, pictures, seed=seed)
    report(StageEvent(kind.name_in_registry, "training"))
    chosen: Fit = fit or descend_here
    trained = chosen(model, pictures, validation=ImageValidation(held_out), seed=seed, report=report)
    return LearntImages(model, labels, trained)


def decoded(data: LabelledImages, labels: list[str], config: ImageCnnConfig) -> Pictures:
    """Images as pixels of the size that the model wants, all in memory: N H W 3 bytes. Their labels are of `labels`.

    Raises:
        ImagesFormatError: Some cannot be decoded; names them.
    """
    number = {label: place for place, label in enumerate(labels)}
    return Pictures(_pixels(data, config), np.array([number[label] for label in data.labels], np.int32), len(labels))


def _pixels(data: LabelledImages, config: ImageCnnConfig) -> npt.NDArray[np.uint8]:
    """uint8 [N, H, W, 3]."""
    function = tf.function(
        lambda image: decode_images(image, height=config.height, width=config.width),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    pixels = np.zeros((len(data), config.height, config.width, 3), np.uint8)  # [N, H, W, 3]
    present = np.zeros(len(data), np.bool_)  # [N]
    for start in range(0, len(data), _CHUNK):
        part = slice(start, start + _CHUNK)
        pixels[part], present[part] = (found.numpy() for found in function(tf.constant(data.images[part])))
    if error := broken_images(data, present):
        raise error
    return pixels
