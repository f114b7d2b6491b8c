"""The process that lets GDAL at a stranger's file: no network, no new rights, limited means.

Run by its path, apart from the package and with an environment of its own: so it imports
nothing of landdata. It reads one layer and writes it as an Arrow stream: geometry as WKB,
text as latin-1, one character a byte. Without arguments it names GDAL's drivers.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys

_NEWUSER, _NEWNET = 0x1000_0000, 0x4000_0000
_NO_NEW_PRIVS = 38


def confine(limits: dict[str, int]) -> str:
    """Give up the network, new rights and unlimited means; return what the network became.

    Before any import that starts a thread: a process with threads may not enter a namespace.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    network = "none"
    if libc.unshare(_NEWNET) != 0 and libc.unshare(_NEWUSER | _NEWNET) != 0:
        network = f"not cut off: {os.strerror(ctypes.get_errno())}"
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["seconds"], limits["seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file"], limits["file"]))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    return network


def main() -> int:
    """Read as the parent's one argument says, or list the drivers."""
    if len(sys.argv) == 1:
        import pyogrio  # noqa: PLC0415

        sys.stdout.write(json.dumps(sorted(pyogrio.list_drivers())))
        return 0
    task = json.loads(sys.argv[1])
    network = confine(task["limits"])

    import pyarrow as pa  # noqa: PLC0415
    import pyogrio  # noqa: PLC0415
    from pyogrio.raw import open_arrow  # noqa: PLC0415

    drivers = sorted(pyogrio.list_drivers())
    if drivers != task["drivers"]:
        sys.stderr.write(f"drivers: {', '.join(drivers)}")
        return 3
    rows = 0
    with (
        open_arrow(
            task["source"],
            encoding="ISO-8859-1",
            return_fids=True,
            use_pyarrow=True,
            batch_size=65_536,
        ) as (meta, reader),
        pa.OSFile(task["target"], "wb") as sink,
        pa.ipc.new_stream(sink, reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    sys.stdout.write(
        json.dumps(
            {
                "rows": rows,
                "network": network,
                "geometry": meta["geometry_name"] or "wkb_geometry",
                "fid": meta["fid_column"] or "OGC_FID",
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
