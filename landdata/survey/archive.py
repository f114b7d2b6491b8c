"""An untrusted zip or file becomes a safe folder with one dataset, or one clear error.

The sender's names and folders never reach the disk, sizes are counted while unpacking instead of
trusted, and a file's format is recognised from its bytes (`formats`, `shapefile`) before any
driver opens it. A driver guesses from contents, so an XML file named x.shp could make it read
other files of this machine, or the network.
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
from pathlib import Path, PurePosixPath

from landdata import characters
from landdata.errors import BadSurvey, NotFound
from landdata.settings import Settings
from landdata.survey import formats, shapefile
from landdata.survey.dataset import Dataset

_ARCHIVES = (".zip", ".rar", ".7z", ".gz", ".tgz", ".tar", ".bz2", ".xz")
_SMALL = 1 << 20  # bytes; members below this are not bombs, whatever their ratio
_CHUNK = 1 << 18  # bytes; for a larger one the system allocates and clears memory every time


def unpack(path: Path, into: Path, settings: Settings, *, layer: str | None = None) -> Dataset:
    """Return the dataset of a zip, a shapefile or another file, put below the folder `into`.

    A zip of several layers needs the name of one. Raises `NotFound` if there is no such file,
    `BadSurvey` if its format is not supported.
    """
    path = Path(path)
    _check_exists(path)
    name = display_name(path)
    if path.stat().st_size > settings.max_file_mb << 20:
        raise _too_large(name, settings)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"PK":
        layers = _unzip(path, into, settings)
    elif path.suffix.lower() == ".shp":
        layers = {Path(name).stem: _gather(path, into)}
    else:
        kind = formats.recognise(path, name)
        folder = into / "0"
        folder.mkdir()
        target = folder / f"survey{kind.suffix}"
        if kind is formats.GEOPACKAGE:  # SQLite may leave journals beside the file
            shutil.copyfile(path, target)
        else:
            target.symlink_to(path.resolve())
        layers = {Path(name).stem: folder}
    names = tuple(sorted(layers))
    chosen, inner = _pick(names, layers, layer, name)
    folder = layers[chosen]
    if (folder / "survey.shp").is_file():
        return shapefile.describe(chosen, names, folder, settings)
    return _single_file(chosen, names, folder, inner)


def display_name(path: Path) -> str:
    """Return a file's name as text, with a mark for what is not UTF-8, as in older archives."""
    return characters.escape(os.fsencode(path.name).decode("utf-8", "replace"))


def bundle(path: Path, into: Path) -> Path:
    """Return the one file to keep for ever: the file itself, or a new zip of a shapefile.

    The new zip, in the folder `into`, has the same bytes for the same parts: no times, a fixed
    order, and no compression, whose bytes differ between versions. Raises `NotFound` if there is
    no such file, `BadSurvey` if it is a folder.
    """
    path = Path(path)
    _check_exists(path)
    if path.suffix.lower() != ".shp":
        return path
    stem = Path(display_name(path)).stem
    target = into / f"{stem}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for suffix, part in sorted(shapefile.siblings(path).items()):
            entry = zipfile.ZipInfo(stem + suffix, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            with part.open("rb") as source, archive.open(entry, "w", force_zip64=True) as copy:
                shutil.copyfileobj(source, copy, _CHUNK)
    return target


def _check_exists(path: Path) -> None:
    if path.is_dir():
        raise BadSurvey(
            "{display_name} is a folder, not a file.",
            hint="Give one survey file of it, or zip its files.",
            code="folder",
            display_name=display_name(path),
        )
    if not path.is_file():
        raise NotFound(
            "There is no file {display_name}.",
            hint="Check the path.",
            code="no-file",
            display_name=display_name(path),
        )


# -- plain shapefiles


def _gather(path: Path, into: Path) -> Path:
    """Return a folder with links to the parts of a shapefile, under names of our own."""
    folder = into / "0"
    folder.mkdir()
    for suffix, part in shapefile.siblings(path).items():
        (folder / f"survey{suffix}").symlink_to(part.resolve())
    return folder


# -- zips


def _unzip(path: Path, into: Path, settings: Settings) -> dict[str, Path]:
    """Unpack the datasets of a zip and return layer → folder."""
    name = display_name(path)
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
            raise  # a full disk is not the file's fault; a negative offset (EINVAL) is
        raise BadSurvey(
            "{name} is not a whole zip: it cannot be unpacked.",
            hint="Make the zip again and check that it was sent completely.",
            code="corrupt-zip",
            name=name,
        ) from None


def _check_members(members: list[zipfile.ZipInfo], name: str, settings: Settings) -> None:
    """Raise `BadSurvey` for a zip whose directory is not acceptable."""
    if len(members) > settings.max_members:
        raise BadSurvey(
            "{name} holds {count} members; {max_members} are allowed.",
            hint="Send the parts of the shapefile only.",
            code="too-many-members",
            name=name,
            count=len(members),
            max_members=settings.max_members,
        )
    total = 0
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if _unsafe(member.filename) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadSurvey(
                "{name} has a member that points outside of it, or a link.",
                hint="Make the zip again from plain files.",
                code="unsafe-member",
                name=name,
            )
        if member.flag_bits & 0x1:
            raise BadSurvey(
                "{name} is encrypted.",
                hint="Make it without a password.",
                code="encrypted-zip",
                name=name,
            )
        total += member.file_size
        packed = max(1, member.compress_size)
        if member.file_size > _SMALL and member.file_size / packed > settings.max_ratio:
            raise BadSurvey(
                "{name} has a member that unpacks to over {max_ratio} times its size.",
                hint="Make the zip again; a sound survey is never packed so densely.",
                code="zip-bomb",
                name=name,
                max_ratio=settings.max_ratio,
            )
    if total > settings.max_file_mb << 20:
        raise _too_large(name, settings)


def _unsafe(name: str) -> bool:
    """Tell whether a member's path leaves the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":")


def _extract(
    archive: zipfile.ZipFile,
    members: list[zipfile.ZipInfo],
    into: Path,
    settings: Settings,
    name: str,
) -> dict[str, Path]:
    """Write the parts of datasets under names of our own; return layer → folder."""
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
    """Return the members by dataset: (folder, stem, suffix) → suffix → member."""
    datasets: dict[tuple[str, str, str], dict[str, zipfile.ZipInfo]] = {}
    for member, path in _parts(members):
        suffix = path.suffix.lower()
        kind = ".shp" if suffix in shapefile.PARTS else suffix
        group = datasets.setdefault((str(path.parent).lower(), path.stem.lower(), kind), {})
        if suffix in group:
            raise BadSurvey(
                "{name} holds {name2} twice.",
                hint="Keep one.",
                code="duplicate-member",
                name=name,
                name2=path.name,
            )
        group[suffix] = member
    whole = {key: parts for key, parts in datasets.items() if key[2] in parts}
    better = {k: parts for k, parts in whole.items() if k[2] not in formats.COMMON_SUFFIXES}
    groups = better or whole  # a readme.txt beside a survey is not a layer
    foreign = [
        (description, hint)
        for suffix, description, hint in formats.FOREIGN
        if any(member.filename.lower().endswith(suffix) for member in members)
    ]
    office = foreign and foreign[0][0] == "an Office document" and not better
    if foreign and (office or not groups):
        description, hint = foreign[0]
        raise BadSurvey(
            "{name} is or holds {description}, which is not read.",
            hint=hint,
            code="no-layer",
            name=name,
            description=description,
        )
    if not groups:
        nested = any(m.filename.lower().endswith(_ARCHIVES) for m in members)
        raise BadSurvey(
            "{name} holds no survey, only another archive."
            if nested
            else "{name} holds no survey.",
            hint="Send a zip that holds .shp, .shx, .dbf and .prj.",
            code="no-layer",
            name=name,
        )
    return groups


def _parts(members: list[zipfile.ZipInfo]) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Yield the members that are parts of datasets."""
    for member in members:
        path = PurePosixPath(_readable(member).replace("\\", "/"))
        hidden = path.name.startswith("._") or "__MACOSX" in path.parts
        suffix = path.suffix.lower()
        is_part = suffix in shapefile.PARTS or suffix in formats.SUFFIXES
        if is_part and not member.is_dir() and not hidden:
            yield member, path


def _readable(member: zipfile.ZipInfo) -> str:
    """Return a member's name; zips from Windows often hold UTF-8 without the flag for it."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, budget: int) -> int:
    """Unpack a member, but not far beyond the budget; return the number of bytes written."""
    written = 0
    with archive.open(member) as source, target.open("wb") as copy:
        while written <= budget and (chunk := source.read(_CHUNK)):
            written += copy.write(chunk)
    return written


def _too_large(name: str, settings: Settings) -> BadSurvey:
    return BadSurvey(
        "{name} is larger than {max_file_mb} MB, packed or unpacked.",
        hint="Split the survey, or raise LANDDATA_MAX_FILE_MB.",
        code="too-large",
        name=name,
        max_file_mb=settings.max_file_mb,
    )


# -- which of the datasets


def _pick(
    names: tuple[str, ...], folders: dict[str, Path], layer: str | None, source: str
) -> tuple[str, str | None]:
    """Return the name of the dataset and of the layer in it; raise `BadSurvey` with the choices."""
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
            "{source} has no layer {layer!r}; it has {listed}.",
            hint="Give one of them with --layer.",
            code="unknown-layer",
            source=source,
            layer=layer,
            listed=listed,
        )
    if len(names) > 1:
        raise BadSurvey(
            "{source} has {count} layers: {listed}.",
            hint="Say which with --layer.",
            code="several-layers",
            source=source,
            count=len(names),
            listed=listed,
        )
    return names[0], None


def _single_file(layer: str, layers: tuple[str, ...], folder: Path, inner: str | None) -> Dataset:
    """Return the dataset of one file."""
    (file,) = folder.glob("survey.*")
    kind = formats.recognise(file, layer)
    if kind is formats.GML:
        _remove_schemas(file)
    return Dataset(layer=layer, layers=layers, folder=folder, format=kind, inner=inner)


def _remove_schemas(file: Path) -> None:
    """Overwrite the schema locations of a GML: the driver would read any file that they name."""
    place = file.with_suffix(".new")
    with file.open("rb") as source, place.open("wb") as copy:
        kept = b""
        while chunk := source.read(_CHUNK):
            # A word may span two chunks; the new word has the length of the old.
            kept = (kept + chunk).replace(b"schemaLocation", b"schemaDisregarded"[:14])
            kept = kept.replace(b"SchemaLocation", b"SchemaDisregarded"[:14])
            copy.write(kept[:-16])
            kept = kept[-16:]
        copy.write(kept)
    place.replace(file)
