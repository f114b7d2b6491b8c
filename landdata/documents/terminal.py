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
from landdata.translations import Translator, translator

_FIRST = 5  # findings of a rule, unless all are to be shown
_UNLIMITED = 100_000  # columns
_COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}


class _Console(Console):
    """A console as wide as the terminal; for a file or pipe, as wide as COLUMNS says or all takes.

    Its texts are a file's, so that none is read as markup.
    """

    def __init__(self, language: str = "en") -> None:
        width = shutil.get_terminal_size((_UNLIMITED, 1)).columns
        super().__init__(width=width, highlight=False, markup=False, emoji=False)
        self._translate = translator(language)

    def say(self, template: str, **values: Any) -> None:
        """Print a sentence in the console's language."""
        self.print(self._translate(template, **values))

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


def _table(*names: str) -> Table:
    """Return an empty table of columns that never cut a text."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def print_proposals(proposed: dict[str, Any]) -> None:
    """Print what `Proposals.as_dict` gives: each parcel, and what all of them would mend."""
    proposed = characters.escape_all(proposed)
    console = _Console()
    table = _table("proposal for row", "parcel", "area change, m²", "largest shift, m", "limit, m")
    for each in proposed["proposals"]:
        table.add_row(
            str(each["row"]),
            each["parcel"] or "",
            f"{each['area_change']:+.4f}",
            f"{each['shift']:.4f}",
            f"{each['limit']:g}",
        )
    console.print(table)
    for word in ("mended", "left"):
        counts = ", ".join(f"{n} {rule}" for rule, n in proposed[word].items())
        console.print(f"{word}: {counts or 'nothing'}")
    console.print("Nothing was changed: who accepts a proposal sends a corrected file.")


def print_report(result: dict[str, Any], language: str, *, show_all: bool = False) -> None:
    """Print what `Report.as_dict` or `batches.show` gives: the summary, then the findings by rule.

    Of each rule the first `_FIRST` are printed, or all.
    """
    result = characters.escape_all(result)
    console = _Console(language)
    if "batch" in result:
        batch = result["batch"]
        console.say("Batch {id}: {state} ({source})", **{k: batch[k] for k in _BATCH})
        if batch["refusal"]:
            refusal = batch["refusal"] | batch["refusal"].get(language, {})
            console.say(
                "Refused: {message} {hint}", message=refusal["message"], hint=refusal["hint"] or ""
            )
            return
    if result["summary"] is None:
        console.say("Not checked yet.")
        if now := result.get("progress"):
            left = now["seconds_left"]
            console.print(
                f"In the queue: {now['stage']}, {now['share']:.0%}"
                + ("" if now["rows"] is None else f" of {now['rows']} rows")
                + ("" if left is None else f", {left:.0f} s left")
            )
        return
    _print_summary(console, result["summary"])
    _print_findings(console, result["findings"], language, show_all=show_all)
    if "proposals" in result:
        console.print()
        print_proposals(result["proposals"])


_BATCH = ("id", "state", "source")  # of a batch, that its heading names


def _print_summary(console: _Console, summary: dict[str, Any]) -> None:
    """Print how many rows were read and accepted, and by which decisions."""
    counts = {name: summary[name] for name in ("read", "rejected", "duplicate")}
    if "accepted" in summary:
        console.say(
            "{read} read = {accepted} accepted + {rejected} rejected + {duplicate} duplicate",
            accepted=summary["accepted"],
            **counts,
        )
    else:
        console.say(
            "{read} read = {acceptable} acceptable + {rejected} rejected + {duplicate} duplicate",
            acceptable=summary["acceptable"],
            **counts,
        )
    if summary.get("points"):
        console.say("of {count} survey points, which are kept as measured", count=summary["points"])
    if compared := summary.get("compared"):
        console.say(
            "against batch {batch}: {added} added, {changed} changed, {gone} gone, {same} the same",
            **compared,
        )
    official = summary.get("official")
    if official and sum(official.values()) > official["new"]:
        console.say(
            "against what is official: {new} new, {reshaped} reshaped, {moved_within_accuracy}"
            " moved within the accuracy, {attributes_only} with other attributes only, {same} the"
            " same",
            **official,
        )
    for earlier in summary.get("may_correct") or []:
        console.say(
            "Batch {batch} is undecided and holds the same sheets. If this file corrects it, send"
            " it again with --corrects {batch}.",
            batch=earlier,
        )
    severities = {name: sum(rules.values()) for name, rules in summary["findings"].items()}
    console.say("findings: {error} error, {warning} warning, {info} info", **severities)
    profile = f", {summary['profile']}" if summary.get("profile") else ""
    console.say(
        "CRS EPSG:{epsg}, encoding {encoding}{profile}, {seconds} s",
        epsg=summary["crs"]["epsg"],
        encoding=summary["encoding"]["name"],
        profile=profile,
        seconds=round(sum(summary["seconds"].values()), 1),
    )


def _print_findings(
    console: _Console, findings: list[dict[str, Any]], language: str, *, show_all: bool
) -> None:
    """Print the findings by rule: its title and count, and the sentence of each with its place."""
    _ = translator(language)
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for severity in _COLOURS:
        for finding in findings:
            if finding["severity"] == severity:
                by_rule.setdefault(finding["rule"], []).append(finding)
    for rule, group in by_rule.items():
        severity, title = group[0]["severity"], RULES[rule].title(language)
        console.print()
        console.print(
            Text.assemble((severity, _COLOURS[severity]), f"  {rule}  {title}: {len(group)}")
        )
        shown = group if show_all else group[:_FIRST]
        for finding in shown:
            console.print_indented(finding["message"][language], 2)
            if place := _place(finding, _):
                console.print_indented(place, 4, "dim")
        if len(shown) < len(group):
            more = _("… and {count} more; --all shows them.", count=len(group) - len(shown))
            console.print_indented(more, 2)


def _place(finding: dict[str, Any], _: Translator) -> str:
    """Return the row and the point of a finding, as a person looks for them."""
    words = [] if finding["row"] is None else [_("row {row}", row=finding["row"])]
    if finding["point"]:
        east, north = finding["point"]
        words.append(f"X = N {north:.2f}, Y = E {east:.2f}")
    return ", ".join(words)


def print_inspection(found: dict[str, Any]) -> None:
    """Print what `Inspection.as_dict` gives."""
    found = characters.escape_all(found)
    console = _Console()
    console.print(
        f"{found['source']}: layer {found['layer']} of {len(found['layers'])},"
        f" {found['rows']} rows, {found['geometry_type']}"
    )
    if found["profile"]:
        console.print(f"by profile {found['profile']}")
    fields = _table("field", "attribute", "by", "filled")
    for match in found["fields"]:
        fields.add_row(
            match["source"], match["attribute"] or "-", match["how"] or "", str(match["filled"])
        )
    console.print(fields)
    encoding = found["encoding"]
    console.print(
        f"\nencoding {encoding['name']}, confidence {encoding['confidence']:.0%}"
        f" (by {encoding['by']})"
    )
    if encoding["unfinished"]:
        done = "finished" if encoding["mended"] else "left as they are; --mend-text finishes them"
        console.print(f"  {encoding['unfinished']} values half converted from TCVN3, {done}")
    for candidate in encoding["candidates"]:
        console.print(f"  {candidate['name']:<6} {candidate['score']:.0%}")
    for row in encoding["rows"]:
        console.print(Text("  " + " | ".join(str(value) for value in row.values())))
    crs = found["crs"]
    console.print(f"\nCRS EPSG:{crs['epsg']}: {crs['reason']}")
    for candidate in crs["candidates"]:
        console.print(f"  EPSG:{candidate['epsg']}  {candidate['reason']}")
    if crs["refusal"]:
        console.print(Text(f"\nIt would be refused: {crs['refusal']}", "bold red"))


def print_batches(found: list[dict[str, Any]]) -> None:
    """Print the batches as a table."""
    found = characters.escape_all(found)
    table = _table("batch", "state", "commune", "file", "received", "by")
    for batch in found:
        table.add_row(
            str(batch["id"]),
            batch["state"],
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


def print_parcel(found: dict[str, Any]) -> None:
    """Print the public properties of a parcel."""
    found = characters.escape_all(found)
    for key, value in found.items():
        if value is not None:
            shown = _land_use(value) if key == "land_use" else value
            _Console().print(Text(f"{key:>12}  {shown}"))


def print_history(found: list[dict[str, Any]]) -> None:
    """Print the states of a parcel as a table."""
    found = characters.escape_all(found)
    table = _table("version", "from", "to", "number", "area")
    for state in found:
        table.add_row(
            str(state["version"]),
            state["valid_from"],
            state["valid_to"] or "now",
            f"{state['commune']}/{state['sheet']}/{state['number']}",
            str(state["area"]),
        )
    _Console().print(table)


def _land_use(uses: list[dict[str, Any]]) -> str:
    return " + ".join(
        use["code"] if use["area"] is None else f"{use['code']} {use['area']} m²" for use in uses
    )
