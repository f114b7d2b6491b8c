"""Imports point down, and some rooms know nothing of others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

GROUND = {"landdata.errors", "landdata.settings", "landdata.findings", "landdata.identifiers"}
ALLOWED = {
    # room: what of ours it may import, beside itself
    "landdata.errors": set(),
    "landdata.settings": {"landdata.errors"},
    "landdata.findings": set(),
    "landdata.identifiers": {"landdata.errors"},
    "landdata.land_use": {"landdata.errors"},
    "landdata.durable": set(),
    "landdata.survey": GROUND | {"landdata.land_use"},
    "landdata.topology": GROUND | {"landdata.land_use"},
    "landdata.jobs": GROUND
    | {
        "landdata.batches",
        "landdata.check",
        "landdata.db",
        "landdata.models",
        "landdata.webhooks",
    },
    "landdata.ground": GROUND | {"landdata.db", "landdata.survey", "landdata.topology"},
    "landdata.originals": GROUND | {"landdata.durable", "landdata.models"},
    "landdata.publications": {"landdata.db"},
    "landdata.webhooks": {
        "landdata.db",
        "landdata.errors",
        "landdata.models",
        "landdata.publications",
    },
    "landdata.check": GROUND | {"landdata.survey", "landdata.topology"},
    "landdata.cluster": GROUND | {"landdata.durable"},
    "landdata.models": set(),
    "landdata.staging": set(),
    "landdata.db": {
        "landdata.cluster",
        "landdata.errors",
        "landdata.models",
        "landdata.settings",
    },
}
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


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


ALL = [m for package in ("landdata", "ogc", "portal") for m in modules(package)]


def test_there_are_rooms_to_check() -> None:
    assert {"landdata.survey", "landdata.topology", "landdata.batches"} <= {
        room(name) for name, _ in ALL
    }


@pytest.mark.parametrize(("name", "path"), ALL, ids=[name for name, _ in ALL])
def test_imports_point_down(name: str, path: Path) -> None:
    names = imported(path)
    roots = {other.split(".")[0] for other in names}
    if name.startswith("landdata"):
        assert not roots & WEB, f"{name} must not know HTTP"
    if name.startswith("ogc"):
        assert "portal" not in roots
    if room(name) in {"landdata.survey", "landdata.topology"}:
        assert not roots & DATABASE, f"{name} must not know a database"
    if room(name) in ALLOWED:
        ours = {room(other) for other in names if other.startswith("landdata.")}
        assert ours <= ALLOWED[room(name)] | {room(name)}


def test_pygeoapi_is_known_in_one_room() -> None:
    """It is a shell around what we serve: whoever changes it must look nowhere else."""
    knows = {name for name, path in ALL if any(o.startswith("pygeoapi") for o in imported(path))}
    assert knows == {"ogc.shell"}


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
    assert readers <= {"landdata.survey.child", "landdata.survey.reader", "landdata.cluster"}


def test_no_file_names_a_module_that_says_nothing() -> None:
    empty_names = {"utils", "helpers", "manager", "base", "common", "misc"}
    assert not {path.stem for _, path in ALL} & empty_names
