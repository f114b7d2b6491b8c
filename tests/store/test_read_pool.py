"""Questions on an event loop: in order, in time, on connections that may be lost."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest
import sqlalchemy as sa

from landdata.errors import BadRequest, Unavailable
from landdata.store.read_connections import Question
from landdata.store.read_pool import Lines


def asking(statement, has_generic_plan=True, **parameters):
    result = yield Question(statement, parameters, has_generic_plan)
    return [
        tuple(result.get_value(row, n) for n in range(result.nfields))
        for row in range(result.ntuples)
    ]


async def never():
    await asyncio.Event().wait()


@pytest.fixture
def with_lines(engine):
    """Runs what uses lines, on a loop of its own."""

    def run(use, **options):
        async def used():
            lines = Lines(engine.url, **options)
            try:
                return await use(lines)
            finally:
                lines.close()

        return asyncio.run(used())

    return run


def ask(lines, *words, **more):
    return lines.follow(asking(*words, **more), never)


def test_many_are_asked_at_once_and_each_gets_its_own_answer(with_lines):
    async def use(lines):
        questions = [ask(lines, "SELECT %(n)s::int + 1, '%%'", n=n) for n in range(300)]
        apart = [ask(lines, "SELECT %(n)s::int", has_generic_plan=False, n=n) for n in range(20)]
        return await asyncio.gather(*questions), await asyncio.gather(*apart)

    together, apart = with_lines(use)
    assert together == [[(str(n + 1).encode(), b"%")] for n in range(300)]
    assert apart == [[(str(n).encode(),)] for n in range(20)]


def test_what_fails_is_told_to_who_asked_it_alone(with_lines):
    async def use(lines):
        statement = "SELECT 1 / %(n)s::int"
        for _ in range(5):  # before it is prepared, and after
            asked = [ask(lines, statement, n=n) for n in (1, 0, 1)]
            good, bad, too = await asyncio.gather(*asked, return_exceptions=True)
            assert good == too == [(b"1",)]
            assert isinstance(bad, BadRequest)
        for statement, error in (
            ("SELECT FROM nothing", Unavailable),  # a table of the deployment may go
            ("SELECT no sense at all", psycopg.errors.SyntaxError),
        ):
            for _ in range(4):
                asked = [ask(lines, statement), ask(lines, "SELECT 7")]
                bad, good = await asyncio.gather(*asked, return_exceptions=True)
                assert isinstance(bad, error)
                assert good == [(b"7",)]
        return await ask(lines, "SELECT name FROM pg_prepared_statements")

    assert len(with_lines(use)) == 2


def test_what_is_asked_often_is_planned_once(with_lines):
    async def go(lines):
        for n in range(12):
            await ask(lines, "SELECT %(n)s::int", n=n)
        plans = "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements"
        return await ask(lines, plans)

    [(generic, custom)] = with_lines(go)
    assert int(generic) >= 9
    assert int(custom) == 0


def test_old_statements_are_forgotten(with_lines):
    async def use(lines):
        for n in (*range(110), 1, 2):
            for _ in range(4):
                assert await ask(lines, f"SELECT {n:d}") == [(str(n).encode(),)]
        return await ask(lines, "SELECT name FROM pg_prepared_statements")

    assert 90 < len(with_lines(use)) <= 100


def test_a_statement_that_its_table_outgrew_is_asked_anew(with_lines, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE growing AS SELECT 1 AS a")

    async def use(lines):
        for _ in range(5):
            assert await ask(lines, "SELECT * FROM growing") == [(b"1",)]
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE growing ADD b text DEFAULT 'x'")
        asked = [ask(lines, "SELECT * FROM growing") for _ in range(5)]
        return await asyncio.gather(*asked)

    assert with_lines(use) == [[(b"1", b"x")]] * 5


def test_what_takes_too_long_is_given_up_and_holds_no_other_up(with_lines):
    async def use(lines):
        began = time.monotonic()
        slow = [
            asyncio.ensure_future(ask(lines, "SELECT pg_sleep(60)", has_generic_plan=False))
            for _ in range(4)
        ]
        assert await ask(lines, "SELECT 1") == [(b"1",)]
        assert not any(each.done() for each in slow)
        # nobody waits longer for a place, or behind what should have been quick
        more = ask(lines, "SELECT 1", has_generic_plan=False)
        stuck = [ask(lines, "SELECT pg_sleep(60)"), ask(lines, "SELECT 2")]
        told = await asyncio.gather(*slow, more, *stuck, return_exceptions=True)
        assert time.monotonic() - began < 20
        for each in told[:4] + told[5:6]:
            assert isinstance(each, Unavailable)
            assert each.code == "timeout"
        return await ask(lines, "SELECT 3", has_generic_plan=False), await ask(lines, "SELECT 4")

    assert with_lines(use, statement_seconds=2) == ([(b"3",)], [(b"4",)])


def test_who_leaves_ends_what_is_asked_for_him(with_lines, engine):
    busy = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'landdata-ogc' AND state = 'active'"
    )

    async def use(lines):
        gone = asyncio.Event()
        asked = asyncio.ensure_future(
            lines.follow(asking("SELECT pg_sleep(60)", has_generic_plan=False), gone.wait)
        )
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.scalar(busy):
                await asyncio.sleep(0.01)
            gone.set()
            with pytest.raises(Unavailable):
                await asked
            while connection.scalar(busy):
                await asyncio.sleep(0.01)
        return await ask(lines, "SELECT 1", has_generic_plan=False)

    assert with_lines(use) == [(b"1",)]


def test_whether_a_client_has_left_is_asked_once(with_lines):
    """A web server may say that he has, asked again in the same request."""
    asked = []

    async def leaving():
        asked.append(True)
        if len(asked) == 1:
            await asyncio.Event().wait()

    def two():
        yield Question("SELECT 1", {}, has_generic_plan=False)
        yield Question("SELECT pg_sleep(0.3)", {}, has_generic_plan=False)

    with_lines(lambda lines: lines.follow(two(), leaving))
    assert asked == [True]


def test_lost_connections_are_replaced(with_lines, engine):
    async def use(lines):
        for quick in (True, False):
            assert await ask(lines, "SELECT 1", has_generic_plan=quick) == [(b"1",)]
        with engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'landdata-ogc' AND datname = current_database()"
            )
        asked = [ask(lines, "SELECT 2", has_generic_plan=quick) for quick in (True, False, True)]
        return await asyncio.gather(*asked)

    assert with_lines(use) == [[(b"2",)]] * 3


def test_no_database_is_told_at_once(engine):
    async def use():
        lines = Lines(engine.url.set(database="gone"))
        asked = [ask(lines, "SELECT 1", has_generic_plan=quick) for quick in (True, False, True)]
        told = await asyncio.gather(*asked, return_exceptions=True)
        lines.close()
        return told

    assert [each.code for each in asyncio.run(use())] == ["database-down"] * 3
