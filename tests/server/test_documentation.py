"""docs/front.md shows every setting with its default."""

import re
import tomllib
from pathlib import Path

from tastemaker_server.settings import Settings, SurfaceSettings
from tastemaker_server.settings_loader import load_settings

_DOC = Path(__file__).resolve().parents[2] / "docs" / "front.md"


def test_documented_settings_are_all_settings_with_their_defaults(tmp_path: Path) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", _DOC.read_text("utf-8"), re.DOTALL)
    config = tmp_path / "front.toml"
    config.write_text(toml)
    assert load_settings(config, {}) == Settings()
    documented = tomllib.loads(toml)
    for section, keys in documented.items():
        fields = SurfaceSettings if section == "surfaces" else Settings.model_fields[section].annotation
        keys = keys["home"] if section == "surfaces" else keys
        commented = (
            {"lists", "popular_lists", "version_label"} if section == "surfaces" else set()
        )  # None, which TOML cannot write
        assert {*keys, *commented} == set(fields.model_fields)
        assert all(f"\n# {name} = " in toml for name in commented)
    assert sorted(documented) == sorted(Settings.model_fields)
