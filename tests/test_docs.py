"""README and docs work as written: commands run on the samples, tables and links are right."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from support import served

from landdata.cli import cli
from landdata.embedded.cluster import Cluster
from landdata.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
MARKDOWN = MarkdownIt("commonmark").enable("table")
SERVICE = "127.0.0.1:5000"
#: Exit code 1 is findings, which the samples have.
FINDINGS = re.compile(r"landdata (check|import)\b")
#: Beginnings of commands that are not run here, with the reason.
NOT_RUN = {
    "script/": "sets the machine up, and runs for minutes",
    ".ci/": "sets the machine up, and runs for minutes",
    "python bench/": "a benchmark, for hours",
    "for start in": "a benchmark, for hours",
    "docker": "needs Docker",
    "psql": "needs the embedded cluster of the data folder",
    "landdata worker": "runs until it is stopped",
}


def tokens(page: Path) -> list[Token]:
    return MARKDOWN.parse(page.read_text("utf-8"))


def fences(page: Path, language: str) -> list[str]:
    return [t.content for t in tokens(page) if t.type == "fence" and t.info == language]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    found = tokens(page)
    return {
        slug(re.sub(r"[`*]", "", text.content))
        for heading, text in itertools.pairwise(found)
        if heading.type == "heading_open"
    }


def links(page: Path) -> list[str]:
    inner = [child for token in tokens(page) for child in token.children or []]
    return [str(t.attrs.get("href") or t.attrs.get("src") or "") for t in inner if t.attrs]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    for token in tokens(page):
        if token.type == "table_open":
            start, end = token.map or (0, 0)
            cells = [len(re.findall(r"(?<!\\)\|", line)) for line in lines[start:end]]
            assert set(cells) == {cells[0]}, lines[start]
        elif token.type == "inline":
            assert not token.content.startswith("|"), f"outside its table: {token.content}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        address, _, anchor = link.partition("#")
        if urllib.parse.urlsplit(address).scheme:
            continue
        target = page.parent / address if address else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    rooms = r"(?:landdata|ogc|portal|tests|bench|script|migrations|sample_parcels|docs)"
    for name in re.findall(rf"`({rooms}/[\w./-]*\w)", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_in_sentences_exist_with_their_options(page: Path) -> None:
    for token in tokens(page):
        for child in token.children or []:
            text = child.content if child.type == "code_inline" else ""
            # `landdata serve` runs below
            if not text.startswith("landdata ") or text == "landdata serve":
                continue
            command: click.Command = cli
            words = text.split()[1:]
            while words and isinstance(command, click.Group) and words[0].isalpha():
                assert words[0] in command.commands, text
                command = command.commands[words.pop(0)]
            options = {name for parameter in command.params for name in parameter.opts}
            written = {word.strip("[]") for word in words if word.strip("[").startswith("--")}
            assert written <= options, text


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_examples_in_other_languages_parse(page: Path) -> None:
    languages = {t.info for t in tokens(page) if t.type == "fence"}
    assert languages <= {"sh", "text", "json", "python", "toml", "yaml", "sql", "cql2", "nginx"}
    for text in fences(page, "toml"):
        tomllib.loads(text)
    for text in fences(page, "yaml"):
        yaml.safe_load(text)
    for text in fences(page, "json"):
        json.loads(text)
    for text in fences(page, "python"):
        compile(text, str(page), "exec")


@pytest.fixture(scope="module")
def service(make_store: Callable[..., Settings]) -> Iterator[tuple[dict[str, str], str]]:
    """The environment of commands on a store with the samples, and the address that serves it."""
    settings = make_store()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {
        **os.environ,
        "LANDDATA_DATABASE_URL": settings.database_url or "",
        "LANDDATA_HOME": str(settings.home),
        "LANDDATA_LANGUAGE": "en",
        "PATH": path,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "script"))),
    }
    load = [sys.executable, "-c", "import start; start.load_samples()"]
    subprocess.run(load, env=variables, check=True, stdout=subprocess.DEVNULL)
    with served.server(settings) as landing_page:
        yield variables, urllib.parse.urlsplit(landing_page).netloc


@pytest.fixture
def home() -> Iterator[Path]:
    """A data folder for an embedded cluster."""
    # not tmp_path: `postgres` could not traverse it where root runs the tests
    folder = Path(tempfile.mkdtemp(prefix="landdata-docs-"))
    folder.chmod(0o755)
    yield folder
    Cluster(folder).down()
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_succeed(
    page: Path, service: tuple[dict[str, str], str], home: Path, tmp_path: Path
) -> None:
    """Each fence of commands is a shell session in a folder with the repository's files."""
    variables, address = service
    own = {k: v for k, v in variables.items() if k != "LANDDATA_DATABASE_URL"}
    own["LANDDATA_HOME"] = str(home)
    for entry in ROOT.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    for text in fences(page, "sh"):
        session = ["set -o pipefail"]
        for command in text.replace("\\\n", " ").splitlines():
            if command.strip() and not command.startswith(tuple(NOT_RUN)):
                limit = 1 if FINDINGS.search(command) else 0
                session += [command, f"code=$?; [ $code -le {limit} ] || exit $((100 + code))"]
        run = subprocess.run(
            ["bash", "-c", "\n".join(session).replace(SERVICE, address)],
            env=own if "landdata up" in text else variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{text}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_filters_are_answered(page: Path, service: tuple[dict[str, str], str]) -> None:
    for text in fences(page, "cql2"):
        for line in text.splitlines():
            query = urllib.parse.urlencode({"filter": line})
            url = f"http://{service[1]}/ogc/collections/parcels/items?{query}"
            with urllib.request.urlopen(url, timeout=30) as response:
                assert response.status == 200
