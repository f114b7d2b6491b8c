"""What the terminal shows: reports, with findings grouped by rule, and tables.

All that a file or a person has named is written here, with control characters escaped.
"""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from landdata import characters
from landdata.findings import RULES
from landdata.translations import Translator, decimal, localize, sentence, translate, translator

_FIRST = 5  # findings of a rule, unless all are to be shown
_UNLIMITED = 100_000  # columns
_COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_SEVERITIES = {
    "error": sentence("error"), "warning": sentence("warning"), "info": sentence("info")
}  # fmt: skip
#: States of a batch.
_STATES = {
    "received": sentence("received"),
    "checking": sentence("checking"),
    "checked": sentence("checked"),
    "refused": sentence("refused"),
    "accepted": sentence("accepted"),
    "rejected": sentence("rejected"),
    "withdrawn": sentence("withdrawn"),
    "superseded": sentence("superseded"),
}
_PROPERTIES = {
    "commune": sentence("commune"),
    "sheet": sentence("sheet"),
    "number": sentence("number"),
    "scale": sentence("scale"),
    "area": sentence("area"),
    "legal_area": sentence("legal_area"),
    "land_use": sentence("land_use"),
    "address": sentence("address"),
    "label": sentence("label"),
    "national_id": sentence("national_id"),
    "surveyed_on": sentence("surveyed_on"),
    "version": sentence("version"),
    "valid_from": sentence("valid_from"),
    "valid_to": sentence("valid_to"),
}


class _Console(Console):
    """A console as wide as the terminal; for a file or pipe, as wide as COLUMNS says or all takes.

    Its texts are a file's, so that none is read as markup.
    """

    def __init__(self) -> None:
        width = shutil.get_terminal_size((_UNLIMITED, 1)).columns
        super().__init__(width=width, highlight=False, markup=False, emoji=False)

    def print_indented(self, text: str, indent: int, style: str = "") -> None:
        """Print a text in full, its lines indented by some columns."""
        margin = " " * indent
        lines = textwrap.wrap(
            text,
            max(self.width, 2 * indent + 20),
            initial_indent=margin,
            subsequent_indent=margin,
            break_on_hyphens=False,  # 12-1 is a number
        )
        self.print(Text("\n".join(lines), style), soft_wrap=True)


def _shown(value: Any, language: str) -> Any:
    """Return a value of JSON with its sentences translated and every text escaped."""
    if isinstance(value, dict):
        return {key: _shown(part, language) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(part, language) for part in value]
    return characters.escape_all(translate(value, language) if isinstance(value, str) else value)


def _table(*names: str) -> Table:
    """Return an empty table of columns that never cut a text."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def print_proposals(proposed: dict[str, Any], language: str) -> None:
    """Print what `Proposals.as_dict` gives: each parcel, and what all of them would mend."""
    proposed, _ = _shown(proposed, language), translator(language)
    console = _Console()
    table = _table(
        _("proposal for row"), _("parcel"), _("area change, m²"), _("largest shift, m"),
        _("limit, m"),
    )  # fmt: skip
    for each in proposed["proposals"]:
        table.add_row(
            str(each["row"]),
            each["parcel"] or "",
            ("+" if each["area_change"] >= 0 else "") + decimal(each["area_change"], 4, language),
            decimal(each["shift"], 4, language),
            localize(float(each["limit"]), language),
        )
    console.print(table)
    mended, left = (
        ", ".join(f"{n} {rule}" for rule, n in proposed[key].items()) or _("nothing")
        for key in ("mended", "left")
    )
    console.print(_("mended: {rules}", rules=mended))
    console.print(_("left: {rules}", rules=left))
    console.print(_("Nothing was changed: who accepts a proposal sends a corrected file."))


def print_report(result: dict[str, Any], language: str, *, show_all: bool = False) -> None:
    """Print what `Report.as_dict` or `batches.show` gives: the summary, then the findings by rule.

    Of each rule the first `_FIRST` are printed, or all.
    """
    result, _ = _shown(result, language), translator(language)
    console = _Console()
    if "batch" in result:
        batch = result["batch"]
        state = _STATES[batch["state"]]
        line = _("Batch {id}: {state} ({source})", id=batch["id"], state=state,
                 source=batch["source"])  # fmt: skip
        console.print(line)
        if batch["refusal"]:
            refusal = batch["refusal"]
            refusal |= refusal.get(language, {})
            reason = f"{refusal['message']} {refusal['hint'] or ''}".rstrip()
            console.print(_("Refused: {reason}", reason=reason))
            return
    if result["summary"] is None:
        console.print(_("Not checked yet."))
        if now := result.get("progress"):
            left, share = now["seconds_left"], f"{now['share']:.0%}"
            line = _("In the queue: {stage}, {share}", stage=now["stage"], share=share)
            if now["rows"] is not None:
                line += _(" of {rows} rows", rows=now["rows"])
            if left is not None:
                line += _(", {seconds} s left", seconds=round(left))
            console.print(line)
        return
    _print_summary(console, result["summary"], language)
    _print_findings(console, result["findings"], language, show_all=show_all)
    if "proposals" in result:
        console.print()
        print_proposals(result["proposals"], language)


def _print_summary(console: _Console, summary: dict[str, Any], language: str) -> None:
    """Print how many rows were read and accepted, and by which decisions."""
    _ = translator(language)
    balance = (
        sentence("{read} read = {accepted} accepted + {rejected} rejected + {duplicate} duplicate")
        if "accepted" in summary
        else sentence(
            "{read} read = {acceptable} acceptable + {rejected} rejected + {duplicate} duplicate"
        )
    )
    names = ("read", "accepted", "acceptable", "rejected", "duplicate")
    console.print(_(balance, **{name: summary[name] for name in names if name in summary}))
    if summary.get("points"):
        console.print(
            _("of {points} survey points, which are kept as measured", points=summary["points"])
        )
    compared = summary.get("compared")
    if compared:
        console.print(
            _(
                "against batch {batch}: {added} added, {changed} changed, {gone} gone,"
                " {same} the same",
                **{name: compared[name] for name in ("batch", "added", "changed", "gone", "same")},
            )
        )
    official = summary.get("official")
    if official and sum(official.values()) > official["new"]:
        console.print(
            _(
                "against what is official: {new} new, {reshaped} reshaped, {moved_within_accuracy}"
                " moved within the accuracy, {attributes_only} with other attributes only, {same}"
                " the same",
                **official,
            )
        )
    for earlier in summary.get("may_correct") or []:
        console.print(
            _(
                "Batch {earlier} is undecided and holds the same sheets. If this file corrects it,"
                " send it again with --corrects {earlier}.",
                earlier=earlier,
            )
        )
    counts = {severity: sum(summary["findings"][severity].values()) for severity in _COLOURS}
    console.print(_("findings: {error} error, {warning} warning, {info} info", **counts))
    profile = summary.get("profile")
    by = sentence(", profile {profile}", profile=profile) if profile else ""
    console.print(
        _(
            "CRS EPSG:{epsg}, encoding {encoding}{by}, {seconds} s",
            epsg=summary["crs"]["epsg"],
            encoding=summary["encoding"]["name"],
            by=by,
            seconds=decimal(sum(summary["seconds"].values()), 1, language),
        )
    )


def _print_findings(
    console: _Console, findings: list[dict[str, Any]], language: str, *, show_all: bool
) -> None:
    """Print the findings by rule: its title and count, and the sentence of each with its place."""
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for severity in _COLOURS:
        for finding in findings:
            if finding["severity"] == severity:
                by_rule.setdefault(finding["rule"], []).append(finding)
    for rule, group in by_rule.items():
        severity, title = group[0]["severity"], RULES[rule].title(language)
        name = translate(_SEVERITIES[severity], language)
        heading = Text.assemble((name, _COLOURS[severity]), f"  {rule}  {title}: {len(group)}")
        console.print()
        console.print(heading)
        shown = group if show_all else group[:_FIRST]
        for finding in shown:
            console.print_indented(finding["message"][language], 2)
            if place := _place(finding, language):
                console.print_indented(place, 4, "dim")
        if len(shown) < len(group):
            rest = sentence("… and {count} more; --all shows them.", count=len(group) - len(shown))
            console.print_indented(translate(rest, language), 2)


def _place(finding: dict[str, Any], language: str) -> str:
    """Return the row and the point of a finding, as a person looks for them."""
    _ = translator(language)
    words = [] if finding["row"] is None else [_("row {row}", row=finding["row"])]
    if finding["point"]:
        east, north = finding["point"]
        northing, easting = decimal(north, 2, language), decimal(east, 2, language)
        words.append(f"X = N {northing}, Y = E {easting}")
    return ", ".join(words)


def print_inspection(inspection: dict[str, Any], language: str) -> None:
    """Print what `Inspection.as_dict` gives."""
    inspection, _ = _shown(inspection, language), translator(language)
    console = _Console()
    console.print(
        _(
            "{source}: layer {layer} of {count}, {rows} rows, {geometry_type}",
            count=len(inspection["layers"]),
            **{name: inspection[name] for name in ("source", "layer", "rows", "geometry_type")},
        )
    )
    if inspection["profile"]:
        console.print(_("by profile {profile}", profile=inspection["profile"]))
    fields = _table(_("field"), _("attribute"), _("by"), _("filled"))
    for match in inspection["fields"]:
        fields.add_row(
            match["source"], match["attribute"] or "-", match["how"] or "", str(match["filled"])
        )
    console.print(fields)
    _print_encoding(console, inspection["encoding"], _)
    crs = inspection["crs"]
    console.print()
    console.print(_("CRS EPSG:{epsg}: {reason}", epsg=crs["epsg"], reason=crs["reason"]))
    for candidate in crs["candidates"]:
        console.print(f"  EPSG:{candidate['epsg']}  {candidate['reason']}")
    if crs["refusal"]:
        console.print()
        console.print(Text(_("It would be refused: {refusal}", refusal=crs["refusal"]), "bold red"))


def _print_encoding(console: _Console, encoding: dict[str, Any], _: Translator) -> None:
    console.print()
    console.print(
        _(
            "encoding {name}, confidence {confidence} (by {by})",
            name=encoding["name"],
            confidence=f"{encoding['confidence']:.0%}",
            by=encoding["by"],
        )
    )
    if encoding["unfinished"]:
        line = (
            sentence("{count} values half converted from TCVN3, finished")
            if encoding["mended"]
            else sentence(
                "{count} values half converted from TCVN3, left as they are; --mend-text finishes"
                " them"
            )
        )
        console.print("  " + _(line, count=encoding["unfinished"]))
    for candidate in encoding["candidates"]:
        console.print(f"  {candidate['name']:<6} {candidate['score']:.0%}")
    for row in encoding["rows"]:
        console.print(Text("  " + " | ".join(str(value) for value in row.values())))


def print_batches(batches: list[dict[str, Any]], language: str) -> None:
    """Print the batches as a table."""
    _ = translator(language)
    table = _table(_("batch"), _("state"), _("commune"), _("file"), _("received"), _("by"))
    for batch in characters.escape_all(batches):
        table.add_row(
            str(batch["id"]),
            _(_STATES[batch["state"]]),
            batch["commune"],
            batch["source"],
            batch["received_at"][:16],
            batch["received_by"],
        )
    _Console().print(table)


def print_table(found: list[dict[str, Any]]) -> None:
    """Print rows that have the same keys as a table."""
    found = characters.escape_all(found)
    if found:
        table = _table(*found[0])
        for row in found:
            table.add_row(*("" if each is None else str(each) for each in row.values()))
        _Console().print(table)


def print_parcel(parcel: dict[str, Any], language: str) -> None:
    """Print the public properties of a parcel."""
    for key, value in characters.escape_all(parcel).items():
        if value is not None:
            shown = _land_use(value, language) if key == "land_use" else _number(value, language)
            name = translate(_PROPERTIES.get(key, key), language)
            _Console().print(Text(f"{name:>12}  {shown}"))


def print_history(versions: list[dict[str, Any]], language: str) -> None:
    """Print the versions of a parcel as a table."""
    _ = translator(language)
    table = _table(_("version"), _("from"), _("to"), _("number"), _("area"))
    for version in characters.escape_all(versions):
        table.add_row(
            str(version["version"]),
            version["valid_from"],
            version["valid_to"] or _("now"),
            f"{version['commune']}/{version['sheet']}/{version['number']}",
            _number(version["area"], language),
        )
    _Console().print(table)


def _number(value: Any, language: str) -> str:
    """Return a value, if it is a number with the decimal mark of the language."""
    text = str(value)
    return text.replace(".", ",") if isinstance(value, float) and language == "vi" else text


def _land_use(uses: list[dict[str, Any]], language: str) -> str:
    return " + ".join(
        use["code"] if use["area"] is None else f"{use['code']} {_number(use['area'], language)} m²"
        for use in uses
    )
