"""How an answer is sent, or broken off."""

import asyncio
import contextlib
import io
import socket
import struct
from pathlib import Path
from typing import IO

from aiohttp import web

from tests.servers.hub.answers import Reply


async def send(
    request: web.BaseRequest, reply: Reply, action: str, flight: contextlib.ExitStack
) -> web.StreamResponse:
    """Sends an answer and breaks it as `action` says; closes `flight` before its last byte.

    After that byte, the client's next request could be counted together with the one that is
    complete.
    """
    start, end = reply.span
    breaks = action in ("truncate", "reset", "stall")
    is_empty = request.method == "HEAD" or start == end
    if breaks and is_empty:
        await break_off(request, action)
        return web.Response(status=502)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = end - start
    await response.prepare(request)
    if is_empty:
        return response
    with reply.body.open("rb") if isinstance(reply.body, Path) else io.BytesIO(reply.body) as body:
        if breaks:
            await send_range(request, response, body, start, (start + end) // 2)
            await break_off(request, action)
            return response
        await send_range(request, response, body, start, end - 1)
        body.seek(end - 1)
        last = body.read(1)[0]
        flight.close()
        await response.write(bytes([last ^ 0xFF if action == "flip" else last]))
    return response


async def send_range(
    request: web.BaseRequest, response: web.StreamResponse, body: IO[bytes], start: int, end: int
) -> None:
    if isinstance(body, io.BytesIO):
        await response.write(body.getvalue()[start:end])
    elif start < end:
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        await asyncio.get_running_loop().sendfile(request.transport, body, start, end - start)


async def break_off(request: web.BaseRequest, action: str) -> None:
    """Ends the connection (`truncate`), aborts it (`reset`), or leaves the client waiting."""
    if action == "stall":
        await asyncio.Event().wait()  # cancelled when the client goes, or the server ends
    if request.transport is not None:
        if action == "reset":
            connection = request.transport.get_extra_info("socket")
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            request.transport.abort()
        request.transport.close()
