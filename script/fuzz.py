"""Spoil survey files at random, and see that each is read, or refused, and nothing worse.

    script/fuzz [--count N] [--start I] [--seed S] [--keep FOLDER] [FORMAT ...]

FORMAT: shapefile, dbf, geopackage, dxf (all of them). Of each, files I to I + N (200) are made:
bytes flipped, parts cut off, put in, repeated or exchanged, and members that name a file of the
server or an address. Each goes the whole way of `landdata check`. A fault is whatever is no
`BadSurvey` and no report, takes over 60 s, shows a row of a file that was not sent, calls a
port of this machine, or loses a row without saying so. The same seed makes the same files;
tests/support/fuzz_seeds.txt keeps those that once showed a fault, and they are always run again.

The reader's process is the one that the service starts, but forked of one that has its libraries
loaded already, so that a file takes hundredths of a second.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyogrio
import shapely

from landdata.batches.validation import ReadOptions, check
from landdata.errors import LandDataError
from landdata.settings import Settings
from landdata.survey import gdal_runner

FORMATS = ("shapefile", "dbf", "geopackage", "dxf")
SEEDS = Path(__file__).parents[1] / "tests" / "support" / "fuzz_seeds.txt"
ROWS = 40
LIMIT = 60  # seconds
SECRET = "KHONGGUI"  # stands in a file that was not sent

SERVER = """
import importlib.util, json, os, signal, sys, time, traceback
spec = importlib.util.spec_from_file_location("child", sys.argv[1])
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
import pyarrow
if sys.argv[2] == "fiona":
    import fiona
elif sys.argv[2] == "construction":
    sys.path.insert(0, sys.argv[1].removesuffix("landdata/survey/gdal_process.py"))
    import landdata.survey.construction
else:
    import pyogrio.raw
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if not pid:
        os.setsid()
        os.chdir(job["cwd"])
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["child", job["task"]]
        code = 1
        try:
            code = child.main()
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        with_flush = [stream.flush() for stream in (sys.stdout, sys.stderr)]
        os._exit(code or 0)
    end, late = time.monotonic() + job["seconds"], False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end and not late:
            os.killpg(pid, signal.SIGKILL)
            late = True
        time.sleep(0.002)
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "late": late}), flush=True)
"""


class Forked:
    """Stands for `subprocess.Popen` in the reader: forked of a process with all loaded."""

    servers: dict[tuple[str, str], subprocess.Popen[str]] = {}  # noqa: RUF012

    def __init__(
        self, command: list[str], *, cwd: Path, env: dict[str, str], stderr: IO[bytes], **_: Any
    ) -> None:
        task = json.loads(command[-1])
        key = (task["engine"], task.get("driver", ""))
        if key not in self.servers:
            self.servers[key] = subprocess.Popen(
                [sys.executable, "-I", "-c", SERVER, command[2], task["engine"]],
                env={**env, "HOME": "/nonexistent", "TMPDIR": "/nonexistent"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        self.server, self.task, self.cwd, self.stderr = self.servers[key], command[-1], cwd, stderr
        self.seconds: float = task["limits"]["seconds"]
        self.pid, self.returncode = self.server.pid, 0

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def poll(self) -> int:
        return self.returncode

    def wait(self) -> int:
        return self.returncode

    @functools.cached_property
    def stdout(self) -> list[bytes]:
        """Run the task to its end: the lines that it told."""
        out, err = (Path(tempfile.mktemp(dir=self.cwd.parent)) for _ in range(2))
        job = {"task": self.task, "cwd": str(self.cwd), "out": str(out), "err": str(err)}
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps({**job, "seconds": self.seconds}) + "\n")
        self.server.stdin.flush()
        answer = json.loads(self.server.stdout.readline())
        self.returncode = -signal.SIGKILL if answer["late"] else answer["code"]
        told, said = (p.read_bytes() if p.exists() else b"" for p in (out, err))
        self.stderr.write(said)
        for path in (out, err):
            path.unlink(missing_ok=True)
        return told.splitlines(keepends=True)

    @classmethod
    def end(cls) -> None:
        for server in cls.servers.values():
            server.communicate()


# -- sound files ---------------------------------------------------------------------------


def plots(rows: int, aside: float) -> list[Any]:
    return [
        shapely.box(x, y, x + 20, y + 20)
        for i in range(rows)
        for x, y in [(548_000.0 + 20 * (i % 8) + aside, 1_281_000.0 + 20 * (i // 8))]
    ]


def parcels(path: Path, driver: str, rows: int, *, aside: float = 0.0, owner: str = "Ông") -> None:
    shapes = plots(rows, aside)
    columns = {
        "SHBANDO": np.array(["1"] * rows, dtype=object),
        "SHTHUA": np.array([str(i + 1) for i in range(rows)], dtype=object),
        "DIENTICH": np.array([shape.area for shape in shapes]),
        "KHLOAIDAT": np.array(["CLN"] * rows, dtype=object),
        "TENCHU": np.array([f"{owner} {i}" for i in range(rows)], dtype=object),
    }
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array(shapes, dtype=object)),
        field_data=list(columns.values()),
        fields=list(columns),
        geometry_type="Polygon",
        crs="EPSG:9212",
        driver=driver,
        encoding="UTF-8",
    )


def drawing(rows: int) -> bytes:
    lines = ["0", "SECTION", "2", "ENTITIES"]
    for i, shape in enumerate(plots(rows, 0)):
        lines += ["0", "LWPOLYLINE", "8", "10", "90", "4", "70", "1"]
        for x, y in list(shape.exterior.coords)[:-1]:
            lines += ["10", repr(x), "20", repr(y)]
        for layer, text, up in (("13", str(i + 1), 5), ("4", "CLN", 10), ("3", "400.0", 15)):
            lines += ["0", "TEXT", "8", layer, "10", repr(shape.bounds[0] + 5)]
            lines += ["20", repr(shape.bounds[1] + up), "30", "0", "40", "2", "1", text]
    return ("\n".join([*lines, "0", "ENDSEC", "0", "EOF"]) + "\n").encode()


class Sound:
    """The files that are spoilt, and those that must never be seen."""

    def __init__(self, folder: Path, port: int) -> None:
        self.members: dict[str, dict[str, bytes]] = {}
        for name, rows, aside in (("one", ROWS, 0.0), ("two", ROWS, 400.0)):
            inside = folder / name
            inside.mkdir()
            parcels(inside / "thua.shp", "ESRI Shapefile", rows, aside=aside)
            parcels(inside / "thua.gpkg", "GPKG", rows, aside=aside)
            self.members[name] = {path.name: path.read_bytes() for path in inside.iterdir()}
        secret = folder / "secret"
        secret.mkdir()
        parcels(secret / "khong.shp", "ESRI Shapefile", ROWS, owner=SECRET)
        (secret / "khong.csv").write_text(f"id,WKT\n1,{SECRET}\n")
        layer = "<OGRVRTDataSource><OGRVRTLayer name='khong'><SrcDataSource>{}</SrcDataSource>"
        ends = "</OGRVRTLayer></OGRVRTDataSource>"
        self.payloads = [
            (layer.format(secret / "khong.shp") + ends).encode(),
            (layer.format(f"/vsicurl/http://127.0.0.1:{port}/khong.shp") + ends).encode(),
            f"<VRTDataset><SRS>file://{secret / 'khong.csv'}</SRS></VRTDataset>".encode(),
            f'<!DOCTYPE a [<!ENTITY b SYSTEM "file://{secret / "khong.csv"}">]><a>&b;</a>'.encode(),
            f"http://127.0.0.1:{port}/khong.prj".encode(),
            str(secret / "khong.shp").encode(),
            f"PG:host=127.0.0.1 port={port} dbname=x".encode(),
        ]
        self.drawing = drawing(ROWS)


# -- spoiling ------------------------------------------------------------------------------


def spoil(data: bytes, other: bytes, payloads: list[bytes], chance: random.Random) -> bytes:
    """Return the bytes with one thing done to them."""
    size = len(data)
    at = chance.randrange(min(size, 128) if chance.random() < 0.4 else size) if size else 0
    some = chance.randrange(1, 200)
    kind = chance.randrange(9)
    made = bytearray(data)
    if kind <= 2:  # flip bytes
        for _ in range(chance.choice((1, 1, 1, 2, 8, 64))):
            if size:
                made[(at + chance.randrange(64)) % size] = chance.randrange(256)
    elif kind == 3:  # a number as numbers break things
        value = chance.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**16, 10**8))
        made[at : at + 4] = value.to_bytes(4, chance.choice(("big", "little")))
    elif kind == 4:  # cut off
        del made[at:]
    elif kind == 5:  # cut out
        del made[at : at + some]
    elif kind == 6:  # lengthen
        tail = chance.choice((bytes(some), chance.randbytes(some), data[:some], data))
        made += tail
    elif kind == 7:  # exchange parts
        there = chance.randrange(size) if size else 0
        made[at : at + some] = (chance.choice((data, other)) or b"\0")[there : there + some]
    else:
        made = bytearray(chance.choice((other, *payloads)))
    return bytes(made)


def archive(parts: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in parts.items():
            zipped.writestr(zipfile.ZipInfo(name), data)
    return made.getvalue()


def spoilt(sound: Sound, kind: str, chance: random.Random) -> tuple[str, bytes]:
    """Make a spoilt file: its name and bytes."""
    one, two = sound.members["one"], sound.members["two"]
    times = chance.choice((1, 1, 1, 2, 3))
    if kind == "dxf":
        data = sound.drawing
        for _ in range(times):
            data = spoil(data, sound.drawing[::-1], sound.payloads, chance)
        return "thua.dxf", data
    if kind == "geopackage":
        data = one["thua.gpkg"]
        for _ in range(times):
            data = spoil(data, two["thua.gpkg"], sound.payloads, chance)
        return "thua.gpkg", data
    parts = {name: data for name, data in one.items() if not name.endswith(".gpkg")}
    names = [n for n in parts if n.endswith(".dbf") == (kind == "dbf")]
    for _ in range(times):
        name = chance.choice(names)
        if chance.random() < 0.1:  # swap members, within the file or with another's
            source = chance.choice((one, two))
            parts[name] = source[chance.choice(sorted(parts))]
        else:
            parts[name] = spoil(parts[name], two[name], sound.payloads, chance)
    if chance.random() < 0.05:
        del parts[chance.choice(sorted(parts))]
    data = archive(parts)
    if chance.random() < 0.1:
        data = spoil(data, archive(two), sound.payloads, chance)
    return "thua.zip", data


# -- judging -------------------------------------------------------------------------------


class HangError(Exception):
    """It took too long."""


def judge(path: Path, kind: str, settings: Settings) -> tuple[str, str | None]:
    """Check a file; return what became of it, and the fault if there is one."""

    def hang(*_: object) -> None:
        raise HangError

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(LIMIT)
    try:
        options = ReadOptions(crs=9212) if kind == "dxf" else None  # a drawing knows none
        report = check(path, settings, options=options, commune="99901")
    except HangError:
        return "hangs", f"took over {LIMIT} s"
    except LandDataError as error:
        if SECRET in f"{error.message}{error.hint}":
            return "leaks", "tells of a file that was not sent"
        if error.status >= 500:
            return error.code, f"our fault: {error.message}"
        return f"refused: {error.code}", None
    except Exception as error:
        return "crashes", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    summary = report.summary
    if SECRET in json.dumps(report.as_dict()) + str(report.survey.attributes["owner"].to_pylist()):
        return "leaks", "shows a file that was not sent"
    counted = summary["acceptable"] + summary["rejected"] + summary["duplicate"]
    if summary["read"] != counted or summary["read"] != len(report.survey):
        return "unbalanced", f"{summary['read']} read, {counted} counted"
    said = {rule for rules in summary["findings"].values() for rule in rules}
    named = {found.row for found in report.checked.findings if found.severity == "error"}
    for row, shape in zip(report.survey.rows, report.survey.geometry, strict=True):
        if shape is None and int(row) not in named:
            return "silent", f"row {row} lost its geometry"
    if kind != "dxf" and summary["read"] < ROWS and not said & {"deleted-rows", "rows-differ"}:
        return "silent", f"{summary['read']} of {ROWS} rows, and nothing said"
    return "read, with errors" if summary["findings"]["error"] else "read", None


def kept() -> Iterator[tuple[str, int, int]]:
    """Yield the (format, seed, index) of tests/support/fuzz_seeds.txt."""
    for line in SEEDS.read_text("utf-8").splitlines():
        if found := re.match(r"(\w+) (\d+) (\d+)", line):
            yield found[1], int(found[2]), int(found[3])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("formats", nargs="*", metavar="FORMAT", choices=[*FORMATS, []])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the files that show a fault")
    given = parser.parse_args()
    formats = given.formats or FORMATS
    numbers = range(given.start, given.start + given.count)
    cases = [(kind, given.seed, i) for kind in formats for i in numbers]
    cases = [case for case in kept() if case[0] in formats] + cases

    folder = Path(tempfile.mkdtemp(prefix="landdata-fuzz-"))
    tempfile.tempdir = str(folder)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    sound = Sound(folder, listening.getsockname()[1])
    gdal_runner.subprocess = types.SimpleNamespace(  # type: ignore[attr-defined]
        Popen=Forked,
        run=subprocess.run,
        PIPE=subprocess.PIPE,
        DEVNULL=subprocess.DEVNULL,
    )
    settings = Settings(
        home=folder, srid=9212, language="en", read_seconds=LIMIT - 5, max_file_mb=64
    )
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in formats}
    slowest = dict.fromkeys(formats, 0.0)
    faults = 0
    try:
        for kind, seed, index in cases:
            name, data = spoilt(sound, kind, random.Random(f"{seed} {kind} {index}"))
            path = folder / name
            path.write_bytes(data)
            started = time.monotonic()
            outcome, fault = judge(path, kind, settings)
            slowest[kind] = max(slowest[kind], time.monotonic() - started)
            with contextlib.suppress(BlockingIOError):
                listening.accept()[0].close()
                outcome, fault = "calls", "called an address that the file names"
            outcomes[kind][outcome] += 1
            if fault:
                faults += 1
                print(f"FAULT {kind} {seed} {index}: {fault}", flush=True)
                if given.keep:
                    given.keep.mkdir(parents=True, exist_ok=True)
                    (given.keep / f"{kind}-{seed}-{index}{path.suffix}").write_bytes(data)
            path.unlink()
    finally:
        Forked.end()
        listening.close()
        shutil.rmtree(folder, ignore_errors=True)
    for kind in formats:
        total = sum(outcomes[kind].values())
        print(f"{kind}: {total} files, the slowest took {slowest[kind]:.1f} s")
        for outcome, times in outcomes[kind].most_common():
            print(f"  {times:>6} {outcome}")
    print(f"{faults} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
