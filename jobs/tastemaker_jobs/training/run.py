"""One training run from a ratings file to a published version. A plain function: Ray, if there is any, wraps it."""

from tastemaker_jobs.data.ratings import sha256_of
from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.evaluation.baselines import baseline_lists
from tastemaker_jobs.evaluation.inputs import read_features, read_split
from tastemaker_jobs.evaluation.leakage import check_split
from tastemaker_jobs.evaluation.metrics import CUTOFF, judge
from tastemaker_jobs.evaluation.protocol import test_questions, validation_questions
from tastemaker_jobs.evaluation.served import SavedModel
from tastemaker_jobs.models import IMAGE_CLASSIFIERS, model_class
from tastemaker_jobs.models.contract import CONTRACT_VERSION
from tastemaker_jobs.models.recommender import Fit
from tastemaker_jobs.models.signatures import export_saved_model
from tastemaker_jobs.publishing.manifests import as_toml, data_window, metrics, new_manifest, numbered
from tastemaker_jobs.publishing.training_records import Epoch, write_training_record
from tastemaker_jobs.publishing.versions import check_writable, staged
from tastemaker_jobs.publishing.warmup import write_warmup_requests
from tastemaker_jobs.training.learning import learn_split
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import TrainingRequest, TrainingResult
from tastemaker_jobs.training.settings import config_of

__all__ = ["train_and_publish"]


def train_and_publish(request: TrainingRequest, report: Report, *, fit: Fit | None = None) -> TrainingResult:
    """Read, split, train, export, judge what was exported, publish. Unless all of it goes well, no version appears.

    Args:
        request: What to train.
        report: Told of stages and epochs.
        fit: Descends the gradient, in place of the loop in this process.

    Raises:
        TastemakerJobsError: See `errors`; the message says what to do.
    """
    if request.model in IMAGE_CLASSIFIERS:
        from tastemaker_jobs.training.image_run import train_classifier  # not loaded for the others

        return train_classifier(request, report, fit=fit)
    check_writable(request.model_dir)
    kind = model_class(request.model)
    config = config_of(kind, request.settings)
    if fit is not None and not kind.descends:
        raise ConfigError(f"{request.model} is computed, not trained step by step: --workers cannot share it.")
    split = read_split(request.data)
    check_split(split)
    features = read_features(request.data)
    epochs: list[Epoch] = []

    def recorded(event: StageEvent | EpochEvent) -> None:
        if isinstance(event, EpochEvent):
            epochs.append(Epoch.of(event))
        report(event)

    learnt = learn_split(kind, config, split, features, seed=request.seed, report=recorded, fit=fit)
    vocabulary = learnt.data.vocabulary
    with staged(request.model_dir) as draft:
        report(StageEvent(request.model, "exporting"))
        signatures = draft.receive(lambda made: export_saved_model(learnt.model, vocabulary.item_ids, made))
        write_warmup_requests(draft.folder, name=request.model, item_ids=vocabulary.item_ids, signatures=signatures)
        write_training_record(draft.folder, split=split, epochs=epochs)
        report(StageEvent(request.model, "evaluating"))
        judged_by, questions = split.protocol, test_questions(split)
        if not questions.wanted:  # only files for training were given
            judged_by, questions = f"{split.protocol}, on what training stopped by", validation_questions(split)
        figures = judge(SavedModel(draft.folder).lists(questions, k=CUTOFF), questions.wanted, seed=request.seed)

        def noted(text: str) -> None:
            report(StageEvent(request.model, text))

        baselines = {
            name: judge(lists, questions.wanted, seed=request.seed)
            for name, lists in baseline_lists(split, questions, k=CUTOFF, seed=request.seed, note=noted).items()
        }
        manifest = new_manifest(request.model, contract_version=CONTRACT_VERSION, signatures=signatures)
        manifest.data_window.CopyFrom(
            data_window(split.train, dataset=request.data.dataset, sha256=sha256_of(request.data.ratings))
        )
        manifest.metrics.extend(metrics(figures, protocol=judged_by))
        for name, of_baseline in baselines.items():
            manifest.baselines.add(name=name, metrics=metrics(of_baseline, protocol=judged_by))
        manifest.config_toml = f"seed = {request.seed}\n{as_toml(config)}"

        report(StageEvent(request.model, "publishing"))
        published = draft.publish(numbered(manifest, draft.folder, request.model_dir))
        return TrainingResult(request.model, published, learnt.trained, figures, baselines)
