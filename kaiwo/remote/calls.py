"""What goes to a worker of another process, and what comes back.

A job is packed once, here, so that no executor looks into it: executors log the arguments of calls
that fail, and a task may hold a secret. Outcomes come back without their transfers, which the run
has.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from msgspec.structs import replace

from kaiwo._version import __version__
from kaiwo.errors import KaiwoError
from kaiwo.jobs import Batch, Job, Outcome, Transfer
from kaiwo.workers.reading import Reading


@dataclass(frozen=True, slots=True)
class Call:
    """A job that goes to another process.

    Attributes:
        run: token of the run.
        folders: where the run and its workers meet, see ``meeting``: one for each file system. The
            first has the letters.
        packed: the job, and how its bytes are read.
        requests: how many the run has, with this one.
        version: of the kaiwo that has packed it.
    """

    run: str
    folders: tuple[str, ...]
    packed: bytes = field(repr=False)
    requests: int = 0
    version: str = __version__

    def job(self) -> tuple[Job, Reading]:
        """The job, and how its bytes are read; only a kaiwo of the same version can tell."""
        found: tuple[Job, Reading] = pickle.loads(self.packed)  # noqa: S301 - the run packed it
        return found


def packed(job: Job, how: Reading) -> bytes:
    """A job as it travels."""
    return pickle.dumps((job, how), pickle.HIGHEST_PROTOCOL)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call.

    Attributes:
        outcomes: of the job, without their transfers.
        unseen: the folder that this worker does not see, if there is one.
        version: of the worker's kaiwo, if that is another one.
        fault: what was unforeseen, if something was.
        worker: where it was.
    """

    outcomes: tuple[Outcome, ...] = ()
    unseen: str = ""
    version: str = ""
    fault: str = ""
    worker: str = ""


def without_transfers(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """As they travel."""
    return tuple(
        replace(each, transfer=cast("Transfer", None), error=_alone(each.error))
        for each in outcomes
    )


def _alone(error: KaiwoError | None) -> KaiwoError | None:
    """The error without what it came of.

    Where distributed is loaded, pickle takes causes and tracebacks along: those are an SDK's, which
    may be unable to travel, and quote requests.
    """
    if error is None:
        return None
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def with_transfers(job: Job, outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """As the run needs them: outcomes are in the order of a job's objects."""
    pairs = zip(transfers_of(job), outcomes, strict=True)
    return tuple(replace(outcome, transfer=transfer) for transfer, outcome in pairs)


def transfers_of(job: Job) -> tuple[Transfer, ...]:
    """The objects of a job."""
    return job.transfers if isinstance(job, Batch) else (job.transfer,)
