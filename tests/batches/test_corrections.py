"""A batch's whole life: corrected, superseded, withdrawn, refused; its rows always balance."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.surveys import parcel, plot, write

from landdata.batches import acceptance, checking, lifecycle, queries, receiving
from landdata.errors import BadRequest, BadSurvey, Conflict
from landdata.settings import Settings
from landdata.store import communes, database

COMMUNE = "99901"


@pytest.fixture(autouse=True)
def commune(engine: sa.Engine) -> None:
    with database.session(engine) as session:
        for code in (COMMUNE, "99902"):
            communes.add(session, code, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))


class Office:
    """Sends and decides, each in a transaction of its own."""

    def __init__(self, engine: sa.Engine, settings: Settings, folder: Path) -> None:
        self.engine, self.settings, self.folder = engine, settings, folder

    def file(self, name: str, *rows: dict[str, Any]) -> Path:
        return write(self.folder / f"{name}.zip", rows)

    def send(self, path: Path, *, by: str = "surveyor", corrects: int | None = None) -> int:
        with database.session(self.engine) as session:
            return checking.receive_and_check(
                session, self.settings, path, commune=COMMUNE, by=by, corrects=corrects
            ).id

    def receive(self, path: Path, code: str = COMMUNE, **more: Any) -> int:
        with database.session(self.engine) as session:
            return receiving.receive(
                session, self.settings, path, commune=code, by="surveyor", **more
            )[0].id

    def do(self, what: str, number: int, **more: Any) -> None:
        with database.session(self.engine) as session:
            getattr(lifecycle, what)(session, number, by="officer", **more)

    def check(self, number: int) -> None:
        with database.session(self.engine) as session:
            checking.check(session, self.settings, number)

    def accept(self, number: int) -> dict[str, Any]:
        with database.session(self.engine) as session:
            return acceptance.accept(session, self.settings, number, by="officer")

    def show(self, number: int) -> dict[str, Any]:
        with database.session(self.engine) as session:
            return queries.show(session, number)

    def state(self, number: int) -> str:
        return str(self.show(number)["batch"]["state"])


@pytest.fixture
def office(engine: sa.Engine, settings: Settings, tmp_path: Path) -> Office:
    return Office(engine, settings, tmp_path)


def test_a_corrected_file_is_compared_with_the_earlier_and_supersedes_it(office: Office) -> None:
    first = office.send(
        office.file(
            "a",
            parcel(1, plot(0, 0)),
            parcel(2, plot(1, 0, width=20.5)),  # into parcel 3
            parcel(3, plot(2, 0)),
            parcel(4, plot(3, 0)),
            parcel(4, plot(3, 0)),  # the row again
            parcel("", plot(9, 0)),  # a row without a number
        )
    )
    second = office.send(
        office.file(
            "b",
            parcel(1, plot(0, 0)),
            parcel(2, plot(1, 0)),
            parcel(3, plot(2, 0), KHLOAIDAT="ONT"),
            parcel(4, plot(3, 0)),
            parcel(5, plot(4, 0)),
        ),
        corrects=first,
    )
    shown = office.show(second)
    assert shown["summary"]["compared"] == {
        "batch": first, "added": 1, "changed": 2, "gone": 2, "same": 2,
    }  # fmt: skip
    assert [(d["change"], d["parcel"], d["what"]) for d in shown["compared"]] == [
        ("changed", f"{COMMUNE}/1/2", ["geometry", "area"]),
        ("changed", f"{COMMUNE}/1/3", ["land_use"]),
        ("added", f"{COMMUNE}/1/5", []),
        ("gone", f"{COMMUNE}/1/4", []),
        ("gone", None, []),
    ]
    moved = {d["parcel"]: (d["shift"], d["area_change"]) for d in shown["compared"] if "shift" in d}
    assert moved == {f"{COMMUNE}/1/2": (0.5, -10.0)}
    earlier = office.show(first)["batch"]
    assert (earlier["state"], earlier["corrected_by"]) == ("superseded", [second])
    assert earlier["reason"] == f"corrected by batch {second}"
    with pytest.raises(Conflict, match="is superseded already, by surveyor"):
        office.accept(first)
    assert office.accept(second)["accepted"] == 5


def test_each_row_of_both_files_is_counted_once(office: Office) -> None:
    def counts(name: str, earlier: int, *rows: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        number = office.send(office.file(name, *rows), corrects=earlier)
        return number, office.show(number)["summary"]["compared"]

    same = [parcel(7, plot(n, 3)) for n in range(3)]  # one number three times, apart
    first = office.send(office.file("a", *same, parcel("", plot(5, 3))))
    second, told = counts(
        "b", first, same[1], same[0], parcel(7, plot(7, 3)), parcel(8, plot(8, 3))
    )
    assert told["same"] + told["changed"] + told["gone"] == 4
    assert told["same"] + told["changed"] + told["added"] == 4
    assert (told["same"], told["changed"]) == (2, 1)
    _, told = counts("c", second, parcel(9, plot(9, 9)))
    assert (told["same"], told["changed"], told["added"], told["gone"]) == (0, 0, 1, 4)


def test_a_possible_correction_is_suggested_and_never_assumed(office: Office) -> None:
    first = office.send(office.file("a", parcel(1, plot(0, 0))))
    office.send(office.file("b", parcel(1, plot(1, 1))), by="another crew")
    office.send(office.file("c", parcel(1, plot(2, 2), SHBANDO="2")))  # another sheet
    corrected = office.file("d", parcel(1, plot(0, 0)), parcel(2, plot(1, 0)))
    fourth = office.send(corrected)
    assert office.show(fourth)["summary"]["may_correct"] == [first]
    assert office.state(first) == "checked"
    assert office.send(corrected, corrects=first) == fourth  # said so, by sending it again
    shown = office.show(fourth)
    assert shown["batch"]["corrects"] == first
    assert shown["summary"]["may_correct"] == []
    assert shown["summary"]["compared"]["added"] == 1
    assert office.state(first) == "superseded"


def test_an_accepted_batch_is_replaced_and_not_superseded(office: Office) -> None:
    first = office.send(office.file("a", parcel(1, plot(0, 0)), parcel(2, plot(1, 0))))
    office.accept(first)
    second = office.send(office.file("b", parcel(1, plot(0, 0, width=19))), corrects=first)
    compared = office.show(second)["summary"]["compared"]
    assert (compared["changed"], compared["gone"]) == (1, 1)
    assert office.accept(second)["accepted"] == 1
    assert office.state(first) == "accepted"


def test_an_impossible_correction_is_refused(office: Office) -> None:
    other = office.receive(office.file("a", parcel(1, plot(0, 0))), "99902")
    path = office.file("b", parcel(1, plot(0, 0)))
    with pytest.raises(BadRequest, match="is of commune 99902, not of 99901"):
        office.send(path, corrects=other)
    early, path_2 = office.send(path), office.file("b2", parcel(1, plot(2, 2)))
    between, late = office.send(path_2), office.send(office.file("c", parcel(1, plot(3, 3))))
    with pytest.raises(BadRequest, match="not later than"):
        office.send(path, corrects=late)
    office.send(office.folder / "c.zip", corrects=early)
    with pytest.raises(Conflict, match=f"corrects batch {early} already"):
        office.send(office.folder / "c.zip", corrects=between)


def test_an_unreadable_correction_supersedes_nothing(office: Office) -> None:
    first = office.send(office.file("a", parcel(1, plot(0, 0))))
    bad = office.folder / "bad.zip"
    bad.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(BadSurvey):
        office.send(bad, corrects=first)
    assert office.state(first) == "checked"


def test_a_withdrawn_batch_can_be_sent_again_as_another(office: Office) -> None:
    path = office.file("a", parcel(1, plot(0, 0)))
    first = office.send(path)
    office.do("withdraw", first, reason="wrong datum")
    office.do("withdraw", first)  # asked twice, done once
    shown = office.show(first)["batch"]
    assert (shown["state"], shown["reason"]) == ("withdrawn", "wrong datum")
    with pytest.raises(Conflict, match="is withdrawn already"):
        office.accept(first)
    second = office.send(path)
    assert second != first
    assert office.accept(second)["accepted"] == 1
    with pytest.raises(Conflict, match="is accepted already"):
        office.do("withdraw", second)


def test_rows_balance_in_every_state(office: Office, engine: sa.Engine) -> None:
    rows = [parcel(1, plot(0, 0)), parcel(2, plot(0.5, 0)), parcel(3, plot(5, 0))]
    rows.append(rows[2])

    def moved(n: int) -> list[dict[str, Any]]:
        return [{**row, "DIENTICH": 400.0 + n} for row in rows]

    numbers = {}
    for n, state in enumerate(
        ("received", "checking", "checked", "accepted", "rejected", "withdrawn", "superseded",
         "refused")
    ):  # fmt: skip
        path = office.file(state, *moved(n))
        numbers[state] = office.receive(path)
        if state not in ("received", "checking", "refused"):
            office.check(numbers[state])
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE batches SET state = 'checking' WHERE id = :n"),
            {"n": numbers["checking"]},
        )
    with database.session(engine) as session:
        lifecycle.refuse(session, numbers["refused"], BadSurvey("It is torn.", hint="Mend it."))
    office.check(numbers["accepted"])
    office.accept(numbers["accepted"])
    office.do("reject", numbers["rejected"])
    office.do("withdraw", numbers["withdrawn"])
    office.send(office.file("new", *moved(99)), corrects=numbers["superseded"])
    with engine.connect() as connection:
        known = connection.scalar(
            sa.text(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conname = 'ck_batches_state'"
            )
        )
    for state, number in numbers.items():
        assert f"'{state}'" in known
        shown = office.show(number)
        assert shown["batch"]["state"] == state
        with engine.connect() as connection:
            staged = connection.execute(
                sa.text(
                    "SELECT status, count(*) AS n FROM staged_parcels"
                    " WHERE batch_id = :n GROUP BY 1"
                ),
                {"n": number},
            ).all()
        by_status = {each.status: each.n for each in staged}
        summary = shown["summary"]
        if summary is None:
            assert not by_status
            assert not shown["findings"]
            continue
        done = summary["accepted" if state == "accepted" else "acceptable"]
        assert summary["read"] == 4 == done + summary["rejected"] + summary["duplicate"]
        assert by_status == {
            k: v for k, v in ((0, done), (1, summary["rejected"]), (2, summary["duplicate"])) if v
        }
        found = sum(sum(rules.values()) for rules in summary["findings"].values())
        assert found == len(shown["findings"])
    assert known.count("'::text") == len(numbers)
    assert office.show(numbers["refused"])["batch"]["refusal"] == {
        "code": "bad-survey", "message": "It is torn.", "hint": "Mend it.",
        "vi": {"code": "bad-survey", "message": "It is torn.", "hint": "Mend it."},
    }  # fmt: skip


def test_a_refused_batch_is_read_again_when_it_is_sent_again(office: Office) -> None:
    path = office.file("a", parcel(1, plot(0, 0)))
    number = office.receive(path)
    with database.session(office.engine) as session:
        lifecycle.refuse(session, number, BadSurvey("The disk was torn."))
    with pytest.raises(Conflict, match="has not been checked"):
        office.accept(number)
    assert office.send(path) == number
    shown = office.show(number)["batch"]
    assert (shown["state"], shown["refusal"]) == ("checked", None)
