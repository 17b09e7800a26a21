"""Settings of models, from TOML and from assignments."""

import pytest

from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.models import RECOMMENDERS
from tastemaker_jobs.training.settings import read_settings

pytestmark = pytest.mark.slow
pytest.importorskip("tensorflow")


def test_assignments_are_stronger_than_the_file(tmp_path):
    file = tmp_path / "rnn.toml"
    file.write_text("epochs = 3\nseed = 7\n[event_weights]\nview = 1\n")
    settings = read_settings(file, ["epochs=4", "event_weights.purchase=5", "name=plain text"])
    assert settings == {"epochs": 4, "seed": 7, "event_weights": {"view": 1, "purchase": 5}, "name": "plain text"}


@pytest.mark.parametrize(
    ("content", "assignments", "says"),
    [
        ("epochs = ", [], "cannot be read as TOML"),
        (None, [], "No such file"),
        ("", ["epochs"], "not of the form key=value"),
        ("epochs = 1", ["epochs.deep=2"], "epochs is not a table"),
    ],
)
def test_what_cannot_be_read_is_named(content, assignments, says, tmp_path):
    file = tmp_path / "rnn.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_settings(file, assignments)


def test_every_bad_setting_is_named_with_those_that_there_are():
    from tastemaker_jobs.models.rnn import Rnn
    from tastemaker_jobs.training.settings import config_of

    with pytest.raises(ConfigError) as caught:
        config_of(Rnn, {"epoch": 3, "dropout": "much", "batch_size": 0.5, "learning_rate": 1})
    for part in (
        "no setting 'epoch'",
        "dropout is 'much', which is not a number",
        "batch_size is 0.5, which is not a whole",
        "epochs, ",
    ):
        assert part in str(caught.value)
    assert "learning_rate is" not in str(caught.value)


def test_a_manifests_settings_give_the_same_config():
    import dataclasses

    from tastemaker_jobs.models.rnn import Rnn, RnnConfig
    from tastemaker_jobs.publishing.manifests import as_toml
    from tastemaker_jobs.training.settings import config_of, tomllib

    config = dataclasses.replace(RnnConfig(), dropout=0.1, event_weights={"view": 1.0, "cart item": 2.5})
    assert config_of(Rnn, {"seed": 1, **tomllib.loads(as_toml(config))}) == config


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_what_may_be_tuned_are_settings_of_the_model(name):
    from tastemaker_jobs.models import model_class
    from tastemaker_jobs.models.search_space import Choice
    from tastemaker_jobs.training.settings import config_of

    kind = model_class(name)
    assert kind.search_space
    for ends in (0, -1):
        proposed = {
            setting: domain.values[ends] if isinstance(domain, Choice) else (domain.low, domain.high)[ends]
            for setting, domain in kind.search_space.items()
        }
        config_of(kind, proposed)
