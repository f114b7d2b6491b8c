"""Imports point down, and some rooms know nothing of others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Layers of landdata, from the lowest: a room imports only what stands in its own line or above.
LAYERS = (
    ("characters",),
    ("translations",),
    ("errors", "settings", "findings", "files"),
    ("reference",),
    ("survey", "topology"),
    ("embedded",),
    ("store",),
    ("batches", "documents", "features"),
    ("jobs", "operations"),
    ("cli",),
)
LEVEL = {f"landdata.{name}": n for n, line in enumerate(LAYERS) for name in line}
#: Rooms that know no database.
PURE = {"landdata.survey", "landdata.topology", "landdata.reference"}
DATABASE = {"sqlalchemy", "psycopg", "geoalchemy2", "alembic"}
WEB = {"flask", "werkzeug", "pygeoapi", "ogc", "portal"}


def modules(package: str) -> list[tuple[str, Path]]:
    return [
        (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path)
        for path in sorted((ROOT / package).rglob("*.py"))
    ]


def imported(path: Path) -> set[str]:
    """What a module imports when it runs: what only a type checker reads does not count."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def named(path: Path) -> set[str]:
    """The modules of ours that strings of a module name, as for a later import or `-m`."""
    values = (
        node.value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {name for value in values if (name := value.partition(":")[0]) in MODULES}


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


ALL = [m for package in ("landdata", "ogc", "portal") for m in modules(package)]

MODULES = {name for name, _ in ALL} | {"ogc", "portal"}


def test_there_are_rooms_to_check() -> None:
    assert {"landdata.survey", "landdata.topology", "landdata.batches"} <= {
        room(name) for name, _ in ALL
    }


@pytest.mark.parametrize(("name", "path"), ALL, ids=[name for name, _ in ALL])
def test_imports_point_down(name: str, path: Path) -> None:
    names = imported(path) | named(path)
    roots = {other.split(".")[0] for other in names}
    if name.startswith("landdata"):
        assert not roots & WEB, f"{name} must not know HTTP"
    if name.startswith("ogc"):
        assert "portal" not in roots
    if room(name) in PURE:
        assert not roots & DATABASE, f"{name} must not know a database"
    if room(name) in LEVEL:
        above = {other for other in map(room, names) if LEVEL.get(other, -1) > LEVEL[room(name)]}
        assert not above, f"{name} imports upwards"


def test_each_room_has_its_layer() -> None:
    rooms = {room(name) for name, _ in ALL if name.startswith("landdata.")}
    assert rooms == set(LEVEL)


def test_only_descriptions_and_the_provider_know_pygeoapi() -> None:
    users = {name for name, path in ALL if any(o.startswith("pygeoapi") for o in imported(path))}
    assert users == {"ogc.descriptions", "ogc.provider"}


def test_only_settings_and_child_processes_read_the_environment() -> None:
    readers = {
        name
        for name, path in ALL
        if any(
            isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
        )
    }
    # the child that parses a stranger's file gets its GDAL settings that way, and no others
    assert readers <= {
        "landdata.survey.gdal_process",
        "landdata.survey.reader",
    }


def test_no_file_names_a_module_that_says_nothing() -> None:
    empty_names = {"utils", "helpers", "manager", "base", "common", "misc"}
    assert not {path.stem for _, path in ALL} & empty_names


def test_migrations_call_no_live_code() -> None:
    """A revision does the same for ever, so it keeps its own copy of what it needs."""
    for name, path in modules("migrations/versions"):
        assert not any(other.startswith("landdata") for other in imported(path)), name
