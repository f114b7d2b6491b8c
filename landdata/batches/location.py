"""How far a survey lies from what the store holds, where its commune has no boundary.

Nothing else finds a survey that was converted from the wrong zone then.
"""

from __future__ import annotations

import numpy as np
import shapely
import sqlalchemy as sa
from sqlalchemy.orm import Session

from landdata.findings import Finding
from landdata.reference import calendar
from landdata.store.tables import Commune, ParcelVersionRow
from landdata.survey import Survey

_FAR = 2_000.0  # metres; nearer than that is next to it


def check(session: Session, survey: Survey) -> list[Finding]:
    """Return a finding if the survey's middle is far from every commune and official parcel."""
    usable = ~(shapely.is_missing(survey.geometry) | shapely.is_empty(survey.geometry))
    if not usable.any():
        return []
    x, y = np.median(shapely.get_coordinates(shapely.centroid(survey.geometry[usable])), axis=0)
    point = sa.func.ST_SetSRID(sa.func.ST_MakePoint(float(x), float(y)), survey.srid)
    day = calendar.day()
    commune = session.execute(
        sa.select(
            sa.func.ST_Distance(Commune.geom, point).label("metres"), Commune.code, Commune.name
        )
        .where(
            Commune.geom.is_not(None),
            Commune.valid_from <= day,
            sa.or_(Commune.valid_to.is_(None), Commune.valid_to > day),
        )
        .order_by(Commune.geom.op("<->")(point))
        .limit(1)
    ).first()
    parcel = session.execute(
        sa.select(
            sa.func.ST_Distance(ParcelVersionRow.geom, point).label("metres"),
            ParcelVersionRow.commune,
            ParcelVersionRow.sheet,
            ParcelVersionRow.number,
        )
        .where(ParcelVersionRow.valid_to.is_(None))
        .order_by(ParcelVersionRow.geom.op("<->")(point))
        .limit(1)
    ).first()
    nearest = []
    if commune is not None:
        named = f"{commune.code} {commune.name}"
        nearest.append((commune.metres, f"xã {named}", f"commune {named}"))
    if parcel is not None:
        key = f"{parcel.commune}/{parcel.sheet}/{parcel.number}"
        nearest.append((parcel.metres, f"thửa {key}", f"parcel {key}"))
    if not nearest or min(nearest)[0] <= _FAR:
        return []
    metres, vi, en = min(nearest)
    return [
        Finding(
            "far-from-all",
            measured=round(metres / 1000, 1),
            limit=_FAR / 1000,
            point=(float(x), float(y)),
            detail={"nearest": vi, "nearest_en": en, "epsg": str(survey.crs.epsg)},
        )
    ]
