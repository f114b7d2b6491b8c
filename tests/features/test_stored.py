"""The features stored as text are those that would be rendered."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from support import served, stored, surveys

from landdata.batches import acceptance, checking
from landdata.features import collections, crs, sql
from landdata.features.query import Query
from landdata.settings import Settings
from landdata.store import database

ITEMS = "/ogc/collections/parcels/items"


def both(engine: sa.Engine, settings: Settings) -> list[Any]:
    """Return the rendered and the stored feature of all versions."""
    parcels = collections.collections(settings)["parcels"]
    assert parcels.feature == "feature"
    query = Query(
        collection=parcels,
        crs=crs.supported(settings.srid)[crs.CRS84],
        storage=settings.srid,
        properties=parcels.properties,  # a selection is always rendered
    )
    rendered = sql.page_statement(query)[0].partition(" AS after_key")[0].rpartition(",")[0]
    assert "ST_AsGeoJSON" in rendered
    with engine.connect() as connection:
        connection.execute(sa.text("SET timezone = 'UTC'"))
        return list(connection.exec_driver_sql(f"{rendered}, feature FROM parcel_versions"))


@pytest.mark.parametrize("srid", [9212, 5899, 32648])
def test_stored_features_equal_rendered_features(
    make_store: Callable[..., Settings], srid: int
) -> None:
    settings = make_store(srid)
    engine = database.engine(settings)
    batch = stored.batch(engine, "a")
    ring = stored.square(0, 0, srid=srid)
    hole = ring.replace(
        ")))", "), (548002 1281002, 548004 1281002, 548004 1281006, 548002 1281002)))"
    )
    odd: dict[str, Any] = {
        "area": float("nan"),
        "legal_area": float("inf"),
        "land_use": None,
        "label": None,
    }
    stored.parcel(engine, batch, hole, number="1", national_id="w6bqz3k8n1p0")
    stored.parcel(engine, batch, ring, number="2", scale=None, surveyed_on=None, **odd)
    stored.parcel(
        engine,
        batch,
        ring,
        number="3",
        label='"valid_to":null \\ "\n\t ế \u2028 %s',
        area=0.1 + 0.2,
        valid_from=dt.datetime(2025, 7, 1, 1, 0, 0, 123456, dt.UTC),
        valid_to=stored.SECOND,
    )
    pairs = both(engine, settings)
    assert len(pairs) == 3
    for rendered, text in pairs:
        assert text == rendered
        assert json.loads(text)["geometry"]["coordinates"]
    engine.dispose()


def test_an_acceptance_writes_what_the_trigger_would(
    settings: Settings, engine: sa.Engine, tmp_path: Path
) -> None:
    """All rows at once, a second version as well as a first."""
    stored.commune(engine)
    for name, shift in (("a", 0.0), ("b", 0.25)):
        rows = [surveys.parcel(n, surveys.plot(n, shift)) for n in range(1, 4)]
        survey = surveys.write(tmp_path / f"{name}.zip", rows)
        with database.session(engine) as session:
            batch = checking.receive_and_check(
                session, settings, survey, commune="99901", by="surveyor"
            )
            acceptance.accept(session, settings, batch.id, by="officer")
    pairs = both(engine, settings)
    assert len(pairs) == 6
    for rendered, text in pairs:
        assert text == rendered


def test_the_stored_feature_follows_every_change(settings: Settings, engine: sa.Engine) -> None:
    """Whoever writes, in whatever time zone, and also where a version only ends."""
    stored.lattice(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL timezone = 'Asia/Ho_Chi_Minh'"))
        connection.execute(sa.text("SET LOCAL extra_float_digits = 3"))
        connection.execute(
            sa.text("UPDATE parcel_versions SET valid_to = now(), label = 'x' WHERE number = '3'")
        )
        connection.execute(
            sa.text("UPDATE parcel_versions SET geom = ST_Translate(geom, 1, 1), feature = 'no'")
        )
    for rendered, text in both(engine, settings):
        assert text == rendered


def test_text_of_users_stays_valid_json(settings: Settings, engine: sa.Engine) -> None:
    batch = stored.batch(engine, "a")
    key = stored.parcel(engine, batch, stored.square(0, 0))
    texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)

    @tuned(
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        derandomize=True,
        database=None,
    )
    @given(texts, st.floats(), st.none() | texts)
    def write(sheet: str, area: float, label: str | None) -> None:
        with engine.begin() as connection:
            connection.execute(
                sa.text(
                    "UPDATE parcel_versions SET sheet = :sheet, area = :area, label = :label"
                    " WHERE parcel_id = :key"
                ),
                {"sheet": sheet, "area": area, "label": label, "key": key},
            )
        ((rendered, text),) = both(engine, settings)
        assert text == rendered
        properties = json.loads(text)["properties"]
        assert (properties["sheet"], properties["label"]) == (sheet, label)

    write()


def test_addresses_are_never_stored_in_the_feature(make_store: Callable[..., Settings]) -> None:
    settings = make_store(publish_address=True)
    engine = database.engine(settings)
    stored.lattice(engine)
    with engine.connect() as connection:
        features = connection.scalars(sa.text("SELECT feature FROM parcel_versions")).all()
    assert len(features) == 17
    assert not any("Thôn" in text or "Chủ" in text for text in features)
    with served.client(settings, engine) as client:  # an address is rendered
        feature = client.get(f"{ITEMS}?limit=1").json["features"][0]
    assert feature["properties"]["address"] == "Thôn 1"
    engine.dispose()


def test_the_plain_page_is_read_and_others_are_rendered(
    settings: Settings, engine: sa.Engine
) -> None:
    stored.lattice(engine)
    plain = f"{ITEMS}?limit=3"
    other = "&crs=http://www.opengis.net/def/crs/EPSG/0/9212"
    with served.client(settings, engine) as client:
        questions = served.statements(client)
        for query in ("", "&datetime=../..", other, "&properties=area", "&skipGeometry=true"):
            client.get(plain + query)
    statements = [statement.sql for statement in questions]
    rendered = ["ST_AsGeoJSON" in statement for statement in statements]
    stored_text = ["SELECT (feature)::" in statement for statement in statements]
    assert rendered == [False, False, True, True, False]
    assert stored_text == [True, True, False, False, False]
