"""A hundred parcels more in a store of a million: how long their check takes, seam and all.

    python bench/adding.py HOME [--parcels 1000000] [--runs 5]

HOME is a folder for a private store, which is made and filled once (`bench/make_parcels.py`,
`landdata import --accept`) and then kept. Each batch is received and checked as a worker does it
(`batches.receive`, `batches.check`: read, judged with what is official around, staged), then
rolled back; the start of the interpreter is not counted. Three batches of a hundred parcels:
side by side in a road of the made-up commune, each touching official parcels; one here and one
there, all over the commune; and official ones sent again, a tenth of them changed, scattered over
the sheets.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import make_parcels as mp
import numpy as np
from numpy.typing import NDArray

from landdata.batches import checking, receiving
from landdata.settings import Settings
from landdata.store import database

HERE = Path(__file__).parent
LANDDATA = Path(sys.executable).parent / "landdata"
COUNT = 100


def lots(given: mp.Parcels, which: NDArray[np.int64]) -> mp.Parcels:
    """New parcels on sheet 9999: the first 4 m of the road north of official ones.

    Each has the northern side of the official parcel, vertex for vertex.
    """
    rings = []
    for at in which:
        ring = given.points[given.start[at] : given.start[at + 1] - 1]
        # The northern side runs from one corner to the other, which are 28 m from the south.
        top = ring[ring[:, 1] > ring[:, 1].min() + mp.DEPTH / 2000]
        top = top[np.argsort(top[:, 0])]
        upper = top[[0, -1]] + [0, 4.0]
        lot = np.concatenate([top[::-1], upper, top[-1:]])
        rings.append(lot)
    start = np.concatenate([[0], np.cumsum([len(ring) for ring in rings])])
    n = len(rings)
    return mp.Parcels(
        points=np.rint(np.concatenate(rings) * 1000) / 1000,
        start=start,
        sheet=np.full(n, 9999),
        number=np.arange(1, n + 1),
        code=np.zeros(n, np.int64),
        area=np.full(n, 64.0),
    )


def again(given: mp.Parcels, which: NDArray[np.int64]) -> mp.Parcels:
    """Official parcels once more; of each tenth one vertex is drawn in."""
    rings = [given.points[given.start[at] : given.start[at + 1]].copy() for at in which]
    for ring in rings[::10]:
        middle = ring[:-1].mean(axis=0)
        ring[1] += np.rint((middle - ring[1]) * 20) / 1000
    return replace(
        given,
        points=np.concatenate(rings),
        start=np.concatenate([[0], np.cumsum([len(ring) for ring in rings])]),
        **{name: getattr(given, name)[which] for name in ("sheet", "number", "code", "area")},
    )


def fill(home: Path, parcels: int) -> None:
    """Make the store, unless it is there."""
    if (home / "filled").exists():
        subprocess.run([LANDDATA, "up"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([LANDDATA, "migrate"], check=True, stdout=subprocess.DEVNULL)
        return
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    survey = home / "survey.zip"
    for command in (
        [sys.executable, HERE / "make_parcels.py", str(parcels), survey],
        [LANDDATA, "up"],
        [LANDDATA, "migrate"],
        [LANDDATA, "communes", "add", "99901", "Xã Suối Mẫu"],
        [LANDDATA, "import", survey, "--commune", "99901", "--accept", "--json"],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (home / "filled").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--parcels", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    os.environ["LANDDATA_HOME"] = str(options.home)
    os.environ.pop("LANDDATA_DATABASE_URL", None)
    fill(options.home, options.parcels)
    given = mp.make(options.parcels)
    side = int(given.sheet.max() ** 0.5) * 2 * mp.BLOCK
    # The northernmost row of each block, sheet by sheet.
    north = np.flatnonzero((given.number - 1) // (2 * mp.BLOCK) % mp.BLOCK == 0)
    chance = np.random.default_rng(int(time.time()))
    beside = north[given.sheet[north] == given.sheet[side * side // 2 - 1]]
    row = np.flatnonzero(np.isin(given.sheet, given.sheet[beside[0]] + np.arange(10)))
    row = np.intersect1d(row, north[(given.number[north] - 1) // (2 * mp.BLOCK) == mp.BLOCK])
    made = {
        "side by side": lots(given, row[:COUNT]),
        "here and there": lots(given, np.sort(chance.choice(north, COUNT, replace=False))),
        "sent again": again(given, np.sort(chance.choice(len(given.sheet), COUNT, replace=False))),
    }
    settings = Settings.load()
    engine = database.engine(settings)
    print("| batch of 100 | s, median of runs (min-max) | findings | stages |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for turn, (name, parcels) in enumerate([("warm", made["side by side"]), *made.items()]):
            file = Path(scratch) / f"{turn}.zip"
            mp.write(parcels, file, "99901")
            seconds = []
            for _ in range(options.runs):
                with database.session(engine) as session:
                    began = time.perf_counter()
                    batch, _ = receiving.receive(
                        session, settings, file, commune="99901", by="bench"
                    )
                    report = checking.check(session, settings, batch.id)
                    seconds.append(time.perf_counter() - began)
                    session.rollback()
            if turn:
                stages = report.summary["seconds"]
                print(
                    f"| {name} | {statistics.median(seconds):.2f}"
                    f" ({min(seconds):.2f}-{max(seconds):.2f}) | {len(report.checked.findings)}"
                    f" | {', '.join(f'{k} {v:.2f}' for k, v in stages.items())} |"
                )
    engine.dispose()
    subprocess.run([LANDDATA, "down"], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
