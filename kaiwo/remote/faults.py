"""What it means that an executor, or a worker of it, has not done a job."""

from __future__ import annotations

from msgspec.structs import replace

from kaiwo import redact, units
from kaiwo._version import __version__
from kaiwo.errors import ConfigError, KaiwoError, LostError, ServiceError, UnfinishedError
from kaiwo.jobs import Job, Outcome

#: An object whose job has lost its worker so often has failed: it may be the reason.
MOST_LOST = 10


def lost(job: Job, text: str) -> KaiwoError:
    """The error for a job that its worker has not done, nor failed to do."""
    if job.tries.lost < MOST_LOST:
        return LostError(text)
    return ServiceError(f"{units.count(MOST_LOST + 1, 'worker')} in turn had it: {text}")


def of_mistaken(job: Job, outcome: Outcome) -> Outcome:
    """What a worker says of an object, while the run goes on.

    One that has not heard of the run for a while has ended its jobs: this process was stopped
    meanwhile, or the file system was.
    """
    if not isinstance(outcome.error, UnfinishedError):
        return outcome
    return replace(outcome, error=lost(job, "its worker has not heard of this run for too long"))


def other_version(worker: str, version: str) -> ConfigError:
    """The error for a worker with another kaiwo."""
    return ConfigError(
        f"a worker ({worker}) has kaiwo {version}, and this is {__version__}: install the same "
        "version on all of them"
    )


def unpacked(error: BaseException) -> ConfigError:
    """The error for a job that cannot be pickled."""
    return ConfigError(
        f"a job cannot be sent to another process ({described(error)}): what the task's type keeps "
        "must be picklable; run it without an executor"
    )


def broken(error: BaseException) -> ServiceError:
    """The error for an executor that takes no more calls."""
    return ServiceError(
        f"the executor does no more work: {described(error).rstrip('.')}. Start it "
        "again; kaiwo then resumes"
    )


def described(error: BaseException) -> str:
    """An error of somebody else's code, for people."""
    text = redact.text(units.printable(str(error)))[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
