"""Statements on an event loop: in order, in time, on connections that may be lost."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from landdata.errors import BadRequest, Unavailable
from landdata.store.read_connections import Statement
from landdata.store.read_pool import ReadPool


@pytest.fixture
def with_pool(engine: sa.Engine) -> Callable[..., Any]:
    """Runs what uses a pool, on an event loop of its own."""

    def run(use: Callable[..., Any], **options: Any) -> Any:
        async def used() -> Any:
            pool = ReadPool(engine.url, **options)
            try:
                return await use(pool)
            finally:
                pool.close()

        return asyncio.run(used())

    return run


async def fetch(pool: ReadPool, sql: str, quick: bool = True, **parameters: Any) -> Any:
    result = await pool.fetch(Statement(sql, parameters, quick))
    return [
        tuple(result.get_value(row, n) for n in range(result.nfields))
        for row in range(result.ntuples)
    ]


def test_concurrent_statements_get_their_own_rows(with_pool: Callable[..., Any]) -> None:
    async def use(pool: ReadPool) -> Any:
        questions = [fetch(pool, "SELECT %(n)s::int + 1, '%%'", n=n) for n in range(300)]
        apart = [fetch(pool, "SELECT %(n)s::int", quick=False, n=n) for n in range(20)]
        return await asyncio.gather(*questions), await asyncio.gather(*apart)

    together, apart = with_pool(use)
    assert together == [[(str(n + 1).encode(), b"%")] for n in range(300)]
    assert apart == [[(str(n).encode(),)] for n in range(20)]


def test_a_failed_statement_raises_only_for_its_caller(with_pool: Callable[..., Any]) -> None:
    async def use(pool: ReadPool) -> Any:
        statement = "SELECT 1 / %(n)s::int"
        for _ in range(5):  # before it is prepared, and after
            asked = [fetch(pool, statement, n=n) for n in (1, 0, 1)]
            good, bad, too = await asyncio.gather(*asked, return_exceptions=True)
            assert good == too == [(b"1",)]
            assert isinstance(bad, BadRequest)
        for statement, error in (
            ("SELECT FROM nothing", Unavailable),  # a table of the deployment may go
            ("SELECT no sense at all", psycopg.errors.SyntaxError),
        ):
            for _ in range(4):
                asked = [fetch(pool, statement), fetch(pool, "SELECT 7")]
                bad, good = await asyncio.gather(*asked, return_exceptions=True)
                assert isinstance(bad, error)
                assert good == [(b"7",)]
        return await fetch(pool, "SELECT name FROM pg_prepared_statements")

    assert len(with_pool(use)) == 2


def test_a_frequent_statement_is_planned_once(with_pool: Callable[..., Any]) -> None:
    async def go(pool: ReadPool) -> Any:
        for n in range(12):
            await fetch(pool, "SELECT %(n)s::int", n=n)
        plans = "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements"
        return await fetch(pool, plans)

    [(generic, custom)] = with_pool(go)
    assert int(generic) >= 9
    assert int(custom) == 0


def test_old_statements_are_forgotten(with_pool: Callable[..., Any]) -> None:
    async def use(pool: ReadPool) -> Any:
        for n in (*range(110), 1, 2):
            for _ in range(4):
                assert await fetch(pool, f"SELECT {n:d}") == [(str(n).encode(),)]
        return await fetch(pool, "SELECT name FROM pg_prepared_statements")

    assert 90 < len(with_pool(use)) <= 100


def test_a_statement_is_prepared_again_after_its_table_changes(
    with_pool: Callable[..., Any], engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE growing AS SELECT 1 AS a")

    async def use(pool: ReadPool) -> Any:
        for _ in range(5):
            assert await fetch(pool, "SELECT * FROM growing") == [(b"1",)]
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE growing ADD b text DEFAULT 'x'")
        asked = [fetch(pool, "SELECT * FROM growing") for _ in range(5)]
        return await asyncio.gather(*asked)

    assert with_pool(use) == [[(b"1", b"x")]] * 5


def test_a_statement_over_the_time_limit_is_cancelled_and_delays_no_other(
    with_pool: Callable[..., Any],
) -> None:
    async def use(pool: ReadPool) -> Any:
        began = time.monotonic()
        slow = [
            asyncio.ensure_future(fetch(pool, "SELECT pg_sleep(60)", quick=False)) for _ in range(4)
        ]
        assert await fetch(pool, "SELECT 1") == [(b"1",)]
        assert not any(each.done() for each in slow)
        # nobody waits longer for a place, or behind what should have been quick
        more = fetch(pool, "SELECT 1", quick=False)
        stuck = [fetch(pool, "SELECT pg_sleep(60)"), fetch(pool, "SELECT 2")]
        told = await asyncio.gather(*slow, more, *stuck, return_exceptions=True)
        assert time.monotonic() - began < 20
        for each in told[:4] + told[5:6]:
            assert isinstance(each, Unavailable)
            assert each.code == "timeout"
        return await fetch(pool, "SELECT 3", quick=False), await fetch(pool, "SELECT 4")

    assert with_pool(use, statement_seconds=2) == ([(b"3",)], [(b"4",)])


def test_a_statement_is_cancelled_with_its_task(
    with_pool: Callable[..., Any], engine: sa.Engine
) -> None:
    busy = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'landdata-ogc' AND state = 'active'"
    )

    async def use(pool: ReadPool) -> Any:
        sleeping = asyncio.ensure_future(fetch(pool, "SELECT pg_sleep(60)", quick=False))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.scalar(busy):
                await asyncio.sleep(0.01)
            sleeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeping
            while connection.scalar(busy):
                await asyncio.sleep(0.01)
        return await fetch(pool, "SELECT 1", quick=False)

    assert with_pool(use) == [(b"1",)]


def test_rows_are_python_values(with_pool: Callable[..., Any]) -> None:
    sql = "SELECT %(n)s::int, 'ế'::varchar, NULL, '2026-01-01 07:00+07'::timestamptz"
    [row] = with_pool(lambda pool: pool.rows(sql, {"n": 7}))
    assert row == (7, "ế", None, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


def test_a_statement_is_the_work_of_one_process(with_pool: Callable[..., Any]) -> None:
    """Many run at once; a plan that takes more processes would take them from the others."""

    async def use(pool: ReadPool) -> Any:
        show = "SHOW max_parallel_workers_per_gather"
        return await fetch(pool, show), await fetch(pool, show, quick=False)

    assert with_pool(use) == ([(b"0",)], [(b"0",)])


def test_lost_connections_are_replaced(with_pool: Callable[..., Any], engine: sa.Engine) -> None:
    async def use(pool: ReadPool) -> Any:
        for quick in (True, False):
            assert await fetch(pool, "SELECT 1", quick=quick) == [(b"1",)]
        with engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'landdata-ogc' AND datname = current_database()"
            )
        asked = [fetch(pool, "SELECT 2", quick=quick) for quick in (True, False, True)]
        return await asyncio.gather(*asked)

    assert with_pool(use) == [[(b"2",)]] * 3


def test_a_missing_database_is_reported_at_once(engine: sa.Engine) -> None:
    async def use() -> Any:
        pool = ReadPool(engine.url.set(database="gone"))
        asked = [fetch(pool, "SELECT 1", quick=quick) for quick in (True, False, True)]
        told = await asyncio.gather(*asked, return_exceptions=True)
        pool.close()
        return told

    assert [each.code for each in asyncio.run(use())] == ["database-down"] * 3
