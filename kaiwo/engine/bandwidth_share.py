"""What ``--max-bandwidth`` means for requests: how many at first, and how much each asks for.

What was asked for arrives whether somebody reads it or not: the buffers of a server, of a proxy and
of the kernel hold megabytes for each connection. So what all requests ask for together must be
little, compared with what the limit allows in seconds: a range is asked for part by part, and there
are few requests at first. More come as on any line, while the limit is not used up.

Where answers are late, one request waits for its answer while the others are read: so they ask
besides for what the limit allows until then.
"""

from __future__ import annotations

from kaiwo.engine.usage import Usage
from kaiwo.workers.bandwidth import Bandwidth

#: What the limit allows in this time: all requests together ask for it at once, and their pieces
#: are a part of it.
ASKED_S, PIECES_S = 0.25, 0.1
#: Each of the first requests asks for this much, if the limit allows it: each costs a server time.
WORTH_ASKING = 1 << 20
#: Smaller requests and pieces would cost more than their bytes.
LEAST_REQUEST, LEAST_PIECE = 128 << 10, 4 << 10
#: No answer counts as later than this: one that our own requests hold up would hold up more.
LATEST_S = 4.0
#: The limit is used up if at most this part of a time was not used.
UNUSED = 0.05
#: Such a time is at least this long.
LOOK_S = 0.5


def first_requests(rate: int) -> int:
    """How many requests there may be at first; at least 1."""
    return max(int(rate * ASKED_S / WORTH_ASKING), 1)


def request_size(rate: int, requests: int, answer_s: float = 0.0) -> int:
    """How many bytes a request for a part of a large object may ask for.

    Args:
        rate: bytes a second of all requests.
        requests: in flight, at least 1.
        answer_s: seconds until the first byte of an answer comes.
    """
    others = max(requests - 1, 1)
    asked_s = ASKED_S + min(answer_s, LATEST_S) * requests / others
    return max(int(rate * asked_s / requests), LEAST_REQUEST)


def piece_size(rate: int, requests: int) -> int:
    """How many bytes a request may read before it waits.

    Args:
        rate: bytes a second of all requests.
        requests: in flight, at least 1.
    """
    return max(int(rate * PIECES_S / requests), LEAST_PIECE)


def unused(bandwidth: Bandwidth) -> Usage:
    """How much of the time the limit was not used up."""
    return Usage(bandwidth.unused_s, LOOK_S)


def is_full(unused: Usage) -> bool:
    """Whether it was used up lately. Requests do not grow before anything is known."""
    return unused.lately is None or unused.lately <= UNUSED
