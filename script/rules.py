"""Write docs/rules.md, the catalogue of rules, from the rules themselves.

python script/rules.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from landdata.findings import RULES, Rule
from landdata.topology import rules, tolerances
from landdata.topology.tolerances import QUANTITIES, Tolerance

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"

HEAD = """# The rules

Made by `python script/rules.py` from `landdata/findings.py`, `landdata/topology/rules.py` and
`landdata/reference/data/tolerances.json`; a test holds it to them. [topology.md](topology.md)
defines when a rule speaks. `LANDDATA_RULES` names a file in which a deployment sets limits, by map
scale, land use and day where the catalogue says so, and turns rules off; no rule of severity error
can be turned off.

"""

ALLOWED = """## Tolerances

A parcel is held to the table in force on the day of its survey, and where the survey states no
day, to that of the day of the check. A day before the first table is held to the first one.
Scales in between take the table of the smaller scale and a scale that is not told that of
1:{fallback}, which allow more; for `point`, by which mends are held, it is the larger scale and
1:200, which allow less.

"""


def page() -> str:
    """Return the catalogue as Markdown."""
    written = HEAD
    for severity in ("error", "warning", "info"):
        written += f"## {severity.capitalize()}\n\n"
        written += "".join(_rule(rule) for rule in RULES.values() if rule.severity == severity)
    written += ALLOWED.format(fallback=tolerances.FALLBACK_SCALE)
    written += "".join(map(_tolerance, tolerances.shipped()))
    return written.rstrip() + "\n"


def _rule(rule: Rule) -> str:
    written = f"### `{rule.id}`\n{rule.title_en} · *{rule.title_vi}*\n\n"
    written += f"- {rule.en}\n- *{rule.vi}*\n"
    if rule.tolerance:
        written += f"- limit: [tolerance `{rule.tolerance}`](#tolerances), by scale, use and day\n"
    if rule.limit:
        value = getattr(rules.Limits(), rule.limit)
        depends = " (may be set by scale, land use and day)" * (rule.limit in rules.DEPENDENT)
        written += f"- limit: `{rule.limit}` = {value:g}{depends}\n"
    if rule.unit:
        written += f"- measured in {rule.unit}\n"
    if rule.source:
        written += f"- source: {rule.source}\n"
    return written + "\n"


def _tolerance(told: Tolerance) -> str:
    unit = QUANTITIES[told.quantity]
    span = f"in force from {told.valid_from or 'ever'} to {told.valid_to or 'now'}"
    written = f"### `{told.quantity}`: {told.source}\n\n{span.capitalize()}. {told.note or ''}\n\n"
    if told.quantity == "point":
        written += "| scale | may be off, m |\n|---|---|\n"
        for scale, table in sorted(told.scales.items()):
            written += f"| 1:{scale} | {table.base:g} |\n"
    else:
        of = {"area": "m² of area", "edge": "m of length"}[told.quantity]
        any_ = next(iter(told.scales.values()))
        step = any_.step
        each = f"{'whole ' * any_.whole}{step:g} {of[:2].strip()}"
        written += f"| scale | {of} up to: {unit} | then, up to: {unit} for each {each} more |\n"
        written += "|---|---|---|\n"
        for scale, table in sorted(told.scales.items()):
            (first, _), *more = table.bands
            bands = ", ".join(
                f"{'beyond' if up == float('inf') else format(up, 'g')}: {per * step:g}"
                for up, per in more
            )
            written += f"| 1:{scale} | {first:g}: {table.base:g} | {bands} |\n"
    for factor in told.factors:
        scales = ", ".join(f"1:{scale}" for scale in sorted(factor.scales))
        written += (
            f"\nTimes {factor.by:g} at {scales} for a parcel all of whose uses are"
            f" {' or '.join(sorted(factor.land_use))}.\n"
        )
    return written + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(page(), encoding="utf-8")
