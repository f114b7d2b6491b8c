"""`script/conformance` reads the reports of OGC's suites, and skips where it can't run them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "script" / "conformance.py"

REPORT = """<testng-results>
<test-method name="setUp" status="PASS" is-config="true"/>
<test-method name="landing" status="PASS"/>
<test-method name="verifyBboxCrsParameter" status="FAIL">
  <params><param><value>http://www.opengis.net/def/crs/EPSG/0/9212</value></param></params>
  <exception><message>EPSG:9212</message></exception></test-method>
<test-method name="verifyBboxCrsParameter" status="FAIL">
  <params><param><value>http://www.opengis.net/def/crs/EPSG/0/4326</value></param></params>
  <exception><message>1 expectation failed.</message></exception></test-method>
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
def script():
    spec = importlib.util.spec_from_file_location("conformance_script", SCRIPT)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(("more", "faults"), [("", 0), (FAULTS, 3)])
def test_only_faults_of_the_service_count(script, tmp_path, capsys, more, faults):
    report = tmp_path / "testng-results.xml"
    report.write_text(REPORT.format(more=more))
    assert script.judge("suite", tmp_path / "suite-aio.jar", report) == faults
    said = capsys.readouterr().out
    assert f"1 passed, {faults} failed, 2 the suite can't judge, 1 skipped" in said
    assert ("no links" in said) == bool(faults)


def test_without_java_it_says_so_and_skips(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "skipped: there is no java" in done.stdout
