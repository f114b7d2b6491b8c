"""How fast features are served: `python bench/serving.py URL [--clients 8] [--seconds 5]`.

URL is a landing page of this service (`http://127.0.0.1:5000/ogc`) over a store that holds many
parcels, such as those of `make_parcels.py`. Each client is a process with one kept connection;
what it asks for is drawn beforehand from the service itself, so every question has an answer.
Prints requests a second and the 50th and 99th percentile in ms, as a table and with `--json`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import random
import time
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

import numpy as np


def get(connection: http.client.HTTPConnection, path: str) -> bytes:
    """Return the body of an answer; any status but 200 is a mistake of the benchmark."""
    connection.request("GET", path, headers={"Accept": "application/geo+json"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
    return body


def questions(url: str, *, seed: int = 1) -> dict[str, list[str]]:
    """Return the paths to ask for, by case, made of parcels that are there."""
    chance = random.Random(seed)
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc)
    items = f"{place.path}/collections/parcels/items"
    found = json.loads(get(connection, f"{items}?limit=10000"))["features"]
    some = chance.sample(found, min(500, len(found)))
    boxes, numbers = [], []
    for feature in some:
        lon, lat = feature["geometry"]["coordinates"][0][0][0]
        half = 0.0010  # about 100 parcels of 450 m²
        box = f"{lon - half:.6f},{lat - half:.6f},{lon + half:.6f},{lat + half:.6f}"
        boxes.append(f"{items}?" + urlencode({"bbox": box, "limit": 100}))
        known = feature["properties"]
        numbers.append(
            f"{items}?" + urlencode({name: known[name] for name in ("commune", "sheet", "number")})
        )
    deep = []
    path = f"{items}?limit=10000"
    for _ in range(90):  # page 90,000 of ten: by key, as links lead there
        page = json.loads(get(connection, path))
        ahead = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not ahead:
            break
        path = urlsplit(ahead[0]).path + "?" + urlsplit(ahead[0]).query
        deep = [path.replace("limit=10000", "limit=10")]
    return {
        "10 items": [f"{items}?limit=10"],
        "1,000 items": [f"{items}?limit=1000"],
        "box (100)": boxes,
        "one item": [f"{items}/{feature['id']}" for feature in some],
        "attribute": numbers,
        "deep page": deep or [f"{items}?limit=10"],
        "as of": [f"{each}&datetime=2999-01-01T00:00:00Z" for each in boxes],
    }


def ask(netloc: str, paths: Sequence[str], seconds: float, seed: int) -> list[float]:
    """Ask for paths in random order until the time is over; return the time of each, in s."""
    chance = random.Random(seed)
    connection = http.client.HTTPConnection(netloc)
    get(connection, paths[0])
    times = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        get(connection, chance.choice(paths))
        times.append(time.perf_counter() - begin)
    return times


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("url")
    arguments.add_argument("--clients", type=int, default=8)
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    netloc = urlsplit(given.url).netloc
    results = {}
    with multiprocessing.get_context("spawn").Pool(given.clients) as pool:
        for name, paths in questions(given.url.rstrip("/")).items():
            work = [(netloc, paths, given.seconds, seed) for seed in range(given.clients)]
            times = np.concatenate([np.array(each) for each in pool.starmap(ask, work)])
            p50, p99 = np.percentile(times, [50, 99]) * 1000
            rate = times.size / given.seconds
            results[name] = {"per_second": rate, "p50_ms": p50, "p99_ms": p99}
            if not given.json:
                print(f"{name:12} {rate:9.1f}/s   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms")
    if given.json:
        print(json.dumps({"clients": given.clients, "results": results}, indent=2))


if __name__ == "__main__":
    main()
