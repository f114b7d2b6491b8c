"""Write docs/rules.md, the catalogue of rules, from the rules themselves.

python script/rules.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from landdata.findings import RULES
from landdata.topology import rules

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"

HEAD = """# The rules

Made by `python script/rules.py` from `landdata/findings.py` and `landdata/topology/rules.py`; a
test holds it to them. [topology.md](topology.md) defines when a rule speaks. Limits can be set
and rules turned off by `LANDDATA_RULES`; no rule of severity error can be turned off.

"""


def page() -> str:
    """Return the catalogue as Markdown."""
    limits = rules.Limits()
    written = HEAD
    for severity in ("error", "warning", "info"):
        written += f"## {severity.capitalize()}\n\n"
        for rule in RULES.values():
            if rule.severity != severity:
                continue
            written += f"### `{rule.id}`\n{rule.title_en} · *{rule.title_vi}*\n\n"
            written += f"- {rule.en}\n- *{rule.vi}*\n"
            field = rule.limit
            if field:
                written += f"- limit: `{field}` = {getattr(limits, field):g}\n"
            if rule.unit:
                written += f"- measured in {rule.unit}\n"
            if rule.source:
                written += f"- source: {rule.source}\n"
            written += "\n"
    return written.rstrip() + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(page(), encoding="utf-8")
