"""The datums in which surveys of Vietnam come, with the one operation to WGS 84 used for each.

A datum without an operation is one for which EPSG publishes none that places parcels here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid: PROJ's name, the semi-major axis in metres, the inverse flattening."""

    name: str
    axis: float
    flattening: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Datum:
    """A datum: its name, its ellipsoid, and its operation to WGS 84.

    `epsg` is its CRS in degrees, `names` matches its names without case and punctuation.
    `operation` is an EPSG code, `helmert` its parameters in PROJ's syntax, and `accuracy` the
    metres that EPSG states for it.
    """

    epsg: int
    name: str
    names: str
    ellipsoid: Ellipsoid
    operation: int | None = None
    helmert: str = ""
    accuracy: float = 0.0

    @property
    def is_former(self) -> bool:
        """Whether it is neither VN-2000 nor WGS 84: its surveys are used only on request."""
        return self not in (VN2000, WGS84)

    @property
    def leads_to_wgs84(self) -> bool:
        """Whether positions on it have a place on WGS 84."""
        return self is WGS84 or self.operation is not None


_WGS84_ELLIPSOID = Ellipsoid("WGS84", 6_378_137.0, 298.257223563)
_KRASSOVSKY = Ellipsoid("krass", 6_378_245.0, 298.3)
_EVEREST = Ellipsoid("evrst30", 6_377_276.345, 300.8017)

VN2000 = Datum(
    epsg=4756,
    name="VN-2000",
    names=r"viet(?!.*\d)|viet.*2000|vn2000",
    operation=6960,
    helmert="x=-191.90441429 y=-39.30318279 z=-111.45032835"
    " rx=-0.00928836 ry=0.01975479 rz=-0.00427372 s=0.252906278 convention=coordinate_frame",
    accuracy=1.0,
    ellipsoid=_WGS84_ELLIPSOID,
)
WGS84 = Datum(
    epsg=4326,
    name="WGS 84",
    names=r"^wgs(19)?84|^worldgeodeticsystem1984",
    ellipsoid=_WGS84_ELLIPSOID,
)
#: The first whose names match is the datum: the others' names may contain "Vietnam" too.
DATUMS = (
    Datum(
        epsg=4147,
        name="HN-72",
        names=r"ha?noi(19)?72|[hv]n(19)?72",
        operation=1544,
        helmert="x=-17.51 y=-108.32 z=-62.39",
        accuracy=5.0,
        ellipsoid=_KRASSOVSKY,
    ),
    # EPSG:1542 and 1543 are stated to 44 m, for 14–18°N and Côn Sơn; 1541 to 25 m, off shore.
    Datum(epsg=4131, name="Indian 1960", names=r"indian(datum)?(19)?60", ellipsoid=_EVEREST),
    # EPSG's operations of these two are Thailand's.
    Datum(epsg=4239, name="Indian 1954", names=r"indian(datum)?(19)?54", ellipsoid=_EVEREST),
    Datum(epsg=4240, name="Indian 1975", names=r"indian(datum)?(19)?75", ellipsoid=_EVEREST),
    # EPSG's operations are those of the former Soviet Union; HN-72 was joined to it.
    Datum(epsg=4284, name="Pulkovo 1942", names=r"pulkovo(19)?42", ellipsoid=_KRASSOVSKY),
    VN2000,
    WGS84,
)

#: Names that programs write for a datum that they do not know.
_ANONYMOUS = re.compile(r"^(gcs)?$|unknown|unnamed|undefined|custom|userdefined|notspecified")


def find(name: str) -> Datum | None:
    """Return the datum of a name as EPSG, Esri, MapInfo and PROJ spell it; null: not listed."""
    plain = _plain(name)
    if _ANONYMOUS.search(plain):
        return None
    return next((datum for datum in DATUMS if re.search(datum.names, plain)), None)


def is_anonymous(name: str) -> bool:
    """Tell whether a name says that the datum is not known."""
    return _ANONYMOUS.search(_plain(name)) is not None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^(d|gcs)_", "", name.lower()))
