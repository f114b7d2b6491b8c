"""`landdata parcel` and `landdata export`: what the store holds, now and before."""

from __future__ import annotations

from pathlib import Path

import click

from landdata.cli import runner
from landdata.cli.options import open_store, print_json, say, with_json
from landdata.settings import Settings


@click.group()
def parcel() -> None:
    """Look at a parcel. KEY: UUID, national identifier or commune/sheet/number."""


as_of_option = click.option("--as-of", metavar="T", help="Date or time, RFC 3339.")


@parcel.command("show")
@click.argument("key")
@as_of_option
@with_json
def parcel_show(key: str, as_of: str | None, as_json: bool) -> None:
    """Print a parcel as it is, or as it was at T."""
    from landdata.documents.terminal import print_parcel
    from landdata.reference import calendar
    from landdata.store import parcels

    with open_store() as (settings, session):
        version = parcels.resolve(session, key, calendar.instant(as_of) if as_of else None)
    shown = version.as_dict(publish_address=settings.publish_address)
    if as_json:
        print_json(shown)
    else:
        print_parcel(shown, runner.language())


@parcel.command("history")
@click.argument("key")
@with_json
def parcel_history(key: str, as_json: bool) -> None:
    """Print every version of a parcel, the latest first."""
    from landdata.documents.terminal import print_history
    from landdata.store import parcels

    with open_store() as (settings, session):
        versions = parcels.history(session, parcels.resolve(session, key).id)
    shown = [version.as_dict(publish_address=settings.publish_address) for version in versions]
    if as_json:
        print_json(shown)
    else:
        print_history(shown, runner.language())


@click.command()
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(
        ["gpkg", "geojson", "geojsonl", "jsonfg", "fgb", "csv", "parquet", "shp", "gml"]
    ),
    help="Format of the file; shp and gml are zipped.",
)
@click.option("--collection", default="parcels", show_default=True, help="As the OGC API has it.")
@click.option(
    "--bbox",
    metavar="W,S,E,N",
    help="Only features in the box, longitude and latitude.",
)
@click.option("--filter", "condition", metavar="CQL2", help="Only features that fulfil it.")
@as_of_option
@click.option(
    "--crs", type=int, metavar="EPSG", help="Default: the storage CRS; for GeoJSON, WGS 84."
)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def export(
    form: str,
    collection: str,
    bbox: str | None,
    condition: str | None,
    as_of: str | None,
    crs: int | None,
    out: Path,
) -> None:
    """Write the parcels, or another collection, to the file OUT, as of one moment."""
    from landdata.features.exports import writers
    from landdata.store import database

    settings = Settings.load()
    system = crs or (None if form in ("geojson", "geojsonl") else settings.srid)
    arguments = {
        "bbox": bbox,
        "filter": condition,
        "datetime": as_of,
        "crs": f"EPSG:{system}" if system else None,
    }
    count = writers.export_to_file(
        settings,
        database.reading_url(settings),
        out,
        form,
        collection=collection,
        arguments=[(name, value) for name, value in arguments.items() if value is not None],
    )
    say(
        "{count} features of {collection} written to {out}.",
        count=count,
        collection=collection,
        out=out,
    )
