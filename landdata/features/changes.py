"""The changes of parcels, in the order in which they became official.

`landdata.publications` numbers what became official in the order of the commits, without a hole.
A token is a place in that order, so a reader that goes on from its last token misses nothing and
gets nothing twice, however many batches are accepted meanwhile.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass

from landdata.errors import BadRequest
from landdata.features import crs, parameters, sql
from landdata.features.collections import Collection
from landdata.features.query import Query
from landdata.store.publications import BEGINNING, BEGUN, RETIRED, Place
from landdata.store.read_pool import ReadPool

PARAMETERS = ("f", "lang", "since", "limit", "wait", "crs")
DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
MAX_WAIT = 30
NOW = "now"

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of changes as JSON texts, where it ends, and whether there are more already."""

    changes: list[str]
    end: Place
    more: bool


async def read(pool: ReadPool, of: Collection, storage: int, values: Mapping[str, str]) -> Changes:
    """Return the changes after `since`; waits for the first up to `wait` seconds.

    Raises `BadRequest` for a value that makes no sense.
    """
    limit = parameters.read_limit(values, DEFAULT_LIMIT, MAX_LIMIT)
    wait = parameters.read_integer(values, "wait", 0, least=0)
    if wait > MAX_WAIT:
        raise BadRequest(
            "Parameter wait is not usable: it is more than {max_wait} seconds (given: {wait!r}).",
            max_wait=MAX_WAIT,
            wait=values["wait"][:200],
        )
    target = crs.parse(values.get("crs", crs.CRS84), storage, "crs")
    query = Query(collection=of, crs=target, storage=storage)
    since = values.get("since")
    begin = await _latest(pool) if since == NOW else _place(since) if since else BEGINNING
    page = await _page(pool, query, begin, limit)
    until = time.monotonic() + wait
    while not page.changes and time.monotonic() < until:
        await asyncio.sleep(_POLL_SECONDS)
        if (await _latest(pool)).publication > begin.publication:
            return await _page(pool, query, begin, limit)
    return page


async def _page(pool: ReadPool, query: Query, begin: Place, limit: int) -> Changes:
    """One statement, so one snapshot; states are picked by number and only then written.

    A publication holds one change at least, so `limit` + 1 publications are enough.
    """
    statement = f"""
SELECT e_number, e_kind, e_version, e_at, version, {sql.feature_json(query)}
FROM (
  SELECT
    p.number AS e_number, s.kind AS e_kind, s.id AS e_version, p.published_at AS e_at
  FROM publications AS p
    CROSS JOIN LATERAL (
      (
        SELECT {RETIRED} AS kind, ended AS id
        FROM unnest(p.retired) AS ended
        WHERE p.number > %(number)s OR ended > %(retired_after)s
        ORDER BY ended
        LIMIT {limit + 1:d}
      )
      UNION ALL
      (
        SELECT {BEGUN}, v.id
        FROM parcel_versions AS v
        WHERE v.batch_id = p.batch_id
          AND v.id <= p.last_version
          AND v.id >= CASE
            WHEN p.number = %(number)s THEN greatest(p.first_version, %(begun_after)s + 1)
            ELSE p.first_version
          END
        ORDER BY v.id
        LIMIT {limit + 1:d}
      )
    ) AS s
  WHERE p.number BETWEEN %(number)s AND %(number)s + {limit + 1:d}
  ORDER BY 1, 2, 3
  LIMIT {limit + 1:d}
) AS e
  JOIN {query.collection.table} ON id = e_version
ORDER BY e_number, e_kind, e_version
"""  # noqa: S608  # fragments of ours, and numbers
    begun = begin.kind == BEGUN
    rows = await pool.rows(
        statement,
        {
            "number": begin.publication,
            "retired_after": 2**63 - 1 if begun else begin.version,
            "begun_after": begin.version if begun else 0,
        },
    )
    more = len(rows) > limit
    rows = rows[:limit]
    return Changes(
        [_change(kind, at, version, feature) for _, kind, _, at, version, feature in rows],
        Place(*rows[-1][:3]) if rows else begin,
        more,
    )


def _change(kind: int, at: dt.datetime, version: int, feature: str) -> str:
    name = "retired" if kind == RETIRED else "created" if version == 1 else "changed"
    published = at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return f'{{"change":"{name}","published":"{published}","feature":{feature}}}'


async def _latest(pool: ReadPool) -> Place:
    """The place after all that is official now."""
    rows = await pool.rows(
        "SELECT number, last_version FROM publications ORDER BY number DESC LIMIT 1", {}
    )
    return Place(rows[0][0], BEGUN, rows[0][1]) if rows else BEGINNING


def _place(token: str) -> Place:
    try:
        return Place.of(token)
    except ValueError:
        raise BadRequest(
            "Parameter since is not usable (given: {token!r}).",
            hint="Take the token of an earlier answer as it is, or `now`.",
            token=token[:200],
        ) from None
