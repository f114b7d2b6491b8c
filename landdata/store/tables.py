"""The tables of the store.

A commune, batch or parcel has a key; every version of a parcel is a row of `parcel_versions` with
its time range, never overwritten. Names follow ISO 19152 (LADM) where it has one. Tables of
millions of rows have no foreign keys: nothing they refer to is ever deleted, one statement writes
both sides, and checking each row would take a third of an import. Geometry is in the deployment's
storage CRS (`Settings.srid`); `migrations/env.py` gives the columns its number.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, ExcludeConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: Tables that the reader's role may read; none of them names a person.
READABLE = (
    "changed_cells",
    "communes",
    "deployment",
    "parcel_versions",
    "publications",
    "sheets",
)

SRID = 9212  # of the models; a deployment's own is in `deployment` and in its columns


class Base(DeclarativeBase):
    """The base of all tables: every constraint has a name, by which migrations refer to it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own contract
        str: Text(),
        int: Integer(),
        float: Double(),
        dt.datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
    }


class Deployment(Base):
    """One row: settings that can't change once there is data."""

    __tablename__ = "deployment"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    srid: Mapped[int]


class Commune(Base):
    """An administrative unit over [valid_from, valid_to); a code is reused, so it needs a date."""

    __tablename__ = "communes"
    __table_args__ = (
        CheckConstraint("valid_to > valid_from", name="valid"),
        ExcludeConstraint(
            ("code", "="),
            (text("daterange(valid_from, valid_to)"), "&&"),
            name="ex_communes_code_valid",
        ),
        Index("ix_communes_geom", "geom", postgresql_using="gist"),
    )

    code: Mapped[str] = mapped_column(primary_key=True)
    valid_from: Mapped[dt.date] = mapped_column(Date, primary_key=True)
    valid_to: Mapped[dt.date | None] = mapped_column(Date)
    name: Mapped[str]
    geom: Mapped[Any | None] = mapped_column(
        Geometry("MULTIPOLYGON", srid=SRID, spatial_index=False)
    )


class CommuneRecoding(Base):
    """A commune that became another one, or part of it, on a day."""

    __tablename__ = "commune_recodings"

    old_code: Mapped[str] = mapped_column(primary_key=True)
    new_code: Mapped[str] = mapped_column(primary_key=True)
    effective_on: Mapped[dt.date] = mapped_column(Date, primary_key=True)
    new_name: Mapped[str]


class Batch(Base):
    """A survey file from its receipt to the decision on it.

    `state`: received, checking, checked; then accepted, rejected, withdrawn by the surveyor, or
    superseded by a batch that `corrects` it; or refused, with the sentence that says why. The
    same file for the same commune with the same options is the same batch, unless that one was
    withdrawn or superseded; the file is kept under its SHA-256.
    """

    __tablename__ = "batches"
    __table_args__ = (
        Index(
            "uq_batches_same_file",
            "sha256",
            "commune",
            text("md5(options::text)"),  # a profile may be longer than an index entry
            unique=True,
            postgresql_where=text("state NOT IN ('withdrawn', 'superseded')"),
        ),
        Index("ix_batches_corrects", "corrects", postgresql_where=text("corrects IS NOT NULL")),
        CheckConstraint(
            "state IN ('received', 'checking', 'checked', 'refused', 'accepted', 'rejected',"
            " 'withdrawn', 'superseded')",
            name="state",
        ),
        # an earlier one, so that two batches are always locked in the same order
        CheckConstraint("corrects < id", name="corrects_earlier"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    sha256: Mapped[str]
    source: Mapped[str]
    commune: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    state: Mapped[str] = mapped_column(server_default=text("'received'"))
    received_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    received_by: Mapped[str]
    checked_at: Mapped[dt.datetime | None]
    decided_at: Mapped[dt.datetime | None]
    decided_by: Mapped[str | None]
    reason: Mapped[str | None]
    summary: Mapped[dict[str, Any] | None]
    corrects: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("batches.id"))
    refusal: Mapped[dict[str, Any] | None]


class BatchProgress(Base):
    """The progress of a batch's check, committed apart from it: its own rows are not visible yet.

    `job_id` is its job in the queue, null once that has ended; `share` of the whole, 0 to 1.
    """

    __tablename__ = "batch_progress"

    batch_id: Mapped[int] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    stage: Mapped[str | None]
    share: Mapped[float] = mapped_column(server_default=text("0"))
    rows: Mapped[int | None] = mapped_column(BigInteger)
    began_at: Mapped[dt.datetime | None]
    told_at: Mapped[dt.datetime | None]


class StagedParcel(Base):
    """A row of a batch as it was read and validated, before anything is official.

    `status`: 0 acceptable, 1 rejected, 2 duplicate (`landdata.topology`). `id` becomes the key of
    a new parcel. Owners are personal data: the reader's role can't read this table.
    """

    __tablename__ = "staged_parcels"
    batch_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    row: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    status: Mapped[int] = mapped_column(SmallInteger)
    id: Mapped[uuid.UUID] = mapped_column(Uuid)
    sheet: Mapped[str | None]
    number: Mapped[str | None]
    scale: Mapped[int | None]
    area: Mapped[float | None]
    legal_area: Mapped[float | None]
    measured_area: Mapped[float | None]
    land_use: Mapped[Any | None] = mapped_column(JSONB)
    label: Mapped[str | None]
    address: Mapped[str | None]
    owner: Mapped[str | None]
    owner_type: Mapped[str | None]
    old_sheet: Mapped[str | None]
    old_number: Mapped[str | None]
    national_id: Mapped[str | None]
    surveyed_on: Mapped[dt.date | None] = mapped_column(Date)
    geom: Mapped[Any | None] = mapped_column(Geometry("GEOMETRY", srid=SRID, spatial_index=False))


class SurveyPoint(Base):
    """A measured point, once for a batch, and the rows that it bounds.

    `north` and `east` are as in the file, in the CRS `srid`; `geom` is the point in the storage
    CRS (LADM: point, of a spatial source). `line` is the first line of the file with it.
    """

    __tablename__ = "survey_points"

    batch_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    line: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str | None]
    north: Mapped[float]
    east: Mapped[float]
    srid: Mapped[int]
    rows: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    geom: Mapped[Any] = mapped_column(Geometry("POINT", srid=SRID, spatial_index=False))


class StoredFinding(Base):
    """A finding of a batch's check, in the order of the report."""

    __tablename__ = "findings"

    batch_id: Mapped[int] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rule: Mapped[str]
    severity: Mapped[str]
    row: Mapped[int | None] = mapped_column(BigInteger)
    other_row: Mapped[int | None] = mapped_column(BigInteger)
    finding: Mapped[dict[str, Any]] = mapped_column(comment="under the public JSON keys")


class ParcelVersionRow(Base):
    """A version of a parcel over [valid_from, valid_to); the current one has no end.

    `parcel_id` is the parcel's identity (LADM: spatial unit); its first version is 1. In m²:
    `area` as surveyed, `legal_area` as on the certificate, `measured_area` of the polygon in the
    source's own zone; none is computed anew. Holders are in a table of their own. `feature` is
    the GeoJSON that the OGC API returns, without the address.
    """

    __tablename__ = "parcel_versions"
    __table_args__ = (
        CheckConstraint("valid_to > valid_from", name="valid"),
        # a parcel has one current version, and each past version once
        Index(
            "uq_parcel_versions_current",
            "parcel_id",
            unique=True,
            postgresql_where=text("valid_to IS NULL"),
        ),
        Index(
            "uq_parcel_versions_past",
            "parcel_id",
            "version",
            unique=True,
            postgresql_where=text("valid_to IS NOT NULL"),
        ),
        Index(
            "uq_parcel_versions_number",
            "commune",
            "sheet",
            "number",
            unique=True,
            postgresql_where=text("valid_to IS NULL"),
        ),
        # the versions of any one time in the order of the key or number, skipping all others
        Index(
            "ix_parcel_versions_as_of",
            "parcel_id",
            "valid_from",
            text("coalesce(valid_to, 'infinity')"),
        ),
        Index(
            "ix_parcel_versions_number",
            "commune",
            "sheet",
            "number",
            "valid_from",
            text("coalesce(valid_to, 'infinity')"),
        ),
        Index(
            "ix_parcel_versions_national_id",
            "national_id",
            postgresql_where=text("national_id IS NOT NULL"),
        ),
        # one index for current versions, which history does not slow, and one for past versions,
        # with times, so that of many versions only the one of a day is read
        Index(
            "ix_parcel_versions_geom_current",
            "geom",
            postgresql_using="gist",
            postgresql_where=text("valid_to IS NULL"),
        ),
        Index(
            "ix_parcel_versions_geom_past",
            "geom",
            text("tstzrange(valid_from, valid_to)"),
            postgresql_using="gist",
            postgresql_where=text("valid_to IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    parcel_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    version: Mapped[int]
    valid_from: Mapped[dt.datetime]
    valid_to: Mapped[dt.datetime | None]
    commune: Mapped[str]
    sheet: Mapped[str]
    number: Mapped[str]
    scale: Mapped[int | None]
    area: Mapped[float | None]
    legal_area: Mapped[float | None]
    measured_area: Mapped[float]
    land_use: Mapped[Any | None] = mapped_column(JSONB)
    address: Mapped[str | None]
    label: Mapped[str | None]
    old_sheet: Mapped[str | None]
    old_number: Mapped[str | None]
    national_id: Mapped[str | None]
    surveyed_on: Mapped[dt.date | None] = mapped_column(Date)
    geom: Mapped[Any] = mapped_column(Geometry("MULTIPOLYGON", srid=SRID, spatial_index=False))
    batch_id: Mapped[int] = mapped_column(BigInteger)
    batch_row: Mapped[int] = mapped_column(BigInteger)
    feature: Mapped[str | None] = mapped_column(
        deferred=True, comment="GeoJSON in CRS84, written by a trigger"
    )


class Holder(Base):
    """Who holds a parcel's version, as written in the survey (LADM: party). Personal data.

    A table of its own, so that the reader's role can't read it and the table with the geometry
    needs no row policy, which would turn `geom && bbox` into a sequential scan.
    """

    __tablename__ = "holders"

    version_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str | None]
    kind: Mapped[str | None]


class Publication(Base):
    """What became official in one transaction; numbered in the order of the commits.

    Its new versions are the rows of `parcel_versions` from `first_version` to `last_version` with
    its batch; `retired` are versions that ended without a successor. `parcels` counts those there
    are from `valid_from` until that of the next. `stamp`: the whole second, since 1970, of the
    last publication that affects that time or an earlier one.
    """

    __tablename__ = "publications"
    __table_args__ = (Index(None, "valid_from", "number"),)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    batch_id: Mapped[int] = mapped_column(BigInteger)
    published_at: Mapped[dt.datetime]
    first_version: Mapped[int] = mapped_column(BigInteger)
    last_version: Mapped[int] = mapped_column(BigInteger)
    retired: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    valid_from: Mapped[dt.datetime]
    parcels: Mapped[int] = mapped_column(BigInteger)
    stamp: Mapped[int] = mapped_column(BigInteger)


class Webhook(Base):
    """A URL to which every publication is delivered, in order, and how far that has got.

    `delivered` is the last delivered publication; `attempts` failed for the next one, which is not
    tried before `next_at`. `secret` signs; the reader's role can't read this table.
    """

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    url: Mapped[str]
    secret: Mapped[str]
    added_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    delivered: Mapped[int] = mapped_column(BigInteger)
    delivered_at: Mapped[dt.datetime | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    failure: Mapped[str | None]
    next_at: Mapped[dt.datetime | None]


class DeadLetter(Base):
    """A publication that could not be delivered to a webhook; `again`: it is to be retried."""

    __tablename__ = "dead_letters"

    webhook_id: Mapped[int] = mapped_column(
        ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    publication: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    failure: Mapped[str]
    died_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    again: Mapped[bool] = mapped_column(server_default=text("false"))


class ChangedCell(Base):
    """The last change of the parcels in a cell of the map, and so the age of its tiles.

    `stamp` is that of the publication. Cells of level 0 are 256 m wide, those of the next level
    twice as wide; (0, 0) begins at the origin of the storage CRS. The only cell of level -1 stands
    for all communes and counts how often they changed.
    """

    __tablename__ = "changed_cells"

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    x: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    y: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    stamp: Mapped[int] = mapped_column(BigInteger)


class Sheet(Base):
    """A map sheet of a commune: the number and convex hull of its current parcels."""

    __tablename__ = "sheets"
    __table_args__ = (
        Index(None, "commune", "sheet"),
        Index("ix_sheets_geom", "geom", postgresql_using="gist"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    commune: Mapped[str]
    sheet: Mapped[str]
    parcels: Mapped[int]
    geom: Mapped[Any] = mapped_column(Geometry("POLYGON", srid=SRID, spatial_index=False))
