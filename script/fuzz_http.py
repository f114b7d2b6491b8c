"""Ask the OGC API many questions, good and bad, and hold every answer to the API definition.

    script/fuzz-http [--url URL] [--count N] [--start I] [--seed S] [--threads T]
                     [--schemathesis N]

Without URL (a landing page) a service with the samples is started, in a data folder of its own.
Requests I to I + N (2,000) are made from the definition at `/openapi`, by `fuzz_questions.py`;
the same seed makes the same. With `--schemathesis`, Schemathesis makes N of its own for each
operation, good and bad.

A fault is: a status of 500 and above; a good request that is not answered, or a bad one that is
not refused with 400, 404, 405 or 406; an answer whose status, media type or body the definition
does not know; an error without a sentence, or one that tells of SQL, of files or of the program;
an injection that finds features, stands in HTML as it came, or takes over 10 seconds; a body that
is not what its Content-Encoding says. In the end the parcels must be those of the beginning.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import brotli
import hypothesis
from fuzz_questions import INJECTIONS, Definition, Maker, Request

LIMIT = 10  # seconds
REFUSED = (308, 400, 404, 405, 406)  # 308: two slashes are one
_TYPICAL = re.compile(
    r"Traceback|psycopg|sqlalchemy|site-packages|\bSELECT\b|\.py\b|werkzeug", re.I
)


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


class Client:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        self.address = urlsplit(url)
        self.connection: http.client.HTTPConnection | None = None

    def ask(self, request: Request) -> Answer:
        for attempt in (1, 2):
            try:
                return self._ask(request)
            except (OSError, http.client.HTTPException):
                self.close()  # kept open too long
                if attempt == 2:
                    raise
        raise AssertionError

    def _ask(self, request: Request) -> Answer:
        if self.connection is None:
            host, port = self.address.hostname or "", self.address.port
            self.connection = http.client.HTTPConnection(host, port, timeout=60)
        begun = time.monotonic()
        self.connection.request(request.method, request.path, headers=request.headers)
        told = self.connection.getresponse()
        body = told.read()
        headers = {name.lower(): value for name, value in told.getheaders()}
        return Answer(told.status, headers, body, time.monotonic() - begun)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    __del__ = close

    def json(self, path: str) -> Any:
        answer = self.ask(Request("", path, headers={"Accept": "application/json"}))
        assert answer.status == 200, (path, answer.status, answer.body[:300])
        return json.loads(answer.body)


# -- judging ---------------------------------------------------------------------------------


def fault(definition: Definition, request: Request, answer: Answer) -> str | None:  # noqa: PLR0912
    """Say what is wrong with an answer; null where nothing is."""
    status, headers = answer.status, answer.headers
    if status >= 500:
        return f"status {status}: {answer.body[:200]!r}"
    if answer.seconds > LIMIT:
        return f"it took {answer.seconds:.1f} s"
    if request.good and status not in (200, 204, 304):
        return f"a good request is refused with {status}: {answer.body[:300]!r}"
    if request.bad and status not in REFUSED:
        return f"not refused, though it has {request.bad}: {status}"
    if request.method == "OPTIONS":
        return None if status == 204 else f"OPTIONS gives {status}"
    try:
        body = unpacked(answer)
    except Exception as error:  # whatever the library says
        return f"the body is not {headers.get('content-encoding')}: {error!r}"
    media = headers.get("content-type", "").partition(";")[0]
    if request.method == "HEAD":
        return "HEAD with a body" if body else None
    if status == 308:
        return None if "location" in headers else "308 without an address"
    if status in (204, 304):
        return f"{status} with a body" if body else None
    if status >= 400:
        return wrong_error(definition, media, body)
    known = definition.content(request.operation, status)
    if known is None:
        return f"the definition knows no status {status} here"
    names = {name.partition(";")[0]: told for name, told in known.items()}
    if media not in names:
        return f"the definition knows no {media!r} here"
    if "export" not in request.operation and "etag" not in headers:
        return "no ETag"
    if not {"accept", "accept-language", "accept-encoding"} <= {
        each.strip().lower() for each in headers.get("vary", "").split(",")
    }:
        return f"Vary is {headers.get('vary')!r}"
    if media == "text/html":
        text = body.decode()
        shown = [each for each in INJECTIONS if "<" in each and each in text]
        return f"HTML with {shown[0]!r}" if shown else None
    if media.endswith("json") and "export" not in request.operation:
        value = json.loads(body)
        if request.nothing and value.get("features"):
            return f"{len(value['features'])} features for an injection"
        return definition.wrong(names[media]["schema"], value)
    return None


def wrong_error(definition: Definition, media: str, body: bytes) -> str | None:
    """Say what is wrong with the body of an error."""
    if media != "application/json":
        return f"an error as {media}"
    value = json.loads(body)
    wrong = definition.wrong({"$ref": "#/components/schemas/Exception"}, value)
    if wrong:
        return wrong
    said = value["description"]
    if not (said[:1].isupper() and said.endswith((".", "?", "!", ")"))):
        return f"no sentence: {said!r}"
    # what was given is repeated in quotation marks, whatever it is
    own = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|given: .*", "", said.replace("n't", ""))
    return f"it tells too much: {said!r}" if _TYPICAL.search(own) else None


def unpacked(answer: Answer) -> bytes:
    match answer.headers.get("content-encoding"):
        case "gzip":
            return gzip.decompress(answer.body) if answer.body else b""
        case "br":
            return bytes(brotli.decompress(answer.body)) if answer.body else b""
    return answer.body


# -- Schemathesis ----------------------------------------------------------------------------


def schemathesis_run(url: str, examples: int, seed: int) -> tuple[int, list[str]]:
    """Have Schemathesis make requests of each operation; how many, and the faults it found.

    Not asked of it is that each value which the definition's types allow is answered: a
    condition, a cursor or a time is text to it. Nor that a limit above the maximum is refused:
    OGC API - Features has it mean the maximum.
    """
    import schemathesis  # noqa: PLC0415  # takes a second, and only this part needs it
    from schemathesis import checks  # noqa: PLC0415
    from schemathesis.generation import GenerationMode  # noqa: PLC0415

    schema = schemathesis.openapi.from_url(f"{url}/openapi?lang=en")
    wanted = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
    )
    chosen = [check for check in checks.CHECKS.get_all() if check.__name__ in wanted]
    made, faults = 0, []
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @hypothesis.seed(seed)
            @hypothesis.settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal made
                query = case.query or {}
                if beyond(query.get("limit")):
                    hypothesis.reject()
                if "wait" in query:
                    query["wait"] = 0
                made += 1
                case.call_and_validate(checks=chosen)

            try:
                ask()
            except hypothesis.errors.Unsatisfiable:
                continue  # nothing of it can be bad
            except (Exception, BaseExceptionGroup) as error:
                faults.append(f"{operation.label}, {mode.value}: {error}")
    return made, faults


def beyond(limit: Any) -> bool:
    """Whether a limit is bad for nothing but being above the maximum, 10,000."""
    return re.fullmatch(r"0*[1-9][0-9]{4,}", str(limit)) is not None


# -- running ---------------------------------------------------------------------------------


@dataclass
class Found:
    """What a run found: requests by what was meant and status, and the faults."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    operations: set[str] = field(default_factory=set)

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())


def run(url: str, numbers: Sequence[int], *, seed: int = 1, threads: int = 4) -> Found:
    """Make the requests of these numbers of the service at `url`, its landing page."""
    client = Client(url)
    definition = Definition(client.json(f"{urlsplit(url).path}/openapi?lang=en"))
    maker = Maker(definition, client.json)
    before = state(client, definition)
    found = Found()
    lock, exporting, local = threading.Lock(), threading.Lock(), threading.local()

    def one(number: int) -> None:
        request = maker.make(seed, number)
        if not hasattr(local, "client"):
            local.client = Client(url)
        try:
            if request.operation.endswith("/export"):
                with exporting:  # two at once are what a server makes
                    answer = local.client.ask(request)
            else:
                answer = local.client.ask(request)
            wrong = fault(definition, request, answer)
        except Exception as error:
            answer, wrong = Answer(0, {}, b"", 0), f"no answer: {error!r}"
        meant = "good" if request.good else "bad" if request.bad else "odd"
        with lock:
            found.statuses[meant, answer.status] += 1
            found.operations.add(request.operation)
            found.slowest = max(found.slowest, answer.seconds)
            if wrong:
                asked = f"{request.method} {request.path[:500]} {request.headers}"
                found.faults.append(f"{seed}:{number} {asked}: {wrong}")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, numbers))
    if state(client, definition) != before:
        found.faults.append("the parcels are not those of the beginning")
    return found


def state(client: Client, definition: Definition) -> Any:
    told = client.json(f"{definition.prefix}/collections/parcels/items?limit=200&count=exact")
    return told["numberMatched"], told["features"]


def report(found: Found) -> None:
    """Print what a run found."""
    print(f"{found.requests} requests of {len(found.operations)} operations,"
          f" slowest {found.slowest:.2f} s")  # fmt: skip
    for meant in ("good", "odd", "bad"):
        told = {s: n for (m, s), n in sorted(found.statuses.items()) if m == meant}
        print(f"  {meant}: " + ", ".join(f"{status} × {n}" for status, n in told.items()))
    for each in found.faults[:50]:
        print(f"FAULT {each}")
    print(f"{len(found.faults)} faults")


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--schemathesis", type=int, default=0, metavar="N")
    given = parser.parse_args(None if arguments is None else list(arguments))

    def all_of_it(url: str) -> int:
        numbers = range(given.start, given.start + given.count)
        found = run(url, numbers, seed=given.seed, threads=given.threads)
        report(found)
        faults = len(found.faults)
        if given.schemathesis:
            made, wrong = schemathesis_run(url, given.schemathesis, given.seed)
            print(f"Schemathesis: {made} requests")
            for each in wrong:
                print(f"FAULT {each}")
            print(f"{len(wrong)} faults")
            faults += len(wrong)
        return 1 if faults else 0

    if given.url:
        return all_of_it(given.url.rstrip("/"))
    from conformance import service  # noqa: PLC0415  # the same samples, started the same way

    with service() as url:
        return all_of_it(url)


if __name__ == "__main__":
    sys.exit(main())
