"""The media types in which something is served."""

GEOJSON = "application/geo+json"
HTML = "text/html"
JSON = "application/json"
MVT = "application/vnd.mapbox-vector-tile"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
SCHEMA = "application/schema+json"
TILEJSON = "application/vnd.mapbox.tilejson+json"
