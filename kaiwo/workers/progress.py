"""How workers say what has arrived while their jobs are under way.

    worker ── send ─> channel ─> the scheduler's queue

A channel is a name: it travels to any worker, and is silent where nobody listens under it. In the
scheduler's process the scheduler listens. An executor whose workers are other processes may listen
there and pass on what it hears, see ``listen``; without that, a job's bytes count when it ends.

See docs/decisions/0047.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator

from msgspec import Struct

from kaiwo.jobs import Progress

_listeners: dict[str, Callable[[Progress], object]] = {}


class Channel(Struct, frozen=True):
    """Where workers report; picklable."""

    name: str

    def send(self, progress: Progress) -> None:
        """Report what has arrived; never waits."""
        listener = _listeners.get(self.name)
        if listener is not None:
            listener(progress)


def new_channel() -> Channel:
    """A channel that nobody listens to yet."""
    return Channel(secrets.token_hex(8))


@contextlib.contextmanager
def listen(channel: Channel, take: Callable[[Progress], object]) -> Iterator[None]:
    """Have the reports of this process's workers until the end of the block.

    Args:
        channel: its name is what counts.
        take: gets each report, in the worker's thread. It must return at once.
    """
    _listeners[channel.name] = take
    try:
        yield
    finally:
        if _listeners.get(channel.name) is take:  # not who came after
            del _listeners[channel.name]


# A forked child has no scheduler that would hear it.
os.register_at_fork(after_in_child=_listeners.clear)
