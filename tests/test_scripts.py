"""The scripts, the lock files and the image: held together, since no two may drift apart."""

from __future__ import annotations

import configparser
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from landdata.embedded.cluster import Cluster

ROOT = Path(__file__).parents[1]
SCRIPTS = [*(ROOT / "script").iterdir(), ROOT / ".ci" / "run"]
SHELL = sorted(p for p in SCRIPTS if p.is_file() and p.suffix == "")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pinned(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+) \\$", read(name), re.MULTILINE))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=! ;]", name)[0]).lower()


def packages() -> list[list[str]]:
    lines = read("script/packages.txt").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


# -- lock files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_a_lock_file_pins_all_with_hashes_and_names_no_place(name: str) -> None:
    text = read(name)
    assert len(pinned(name)) > 40
    for block in re.split(r"\n(?=[a-z])", text):
        if re.match(r"[a-z]", block):
            assert re.match(r"[a-z0-9-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", block), block
    assert not re.search(r"https?://|file:/|--(index|find|extra|trusted)", text)


def test_the_lock_files_hold_what_setup_cfg_requires() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    run = {normal(line) for line in config["options"]["install_requires"].split("\n") if line}
    test = {normal(line) for line in config["options.extras_require"]["test"].split("\n") if line}
    assert run <= pinned("requirements.txt").keys()
    assert run | test <= pinned("requirements-test.txt").keys()
    assert "setuptools" in pinned("requirements.txt")  # builds landdata itself


def test_both_lock_files_name_the_same_versions() -> None:
    assert pinned("requirements.txt").items() <= pinned("requirements-test.txt").items()


def test_installed_packages_are_those_of_the_lock_file() -> None:
    for name in ("sqlalchemy", "shapely", "pyogrio", "pygeoapi", "psycopg"):
        assert version(name) == pinned("requirements.txt")[name]


def test_the_browser_libraries_are_pinned_and_name_no_host() -> None:
    wanted = json.loads(read("package.json"))["dependencies"]
    lock = json.loads(read("package-lock.json"))
    assert all(re.fullmatch(r"[\d.]+", given) for given in wanted.values())
    assert lock["packages"][""]["dependencies"] == wanted
    tested = json.loads(read("package.json"))["devDependencies"]
    assert all(re.fullmatch(r"[\d.]+", given) for given in tested.values())
    assert lock["packages"][""]["devDependencies"] == tested
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert name == "" or package["integrity"].startswith("sha512-"), name
    assert "omit-lockfile-registry-resolved=true" in read(".npmrc").splitlines()


def test_the_browser_libraries_are_there_and_not_committed() -> None:
    vendor = ROOT / "portal" / "static" / "vendor"
    for name in ("ol.js", "ol.css", "proj4.js"):
        assert (vendor / name).stat().st_size > 1000
    assert "portal/static/vendor/" in read(".gitignore").splitlines()


# -- scripts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SHELL, ids=lambda p: p.name)
def test_a_script_parses_and_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "set -euo pipefail" in text


def test_every_package_says_how_it_is_seen() -> None:
    assert {"run", "test"} == {line[0] for line in packages()}
    for line in packages():
        assert len(line) == 3
        assert re.match(r"(cmd|file|lib):\S+$", line[2])


@pytest.mark.slow
def test_setup_finds_nothing_to_do_the_second_time_and_says_nothing() -> None:
    command = [str(ROOT / "script" / "setup"), "test"]
    subprocess.run(command, capture_output=True, check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def is_there(probe: str) -> bool:
    """Ask setup's own function, as setup runs it."""
    function = re.search(r"^is_there\(\) \{.*?^\}", read("script/setup"), re.MULTILINE | re.DOTALL)
    assert function
    words = ["bash", "-euo", "pipefail", "-c", f'{function[0]}\nis_there "$1"', "setup", probe]
    return subprocess.run(words, check=False).returncode == 0


def test_setup_sees_a_library_each_time() -> None:
    """One that is found while the list is still being written is not missing."""
    first = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True)
    name = first.stdout.splitlines()[1].split()[0]
    assert all(is_there(f"lib:{name}") for _ in range(50))
    assert not is_there("lib:libnone.so.0")


def test_setup_refuses_an_unknown_argument_in_one_sentence() -> None:
    done = subprocess.run(
        [str(ROOT / "script" / "setup"), "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nonsense" in done.stderr


def test_a_second_run_at_once_is_refused_in_one_sentence(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = subprocess.run(
            [str(ROOT / "script" / "run")],
            env={**os.environ, "LANDDATA_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(handle)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "running already" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def running() -> Iterator[Running]:
    """`script/run` in a data folder and on a port of its own, stopped at the end."""
    # Not tmp_path, whose parents are 0700: root's cluster runs as `postgres`, who must get in.
    home = Path(tempfile.mkdtemp(prefix="ld-run-"))
    home.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Running(home, port)
    yield made
    made.stop()
    shutil.rmtree(home)


class Running:
    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.said = ""
        self.process: subprocess.Popen[str] | None = None

    def run(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(ROOT / "script" / "run")],
            env={**os.environ, "LANDDATA_HOME": str(self.home), "LANDDATA_PORT": str(self.port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def start(self) -> None:
        self.process = self.run()
        end = time.monotonic() + 240
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/healthz")
            except OSError:
                time.sleep(0.1)
            else:
                return
        self.process.kill()
        pytest.fail(f"script/run did not serve: {self.process.communicate()[0]}")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        for _ in range(2):  # as somebody impatient does
            if self.process.poll() is None:
                self.process.send_signal(how)
        self.said = self.process.communicate(timeout=60)[0]
        return self.process.returncode


@pytest.mark.slow
def test_run_serves_the_samples_and_stops_all_that_it_started(running: Running) -> None:
    parcels = "/ogc/collections/parcels/items?limit=5000"
    running.start()
    first = running.get(parcels)["features"]
    assert len(first) > 2000

    second = running.run()
    said = second.communicate(timeout=60)[0]
    assert second.returncode == 2
    assert said.count("\n") == 1

    assert running.stop(signal.SIGINT) == 0
    assert "Traceback" not in running.said
    assert not Cluster(running.home).status().running
    with pytest.raises(OSError, match="refused"):
        running.get("/healthz")
    folders = [f for f in (ROOT / "sample_parcels").iterdir() if (f / "expected.json").exists()]
    for folder in folders:
        assert folder.name in running.said

    running.start()
    assert running.get(parcels)["features"] == first
    assert running.stop(signal.SIGTERM) == 0
    assert not Cluster(running.home).status().running


@pytest.mark.slow
def test_run_leaves_a_cluster_alone_that_it_did_not_start(running: Running) -> None:
    cluster = Cluster(running.home)
    cluster.up()
    try:
        running.process = running.run()
        assert running.process.stdout is not None
        while "Starting PostGIS" not in (line := running.process.stdout.readline()) and line:
            pass
        assert running.stop() == 0
        assert cluster.status().running
    finally:
        cluster.down()


# -- image -----------------------------------------------------------------------------------


def test_the_image_is_set_up_as_every_machine_is() -> None:
    text = read("Dockerfile")
    assert re.search(r"^RUN script/setup ", text, re.MULTILINE)
    # One list of packages: the image installs none of its own, and setup reads that list.
    assert not re.search(r"apt-get (-\S+ )*install|pip install|npm (ci|install)", text)
    assert "script/packages.txt" in read("script/setup")


def test_the_image_runs_as_nobody_special_and_is_watched() -> None:
    lines = read("Dockerfile").splitlines()
    user = next(i for i, line in enumerate(lines) if line.startswith("USER "))
    assert lines[user] != "USER root"
    assert any(line.startswith("CMD ") for line in lines[user:])
    assert any(line.startswith("HEALTHCHECK ") for line in lines[user:])
    assert "/healthz" in read("Dockerfile")


def test_the_image_carries_no_secret_and_no_leftovers() -> None:
    assert not re.search(r"(?i)(password|secret|token|key)\w*\s*=", read("Dockerfile"))
    ignored = read(".dockerignore").splitlines()
    for name in (".git", ".venv", ".landdata", "node_modules", "portal/static/vendor"):
        assert name in ignored
