"""A stranger's zip or file becomes a safe folder with one dataset, or one clear error.

Nothing of the sender's names or folders reaches the disk, sizes are counted while unpacking
and not believed, and the headers of .shp, .shx and .dbf are held against each other before
any driver sees them. A driver guesses from contents, so that an XML file named x.shp could
make it read other files of this machine, or the network.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from landdata.errors import BadSurvey, NotFound
from landdata.settings import Settings
from landdata.survey import formats
from landdata.survey.formats import Format

_PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_NEEDED = (".shp", ".shx", ".dbf")
_ARCHIVES = (".zip", ".rar", ".7z", ".gz", ".tgz", ".tar", ".bz2", ".xz")
_MAX_TEXT = 16_384  # bytes of a .prj or .cpg; real ones have some hundred
_SMALL = 1 << 20  # members below this are no bombs, whatever their ratio
_CHUNK = 1 << 20
_NUMERIC = np.isin(np.arange(256), np.frombuffer(b"0123456789+-.eE \0", np.uint8))
_POLYGONS = {5: "Polygon", 15: "Polygon Z", 25: "Polygon M"}
_OTHERS = {
    0: "no shapes", 1: "points", 3: "lines", 8: "points", 11: "points", 13: "lines", 18: "points",
    21: "points", 23: "lines", 28: "points", 31: "multipatches",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One layer, safe to read: its parts bear names of our own and agree with each other.

    Of a shapefile all is known before it is read: `rows` counts the records of the .dbf,
    `deleted` those of them that are marked deleted, which no reader returns, and `numbers`
    are the numeric fields, each `(offset, width)` in a record. Of other formats `layer`,
    `layers`, `shape` and `prj` are what reading tells, and `rows` is null; `inner` is the layer
    that is asked for within the file.
    """

    layer: str
    layers: tuple[str, ...]  # all that the file has
    folder: Path
    format: Format = formats.SHAPEFILE
    inner: str | None = None
    rows: int | None = None
    deleted: int = 0
    shape: str = ""
    prj: str | None = None
    cpg: str | None = None
    numbers: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The file that a driver opens."""
        return self.folder / f"survey{self.format.suffix}"


def unpack(path: Path, into: Path, settings: Settings, *, layer: str | None = None) -> Dataset:
    """Unpack a zip, gather a shapefile's parts or take a file, below the folder `into`.

    A zip of several layers needs the name of one. Raises `NotFound` where there is no such
    file, and `BadSurvey` for what is of no format that is read.
    """
    path = Path(path)
    _there(path)
    name = called(path)
    if path.stat().st_size > settings.max_file_mb << 20:
        raise _too_large(name, settings)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"PK":
        layers = _unzip(path, into, settings)
    elif path.suffix.lower() == ".shp":
        layers = {Path(name).stem: _gather(path, into)}
    else:
        found = formats.recognise(path, name)
        folder = into / "0"
        folder.mkdir()
        target = folder / f"survey{found.suffix}"
        if found is formats.GEOPACKAGE:  # SQLite may leave journals, which it puts beside the file
            shutil.copyfile(path, target)
        else:
            target.symlink_to(path.resolve())
        layers = {Path(name).stem: folder}
    names = tuple(sorted(layers))
    chosen, inner = _pick(names, layers, layer, name)
    folder = layers[chosen]
    if (folder / "survey.shp").is_file():
        return _sound(chosen, names, folder, settings)
    return _bare(chosen, names, folder, inner)


def called(path: Path) -> str:
    """Return a file's name as text; what is no UTF-8 in it, as in older archives, is marked."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def bundle(path: Path, into: Path) -> Path:
    """Return the one file that is kept for ever: the zip itself, or a new one of a shapefile.

    The new one, made in the folder `into`, is the same to the byte for the same parts: no
    times, fixed order, and stored without compression, whose bytes differ between versions.
    Raises `NotFound` where there is no such file, `BadSurvey` where it is a folder.
    """
    path = Path(path)
    _there(path)
    if path.suffix.lower() != ".shp":
        return path
    stem = Path(called(path)).stem
    target = into / f"{stem}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for suffix, part in sorted(_siblings(path).items()):
            entry = zipfile.ZipInfo(stem + suffix, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            with part.open("rb") as source, archive.open(entry, "w", force_zip64=True) as copy:
                shutil.copyfileobj(source, copy, _CHUNK)
    return target


def _there(path: Path) -> None:
    if path.is_dir():
        raise BadSurvey(
            f"{called(path)} is a folder, not a file.",
            hint="Give one survey file of it, or zip its files.",
            code="folder",
        )
    if not path.is_file():
        raise NotFound(f"There is no file {called(path)}.", hint="Check the path.", code="no-file")


# -- plain shapefiles


def _siblings(path: Path) -> dict[str, Path]:
    """Find the parts of a shapefile, in whatever case their suffixes are."""
    parts: dict[str, Path] = {}
    for other in sorted(path.parent.iterdir()):
        suffix = other.suffix.lower()
        if suffix in _PARTS and other.stem == path.stem and other.is_file():
            parts.setdefault(suffix, other)
    return parts | {".shp": path}


def _gather(path: Path, into: Path) -> Path:
    """Give the parts of a shapefile our names, without copying them."""
    folder = into / "0"
    folder.mkdir()
    for suffix, part in _siblings(path).items():
        (folder / f"survey{suffix}").symlink_to(part.resolve())
    return folder


# -- zips


def _unzip(path: Path, into: Path, settings: Settings) -> dict[str, Path]:
    """Unpack the datasets of a zip; return layer → folder."""
    name = called(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, name, settings)
            return _extract(archive, members, into, settings, name)
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error,
        UnicodeError, ValueError, OSError, RuntimeError,
    ) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # a full disk is no fault of the file; a place before its beginning is
        raise BadSurvey(
            f"{name} is not a whole zip: it cannot be unpacked.",
            hint="Make the zip again and check that it was sent completely.",
            code="corrupt-zip",
        ) from None


def _check_members(members: list[zipfile.ZipInfo], name: str, settings: Settings) -> None:
    """Refuse a zip for what its directory says."""
    if len(members) > settings.max_members:
        raise BadSurvey(
            f"{name} holds {len(members)} members; {settings.max_members} are allowed.",
            hint="Send the parts of the shapefile only.",
            code="too-many-members",
        )
    total = 0
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if _unsafe(member.filename) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadSurvey(
                f"{name} has a member that points outside of it, or a link.",
                hint="Make the zip again from plain files.",
                code="unsafe-member",
            )
        if member.flag_bits & 0x1:
            raise BadSurvey(
                f"{name} is encrypted.", hint="Make it without a password.", code="encrypted-zip"
            )
        total += member.file_size
        packed = max(1, member.compress_size)
        if member.file_size > _SMALL and member.file_size / packed > settings.max_ratio:
            raise BadSurvey(
                f"{name} has a member that unpacks to over {settings.max_ratio} times its size.",
                hint="Make the zip again; a sound survey is never packed so densely.",
                code="zip-bomb",
            )
    if total > settings.max_file_mb << 20:
        raise _too_large(name, settings)


def _unsafe(name: str) -> bool:
    """Tell whether a member's name leaves the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":")


def _extract(
    archive: zipfile.ZipFile,
    members: list[zipfile.ZipInfo],
    into: Path,
    settings: Settings,
    name: str,
) -> dict[str, Path]:
    """Write the parts of the datasets under names of our own; all else stays packed."""
    groups = _groups(members, name)
    stems = [stem for _, stem, _ in groups]
    places = [(parent, stem) for parent, stem, _ in groups]
    layers: dict[str, Path] = {}
    budget = settings.max_file_mb << 20
    for index, ((parent, stem, kind), parts) in enumerate(groups.items()):
        main = PurePosixPath(_readable(parts[kind]).replace("\\", "/"))
        layer = main.stem if stems.count(stem) == 1 else f"{parent}/{main.stem}"
        if places.count((parent, stem)) > 1:
            layer += kind
        folder = into / str(index)
        folder.mkdir()
        for suffix, member in parts.items():
            target = folder / f"survey{suffix}"
            budget -= _write(archive, member, target, budget)
            if budget < 0:
                raise _too_large(name, settings)
            if kind != ".shp":
                target.rename(folder / f"survey{formats.recognise(target, main.name).suffix}")
        layers[layer] = folder
    return layers


def _groups(
    members: list[zipfile.ZipInfo], name: str
) -> dict[tuple[str, str, str], dict[str, zipfile.ZipInfo]]:
    """Gather the members that belong together: (folder, stem, suffix) → suffix → member."""
    found: dict[tuple[str, str, str], dict[str, zipfile.ZipInfo]] = {}
    for member, path in _parts(members):
        suffix = path.suffix.lower()
        kind = ".shp" if suffix in _PARTS else suffix
        group = found.setdefault((str(path.parent).lower(), path.stem.lower(), kind), {})
        if suffix in group:
            raise BadSurvey(
                f"{name} holds {path.name} twice.", hint="Keep one.", code="duplicate-member"
            )
        group[suffix] = member
    whole = {key: parts for key, parts in found.items() if key[2] in parts}
    better = {k: parts for k, parts in whole.items() if k[2] not in formats.COMMON_SUFFIXES}
    groups = better or whole  # a readme.txt beside a survey is no layer
    foreign = [
        (called, hint)
        for suffix, called, hint in formats.FOREIGN
        if any(member.filename.lower().endswith(suffix) for member in members)
    ]
    office = foreign and foreign[0][0] == "an Office document" and not better
    if foreign and (office or not groups):
        called, hint = foreign[0]
        raise BadSurvey(
            f"{name} is or holds {called}, which is not read.", hint=hint, code="no-layer"
        )
    if not groups:
        nested = any(m.filename.lower().endswith(_ARCHIVES) for m in members)
        raise BadSurvey(
            f"{name} holds no survey" + (", only another archive." if nested else "."),
            hint="Send a zip that holds .shp, .shx, .dbf and .prj.",
            code="no-layer",
        )
    return groups


def _parts(members: list[zipfile.ZipInfo]) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Go through the members that are parts of datasets."""
    for member in members:
        path = PurePosixPath(_readable(member).replace("\\", "/"))
        hidden = path.name.startswith("._") or "__MACOSX" in path.parts
        known = path.suffix.lower() in _PARTS or path.suffix.lower() in formats.SUFFIXES
        if known and not member.is_dir() and not hidden:
            yield member, path


def _readable(member: zipfile.ZipInfo) -> str:
    """Return a member's name; zips made on Windows often hold UTF-8 without saying so."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, budget: int) -> int:
    """Unpack one member, no further than just beyond the budget; return the bytes written."""
    written = 0
    with archive.open(member) as source, target.open("wb") as copy:
        while written <= budget and (chunk := source.read(_CHUNK)):
            written += copy.write(chunk)
    return written


def _too_large(name: str, settings: Settings) -> BadSurvey:
    return BadSurvey(
        f"{name} is larger than {settings.max_file_mb} MB, packed or unpacked.",
        hint="Split the survey, or raise LANDDATA_MAX_FILE_MB.",
        code="too-large",
    )


# -- the parts against each other


def _pick(
    names: tuple[str, ...], folders: dict[str, Path], layer: str | None, source: str
) -> tuple[str, str | None]:
    """Choose the dataset and the layer within it, or say which there are."""
    listed = ", ".join(names)
    if layer is not None:
        if layer in names:
            return layer, None
        for name in names:
            if layer.startswith(f"{name}/"):
                return name, layer.removeprefix(f"{name}/")
        if len(names) == 1 and not (folders[names[0]] / "survey.shp").is_file():
            return names[0], layer
        raise BadSurvey(
            f"{source} has no layer {layer!r}; it has {listed}.",
            hint="Give one of them with --layer.",
            code="unknown-layer",
        )
    if len(names) > 1:
        raise BadSurvey(
            f"{source} has {len(names)} layers: {listed}.",
            hint="Say which with --layer.",
            code="several-layers",
        )
    return names[0], None


def _bare(layer: str, layers: tuple[str, ...], folder: Path, inner: str | None) -> Dataset:
    """Describe a dataset of one file."""
    (file,) = folder.glob("survey.*")
    found = formats.recognise(file, layer)
    if found is formats.GML:
        _forget_schema(file)
    return Dataset(layer=layer, layers=layers, folder=folder, format=found, inner=inner)


def _forget_schema(file: Path) -> None:
    """Take the names of schemas out of a GML: the driver would read whatever file they name."""
    place = file.with_suffix(".new")
    with file.open("rb") as source, place.open("wb") as copy:
        kept = b""
        while chunk := source.read(_CHUNK):
            # A word may straddle two chunks; the new one is as long as the old.
            kept = (kept + chunk).replace(b"schemaLocation", b"schemaDisregarded"[:14])
            kept = kept.replace(b"SchemaLocation", b"SchemaDisregarded"[:14])
            copy.write(kept[:-16])
            kept = kept[-16:]
        copy.write(kept)
    place.replace(file)


def _sound(layer: str, layers: tuple[str, ...], folder: Path, settings: Settings) -> Dataset:
    """Check the parts of a shapefile against each other."""
    for suffix in _NEEDED:
        if not (folder / f"survey{suffix}").is_file():
            raise BadSurvey(
                f"The shapefile {layer} lacks its {suffix} file.",
                hint="Send .shp, .shx, .dbf and .prj together.",
                code=f"missing-{suffix[1:]}",
            )
    with (folder / "survey.shp").open("rb") as shp, (folder / "survey.shx").open("rb") as shx:
        shape = _check_header(shp, layer, ".shp")
        _check_header(shx, layer, ".shx")
        indexed = (shx.seek(0, 2) - 100) // 8
    rows, deleted, numbers = _check_table(folder / "survey.dbf", layer)
    if shape not in _POLYGONS:
        kind = _OTHERS.get(shape)
        if kind is None or (shape == 0 and rows == 0):
            raise _damaged(layer, ".shp") if kind is None else _empty(layer)
        raise BadSurvey(
            f"The shapefile {layer} holds {kind}, not polygons.",
            hint="Send the layer of the parcels' polygons.",
            code="not-polygons",
        )
    if rows - deleted <= 0:
        raise _empty(layer)
    if indexed != rows:
        raise BadSurvey(
            f"The shapefile {layer} has {indexed} shapes but {rows} rows in its .dbf.",
            hint="Export it again; its parts are not of the same survey.",
            code="rows-differ",
        )
    if rows > settings.max_rows:
        raise BadSurvey(
            f"The shapefile {layer} has {rows} rows; {settings.max_rows} are allowed.",
            hint="Split the survey, or raise LANDDATA_MAX_ROWS.",
            code="too-many-rows",
        )
    return Dataset(
        layer=layer,
        layers=layers,
        folder=folder,
        rows=rows,
        deleted=deleted,
        shape=_POLYGONS[shape],
        prj=_text(folder / "survey.prj", layer),
        cpg=_text(folder / "survey.cpg", layer),
        numbers=numbers,
    )


def _damaged(layer: str, suffix: str) -> BadSurvey:
    return BadSurvey(
        f"The {suffix} of {layer} is not that of a shapefile, or is damaged.",
        hint="Export the survey again.",
        code=f"bad-{suffix[1:]}",
    )


def _empty(layer: str) -> BadSurvey:
    return BadSurvey(
        f"The shapefile {layer} has no rows.", hint="Send the parcels.", code="empty-layer"
    )


def _check_header(file: IO[bytes], layer: str, suffix: str) -> int:
    """Check the head of a .shp or .shx against its size; return the shape type."""
    head = file.read(100)
    if len(head) < 100:
        raise _damaged(layer, suffix)
    code, words = struct.unpack(">i20xi", head[:28])
    version, shape = struct.unpack("<2i", head[28:36])
    if code != 9994 or version != 1000:
        raise _damaged(layer, suffix)
    size = file.seek(0, 2)
    if size < words * 2:
        raise BadSurvey(
            f"The {suffix} of {layer} is cut off: it says {words * 2} bytes and has {size}.",
            hint="Send it again, whole.",
            code=f"short-{suffix[1:]}",
        )
    if size > words * 2:
        raise BadSurvey(
            f"The {suffix} of {layer} is longer than it says: {size} bytes, not {words * 2}.",
            hint="Export the survey again; the program that wrote it did not finish.",
            code=f"long-{suffix[1:]}",
        )
    return int(shape)


def _check_table(path: Path, layer: str) -> tuple[int, int, dict[str, tuple[int, int]]]:
    """Check the head of a .dbf against its size; return rows, deleted rows and numeric fields."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(32)
        if len(head) < 32 or head[0] & 0x07 not in (3, 4, 5):
            raise _damaged(layer, ".dbf")
        rows, head_size, row_size = struct.unpack("<IHH", head[4:12])
        if head_size < 33 or row_size < 1 or head_size > size:
            raise _damaged(layer, ".dbf")
        columns = file.read(head_size - 32)
    numbers: dict[str, tuple[int, int]] = {}
    total = 1
    for start in range(0, len(columns) - 31, 32):
        if columns[start] == 0x0D:
            break
        name = columns[start : start + 11].split(b"\0")[0].decode("latin-1")
        kind, width = chr(columns[start + 11]), columns[start + 16]
        if kind == "C":
            width += columns[start + 17] << 8
        if kind in "NF":
            numbers[name] = (total, width)
        total += width
    if total > row_size:
        raise _damaged(layer, ".dbf")
    if size < head_size + rows * row_size:
        raise BadSurvey(
            f"The .dbf of {layer} is shorter than its header says: {rows} rows need"
            f" {head_size + rows * row_size} bytes and there are {size}.",
            hint="Send it again, whole.",
            code="short-dbf",
        )
    if rows == 0:
        return 0, 0, numbers
    marks = np.memmap(path, np.uint8, "r", head_size, (rows, row_size))[:, 0]
    return rows, int(np.count_nonzero(marks == ord("*"))), numbers


def garbage(dataset: Dataset, name: str, rows: NDArray[np.int64]) -> dict[int, str]:
    """Return what a numeric field of a shapefile holds that is no number: place in `rows` → text.

    A driver reads `12,5` as 12, letters as 0 and asterisks, which mean a number too wide for its
    field, as nothing; and says nothing of it.
    """
    if name not in dataset.numbers:
        return {}
    offset, width = dataset.numbers[name]
    path = dataset.folder / "survey.dbf"
    with path.open("rb") as file:
        _, head_size, row_size = struct.unpack("<IHH", file.read(12)[4:])
    table = np.memmap(path, np.uint8, "r", head_size, (dataset.rows or 0, row_size))
    cells = table[rows, offset : offset + width]
    found = {}
    for place in np.flatnonzero(~_NUMERIC[cells].all(axis=1)).tolist():
        found[place] = cells[place].tobytes().decode("latin-1").strip(" \0")
    return found


def null_shapes(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell of rows for which no shape was read whether the file itself says that there is none."""
    if dataset.format is not formats.SHAPEFILE:
        return np.ones(len(rows), np.bool_)
    index = np.memmap(dataset.folder / "survey.shx", ">i4", "r", 100, (dataset.rows or 0, 2))
    result = np.zeros(len(rows), np.bool_)
    size = dataset.file.stat().st_size
    with dataset.file.open("rb") as file:
        for place, row in enumerate(rows.tolist()):
            start = int(index[row, 0]) * 2 + 8
            if 100 <= start <= size - 4:
                file.seek(start)
                result[place] = file.read(4) == b"\0\0\0\0"
    return result


def _text(path: Path, layer: str) -> str | None:
    """Read a .prj or .cpg; null where there is none."""
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_TEXT:
        raise BadSurvey(
            f"The {path.suffix} of {layer} has {path.stat().st_size} bytes; no real one has.",
            hint="Export the survey again.",
            code=f"bad-{path.suffix[1:]}",
        )
    return path.read_bytes().decode("utf-8", "replace").strip("\ufeff\0 \r\n\t") or None
