"""Settings: one bad file per kind of error, and what the environment may do."""

from pathlib import Path

import pytest

from tastemaker_server.errors import SettingsError
from tastemaker_server.settings import TierName
from tastemaker_server.settings_loader import load_settings


def _problems(tmp_path: Path, toml: str, **environment: str) -> list[str]:
    config = tmp_path / "front.toml"
    config.write_text(toml)
    with pytest.raises(SettingsError) as raised:
        load_settings(config, environment)
    return [problem.removeprefix(f"{config}: ") for problem in raised.value.problems]


def test_defaults_need_no_file() -> None:
    settings = load_settings(None, {"PATH": "/bin", "TASTEMAKER_DATA_DIR": "/data"})
    assert settings.server.address == "127.0.0.1:50051"
    assert settings.surfaces["home"].tiers == (TierName.LIVE_MODEL, TierName.PRECOMPUTED, TierName.POPULAR)


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    config = tmp_path / "front.toml"
    config.write_text('[server]\naddress = "a:1"\n[surfaces.home]\nmodel = "rnn"\n')
    environment = {
        "TASTEMAKER_FRONT_SERVER__ADDRESS": "[::1]:8",
        "TASTEMAKER_FRONT_SURFACES__HOME__MODEL": "autoencoder",
        "TASTEMAKER_FRONT_SURFACES__HOME__TIERS": '["POPULAR"]',
        "TASTEMAKER_FRONT_SURFACES__HOME__MAX_RESULTS": "7",
        "TASTEMAKER_FRONT_SURFACES__HOME__DEFAULT_RESULTS": "3",
    }
    settings = load_settings(config, environment)
    assert settings.server.address == "[::1]:8"
    home = settings.surfaces["home"]
    assert (home.model, home.tiers, home.max_results) == ("autoencoder", (TierName.POPULAR,), 7)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[server\n", "not TOML: Expected ']' at the end of a table declaration"),
        ('[sever]\naddress = "a:1"\n', "sever: unknown setting; did you mean 'server'?"),
        ('[server]\naddress = "nowhere"\n', "server.address: String should match pattern"),
        (
            "[server]\ndrain_grace_seconds = -1\n",
            "server.drain_grace_seconds: Input should be greater than or equal to 0 (found -1)",
        ),
        ("[server]\nreuse_port = 'maybe'\n", "server.reuse_port: Input should be a valid boolean"),
        (
            "[state]\nmax_history_events = 0\n",
            "state.max_history_events: Input should be greater than or equal to 1 (found 0)",
        ),
        ("[feedback]\nmin_rating = 6\n", "feedback: min_rating 6.0 is above max_rating 5.0; swap them"),
        ("[feedback]\nconsuming_event_types = ['WATCH']\n", "feedback.consuming_event_types.0: Input should be 'VIEW'"),
        (
            "[stores]\nevent_log = 'mysql://u:secret@h/db'\n",
            'stores.event_log: names no event log; write "sqlite" or "postgresql://',
        ),
        (
            "[stores]\nonline_store = 'mysql://host'\n",
            "stores.online_store: String should match pattern '^(sqlite|rediss?",
        ),
        ("[surfaces]\n", "surfaces: Dictionary should have at least 1 item"),
        ("[surfaces.Home]\nmodel = 'rnn'\n", "surfaces.Home: String should match pattern"),
        (
            "[surfaces.home]\n",
            "surfaces.home: tiers has LIVE_MODEL and no model is named; set model, or leave LIVE_MODEL out",
        ),
        (
            "[surfaces.home]\ntiers = ['POPULAR']\nversion_label = 'stable'\n",
            "surfaces.home: version_label is set and no model is named; set model, or leave version_label out",
        ),
        (
            "[surfaces.home]\nmodel = 'rnn'\nversion_label = ''\n",
            "surfaces.home.version_label: String should match pattern",
        ),
        ("[surfaces.home]\nmodel = 'rnn'\ntiers = []\n", "surfaces.home.tiers: Tuple should have at least 1 item"),
        (
            "[surfaces.home]\ntiers = ['POPULAR', 'POPULAR']\n",
            "surfaces.home.tiers: a tier is named twice; name each once",
        ),
        (
            "[surfaces.home]\nmodel = 'rnn'\ndefault_results = 200\n",
            "surfaces.home: default_results 200 is above max_results 100; lower it",
        ),
        (
            "[surfaces.home]\nmodel = 'rnn'\nmax_result = 1\n",
            "surfaces.home.max_result: unknown setting; did you mean 'max_results'?",
        ),
    ],
)
def test_bad_setting_is_named_with_its_fix(tmp_path: Path, toml: str, problem: str) -> None:
    (found,) = _problems(tmp_path, toml)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u:se/cr@et@h,h2/db?sslmode=require", "postgresql://u:***@h,h2/db?sslmode=require"),
        ("postgresql://u@h/db?password=secret&sslpassword=secret", "postgresql://u@h/db?password=***&sslpassword=***"),
        ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
    ],
)
def test_password_of_a_store_is_not_shown(url: str, shown: str) -> None:
    settings = load_settings(None, {"TASTEMAKER_FRONT_STORES__EVENT_LOG": url})
    assert settings.stores.event_log == url
    assert settings.model_dump(mode="json")["stores"]["event_log"] == shown
    assert url not in repr(settings) or url == shown


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.toml: cannot be read: No such file"):
        load_settings(tmp_path / "missing.toml", {})


def test_misspelt_variable_is_refused_by_its_name() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(None, {"TASTEMAKER_FRONT_SERVER__ADRESS": "a:1", "TASTEMAKER_FRONT_SERVER_ADDRESS": "a:1"})
    assert raised.value.problems == [
        "TASTEMAKER_FRONT_SERVER__ADRESS: server.adress: unknown setting; did you mean 'address'?",
        "TASTEMAKER_FRONT_SERVER_ADDRESS: server_address: unknown setting; did you mean 'server'?",
    ]


def test_password_of_a_wrong_url_is_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"\(found 'mysql://u:\*\*\*@h/db'\)"):
        load_settings(None, {"TASTEMAKER_FRONT_STORES__EVENT_LOG": "mysql://u:secret@h/db"})
