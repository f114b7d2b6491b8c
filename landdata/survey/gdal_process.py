"""The child process that reads a survey file with GDAL; one file, as it may not import landdata.

It has no network, no new privileges, limited resources, and an environment of its own. It is run
by its path. It reads one layer and writes it as an Arrow stream: geometry as WKB; text of a
shapefile as latin-1, one character per byte, other text as it is. Its messages on standard output
are lines of JSON: the description of the layer, then every block of rows that is written, then
the result. `names ENGINE` instead of a task prints the drivers of that engine's GDAL, `confine`
the state of the network.

There are two engines, never both in one process, as each has a GDAL of its own: `pyogrio` reads in
bulk, `fiona` row by row, reporting rows that it cannot read. `construction` has no GDAL and, once
confined, imports the package: it constructs parcels from what an engine has read.
"""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import re
import resource
import signal
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NEWUSER, _NEWNET = 0x1000_0000, 0x4000_0000
_NO_NEW_PRIVS = 38
_PDEATHSIG = 1
_POLYGONAL = re.compile(r"Polygon|Surface|Unknown|Collection|Geometry$")


class RefusedError(Exception):
    """The file is valid but not acceptable: `{"refused": code, …}`."""


def send(**message: Any) -> None:
    """Send a message to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def confine(limits: dict[str, int]) -> str:
    """Drop the network and new privileges, and set limits; return the state of the network.

    To be called before any import that starts a thread: a process with threads may not enter a
    namespace. `limits`: `seconds` of CPU, bytes of `memory` and of a `file`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    network = "none"
    if libc.unshare(_NEWNET) != 0 and libc.unshare(_NEWUSER | _NEWNET) != 0:
        network = f"not cut off: {os.strerror(ctypes.get_errno())}"
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    # After the namespace, which would clear it: the child ends with a killed parent.
    libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["seconds"], limits["seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file"], limits["file"]))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    return network


# -- independent counts of rows, without GDAL


def count_rows(task: dict[str, Any], layer: str) -> dict[str, Any]:
    """Return the number of rows of a layer by its file, not GDAL: `rows`, null if unknown."""
    counters = {
        "GPKG": _count_table,
        "GML": _count_members,
        "GeoJSON": _count_features,
        "DXF": _check_groups,
    }
    counter = counters.get(task["driver"])
    return counter(task["source"], layer) if counter else {"rows": task["rows"]}


def _count_table(source: str, layer: str) -> dict[str, Any]:
    """Return a GeoPackage's number of rows, and the `stated` one, which is often stale."""
    import sqlite3  # noqa: PLC0415  # for this format alone

    store = sqlite3.connect(f"file:{source}?mode=ro&immutable=1", uri=True)
    store.execute("PRAGMA trusted_schema = OFF")
    kind = store.execute("SELECT type FROM sqlite_master WHERE name = ?", (layer,)).fetchone()
    if kind != ("table",):
        raise RefusedError({"refused": "not-a-table", "layer": layer})
    quoted = layer.replace('"', '""')
    rows = store.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0]  # noqa: S608
    stated = None
    if store.execute("SELECT 1 FROM sqlite_master WHERE name = 'gpkg_ogr_contents'").fetchone():
        row = store.execute(
            "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = ?", (layer,)
        ).fetchone()
        stated = row[0] if row else None
    # GDAL believes the code of a CRS, whatever its definition says.
    row = store.execute(
        "SELECT definition FROM gpkg_geometry_columns JOIN gpkg_spatial_ref_sys USING (srs_id)"
        " WHERE table_name = ?",
        (layer,),
    ).fetchone()
    store.close()
    return {"rows": rows, "stated": stated, "declared": str(row[0]) if row else None}


def _count_members(source: str, layer: str) -> dict[str, Any]:
    """Return a GML's number of features; raise for one that is cut off or defines entities."""
    from xml.parsers import expat  # noqa: PLC0415

    counts: Counter[str] = Counter()
    path: list[str] = []

    def begin(name: str, _: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if path and re.fullmatch(r"(?:feature)?[mM]embers?", path[-1]):
            counts[name] += 1
        path.append(name)

    def refuse(*_: object) -> None:
        raise RefusedError({"refused": "unsafe-xml"})

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: path.pop()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    with open(source, "rb") as file:
        parser.ParseFile(file)
    return {"rows": counts.get(layer)}


def _count_features(source: str, _: str) -> dict[str, Any]:
    """Return a GeoJSON's number of features, decoding one at a time."""
    with open(source, encoding="utf-8-sig") as file:
        text = file.read()
    space = re.compile(r"[\s,]*")
    decoder = json.JSONDecoder()
    rows, kind, at = 0, None, text.index("{") + 1
    declared: dict[str, str] = {}
    while text[at := space.match(text, at).end()] != "}":  # type: ignore[union-attr]
        name, at = decoder.raw_decode(text, at)
        at = re.compile(r"\s*:\s*").match(text, at).end()  # type: ignore[union-attr]
        if name == "features" and text[at] == "[":
            at += 1
            while text[at := space.match(text, at).end()] != "]":  # type: ignore[union-attr]
                _, at = decoder.raw_decode(text, at)
                rows += 1
            at += 1
        else:
            value, at = decoder.raw_decode(text, at)
            kind = value if name == "type" else kind
            if name == "crs":  # GDAL takes one that it does not know for WGS 84
                member = value.get("properties") if isinstance(value, dict) else None
                crs = member.get("name") if isinstance(member, dict) else None
                declared = {"declared": crs if isinstance(crs, str) else json.dumps(value)}
    return {"rows": rows if kind == "FeatureCollection" else 1, **declared}


def _check_groups(source: str, _: str) -> dict[str, Any]:
    """Raise unless a DXF is pairs of a code and a value of the code's type, up to its end.

    The driver silently stops at the first other pair. The number of features of a drawing is not
    known without the driver: `rows` is null.
    """
    with open(source, encoding="latin-1", newline="\n") as file:
        lines = (line.rstrip("\r\n") for line in file)
        section = name = ""
        for code in lines:
            value, kind = next(lines, ""), int(code)
            if kind == 2 and name == "SECTION":
                section, name = value.strip(), ""
            elif kind == 0:
                name = value.strip()
                # Other sections may hold objects with a program's own names.
                allowed = r"[A-Z0-9_]+" if section == "ENTITIES" else r"[\w$.: -]+"
                if not re.fullmatch(allowed, name):
                    raise ValueError(f"not the name of an entity: {name[:40]!r}")
                if name == "EOF":
                    return {"rows": None}
            elif 10 <= kind < 60 or 110 <= kind < 150 or 210 <= kind < 240:
                float(value)
            elif 60 <= kind < 100 or 160 <= kind < 180 or 270 <= kind < 290:
                int(value)
            elif "\0" in value:
                raise ValueError("a text holds a null byte")
    raise ValueError("there is no end")


def choose_layer(layers: list[tuple[str, str | None]], wanted: str | None) -> str:
    """Return the name of the one polygon layer, or of the `wanted` one; refuse otherwise."""
    names = [name for name, kind in layers if kind is not None]
    fitting = [name for name, kind in layers if kind is not None and _POLYGONAL.search(kind)]
    if wanted is not None:
        if wanted not in names:
            raise RefusedError({"refused": "unknown-layer", "layers": names})
        return wanted
    if not names or not fitting:
        kinds = sorted({kind for _, kind in layers if kind is not None})
        raise RefusedError({"refused": "not-polygons" if names else "no-layer", "kinds": kinds})
    if len(fitting) > 1:
        raise RefusedError({"refused": "several-layers", "layers": fitting})
    return fitting[0]


def _expect(drivers: list[str], driver: str) -> None:
    """Exit with code 3 unless `driver` is GDAL's only driver."""
    if drivers != [driver]:
        sys.stderr.write(f"drivers: {', '.join(drivers)}")
        sys.exit(3)


# -- pyogrio


def read_bulk(task: dict[str, Any]) -> dict[str, Any]:
    """Read a layer in bulk with pyogrio; return the final message."""
    import pyarrow as pa  # noqa: PLC0415
    import pyogrio  # noqa: PLC0415
    from pyogrio.raw import open_arrow  # noqa: PLC0415

    _expect(sorted(pyogrio.list_drivers()), task["driver"])
    layers = [tuple(pair) for pair in pyogrio.list_layers(task["source"]).tolist()]
    layer = choose_layer(layers, task["layer"]) if task["choose"] else layers[0][0]
    counted = count_rows(task, layer)
    with open_arrow(
        task["source"],
        layer=layer,
        encoding=task["encoding"],
        return_fids=True,
        use_pyarrow=True,
        batch_size=task["block"],
        **task["options"],
    ) as (meta, reader):
        fields = [_plain(field) for field in reader.schema]
        send(
            geometry=meta["geometry_name"] or "wkb_geometry",
            fid=meta["fid_column"] or "OGC_FID",
            layers=[name for name, kind in layers if kind is not None],
            layer=layer,
            crs=meta["crs"],
            declared=counted.get("declared"),
            shape=meta["geometry_type"],
            expected=counted["rows"],
        )
        rows = 0
        with (
            pa.OSFile(task["target"], "wb") as sink,
            pa.ipc.new_stream(sink, pa.schema(fields)) as writer,
        ):
            for batch in reader:
                columns = [_cast(c, f.type) for c, f in zip(batch.columns, fields, strict=True)]
                writer.write_batch(pa.record_batch(columns, pa.schema(fields)))
                rows += batch.num_rows
                send(rows=rows)
        if task["driver"] == "FlatGeobuf":
            counted["rows"] = pyogrio.read_info(task["source"], layer=layer)["features"]
    return {"expected": counted["rows"], "stated": counted.get("stated")}


def _plain(field: Any) -> Any:
    """Return the field as it is written: lists, JSON and other types as text."""
    import pyarrow as pa  # noqa: PLC0415

    kind = field.type
    simple = (
        pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_integer(kind)
        or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind)
        or pa.types.is_timestamp(kind)
    )  # fmt: skip
    return pa.field(field.name, kind if simple else pa.string())


def _cast(column: Any, kind: Any) -> Any:
    """Return a column as it is written: text is Unicode and ends at a NUL."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if column.type == kind:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:  # not UTF-8, though the format requires it
            column = pa.array(map(_text, column.cast(pa.binary()).to_pylist()), kind)
        # As the other engine and all other formats do; and PostgreSQL text holds no NUL.
        if pa.types.is_string(kind) and pc.any(pc.match_substring(column, "\0")).as_py():
            column = pc.replace_substring_regex(column, r"(?s)\x00.*", "")
        return column
    return pa.array([None if v is None else str(v) for v in column.to_pylist()], kind)


def _text(value: bytes | None) -> str | None:
    """Decode text as UTF-8, or else as latin-1."""
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


# -- fiona


def read_by_row(task: dict[str, Any]) -> dict[str, Any]:
    """Read a layer row by row with fiona; return the final message. One subject: one pass.

    Rows that cannot be read are reported as `unread`, and empty in the stream.
    """
    import fiona  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    from fiona.errors import FionaError  # noqa: PLC0415

    driver = task["driver"]
    with fiona.Env() as environment:
        _expect(sorted(environment.drivers()), driver)
    layers = _layers_by_row(task)
    layer = choose_layer(layers, task["layer"]) if task["choose"] else layers[0][0]
    ids, broken = _ids(task, layer), False
    counted: dict[str, Any] = {"rows": None}
    try:
        counted = count_rows(task, layer)
    except RefusedError:
        raise
    except Exception:  # a damaged file can still be read up to the damage
        ids, broken = None, True
    unread: list[int] = []
    rows = 0
    lost: int | None = None
    progress = os.open(task["progress"], os.O_WRONLY | os.O_CREAT, 0o600)
    with (
        fiona.open(
            task["source"],
            layer=layer,
            enabled_drivers=[driver],
            encoding=task["encoding"],
            **task["options"],
        ) as source,
        pa.OSFile(task["target"], "wb") as sink,
    ):
        fields = {name: _arrow(kind) for name, kind in source.schema["properties"].items()}
        schema = pa.schema([("fid", pa.int64()), *fields.items(), ("wkb", pa.binary())])
        if driver == "FlatGeobuf":
            counted["rows"] = len(source)
        send(
            geometry="wkb",
            fid="fid",
            layers=[name for name, kind in layers if kind is not None],
            layer=layer,
            crs=source.crs_wkt or None,
            declared=counted.get("declared"),
            shape=source.schema["geometry"],
            expected=counted["rows"],
        )
        with pa.ipc.new_stream(sink, schema) as writer:
            block: list[tuple[Any, ...]] = []

            def write() -> None:
                writer.write_batch(_rows(block, schema))
                send(rows=rows, unread=unread)
                block.clear()
                unread.clear()

            for fid, feature in _features(source, ids):
                os.pwrite(progress, struct.pack("<q", fid), 0)
                if isinstance(feature, FionaError | KeyError | ValueError | SystemError):
                    if fid < 0:  # the driver stopped: the rest cannot be read
                        lost = rows
                        break
                    unread.append(fid)
                    block.append((fid, *[None] * len(fields), None))
                else:
                    values = [_value(feature.properties[n], t) for n, t in fields.items()]
                    block.append((fid, *values, _wkb(feature.geometry)))
                rows += 1
                if len(block) == task["block"]:
                    write()
            if block:
                write()
    return {
        "expected": counted["rows"],
        "stated": counted.get("stated"),
        "lost": rows if broken else lost,
    }


def _rows(block: list[tuple[Any, ...]], schema: Any) -> Any:
    """Return rows as a record batch."""
    import pyarrow as pa  # noqa: PLC0415

    columns = zip(*block, strict=True)
    arrays = [pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)]
    return pa.record_batch(arrays, schema)


def _layers_by_row(task: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Return the layers and their geometry types, null for a table without geometry."""
    import fiona  # noqa: PLC0415

    layers: list[tuple[str, str | None]] = []
    for name in fiona.listlayers(task["source"]):
        with fiona.open(task["source"], layer=name, enabled_drivers=[task["driver"]]) as source:
            kind = source.schema["geometry"]
            layers.append((name, None if kind == "None" else kind))
    return layers


def _features(source: Any, ids: list[int] | None) -> Iterator[tuple[int, Any]]:
    """Yield the features: `(fid, feature or error)`; `(-1, error)` if the driver stops early.

    By their ids if known, so that one damaged row does not hide those behind it.
    """
    if ids is not None:
        for fid in ids:
            try:
                yield fid, source.get(fid)
            except Exception as error:
                yield fid, error if isinstance(error, KeyError) else ValueError(str(error))
        return
    features = iter(source)
    while True:
        try:
            feature = next(features)
        except StopIteration:
            return
        except Exception as error:
            yield -1, ValueError(str(error))
            return
        yield int(feature.id), feature


def _ids(task: dict[str, Any], layer: str) -> list[int] | None:
    """Return the ids of a layer's rows, null if they are not known without GDAL."""
    if task["driver"] == "ESRI Shapefile":
        with open(task["source"][:-4] + ".dbf", "rb") as file:
            rows, head, size = struct.unpack("<IHH", file.read(12)[4:])
            marks = (file.seek(head + row * size) and file.read(1) for row in range(rows))
            return [row for row, mark in enumerate(marks) if mark != b"*"]
    if task["driver"] == "GPKG":
        import sqlite3  # noqa: PLC0415

        store = sqlite3.connect(f"file:{task['source']}?mode=ro&immutable=1", uri=True)
        store.execute("PRAGMA trusted_schema = OFF")
        quoted = layer.replace('"', '""')
        try:
            return [row[0] for row in store.execute(f'SELECT rowid FROM "{quoted}"')]  # noqa: S608
        except sqlite3.Error:
            return None
        finally:
            store.close()
    return None


def _arrow(kind: str) -> Any:
    """Return the Arrow type for a type of fiona."""
    import pyarrow as pa  # noqa: PLC0415

    kinds = {
        "int32": pa.int32(), "int64": pa.int64(), "int": pa.int64(), "int16": pa.int32(),
        "float": pa.float64(), "float32": pa.float64(), "bool": pa.bool_(),
        "date": pa.date32(), "datetime": pa.timestamp("ms"),
    }  # fmt: skip
    return kinds.get(kind.partition(":")[0], pa.string())


def _value(value: Any, kind: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if value is None or not isinstance(value, str):
        return str(value) if value is not None and pa.types.is_string(kind) else value
    if pa.types.is_date(kind):
        return datetime.date.fromisoformat(value)
    if pa.types.is_timestamp(kind):
        return datetime.datetime.fromisoformat(value).replace(tzinfo=None)
    return value


_CODES = {
    "Point": 1, "LineString": 2, "Polygon": 3, "MultiPoint": 4, "MultiLineString": 5,
    "MultiPolygon": 6, "GeometryCollection": 7,
}  # fmt: skip


def _wkb(geometry: Any) -> bytes | None:
    """Return a geometry, valid or not, as WKB in two dimensions."""
    if geometry is None:
        return None
    head = struct.pack("<BI", 1, _CODES[geometry.type])
    if geometry.type == "GeometryCollection":
        parts = [_wkb(part) or b"" for part in geometry.geometries]
        return head + struct.pack("<I", len(parts)) + b"".join(parts)
    return head + _body(geometry.type, geometry.coordinates)


def _body(kind: str, coordinates: Any) -> bytes:
    if kind == "Point":
        return struct.pack("<2d", *coordinates[:2])
    if kind == "LineString":
        points = [number for point in coordinates for number in point[:2]]
        return struct.pack(f"<I{len(points)}d", len(points) // 2, *points)
    if kind == "Polygon":
        return struct.pack("<I", len(coordinates)) + b"".join(
            _body("LineString", ring) for ring in coordinates
        )
    part = kind.removeprefix("Multi")
    head = struct.pack("<BI", 1, _CODES[part])
    return struct.pack("<I", len(coordinates)) + b"".join(
        head + _body(part, member) for member in coordinates
    )


# -- construction


def construct(task: dict[str, Any]) -> dict[str, Any]:
    """Construct parcels from lines or points (`landdata.survey.construction`)."""
    sys.path.append(str(Path(__file__).parents[2]))  # where the package is, installed or not
    from landdata.survey import construction  # noqa: PLC0415  # it starts threads, so only once confined

    return construction.run(task)


_ENGINES = {"pyogrio": read_bulk, "fiona": read_by_row, "construction": construct}


def main() -> int:
    """Run a task, print an engine's drivers, or print the state of the network."""
    if sys.argv[1] == "confine":
        sys.stdout.write(json.dumps(confine({"seconds": 9, "file": 0, "memory": 1 << 30})))
        return 0
    if sys.argv[1] == "names":
        if sys.argv[2] == "fiona":
            import fiona  # noqa: PLC0415

            with fiona.Env() as environment:
                names = sorted(environment.drivers())
        else:
            import pyogrio  # noqa: PLC0415

            names = sorted(pyogrio.list_drivers())
        sys.stdout.write(json.dumps(names))
        return 0
    task = json.loads(sys.argv[1])
    confine(task["limits"])
    try:
        result = _ENGINES[task["engine"]](task)
    except RefusedError as refused:
        result = refused.args[0]
    send(**result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
