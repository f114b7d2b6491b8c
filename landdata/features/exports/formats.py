"""The formats of exports, and what their files are called."""

from __future__ import annotations

from dataclasses import dataclass, field

from landdata.errors import BadRequest
from landdata.features.collections import Collection
from landdata.translations import sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of files. `driver`: GDAL's name, where GDAL writes it; `text`: PostGIS does."""

    title: str
    extension: str
    content_type: str
    text: bool = False
    driver: str | None = None
    zipped: bool = False
    dataset_options: dict[str, str] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.content_type.partition(";")[0]


FORMATS = {
    "geojson": Format(
        title="GeoJSON", extension="geojson", content_type="application/geo+json", text=True
    ),
    "geojsonl": Format(
        title=sentence("GeoJSON, a feature a line"),
        extension="geojsonl",
        content_type="application/x-ndjson",
        text=True,
    ),
    "jsonfg": Format(
        title="JSON-FG", extension="fg.json", content_type="application/fg+json", text=True
    ),
    "csv": Format(title="CSV", extension="csv", content_type="text/csv; charset=utf-8", text=True),
    "gpkg": Format(
        title="GeoPackage",
        extension="gpkg",
        content_type="application/geopackage+sqlite3",
        driver="GPKG",
    ),
    "fgb": Format(
        title="FlatGeobuf",
        extension="fgb",
        content_type="application/vnd.flatgeobuf",
        driver="FlatGeobuf",
    ),
    "parquet": Format(
        title="GeoParquet", extension="parquet", content_type="application/vnd.apache.parquet"
    ),
    "shp": Format(
        title=sentence("Shapefile, zipped"),
        extension="shp",
        content_type="application/zip",
        driver="ESRI Shapefile",
        zipped=True,
    ),
    "gml": Format(
        title=sentence("GML 3.2 with its schema, zipped"),
        extension="gml",
        content_type="application/zip",
        driver="GML",
        zipped=True,
        dataset_options={"FORMAT": "GML3.2"},
    ),
}


def filename(collection: Collection, name: str) -> str:
    """Return the name of a collection's file in a format."""
    file_format = FORMATS[name]
    return f"{collection.id}.{file_format.extension}{'.zip' if file_format.zipped else ''}"


def links(collection: str) -> list[dict[str, str]]:
    """Return the links from a collection to its files."""
    return [
        {
            "href": f"{collection}/export?f={name}",
            "rel": "enclosure",
            "type": file_format.media_type,
            "title": file_format.title,
        }
        for name, file_format in FORMATS.items()
    ]


def read_format(name: str | None) -> str:
    """Return the format that the parameter `f` names. Raises `BadRequest`."""
    if name is None or name not in FORMATS:
        raise BadRequest(
            "Parameter f is missing."
            if name is None
            else "Parameter f is not usable: there is no format {name!r}.",
            hint="Give one of {formats}.",
            name=name and name[:100],
            formats=", ".join(FORMATS),
        )
    return name
