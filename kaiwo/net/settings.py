"""How connections behave: what a run sets for all of its sources."""

from __future__ import annotations

from msgspec import Struct

#: What a slow connection brings is handed on after this time; a fast one brings full pieces sooner.
GATHER_S = 0.05


class NetworkSettings(Struct, frozen=True):
    """How connections behave.

    Attributes:
        stall_timeout_s: a request fails when no byte arrives for this long.
        connect_timeout_s: a connection that is not established by then is a failure.
        connections: at most this many are open at once.
    """

    stall_timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    connections: int = 64
