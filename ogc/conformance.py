"""The conformance classes that hold, and no other; pygeoapi's own list claims more."""

_CLASSES = {
    "cql2/1.0": (
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
    ),
    "ogcapi-common-1/1.0": ("core", "html", "json", "landing-page", "oas30"),
    "ogcapi-common-2/1.0": ("collections",),
    "ogcapi-features-1/1.0": ("core", "geojson", "html", "oas30"),
    "ogcapi-features-2/1.0": ("crs",),
    "ogcapi-features-3/1.0": (
        "features-filter",
        "filter",
        "queryables",
        "queryables-query-parameters",
    ),
    # part 5 of Features became part 3 of Common; clients look for either
    **dict.fromkeys(
        ("ogcapi-common-3/1.0", "ogcapi-features-5/1.0"),
        (
            "advanced-property-roles",
            "queryables",
            "returnables-and-receivables",
            "schemas",
            "sortables",
        ),
    ),
    "ogcapi-tiles-1/1.0": (
        "core",
        "dataset-tilesets",
        "geodata-tilesets",
        "mvt",
        "oas30",
        "tileset",
        "tilesets-list",
    ),
    "tms/2.0": (
        "json-tilematrixset",
        "json-tilematrixsetlimits",
        "json-tilesetmetadata",
        "tilematrixset",
    ),
}

CONFORMANCE = tuple(
    f"http://www.opengis.net/spec/{spec}/conf/{name}"
    for spec, names in _CLASSES.items()
    for name in names
)
