"""The README's commands run as they stand, and the documents' tables and links are whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from landdata.embedded.cluster import Cluster

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_FINDINGS = 1
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^\.venv/bin/landdata (.+?)(?: +#.*)?$", text, re.M)
    assert len(commands) >= 10
    # root's PostgreSQL runs as another user, who must be able to enter the folder
    home = Path("/tmp") / f"landdata-readme-{tmp_path.name}"
    program = Path(sys.executable).with_name("landdata")
    try:
        for command in commands:
            run = subprocess.run(
                [program, *command.split()],
                cwd=ROOT,
                env={"LANDDATA_HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            allowed = (0, WITH_FINDINGS) if command.startswith("check") else (0,)
            assert run.returncode in allowed, (command, run.stderr)
            assert "Traceback" not in run.stderr
    finally:
        Cluster(home).down()
        subprocess.run(["rm", "-rf", str(home)], check=True)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_each_table_has_a_head_and_rows_of_its_width(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    width = 0
    for number, line in enumerate(lines, 1):
        if not line.startswith("|"):
            width = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line)))
        assert width in (0, cells), f"{page.name}:{number}"
        if not width:
            assert re.match(r"\|(\s*:?-+:?\s*\|)+$", lines[number]), f"{page.name}:{number}"
        width = cells


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        place, _, fragment = target.partition("#")
        linked = (page.parent / place).resolve() if place else page
        assert linked.exists(), f"{page.name}: {target}"
        if fragment:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.M)
            assert fragment in map(anchor, headings), f"{page.name}: {target}"
