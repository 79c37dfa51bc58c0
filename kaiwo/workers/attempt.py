"""One attempt of one object's step: its duration, and its failure as an outcome."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable

from msgspec.structs import replace

from kaiwo.errors import (
    BugError,
    KaiwoError,
    NotFoundError,
    PlaceholderError,
    TransientError,
)
from kaiwo.jobs import Outcome, Transfer
from kaiwo.net.failures import limit_error
from kaiwo.objects import RemoteObject, as_read
from kaiwo.protocols import Buffer, Source
from kaiwo.workers.recent_dates import without_recent_date
from kaiwo.workers.source_cache import with_fresh_secrets
from kaiwo.workers.threads import require_open


def timed(transfer: Transfer, step: Callable[[Transfer], Outcome]) -> Outcome:
    """The step's outcome with its duration; repeated once when credentials were outdated."""
    start_s = time.monotonic()
    outcome = with_fresh_secrets(transfer.opener, lambda: attempted(transfer, step))
    return replace(outcome, seconds=time.monotonic() - start_s)


def attempted(transfer: Transfer, step: Callable[[Transfer], Outcome]) -> Outcome:
    """The step's outcome; its failure is one, too."""
    try:
        require_open()
        return step(transfer)
    except KaiwoError as error:
        return Outcome(transfer, error=error)
    except Exception as error:
        found = limit_error(error, transfer.source) or _bug(transfer, error)
        return Outcome(transfer, error=found)


def _bug(transfer: Transfer, error: Exception) -> BugError:
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(where.filename)}:{where.lineno}"
    return BugError(f"{transfer.source}: unforeseen {type(error).__name__} at {place}")


def read(source: Source, transfer: Transfer, start: int, end: int) -> Buffer:
    """Exactly the bytes of that range.

    Raises:
        KaiwoError: the source failed; classified.
        TransientError: fewer or more bytes came.
        UnfinishedError: the run ended meanwhile.
    """
    try:
        data = source.read(as_read(transfer.object), start, end)
    except KaiwoError:
        raise
    except Exception as error:
        raise source.classify(error) from None  # a chain is printed whole, an SDK's text and all
    require_open()
    if len(data) != end - start:
        raise TransientError(
            f"reading {transfer.source}: got {len(data)} bytes instead of {end - start}"
        )
    return data


def ask(
    source: Source, question: Callable[[str], RemoteObject], transfer: Transfer
) -> RemoteObject:
    """What the source answers about the object now.

    Args:
        source: for its classification of errors.
        question: ``stat`` or ``fetch_checksum`` of that source.
        transfer: names the object.

    Raises:
        KaiwoError: the source failed; classified.
    """
    try:
        return without_recent_date(question(transfer.object.key))
    except PlaceholderError as error:
        if not transfer.object.size:
            raise
        raise NotFoundError(error.message) from None  # it was a file, and is gone
    except KaiwoError:
        raise
    except Exception as error:
        raise source.classify(error) from None  # a chain is printed whole, an SDK's text and all
