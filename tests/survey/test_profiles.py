"""Mapping profiles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.shapefiles import sound, zipped

from landdata import survey
from landdata.batches.validation import ReadOptions, check
from landdata.errors import BadRequest, NotFound
from landdata.settings import Settings
from landdata.survey import fields, profiles

SETTINGS = Settings(srid=9212)
ROOT = Path(__file__).parents[2]


def written(tmp_path: Path, **more: Any) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"name": "to-1", "version": 3, **more}), "utf-8")
    return path


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_that_ships_is_sound(name: str) -> None:
    profile = profiles.load(name)
    assert profile.name == name
    # it says nothing that the table of names would not
    for attribute, names in profile.fields.items():
        for source in names:
            meanings = [m[0] for m in fields._meanings(source, list(names))]
            assert attribute in meanings or source.endswith("_1")


def test_a_profile_leads_and_an_option_overrules(tmp_path: Path) -> None:
    made = sound(2, TO_CU=["7", "8"], XA=["1", "1"])
    path = zipped(tmp_path / "a.zip", made)
    profile = profiles.load(str(written(tmp_path, fields={
        "old_sheet": ["KHONG_CO", "TO_CU"], "scale": "=500", "number": "XA", "area": "KHONG_CO",
    })))  # fmt: skip
    read = survey.read(path, SETTINGS, profile=profile, fields={"number": "SHTHUA"})
    assert read.attributes["old_sheet"].to_pylist() == ["7", "8"]
    assert read.attributes["scale"].to_pylist() == [500, 500]
    assert read.attributes["number"].to_pylist() == ["1", "2"]
    how = {m.attribute: m.how for m in read.fields}
    assert (how["old_sheet"], how["scale"], how["number"], how["sheet"]) == (
        "profile", "profile", "option", "name",
    )  # fmt: skip
    told = survey.inspect(path, SETTINGS, profile=profile).as_dict()
    assert told["profile"] == "to-1 3"
    assert {"source": "TO_CU", "attribute": "old_sheet", "how": "profile", "filled": 2} in told[
        "fields"
    ]


def test_crs_encoding_and_columns(tmp_path: Path) -> None:
    profile = profiles.load(str(written(
        tmp_path, crs=9212, columns=["sheet", "number", "a", "x", "y"], encoding="TCVN3"
    )))  # fmt: skip
    path = tmp_path / "d.txt"
    path.write_text("".join(f"25\t1\tZ\t{1281000 + y}\t{548000 + x}\n" for x, y in
                            [(0, 0), (0, 20), (20, 20), (20, 0)]))  # fmt: skip
    read = survey.read(path, SETTINGS, profile=profile)
    assert (read.crs.epsg, read.encoding.name) == (9212, "TCVN3")
    assert read.measured_area.tolist() == [400.0]


def test_a_batch_keeps_the_profile_as_it_was(tmp_path: Path) -> None:
    profile = profiles.load(str(written(tmp_path, fields={"scale": "=500"}))).as_dict()
    options = ReadOptions(profile=profile)
    again = ReadOptions(**options.as_dict())
    assert again.as_dict() == options.as_dict()
    report = check(zipped(tmp_path / "a.zip", sound()), SETTINGS, options=again)
    assert report.survey.attributes["scale"].to_pylist() == [500] * 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\nversion: 1\nfields: {sheets: A}", "sheets is no attribute"),
        ("name: a\nversion: 0", "version"),
        ("name: a\nversion: 1\nfield: {}", "field"),
        ("name: 'A b'\nversion: 1", "name"),
        ("name: a\nversion: 1\nfields: {sheet: []}", "sheet"),
        ("name: a\nversion: 1\ncolumns: [x, x]", "named twice"),
        ("[1, 2]", "dictionary"),
        ("a: b: c", "no YAML"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
    ],
)
def test_a_bad_profile_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(BadRequest) as caught:
        profiles.load(str(tmp_path / "p.yaml"))
    assert told in caught.value.message
    assert "\n" not in caught.value.message


def test_no_such_profile() -> None:
    with pytest.raises(NotFound) as caught:
        profiles.load("../../etc/passwd.yaml")
    assert "famis" in (caught.value.hint or "")


def test_the_profile_in_the_docs_is_one() -> None:
    page = (ROOT / "docs" / "survey-files.md").read_text("utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert profiles.parse(yaml.safe_load(text)).version == 2
    assert all(f"`{name}`" in page for name in profiles.names())


def test_a_profile_is_remembered_for_its_surveyor(tmp_path: Path) -> None:
    one = profiles.parse({"name": "to", "version": 1, "fields": {"sheet": "=25"}})
    two = profiles.parse({"name": "to", "version": 2, "fields": {"sheet": "=26"}})
    assert profiles.recall(tmp_path, "an") is None
    for surveyor in ("an", "../an", ".."):
        profiles.remember(tmp_path, surveyor, one)
    profiles.remember(tmp_path, "an", two)
    assert profiles.recall(tmp_path, "an") == two
    assert profiles.recall(tmp_path, "../an") == profiles.recall(tmp_path, "..") == one
    profiles.remember(tmp_path, "an", one)  # the version as it was
    with pytest.raises(BadRequest) as caught:
        profiles.remember(tmp_path, "an", one.model_copy(update={"crs": 9212}))
    assert caught.value.code == "same-version"
    profiles.forget(tmp_path, "an")
    assert profiles.recall(tmp_path, "an") is None
    assert [p.name for p in tmp_path.iterdir()] == ["profiles"]
