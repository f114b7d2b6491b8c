"""Reads vector tiles (MVT 2.1), so that a test sees what a client would."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any


def read(tile: bytes) -> dict[str, list[dict[str, Any]]]:
    """The features of each layer: their properties, and `rings` of points in tile units."""
    return {
        name: list(features)
        for number, body in _fields(tile)
        if number == 3
        for name, features in [_layer(body)]
    }


def _layer(body: bytes) -> tuple[str, Iterator[dict[str, Any]]]:
    parts: dict[int, list[Any]] = {}
    for number, value in _fields(body):
        parts.setdefault(number, []).append(value)
    keys = [key.decode() for key in parts.get(3, [])]
    values = [_value(value) for value in parts.get(4, [])]
    assert parts[15] == [2]
    assert parts[5] == [4096]
    return parts[1][0].decode(), (
        _feature(dict(_fields(feature)), keys, values) for feature in parts.get(2, [])
    )


def _feature(parts: dict[int, Any], keys: list[str], values: list[Any]) -> dict[str, Any]:
    tags = list(_packed(parts.get(2, b"")))
    properties = {keys[k]: values[v] for k, v in zip(tags[::2], tags[1::2], strict=True)}
    return {**properties, "rings": list(_rings(list(_packed(parts[4]))))}


def _rings(commands: list[int]) -> Iterator[list[tuple[int, int]]]:
    x = y = at = 0
    ring: list[tuple[int, int]] = []
    while at < len(commands):
        kind, count = commands[at] & 7, commands[at] >> 3
        at += 1
        if kind == 7:
            yield ring
            continue
        if kind == 1:
            ring = []
        for _ in range(count):
            x += (commands[at] >> 1) ^ -(commands[at] & 1)
            y += (commands[at + 1] >> 1) ^ -(commands[at + 1] & 1)
            at += 2
            ring.append((x, y))


def _value(body: bytes) -> Any:
    [(number, value)] = _fields(body)
    match number:
        case 1:
            return value.decode()
        case 2:
            return struct.unpack("<f", value)[0]
        case 3:
            return struct.unpack("<d", value)[0]
        case 6:
            return (value >> 1) ^ -(value & 1)
        case 7:
            return bool(value)
    return value


def _packed(body: bytes) -> Iterator[int]:
    at = 0
    while at < len(body):
        value, at = _varint(body, at)
        yield value


def _fields(body: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(body):
        key, at = _varint(body, at)
        match key & 7:
            case 0:
                value, at = _varint(body, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(body, at)
            case 5:
                size = 4
            case other:
                raise AssertionError(other)
        yield key >> 3, body[at : at + size]
        at += size


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
