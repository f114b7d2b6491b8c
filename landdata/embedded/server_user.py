"""The user as whom PostgreSQL runs: the one who runs landdata, or for root the user `postgres`.

PostgreSQL refuses to run as root. Root starts `initdb` and `pg_ctl` directly through `setpriv`,
without Python in between, because `postgres` may not be able to enter the folder of root's
interpreter.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from pathlib import Path

from landdata.embedded.programs import INSTALL_HINT
from landdata.errors import Unavailable

_NAME = "postgres"


def uid() -> int:
    """Return the user's number. Raises `Unavailable` where root has no user `postgres`."""
    if os.geteuid():
        return os.geteuid()
    try:
        return pwd.getpwnam(_NAME).pw_uid
    except KeyError:
        raise Unavailable(
            "PostgreSQL does not run as root, and the user {name} does not exist.",
            hint=INSTALL_HINT,
            code="cluster",
            name=_NAME,
        ) from None


def name_of(number: int) -> str:
    """Return the name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program as the server's user; its output is captured."""
    as_user = ["setpriv", f"--reuid={_NAME}", f"--regid={_NAME}", "--init-groups"]
    # In / because the user may not be able to enter our working folder; with an environment of
    # our own because PGDATA, PGPORT and the like would change what the programs do.
    return subprocess.run(
        [*([] if os.geteuid() else as_user), *command],
        cwd="/",
        env={"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def hand_over(path: Path, mode: int) -> None:
    """Set the mode of a file or folder and, as root, give it to the server's user."""
    path.chmod(mode)
    if not os.geteuid():
        os.chown(path, uid(), pwd.getpwuid(uid()).pw_gid)


def require_access(folder: Path) -> None:
    """Raise `Unavailable` where the user `postgres` can't enter a folder or one above it."""
    if os.geteuid():
        return
    folders = [str(p) for p in reversed((folder, *folder.parents))]
    script = 'for d; do [ -x "$d" ] || { printf %s "$d"; exit 1; }; done'
    check = run("/bin/sh", "-c", script, "sh", *folders)
    if check.returncode:
        raise Unavailable(
            "The user {name}, as whom PostgreSQL runs for root, can't enter {stdout}.",
            hint="Set LANDDATA_HOME to a folder that everybody may enter,"
            " such as /var/lib/landdata, or run as an ordinary user.",
            code="cluster",
            name=_NAME,
            stdout=check.stdout or folder,
        )


def owns_alone(folder: Path) -> bool:
    """Return whether it is a folder of the server's user that nobody else may enter."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == uid()
        and not stat.S_IMODE(status.st_mode) & 0o077
    )
