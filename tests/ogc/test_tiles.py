"""Vector tiles: right to the grid of the tile, never old, and told as OGC has it."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import sqlalchemy as sa
from support import mvt, served, stored
from support.surveys import parcel, plot, write

from landdata.reference.vn2000 import transformer
from landdata.settings import Settings

OGC = "/ogc"
WEB = f"{OGC}/collections/parcels/tiles/WebMercatorQuad"
OWN = f"{OGC}/collections/parcels/tiles/VN2000Quad-9212"
HALF = 20037508.342789244


def web(z: int, east: float = stored.EAST + 10.0, north: float = stored.NORTH + 10.0) -> str:
    """The path of the web's tile at a place of the storage CRS."""
    x, y = transformer(9212, 3857).transform(east, north)
    side = 2 * HALF / 2**z
    return f"{z}/{math.floor((HALF - y) / side)}/{math.floor((x + HALF) / side)}"


def own(z: int, east: float = stored.EAST + 10.0, north: float = stored.NORTH + 10.0) -> str:
    side = 2_097_152 / 2**z
    return f"{z}/{math.floor((2_700_000 - north) / side)}/{math.floor((east + 548_576) / side)}"


@pytest.fixture(scope="module")
def still(make_store: Callable[..., Settings]) -> Iterator[served.Client]:
    """A client of a store that no test changes."""
    with served.lattice(make_store()) as opened:
        yield opened


def layers(client: served.Client, path: str, **headers: Any) -> dict[str, Any]:
    answer = client.get(path, headers=headers)
    if answer.status_code == 204:
        assert answer.data == b""
        return {}
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/vnd.mapbox-vector-tile"
    packed = answer.headers.get("Content-Encoding") == "gzip"
    return mvt.read(gzip.decompress(answer.data) if packed else answer.data)


def test_a_tile_of_the_web_shows_parcels_where_they_are(still: served.Client) -> None:
    path = web(17)
    shown = layers(still, f"{WEB}/{path}")
    assert set(shown) == {"parcels"}
    by_number = {each["number"]: each for each in shown["parcels"]}
    one = by_number["1"]
    assert {k: v for k, v in one.items() if k not in ("id", "rings")} == {
        "commune": "99901", "sheet": "1", "area": 400.0, "land_use": "ONT", "label": "ONT",
        "number": "1",
    }  # fmt: skip
    z, row, column = map(int, path.split("/"))
    side = 2 * HALF / 2**z
    corners = np.array(one["rings"][0]) * side / 4096
    east, north = transformer(3857, 9212).transform(
        column * side - HALF + corners[:, 0], HALF - row * side - corners[:, 1]
    )
    # within the grid of the tile, which is 7 cm here
    told = sorted(zip(np.round(east, 1), np.round(north, 1), strict=True))
    wanted = sorted((stored.EAST + x, stored.NORTH + y) for x in (0, 20) for y in (0, 20))
    np.testing.assert_allclose(told, wanted, atol=0.15)


def test_a_tile_in_the_storage_crs_is_exact_to_its_grid(still: served.Client) -> None:
    path = own(13)  # 256 m; a unit is 6.25 cm, and the lattice stands on whole units
    z, row, column = map(int, path.split("/"))
    shown = {each["number"]: each for each in layers(still, f"{OWN}/{path}")["parcels"]}
    assert len(shown) == 16
    side = 2_097_152 / 2**z
    corners = np.array(shown["16"]["rings"][0]) * side / 4096
    east, north = column * side - 548_576 + corners[:, 0], 2_700_000 - row * side - corners[:, 1]
    assert {(round(e, 4), round(n, 4)) for e, n in zip(east, north, strict=True)} == {
        (stored.EAST + x, stored.NORTH + y) for x in (60, 80) for y in (60, 80)
    }


def test_parcels_are_never_simplified(engine: sa.Engine, settings: Settings) -> None:
    batch = stored.batch(engine, "a")
    ring = [(20 * math.cos(a), 20 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 90)[:-1]]
    ring = [(stored.EAST + 50 + x, stored.NORTH + 50 + y) for x, y in [*ring, ring[0]]]
    text = ", ".join(f"{x:.3f} {y:.3f}" for x, y in ring)
    stored.parcel(engine, batch, f"SRID=9212;MULTIPOLYGON((({text})))")
    with served.client(settings, engine) as client:
        path = own(11)  # 1 km: as wide as parcels are drawn, but for one level
        [shown] = layers(client, f"{OWN}/{path}")["parcels"]
    z, row, column = map(int, path.split("/"))
    side = 2_097_152 / 2**z
    corner = (column * side - 548_576, 2_700_000 - row * side)
    drawn = shapely.Polygon([
        (corner[0] + x * side / 4096, corner[1] - y * side / 4096) for x, y in shown["rings"][0]
    ])  # fmt: skip
    # each vertex is there, moved to the grid and no farther (those then in a line are one line)
    assert drawn.exterior.hausdorff_distance(shapely.LinearRing(ring)) < side / 4096 * 0.75


@pytest.mark.parametrize(("path", "expected"), [
    (f"{WEB}/{web(13)}", {"sheets", "communes"}),
    (f"{WEB}/{web(14)}", {"parcels"}),
    (f"{WEB}/{web(11)}", {"sheets", "communes"}),
    (f"{WEB}/{web(10)}", {"communes"}),
    (f"{WEB}/{web(8)}", {"communes"}),
    (f"{WEB}/0/0/0", set()),  # a commune is a hundredth of a pixel there
    (f"{OWN}/{own(9)}", {"sheets", "communes"}),
    (f"{OWN}/{own(10)}", {"parcels"}),
    (f"{OGC}/tiles/WebMercatorQuad/{web(16)}", {"parcels"}),
    (f"{OGC}/tiles/WebMercatorQuad/{web(12)}", {"sheets", "communes"}),
    (f"{OGC}/collections/communes/tiles/WebMercatorQuad/{web(15)}", {"communes"}),
    (f"{WEB}/{web(16, stored.EAST + 5000)}", set()),
    (f"{WEB}/14/0/0", set()),
    (f"{WEB}/1/1/0", set()),
])  # fmt: skip
def test_what_a_tile_shows_goes_by_its_width(
    still: served.Client, path: str, expected: set[str]
) -> None:
    assert set(layers(still, path)) == expected


def test_a_tile_names_no_person_and_no_address(still: served.Client) -> None:
    body = still.get(f"{WEB}/{web(16)}").data
    assert "Chủ".encode() not in body
    assert "Thôn".encode() not in body


def test_a_tile_has_an_etag_and_comes_compressed(still: served.Client) -> None:
    path = f"{WEB}/{web(16)}"
    plain = still.get(path)
    packed = still.get(path, headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.data) == plain.data
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert "Accept-Encoding" in packed.headers["Vary"]
    again = still.get(path, headers={"If-None-Match": plain.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(("path", "status"), [
    (f"{OGC}/collections/parcels/tiles/Nothing/0/0/0", 404),
    (f"{OGC}/collections/nothing/tiles/WebMercatorQuad/0/0/0", 404),
    (f"{OGC}/tileMatrixSets/Nothing", 404),
    (f"{WEB}/23/0/0", 404),
    (f"{WEB}/1/2/0", 404),
    (f"{WEB}/1/0/-1", 404),
    (f"{WEB}/a/b/c", 404),
    (f"{WEB}/99999999999999999999/0/0", 404),
    (f"{WEB}/²/0/0", 404),
    (f"{WEB}/{web(14).replace('14/', '014/', 1)}", 404),
    (f"{WEB}/14/0/00", 404),
    (f"{WEB}/0/0/0?f=html", 400),
    (f"{WEB}/0/0/0?simplify=1", 400),
    (f"{OWN}?f=tilejson", 400),
])  # fmt: skip
def test_a_tile_that_does_not_exist_is_an_error(
    still: served.Client, path: str, status: int
) -> None:
    answer = still.get(path)
    assert answer.status_code == status
    assert answer.json["description"]


def test_tilejson_and_the_tileset_lead_to_the_tiles(still: served.Client) -> None:
    told = still.get(f"{WEB}?f=tilejson").json
    assert (told["minzoom"], told["tilejson"]) == (0, "3.0.0")
    shown = {each["id"]: (each["minzoom"], each["maxzoom"]) for each in told["vector_layers"]}
    assert shown == {"parcels": (14, 18), "communes": (0, 13), "sheets": (11, 13)}
    west, south, east, north = told["bounds"]
    assert 106 < west < east < 107
    assert 11 < south < north < 12
    z, row, column = web(16).split("/")
    url = told["tiles"][0].format(z=z, y=row, x=column)
    assert set(layers(still, url.removeprefix("http://localhost"))) == {"parcels"}
    described = still.get(WEB).json
    [template] = [each for each in described["links"] if each["rel"] == "item"]
    url = template["href"].format(tileMatrix=z, tileRow=row, tileCol=column)
    assert set(layers(still, url.removeprefix("http://localhost"))) == {"parcels"}
    for path in (f"{OGC}/tiles", f"{OGC}/collections/parcels/tiles"):
        sets = still.get(path).json["tilesets"]
        for each in sets:
            for link in each["links"]:
                # level 0 shows nothing of so small a commune
                href = re.sub(r"\{tile(Matrix|Row|Col)\}", "0", link["href"])
                assert still.get(href).status_code == (204 if link.get("templated") else 200)
    assert still.get(f"{WEB}?f=html").mimetype == "text/html"


@pytest.mark.parametrize(("path", "cut", "width"), [(WEB, web, 2 * HALF), (OWN, own, 2_097_152)])
def test_a_tileset_is_limited_to_where_there_is_something(
    still: served.Client, path: str, cut: Callable[..., Any], width: float
) -> None:
    described = still.get(path).json
    listed = [each for each in still.get(f"{OGC}/collections/parcels/tiles").json["tilesets"]
              if each["tileMatrixSetId"] == described["tileMatrixSetId"]]  # fmt: skip
    assert listed[0]["tileMatrixSetLimits"] == described["tileMatrixSetLimits"]
    parcels = next(each for each in described["layers"] if each["id"] == "parcels")
    limits = {int(each["tileMatrix"]): each for each in described["tileMatrixSetLimits"]}
    assert sorted(limits) == [*range(max(limits) + 1)]
    for level, each in limits.items():
        alone = level >= int(parcels["minTileMatrix"])
        wide = 80 if alone else 400  # metres, of the parcels and of their commune
        west, south = stored.EAST - (0 if alone else 50), stored.NORTH - (0 if alone else 50)
        most = wide / (0.97 * width / 2**level) + 2
        for corner in ((west, south), (west + wide, south + wide)):
            _, row, column = map(int, cut(level, corner[0], corner[1]).split("/"))
            assert each["minTileRow"] <= row <= each["maxTileRow"]
            assert each["minTileCol"] <= column <= each["maxTileCol"]
        assert each["maxTileRow"] - each["minTileRow"] < most
        assert each["maxTileCol"] - each["minTileCol"] < most


def test_a_matrix_set_is_as_its_crs_has_it(still: served.Client) -> None:
    told = still.get(f"{OGC}/tileMatrixSets/VN2000Quad-9212").json
    first = told["tileMatrices"][0]
    assert told["crs"].endswith("/EPSG/0/9212")
    assert first["pointOfOrigin"] == [-548576, 2700000]
    assert first["cellSize"] * 256 == 2_097_152
    assert first["scaleDenominator"] == pytest.approx(8192 / 0.00028)
    known = still.get(f"{OGC}/tileMatrixSets/WebMercatorQuad").json
    assert known["tileMatrices"][0]["scaleDenominator"] == pytest.approx(559082264.0287178)
    assert known["tileMatrices"][14]["matrixWidth"] == 2**14


def test_landing_page_and_collections_link_to_tiles(still: served.Client) -> None:
    for path in (OGC, f"{OGC}/collections/parcels"):
        relations = {
            each["rel"]: each["href"] for each in still.get(f"{path}?f=json").json["links"]
        }
        href = relations["http://www.opengis.net/def/rel/ogc/1.0/tilesets-vector"]
        assert still.get(href).json["tilesets"]


# -- never old


def numbers(client: served.Client, path: str) -> list[str]:
    return sorted(each["number"] for each in layers(client, path).get("parcels", ()))


def test_a_kept_tile_is_never_old_and_others_stay(
    engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    here, far = f"{WEB}/{web(16)}", f"{WEB}/{web(16, stored.EAST + 6000)}"
    rows = [parcel(1, plot(0, 0)), parcel(2, plot(300, 0))]
    stored.official(engine, settings, write(tmp_path / "a.zip", rows))
    with served.client(settings, engine) as client:
        sent = served.statements(client)
        assert numbers(client, here) == ["1"]
        assert numbers(client, far) == ["2"]
        drawn = len([each for each in sent if "ST_AsMVT" in each.sql])
        assert numbers(client, here) == ["1"]
        assert len([each for each in sent if "ST_AsMVT" in each.sql]) == drawn  # kept
        more = [parcel(3, plot(1, 0)), parcel(1, plot(0, 0, height=25))]
        stored.official(engine, settings, write(tmp_path / "b.zip", more))
        assert numbers(client, here) == ["1", "3"]
        again = len([each for each in sent if "ST_AsMVT" in each.sql])
        assert numbers(client, far) == ["2"]
        assert len([each for each in sent if "ST_AsMVT" in each.sql]) == again  # far away: kept


def test_sheets_and_communes_on_a_tile_are_never_old(
    engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    wide = f"{WEB}/{web(12)}"
    with served.client(settings, engine) as client:
        assert layers(client, wide) == {}
        stored.official(engine, settings, write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]))
        [sheet] = layers(client, wide)["sheets"]
        assert (sheet["id"], sheet["parcels"]) == ("99901-1", 1)
        stored.official(engine, settings, write(tmp_path / "b.zip", [parcel(2, plot(1, 0))]))
        assert layers(client, wide)["sheets"][0]["parcels"] == 2
        boundary = stored.square(-5, -5, 400).partition(";")[2]
        with engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE communes SET geom = ST_GeomFromText(:g, 9212)"), {"g": boundary}
            )
        assert layers(client, wide)["communes"][0]["name"] == "Xã Suối Mẫu"
