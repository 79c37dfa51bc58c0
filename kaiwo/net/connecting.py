"""Connects to the first address of a host that answers ("Happy Eyeballs", RFC 8305).

    the addresses take turns, IPv6 and IPv4
    the next one is tried beside the others after a quarter of a second, or as soon as one fails
    the first connection counts; all others are closed

A dead address, most often of IPv6, costs a quarter of a second instead of the whole time-out.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

#: The next address is tried after this time; also how soon the end of the source is noticed.
_PATIENCE_S = 0.25
#: Limits of this process: another address would fail alike.
_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_Option = tuple[int, int, int | bytes]
_Address = tuple[socket.AddressFamily, object]


def connect(
    host: str,
    port: int,
    timeout_s: float,
    *,
    options: Iterable[_Option] = (),
    is_over: Callable[[], bool] = lambda: False,
) -> socket.socket:
    """A connection to that host; the caller closes it.

    Args:
        host: a name, or an address of IPv4 or IPv6 without brackets.
        port: of TCP.
        timeout_s: for all addresses together; also that of the socket.
        options: of the socket.
        is_over: nobody needs the connection any more.

    Raises:
        OSError: no address answers; of several errors, a refused connection counts.
        TimeoutError: none has answered in time.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    left = _in_turns([(family, at) for family, _, _, _, at in found])
    with contextlib.ExitStack() as stack:
        trying: dict[int, socket.socket] = {}
        poll, errors = select.poll(), list[OSError]()
        end_s, next_s = time.monotonic() + timeout_s, 0.0
        while trying or left:
            now_s = time.monotonic()
            if now_s >= end_s or is_over():
                break
            if left and (not trying or now_s >= next_s):
                try:
                    tried = stack.enter_context(_begin(*left.pop(0), options))
                except OSError as error:
                    if error.errno in _LIMITS:
                        raise
                    errors.append(error)
                    continue
                trying[tried.fileno()], next_s = tried, now_s + _PATIENCE_S
                poll.register(tried, select.POLLOUT)
            wait_s = min(end_s, next_s if left else end_s, now_s + _PATIENCE_S) - now_s
            for number, _ in poll.poll(max(wait_s, 0.0) * 1000):
                poll.unregister(number)
                ready = trying.pop(number)
                code = ready.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    return _kept(ready, timeout_s)
                errors.append(OSError(code, os.strerror(code)))
                next_s = now_s
    raise _most_telling(errors) if errors and not trying else TimeoutError("no address answers")


def _begin(family: socket.AddressFamily, at: object, options: Iterable[_Option]) -> socket.socket:
    """A socket whose connection is under way."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        for option in options:
            made.setsockopt(*option)
        with contextlib.suppress(BlockingIOError):  # under way
            made.connect(at)  # type: ignore[arg-type]  # as getaddrinfo states it
    except BaseException:
        made.close()
        raise
    return made


def _kept(connected: socket.socket, timeout_s: float) -> socket.socket:
    """The same connection in a socket that the block which made it does not close."""
    kept = socket.socket(fileno=connected.detach())
    kept.settimeout(timeout_s)
    return kept


def _in_turns(addresses: Sequence[_Address]) -> list[_Address]:
    """The addresses of all families in turns, the system's first one first."""
    by_family = defaultdict[socket.AddressFamily, list[_Address]](list)
    for each in addresses:
        by_family[each[0]].append(each)
    rounds = itertools.zip_longest(*by_family.values())
    return [each for one in rounds for each in one if each is not None]


def _most_telling(errors: Sequence[OSError]) -> OSError:
    """A refused connection: the host is there. Else the first error."""
    return next((each for each in errors if isinstance(each, ConnectionRefusedError)), errors[0])
