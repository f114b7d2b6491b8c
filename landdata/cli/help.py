"""`--help` in the language of the reader."""

from __future__ import annotations

import copy
import inspect
from typing import TypeVar

import click

from landdata.documents.echo import echo
from landdata.translations import Translator, translator

CommandT = TypeVar("CommandT", bound=click.Command)


def localize(command: CommandT, language: str) -> CommandT:
    """Return a copy of a command, and of those below it, whose help is in `language`."""
    _ = translator(language)
    localized = copy.copy(command)
    localized.context_class = _context_class(_)
    localized.help = command.help and _(inspect.cleandoc(command.help))
    localized.params = [_localize_option(parameter, _) for parameter in command.params]
    localized.params.append(
        click.Option(
            ["-h", "--help"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_help,
            help=_("Show this message and exit."),
        )
    )
    localized.add_help_option = False
    if isinstance(localized, click.Group):
        localized.commands = {
            name: localize(part, language) for name, part in localized.commands.items()
        }
    return localized


def _localize_option(parameter: click.Parameter, _: Translator) -> click.Parameter:
    localized = copy.copy(parameter)
    if isinstance(localized, click.Option) and localized.help:
        localized.help = _(localized.help)
    return localized


def _show_help(context: click.Context, _: click.Parameter, is_given: bool) -> None:
    if is_given and not context.resilient_parsing:
        echo(context.get_help())
        context.exit()


def _context_class(_: Translator) -> type[click.Context]:
    headings: dict[str, str] = {"Options": _("Options"), "Commands": _("Commands")}
    usage = _("Usage: ")

    class Formatter(click.HelpFormatter):
        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            super().write_usage(prog, args, prefix or usage)

        def write_heading(self, heading: str) -> None:
            super().write_heading(headings.get(heading, heading))

    class Context(click.Context):
        formatter_class = Formatter

    return Context
