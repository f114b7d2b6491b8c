"""The command line as a surveyor and an officer use it: what it prints and how it exits."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pyogrio
import pytest
import shapely
import sqlalchemy as sa
from support.surveys import parcel, plot, write

from landdata.cli import cli, main
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.store import communes, database

SAMPLES = Path(__file__).parents[2] / "sample_parcels"
MERGER = dt.date(2025, 7, 1)


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def landdata(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Runs a command in this process, with no store unless `store` gives one."""
    monkeypatch.setenv("LANDDATA_LANGUAGE", "en")

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["landdata", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        code = stop.value.code
        return Result(code if isinstance(code, int) else 1, printed.out, printed.err)

    return run


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """A store with the sample commune, for the commands."""
    monkeypatch.setenv("LANDDATA_DATABASE_URL", settings.database_url or "")
    monkeypatch.setenv("LANDDATA_HOME", str(settings.home))
    engine = database.engine(settings)
    yield engine
    engine.dispose()


def stored(engine: sa.Engine) -> dict[str, int]:
    tables = ("batches", "staged_parcels", "findings", "parcel_versions")
    with engine.connect() as connection:
        return {
            table: int(connection.scalar(sa.text(f"SELECT count(*) FROM {table}")))
            for table in tables
        }


def test_the_sample_commune_from_file_to_official(
    landdata: Callable[..., Result], store: sa.Engine
) -> None:
    assert landdata("communes", "import", SAMPLES / "communes.geojson").code == 0
    official = 0
    for folder in sorted(path.parent for path in SAMPLES.glob("*/expected.json")):
        expected = json.loads((folder / "expected.json").read_text("utf-8"))
        (file,) = folder.glob("*.zip")
        words = ["import", file, "--commune", expected["commune"], "--json"]
        result = landdata(*words, *(["--accept"] if expected["accept"] else []))
        summary = result.json["summary"]
        done = "accepted" if expected["accept"] else "acceptable"
        assert summary["read"] == expected["read"]
        assert summary[done] == expected["acceptable"]
        assert summary["rejected"] == expected["rejected"]
        assert summary["duplicate"] == expected["duplicate"]
        assert summary["crs"]["epsg"] == expected["crs"]
        assert summary["encoding"]["name"] == expected["encoding"]
        found = sorted((f["rule"], f["parcel"] or "") for f in result.json["findings"])
        assert found == sorted((f["rule"], f["parcel"] or "") for f in expected["findings"])
        assert result.code == (1 if expected["rejected"] else 0)
        if expected["accept"]:
            official += summary["accepted"]
            assert landdata(*words).json["batch"]["state"] == "accepted"  # again: the same batch
    assert stored(store)["parcel_versions"] == official
    listed = landdata("batches", "--json").json
    assert len(listed) == len({batch["sha256"] for batch in listed}) == 6
    shown = landdata("parcel", "show", "99901/1/1", "--json").json
    assert shown["commune"] == "99901"
    assert "owner" not in shown
    assert landdata("parcel", "history", shown["id"], "--json").json[-1]["version"] == 1


def test_a_batch_is_looked_at_and_decided_on(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path
) -> None:
    landdata("communes", "add", "99901", "Xã Suối Mẫu")
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0)), parcel(2, plot(1, 0))])
    batch = landdata("import", path, "--commune", "99901", "--json").json["batch"]
    assert batch["state"] == "checked"
    shown = landdata("batch", "show", batch["id"])
    assert "2 read = 2 acceptable + 0 rejected + 0 duplicate" in shown.out
    accepted = landdata("batch", "accept", batch["id"], "--reason", "seen")
    assert "2 accepted" in accepted.out
    assert landdata("batch", "reject", batch["id"]).code == 2
    assert landdata("batch", "show", 99).code == 3


def test_repairs_for_a_batch_are_proposed_and_not_applied(
    landdata: Callable[..., Result], store: sa.Engine
) -> None:
    landdata("communes", "add", "99901", "Xã Suối Mẫu")
    (file,) = (SAMPLES / "05-defects").glob("*.zip")
    batch = landdata("import", file, "--commune", "99901", "--json").json["batch"]["id"]
    before = landdata("batch", "show", batch, "--json").json
    proposed = landdata("batch", "propose", batch, "--json")
    assert proposed.code == 0
    checked = landdata("check", file, "--commune", "99901", "--propose", "--json").json
    assert proposed.json["proposals"] == checked["proposals"]
    assert proposed.json["proposals"]["proposals"]
    assert "Nothing was changed" in landdata("batch", "propose", batch).out
    assert landdata("batch", "show", batch, "--json").json == before


def test_check_needs_no_store_and_lists_its_findings(
    landdata: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANDDATA_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    bow_tie = shapely.Polygon([(548100, 1281000), (548120, 1281020), (548120, 1281000),
                               (548100, 1281020)])  # fmt: skip
    rows = [parcel(1, plot(0, 0)), parcel(2, plot(0.5, 0)), parcel(3, bow_tie)]
    path = write(tmp_path / "a.zip", rows)
    result = landdata("check", path, "--commune", "99901", "--json")
    assert result.code == 1
    summary = result.json["summary"]
    assert (summary["read"], summary["acceptable"], summary["rejected"]) == (3, 0, 3)
    assert set(summary["findings"]["error"]) == {"overlap", "invalid-ring"}
    overlap = next(f for f in result.json["findings"] if f["rule"] == "overlap")
    assert set(overlap) == {
        "rule", "severity", "row", "other_row", "parcel", "other_parcel", "measured", "limit",
        "unit", "source", "point", "geometry", "message",
    }  # fmt: skip
    assert overlap["measured"] == pytest.approx(200.0)
    assert set(overlap["message"]) == {"vi", "en"}
    table = landdata("check", path, "--commune", "99901").out
    assert "99901/1/3" in table
    assert "invalid-ring" in table
    for suffix in ("html", "geojson", "json"):
        out = tmp_path / f"report.{suffix}"
        assert landdata("check", path, "--commune", "99901", "--report", out).code == 1
        assert "99901/1/1" in out.read_text("utf-8")
    assert landdata("check", path, "--report", tmp_path / "report.docx").code == 2


def test_check_against_the_store_sees_the_seam(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path
) -> None:
    landdata("communes", "add", "99901", "Xã Suối Mẫu")
    first = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    assert landdata("import", first, "--commune", "99901", "--accept").code == 0
    second = write(tmp_path / "b.zip", [parcel(2, plot(0.5, 0))])
    assert landdata("check", second, "--commune", "99901").code == 0
    seen = landdata("check", second, "--commune", "99901", "--against", "store", "--json")
    assert seen.code == 1
    assert seen.json["findings"][0]["other_parcel"] == "99901/1/1"
    assert stored(store)["batches"] == 1


def test_a_file_is_held_against_its_commune_before_it_is_sent(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path
) -> None:
    """Meant for the neighbouring zone: only the commune tells that the declared one is wrong."""
    place = plot(0, 0, width=2000, height=2000)
    with database.session(store) as session:
        boundary = shapely.set_srid(shapely.MultiPolygon([place]), 9212)
        communes.add(session, "99901", "Xã Suối Mẫu", valid_from=MERGER, boundary=boundary)
    move: Any = transformer(9212, 9211).transform
    path = write(
        tmp_path / "a.zip", [parcel(1, shapely.transform(plot(2, 2), move, interleaved=False))]
    )
    assert landdata("inspect", path, "--json").json["crs"]["refusal"] is None
    seen = landdata("inspect", path, "--commune", "99901", "--json").json["crs"]
    assert seen["refusal_code"] == "crs-neighbour-zone"
    assert landdata("inspect", path, "--commune", "12345").code == 2
    checked = landdata("check", path, "--commune", "99901", "--against", "store", "--json")
    assert json.loads(checked.err)["error"]["code"] == "crs-neighbour-zone"


# -- what is refused: one sentence, exit 2, nothing stored ---------------------------------


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def corrupt(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:-100])


def bomb(path: Path, good: Path) -> None:
    rezip(path, {**members(good), "good.dbf": bytes(300_000_000)})


def no_index(path: Path, good: Path) -> None:
    rezip(path, {k: v for k, v in members(good).items() if not k.endswith(".shx")})


def short_table(path: Path, good: Path) -> None:
    parts = members(good)
    parts["good.dbf"] = parts["good.dbf"][:-40]
    rezip(path, parts)


def boastful_table(path: Path, good: Path) -> None:
    parts = members(good)
    parts["good.dbf"] = parts["good.dbf"][:4] + struct.pack("<I", 2**31 - 1) + parts["good.dbf"][8:]
    rezip(path, parts)


def empty(path: Path, good: Path) -> None:
    layer(path, "Polygon", [])


def points(path: Path, good: Path) -> None:
    layer(path, "Point", [shapely.Point(548000, 1281000)])


def layer(path: Path, kind: str, shapes: list[Any]) -> None:
    folder = path.with_suffix("")
    folder.mkdir()
    pyogrio.raw.write(
        folder / "good.shp",
        geometry=shapely.to_wkb(np.array(shapes, dtype=object)),
        field_data=[np.array(["1"] * len(shapes), dtype=object)],
        fields=["SHTHUA"],
        geometry_type=kind,
        crs="EPSG:9212",
    )
    rezip(path, {member.name: member.read_bytes() for member in folder.iterdir()})


def elsewhere(path: Path, good: Path) -> None:
    write(path, [parcel(1, shapely.box(582400, 4196000, 582420, 4196020))], srid=3740)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (corrupt, "zip"),
        (bomb, "200 times its size"),
        (no_index, r"\.shx"),
        (short_table, r"\.dbf"),
        (boastful_table, r"\.dbf"),
        (empty, "empty|no parcels|no rows"),
        (points, "[Pp]oint"),
        (elsewhere, "EPSG:3740"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    landdata: Callable[..., Result],
    store: sa.Engine,
    settings: Settings,
    tmp_path: Path,
    spoil: Callable[[Path, Path], None],
    told: str,
) -> None:
    landdata("communes", "add", "99901", "Xã Suối Mẫu")
    good = write(tmp_path / "good.zip", [parcel(n, plot(n, 0)) for n in range(1, 9)])
    path = tmp_path / "spoilt.zip"
    spoil(path, good)
    result = landdata("import", path, "--commune", "99901", "--accept")
    assert (result.code, result.out) == (2, "")
    said = result.err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("landdata: ")
    assert re.search(told, said[0]), said[0]
    assert set(stored(store).values()) == {0}
    assert not [p for p in settings.home.rglob("*") if p.is_file()]
    as_json = landdata("check", path, "--json")
    assert as_json.code == 2
    assert set(json.loads(as_json.err)["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize("text", ["99901", "Suối Mẫu"])
def test_a_commune_is_named_by_code_or_name(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path, text: str
) -> None:
    landdata("communes", "add", "99901", "Xã Suối Mẫu")
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0), MAXA="99901")])
    checked = landdata("check", path, "--commune", text, "--json")
    assert (checked.code, checked.json["findings"]) == (0, [])
    for nonsense in ("Suối", "999010", "0"):
        refused = landdata("check", path, "--commune", nonsense)
        assert refused.code == 2
        assert f"no commune {nonsense} " in refused.err


def test_a_file_for_an_unknown_commune_is_refused(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    result = landdata("import", path, "--commune", "12345", "--accept", "--json")
    assert result.code == 2
    assert json.loads(result.err)["error"]["code"] == "unknown-commune"
    landdata("communes", "add", "12345", "Xã Suối Mẫu")
    assert landdata("import", tmp_path, "--commune", "12345").code == 2
    assert landdata("import", tmp_path / "b.zip", "--commune", "12345").code == 3
    assert set(stored(store).values()) == {0}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["check", "nowhere.zip"], 3),
        (["chekc"], 2),
        (["batch", "show", "one"], 2),
        (["parcel", "show", "?"], 2),
        (["parcel", "show", "99901/1/1"], 3),
        (["communes", "add", "1", "x"], 2),
        (["communes", "import", "nowhere.geojson"], 3),
        (["communes", "import", "."], 2),
        (["communes", "add", "99901", " "], 2),
        (["batch", "show", "9" * 20], 2),
        (["check", "."], 2),
        (["check", SAMPLES / "01-clean/suoi_mau_to_1-3.zip", "--crs", "0"], 2),
        (["export", "--format", "csv", "/proc/parcels.csv"], 70),
    ],
)
def test_every_outcome_has_its_exit_code(
    landdata: Callable[..., Result], store: sa.Engine, words: list[str], code: int
) -> None:
    result = landdata(*words)
    assert result.code == code
    assert len(result.err.strip().splitlines()) == 1


def test_an_invalid_setting_is_named(
    landdata: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDDATA_PORT", "many")
    result = landdata("status")
    assert result.code == 2
    assert "LANDDATA_PORT" in result.err


def test_every_command_has_its_help() -> None:
    def walk(command: click.Command, name: str) -> None:
        assert command.help, f"{name} is missing its help"
        for sub, child in getattr(command, "commands", {}).items():
            walk(child, f"{name} {sub}")

    walk(cli, "landdata")


def test_a_remembered_profile_is_used_and_named(
    landdata: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANDDATA_HOME", str(tmp_path / "home"))
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0)), parcel(2, plot(1, 0))])
    (tmp_path / "p.yaml").write_text("name: to-500\nversion: 3\nfields: {scale: =500}\n")
    assert "to-500 3 is used" in landdata("profile", "remember", tmp_path / "p.yaml").out
    assert landdata("profile", "show", "--json").json["fields"] == {"scale": ["=500"]}
    used = landdata("inspect", path, "--json").json
    assert used["profile"] == landdata("check", path, "--json").json["summary"]["profile"]
    assert used["profile"] == "to-500 3"
    assert {m["attribute"]: m["how"] for m in used["fields"]}["scale"] == "profile"
    assert landdata("inspect", path, "--profile", "none", "--json").json["profile"] is None
    landdata("profile", "forget")
    assert landdata("inspect", path, "--json").json["profile"] is None


# -- real files ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_commune_and_its_legacy_twin_are_one(
    landdata: Callable[..., Result],
    make_store: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    shared: Path,
) -> None:
    monkeypatch.setenv("LANDDATA_SRID", "5897")
    monkeypatch.setenv("LANDDATA_DATABASE_URL", "")
    plain, mended, twin = (
        landdata("check", shared / name, *options, "--commune", "09922", "--json")
        for name, *options in (
            ["phu_cat_vn.zip"], ["phu_cat_vn.zip", "--mend-text"], ["phu_cat_vn_tcvn3.zip"],
        )
    )  # fmt: skip
    assert plain.code == mended.code == twin.code == 1
    assert mended.json["findings"] == twin.json["findings"]
    begun = [f for f in plain.json["findings"] if f["rule"] == "unfinished-text"]
    assert [f for f in plain.json["findings"] if f not in begun] == twin.json["findings"]
    doubled = [f for f in plain.json["findings"] if f["rule"] == "duplicate-number"]
    assert {f["parcel"] for f in doubled} == {
        "09922/15/74", "09922/34/88", "09922/34/124",
    }  # fmt: skip

    settings = make_store(5897)
    monkeypatch.setenv("LANDDATA_DATABASE_URL", settings.database_url or "")
    monkeypatch.setenv("LANDDATA_HOME", str(settings.home))
    landdata("communes", "add", "09922", "Phú Cát")
    words = ("--commune", "09922", "--accept", "--json")
    first = landdata("import", shared / "phu_cat_vn.zip", *words).json["summary"]
    assert first["read"] == 4323 == first["accepted"] + first["rejected"] + first["duplicate"]
    # What the twin holds is official already, to the letter, names and addresses too, but for
    # the texts whose conversion was left unfinished: with those it brings a new state.
    shown = landdata("import", shared / "phu_cat_vn_tcvn3.zip", *words).json
    again = shown["summary"]
    assert again["encoding"]["name"] == "TCVN3"
    assert again["accepted"] + again["duplicate"] == first["accepted"]
    told = {f["row"] for f in begun}
    changed = {f["row"] for f in shown["findings"] if f["rule"] == "replaces-official"}
    assert again["accepted"] == len(changed) > 300
    assert changed <= told
    # finished, the first file is all of that
    last = landdata("import", shared / "phu_cat_vn.zip", "--mend-text", *words).json["summary"]
    assert (last["accepted"], last["duplicate"]) == (0, first["accepted"])


@pytest.mark.slow
def test_a_foreign_file_is_understood_and_belongs_to_its_own_deployment(
    landdata: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, shared: Path
) -> None:
    path = shared / "walnut_creek_us.zip"
    seen = landdata("inspect", path, "--json").json
    assert seen["rows"] == 7432
    assert seen["crs"]["declared_epsg"] == 3740
    refused = landdata("check", path)
    assert refused.code == 2
    assert "EPSG:3740" in refused.err
    monkeypatch.setenv("LANDDATA_SRID", "3740")
    taken = landdata("check", path, "--commune", "00001", "--json").json["summary"]
    assert taken["read"] == 7432
    assert taken["acceptable"] > 7000


def test_a_batch_is_queued_looked_at_and_taken_back(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path
) -> None:
    landdata("communes", "add", "99901", "Xã Suối Mẫu")
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    number = landdata("submit", path, "--commune", "99901").out.strip()
    again = landdata("submit", path, "--commune", "99901", "--json").json
    assert again == {"batch": {"id": int(number), "state": "received"}}
    shown = landdata("batch", "show", number)
    assert "In the queue: waiting" in shown.out
    assert landdata("batch", "cancel", number).code == 0
    refused = landdata("batch", "cancel", number, "--json")
    assert refused.code == 2
    late = landdata("batch", "cancel", number)
    assert (late.code, "neither waits" in late.err) == (2, True)
    assert landdata("import", path, "--commune", "99901").code == 0
    assert "1 read" in landdata("batch", "watch", number).out
    assert landdata("batch", "withdraw", number, "--reason", "wrong file").code == 0
    assert landdata("batch", "show", number, "--json").json["batch"]["state"] == "withdrawn"
    corrected = write(tmp_path / "b.zip", [parcel(1, plot(0, 0)), parcel(2, plot(1, 0))])
    told = landdata("import", corrected, "--commune", "99901", "--corrects", number)
    assert "against batch 1: 1 added, 0 changed, 0 gone, 1 the same" in told.out


@pytest.mark.slow
def test_a_check_that_takes_too_long_ends_with_one_sentence(tmp_path: Path) -> None:
    """Four hundred parcels of a millimetre, each amid all others, would take half a minute."""
    crumbs = [
        parcel(20 * k + n + 1, plot(k / 4000, n / 4000, width=0.001, height=0.001))
        for k in range(20)
        for n in range(20)
    ]
    survey = write(tmp_path / "crumbs.zip", crumbs)
    read, unheard = os.pipe()
    os.close(read)
    for stderr in (subprocess.PIPE, unheard):
        done = subprocess.run(
            [Path(sys.executable).with_name("landdata"), "check", survey, "--commune", "99901"],
            env={**os.environ, "LANDDATA_JOB_SECONDS": "1", "LANDDATA_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        if stderr == subprocess.PIPE:
            assert done.stderr.strip() == (
                "landdata: Checking the file took over 1 s."
                " Split the survey, or raise LANDDATA_JOB_SECONDS."
            )
    os.close(unheard)


def test_a_disk_that_is_full_is_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", [parcel(n, plot(n, 0)) for n in range(1, 100)])
    landdata = Path(sys.executable).with_name("landdata")
    command = f"ulimit -f 1; exec {landdata} check {path} --commune 99901"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert done.stderr.startswith("landdata: Cannot read or write ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (
            "PERFORM pg_terminate_backend(pg_backend_pid());",
            "The connection to the database was lost: ",
        ),
        ("RAISE '%%', NEW.owner;", "This is our fault: RaiseException. Please"),
    ],
)
def test_a_database_that_breaks_off_is_one_sentence_and_names_nobody(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path, does: str, said: str
) -> None:
    landdata("communes", "add", "99901", "Xã Suối Mẫu", "--valid-from", "2025-07-01")
    with store.begin() as connection:
        body = f"CREATE FUNCTION fail() RETURNS trigger AS $$ BEGIN {does} RETURN NEW; END $$"
        connection.exec_driver_sql(f"{body} LANGUAGE plpgsql")
        connection.exec_driver_sql(
            "CREATE TRIGGER fail BEFORE INSERT ON staged_parcels"
            " FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    result = landdata("import", path, "--commune", "99901")
    assert (result.code, result.out) == (70, "")
    assert result.err.startswith(f"landdata: {said}")
    assert result.err.count("\n") == 1
    assert "Chủ" not in result.err
    assert stored(store)["batches"] == 0


def test_an_operator_without_a_name_is_a_number(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)  # whom no system knows
    landdata("communes", "add", "99901", "Xã Suối Mẫu", "--valid-from", "2025-07-01")
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    result = landdata("import", path, "--commune", "99901", "--json")
    assert result.json["batch"]["received_by"] == "uid 54321"


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(
            pytest.param(number, marks=pytest.mark.slow)
            for number in (signal.SIGHUP, signal.SIGINT)
        ),
    ],
)
def test_nothing_that_was_unpacked_stays_when_a_command_is_ended(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = write(tmp_path / "a.zip", [parcel(n, plot(n % 100, n // 100)) for n in range(1, 20_000)])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command: list[str | Path] = [
        Path(sys.executable).with_name("landdata"),
        "check",
        path,
        "--commune",
        "99901",
    ]
    process = subprocess.Popen(
        # who runs the tests in the background, or after leaving, has some of these ignored
        ["env", "--default-signal=HUP,INT,TERM", *command],
        env={**os.environ, "TMPDIR": str(scratch), "LANDDATA_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not list(scratch.rglob("survey.dbf")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    out, _ = process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert list(scratch.iterdir()) == []


def test_a_rejected_file_is_not_accepted_by_sending_it_again(
    landdata: Callable[..., Result], store: sa.Engine, tmp_path: Path
) -> None:
    landdata("communes", "add", "99901", "Xã Suối Mẫu", "--valid-from", "2025-07-01")
    words = ["import", write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]), "--commune", "99901"]
    number = landdata(*words, "--json").json["batch"]["id"]
    assert landdata("batch", "reject", number).code == 0
    assert landdata(*words).code == 0
    result = landdata(*words, "--accept")
    assert (result.code, result.out) == (2, "")
    assert f"Batch {number} is rejected already" in result.err
    assert stored(store)["parcel_versions"] == 0
