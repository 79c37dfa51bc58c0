"""Sources that offer bytes where they arrive, as those do that read on an event loop."""

from __future__ import annotations

from collections.abc import Iterator

from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Take
from kaiwo.sources.pieces import Taken


class Offering:
    """Offers what it streams."""

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = 0
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        raise NotImplementedError

    def stream_into(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        taken = Taken(take)
        for each in self.stream(remote, start, end, piece):
            if not taken.offer(each):
                yield each
