"""The one way to a terminal: control and bidirectional characters reach none as they are."""

from __future__ import annotations

import json
from typing import Any

import click

from landdata import characters


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Write a text with such characters escaped, to standard error with `err`."""
    click.echo(characters.escape(text, lines=True), err=err, nl=nl)


def echo_json(value: Any, *, err: bool = False) -> None:
    """Write a value as JSON in one line, with such characters escaped as JSON has them."""
    click.echo(characters.escape_json(json.dumps(value, ensure_ascii=False)), err=err)
