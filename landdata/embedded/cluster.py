"""The embedded PostGIS: a private PostgreSQL cluster, made, started and stopped by us.

Everything of it lies in the data folder (`Settings.home`):

    postgres/        the data folder of PostgreSQL (checksums, UTF-8, locale C.UTF-8)
    postgres.log     its log; statements, values and failing rows never get into it
    cluster.json     passwords and the socket's folder; mode 0600
    cluster.lock     held while somebody starts or stops the cluster
    socket/          the unix socket; a short folder elsewhere where this path is too long

It listens on a unix socket only, and every login needs a password (`peer` fails where the
users of database and operating system differ). Three roles: `postgres` (superuser, used here
alone), `landdata` (owns the database) and `landdata_reader` (reads what migrations grant).

PostgreSQL refuses to run as root; root's cluster belongs to the user `postgres`, through
`setpriv` straight into `initdb` and `pg_ctl`. There is no Python in between, because root's
interpreter may lie where `postgres` can't go.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL

from landdata import files
from landdata.errors import LandDataError, Unavailable

DATABASE: Final = "landdata"
OWNER: Final = "landdata"
READER: Final = "landdata_reader"
SUPERUSER: Final = "postgres"

# sockaddr_un holds 108 bytes, the last of which ends the string.
_SOCKET_LIMIT = 107
_PORT = 5432
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
# Raised when `_furnish` does something new, so that older clusters get it too.
_FURNISHED = 1
_MB = 1 << 20
_WAIT_SECONDS = 60
_LOG_LIMIT = 10 * _MB
_INSTALL = (
    "Install them: apt-get install postgresql-15 postgresql-15-postgis-3 (or run script/setup),"
    " or set LANDDATA_DATABASE_URL to a PostGIS of your own."
)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """How the cluster is: `size` in bytes, `version` the major version of its data folder."""

    running: bool
    pid: int | None
    version: str | None
    size: int
    home: Path
    socket: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "running": self.running,
            "pid": self.pid,
            "version": self.version,
            "size": self.size,
            "home": str(self.home),
            "socket": str(self.socket) if self.socket else None,
        }


@dataclass(frozen=True, slots=True)
class _Programs:
    """Where one PostgreSQL with PostGIS keeps its programs."""

    folder: Path
    version: int

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


class Cluster:
    """The private cluster in `home`.

    `fast` trades safety against a crash for speed (no fsync): for tests alone. What can't be
    done raises `Unavailable`, with what to do about it. Safe to use from many processes.
    """

    def __init__(self, home: Path | str, *, fast: bool = False) -> None:
        # Resolved, so that all processes find the same postmaster by its command line.
        self.home = Path(home).resolve()
        self.fast = fast
        self.data = self.home / "postgres"
        self.log = self.home / "postgres.log"
        self._facts_file = self.home / "cluster.json"

    # -- what callers use ------------------------------------------------------------------

    def up(self) -> bool:
        """Make the cluster if it is missing, start it, make database, roles and extensions.

        Returns whether this call started it. Does nothing where it is up already.
        """
        with self._told(), self._locked():
            if self._ready() and self._facts().get("furnished") == _FURNISHED:
                return False
            started = False
            if not self._exists():
                self._make()
            if self._pid() is None:
                self._start()
                started = True
            self._furnish()
            return started

    def down(self) -> bool:
        """Stop the cluster, ending its connections. Returns whether it was running."""
        if not self.home.is_dir():
            return False
        with self._told(), self._locked():
            if self._pid() is None:
                return False
            done = self._run(
                self._programs["pg_ctl"], "-D", str(self.data), "-s", "-m", "fast", "-w",
                "-t", str(_WAIT_SECONDS), "stop",
            )  # fmt: skip
            if done.returncode and self._pid() is not None:
                raise Unavailable(
                    f"PostgreSQL in {self.data} did not stop: {_last_line(done.stderr)}",
                    hint=f"See {self.log}.",
                    code="cluster",
                )
            return True

    def status(self) -> ClusterStatus:
        """Tell how the cluster is, changing nothing."""
        with self._told():
            pid = self._pid()
            exists = self._exists()
            return ClusterStatus(
                running=pid is not None,
                pid=pid,
                version=self._data_version() if exists else None,
                size=_size(self.data) if exists else 0,
                home=self.home,
                socket=self._socket() if exists else None,
            )

    def url(self, database: str = DATABASE, *, role: str = OWNER) -> URL:
        """Return the SQLAlchemy URL of a database for a role; `str(url)` hides the password.

        Raises `Unavailable` where the cluster was never made.
        """
        with self._told():
            facts = self._facts() if self._facts_file.exists() else {}
            if "socket" not in facts:
                raise Unavailable(
                    f"There is no database in {self.home}.",
                    hint="Start it with: landdata up.",
                    code="no-cluster",
                )
            return URL.create(
                "postgresql+psycopg",
                username=role,
                password=facts["passwords"][role],
                database=database,
                # The port names the socket's file; said here so that PGPORT can't change it.
                query={"host": str(facts["socket"]), "port": str(_PORT)},
            )

    # -- making ----------------------------------------------------------------------------

    def _make(self) -> None:
        """Run initdb beside the data folder's place and move the result there.

        The move is atomic: a data folder that stands in its place is whole, and what a crash
        left beside it is rubbish. A name of its own for each try keeps an initdb that outlived
        its parent from writing into ours.
        """
        programs = self._programs
        for rubbish in self.home.glob("postgres.new-*"):
            shutil.rmtree(rubbish, ignore_errors=True)
        self._bar_strangers()
        facts = {
            "passwords": {role: secrets.token_urlsafe(24) for role in (SUPERUSER, OWNER, READER)}
        }
        self._write_facts(facts)
        new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.home))
        password = self.home / f"{new.name}.password"
        try:
            self._give(new, 0o700)
            files.write_private(password, facts["passwords"][SUPERUSER] + "\n")
            self._give(password, 0o600)
            done = self._run(
                programs["initdb"], "-D", str(new), "-U", SUPERUSER, f"--pwfile={password}",
                "--auth-local=scram-sha-256", "--auth-host=reject", "--data-checksums",
                "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
                *(["--no-sync"] if self.fast else []),
            )  # fmt: skip
            if done.returncode:
                raise Unavailable(
                    f"PostgreSQL's initdb failed in {self.home}: {_last_line(done.stderr)}",
                    hint="Mend the cause (disk full, permissions) and start again.",
                    code="cluster",
                )
            with (new / "postgresql.conf").open("a", encoding="utf-8") as conf:
                conf.write(
                    "\n# Written anew at each start; ALTER SYSTEM and postgresql.auto.conf win.\n"
                    "include 'landdata.conf'\n"
                )
            new.rename(self.data)
            files.sync(self.home)
        finally:
            password.unlink(missing_ok=True)
            shutil.rmtree(new, ignore_errors=True)

    def _bar_strangers(self) -> None:
        """Refuse, in one sentence, a home that the server's user can't reach."""
        if not self._as:
            return
        places = [str(p) for p in reversed((self.home, *self.home.parents))]
        script = 'for d; do [ -x "$d" ] || { printf %s "$d"; exit 1; }; done'
        barred = self._run("/bin/sh", "-c", script, "sh", *places)
        if barred.returncode:
            raise Unavailable(
                f"The user {SUPERUSER}, as whom PostgreSQL runs for root, can't enter"
                f" {barred.stdout or self.home}.",
                hint="Set LANDDATA_HOME to a folder that everybody may enter,"
                " such as /var/lib/landdata, or run as an ordinary user.",
                code="cluster",
            )

    def _furnish(self) -> None:
        """Make roles, database and extensions where they are missing."""
        facts = self._facts()
        with self._connect("postgres") as db:
            there = {row[0] for row in db.execute("SELECT rolname FROM pg_roles")}
            for role, power in ((OWNER, "CREATEDB"), (READER, "NOCREATEDB")):
                if role not in there:
                    # Encrypted here, so that the password itself never travels.
                    scram = db.pgconn.encrypt_password(
                        facts["passwords"][role].encode(), role.encode(), b"scram-sha-256"
                    )
                    db.execute(
                        sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                            sql.Identifier(role), sql.SQL(power), sql.Literal(scram.decode())
                        )
                    )
            db.execute(
                sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(
                    sql.Identifier(READER)
                )
            )
            if not db.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
            ).fetchone():
                db.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(
                        sql.Identifier(DATABASE), sql.Identifier(OWNER)
                    )
                )
        with self._connect(DATABASE) as db:
            db.execute("SET client_min_messages = warning")
            for extension in ("postgis", "btree_gist"):
                db.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
            # PostGIS lacks EPSG:9205 to 9218, which the migrations add.
            db.execute(
                sql.SQL("GRANT INSERT, UPDATE, DELETE ON spatial_ref_sys TO {}").format(
                    sql.Identifier(OWNER)
                )
            )
        self._write_facts({**facts, "furnished": _FURNISHED})

    # -- starting --------------------------------------------------------------------------

    def _start(self) -> None:
        programs = self._programs
        self._bar_strangers()
        socket = self._make_socket_folder()
        self._write_conf(socket)
        self._open_log()
        pause = 0.05
        end = time.monotonic() + _WAIT_SECONDS
        while True:
            self._drop_stale_locks(socket)
            seen = self.log.stat().st_size
            done = self._run(
                programs["pg_ctl"], "-D", str(self.data), "-l", str(self.log), "-s", "-w",
                "-t", str(_WAIT_SECONDS), "start",
            )  # fmt: skip
            if not done.returncode or self._ready():
                return
            said = _tail(self.log, seen)
            # After a kill -9 of the postmaster its children need a moment to notice.
            busy = "already exists" in said or "still in use" in said
            if not busy or time.monotonic() > end:
                why = next((line for line in said.splitlines() if "FATAL" in line), "")
                raise Unavailable(
                    f"PostgreSQL in {self.data} did not start:"
                    f" {_last_line(why.partition('FATAL:')[2] or done.stderr)}",
                    hint=f"See {self.log}.",
                    code="cluster",
                )
            time.sleep(pause)
            pause = min(pause * 1.6, 2.0)

    def _drop_stale_locks(self, socket: Path) -> None:
        """Remove the locks of a dead postmaster whose pid another process now has.

        PostgreSQL drops a lock whose pid is free, but believes any living process of the same
        user to be a postmaster; in a container, where pids start low, that is the rule. The
        shared memory tells whether children of the dead one still work on the data.
        """
        lines = self._pid_lines()
        if not lines or self._pid() is not None or not Path("/proc", lines[0]).exists():
            return
        shared = lines[6].split() if len(lines) > 6 else []
        if shared and _attached(shared[-1]):
            return
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (socket / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _make_socket_folder(self) -> Path:
        """Return the socket's folder, made and recorded, 0700 and of the server's user.

        A path may be too long for a socket, and a comma would make two hosts of it.
        """
        facts = self._facts()
        socket = self.home / "socket"
        wanted = os.fsencode(socket / _SOCKET_NAME)
        if len(wanted) <= _SOCKET_LIMIT and b"," not in wanted:
            socket.mkdir(exist_ok=True)
            self._give(socket, 0o700)
        else:
            if "socket" in facts and _is_private(Path(facts["socket"]), self._uid):
                return Path(facts["socket"])
            socket = Path(tempfile.mkdtemp(prefix="landdata-", dir="/tmp"))
            self._give(socket, 0o700)
        self._write_facts({**facts, "socket": str(socket)})
        return socket

    def _write_conf(self, socket: Path) -> None:
        """Write landdata.conf: ours, modest for this machine; an administrator's wins."""
        memory = 1024 * _MB if self.fast else _memory()
        values: dict[str, str] = {
            "listen_addresses": "",
            "unix_socket_directories": str(socket),
            "port": str(_PORT),
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "shared_buffers": f"{_between(128, memory // _MB // 8, 2048)}MB",
            "effective_cache_size": f"{_between(256, memory // _MB // 2, 65536)}MB",
            "maintenance_work_mem": f"{_between(64, memory // _MB // 16, 1024)}MB",
            "work_mem": "32MB",
            "max_wal_size": "4GB",
            # A large acceptance would else write its log itself, buffer by buffer.
            "wal_buffers": "64MB",
            "checkpoint_timeout": "15min",
            "random_page_cost": "1.1",
            # Compiling costs more than it saves on statements that take milliseconds.
            "jit": "off",
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            # A statement, a failing row and even an error's text may carry an owner's name:
            # none is logged; who sent the statement gets the error.
            "log_statement": "none",
            "log_min_duration_statement": "-1",
            "log_min_duration_sample": "-1",
            "log_min_messages": "log",
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
            "log_line_prefix": "%m [%p] ",
            "log_timezone": "UTC",
        }
        if self.fast:
            values |= {
                "fsync": "off",
                "full_page_writes": "off",
                "synchronous_commit": "off",
                "wal_level": "minimal",
                "max_wal_senders": "0",
            }
        text = "".join(f"{name} = {_quoted(value)}\n" for name, value in values.items())
        conf = self.data / "landdata.conf"
        files.write_private(conf, text)
        self._give(conf, 0o600)

    def _open_log(self) -> None:
        """Make the log, and put an old one aside that has grown."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_LIMIT:
                self.log.rename(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        self._give(self.log, 0o600)

    # -- knowing ---------------------------------------------------------------------------

    def _exists(self) -> bool:
        """Return whether the data folder is there; one that is none of PostgreSQL's raises."""
        try:
            empty = not any(self.data.iterdir())
        except FileNotFoundError:
            return False
        if not empty and not (self.data / "PG_VERSION").exists():
            raise Unavailable(
                f"{self.data} holds files but is no data folder of PostgreSQL.",
                hint="Move it away, or set LANDDATA_HOME to another folder.",
                code="cluster",
            )
        owner = self.data.stat().st_uid
        if not empty and owner != self._uid:
            raise Unavailable(
                f"{self.data} belongs to the user {_user_name(owner)},"
                f" but PostgreSQL would run as {_user_name(self._uid)}.",
                hint=f"Run landdata as {_user_name(owner)} or set LANDDATA_HOME to another folder.",
                code="cluster",
            )
        return not empty

    def _data_version(self) -> str:
        return (self.data / "PG_VERSION").read_text(encoding="ascii").strip()

    def _pid_lines(self) -> list[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return []

    def _pid(self) -> int | None:
        """Return the pid of our postmaster if it lives.

        The command line decides, because a stale pid may belong to any process by now. It can
        be read of everybody's processes, unlike their working folder.
        """
        lines = self._pid_lines()
        if not lines or not lines[0].isdigit():
            return None
        try:
            words = Path("/proc", lines[0], "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return None
        return int(lines[0]) if os.fsencode(self.data) in words else None

    def _ready(self) -> bool:
        lines = self._pid_lines()
        return len(lines) > 7 and lines[7].strip() == "ready" and self._pid() is not None

    def _socket(self) -> Path | None:
        found = self._facts().get("socket")
        return Path(found) if found else None

    def _facts(self) -> dict[str, Any]:
        try:
            facts: dict[str, Any] = json.loads(self._facts_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            raise Unavailable(
                f"{self._facts_file}, which holds the passwords of the cluster,"
                " is missing or damaged.",
                hint="Restore it from a backup of the data folder.",
                code="cluster",
            ) from None
        return facts

    def _write_facts(self, facts: dict[str, Any]) -> None:
        files.write_private(self._facts_file, json.dumps(facts, indent=2) + "\n")

    def _connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as superuser, waiting while the server recovers from a crash."""
        facts = self._facts()
        end = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                return psycopg.connect(
                    host=facts["socket"],
                    port=_PORT,
                    dbname=database,
                    user=SUPERUSER,
                    password=facts["passwords"][SUPERUSER],
                    autocommit=True,
                )
            except psycopg.OperationalError as error:
                if "starting up" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.1)

    # -- acting as the server's user -------------------------------------------------------

    @cached_property
    def _programs(self) -> _Programs:
        wanted = int(self._data_version()) if self._exists() else None
        return _find_programs(wanted, self.data)

    @cached_property
    def _uid(self) -> int:
        if os.geteuid():
            return os.geteuid()
        try:
            return pwd.getpwnam(SUPERUSER).pw_uid
        except KeyError:
            raise Unavailable(
                f"PostgreSQL does not run as root, and the user {SUPERUSER} does not exist.",
                hint=_INSTALL,
                code="cluster",
            ) from None

    @property
    def _as(self) -> list[str]:
        if os.geteuid():
            return []
        return ["setpriv", f"--reuid={SUPERUSER}", f"--regid={SUPERUSER}", "--init-groups"]

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        # In / because the server's user may not be able to enter our working folder; with an
        # environment of our own because PGDATA, PGPORT and the like would change what is done.
        return subprocess.run(
            [*self._as, *command],
            cwd="/",
            env={"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def _give(self, path: Path, mode: int) -> None:
        """Set the mode and, as root, make it the server's user's."""
        path.chmod(mode)
        if not os.geteuid():
            os.chown(path, self._uid, pwd.getpwuid(self._uid).pw_gid)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the home, waiting for another process that starts or stops it."""
        if not self.home.is_dir():
            self.home.mkdir(parents=True, exist_ok=True)
            # Nobody else lists what is in it; root's `postgres` must be able to pass through.
            self.home.chmod(0o700 if os.geteuid() else 0o711)
        with (self.home / "cluster.lock").open("a", encoding="utf-8") as file:
            end = time.monotonic() + 2 * _WAIT_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise Unavailable(
                            f"Another process has been starting or stopping the cluster in"
                            f" {self.home} for {2 * _WAIT_SECONDS} s.",
                            hint="Look for a hanging landdata process, end it and try again.",
                            code="cluster",
                        ) from None
                    time.sleep(0.05)
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the system's errors into one sentence of ours."""
        try:
            yield
        except LandDataError:
            raise
        except OSError as error:
            raise Unavailable(
                f"The database's folder is not usable: {error.filename or self.home}:"
                f" {error.strerror or error}.",
                hint="Mend its permissions or disk, or set LANDDATA_HOME to another folder.",
                code="cluster",
            ) from error
        except psycopg.Error as error:
            raise Unavailable(
                f"The cluster in {self.home} runs but refused us: {_last_line(str(error))}",
                hint=f"See {self.log}.",
                code="cluster",
            ) from error


def _find_programs(wanted: int | None, data: Path) -> _Programs:
    """Return the newest PostgreSQL that has PostGIS, or that of the version `wanted`."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    for name in ("pg_config", "initdb"):
        if found := shutil.which(name):
            folders.append(Path(found).resolve().parent)
    all_found: dict[int, _Programs] = {}
    bare: set[int] = set()
    for folder in dict.fromkeys(folders):
        version = _version(folder)
        if version is None:
            continue
        if _has_postgis(folder, version):
            all_found.setdefault(version, _Programs(folder, version))
        else:
            bare.add(version)
    if wanted is not None and wanted not in all_found:
        others = ", ".join(map(str, sorted(all_found))) or "none"
        raise Unavailable(
            f"{data} is of PostgreSQL {wanted}, which is not installed with PostGIS"
            f" (installed: {others}).",
            hint=f"Install postgresql-{wanted} and postgresql-{wanted}-postgis-3; or dump with"
            " the old version and load into a new LANDDATA_HOME.",
            code="cluster-version",
        )
    if not all_found:
        missing = f"PostGIS for PostgreSQL {max(bare)} is" if bare else "PostgreSQL and PostGIS are"
        raise Unavailable(f"{missing} not installed.", hint=_INSTALL, code="no-postgis")
    return all_found[wanted if wanted is not None else max(all_found)]


def _version(folder: Path) -> int | None:
    if not all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
        return None
    said = subprocess.run(
        [str(folder / "postgres"), "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"\s(\d+)", said)
    return int(found[1]) if found else None


def _has_postgis(folder: Path, version: int) -> bool:
    shares = [Path("/usr/share/postgresql", str(version))]
    if (folder / "pg_config").exists():
        said = subprocess.run(
            [str(folder / "pg_config"), "--sharedir"], capture_output=True, text=True, check=False
        ).stdout.strip()
        if said:
            shares.append(Path(said))
    return any((share / "extension" / "postgis.control").exists() for share in shares)


def _is_private(folder: Path, uid: int) -> bool:
    """Return whether it is a folder of this user's, that nobody else may enter."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == uid
        and not stat.S_IMODE(found.st_mode) & 0o077
    )


def _attached(shared_memory: str) -> bool:
    """Return whether processes are attached to the System V shared memory of this id."""
    with suppress(OSError):
        for line in Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            if words[1] == shared_memory:
                return int(words[6]) > 0
        return False
    return True


def _memory() -> int:
    """Return the memory we may use, in bytes: the machine's, or less in a container."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")
        memory = min(memory, int(limit))
    return memory


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            # Files come and go while the server works.
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[-1].strip() if lines else "no reason given").rstrip(".") + "."


def _tail(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace")
