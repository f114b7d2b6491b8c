"""The pages for people: the map, and a page for each parcel with its history.

The map reads parcels from the OGC API, as any other client does. What it needs besides, a parcel
with all its states, is the JSON form of that parcel's own page.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import shapely
import sqlalchemy as sa
from flask import Blueprint, Response, current_app, g, jsonify, redirect, render_template, request
from flask import url_for as address_of
from pyproj import CRS
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as BaseResponse

from landdata import translations
from landdata.documents import drawing
from landdata.errors import BadRequest
from landdata.reference import calendar, land_use
from landdata.settings import Settings
from landdata.store import database
from landdata.store import parcels as store_parcels
from landdata.store.parcels import ParcelVersion
from landdata.store.tables import Commune
from ogc.negotiation import PREFIX

pages = Blueprint("pages", __name__)

#: What the map colours alike: id, names, the codes; portal.css holds each one's colour.
THEMES: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("home", "Đất ở", "Residential", "ONT ODT"),
    ("rice", "Đất trồng lúa", "Rice", "LUC LUK LUN"),
    ("annual", "Cây hằng năm khác", "Other annual crops", "HNK BHK NHK"),
    ("perennial", "Cây lâu năm", "Perennial crops", "CLN LNC LNQ LNK"),
    ("forest", "Rừng", "Forest", "RDD RPH RSX"),
    ("water", "Mặt nước, thủy lợi", "Water", "NTS LMU DTL DCT SON MNC MCS"),
    ("farm", "Nông nghiệp khác", "Other farm land", "CNT NKH"),
    ("traffic", "Giao thông", "Transport", "DGT"),
    ("burial", "Nghĩa trang", "Cemetery", "NTD"),
    ("idle", "Chưa sử dụng", "Unused", "BCS DCS NCS CGT"),
)  # every other code in force is a public or business use
OTHER: Final = ("public", "Công cộng, kinh doanh", "Public and business")


EXTENT_SECONDS: Final = 60.0


@dataclass
class Store:
    """What the views stand on; kept in `app.extensions`."""

    settings: Settings
    engine: sa.Engine
    _extent: tuple[float, drawing.Box] | None = None

    def extent(self, session: Session) -> drawing.Box | None:
        """Return the extent of the parcels, read anew once a minute: it is a scan of them all."""
        if self._extent is None or self._extent[0] < time.monotonic():
            found = store_parcels.extent(session)
            if found is None:
                return None
            self._extent = (time.monotonic() + EXTENT_SECONDS, found)
        return self._extent[1]

    @cached_property
    def crs(self) -> dict[str, Any]:
        """The storage CRS as the map needs it: code, URI, PROJ text with the pinned datum."""
        srid = self.settings.srid
        # the twin that knows one datum operation alone, where the store has one (0001_store)
        texts = sa.text(
            "SELECT proj4text FROM spatial_ref_sys WHERE srid IN (:srid, 910000 + :srid)"
            " ORDER BY srid DESC LIMIT 1"
        )
        with self.engine.connect() as connection:
            text = connection.scalar(texts, {"srid": srid})
        known = CRS.from_epsg(srid)
        return {
            "code": f"EPSG:{srid}",
            "uri": f"http://www.opengis.net/def/crs/EPSG/0/{srid}",
            "name": known.name,
            "proj": (text or "").strip(),
            "northFirst": known.axis_info[0].direction == "north",
        }


@pages.get("/")
def index() -> str:
    """Show the map."""
    store = _store()
    with database.session(store.engine) as session:
        extent = store.extent(session)
        today = calendar.day()
        rows = session.execute(
            sa.select(Commune.code, Commune.name, sa.func.ST_AsBinary(Commune.geom))
            .where(
                Commune.valid_from <= today,
                sa.or_(Commune.valid_to.is_(None), Commune.valid_to > today),
            )
            .order_by(Commune.code)
        ).all()
    outlines = [shapely.from_wkb(bytes(row[2])) for row in rows if row[2] is not None]
    if extent is None and outlines:
        west, south, east, north = map(float, shapely.total_bounds(outlines))
        extent = (west, south, east, north)
    config = {
        "sentences": translations.of_file("portal/static/portal.js", g.language),
        "language": g.language,
        "crs": store.crs,
        "extent": extent,
        "items": f"{request.script_root}{PREFIX}/collections/parcels/items",
        "communes": f"{request.script_root}{PREFIX}/collections/communes/items",
        "sheets": f"{request.script_root}{PREFIX}/collections/sheets/items",
        "parcel": address_of("pages.index") + "parcels/",
        "themes": {code: theme for theme, _, _, codes in THEMES for code in codes.split()},
        "uses": uses(),
    }
    return render_template(
        "map.html",
        config=config,
        communes=[(row[0], row[1]) for row in rows],
        themes=[
            (theme, vi if g.language == "vi" else en) for theme, vi, en, *_ in [*THEMES, OTHER]
        ],
        today=today.isoformat(),
        empty=extent is None,
    )


@pages.get("/parcels")
def find() -> BaseResponse:
    """Answer the search form where the browser runs no script: on to the parcel's page."""
    asked = [request.args.get(name, "").strip() for name in ("commune", "sheet", "number")]
    key = "/".join(part for part in asked if part) or request.args.get("key", "")
    return _go(key)


@pages.get("/parcels/<uuid:id>")
def parcel(id: uuid.UUID) -> str | Response:  # noqa: A002  # the name of the URL's variable
    """Show one parcel, as it is or as of `as_of`, with all its states; JSON where asked for."""
    store = _store()
    as_of = _as_of()
    with database.session(store.engine) as session:
        states = store_parcels.history(session, id)
        # a parcel that is no more is shown as it was last, and said to be no more
        shown = store_parcels.get(session, id, as_of) if as_of else states[0]
        commune = _commune_name(session, shown)
    if wants_json():
        return jsonify(
            parcel=_public(shown, store.settings),
            commune_name=commune,
            geometry=shapely.geometry.mapping(shown.geometry),
            crs=store.crs["uri"],
            history=[
                {
                    **_public(state, store.settings),
                    "batch": state.batch,
                    "geometry": shapely.geometry.mapping(state.geometry),
                }
                for state in states
            ],
        )
    return render_template(
        "parcel.html",
        parcel=shown,
        address=shown.address if store.settings.publish_address else None,
        commune=commune,
        states=states,
        crs=store.crs,
        uses=uses(),
        figure=drawing.parcel(shown.geometry),
        corners=list(drawing.corners(shown.geometry)),
        as_of=request.args.get("as_of", ""),
        days=days,
        day=day,
    )


@pages.get("/parcels/<path:key>")
def named(key: str) -> BaseResponse:
    """Go on from a number (`99901/1/12`) or a national identifier to the parcel's page."""
    return _go(key)


def wants_json() -> bool:
    """Tell whether the client is a program: `f=json`, or it does not prefer HTML."""
    if "f" in request.args:
        return request.args["f"] != "html"
    types = ("application/json", "text/html")
    return request.accept_mimetypes.best_match(types, default="application/json") == types[0]


def uses() -> dict[str, str]:
    """Return the name of each land-use code in the language of the request."""
    names = {code: known["vi"] for code, known in land_use.LEGACY.items()}
    return names | {code: known[g.language] for code, known in land_use.CURRENT.items()}


def days(state: ParcelVersion) -> tuple[str, str | None]:
    """Write the first and last day of a state in Vietnam; with the hour where it is one day."""
    first = state.valid_from.astimezone(calendar.VIETNAM)
    last = state.valid_to.astimezone(calendar.VIETNAM) if state.valid_to else None
    hour = "%H:%M " if last and first.date() == last.date() else ""
    return first.strftime(hour) + day(first), last.strftime(hour) + day(last) if last else None


def day(date: dt.date) -> str:
    """Write a day in the language of the request."""
    return date.strftime("%d/%m/%Y" if g.language == "vi" else "%-d %b %Y")


def _store() -> Store:
    store: Store = current_app.extensions["landdata"]
    return store


def _as_of() -> dt.datetime | None:
    text = request.args.get("as_of", "")
    return calendar.instant(text) if text else None


def _go(key: str) -> BaseResponse:
    """Redirect to the page of the parcel that `key` names, all else of the query kept."""
    if not key.strip():
        raise BadRequest(
            "No parcel is named.",
            hint="Give commune, sheet and number, such as 99901/1/12.",
            code="bad-key",
        )
    with database.session(_store().engine) as session:
        found = store_parcels.resolve(session, key, _as_of())
    kept: dict[str, Any] = {k: request.args[k] for k in ("as_of", "lang", "f") if k in request.args}
    return redirect(address_of("pages.parcel", id=found.id, **kept))


def _public(state: ParcelVersion, settings: Settings) -> dict[str, Any]:
    return state.as_dict(publish_address=settings.publish_address)


def _commune_name(session: Session, state: ParcelVersion) -> str | None:
    """Return the name that the code stood for at the state's beginning; a code is used again."""
    began = state.valid_from.astimezone(calendar.VIETNAM).date()
    name: str | None = session.scalar(
        sa.select(Commune.name)
        .where(
            Commune.code == state.commune,
            sa.or_(Commune.valid_to.is_(None), Commune.valid_to > began),
        )
        .order_by(Commune.valid_from)
        .limit(1)
    )
    return name
