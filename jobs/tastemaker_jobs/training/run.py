"""One training run from a ratings file to a published version. A plain function: Ray, if there is any, wraps it."""

import keras

from tastemaker_jobs.data.ratings import sha256_of
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.errors import DataError, TooFewRatingsError
from tastemaker_jobs.evaluation.baselines import baseline_lists
from tastemaker_jobs.evaluation.inputs import read_features, read_split, vocabulary_of
from tastemaker_jobs.evaluation.leakage import check_fitted, check_split
from tastemaker_jobs.evaluation.metrics import CUTOFF, judge
from tastemaker_jobs.evaluation.protocol import COLD_ITEMS, test_questions, validation_questions, validation_targets
from tastemaker_jobs.evaluation.served import SavedModel
from tastemaker_jobs.models import IMAGE_CLASSIFIERS, model_class
from tastemaker_jobs.models.recommender import Recommender
from tastemaker_jobs.models.signatures import CONTRACT_VERSION, export_saved_model
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.publishing.manifests import as_toml, data_window, metrics, new_manifest, write_manifest
from tastemaker_jobs.publishing.training_records import Epoch, write_training_record
from tastemaker_jobs.publishing.versions import check_writable, staged, versions
from tastemaker_jobs.publishing.warmup import write_warmup_requests
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import Trained, TrainingRequest, TrainingResult
from tastemaker_jobs.training.settings import config_of
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
    if request.model in IMAGE_CLASSIFIERS:
        from tastemaker_jobs.training.image_run import train_classifier  # not loaded for the others

        return train_classifier(request, report)
    check_writable(request.model_dir)
    kind = model_class(request.model)
    config = config_of(kind, request.settings)
    split = read_split(request.data)
    check_split(split)
    features = read_features(request.data)
    if kind.knows_untouched_items and features is None:
        raise DataError(f"{request.model} looks at the items themselves. Give a list of them with --items.")
    vocabulary = vocabulary_of(split, features if kind.knows_untouched_items else None)
    listed = frozenset(features.item_ids) if features and kind.knows_untouched_items else frozenset()
    check_fitted(vocabulary.item_ids, split, name=request.model, catalogue=listed)
    known = features.in_order(vocabulary.item_ids) if features else None
    data = TrainingData.of(split.train, vocabulary, config=config, features=known)
    if max(len(history) for history in data.histories) < 2:
        raise TooFewRatingsError(
            "No user has two ratings to train on besides those held out. Give a ratings file with longer histories."
        )
    keras.backend.clear_session()  # names of variables start anew, so that two runs in one process are alike
    model = kind.for_data(config, data, seed=request.seed)
    epochs: list[Epoch] = []

    def recorded(event: StageEvent | EpochEvent) -> None:
        if isinstance(event, EpochEvent):
            epochs.append(Epoch.of(event))
        report(event)

    report(StageEvent(request.model, "training"))
    trained = _train(model, data, split, request.seed, recorded)
    with staged(request.model_dir) as draft:
        report(StageEvent(request.model, "exporting"))
        version = draft.folder / "saved_model"
        signatures = export_saved_model(model, vocabulary.item_ids, version)
        for part in version.iterdir():  # TensorFlow insists on making the folder itself
            part.rename(draft.folder / part.name)
        version.rmdir()
        write_warmup_requests(draft.folder, name=request.model, item_ids=vocabulary.item_ids, signatures=signatures)
        write_training_record(draft.folder, split=split, epochs=epochs)
        report(StageEvent(request.model, "evaluating"))
        judged_by, questions = split.protocol, test_questions(split)
        if not questions.wanted:  # only files for training were given
            judged_by, questions = f"{split.protocol}, on what training stopped by", validation_questions(split)
        figures = judge(SavedModel(draft.folder).lists(questions, k=CUTOFF), questions.wanted, seed=request.seed)
        baselines = {
            name: judge(lists, questions.wanted, seed=request.seed)
            for name, lists in baseline_lists(split, questions, k=CUTOFF, seed=request.seed).items()
        }
        manifest = new_manifest(request.model, contract_version=CONTRACT_VERSION, signatures=signatures)
        manifest.data_window.CopyFrom(
            data_window(split.train, dataset=request.data.dataset, sha256=sha256_of(request.data.ratings))
        )
        manifest.metrics.extend(metrics(figures, protocol=judged_by))
        for name, of_baseline in baselines.items():
            manifest.baselines.add(name=name, metrics=metrics(of_baseline, protocol=judged_by))
        manifest.config_toml = f"seed = {request.seed}\n{as_toml(config)}"

        def finish(number: int) -> None:
            manifest.version = number
            manifest.parent_version = max(versions(request.model_dir), default=0)
            write_manifest(manifest, draft.folder)

        report(StageEvent(request.model, "publishing"))
        return TrainingResult(request.model, draft.publish(finish), trained, figures, baselines)


def _train(model: Recommender, data: TrainingData, split: Split, seed: int, report: Report) -> Trained:
    """Train on the training part alone; the validation part decides when to stop."""
    histories, held_out = validation_targets(split)
    among = frozenset(split.valid.item_id) if split.protocol == COLD_ITEMS else None
    validation = Validation(data.vocabulary, histories, held_out, among=among)
    return model.learn(data, validation=validation, seed=seed, report=report)
