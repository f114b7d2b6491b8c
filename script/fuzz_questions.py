"""What `script/fuzz-http` asks: requests made from an API definition, good and bad.

Values as the definition allows them, CQL2 of a small grammar, values that are spoilt, injections
in every parameter, unknown parameters, reference systems, collections and forms, odd headers and
methods. The same seed makes the same requests of the same definition and features.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import jsonschema_rs

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"

INJECTIONS = (
    "' OR '1'='1",
    "'; DROP TABLE parcel_versions; --",
    "1; SELECT pg_sleep(20)",
    "' || pg_sleep(20) || '",
    "') OR 1=1 --",
    '" OR ""="',
    "%' OR '%'='",
    "1 UNION SELECT name FROM holders",
    "(SELECT version())",
    "$$; SELECT 1; $$",
    "%(key)s",
    "%s%s%s%d",
    "{0.__class__.__mro__}",
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1/a}",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "file:///etc/passwd",
    "|cat /etc/passwd",
    "$(id)",
    "`id`",
    "a\r\nSet-Cookie: x=1",
    "\x00",
    "abc\x00def",
    "\ud800",
    "\ufeff\u202e\u2028",
    "Ở Đắk Lắk ấp 𝟙",
    "NaN",
    "Infinity",
    "-1e309",
    "1e9999",
    "9" * 40,
    "-0",
    "0x10",
    "1_000",
    "١٢٣",
    "null",
    "true",
    "[]",
    "{}",
    "[" * 200,
    "(" * 500,
    "A" * 3000,
    "%",
    "\\",
    "'",
    "''",
    ",",
    ",,,,",
    " ",
    "",
)
ACCEPTS = (
    None,
    None,
    "*/*",
    "application/json",
    "application/geo+json",
    "text/html",
    "text/html;q=0.2, application/json;q=0.9",
    "application/geo+json;q=nan, */*;q=0.1",
    "application/schema+json, application/json",
    "application/*",
)
ODD_ACCEPTS = ("text/csv", "image/png", "application/xml;q=0.5", "x", ";;;", "text/html;level")
METHODS = ("HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")


@dataclass(slots=True)
class Request:
    """A request; `good` and `bad` say what must come of it, neither where anything may."""

    operation: str
    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    good: bool = True
    bad: str | None = None
    nothing: bool = False  # what matches is empty, whatever else

    def spoilt(self, why: str) -> None:
        self.good, self.bad = False, self.bad or why

    def odd(self) -> None:
        self.good = False


class Definition:
    """The API definition: its operations, and a validator for each body that it tells of."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.prefix = urlsplit(document["servers"][0]["url"]).path
        self.paths = list(document["paths"])
        self._plain = plain(copy.deepcopy(document))
        self._validators: dict[str, Any] = {}

    def operation(self, path: str) -> dict[str, Any]:
        made: dict[str, Any] = self.document["paths"][path]["get"]
        return made

    def parameters(self, path: str) -> list[dict[str, Any]]:
        made = []
        for each in self.operation(path)["parameters"]:
            name = each.get("$ref", "").rpartition("/")[2]
            made.append(self.document["components"]["parameters"][name] if name else each)
        return made

    def content(self, path: str, status: int) -> dict[str, Any] | None:
        """The media types of a status, null where the operation does not know that status."""
        told = self.operation(path)["responses"].get(str(status))
        if told is None:
            return None
        name = told.get("$ref", "").rpartition("/")[2]
        told = self.document["components"]["responses"][name] if name else told
        content: dict[str, Any] = told.get("content", {})
        return content

    def wrong(self, schema: dict[str, Any], value: Any) -> str | None:
        """Say what of a value does not fit a schema."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {**plain(schema), "components": self._plain["components"]}
            self._validators[key] = jsonschema_rs.Draft7Validator(whole, validate_formats=True)
        for error in self._validators[key].iter_errors(value):
            return f"{'/'.join(map(str, error.instance_path))}: {error.message}"[:300]
        return None


def plain(node: Any) -> Any:
    """Write OpenAPI 3.0's `nullable` as JSON Schema does."""
    if isinstance(node, list):
        return [plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: plain(each) for key, each in node.items() if key != "nullable"}
    return {"anyOf": [made, {"type": "null"}]} if node.get("nullable") else made


class Maker:
    """Makes request number i of a seed; `read` gives what stands at a path, as JSON."""

    def __init__(self, definition: Definition, read: Callable[[str], Any]) -> None:
        self.definition = definition
        self.features: dict[str, list[dict[str, Any]]] = {}
        self.cursors: dict[str, str] = {}
        base = definition.prefix
        for each in read(f"{base}/collections")["collections"]:
            here = f"{base}/collections/{each['id']}/items"
            told = read(f"{here}?limit=40")
            self.features[each["id"]] = told["features"]
            links = [link["href"] for link in told["links"] if link["rel"] == "next"]
            if links:
                self.cursors[each["id"]] = links[0].rpartition("cursor=")[2]
        self.queryables = {
            name: read(f"{base}/collections/{name}/queryables")["properties"]
            for name in self.features
        }
        self.uris = read(f"{base}/collections/parcels")["crs"]
        paths = definition.paths
        self.weights = [
            60 if path.endswith("/items") else 20 if "{" in path else
            0.3 if path.endswith("/export") else 3
            for path in paths
        ]  # fmt: skip

    def make(self, seed: int, number: int) -> Request:
        at = random.Random(f"{seed}:{number}")
        path = at.choices(self.definition.paths, self.weights)[0]
        request = Request(path, "")
        spoil = at.random()
        parts = {}
        for known in self.definition.parameters(path):
            if known["in"] == "path":
                parts[known["name"]] = self._part(at, request, path, known, spoil)
        filled = re.sub(r"\{(\w+)\}", lambda m: parts[m[1]], path)
        if spoil > 0.97:
            request.spoilt("an unknown path")
            filled = self._elsewhere(at, filled)
        pairs = self._query(at, request, path, spoil)
        query = urlencode(pairs, errors="surrogatepass")
        if spoil < 0.02:
            request.odd()
            query += at.choice(
                ("&", "&&=", "&%", "&%zz=%f", "&a", "&=1", "%00", "&limit[]=1", "?f=1")
            )
        request.path = f"{self.definition.prefix}{filled}" + (f"?{query}" if query else "")
        self._headers(at, request, pairs)
        if at.random() < 0.04 and not request.bad and "/export" not in path:
            request.method = at.choice(METHODS)
            if request.method not in ("HEAD", "OPTIONS"):
                request.spoilt("a method that changes")
            elif request.method == "OPTIONS":
                request.odd()
        return request

    # -- the address --

    def _part(
        self, at: random.Random, request: Request, path: str, known: dict[str, Any], spoil: float
    ) -> str:
        name = known["name"]
        if 0.9 < spoil < 0.94:
            text = at.choice(INJECTIONS).replace("\0", "\\0")
            if text.strip(".") and "/" not in text:
                request.spoilt(f"{name} that is not there")
                if name.startswith("tile") and text.strip() in ("-0",):
                    request.bad = None
                return quote(text, safe="", errors="surrogatepass")
        if name == "featureId":
            of = path.split("/")[2]
            if not self.features[of]:
                request.odd()
                return "x"
            return quote(str(at.choice(self.features[of])["id"]), safe="")
        if name == "tileMatrixSetId":
            return str(at.choice(known["schema"]["enum"]))
        if name == "tileMatrix":
            request.odd()  # rows and columns may be beyond it
            return str(at.choice((0, 1, 5, 9, 14, 16, 18, 22, 25, 99, "07", -1)))
        request.odd()
        return str(at.choice((0, 1, 7661, 13047, 2**20, 2**40, -1, "00", "1.0")))

    def _elsewhere(self, at: random.Random, path: str) -> str:
        parts = path.split("/")
        place = at.randrange(1, len(parts) + 1)
        word = quote(
            at.choice(("x", "parcel_versions", "holders", "..", "%00", "PARCELS", "a'b", "ế"))
        )
        parts[place:place] = [word]
        if word == "..":
            parts[place] = "%2e%2e"
        return "/".join(parts)

    # -- the query --

    def _query(
        self, at: random.Random, request: Request, path: str, spoil: float
    ) -> list[tuple[str, str]]:
        known = [each for each in self.definition.parameters(path) if each["in"] == "query"]
        many = at.choice((0, 1, 1, 2, 2, 3, 4, 6))
        chosen = at.sample(known, min(many, len(known)))
        chosen += [each for each in known if each.get("required") and each not in chosen]
        pairs = {}
        for each in chosen:
            text = self._value(at, request, path, each)
            if text is not None:
                pairs[each["name"]] = text
        for name, other in (
            ("bbox-crs", "bbox"),
            ("filter-crs", "filter"),
            ("filter-lang", "filter"),
        ):
            if name in pairs and other not in pairs:
                del pairs[name]
        if "cursor" in pairs:
            many = "/" in pairs.get("datetime", "")  # states; the cursor is of the one of now
            for name in ("offset", "sortby", *["datetime"] * many):
                pairs.pop(name, None)
        if "bbox" in pairs:
            pairs |= self._box(at, pairs)
        if "filter" in pairs:
            pairs |= self._filter(at, path)
        if 0.5 < spoil < 0.75 and known:
            target = at.choice(known)
            pairs[target["name"]] = self._bad(at, request, target)
            needs = {"bbox-crs": "bbox", "filter-crs": "filter", "filter-lang": "filter"}
            if needed := needs.get(target["name"]):
                pairs.setdefault(needed, {"bbox": "1,1,2,2"}.get(needed, "1=1"))
        made = list(pairs.items())
        at.shuffle(made)
        if 0.75 < spoil < 0.8:
            request.spoilt("an unknown parameter")
            name = at.choice(
                ("x", "Limit", "filter_lang", "q", "token", "limit ", "ế", "__proto__")
            )
            made.append((name, at.choice(("1", *INJECTIONS))))
        elif 0.8 < spoil < 0.83 and made:
            request.spoilt("a parameter twice")
            made.append(made[0])
        return made

    def _value(  # noqa: PLR0912  # one kind of parameter after the other
        self, at: random.Random, request: Request, path: str, known: dict[str, Any]
    ) -> str | None:
        name, schema = known["name"], known["schema"]
        of = path.split("/")[2] if path.startswith("/collections/") else ""
        if name == "wait":
            return "0"
        if name == "limit":
            return str(at.choice((1, 2, 7, 20, 50)))
        if name == "offset":
            return str(at.choice((0, 1, 3, 100, 2_000_000)))
        if name == "cursor":
            return self.cursors.get(of)
        if name == "since":
            return "now" if at.random() < 0.5 else None
        if name in ("bbox", "filter"):
            return "…"  # made when it is known what else is asked
        if name == "datetime":
            begin, end = sorted(self._time(at) for _ in range(2))
            if path.endswith(("/items", "/export")):
                far = begin.replace("Z", "-16:50")
                ends = f"{begin}/{end}", f"../{end}", f"{begin}/..", "../.."
                return at.choice((begin, far, *ends))
            request.odd()  # it may not have been there yet
            return begin
        if "enum" in schema:
            return str(at.choice(schema["enum"]))
        if schema.get("type") == "array":
            names = schema["items"]["enum"]
            picked = at.sample(names, min(len(names), at.randint(1, 4)))
            if name == "sortby":
                picked = list({each.lstrip("-"): each for each in picked}.values())
            return ",".join(picked)
        if schema.get("type") == "boolean":
            return at.choice(("true", "false"))
        values = [each["properties"].get(name) for each in self.features.get(of, [])]
        values = [each for each in values if each not in (None, [], "")]
        if values:
            value = at.choice(values)
            return str(value[0]["code"] if isinstance(value, list) else value)
        return {"integer": "5", "number": "1.5"}.get(
            schema.get("type", ""),
            {"date": "2025-01-01", "date-time": "2025-01-01T00:00:00Z"}.get(
                schema.get("format", ""), "x"
            ),
        )

    def _time(self, at: random.Random) -> str:
        day = f"{at.randint(1990, 2030)}-{at.randint(1, 12):02d}-{at.randint(1, 28):02d}"
        if at.random() < 0.5:
            return day
        return f"{day}T{at.randint(0, 23):02d}:{at.randint(0, 59):02d}:00Z"

    def _box(self, at: random.Random, pairs: dict[str, str]) -> dict[str, str]:
        west, south = at.uniform(102, 108), at.uniform(8, 22)
        width = 10 ** at.uniform(-5, 1)
        numbers = [west, south, west + width, south + width]
        uri = pairs.get("bbox-crs", CRS84)
        if uri.endswith(("/4326", "/4756")):
            numbers = [south, west, south + width, west + width]
        elif not uri.endswith("CRS84"):
            west, south = at.uniform(0, 1e6), at.uniform(8e5, 2.6e6)
            width = 10 ** at.uniform(-1, 5)
            numbers = [west, south, west + width, south + width]
        return {"bbox": ",".join(map(repr, numbers))}

    def _filter(self, at: random.Random, path: str) -> dict[str, str]:
        grammar = Grammar(at, self.queryables[path.split("/")[2]])
        tree = grammar.condition(at.randint(0, 3))
        if at.random() < 0.5:
            return {"filter": json.dumps(tree), "filter-lang": "cql2-json", "filter-crs": CRS84}
        return {"filter": text_of(tree), "filter-lang": "cql2-text", "filter-crs": CRS84}

    def _bad(self, at: random.Random, request: Request, known: dict[str, Any]) -> str:
        """A value that is spoilt; whether it must be refused is told to the request."""
        name, schema = known["name"], known["schema"]
        text = at.choice(INJECTIONS)
        sort = schema.get("type")
        if name == "wait" and re.fullmatch(r"\d+", text.strip()):
            request.spoilt("a time to wait that is below nought")
            return "-1"
        text_property = sort == "string" and "enum" not in schema and "format" not in schema
        strict = ("bbox", "datetime", "limit", "offset", "cursor", "since", "filter", "sortby",
                  "properties", "skipGeometry", "wait", "f", "lang", "crs")  # fmt: skip
        if name in strict or not text_property:
            request.odd()
            certain = re.fullmatch(r"[A-Za-z<'\"$|`{(\\][^0-9]*", text) and text not in (
                "null", "true", "NaN", "Infinity")  # fmt: skip
            if certain and text.strip() != "":
                request.spoilt(f"{name} that makes no sense")
        elif "\0" in text:
            request.spoilt("a null character")
        else:
            request.odd()
            request.nothing = text.strip() not in ("", "-0", "null", "true")
        return text

    # -- headers --

    def _headers(self, at: random.Random, request: Request, pairs: list[tuple[str, str]]) -> None:
        headers = request.headers
        accept = at.choice(ACCEPTS)
        if at.random() < 0.03:
            accept = at.choice(ODD_ACCEPTS)
        if accept:
            headers["Accept"] = accept
            anything = accept in ("*/*", "application/*", "application/json")
            if not anything and not any(name == "f" for name, _ in pairs):
                request.odd()  # the form may not be there
        for name, values in (
            (
                "Accept-Encoding",
                ("gzip", "br", "gzip, br;q=0.5", "identity", "*;q=0", "zstd, x;q=2"),
            ),
            ("Accept-Language", ("vi", "en-GB,en;q=0.8", "de", "*", "x" * 100, ";q=")),
            ("If-None-Match", ("*", 'W/"x"', "abc", '"' * 50, 'W/"0", "1"')),
            ("X-Forwarded-Host", ("evil.example", "a b", "<script>")),
        ):
            if at.random() < 0.15:
                headers[name] = at.choice(values)
        if headers.get("If-None-Match") == "*":
            request.odd()


class Grammar:
    """CQL2 of a collection's queryables, as CQL2-JSON; what it makes is always allowed."""

    def __init__(self, at: random.Random, queryables: dict[str, Any]) -> None:
        self.at = at
        self.sorts: dict[str, list[str]] = {}
        for name, schema in queryables.items():
            if name != "geometry":
                self.sorts.setdefault(self._sort(schema), []).append(name)

    @staticmethod
    def _sort(schema: dict[str, Any]) -> str:
        told = schema.get("type", "string")
        told = told if isinstance(told, str) else told[0]
        known = {"date": "date", "date-time": "time", "uuid": "uuid"}
        return known.get(schema.get("format", ""), told)

    def condition(self, depth: int) -> dict[str, Any]:
        at = self.at
        if depth:
            op = at.choice(("and", "or", "not"))
            many = 1 if op == "not" else at.randint(2, 3)
            return {"op": op, "args": [self.condition(depth - 1) for _ in range(many)]}
        kinds: list[Callable[[], dict[str, Any]]] = [
            self.compare,
            self.compare,
            self.null,
            self.spatial,
        ]
        if "string" in self.sorts:
            kinds += [self.like, self.among, self.same]
        if "number" in self.sorts or "integer" in self.sorts:
            kinds.append(self.between)
        if "time" in self.sorts or "date" in self.sorts:
            kinds.append(self.temporal)
        if "array" in self.sorts:
            kinds.append(self.array)
        return at.choice(kinds)()

    def named(self, *sorts: str) -> tuple[dict[str, str], str]:
        found = [(name, sort) for sort in sorts for name in self.sorts.get(sort, ())]
        name, sort = self.at.choice(found)
        return {"property": name}, sort

    def value(self, sort: str) -> Any:
        at = self.at
        day = f"{at.randint(1990, 2030)}-{at.randint(1, 12):02d}-{at.randint(1, 28):02d}"
        match sort:
            case "integer":
                return at.choice((0, 1, 500, 1000, -5, 2**31 - 1))
            case "number":
                return at.choice((0, 1.5, -2.25, 1e6, 400))
            case "date":
                return {"date": day}
            case "time":
                return {"timestamp": f"{day}T{at.randint(0, 23):02d}:00:00Z"}
            case "uuid":
                return "019f0000-0000-7000-8000-000000000000"
        return at.choice(("1", "99901", "ONT", "O'Neill", "ế", "", "100%", "a_b", "<b>", "--"))

    def compare(self) -> dict[str, Any]:
        left, sort = self.named("string", "integer", "number", "date", "time")
        op = self.at.choice(("=", "<>", "<", "<=", ">", ">="))
        return {"op": op, "args": [left, self.value(sort)]}

    def same(self) -> dict[str, Any]:
        left, _ = self.named("string")
        right, _ = self.named("string")
        op = self.at.choice(("casei", "accenti"))
        return {"op": "=", "args": [{"op": op, "args": [left]}, {"op": op, "args": [right]}]}

    def null(self) -> dict[str, Any]:
        return {
            "op": "isNull",
            "args": [self.named("string", "integer", "number", "date", "time")[0]],
        }

    def like(self) -> dict[str, Any]:
        pattern = self.at.choice(("%", "ont%", "_", "a\\%b", "%ế%", "%'%"))
        return {"op": "like", "args": [self.named("string")[0], pattern]}

    def among(self) -> dict[str, Any]:
        values = [self.value("string") for _ in range(self.at.randint(1, 4))]
        return {"op": "in", "args": [self.named("string")[0], values]}

    def between(self) -> dict[str, Any]:
        left, sort = self.named("integer", "number")
        return {"op": "between", "args": [left, *sorted(self.value(sort) for _ in range(2))]}

    def temporal(self) -> dict[str, Any]:
        left, sort = self.named("time", "date")
        op = self.at.choice(("t_after", "t_before", "t_equals", "t_intersects", "t_disjoint"))
        return {"op": op, "args": [left, self.value(sort)]}

    def array(self) -> dict[str, Any]:
        op = self.at.choice(("a_contains", "a_containedBy", "a_equals", "a_overlaps"))
        values = self.at.sample(("ONT", "LUC", "CLN", "NTS"), self.at.randint(1, 3))
        return {"op": op, "args": [self.named("array")[0], values]}

    def spatial(self) -> dict[str, Any]:
        at = self.at
        x, y, w = at.uniform(105, 108), at.uniform(10, 13), 10 ** at.uniform(-4, 0.5)
        shape: dict[str, Any] = at.choice((
            {"type": "Point", "coordinates": [x, y]},
            {"type": "LineString", "coordinates": [[x, y], [x + w, y + w]]},
            {"type": "Polygon",
             "coordinates": [[[x, y], [x + w, y], [x + w, y + w], [x, y + w], [x, y]]]},
            {"bbox": [x, y, x + w, y + w]},
        ))  # fmt: skip
        op = at.choice(("s_intersects", "s_disjoint", "s_within", "s_contains", "s_touches",
                        "s_equals", "s_crosses", "s_overlaps"))  # fmt: skip
        return {"op": op, "args": [{"property": "geometry"}, shape]}


def text_of(node: Any) -> str:  # noqa: PLR0912  # one a form
    """Write CQL2-JSON as CQL2 text."""
    if isinstance(node, str):
        return "'" + node.replace("'", "''") + "'"
    if isinstance(node, list):
        return "(" + ", ".join(map(text_of, node)) + ")"
    if not isinstance(node, dict):
        return str(node)
    if "property" in node:
        return str(node["property"])
    if "date" in node or "timestamp" in node:
        name, value = next(iter(node.items()))
        return f"{name.upper()}('{value}')"
    if "bbox" in node:
        return f"BBOX({', '.join(map(str, node['bbox']))})"
    if "coordinates" in node:
        return node["type"].upper() + wkt(node["coordinates"], outer=node["type"] == "Point")
    op, given = node["op"], [text_of(each) for each in node["args"]]
    match op:
        case "and" | "or":
            return "(" + f" {op.upper()} ".join(given) + ")"
        case "not":
            return f"NOT ({given[0]})"
        case "isNull":
            return f"{given[0]} IS NULL"
        case "between":
            return f"{given[0]} BETWEEN {given[1]} AND {given[2]}"
        case "like" | "in":
            return f"{given[0]} {op.upper()} {given[1]}"
        case "=" | "<>" | "<" | "<=" | ">" | ">=":
            return f"{given[0]} {op} {given[1]}"
    return f"{op.upper()}({', '.join(given)})"


def wkt(node: Any, *, outer: bool) -> str:
    if not isinstance(node[0], list):
        text = " ".join(map(str, node))
        return f"({text})" if outer else text
    return "(" + ", ".join(wkt(each, outer=False) for each in node) + ")"
