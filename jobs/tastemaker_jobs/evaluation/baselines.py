"""The baselines that every model is shown beside: learnt in memory, asked without a SavedModel.

Each is a model of the registry with its default settings, so what it says here is what it would serve.
"""

from collections.abc import Callable

from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.evaluation.protocol import Questions
from tastemaker_jobs.evaluation.ranking import ranked_lists
from tastemaker_jobs.models import model_class
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.validation import Validation

__all__ = ["BASELINES", "baseline_lists"]

BASELINES = ("popularity", "item_knn", "ease", "als")
"""Names of the registry, simplest first."""


def baseline_lists(
    split: Split, questions: Questions, *, k: int, seed: int, note: Callable[[str], None]
) -> dict[str, dict[str, list[str]]]:
    """The lists of each baseline, learnt from the training part.

    Args:
        split: Its training part is learnt from.
        questions: Who is asked.
        k: Length of the lists.
        seed: For those that have randomness in them.
        note: Told of each baseline that is left out, and why, as a sentence.

    Returns:
        Baseline to user to items, best first; without those that this data is too large for.
    """
    vocabulary = Vocabulary.of(split.train.item_id)
    lists = {}
    for name in BASELINES:
        kind = model_class(name)
        config = kind.config_class()
        data = TrainingData.of(split.train, vocabulary, config=config)
        try:
            model = kind.for_data(config, data, seed=seed)
        except ConfigError as error:
            note(f"compared without the baseline {name}: {error}")
            continue
        model.learn(data, validation=Validation(vocabulary, {}, {}), seed=seed, report=lambda _: None)
        lists[name] = ranked_lists(model, vocabulary, questions, k=k)
    return lists
