"""The settings: read once, refused in one sentence, and told in the docs as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from landdata.errors import BadRequest
from landdata.settings import Settings

DOCS = Path(__file__).parents[1] / "docs" / "operating.md"


def test_the_docs_table_is_the_settings() -> None:
    section = DOCS.read_text(encoding="utf-8").partition("## Settings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(LANDDATA_\w+)` \| (.*?) ?\| (.*?) \|$", section, re.MULTILINE)
    expected = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if default is PydanticUndefined or default is None:
            default = ""
        expected.append((f"LANDDATA_{name.upper()}", default, field.description))
    told = [(name, default.strip("` "), text) for name, default, text in rows]
    # The folder's default is a rule, told in words.
    told = [
        (name, "" if name == "LANDDATA_HOME" else default, text) for name, default, text in told
    ]
    assert told == [(name, str(default), text) for name, default, text in expected]


def test_no_other_module_reads_the_environment() -> None:
    root = Path(__file__).parents[1]
    for package in ("landdata", "ogc", "portal"):
        for module in (root / package).rglob("*.py"):
            if module.name == "settings.py":
                continue
            assert not re.search(r"os\.(environ|getenv)", module.read_text(encoding="utf-8")), (
                module
            )


def test_settings_come_from_the_environment_and_are_frozen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANDDATA_HOME", str(tmp_path))
    monkeypatch.setenv("LANDDATA_PORT", "8081")
    settings = Settings.load()
    assert (settings.home, settings.port) == (tmp_path, 8081)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "land.example"),
        ("URL", "https://a/b?c"),
        ("PORT", "none"),
        ("PORT", "70000"),
        ("SRID", "0"),
        ("LANGUAGE", "fr"),
        ("MAX_ROWS", "-1"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LANDDATA_{name}", value)
    with pytest.raises(BadRequest, match=f"LANDDATA_{name} is not usable") as caught:
        Settings.load()
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
