"""The operators and functions of CQL2 as SQL templates."""

from __future__ import annotations

COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
SPATIAL = {
    "s_intersects": "ST_Intersects({0}, {1})",
    "s_disjoint": "NOT ST_Intersects({0}, {1})",
    "s_contains": "ST_Contains({0}, {1})",
    "s_within": "ST_Within({0}, {1})",
    # PostGIS prepares a literal for ST_Intersects, which these imply, but not for them
    "s_touches": "(ST_Intersects({0}, {1}) AND ST_Touches({0}, {1}))",
    "s_crosses": "(ST_Intersects({0}, {1}) AND ST_Crosses({0}, {1}))",
    "s_overlaps": "(ST_Intersects({0}, {1}) AND ST_Overlaps({0}, {1}))",
    "s_equals": "ST_Equals({0}, {1})",
}
#: On two spans of time, [as, ae] and [bs, be]; an instant is a span without length.
TEMPORAL = {
    "t_after": "{as_} > {be}",
    "t_before": "{ae} < {bs}",
    "t_contains": "{as_} < {bs} AND {ae} > {be}",
    "t_disjoint": "{as_} > {be} OR {ae} < {bs}",
    "t_during": "{as_} > {bs} AND {ae} < {be}",
    "t_equals": "{as_} = {bs} AND {ae} = {be}",
    "t_finishedby": "{as_} < {bs} AND {ae} = {be}",
    "t_finishes": "{as_} > {bs} AND {ae} = {be}",
    "t_intersects": "{as_} <= {be} AND {ae} >= {bs}",
    "t_meets": "{ae} = {bs}",
    "t_metby": "{as_} = {be}",
    "t_overlappedby": "{as_} > {bs} AND {as_} < {be} AND {ae} > {be}",
    "t_overlaps": "{as_} < {bs} AND {ae} > {bs} AND {ae} < {be}",
    "t_startedby": "{as_} = {bs} AND {ae} > {be}",
    "t_starts": "{as_} = {bs} AND {ae} < {be}",
}
ARRAY = {
    "a_contains": "{0} @> {1}",
    "a_containedby": "{0} <@ {1}",
    "a_equals": "({0} @> {1} AND {0} <@ {1})",
    "a_overlaps": "EXISTS (SELECT FROM jsonb_array_elements({0}) AS each WHERE {1} @> each)",
}
TEXT = {
    "casei": "lower({0})",
    # NFD writes a letter and its marks apart; đ has no mark of its own
    "accenti": (
        "translate(regexp_replace(normalize({0}, NFD), '[\\u0300-\\u036f]', '', 'g'), 'đĐ', 'dD')"
    ),
}
#: The spelling of all that gives a condition, for error messages.
CONDITIONS = (
    "and, or, not, =, <>, <, <=, >, >=, like, between, in, isNull, casei, accenti,"
    f" {', '.join((*SPATIAL, *TEMPORAL, *ARRAY))}"
)
