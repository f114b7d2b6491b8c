"""Reference systems of the OGC API: to the millimetre, in the axis order of each authority."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import shapely
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import served, stored
from support.property_tests import examples

from landdata.errors import BadRequest
from landdata.features import crs
from landdata.features.crs import Crs
from landdata.reference.vn2000 import ZONES, transformer
from landdata.settings import Settings
from landdata.store import database

ITEMS = "/ogc/collections/parcels/items"
#: Longitude and latitude (WGS 84) of a grid over Đồng Nai; (106.82, 10.95) is in Biên Hòa, south
#: of 11.04 N, where PROJ left alone changes to another datum operation.
GRID = [*itertools.product((106.4, 106.82, 107.1, 107.5), (10.7, 10.95, 11.03, 11.05, 12.2))]


def squares(storage: int) -> Any:
    """A square of 20 m at each point of the grid, storage CRS, on the 1 mm grid."""
    x, y = transformer(4326, storage).transform(*np.array(GRID).T)
    corners = np.array([(0, 0), (20, 0), (20, 20), (0, 20), (0, 0)])
    return np.round(np.column_stack([x, y])[:, None, :] + corners, 3)


@pytest.fixture(scope="module", params=[9212, 5899])
def grid(
    request: pytest.FixtureRequest, make_store: Callable[..., Settings]
) -> Iterator[tuple[int, NDArray[Any], served.Client]]:
    """A client of a store in each of two zones, with the squares of the grid, by number."""
    settings = make_store(request.param)
    engine = database.engine(settings)
    batch = stored.batch(engine, "a")
    rings = squares(request.param)
    for place, ring in enumerate(rings):
        text = ", ".join(f"{x} {y}" for x, y in ring)
        geom = f"SRID={request.param};MULTIPOLYGON((({text})))"
        stored.parcel(engine, batch, geom, number=str(place))
    with served.client(settings, engine) as client:
        yield request.param, rings, client
    engine.dispose()


def read(client: served.Client, uri: str) -> NDArray[Any]:
    answer = client.get(ITEMS, query_string={"crs": uri, "limit": 100})
    assert answer.headers["Content-Crs"] == f"<{uri}>"
    features = sorted(answer.json["features"], key=lambda f: int(f["properties"]["number"]))
    return np.array([f["geometry"]["coordinates"][0][0] for f in features])


def test_every_offered_crs_agrees_with_pyproj_and_leads_back(
    grid: tuple[int, NDArray[Any], served.Client],
) -> None:
    storage, rings, client = grid
    told = client.get("/ogc/collections/parcels").json
    offered = crs.supported(storage)
    assert told["crs"] == list(offered)
    assert told["storageCrs"] == f"{crs.EPSG}{storage}"
    assert len(offered) == 1 + 3 + 20  # CRS84, 4326, 3857, 4756 and twenty zones
    for uri, known in offered.items():
        answer = read(client, uri)
        if known.north_first:
            answer = answer[..., ::-1]
        x, y = transformer(storage, known.srid).transform(rings[..., 0], rings[..., 1])
        metre = 1 / 111_000 if known.geographic else 1.0
        # to WGS 84 a position is the one that leads back, beside that of PROJ's own way there
        beside = 0.0001 if known.srid in crs.VN2000 else 0.0005
        assert np.abs(answer - np.stack([x, y], -1)).max() < beside * metre, uri
        back = np.stack(transformer(known.srid, storage).transform(*np.moveaxis(answer, -1, 0)), -1)
        assert np.hypot(*np.moveaxis(back - rings, -1, 0)).max() < 0.0001, uri


@tuned(
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(storage=st.sampled_from(sorted(ZONES)), seed=st.integers(0, 2**32 - 1))
def test_what_is_read_anywhere_in_vietnam_leads_back_to_a_tenth_of_a_millimetre(
    engine: sa.Engine, storage: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    there = np.round(chance.uniform((150_000, 900_000), (850_000, 2_650_000), (200, 2)), 3)
    points = "unnest(%(x)s::float8[], %(y)s::float8[]) WITH ORDINALITY AS p (x, y, n)"
    for uri in (crs.CRS84, f"{crs.EPSG}4326", f"{crs.EPSG}3857", f"{crs.EPSG}4756"):
        target = crs.supported(storage)[uri]
        moved = crs.output_sql("geom", storage, target)
        statement = (
            f"SELECT ST_AsGeoJSON({moved}, {target.digits}) FROM"
            f" (SELECT ST_SetSRID(ST_MakePoint(x, y), {storage}) AS geom FROM {points}"
            " ORDER BY n) AS g"
        )
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(
                statement, {"x": there[:, 0].tolist(), "y": there[:, 1].tolist()}
            )
            read = np.array([json.loads(text)["coordinates"] for (text,) in rows])
        if target.north_first:
            read = read[:, ::-1]
        back = np.column_stack(transformer(target.srid, storage).transform(*read.T))
        assert np.hypot(*(back - there).T).max() < 0.0001, uri


def test_a_vertex_that_two_parcels_share_stays_one(engine: sa.Engine) -> None:
    there = np.random.default_rng(7).uniform((520_000, 1.2e6), (610_000, 1.3e6), (5000, 2)).round(3)
    wgs84 = crs.supported(9212)[crs.CRS84]
    read = []
    for far in (0, 30_000):  # the same vertex in parcels of other extents
        moved = crs.output_sql("geom", 9212, wgs84)
        statement = (
            f"SELECT ST_AsGeoJSON({moved}, {wgs84.digits}) FROM (SELECT n, ST_SetSRID(ST_MakeLine("
            "ST_MakePoint(x, y), ST_MakePoint(x - %(far)s, y - %(far)s)), 9212) AS geom"
            " FROM unnest(%(x)s::float8[], %(y)s::float8[]) WITH ORDINALITY AS p (x, y, n)) AS g"
            " ORDER BY n"
        )
        values = {"x": there[:, 0].tolist(), "y": there[:, 1].tolist(), "far": far}
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(statement, values).scalars()
            read.append([json.loads(text)["coordinates"][0] for text in rows])
    assert read[0] == read[1]


def test_only_geographic_systems_of_epsg_put_latitude_first(
    grid: tuple[int, NDArray[Any], served.Client],
) -> None:
    storage, _, client = grid
    flipped = {u for u, known in crs.supported(storage).items() if known.north_first}
    assert flipped == {f"{crs.EPSG}4326", f"{crs.EPSG}4756"}
    assert (read(client, f"{crs.EPSG}4326")[..., 0] < 13).all()
    assert (read(client, crs.CRS84)[..., 0] > 106).all()


@pytest.mark.parametrize("name", ["9205", "4756", "3857", "CRS84", "4326", "5899", "3405"])
def test_a_box_in_any_crs_is_that_box_on_the_ground(
    grid: tuple[int, NDArray[Any], served.Client], name: str
) -> None:
    """The box of one square's own corners, in the asked CRS, finds it; moved away it does not."""
    storage, _, client = grid
    uri = crs.CRS84 if name == "CRS84" else f"{crs.EPSG}{name}"
    known = crs.supported(storage)[uri]
    step = np.array([1e-8, 1e-8]) if known.geographic else np.array([0.002, 0.002])
    rings = read(client, uri)
    for number in (0, 6, 19):
        ring = rings[number]
        low, high = ring.min(axis=0), ring.max(axis=0)

        def found(one: NDArray[Any], other: NDArray[Any]) -> list[int]:
            box = ",".join(f"{each:.9f}" for each in (*one, *other))
            query = {"bbox": box, "bbox-crs": uri, "limit": 100}
            told = client.get(ITEMS, query_string=query).json
            return [int(f["properties"]["number"]) for f in told["features"]]

        assert found(low, high) == [number]
        assert found(high + step, high + 5 * step) == []
        middle = (low + high) / 2
        assert found(middle, middle) == [number]


def test_a_wide_box_ends_at_its_parallel_to_the_millimetre(
    grid: tuple[int, NDArray[Any], served.Client],
) -> None:
    """The south edge of a box 8° wide is a parallel, which is curved in the storage CRS."""
    storage, _, client = grid
    north = read(client, crs.CRS84)[:, :, 1].max(axis=1)
    for number in (1, 6, 16):
        for shift, inside in ((-2e-8, True), (2e-8, False)):  # 2 mm
            box = f"103.5,{north[number] + shift:.9f},111.5,13"
            query = {"bbox": box, "number": number}
            told = client.get(ITEMS, query_string=query).json
            assert bool(told["features"]) is inside, (storage, number, shift)


@pytest.mark.parametrize(
    ("box", "uri"),
    [
        ("-180,-90,180,90", crs.CRS84),
        ("-180,-90,-10000,180,90,10000", crs.CRS84),
        ("-90,-180,90,180", f"{crs.EPSG}4326"),
        ("100,5,-100,20", crs.CRS84),
        ("170,-20,115,80", crs.CRS84),
        ("-260,5,-240,20", crs.CRS84),
        ("-20037508.342789244,-20048966.1,20037508.342789244,20048966.1", f"{crs.EPSG}3857"),
        ("-1e300,-1e300,1e300,1e300", f"{crs.EPSG}9205"),
        ("-1e300,-1e300,1e300,1e300", f"{crs.EPSG}5899"),
    ],
)
def test_a_box_as_large_as_the_world_holds_everything(
    grid: tuple[int, NDArray[Any], served.Client], box: str, uri: str
) -> None:
    _, rings, client = grid
    told = client.get(ITEMS, query_string={"bbox": box, "bbox-crs": uri, "limit": 100}).json
    assert told["numberMatched"] == len(rings)


@pytest.mark.parametrize(
    "box", ["170,5,-170,20", "-60,-20,-50,20", "106,13,108,14", "106,-20,108,-10", "0,0,0,0"]
)
def test_a_box_elsewhere_holds_nothing(
    grid: tuple[int, NDArray[Any], served.Client], box: str
) -> None:
    _, _, client = grid
    assert client.get(ITEMS, query_string={"bbox": box}).json["features"] == []


def test_a_crs_is_named_in_any_of_the_usual_ways() -> None:
    wanted = crs.supported(9212)[f"{crs.EPSG}9212"]
    for text in (
        wanted.uri,
        wanted.uri.replace("http:", "https:"),
        "[EPSG:9212]",
        "EPSG:9212",
        "urn:ogc:def:crs:EPSG::9212",
    ):
        assert crs.parse(text, 9212, "crs") == wanted
    assert crs.parse("[OGC:CRS84]", 9212, "crs").uri == crs.CRS84
    for text in ("EPSG:32648", "9212", "EPSG:", "x" * 5000):
        with pytest.raises(BadRequest, match="crs names"):
            crs.parse(text, 9212, "crs")


def test_a_deployment_elsewhere_has_its_own_systems(make_store: Callable[..., Settings]) -> None:
    settings = make_store(3740)
    engine = database.engine(settings)
    ring = "580000 4190000, 580020 4190000, 580020 4190020, 580000 4190020, 580000 4190000"
    batch = stored.batch(engine, "a")
    stored.parcel(engine, batch, f"SRID=3740;MULTIPOLYGON((({ring})))")
    with served.client(settings, engine) as client:
        told = client.get("/ogc/collections/parcels").json
        assert told["crs"] == [crs.CRS84, *(f"{crs.EPSG}{code}" for code in (4326, 3857, 3740))]
        west, south, east, north = told["extent"]["spatial"]["bbox"][0]
        box = f"{west},{south},{east},{north}"
        assert client.get(f"{ITEMS}?bbox={box}").json["numberReturned"] == 1
        assert client.get(f"{ITEMS}?bbox=-180,-90,180,90").json["numberReturned"] == 1
        assert -122.1 < west < east < -122.0
        assert 37.8 < south < north < 37.9
    engine.dispose()


def test_the_extent_encloses_every_vertex_closely(
    grid: tuple[int, NDArray[Any], served.Client],
) -> None:
    _, _, client = grid
    told = client.get("/ogc/collections/parcels").json["extent"]["spatial"]["bbox"][0]
    points = read(client, crs.CRS84).reshape(-1, 2)
    west, south, east, north = told
    assert west <= points[:, 0].min()
    assert south <= points[:, 1].min()
    assert east >= points[:, 0].max()
    assert north >= points[:, 1].max()
    assert np.abs(np.array(told) - [*points.min(axis=0), *points.max(axis=0)]).max() < 0.02


def test_no_statement_transforms_by_text(settings: Settings, engine: sa.Engine) -> None:
    """ST_Transform costs 10 ms a row with a CRS as text; only integer codes are written."""
    for known in crs.supported(9212).values():
        statement = crs.output_sql("geom", 9212, known)
        with engine.connect() as connection:
            connection.execute(
                sa.text(f"SELECT {statement} FROM parcel_versions")  # one that PostGIS takes
            )
        assert "'" not in statement
        assert "+proj" not in statement


numbers = st.floats(-1e9, 1e9) | st.floats(-200, 200)


@tuned(max_examples=examples(3), derandomize=True, database=None)
@given(
    st.tuples(numbers, numbers, numbers, numbers),
    st.sampled_from(list(crs.supported(9212).values())),
)
def test_any_box_is_a_valid_geometry_or_refused(
    box: tuple[float, float, float, float], known: Crs
) -> None:
    try:
        made = crs.bbox_polygon(",".join(map(repr, box)), known, 9212)
    except BadRequest:
        return
    assert shapely.is_valid(made)
    assert np.isfinite(shapely.get_coordinates(made)).all()


@tuned(max_examples=examples(2), derandomize=True, database=None)
@given(
    st.floats(100.0, 112.0),
    st.floats(8.0, 23.0),
    st.floats(1e-8, 0.006),
    st.floats(1e-8, 0.006),
    st.sampled_from([each for each in crs.supported(9212).values() if each.geographic]),
)
def test_a_small_box_has_the_ground_of_any_other(
    west: float, south: float, wide: float, high: float, known: Crs
) -> None:
    numbers = [west, south, west + wide, south + high]
    if known.north_first:
        numbers = [south, west, south + high, west + wide]
    text = ",".join(map(repr, numbers))
    ground, wanted = crs.parse_bbox(text, known, 9212), crs.bbox_polygon(text, known, 9212)
    assert shapely.hausdorff_distance(shapely.from_wkb(ground.ewkb), wanted) < 0.001
    assert shapely.get_srid(shapely.from_wkb(ground.ewkb)) == 9212
    assert np.abs(np.subtract(ground.bounds, wanted.bounds)).max() < 0.001


def test_a_box_in_the_storage_crs_or_of_web_mercator_or_nowhere_has_its_ground() -> None:
    for code, text in (
        (9212, "548000,1281000,548100,1281050"),
        (9212, "548000,1281000,548000,1281050"),
        (3857, "11868000,1298000,11868100,1298100"),
        (9209, "5e5,1e6,5.1e5,1.1e6"),
    ):
        known = crs.supported(9212)[f"{crs.EPSG}{code}"]
        ground, wanted = crs.parse_bbox(text, known, 9212), crs.bbox_polygon(text, known, 9212)
        assert shapely.hausdorff_distance(shapely.from_wkb(ground.ewkb), wanted) < 0.001
        assert not ground.is_empty
    assert crs.parse_bbox("-100,0,-99,1", crs.supported(9212)[crs.CRS84], 9212).is_empty
