"""The one tree of errors, and the exit code that each kind stands for.

    KaiwoError                     exit  retried
    ├── BugError                   1     no       a bug in kaiwo itself
    ├── ConfigError                2     no       usage, the file, a secret file
    │   └── UnsafeNameError        2     no       hostile or conflicting names
    ├── CredentialsError           3     no       the store refuses them
    │   └── NotAllowedYetError     3     new      refused, or not to be had: it may pass
    ├── CertificateError           3     no       TLS certificate not trusted
    ├── NotFoundError              4     no       an object is missing, or nothing matched
    │   ├── ContainerMissingError  4     no       bucket, container, repository or revision
    │   └── PlaceholderError       4     no       a folder's placeholder, which is no failure
    ├── ServiceError               5     no       the service or the network, for good
    │   ├── NotAcceptedError       5     no       the service does not know such a request
    │   ├── OtherLengthError       5     no       a whole body is not as long as planned
    │   └── TransientError         5     yes      reset, short body, stall, 429, 5xx
    │       ├── BusyError          5     yes      429 or 503: the service is busy
    │       │   └── UnavailableError  5  yes      503 without a code: or it is not up yet
    │       ├── NoAnswerError      5     yes      closed, 502 or 504: it may not be up yet
    │       │   └── UnreachableError  5  yes      no connection: it may come up yet
    │       ├── LostError          5     yes      the worker that did it is gone
    │       ├── UnansweredError    5     yes      only the question for a checksum failed
    │       ├── WrongRangeError    5     yes      the server answers with another range
    │       └── RangeIgnoredError  5     yes      the server answers ranges with the whole object
    ├── DiskError                  6     no       no space, read-only, no permission
    │   ├── PassingDiskError       6     yes      it failed in a way that often passes
    │   ├── LimitError             6     fewer    this process may not have more files or threads
    │   └── RandomWriteError       6     stream   the file system cannot write at an offset
    ├── IntegrityError             7     no       size, checksum or identity differs
    │   ├── WrongBytesError        7     no       the checksum is not the one that the store states
    │   ├── ChangedError           7     no       the object was replaced during its transfer
    │   ├── FormatError            7     no       it has no header of its format
    │   ├── SignatureError         7     no       not signed, or not by who is trusted
    │   └── StandInError           7     no       a page or an LFS pointer came, not the file
    ├── UnfinishedError            1     no       the run ended before this was done
    │   ├── DeadlineError          8     no       because its time was over
    │   └── ShardError             any   no       because another shard failed: with its code
    └── StoppedError               130, 143  no   a signal ended the run

Every message says what failed, where, why, and what to do. Errors travel from worker processes, so
all their arguments are positional and survive pickling.

Longer than 300 lines: the tree and all that stands in it are in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from signal import SIGINT
from traceback import walk_tb
from types import TracebackType
from typing import ClassVar

from kaiwo import units

#: What a process's exit code says.
EXIT_CODES = {
    0: "every object is in place and verified",
    1: "a bug in kaiwo",
    2: "usage, configuration, a secret file that cannot be read, a hostile or conflicting name",
    3: "not allowed: credentials refused, or the server's certificate not trusted",
    4: "bucket, object, repository or revision missing, or nothing matched",
    5: "network or service still failing after the retries",
    6: "disk: no space, read-only, too many files",
    7: "integrity: checksum, size, signature or locked identity differs, or a format is refused",
    8: "deadline passed",
    130: "stopped by SIGINT",
    143: "stopped by SIGTERM",
}
#: When several kinds failed in one run, the first of these is the run's exit code.
EXIT_CODE_ORDER = (3, 4, 6, 7, 8, 5)


class KaiwoError(Exception):
    """Base of all errors that kaiwo raises on purpose."""

    exit_code: ClassVar[int] = 1
    #: In reports and metrics: one word of snake_case.
    kind: ClassVar[str] = "error"

    @property
    def message(self) -> str:
        """What failed, where, why and what to do, without secrets."""
        return str(self.args[0]) if self.args else self.kind.replace("_", " ")

    def __str__(self) -> str:
        return self.message

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows in place of a traceback; plain Python shows its own.

        The message says what to do, and the frames of kaiwo say nothing to its user. So of the
        calls, only those in the user's own modules are shown.
        """
        lines = f"{type(self).__name__}: {self.message}".split("\n")
        text = "\n".join(units.printable(line) for line in lines)
        return [*_calls_outside(self.__traceback__), text]


def _calls_outside(traceback: TracebackType | None) -> Iterator[str]:
    """The calls on the way to kaiwo, without those of IPython and without the cell itself."""
    for frame, line in walk_tb(traceback):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == "kaiwo":
            return
        if package != "IPython" and frame.f_code.co_name != "<module>":
            yield f"in {frame.f_code.co_name}, {frame.f_code.co_filename}:{line}"


class BugError(KaiwoError):
    """Something unforeseen: a bug in kaiwo."""

    kind = "bug"


class ConfigError(KaiwoError):
    """The command line, the environment, the file or a secret file is wrong."""

    exit_code = 2
    kind = "config"


class UnsafeNameError(ConfigError):
    """Keys that would leave the target root or that a policy refuses, or targets that conflict.

    Args:
        message: which of them, and what to do.
        offenders: each fault by itself.
    """

    kind = "unsafe_name"

    def __init__(self, message: str = "unsafe name", offenders: tuple[str, ...] = ()) -> None:
        super().__init__(message, offenders)
        self.offenders = offenders


class CredentialsError(KaiwoError):
    """The store refuses the credentials, or there are none."""

    exit_code = 3
    kind = "credentials"


class NotAllowedYetError(CredentialsError):
    """The identity is refused, or cannot be had, in a way that passes where the identity is new."""


class CertificateError(KaiwoError):
    """The server's TLS certificate is not trusted, or the server wants one of the client."""

    exit_code = 3
    kind = "certificate"


class NotFoundError(KaiwoError):
    """The object is missing, or nothing matched."""

    exit_code = 4
    kind = "not_found"


class ContainerMissingError(NotFoundError):
    """The bucket, container, repository or revision itself is missing."""


class PlaceholderError(NotFoundError):
    """A listed object is not a file but a folder's placeholder: it is left out."""


class ServiceError(KaiwoError):
    """The network or the service failed, and a retry would not help."""

    exit_code = 5
    kind = "service"


class NotAcceptedError(ServiceError):
    """The service does not accept such a request: it may lack what the request asks for."""


class OtherLengthError(ServiceError):
    """A body came whole, and its length is not the planned one."""


class TransientError(ServiceError):
    """The network or the service failed in a way that often passes.

    Args:
        message: what failed.
        retry_after_s: seconds the service asked to wait, or None.
        reached: how far a job of several requests had come. A failure further on is that of
            another request, whose retries are counted separately.
    """

    def __init__(self, message: str, retry_after_s: float | None = None, reached: int = 0) -> None:
        super().__init__(message, retry_after_s, reached)
        self.retry_after_s = retry_after_s
        self.reached = reached


class BusyError(TransientError):
    """The service asks for fewer requests: 429, 503, or its own code for them."""


class UnavailableError(BusyError):
    """503 without a code of the service: a gateway may say so in its place."""


class NoAnswerError(TransientError):
    """The service itself gave no answer: the connection was closed, or a gateway says 502 or 504.

    Before its first answer, the service may not be up yet.
    """


class StalledError(TransientError):
    """Nothing came for the stall timeout: the service, or what is in front of it, lets it wait."""


class UnreachableError(NoAnswerError):
    """No connection can be made (yet): refused, no route, not permitted, or the name is unknown."""

    kind = "unreachable"


class LostError(TransientError):
    """The worker that did it, in another process, is gone: another one does it."""


class UnansweredError(TransientError):
    """The bytes are here, but the store did not say which checksum they should have."""


class WrongRangeError(TransientError):
    """The server answered with another range than was asked for."""


class RangeIgnoredError(TransientError):
    """The server answered a range with the whole object; single streams still work."""


class DiskError(KaiwoError):
    """The local file system refuses: no space, read-only, no permission, too many files."""

    exit_code = 6
    kind = "disk"


class PassingDiskError(DiskError):
    """The local file system failed in a way that often passes; what was written may be lost."""


class LimitError(DiskError):
    """This process may not have more files, threads or memory; fewer requests at once may do."""


class RandomWriteError(DiskError):
    """The file system takes files only from beginning to end; single streams still work."""


class IntegrityError(KaiwoError):
    """Bytes, size or checksum are not those that the store states."""

    exit_code = 7
    kind = "integrity"


class WrongBytesError(IntegrityError):
    """The bytes do not have the checksum that the store states, or that their item asks for.

    Args:
        message: what differs.
        found: the checksum that they have.
        guessed: the checksum that they should have was made of an etag and a guess.
        certain: they are the bytes of the store: to read them again brings the same.
    """

    def __init__(
        self, message: str, found: str = "", guessed: bool = False, certain: bool = False
    ) -> None:
        super().__init__(message, found, guessed, certain)
        self.found = found
        self.guessed = guessed
        self.certain = certain


class ChangedError(IntegrityError):
    """The object is no longer the one that was planned."""

    kind = "changed"


class FormatError(IntegrityError):
    """The bytes are those of the store, and their header is not one of the format of their name."""

    kind = "format"


class SignatureError(IntegrityError):
    """Something is not signed, or not by who is trusted."""

    kind = "signature"


class StandInError(IntegrityError):
    """The answer looks like success, but it is something else than the file."""


class UnfinishedError(KaiwoError):
    """The run ended before this was done."""

    kind = "unfinished"


class DeadlineError(UnfinishedError):
    """The run's deadline passed before this was done."""

    exit_code = 8
    kind = "deadline"


class ShardError(UnfinishedError):
    """This shard's part is done, and another one failed.

    Args:
        message: which of them, and why.
        code: the exit code of that one.
    """

    kind = "shard"

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message, code)
        self.code = code


class StoppedError(KaiwoError):
    """A signal ended the run.

    Args:
        message: which signal.
        signal_number: its number; the exit code is 128 more.
    """

    kind = "stopped"

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message, signal_number)
        self.signal_number = signal_number


class Interrupted(BaseException):
    """Raised by a signal wherever the main thread is; no ``except Exception`` may swallow it.

    Args:
        error: what the run ends with.
    """

    def __init__(self, error: StoppedError) -> None:
        super().__init__(error)
        self.error = error


def cause_of(error: BaseException) -> KaiwoError:
    """The kaiwo error that ended a run: of a signal, of kaiwo, or of anything else a bug."""
    if isinstance(error, Interrupted):
        return error.error
    if isinstance(error, KeyboardInterrupt):  # in a program that calls kaiwo
        return StoppedError("stopped by SIGINT", SIGINT)
    if isinstance(error, KaiwoError):
        return error
    return BugError(f"this is a bug in kaiwo; please report it: {type(error).__name__}")


def exit_code_of(error: KaiwoError) -> int:
    """The exit code of a run that ended with this error."""
    if isinstance(error, StoppedError):
        return 128 + error.signal_number
    if isinstance(error, ShardError):
        return error.code
    return error.exit_code


def first_exit_code(codes: Iterable[int]) -> int:
    """The exit code of a run whose objects failed with these codes; 0 if none did."""
    found = set(codes)
    return next((code for code in EXIT_CODE_ORDER if code in found), max(found, default=0))
