"""The configuration of the embedded server: sized for this machine, silent about values."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: The port names the socket's file; nothing listens on TCP.
PORT = 5432
_MB = 1 << 20


def configuration(socket: Path, *, fast: bool) -> str:
    """Return the text of landdata.conf; `fast` trades safety against a crash for speed."""
    memory = 1024 * _MB if fast else _memory()
    values: dict[str, str] = {
        "listen_addresses": "",
        "unix_socket_directories": str(socket),
        "port": str(PORT),
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "shared_buffers": f"{_between(128, memory // _MB // 8, 2048)}MB",
        "effective_cache_size": f"{_between(256, memory // _MB // 2, 65536)}MB",
        "maintenance_work_mem": f"{_between(64, memory // _MB // 16, 1024)}MB",
        "work_mem": "32MB",
        "max_wal_size": "4GB",
        # With less, a large acceptance would write the log itself, buffer by buffer.
        "wal_buffers": "64MB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        # Compiling costs more than it saves on statements that take milliseconds.
        "jit": "off",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        # A statement, a failing row and even an error's text may contain an owner's name:
        # none is logged; the client that sent the statement gets the error.
        "log_statement": "none",
        "log_min_duration_statement": "-1",
        "log_min_duration_sample": "-1",
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_line_prefix": "%m [%p] ",
        "log_timezone": "UTC",
    }
    if fast:
        values |= {
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "wal_level": "minimal",
            "max_wal_senders": "0",
        }
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in values.items())


def _memory() -> int:
    """Return the memory that we may use, in bytes: the machine's, or less in a container."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")
        memory = min(memory, int(limit))
    return memory


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
