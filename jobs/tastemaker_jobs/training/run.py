"""One training run from a ratings file to a published version. A plain function: Ray, if there is any, wraps it."""

import dataclasses

import keras

from tastemaker.artefacts.v1 import manifest_pb2
from tastemaker_jobs.data.ratings import read_ratings, sha256_of
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import TooFewRatingsError
from tastemaker_jobs.evaluation.leakage import check_fitted, check_split
from tastemaker_jobs.evaluation.metrics import CUTOFF, judge
from tastemaker_jobs.evaluation.popularity import popular_lists
from tastemaker_jobs.evaluation.protocol import PROTOCOLS, test_questions, validation_targets
from tastemaker_jobs.evaluation.served import SavedModel
from tastemaker_jobs.models import model_class
from tastemaker_jobs.models.recommender import Recommender
from tastemaker_jobs.models.signatures import CONTRACT_VERSION, SIGNATURES, export_saved_model
from tastemaker_jobs.publishing.manifests import as_toml, data_window, metrics, new_manifest, write_manifest
from tastemaker_jobs.publishing.training_records import Epoch, write_training_record
from tastemaker_jobs.publishing.versions import check_writable, staged, versions
from tastemaker_jobs.publishing.warmup import write_warmup_requests
from tastemaker_jobs.training.loop import fit
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import Trained, TrainingRequest, TrainingResult
from tastemaker_jobs.training.validation import Validation

__all__ = ["train_and_publish"]


def train_and_publish(request: TrainingRequest, report: Report) -> TrainingResult:
    """Read, split, train, export, judge what was exported, publish. Unless all of it goes well, no version appears.

    Args:
        request: What to train.
        report: Told of stages and epochs.

    Raises:
        TastemakerJobsError: See `errors`; the message says what to do.
    """
    model_dir = request.models_dir / request.model
    check_writable(model_dir)
    split = PROTOCOLS[request.protocol].split(read_ratings(request.ratings_path))
    check_split(split)
    vocabulary = Vocabulary.of(split.train.item_id)
    check_fitted(vocabulary.item_ids, split, name=request.model)
    model = _new_model(request, len(vocabulary))
    epochs: list[Epoch] = []

    def recorded(event: StageEvent | EpochEvent) -> None:
        if isinstance(event, EpochEvent):
            epochs.append(Epoch.of(event))
        report(event)

    trained = _train(model, split, vocabulary, request.seed, recorded)
    with staged(model_dir) as draft:
        report(StageEvent(request.model, "exporting"))
        version = draft.folder / "saved_model"
        export_saved_model(model, vocabulary.item_ids, version)
        for part in version.iterdir():  # TensorFlow insists on making the folder itself
            part.rename(draft.folder / part.name)
        version.rmdir()
        write_warmup_requests(draft.folder, name=request.model, item_ids=vocabulary.item_ids)
        write_training_record(draft.folder, protocol=split.protocol, train=split.train, epochs=epochs)
        report(StageEvent(request.model, "evaluating"))
        questions = test_questions(split)
        figures = judge(SavedModel(draft.folder).lists(questions, k=CUTOFF), questions.wanted, seed=request.seed)
        popular = judge(popular_lists(questions, vocabulary.item_ids, k=CUTOFF), questions.wanted, seed=request.seed)
        manifest = new_manifest(request.model, contract_version=CONTRACT_VERSION, signatures=SIGNATURES)
        manifest.data_window.CopyFrom(
            data_window(split.train, dataset=request.dataset, sha256=sha256_of(request.ratings_path))
        )
        manifest.metrics.extend(metrics(figures, protocol=split.protocol))
        manifest.baselines.append(
            manifest_pb2.Baseline(name="popularity", metrics=metrics(popular, protocol=split.protocol))
        )
        manifest.config_toml = f"seed = {request.seed}\n{as_toml(model.config)}"

        def finish(number: int) -> None:
            manifest.version = number
            manifest.parent_version = max(versions(model_dir), default=0)
            write_manifest(manifest, draft.folder)

        report(StageEvent(request.model, "publishing"))
        return TrainingResult(request.model, draft.publish(finish), trained, figures, popular)


def _new_model(request: TrainingRequest, item_count: int) -> Recommender:
    kind = model_class(request.model)
    config = kind.config_class()
    if request.epochs is not None:
        config = dataclasses.replace(config, epochs=request.epochs)
    keras.backend.clear_session()  # names of variables start anew, so that two runs in one process are alike
    return kind(config, item_count=item_count, seed=request.seed)


def _train(model: Recommender, split: Split, vocabulary: Vocabulary, seed: int, report: Report) -> Trained:
    """Train on the training part alone; the validation part decides when to stop."""
    encoded = [vocabulary.encode(items) for items in split.train.histories().values()]
    if max(len(history) for history in encoded) < 2:
        raise TooFewRatingsError(
            "No user has two ratings to train on besides the two held out. Give a ratings file with longer histories."
        )
    histories, held_out = validation_targets(split)
    report(StageEvent(model.name_in_registry, "training"))
    return fit(model, encoded, validation=Validation(vocabulary, histories, held_out), seed=seed, report=report)
