"""The roles, database and extensions of the embedded cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg
from psycopg import sql

DATABASE: Final = "landdata"
#: Owns the database.
OWNER: Final = "landdata"
#: Reads what migrations grant.
READER: Final = "landdata_reader"
#: Used to create the others only.
SUPERUSER: Final = "postgres"

#: Raised when `create_missing` does something new, so that older clusters get it too.
REVISION: Final = 1

Connect = Callable[[str], psycopg.Connection[tuple[Any, ...]]]


def create_missing(connect: Connect, passwords: Mapping[str, str]) -> None:
    """Create roles, database and extensions where they are missing.

    `connect` opens a superuser's connection to a database, with autocommit.
    """
    with connect("postgres") as db:
        existing = {row[0] for row in db.execute("SELECT rolname FROM pg_roles")}
        for role, right in ((OWNER, "CREATEDB"), (READER, "NOCREATEDB")):
            if role not in existing:
                # Encrypted here, so that the password itself is never sent.
                scram = db.pgconn.encrypt_password(
                    passwords[role].encode(), role.encode(), b"scram-sha-256"
                )
                db.execute(
                    sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                        sql.Identifier(role), sql.SQL(right), sql.Literal(scram.decode())
                    )
                )
        db.execute(
            sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(
                sql.Identifier(READER)
            )
        )
        if not db.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
            db.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(OWNER)
                )
            )
    with connect(DATABASE) as db:
        db.execute("SET client_min_messages = warning")
        for extension in ("postgis", "btree_gist"):
            db.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        # PostGIS lacks EPSG:9205 to 9218, which the migrations add.
        db.execute(
            sql.SQL("GRANT INSERT, UPDATE, DELETE ON spatial_ref_sys TO {}").format(
                sql.Identifier(OWNER)
            )
        )
