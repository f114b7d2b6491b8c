"""Survey files as they were received: each once, under its SHA-256, for ever.

They lie in `LANDDATA_HOME/surveys`, which nobody but its owner enters, since they name people.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from landdata import files
from landdata.settings import Settings
from landdata.store import locks
from landdata.store.locks import Kind
from landdata.store.tables import Batch


def path_of(settings: Settings, batch: Batch) -> Path:
    """Return where the file of a batch is kept."""
    return _place(settings, batch.sha256, batch.source)


def keep(session: Session, settings: Settings, file: Path, name: str) -> str:
    """Copy a file to where it is kept, and return its SHA-256, which is that of the copy.

    Whole or not at all, even if the power fails. Until the transaction ends nobody deletes it.
    """
    surveys = settings.home / "surveys"
    surveys.mkdir(parents=True, exist_ok=True)
    surveys.chmod(0o700)
    handle, new = tempfile.mkstemp(dir=surveys)
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as out, file.open("rb") as source:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        place = _place(settings, digest.hexdigest(), name)
        locks.share(session, Kind.SURVEY_FILE, _lock_key(digest.hexdigest()))
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            Path(new).replace(place)
            for folder in place.parents[:3]:
                files.sync(folder)
    finally:
        Path(new).unlink(missing_ok=True)
    return digest.hexdigest()


def delete_if_unused(session: Session, settings: Settings, batch: Batch) -> None:
    """Delete an abandoned batch's file unless another batch uses it.

    The file stays where another batch is receiving it at this moment, and where the database does
    not answer.
    """
    same = sa.select(sa.func.count()).where(Batch.sha256 == batch.sha256, Batch.id != batch.id)
    with suppress(sa.exc.SQLAlchemyError, OSError):
        key = _lock_key(batch.sha256)
        if locks.try_lock(session, Kind.SURVEY_FILE, key) and not session.scalar(same):
            place = path_of(settings, batch)
            place.unlink(missing_ok=True)
            place.parent.rmdir()


def _lock_key(sha256: str) -> int:
    return int(sha256[:8], 16) - (1 << 31)


def _place(settings: Settings, sha256: str, name: str) -> Path:
    return settings.home / "surveys" / sha256[:2] / sha256 / name
