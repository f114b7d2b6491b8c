"""Files of all features that match: streamed, or as a job."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from landdata.features import parameters
from landdata.features.collections import Collection
from landdata.features.exports import formats, stream
from landdata.features.exports.reader import ExportReader
from landdata.features.media_types import JSON
from landdata.translations import sentence
from ogc.disconnects import CancelledOnDisconnect
from ogc.negotiation import Request
from ogc.responses import Response, dump, localize_titles
from ogc.service import Service

#: A client that reads nothing for so many seconds is disconnected: it holds an export's place.
READ_SECONDS = 300


async def export(service: Service, request: Request, collection: str) -> ASGIApp:
    """A file of all that matches."""
    of = await service.collection(collection)
    name = formats.read_format(request.first.get("f"))
    query = parameters.read_export_query(of, [*request.arguments], service.settings.srid)
    service.language(request)  # a file has none, but a wrong one is refused
    known = formats.FORMATS[name]
    headers = [
        ("Content-Type", known.content_type),
        ("Content-Disposition", f'attachment; filename="{formats.filename(of, name)}"'),
        ("Cache-Control", "no-store"),
    ]
    if name == "jsonfg" or not query.crs.north_first:  # else its axes are not in that order
        headers.append(("Content-Crs", f"<{query.crs.uri}>"))
    if request.scope["method"] == "HEAD":
        return Response(200, headers)
    if _prefers_a_job(request):
        return await _begin_job(service, request, of, name)
    return await _begun(stream.Export(ExportReader(service.url), query, name), headers)


async def _begun(export: stream.Export, headers: list[tuple[str, str]]) -> _Streamed:
    """Return an export whose first bytes are there; stop it where this is cancelled."""
    begin = asyncio.ensure_future(run_in_threadpool(export.begin))
    try:
        await asyncio.shield(begin)
    except asyncio.CancelledError:
        await run_in_threadpool(export.stop)
        await asyncio.gather(begin, return_exceptions=True)
        await run_in_threadpool(export.close)
        raise
    return _Streamed(export, headers)


class _Streamed:
    """A response that is sent while its file is written.

    Where that fails it raises, and the server breaks the connection off: nobody takes half a file
    for a whole one. HTTP/1.0 can't tell one from the other, so there the file is written first.
    """

    def __init__(self, export: stream.Export, headers: list[tuple[str, str]]) -> None:
        self._export = export
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        blocks = self._export.blocks()
        try:
            async with CancelledOnDisconnect(receive):
                if scope["http_version"] in ("1", "1.0"):
                    size = await run_in_threadpool(self._export.finish)
                    self._headers.append(("Content-Length", str(size)))
                await Response(200, self._headers).start(send)
                while (block := await run_in_threadpool(next, blocks, None)) is not None:
                    body = {"type": "http.response.body", "body": block, "more_body": True}
                    await asyncio.wait_for(send(body), READ_SECONDS)
                await send({"type": "http.response.body", "body": b""})
        finally:
            await run_in_threadpool(self._export.close)


async def _begin_job(service: Service, request: Request, of: Collection, name: str) -> Response:
    state = None
    if of.id in ("parcels", "sheets"):
        rows = await service.pool.rows("SELECT coalesce(max(number), 0) FROM publications", {})
        state = rows[0][0]
    ask = partial(service.export_jobs.ask, of, name, [*request.arguments], state)
    number = await run_in_threadpool(ask)
    response = await _job(service, request, number)
    response.status = 202
    response.headers.append(("Location", f"{request.base}/exports/{number}"))
    response.headers.append(("Preference-Applied", "respond-async"))
    return response


async def job(service: Service, request: Request, job: str) -> Response:
    """The status of an export job, with a link to its file when that is whole."""
    service.negotiate(request, (JSON,))
    return await _job(service, request, job)


async def _job(service: Service, request: Request, job: str) -> Response:
    language = service.language(request)
    status = await run_in_threadpool(service.export_jobs.status, job, language)
    file = status.pop("file")
    here = f"{request.base}/exports/{job}"
    links = [{"href": here, "rel": "self", "type": JSON, "title": sentence("This document")}]
    if status["status"] == "successful":
        known = formats.FORMATS[status["format"]]
        media = known.media_type
        file_link = {"href": f"{here}/{file}", "rel": "enclosure", "type": media}
        links.append({**file_link, "title": known.title})
    body = dump(localize_titles({**status, "links": links}, language)).encode()
    headers = [("Content-Type", JSON), ("Content-Language", language)]
    headers.append(("Content-Length", str(len(body))))
    headers.append(("Cache-Control", "no-store"))
    if status["status"] in ("accepted", "running"):
        headers.append(("Retry-After", "2"))
    return Response(200, headers, body)


async def job_file(service: Service, request: Request, job: str, file: str) -> ASGIApp:
    """The file of an export job; in parts too (Range)."""
    parameters.unique_values(request.arguments, ())
    path = await run_in_threadpool(service.export_jobs.file, job, file)
    status = await run_in_threadpool(service.export_jobs.status, job)
    known = formats.FORMATS[status["format"]]
    stat = path.stat()
    headers = {
        "Cache-Control": "no-cache",
        "Content-Disposition": f"attachment; filename={path.name}",
    }
    response = FileResponse(path, media_type=known.content_type, stat_result=stat, headers=headers)
    tag = response.headers["etag"]
    if request.has_current(tag.strip('"'), int(stat.st_mtime)):
        return Response(304, [("ETag", tag), ("Cache-Control", "no-cache")])
    return response


def _prefers_a_job(request: Request) -> bool:
    """Whether the client would rather come back later (RFC 7240)."""
    preferences = request.header(b"prefer").split(",")
    return any(each.partition(";")[0].strip().lower() == "respond-async" for each in preferences)
