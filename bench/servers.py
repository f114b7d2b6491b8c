"""The servers of `bench/serving.py`: how each is started, and how it is asked.

Ours; the best bare application (`bench/bare.py`) under Flask and Granian; and, where they are
installed, pygeoapi 0.21 and tipg (each in an environment of its own below the temporary folder),
MapServer and QGIS Server (Debian's, behind nginx), and pg_featureserv (on the PATH). Each has two
processes, pg_featureserv one of two threads. The peers get a table that is kinder to them than
ours: current versions only, in CRS84 already, with an index on everything that is queried.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from processes import tree

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
CACHE = Path(tempfile.gettempdir()) / "landdata-bench-peers"
WORKERS = 2
THREADS = 8
MANY = 2_000_000  # features that a server may send at once
PACKAGES = {
    "pygeoapi": ["pygeoapi==0.21.0", "geoalchemy2", "psycopg2-binary", "gunicorn"],
    "tipg": ["tipg", "uvicorn[standard]"],
}


@dataclass(frozen=True)
class Place:
    """Where a server finds the database, and where it is to listen."""

    database: Mapping[str, str]  # host, port, dbname, user, password
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """The database as a URL that every driver reads."""
        told = self.database
        return (
            f"postgresql://{told['user']}:{told['password']}@/{told['dbname']}"
            f"?host={quote(told['host'], safe='')}&port={told['port']}"
        )

    @property
    def conninfo(self) -> str:
        """The same in libpq's words."""
        return " ".join(f"{name}={value}" for name, value in self.database.items())


@dataclass(frozen=True)
class Server:
    """How a server is started, and in what words it is asked; None: that it can't be."""

    name: str
    start: Callable[[Place], list[subprocess.Popen[bytes]]]
    items: str
    tile: str | None = None
    export: str | None = None
    attribute: bool = True
    filter: Callable[[str, str], str] | None = None  # of a ring as WKT and an area
    keyset: str | None = None  # how a page is asked for by key: a link, or `after`
    ours: bool = False
    tiles_only: bool = False
    boxes: bool = False  # it takes what the box of a parcel touches
    hangs: bool = False  # after a client has aborted requests: it is started anew for each cell
    needs: tuple[Path | str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What is not installed of what it needs."""
        return [str(each) for each in self.needs if not (
            each.exists() if isinstance(each, Path) else shutil.which(each))]  # fmt: skip


# -- ours and the bare ones ------------------------------------------------------------------


def ours(place: Place, **more: str) -> list[subprocess.Popen[bytes]]:
    return [run(place, [BIN / "python", "-m", "portal", "serve"], _ours(place) | more)]


def uncached(place: Place) -> list[subprocess.Popen[bytes]]:
    return ours(place, LANDDATA_TILE_CACHE_MB="0")


def bare_flask(place: Place) -> list[subprocess.Popen[bytes]]:
    return [run(place, _gunicorn(BIN, place, "bare:flask_application()"), _bare(place))]


def bare_granian(place: Place) -> list[subprocess.Popen[bytes]]:
    return [run(place, _granian(place, "bare:application"), _bare(place))]


def _ours(place: Place) -> dict[str, str]:
    return {"LANDDATA_DATABASE_URL": place.url, "LANDDATA_PORT": str(place.port),
            "LANDDATA_HOME": str(place.folder)}  # fmt: skip


def _bare(place: Place) -> dict[str, str]:
    return {"BARE_DATABASE": place.conninfo, "PYTHONPATH": str(HERE)}


def _granian(place: Place, *words: str) -> list[str | Path]:
    return [
        BIN / "granian", "--interface", "wsgi", "--workers", str(WORKERS),
        "--blocking-threads", str(THREADS), "--no-access-log", "--log-level", "error",
        "--host", "127.0.0.1", "--port", str(place.port), *words,
    ]  # fmt: skip


def _gunicorn(programs: Path, place: Place, application: str) -> list[str | Path]:
    return [
        programs / "gunicorn", "--workers", str(WORKERS), "--threads", str(THREADS),
        "--worker-class", "gthread", "--bind", f"127.0.0.1:{place.port}", "--log-level", "error",
        application,
    ]  # fmt: skip


# -- pygeoapi and tipg -----------------------------------------------------------------------


def pygeoapi(place: Place) -> list[subprocess.Popen[bytes]]:
    provider = {
        "type": "feature", "name": "PostgreSQL", "id_field": "id", "table": "parcels",
        "geom_field": "geom", "data": {**place.database, "search_path": ["bench"]},
    }  # fmt: skip
    text = {"en": "x"}
    configuration = {
        "server": {
            "bind": {"host": "127.0.0.1", "port": place.port},
            "url": f"http://127.0.0.1:{place.port}",
            "mimetype": "application/json; charset=UTF-8", "encoding": "utf-8", "gzip": False,
            "languages": ["en-US"], "cors": False, "pretty_print": False, "admin": False,
            "limits": {"default_items": 10, "max_items": MANY},
            "map": {"url": "", "attribution": ""},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {"title": text, "description": text, "keywords": {"en": ["x"]},
                               "keywords_type": "theme", "terms_of_service": "x",
                               "url": "http://127.0.0.1"},
            "license": {"name": "x", "url": "http://127.0.0.1"},
            "provider": {"name": "x", "url": "http://127.0.0.1"},
            "contact": {"name": "x", "email": "x@x"},
        },
        "resources": {
            "parcels": {
                "type": "collection", "title": text, "description": text,
                "keywords": {"en": ["x"]}, "links": [],
                "extents": {"spatial": {"bbox": [-180, -90, 180, 90],
                                        "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}},
                "providers": [provider],
            }
        },
    }  # fmt: skip
    config, definition = place.folder / "pygeoapi.yml", place.folder / "openapi.yml"
    config.write_text(json.dumps(configuration))  # JSON is YAML
    environment = {"PYGEOAPI_CONFIG": str(config), "PYGEOAPI_OPENAPI": str(definition)}
    here = environment_of("pygeoapi")
    subprocess.run(
        [here / "pygeoapi", "openapi", "generate", config, "--output-file", definition],
        env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return [run(place, _gunicorn(here, place, "pygeoapi.flask_app:APP"), environment)]


def tipg(place: Place) -> list[subprocess.Popen[bytes]]:
    command = [
        environment_of("tipg") / "uvicorn", "--workers", str(WORKERS), "--log-level", "error",
        "--host", "127.0.0.1", "--port", str(place.port), "tipg.main:app",
    ]  # fmt: skip
    return [run(place, command, {
        # its settings want a host where a host stands
        "DATABASE_URL": (
            f"postgresql://{place.database['user']}:{place.database['password']}@"
            f"{quote(place.database['host'], safe='')}:{place.database['port']}"
            f"/{place.database['dbname']}"
        ),
        "TIPG_DB_SCHEMAS": '["bench"]',
        "TIPG_MAX_FEATURES_PER_QUERY": str(MANY), "TIPG_MAX_FEATURES_PER_TILE": str(MANY),
    })]  # fmt: skip


def environment_of(name: str) -> Path:
    """Return the folder of programs of a peer, installed if it is not there yet."""
    home = CACHE / name
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        (home / "ready").touch()
    return home / "bin"


# -- MapServer and QGIS Server, behind nginx -------------------------------------------------

MAPSERV = Path("/usr/lib/cgi-bin/mapserv")
QGIS = Path("/usr/lib/cgi-bin/qgis_mapserv.fcgi")

MAPFILE = """
MAP
  NAME "bench"
  EXTENT 100 5 115 25
  SIZE 256 256
  PROJECTION "init=epsg:4326" END
  OUTPUTFORMAT
    NAME "mvt" DRIVER MVT EXTENSION "pbf"
    FORMATOPTION "EXTENT=4096" FORMATOPTION "EDGE_BUFFER=64"
  END
  WEB METADATA
    "oga_title" "bench" "ows_title" "bench" "oga_enable_request" "*" "ows_enable_request" "*"
    "oga_onlineresource" "http://127.0.0.1:{port}/bench/ogcapi" "oga_max_limit" "{many}"
  END END
  LAYER
    NAME "parcels" TYPE POLYGON STATUS ON TEMPLATE "x"
    PROJECTION "init=epsg:4326" END
    CONNECTIONTYPE POSTGIS CONNECTION "{conninfo}"
    PROCESSING "CLOSE_CONNECTION=DEFER"
    DATA "geom FROM (SELECT {columns}, geom FROM bench.parcels) AS p
      USING UNIQUE id USING SRID=4326"
    METADATA
      "ows_title" "parcels" "gml_include_items" "all" "gml_featureid" "id"
      "oga_featureid" "id" "ows_extent" "100 5 115 25"
    END
  END
END
"""
COLUMNS = (
    "id, gid, national_id, commune, sheet, number, scale, area, legal_area, land_use, label,"
    " surveyed_on::text AS surveyed_on, valid_from::text AS valid_from, version"
)
MAPSERVER_CONFIG = """
CONFIG
  ENV MS_MAP_PATTERN "." END
  MAPS bench "{mapfile}" END
END
"""
#: QGIS writes its project itself: a hand-made one it takes for an empty one.
QGIS_PROJECT = """
import sys
from qgis.core import QgsApplication, QgsCoordinateReferenceSystem, QgsProject, QgsVectorLayer
QgsApplication.setPrefixPath("/usr", True)
application = QgsApplication([], False)
application.initQgis()
project = QgsProject.instance()
project.setCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
layer = QgsVectorLayer(sys.argv[1], "parcels", "postgres")
layer.setShortName("parcels")
project.addMapLayer(layer)
project.writeEntry("WFSLayers", "/", [layer.id()])
project.writeEntry("WFSLayersPrecision", "/" + layer.id(), 7)
project.write(sys.argv[2])
"""
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000000;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  upstream application {{ server unix:{folder}/socket; keepalive {workers}; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      fastcgi_pass application; fastcgi_keep_conn on; fastcgi_read_timeout 600;
      fastcgi_buffers 64 64k; fastcgi_busy_buffers_size 128k; fastcgi_max_temp_file_size 0;
      fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param REQUEST_URI $request_uri; fastcgi_param SCRIPT_NAME "";
      fastcgi_param PATH_INFO $uri; fastcgi_param SERVER_PROTOCOL $server_protocol;
      fastcgi_param SERVER_NAME 127.0.0.1; fastcgi_param SERVER_PORT {port};
      fastcgi_param HTTP_HOST $http_host; fastcgi_param HTTP_ACCEPT $http_accept;
    }}
  }}
}}
"""


def mapserver(place: Place) -> list[subprocess.Popen[bytes]]:
    mapfile, config = place.folder / "bench.map", place.folder / "mapserver.conf"
    mapfile.write_text(MAPFILE.format(
        port=place.port, many=MANY, conninfo=place.conninfo, columns=COLUMNS))  # fmt: skip
    config.write_text(MAPSERVER_CONFIG.format(mapfile=mapfile))
    return _behind_nginx(place, MAPSERV, {"MAPSERVER_CONFIG_FILE": str(config)})


def qgis(place: Place) -> list[subprocess.Popen[bytes]]:
    project = place.folder / "bench.qgs"
    told = place.database
    source = (
        f"dbname='{told['dbname']}' host={told['host']} port={told['port']}"
        f" user='{told['user']}' password='{told['password']}' sslmode=disable key='gid'"
        ' estimatedmetadata=true srid=4326 type=MultiPolygon table="bench"."parcels" (geom)'
    )
    environment = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(place.folder)}
    subprocess.run(
        ["/usr/bin/python3", "-c", QGIS_PROJECT, source, str(project)],
        env={**os.environ, **environment}, check=True, capture_output=True,
    )  # fmt: skip
    return _behind_nginx(place, QGIS, environment | {
        "QGIS_PROJECT_FILE": str(project), "QGIS_OPTIONS_PATH": str(place.folder),
        "QGIS_SERVER_API_WFS3_MAX_LIMIT": str(MANY), "QGIS_SERVER_LOG_LEVEL": "2",
    })  # fmt: skip


def _behind_nginx(
    place: Place, program: Path, environment: dict[str, str]
) -> list[subprocess.Popen[bytes]]:
    """Two FastCGI processes that share a socket, as `spawn-fcgi` would start them."""
    configuration = place.folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=place.folder, port=place.port, workers=WORKERS))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place.folder / "socket"))
        listening.listen(1024)
        place.folder.chmod(0o755)
        (place.folder / "socket").chmod(0o777)
        made = [
            run(place, [program], environment, stdin=listening.fileno(), quiet=True)
            for _ in range(WORKERS)
        ]
    nginx = ["nginx", "-c", configuration, "-e", "stderr", "-p", place.folder]
    return [*made, run(place, nginx, {})]


def pg_featureserv(place: Place) -> list[subprocess.Popen[bytes]]:
    return [run(place, ["pg_featureserv"], {
        "DATABASE_URL": place.conninfo, "PGFS_SERVER_HTTPHOST": "127.0.0.1",
        "PGFS_SERVER_HTTPPORT": str(place.port), "PGFS_PAGING_LIMITMAX": str(MANY),
        "PGFS_DATABASE_TABLEINCLUDES": "bench.parcels",
    }, quiet=True)]  # fmt: skip


SERVERS = (
    Server(
        "landdata", ours, "/ogc/collections/parcels/items",
        tile="/ogc/collections/parcels/tiles/WebMercatorQuad/{z}/{y}/{x}",
        export="/ogc/collections/parcels/export?f=geojson",
        filter=lambda ring, area: f"filter=S_INTERSECTS(geometry, {ring}) AND area > {area}",
        keyset="link", ours=True,
    ),
    Server(
        "bare Flask", bare_flask, "/items", tile="/tiles/{z}/{y}/{x}", export="/export",
        filter=lambda ring, _: f"ring={ring}", keyset="after", needs=(BIN / "gunicorn",),
    ),
    Server(
        "bare Granian", bare_granian, "/items", tile="/tiles/{z}/{y}/{x}", export="/export",
        filter=lambda ring, _: f"ring={ring}", keyset="after", needs=(BIN / "granian",),
    ),
    Server(
        "pygeoapi 0.21", pygeoapi, "/collections/parcels/items",
        # its filters are ECQL
        filter=lambda ring, area: f"filter=INTERSECTS(geom, {ring}) AND area > {area}",
        export="/collections/parcels/items?limit={count}",
    ),
    Server(
        "tipg", tipg, "/collections/bench.parcels/items",
        tile="/collections/bench.parcels/tiles/WebMercatorQuad/{z}/{x}/{y}",
        filter=lambda ring, area: f"filter=S_INTERSECTS(geom, {ring}) AND area > {area}",
        export="/collections/bench.parcels/items?limit={count}",
    ),
    Server(
        "MapServer 8", mapserver, "/bench/ogcapi/collections/parcels/items",
        tile="/?map=bench&mode=tile&tilemode=gmap&layers=parcels&map.imagetype=mvt"
        "&tile={x}+{y}+{z}",
        export="/bench/ogcapi/collections/parcels/items?limit={count}",
        attribute=False, needs=(MAPSERV, "nginx"),
    ),
    Server(
        "QGIS Server 3.22", qgis, "/wfs3/collections/parcels/items", boxes=True,
        export="/wfs3/collections/parcels/items?limit={count}",
        needs=(QGIS, Path("/usr/lib/python3/dist-packages/qgis"), "nginx"),
    ),
    Server(
        "pg_featureserv", pg_featureserv, "/collections/bench.parcels/items",
        filter=lambda ring, area: f"filter=INTERSECTS(geom, {ring}) AND area > {area}",
        export="/collections/bench.parcels/items?limit={count}",
        hangs=True, needs=("pg_featureserv",),
    ),
    # only for the tiles that are made for each request
    Server(
        "landdata (no cache)", uncached, "/ogc/collections/parcels/items",
        tile="/ogc/collections/parcels/tiles/WebMercatorQuad/{z}/{y}/{x}", ours=True,
        tiles_only=True,
    ),
)  # fmt: skip


def checkout(folder: Path) -> Server:
    """Return the service of another checkout of landdata, set up by its `script/setup`."""

    def start(place: Place) -> list[subprocess.Popen[bytes]]:
        environment = _ours(place) | {"PYTHONPATH": ""}
        return [run(place, [folder / ".venv/bin/landdata", "serve"], environment)]

    return replace(SERVERS[0], name="before", start=start)


# -- running ---------------------------------------------------------------------------------


@dataclass
class Running:
    """A server that answers, until it is stopped."""

    server: Server
    database: Mapping[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    folder: Path | None = None
    base: str = ""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="landdata-bench-"))
        self.base = f"http://127.0.0.1:{port}"
        self.processes = self.server.start(Place(self.database, port, self.folder))
        asked = urllib.request.Request(f"{self.base}{self.server.items}?limit=1")
        asked.add_header("Accept", "application/geo+json")
        for _ in range(600):
            try:
                urllib.request.urlopen(asked, timeout=60).read()
            except urllib.error.HTTPError as error:
                if error.code != 502:  # nginx is there before what is behind it
                    sys.exit(f"{self.server.name}: {error.code} {error.read()[:500]!r}")
            except OSError:
                pass
            else:
                return
            for process in self.processes:
                if process.poll() is not None:
                    sys.exit(f"{self.server.name} ended with {process.returncode}")
            time.sleep(0.1)
        sys.exit(f"{self.server.name} does not answer")

    def stop(self) -> None:
        """End its processes, all of them."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        """Start it anew, on another port."""
        self.stop()
        self.start()

    def pids(self) -> list[int]:
        """All its processes."""
        return [pid for each in self.processes for pid in tree(each.pid)]


def run(
    place: Place,
    command: Sequence[str | Path],
    environment: dict[str, str],
    *,
    stdin: int = subprocess.DEVNULL,
    quiet: bool = False,
) -> subprocess.Popen[bytes]:
    """Start one process of a server in its folder."""
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if quiet else None,
        cwd=place.folder,
    )
