"""docs/configuration.md has one row for each setting, with the default that it has."""

from __future__ import annotations

import re
from pathlib import Path

from control_plane.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
HOME_PATH = "~/.local/share/tritonplane"  # depends on the machine; what it is here is checked by the settings' own test


def default_of(name: str) -> str:
    field = Settings.model_fields[name]
    if field.default_factory is not None:
        return HOME_PATH
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return "none" if field.default in (None, (), {}) else str(field.default)


def test_every_setting_has_a_row_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]+)`? \| .{3,} \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert {name.lower(): default for name, default in rows} == {
        name: default_of(name) for name in Settings.model_fields
    }
    assert len(rows) == len(Settings.model_fields)
