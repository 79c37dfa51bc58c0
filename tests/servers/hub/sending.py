"""How an answer is sent, or broken off."""

import asyncio
import contextlib
import io
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO

from aiohttp import web

from tests.servers.hub.answers import Reply

#: Linux: bytes a second of a socket.
MAX_PACING_RATE = 47
#: So much of a file is handed to the kernel at once.
STEP = 1 << 18


def pace(request: web.BaseRequest, rate: int) -> None:
    """Have the kernel send so many bytes a second by this connection."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STEP)
        connection.setsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, rate)


async def send(
    request: web.BaseRequest,
    reply: Reply,
    action: str,
    flight: contextlib.ExitStack,
    count: Callable[[int], None],
) -> web.StreamResponse:
    """Sends an answer and breaks it as `action` says; closes `flight` before its last byte.

    `count` is told of bytes of files as they are sent.

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
            await send_range(request, response, body, start, (start + end) // 2, count)
            await break_off(request, action)
            return response
        await send_range(request, response, body, start, end - 1, count)
        body.seek(end - 1)
        last = body.read(1)[0]
        flight.close()
        await response.write(bytes([last ^ 0xFF if action == "flip" else last]))
        if isinstance(reply.body, Path):
            count(1)
    return response


async def send_range(
    request: web.BaseRequest,
    response: web.StreamResponse,
    body: IO[bytes],
    start: int,
    end: int,
    count: Callable[[int], None],
) -> None:
    if isinstance(body, io.BytesIO):
        await response.write(body.getvalue()[start:end])
        return
    while start < end:
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        size = min(STEP, end - start)
        await asyncio.get_running_loop().sendfile(request.transport, body, start, size)
        count(size)
        start += size


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
