"""A host of several addresses: the first that answers counts, and a dead one costs little."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kaiwo.net.connecting import connect

TIMEOUT_S = 20.0


@contextlib.contextmanager
def silent(family: socket.AddressFamily, host: str) -> Iterator[int]:
    """A port that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.bind((host, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield port


def named(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[socket.AddressFamily, Any]) -> None:
    """The system's answer for every name."""
    found = [(family, socket.SOCK_STREAM, 6, "", at) for family, at in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_a_dead_address_before_a_living_one_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        silent(socket.AF_INET6, "::1") as dead,
        socket.create_server(("127.0.0.1", 0)) as alive,
    ):
        named(
            monkeypatch,
            (socket.AF_INET6, ("::1", dead, 0, 0)),
            (socket.AF_INET6, ("::1", dead, 0, 0)),
            (socket.AF_INET, alive.getsockname()),
        )
        start_s = time.monotonic()
        with connect("host", 1, TIMEOUT_S) as found:
            assert found.getpeername() == alive.getsockname()
            assert found.gettimeout() == TIMEOUT_S
        assert time.monotonic() - start_s < 5.0


def test_a_refusal_is_followed_by_the_next_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as alive, socket.create_server(("", 0)) as gone:
        refused = ("127.0.0.1", gone.getsockname()[1])
        gone.close()
        addresses = [(socket.AF_INET, refused), (socket.AF_INET, alive.getsockname())]
        named(monkeypatch, *addresses)
        with connect("host", 1, TIMEOUT_S) as found:
            assert found.getpeername() == alive.getsockname()


def test_of_all_failures_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refused = gone.getsockname()
    unreachable = (socket.AF_INET, ("255.255.255.255", 9))
    named(monkeypatch, unreachable, (socket.AF_INET, refused), unreachable)
    with pytest.raises(ConnectionRefusedError):
        connect("host", 1, TIMEOUT_S)


def test_silence_ends_in_time() -> None:
    start_s = time.monotonic()
    with silent(socket.AF_INET, "127.0.0.1") as port, pytest.raises(TimeoutError):
        connect("127.0.0.1", port, 0.5)
    assert time.monotonic() - start_s < 5.0


def test_silence_ends_when_nobody_waits_any_more() -> None:
    end_s = time.monotonic() + 0.5
    with silent(socket.AF_INET, "127.0.0.1") as port, pytest.raises(TimeoutError):
        connect("127.0.0.1", port, 60.0, is_over=lambda: time.monotonic() > end_s)
    assert time.monotonic() - end_s < 5.0
