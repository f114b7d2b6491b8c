"""The sample batches: made again they are the same, and the checks find what was put in."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from landdata import survey, topology
from landdata.findings import RULES, Finding
from landdata.reference import vn2000
from landdata.settings import Settings

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_parcels"
BATCHES = sorted(path.parent.name for path in SAMPLES.glob("*/expected.json"))

# Rules about two parcels of which neither comes first.
MUTUAL = {"overlap", "gap", "duplicate-geometry"}


@dataclass(frozen=True)
class Seen:
    """A batch, what was expected of it and what the check said."""

    expected: dict[str, Any]
    survey: survey.Survey
    checked: topology.Checked


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """Every batch in turn, each checked against what was accepted before it."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), srid=9212)
    official: dict[str, Any] = {}
    result = {}
    for name in BATCHES:
        expected = json.loads((SAMPLES / name / "expected.json").read_text(encoding="utf-8"))
        (file,) = (SAMPLES / name).glob("*.zip")
        read = survey.read(file, settings)
        neighbours = topology.Neighbours(
            parcels=np.array(list(official), dtype=object),
            geometry=np.array(list(official.values()), dtype=object),
        )
        checked = topology.check(read, neighbours, commune=expected["commune"])
        result[name] = Seen(expected, read, checked)
        if expected["accept"]:
            for key, shape in zip(checked.parcels, read.geometry, strict=True):
                official[key] = shape
    return result


def test_making_them_again_gives_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SAMPLES / "make.py", tmp_path], check=True)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    kept = {
        p.relative_to(SAMPLES): p.read_bytes()
        for p in SAMPLES.rglob("*")
        if p.suffix in {".zip", ".json", ".geojson"}
    }
    assert sorted(made) == sorted(kept)
    assert [path for path in kept if made[path] != kept[path]] == []


def test_there_are_five_batches_or_more() -> None:
    assert len(BATCHES) >= 5
    sizes = [path.stat().st_size for path in SAMPLES.rglob("*.zip")]
    assert sum(sizes) < 1_500_000


@pytest.mark.parametrize("name", BATCHES)
def test_rows_balance(seen: dict[str, Seen], name: str) -> None:
    batch = seen[name]
    status = Counter(batch.checked.status.tolist())
    counted = {
        "read": len(batch.survey.rows),
        "acceptable": status[0],
        "rejected": status[1],
        "duplicate": status[2],
    }
    assert counted == {key: batch.expected[key] for key in counted}
    assert counted["read"] == sum(status.values())


@pytest.mark.parametrize("name", BATCHES)
def test_injected_defects_are_reported_and_nothing_else(seen: dict[str, Seen], name: str) -> None:
    def mark(rule: str, parcel: str | None, other: str | None) -> tuple[str, ...]:
        pair = (parcel or "", other or "")
        return (rule, *(sorted(pair) if rule in MUTUAL else pair))

    expected = Counter(
        mark(f["rule"], f["parcel"], f["other_parcel"]) for f in seen[name].expected["findings"]
    )
    found = Counter(mark(f.rule, f.parcel, f.other_parcel) for f in seen[name].checked.findings)
    assert found == expected


@pytest.mark.parametrize("name", BATCHES)
def test_findings_are_where_they_were_put(seen: dict[str, Seen], name: str) -> None:
    def near(finding: Finding, expected: dict[str, Any]) -> bool:
        assert finding.point is not None
        gap = np.hypot(*np.subtract(finding.point, expected["point"]))
        return bool(gap < 25)

    on_edges = MUTUAL | {"unmatched-vertex"}
    for expected in seen[name].expected["findings"]:
        assert expected["severity"] == RULES[expected["rule"]].severity
        if expected["rule"] in on_edges - {"duplicate-geometry"}:
            assert any(
                near(finding, expected)
                for finding in seen[name].checked.findings
                if finding.rule == expected["rule"]
            )


@pytest.mark.parametrize("name", BATCHES)
def test_encoding_and_crs_are_reported(seen: dict[str, Seen], name: str) -> None:
    batch = seen[name]
    assert batch.survey.encoding.name == batch.expected["encoding"]
    assert batch.survey.crs.epsg == batch.expected["crs"]
    addresses = set(batch.survey.attributes["address"].to_pylist())
    assert sorted(addresses) == batch.expected["addresses"]


def test_all_but_the_defects_is_one_vertex_exact_coverage(seen: dict[str, Seen]) -> None:
    """Across sheets, batches and the zone 5899: to the millimetre, and no gap below 1 m."""
    clean = [seen[name].survey.geometry for name in BATCHES if seen[name].expected["accept"]]
    shapes = np.concatenate(clean[:-1])  # without the batch that replaces
    assert len(shapes) > 2500
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes, gap_width=1.0)


def test_the_second_survey_replaces_what_it_measured(seen: dict[str, Seen]) -> None:
    checked = seen["06-resurvey"].checked
    assert (checked.replaces >= 0).all()
    assert (checked.unchanged < 0).all()


def test_the_border_holds_every_parcel(seen: dict[str, Seen]) -> None:
    """In the storage CRS the border, given in longitude and latitude, is around all parcels."""
    document = json.loads((SAMPLES / "communes.geojson").read_text(encoding="utf-8"))
    (feature,) = document["features"]
    assert feature["properties"] == {
        "code": "99901",
        "name": "Xã Suối Mẫu",
        "valid_from": "2025-07-01",
    }
    transformer = vn2000.transformer(4326, 9212)
    border = shapely.transform(
        shapely.geometry.shape(feature["geometry"]),
        lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])),
    )
    for batch in seen.values():
        shapes = batch.survey.geometry[batch.checked.status == 0]
        assert shapely.covers(border, shapes).all()


def test_parcels_made_for_the_benchmarks_are_a_coverage(tmp_path: Path) -> None:
    made = runpy.run_path(str(ROOT / "bench" / "make_parcels.py"))
    parcels = made["make"](1000)
    shapes = parcels.geometry()
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes, gap_width=1.0)
    made["write"](parcels, tmp_path / "made.zip", "99901")
    read = survey.read(tmp_path / "made.zip", Settings(home=tmp_path, srid=9212))
    assert shapely.equals_exact(read.geometry, shapes).all()
    checked = topology.check(read, commune="99901")
    assert checked.findings == []
