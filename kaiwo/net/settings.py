"""How connections behave: what a run sets for all of its sources."""

from __future__ import annotations

from msgspec import Struct


class NetworkSettings(Struct, frozen=True):
    """How connections behave.

    Attributes:
        stall_timeout_s: no byte for so long is a failure.
        connect_timeout_s: a connection that is not there after so long is a failure.
        connections: how many may be open at once.
    """

    stall_timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    connections: int = 64
