"""What the service offers, as data: its collections, and the conformance classes that hold.

A `Collection` names a table, its key, how its rows are valid over time, and its properties. SQL,
queryables, schemas, OpenAPI and HTML all come from it, so a property is written down once. All
SQL fragments here are constants of ours; what a client sends is only ever bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from landdata.reference import land_use
from landdata.settings import Settings

Kind = Literal["string", "integer", "number", "boolean", "date", "time", "uuid", "codes"]

#: What a language is called where it is the default: first vi or first en.
LANGUAGES = ("vi", "en")

#: Conformance classes that hold, and no other; pygeoapi's own list claims more than we serve.
CONFORMANCE = (
    *(
        f"http://www.opengis.net/spec/cql2/1.0/conf/{part}"
        for part in (
            "accent-insensitive-comparison",
            "advanced-comparison-operators",
            "array-functions",
            "basic-cql2",
            "basic-spatial-functions",
            "basic-spatial-functions-plus",
            "case-insensitive-comparison",
            "cql2-json",
            "cql2-text",
            "property-property",
            "spatial-functions",
            "temporal-functions",
        )
    ),
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/html",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/json",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/landing-page",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/html",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-2/1.0/conf/crs",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/queryables",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/queryables-query-parameters",
    # part 5 of Features became part 3 of Common; clients look for either
    *(
        f"http://www.opengis.net/spec/{family}/1.0/conf/{part}"
        for family in ("ogcapi-common-3", "ogcapi-features-5")
        for part in (
            "advanced-property-roles",
            "queryables",
            "returnables-and-receivables",
            "schemas",
            "sortables",
        )
    ),
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/dataset-tilesets",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/geodata-tilesets",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/mvt",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/tileset",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/tilesets-list",
    "http://www.opengis.net/spec/tms/2.0/conf/json-tilematrixset",
    "http://www.opengis.net/spec/tms/2.0/conf/json-tilematrixsetlimits",
    "http://www.opengis.net/spec/tms/2.0/conf/json-tilesetmetadata",
    "http://www.opengis.net/spec/tms/2.0/conf/tilematrixset",
)


#: SQL that a date or time is one that RFC 3339 and files can write.
YEARS = "{} >= '0001-01-02' AND {} < '9999-12-31'"

#: SQL that writes a column of each kind as JSON text.
_JSON: dict[Kind, str] = {
    "string": "coalesce(to_json({})::text, 'null')",
    "integer": "coalesce({}::text, 'null')",
    # JSON has no NaN and no infinity
    "number": "coalesce((CASE WHEN {} BETWEEN -1e15 AND 1e15 THEN {} END)::text, 'null')",
    "boolean": "coalesce({}::text, 'null')",
    "uuid": "coalesce('\"' || {} || '\"', 'null')",
    "codes": "coalesce({}::text, '[]')",
    # nor has RFC 3339 years of five digits
    "date": f"coalesce(CASE WHEN {YEARS} THEN to_json({{}})::text END, 'null')",
    "time": f"coalesce(CASE WHEN {YEARS} THEN replace(to_json({{}})::text, '+00:00', 'Z') END,"
    " 'null')",
}


#: What a table of now lacks of one with states: all its rows hold, and always did.
TIMELESS = "'-infinity'::timestamptz AS valid_from, NULL::timestamptz AS valid_to, 1 AS version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """A public property of a collection; `column` is SQL over a row of its table."""

    name: str
    column: str
    kind: Kind
    vi: str
    en: str
    unit: str | None = None
    queryable: bool = True
    not_null: bool = False  # never null: pages sorted by it are cut by its index
    bits: int = 32  # of an integer

    @property
    def sortable(self) -> bool:
        """Whether features can be put in its order."""
        return self.queryable and self.kind != "codes"

    @property
    def nullable(self) -> bool:
        """Whether the value may be null in a feature; of no codes there is an empty list."""
        return not self.not_null and self.kind != "codes"

    @property
    def json(self) -> str:
        """SQL that writes the value as JSON text, which itself is never null."""
        return _JSON[self.kind].replace("{}", self.column)

    def schema(self, language: str) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        made: dict[str, Any] = {"title": self.vi if language == "vi" else self.en}
        match self.kind:
            case "string" | "integer" | "number" | "boolean":
                made["type"] = self.kind
            case "uuid":
                made |= {"type": "string", "format": "uuid"}
            case "date":
                made |= {"type": "string", "format": "date"}
            case "time":
                made |= {"type": "string", "format": "date-time"}
            case "codes":
                made |= {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["code"],
                        "properties": {
                            # a survey may bear other codes too, which are kept as they came
                            "code": {
                                "anyOf": [
                                    {"type": "string", "enum": [*land_use.CURRENT]},
                                    {"type": "string"},
                                ]
                            },
                            "area": {
                                "type": "number",
                                "nullable": True,
                                "x-ogc-unit": "m2",
                            },
                        },
                    },
                }
        if self.unit:
            made["x-ogc-unit"] = self.unit
        return made

    def parameter(self, language: str) -> dict[str, Any]:
        """Return the JSON Schema of the value as one writes it in a query."""
        made = self.schema(language)
        return made if self.kind != "codes" else {"title": made["title"], "type": "string"}


@dataclass(frozen=True, kw_only=True, eq=False)  # what is asked of it is remembered by it
class Collection:
    """A table or view that is served, and what makes its statements fast.

    Times are in the columns `valid_from` and `valid_to` of type `valid`.
    """

    id: str
    table: str  # its name, or a subquery with an alias
    key: str  # column of the feature's id, unique at each moment
    key_kind: Literal["uuid", "string", "integer"]
    order: str  # column that tells the versions of a feature apart
    order_kind: Literal["integer", "date"]
    valid: Literal["time", "date"]
    open_ended: bool  # the current version has no end; else its dates hold today
    title: dict[str, str]
    description: dict[str, str]
    keywords: dict[str, list[str]]
    properties: tuple[Property, ...]
    item: dict[str, str]  # what one feature is called
    geometry: str = "MultiPolygon"  # its type, as simple features name it; Unknown: any
    geometry_required: bool = True
    max_tile_width_m: float = math.inf  # wider tiles leave the collection out
    has_time_index: bool = False  # versions of any time are indexed in the order of the key
    changes_by_publication: bool = False  # and by nothing else
    precounted_by: tuple[str, ...] | None = None  # properties whose counts are stored
    number_index: tuple[str, str] | None = None  # the first columns of its index of numbers
    always_counted: bool = False  # it has so few features that each response counts them
    selective_properties: tuple[str, ...] = ()  # indexed properties that are selective
    feature: str | None = None  # column with the whole feature in CRS84, where there is one

    @cached_property
    def queryables(self) -> dict[str, Property]:
        """The properties that can be asked for by value, by name."""
        return {each.name: each for each in self.properties if each.queryable}

    @cached_property
    def sortables(self) -> dict[str, Property]:
        """The properties that features can be sorted by, by name."""
        return {each.name: each for each in self.properties if each.sortable}


def collections(settings: Settings) -> dict[str, Collection]:
    """Return the collections of the deployment, by id."""
    address = "address" if settings.publish_address else "NULL::text"
    parcels = Collection(
        id="parcels",
        # z14: a town's tile of z13 holds ten thousand parcels, each smaller than a pixel
        max_tile_width_m=2500.0,
        table="parcel_versions",
        key="parcel_id",
        key_kind="uuid",
        order="version",
        order_kind="integer",
        valid="time",
        open_ended=True,
        has_time_index=True,
        changes_by_publication=True,
        precounted_by=("commune", "sheet"),
        number_index=("commune", "sheet"),
        selective_properties=("id", "national_id", "sheet"),
        title={"vi": "Thửa đất", "en": "Parcels"},
        item={"vi": "thửa đất", "en": "parcel"},
        # the stored text leaves addresses out
        feature=None if settings.publish_address else "feature",
        description={
            "vi": "Các thửa đất địa chính chính thức, hiện tại hoặc tại một thời điểm (datetime).",
            "en": "The official cadastral parcels, of now or as of a time (datetime).",
        },
        keywords={"vi": ["địa chính", "thửa đất"], "en": ["cadastre", "parcel"]},
        properties=(
            Property(
                name="id", column="parcel_id", kind="uuid", vi="Mã", en="Identifier", not_null=True
            ),
            Property(
                name="national_id",
                column="national_id",
                kind="string",
                vi="Mã định danh thửa đất",
                en="National parcel identifier",
            ),
            Property(
                name="commune",
                column="commune",
                kind="string",
                vi="Mã xã",
                en="Commune",
                not_null=True,
            ),
            Property(
                name="sheet",
                column="sheet",
                kind="string",
                vi="Tờ bản đồ số",
                en="Map sheet",
                not_null=True,
            ),
            Property(
                name="number",
                column="number",
                kind="string",
                vi="Thửa đất số",
                en="Parcel number",
                not_null=True,
            ),
            Property(
                name="scale",
                column="scale",
                kind="integer",
                vi="Mẫu số tỷ lệ bản đồ",
                en="Denominator of the map scale",
            ),
            Property(
                name="area",
                column="area",
                kind="number",
                unit="m2",
                vi="Diện tích đo đạc (m²)",
                en="Surveyed area (m²)",
            ),
            Property(
                name="legal_area",
                column="legal_area",
                kind="number",
                unit="m2",
                vi="Diện tích pháp lý (m²)",
                en="Legal area (m²)",
            ),
            Property(
                name="land_use", column="land_use", kind="codes", vi="Loại đất", en="Land use codes"
            ),
            Property(
                name="address",
                column=address,
                kind="string",
                vi="Địa chỉ",
                en="Address",
                queryable=settings.publish_address,
            ),
            Property(name="label", column="label", kind="string", vi="Nhãn", en="Label"),
            Property(
                name="surveyed_on",
                column="surveyed_on",
                kind="date",
                vi="Ngày đo",
                en="Surveyed on",
            ),
            Property(
                name="valid_from",
                column="valid_from",
                kind="time",
                vi="Có hiệu lực từ",
                en="Valid from",
                not_null=True,
            ),
            Property(
                name="valid_to",
                column="valid_to",
                kind="time",
                vi="Hết hiệu lực từ",
                en="Valid until",
            ),
            Property(
                name="version",
                column="version",
                kind="integer",
                vi="Phiên bản",
                en="Version",
                not_null=True,
            ),
        ),
    )
    communes = Collection(
        id="communes",
        table="communes",
        key="code",
        key_kind="string",
        order="valid_from",
        order_kind="date",
        valid="date",
        open_ended=False,
        geometry_required=False,
        always_counted=True,
        title={"vi": "Xã", "en": "Communes"},
        item={"vi": "xã", "en": "commune"},
        description={
            "vi": "Các đơn vị hành chính cấp xã; mã được dùng lại, nên mỗi mã có ngày hiệu lực.",
            "en": "Administrative units; codes are used again, so a code has dates.",
        },
        keywords={"vi": ["đơn vị hành chính", "xã"], "en": ["administrative unit", "commune"]},
        properties=(
            Property(
                name="code", column="code", kind="string", vi="Mã xã", en="Code", not_null=True
            ),
            Property(name="name", column="name", kind="string", vi="Tên", en="Name", not_null=True),
            Property(
                name="valid_from",
                column="valid_from",
                kind="date",
                vi="Có hiệu lực từ",
                en="Valid from",
                not_null=True,
            ),
            Property(
                name="valid_to",
                column="valid_to",
                kind="date",
                vi="Hết hiệu lực từ",
                en="Valid until",
            ),
        ),
    )
    sheets = Collection(
        id="sheets",
        table=f"(SELECT *, {TIMELESS} FROM sheets) AS sheets",  # noqa: S608
        key="id",
        key_kind="string",
        order="version",
        order_kind="integer",
        valid="time",
        open_ended=True,
        title={"vi": "Tờ bản đồ", "en": "Map sheets"},
        item={"vi": "tờ bản đồ", "en": "map sheet"},
        changes_by_publication=True,
        always_counted=True,
        geometry="Polygon",
        max_tile_width_m=20_000.0,  # z11 of the web's tiles
        description={
            "vi": "Các tờ bản đồ địa chính: bao lồi và số thửa đất của hiện tại.",
            "en": "The cadastral map sheets: convex hull and number of the parcels of now.",
        },
        keywords={"vi": ["địa chính", "tờ bản đồ"], "en": ["cadastre", "map sheet"]},
        properties=(
            Property(
                name="id", column="id", kind="string", vi="Mã", en="Identifier", not_null=True
            ),
            Property(
                name="commune",
                column="commune",
                kind="string",
                vi="Mã xã",
                en="Commune",
                not_null=True,
            ),
            Property(
                name="sheet",
                column="sheet",
                kind="string",
                vi="Tờ bản đồ số",
                en="Map sheet",
                not_null=True,
            ),
            Property(
                name="parcels",
                column="parcels",
                kind="integer",
                vi="Số thửa đất",
                en="Number of parcels",
                not_null=True,
            ),
        ),
    )
    return {each.id: each for each in (parcels, communes, sheets)}
