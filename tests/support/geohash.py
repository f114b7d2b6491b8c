"""GeoHashes by bisection, beside those of `landdata.reference.parcel_keys`."""

from __future__ import annotations

from landdata.reference import parcel_keys


def encode(lon: float, lat: float) -> str:
    """Encode a GeoHash of twelve characters the slow way: by bisection."""
    for text in ("w", "x", "y"):
        west, south, east, north = parcel_keys.cell(text)
        if west <= lon < east and south <= lat < north:
            break
    while len(text) < 12:
        for letter in "0123456789bcdefghjkmnpqrstuvwxyz":
            west, south, east, north = parcel_keys.cell(text + letter)
            if west <= lon < east and south <= lat < north:
                text += letter
                break
    return text
