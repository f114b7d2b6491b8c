"""`script/conformance` reads the reports of OGC's suites, and skips where it can't run them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyproj
import pytest

from landdata.reference.vn2000 import ZONES, transformer

SCRIPT = Path(__file__).parents[1] / "script" / "conformance.py"

REPORT = """<testng-results>
<test-method name="setUp" status="PASS" is-config="true"/>
<test-method name="landing" status="PASS"/>
<test-method name="matched" status="SKIP"><exception><message>not set</message></exception>
</test-method>
{more}
</testng-results>"""

FAULTS = """
<test-method name="verifyBboxCrsParameter" status="FAIL">
  <params><param><value>http://www.opengis.net/def/crs/EPSG/0/3857</value></param></params>
  <exception><message>1 expectation failed.</message></exception></test-method>
<test-method name="landing" status="FAIL"><exception><message>no links</message></exception>
</test-method>
<test-method name="setUp" status="FAIL" is-config="true"/>"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(("more", "faults"), [("", 0), (FAULTS, 3)])
def test_every_failure_counts(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, faults: int
) -> None:
    report = tmp_path / "testng-results.xml"
    report.write_text(REPORT.format(more=more))
    assert script.judge("suite", tmp_path / "suite-aio.jar", report) == faults
    said = capsys.readouterr().out
    assert f"1 passed, {faults} failed, 1 skipped" in said
    assert "skipped: matched: not set" in said
    assert ("no links" in said) == bool(faults)


def test_the_reference_systems_given_to_the_suite_are_those_of_epsg(script: ModuleType) -> None:
    """As far as the datum operation; the axes of 4326 and 4756 stand in the authority's order."""
    lines = script.reference_systems().splitlines()
    assert len(lines) == len(ZONES) + 2
    for line in lines:
        code = int(line[1 : line.index(">")])
        text = line.partition("> ")[2].removesuffix("  <>")
        if code in ZONES:
            east, north = 512_345.6, 1_281_000.0
            to_wgs84 = pyproj.Transformer.from_crs(f"{text} +type=crs", "OGC:CRS84")
            wanted = transformer(code, 4326).transform(east, north)
            assert to_wgs84.transform(east, north) == pytest.approx(wanted, abs=1e-8)
        else:
            assert "+axis=neu" in text


def test_without_java_it_says_so_and_skips(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "skipped: there is no java" in done.stdout
