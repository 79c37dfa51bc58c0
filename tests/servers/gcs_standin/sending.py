"""How the bytes of an object are sent: as they are, in ranges, unpacked."""

import asyncio
import email.parser
import email.utils
import gzip

from aiohttp import web
from multidict import CIMultiDict

from tests.servers.gcs_standin.answers import span
from tests.servers.gcs_standin.objects import Stored

PIECE = 256 << 10


def identity_headers(stored: Stored, *, as_xml: bool) -> CIMultiDict[str]:
    """XML sends each hash in a separate header."""
    hashes = [f"{name}={value}" for name, value in stored.hashes.items()]
    headers = CIMultiDict(
        {
            "ETag": stored.xml_etag if as_xml else stored.etag,
            "X-Goog-Generation": str(stored.generation),
            "X-Goog-Metageneration": "1",
            "X-Goog-Stored-Content-Encoding": stored.encoding or "identity",
            "X-Goog-Stored-Content-Length": str(stored.content.size),
            "X-Goog-Storage-Class": "STANDARD",
        }
    )
    headers.extend([("X-Goog-Hash", each) for each in (hashes if as_xml else [",".join(hashes)])])
    return headers


async def send(request: web.BaseRequest, stored: Stored, *, as_xml: bool) -> web.StreamResponse:
    """The bytes of an object, or those asked for; unpacked for clients that cannot unpack them."""
    headers = identity_headers(stored, as_xml=as_xml)
    headers["Content-Type"] = stored.type
    headers["Last-Modified"] = email.utils.format_datetime(stored.updated, usegmt=True)
    if stored.encoding == "gzip":
        headers["Vary"] = "Accept-Encoding"
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return await send_unpacked(request, stored, headers)
    if stored.encoding:
        headers["Content-Encoding"] = stored.encoding
    headers["Accept-Ranges"] = "bytes"
    size = stored.content.size
    asked = span(request.headers.get("Range", ""), size)
    start, end = asked or (0, size)
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response = web.StreamResponse(status=206 if asked else 200, headers=headers)
    response.content_length = end - start
    await response.prepare(request)
    if request.method == "HEAD" or start == end:
        return response
    if isinstance(stored.content.kept, bytes):
        await response.write(stored.content.kept[start:end])
    elif request.transport is not None:
        loop = asyncio.get_running_loop()
        with stored.content.open() as body:
            await loop.sendfile(request.transport, body, start, end - start)
    return response


async def send_unpacked(
    request: web.BaseRequest, stored: Stored, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """Decompressive transcoding: ranges are ignored, and the length is not known."""
    headers["Warning"] = "214 UploadServer gunzipped"
    headers["X-GUploader-Response-Body-Transformations"] = "gunzipped"
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    if request.method != "HEAD":
        with stored.content.open() as packed, gzip.open(packed) as body:
            while piece := body.read(PIECE):
                await response.write(piece)
    return response
