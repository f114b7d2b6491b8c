"""The collections of the service as data: parcels, communes and map sheets.

A `Collection` names a table, its key, how its rows are valid over time, and its properties. SQL,
queryables, schemas, OpenAPI and HTML all come from it, so a property is written down once. All
SQL fragments here are constants of ours; the values of a client are bound, never formatted.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Literal

from landdata.reference import land_use
from landdata.settings import Settings

Kind = Literal["string", "integer", "number", "boolean", "date", "time", "uuid", "codes"]

#: Languages of titles and descriptions, the default first.
LANGUAGES = ("vi", "en")

#: SQL that a date or time has a year that RFC 3339 and file formats can write.
WRITABLE_YEAR = "{} >= '0001-01-02' AND {} < '9999-12-31'"

#: SQL that writes a column of each kind as JSON text.
_JSON: dict[Kind, str] = {
    "string": "coalesce(to_json({})::text, 'null')",
    "integer": "coalesce({}::text, 'null')",
    # JSON has no NaN and no infinity
    "number": "coalesce((CASE WHEN {} BETWEEN -1e15 AND 1e15 THEN {} END)::text, 'null')",
    "boolean": "coalesce({}::text, 'null')",
    "uuid": "coalesce('\"' || {} || '\"', 'null')",
    "codes": "coalesce({}::text, '[]')",
    "date": f"coalesce(CASE WHEN {WRITABLE_YEAR} THEN to_json({{}})::text END, 'null')",
    "time": f"coalesce(CASE WHEN {WRITABLE_YEAR} THEN replace(to_json({{}})::text, '+00:00', 'Z')"
    " END, 'null')",
}

_TYPES: dict[Kind, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "uuid": {"type": "string", "format": "uuid"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "date-time"},
    "codes": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["code"],
            "properties": {
                # other codes of a survey are kept as they came
                "code": {
                    "anyOf": [{"type": "string", "enum": [*land_use.CURRENT]}, {"type": "string"}]
                },
                "area": {"type": "number", "nullable": True, "x-ogc-unit": "m2"},
            },
        },
    },
}

#: Columns of time for a table that has only current rows, which have always been valid.
TIMELESS = "'-infinity'::timestamptz AS valid_from, NULL::timestamptz AS valid_to, 1 AS version"


@dataclass(frozen=True, slots=True)
class Property:
    """A public property of a collection; `column` is SQL over a row of its table."""

    name: str
    kind: Kind
    vi: str
    en: str
    _: KW_ONLY
    column: str = ""  # that of its name, where empty
    unit: str | None = None  # UCUM
    queryable: bool = True
    not_null: bool = False  # pages sorted by it are cut by its index
    bits: int = 32  # of an integer

    def __post_init__(self) -> None:
        """Set the column."""
        object.__setattr__(self, "column", self.column or self.name)

    @property
    def sortable(self) -> bool:
        """Whether features can be sorted by it."""
        return self.queryable and self.kind != "codes"

    @property
    def nullable(self) -> bool:
        """Whether the value may be null in a feature; without codes the list is empty."""
        return not self.not_null and self.kind != "codes"

    @property
    def json_sql(self) -> str:
        """SQL that writes the value as JSON text, which itself is never null."""
        return _JSON[self.kind].replace("{}", self.column)

    def schema(self, language: str) -> dict[str, Any]:
        """Return the JSON Schema of the value, as OpenAPI 3.0 has it."""
        title = {"title": self.vi if language == "vi" else self.en}
        return title | _TYPES[self.kind] | ({"x-ogc-unit": self.unit} if self.unit else {})

    def parameter_schema(self, language: str) -> dict[str, Any]:
        """Return the JSON Schema of the value in a query."""
        schema = self.schema(language)
        return schema if self.kind != "codes" else {"title": schema["title"], "type": "string"}


@dataclass(frozen=True, kw_only=True, eq=False)  # hashed by identity: caches are keyed by it
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
        """The properties to filter by, by name."""
        return {prop.name: prop for prop in self.properties if prop.queryable}

    @cached_property
    def sortables(self) -> dict[str, Property]:
        """The properties to sort by, by name."""
        return {prop.name: prop for prop in self.properties if prop.sortable}


def collections(settings: Settings) -> dict[str, Collection]:
    """Return the collections of the deployment, by id."""
    parcels = _parcels(publish_address=settings.publish_address)
    return {collection.id: collection for collection in (parcels, _COMMUNES, _SHEETS)}


_COMMUNE = Property("commune", "string", "Mã xã", "Commune", not_null=True)
_SHEET = Property("sheet", "string", "Tờ bản đồ số", "Map sheet", not_null=True)


def _parcels(*, publish_address: bool) -> Collection:
    return Collection(
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
        feature=None if publish_address else "feature",  # the stored text leaves addresses out
        title={"vi": "Thửa đất", "en": "Parcels"},
        item={"vi": "thửa đất", "en": "parcel"},
        description={
            "vi": "Các thửa đất địa chính chính thức, hiện tại hoặc tại một thời điểm (datetime).",
            "en": "The official cadastral parcels, now or as of a time (datetime).",
        },
        keywords={"vi": ["địa chính", "thửa đất"], "en": ["cadastre", "parcel"]},
        properties=(
            Property("id", "uuid", "Mã", "Identifier", column="parcel_id", not_null=True),
            Property(
                "national_id", "string", "Mã định danh thửa đất", "National parcel identifier"
            ),
            _COMMUNE,
            _SHEET,
            Property("number", "string", "Thửa đất số", "Parcel number", not_null=True),
            Property("scale", "integer", "Mẫu số tỷ lệ bản đồ", "Denominator of the map scale"),
            Property("area", "number", "Diện tích đo đạc (m²)", "Surveyed area (m²)", unit="m2"),
            Property(
                "legal_area", "number", "Diện tích pháp lý (m²)", "Legal area (m²)", unit="m2"
            ),
            Property("land_use", "codes", "Loại đất", "Land use codes"),
            Property(
                "address",
                "string",
                "Địa chỉ",
                "Address",
                column="address" if publish_address else "NULL::text",
                queryable=publish_address,
            ),
            Property("label", "string", "Nhãn", "Label"),
            Property("surveyed_on", "date", "Ngày đo", "Surveyed on"),
            Property("valid_from", "time", "Có hiệu lực từ", "Valid from", not_null=True),
            Property("valid_to", "time", "Hết hiệu lực từ", "Valid until"),
            Property("version", "integer", "Phiên bản", "Version", not_null=True),
        ),
    )


_COMMUNES = Collection(
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
        Property("code", "string", "Mã xã", "Code", not_null=True),
        Property("name", "string", "Tên", "Name", not_null=True),
        Property("valid_from", "date", "Có hiệu lực từ", "Valid from", not_null=True),
        Property("valid_to", "date", "Hết hiệu lực từ", "Valid until"),
    ),
)

_SHEETS = Collection(
    id="sheets",
    table=f"(SELECT *, {TIMELESS} FROM sheets) AS sheets",  # noqa: S608
    key="id",
    key_kind="string",
    order="version",
    order_kind="integer",
    valid="time",
    open_ended=True,
    changes_by_publication=True,
    always_counted=True,
    geometry="Polygon",
    max_tile_width_m=20_000.0,  # z11 of the web's tiles
    title={"vi": "Tờ bản đồ", "en": "Map sheets"},
    item={"vi": "tờ bản đồ", "en": "map sheet"},
    description={
        "vi": "Các tờ bản đồ địa chính: bao lồi và số thửa đất của hiện tại.",
        "en": "The cadastral map sheets: convex hull and number of the current parcels.",
    },
    keywords={"vi": ["địa chính", "tờ bản đồ"], "en": ["cadastre", "map sheet"]},
    properties=(
        Property("id", "string", "Mã", "Identifier", not_null=True),
        _COMMUNE,
        _SHEET,
        Property("parcels", "integer", "Số thửa đất", "Number of parcels", not_null=True),
    ),
)
