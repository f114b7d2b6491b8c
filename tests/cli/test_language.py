"""The command line in the reader's language."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from landdata.cli import cli
from landdata.cli.help import localize
from landdata.translations import catalogue

LANDDATA = Path(sys.executable).with_name("landdata")


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    for name, part in getattr(command, "commands", {}).items():
        yield from commands(part, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(commands(localize(cli, "vi"), "landdata")))
def test_help_is_vietnamese(path: str, command: click.Command) -> None:
    with command.context_class(command, info_name=path) as context:
        text = command.get_help(context)
    assert text.startswith("Cách dùng: landdata")
    assert "Hiện trợ giúp này rồi thoát." in text
    helps = {command.help, *(getattr(option, "help", None) for option in command.params)}
    assert helps - {None} <= set(catalogue("vi").values())


@pytest.mark.parametrize(
    ("words", "setting", "expected"),
    [
        ((), "vi", "Không có tệp không-có.zip."),
        ((), "en", "There is no file không-có.zip."),
        (("--language", "en"), "vi", "There is no file không-có.zip."),
        (("--language=vi",), "en", "Không có tệp không-có.zip."),
    ],
)
def test_an_error_is_in_the_language_of_the_command(
    tmp_path: Path, words: tuple[str, ...], setting: str, expected: str
) -> None:
    environment = {**os.environ, "LANDDATA_LANGUAGE": setting, "LANDDATA_HOME": str(tmp_path)}
    process = subprocess.run(
        [LANDDATA, *words, "inspect", "không-có.zip"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 3
    assert expected in process.stderr
