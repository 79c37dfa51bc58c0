"""How many requests the memory allows, how much each may hold, and how services share them.

    budget     256 MiB, or a quarter of the pod's limit where that is more, at most 1 GiB; never
               more than half the limit
    a request  holds ``COPIES`` of a piece and ``BESIDE``
    a piece    at most ``UNSAVED`` divided by the requests in flight: that is all a kill can cost;
               and what the budget leaves; at least ``PIECE``
    requests   (budget - ``BASE``) / (``COPIES`` * ``PIECE`` + ``BESIDE``)

    limit      none     256 MiB   512 MiB   2 GiB     8 GiB
    budget     256 MiB  128 MiB   256 MiB   512 MiB   1 GiB
    requests   85       17        85        221       494       at most, of all services together
    piece      512 KiB            512 KiB   1 MiB     1 MiB     with 64 requests

The numbers are those of reads by obstore in pieces, on lines of 25 and 60 MB/s a connection, in
MiB (measured: from the formula): 32 requests with 1 MiB 217: 216, 64 with 1 MiB 340 to 362: 336,
128 with 512 KiB 419: 416. Eight joined ranges of 8 MiB need less than the formula says, 204: 266.
"""

from __future__ import annotations

from collections.abc import Mapping

_MIB = 1 << 20

#: What the process needs without any request: the interpreter, modules, the plan.
BASE = 96 * _MIB
#: A piece as it is collected, as it is written, and what the allocator loses between them.
COPIES = 2.5
#: Buffers of the connection, of TLS, and the part of a stack that is used.
BESIDE = 5 * _MIB // 4
#: Smaller pieces cost more time than they save memory.
PIECE = _MIB // 4
#: Bytes that may be lost when the process is killed, of all requests together.
UNSAVED = 64 * _MIB
#: Pieces are multiples of this.
_STEP = 64 << 10


def memory_budget(limit: int | None) -> int:
    """How many bytes of memory a run may use.

    Args:
        limit: of the pod or control group; None if there is none.
    """
    if limit is None:
        return 256 * _MIB
    return min(max(256 * _MIB, min(limit // 4, 1024 * _MIB)), limit // 2)


def most_requests(budget: int) -> int:
    """How many requests for object bytes the budget allows, of all services together; at least 1.

    With more of them, as ``--max-workers`` may demand, memory is exceeded by their smallest pieces.
    """
    return max(int((budget - BASE) / (COPIES * PIECE + BESIDE)), 1)


def piece_size(budget: int, requests: int, machines: int = 1) -> int:
    """How many bytes a request may hold before they are written and remembered.

    Args:
        budget: see ``memory_budget``.
        requests: in flight at all services together, on each machine, at least 1.
        machines: that share the work; what a kill of the run can cost is that of all of them.
    """
    by_memory = ((budget - BASE) / requests - BESIDE) / COPIES
    size = min(by_memory, UNSAVED / (requests * machines))
    return max(int(size) // _STEP * _STEP, PIECE)


def shares(wanted: Mapping[str, int], most: int) -> dict[str, int]:
    """How many requests each service gets; what some do not want goes to the others.

    Args:
        wanted: the limit of each service that has something to send.
        most: of all together; a service gets one even where there are more services than that.
    """
    given: dict[str, int] = {}
    left = most
    for position, name in enumerate(sorted(wanted, key=wanted.__getitem__)):
        fair = max(left // (len(wanted) - position), 1)
        given[name] = min(wanted[name], fair)
        left -= given[name]
    return given
