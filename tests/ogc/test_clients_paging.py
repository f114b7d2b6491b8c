"""Clients that others wrote page through a collection while a batch is accepted between two pages.

The same as script/clients does with 100,000 parcels, and with QGIS.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "script" / "clients.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clients", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["clients"] = made  # dataclasses look their module up
    spec.loader.exec_module(made)
    return made


clients = load()


@pytest.fixture(scope="module")
def world(make_store: Any) -> Iterator[Any]:
    with clients.world(make_store(), 3000, at_once=True) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in clients.CLIENTS if each != "qgis"])
def test_a_client_reads_every_parcel_once_while_a_batch_is_accepted(world: Any, name: str) -> None:
    assert clients.missing(name) is None
    text, wrong = clients.judge(world, name, 1)
    assert wrong == [], text
    assert "1 batches accepted meanwhile" in text


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        (lambda there: there[1:], "1 lost"),
        (lambda there: [*there, there[0]], "1 doubled"),
        (lambda there: [*there, "x"], "1 that are not there"),
    ],
)
def test_what_a_client_loses_or_doubles_is_seen(
    world: Any, monkeypatch: pytest.MonkeyPatch, ids: Any, fault: str
) -> None:
    def read(_: str, __: str) -> Any:
        there = sorted(world.official())
        return clients.Told(ids(there), there[: clients.PER_SHEET])

    monkeypatch.setitem(clients.CLIENTS, "plain", read)
    _, wrong = clients.judge(world, "plain", 0)
    assert fault in wrong
