"""From wants to a closed plan: everything listed, placed, checked, before the first byte.

    list      all wants at once, on the run's executor
    place     each object gets its target; a name that may not be one is an offender
    check     no two objects for one target, no file where another needs a folder, no way out
              of the root through a link; all offenders are named in one error
    compare   what is there already: known (unchanged), perhaps right (present), or absent

A want whose listing fails, or that matches nothing, does not stop the others: it becomes a failed
item of the report.
"""

from __future__ import annotations

import errno
import logging
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from kaiwo.dispatch import Dispatcher
from kaiwo.errors import (
    ContainerMissingError,
    DeadlineError,
    KaiwoError,
    NotFoundError,
    UnsafeNameError,
)
from kaiwo.events import Retried, Ticked
from kaiwo.folding import Foldings, folded, likely_own
from kaiwo.journal import Record
from kaiwo.listing import Found, find
from kaiwo.memory import Memory
from kaiwo.objects import (
    RANGE,
    Folder,
    Item,
    ListJob,
    Named,
    Plan,
    RemoteObject,
    Transfer,
    Want,
)
from kaiwo.protocols import Sink
from kaiwo.retry import RetryPolicy, used_up
from kaiwo.targets import fault_of_place, in_the_way, is_within, real_path

#: So many names that cannot be are told one by one.
MOST_OFFENDERS = 100
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What the wants' listings brought, in the order of the wants."""

    found: tuple[tuple[Want, tuple[RemoteObject, ...]], ...]
    failed: tuple[tuple[Want, KaiwoError], ...]


def gather(
    wants: Sequence[Want],
    executor: Executor,
    window: int,
    policy: RetryPolicy,
    sink: Sink,
    until_s: float | None = None,
) -> Listing:
    """List all wants at once; failures that pass are repeated.

    Args:
        wants: of all tasks.
        executor: where the listings run.
        window: how many run at once.
        policy: how persistent to be.
        sink: is told of repeats.
        until_s: the run's deadline, by the monotonic clock.
    """
    results: dict[int, Found] = {}

    def handle(job: ListJob, found: Found) -> None:
        again = policy.again(job, found.error) if found.error is not None else None
        if again is None or found.error is None:
            error = used_up(found.error, job.tries) if found.error is not None else None
            results[job.number] = replace(found, error=error)
            return
        sink.emit(Retried(job.want.where, found.error, again[0].tries.count, again[1]))
        dispatcher.repeat(*again)

    dispatcher = Dispatcher(executor, window, find, idle=lambda: sink.emit(Ticked()))
    dispatcher.feed(ListJob(number, want) for number, want in enumerate(wants))
    dispatcher.run(handle, until_s)
    late = Found(error=DeadlineError("the deadline passed before it was listed"))
    results = {number: results.get(number, late) for number in range(len(wants))}
    return _judged(wants, results)


def _judged(wants: Sequence[Want], results: dict[int, Found]) -> Listing:
    found: list[tuple[Want, tuple[RemoteObject, ...]]] = []
    failed: list[tuple[Want, KaiwoError]] = []
    for number, want in enumerate(wants):
        result = results[number]
        error = result.error
        absent = isinstance(error, NotFoundError) and not isinstance(error, ContainerMissingError)
        if error is not None and absent and want.allow_empty:
            # A misspelled bucket is never meant.
            logger.warning("%s: %s", want.where, error.message)
            error = None
        elif error is None and not result.objects and not want.allow_empty:
            error = NotFoundError(f"{described(want)}: nothing matches")
        if error is None:
            found.append((want, result.objects))
        else:
            message = f"{want.where}: {error.message}" if want.where else error.message
            failed.append((want, type(error)(message, *error.args[1:])))
    return Listing(tuple(found), tuple(failed))


def described(want: Want) -> str:
    """The want as a URL, for people."""
    match want.selection:
        case Folder(prefix, globs):
            return want.opener.url(prefix) + (" or ".join(globs) if globs else "**/*")
        case Named(keys):
            return want.opener.url(", ".join(keys))


def _missed(listing: Listing) -> Iterator[Item]:
    for want, error in listing.failed:
        yield Item(want.task, described(want), "", "failed", 0, error=error)


def close(
    listing: Listing,
    run: str,
    memory: Memory,
    *,
    force: bool,
    verify: bool,
    durable: bool = False,
) -> Plan:
    """Place and check everything that was listed; afterwards nothing is decided any more.

    Args:
        listing: of all wants.
        run: a token for temporary names.
        memory: of what is in place.
        force: fetch even what is already there.
        verify: what is there has to be proven by a checksum.
        durable: what is published has to be on the disk itself.

    Raises:
        UnsafeNameError: hostile names or conflicting targets; all offenders are named.
    """
    checked = _Checked()
    looked_at = list(checked.transfers(_placed(listing, run, checked)))
    if checked.offenders:
        raise UnsafeNameError(
            "nothing was begun; these names cannot be files, or exclude each other:\n  "
            + "\n  ".join(checked.offenders)
        )
    todo: list[Transfer] = []
    unchanged: list[Transfer] = []
    for transfer, there in looked_at:
        if there is None or force:
            todo.append(_to_fetch(transfer, memory, durable=durable))
            continue
        record = memory.of(transfer.root).holds(transfer, there)
        if record is None or (verify and _unproven(record, transfer)):
            todo.append(_to_fetch(transfer, memory, durable=durable, present=True))
        elif record.checksum == transfer.object.checksum:
            unchanged.append(transfer)
        else:
            known = replace(transfer.object, checksum=record.checksum)
            unchanged.append(replace(transfer, object=known))
    todo.sort(key=lambda each: -each.object.size)
    return Plan(tuple(todo), tuple(unchanged), tuple(_missed(listing)))


def _to_fetch(
    transfer: Transfer, memory: Memory, *, durable: bool, present: bool = False
) -> Transfer:
    """The transfer with what is known of its place."""
    remains = memory.remains(transfer) if transfer.object.size > RANGE else None
    if not (durable or present or remains):
        return transfer
    return replace(transfer, durable=durable, present=present, remains=remains)


def _unproven(record: Record, transfer: Transfer) -> bool:
    """It was published by its size alone, or with another checksum than the store states now."""
    known, stated = record.checksum, transfer.object.checksum
    if known is None or stated is None:
        return stated is not None
    return known.algorithm == stated.algorithm and known != stated


def _placed(listing: Listing, run: str, checked: _Checked) -> Iterator[tuple[Want, Transfer]]:
    """A transfer for each object, offenders left out and noted."""
    index = 0
    for want, objects in listing.found:
        for remote in objects:
            try:
                place = want.placement.place(remote)
            except UnsafeNameError as error:
                checked.offenders.append(f"{want.opener.url('')}: {error.message}{_where(want)}")
                continue
            yield (
                want,
                Transfer(
                    index, run, want.task, want.opener, remote, place.target, place.root, place.blob
                ),
            )
            index += 1


def _where(want: Want) -> str:
    return f" ({want.where})" if want.where else ""


class _Offenders:
    """What is wrong with names: the first hundred faults, and how many more there are."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def append(self, fault: str) -> None:
        self._count += 1
        if len(self._first) < MOST_OFFENDERS:
            self._first.append(fault)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        if self._count > len(self._first):
            yield f"and {self._count - len(self._first):,} more"


@dataclass
class _Checked:
    """The targets of a plan as they are collected, and what is wrong with them.

    Two names are one target when links in their folders lead to the same place, so ``owners`` goes
    by the real paths; or when the file system takes them for one, which ``foldings`` knows.
    """

    offenders: _Offenders = field(default_factory=_Offenders)
    owners: dict[str, tuple[Want, Transfer]] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    foldings: Foldings = field(default_factory=Foldings)
    tops: dict[str, str] = field(default_factory=dict)
    missing: dict[str, bool] = field(default_factory=dict)

    def transfers(
        self, placed: Iterable[tuple[Want, Transfer]]
    ) -> Iterator[tuple[Transfer, os.stat_result | None]]:
        """The transfers, each with the status of a file of its size that is at its target now."""
        for want, transfer in placed:
            if fault := self._fault(transfer):
                owner = f"{transfer.source}{_where(want)}"
                self.offenders.append(f"{transfer.target!r}: {fault} ({owner})")
                continue
            path = real_path(transfer.target, self.folders)
            if path in self.owners:
                owner = f"{transfer.source}{_where(want)}"
                also = f"both {self._owner(path)} and {owner} go there"
                self.offenders.append(f"{transfer.target}: {also}")
                continue
            self.owners[path] = want, transfer
        self._check_each_other()
        for path, (_, transfer) in self.owners.items():
            self._check_inside(path, transfer)
            yield transfer, self._there(path, transfer)

    def _owner(self, path: str) -> str:
        """Whose path it is, for people."""
        want, transfer = self.owners[path]
        return f"{transfer.source}{_where(want)}"

    def _fault(self, transfer: Transfer) -> str | None:
        """What is wrong with the path of a transfer, seen by itself."""
        places = (transfer.target,) if transfer.blob is None else (transfer.target, transfer.blob)
        for path in places:
            if fault := fault_of_place(path, transfer.root):
                return fault
            # Elsewhere kaiwo's own names are refused only as they are written.
            for folder, name, own in likely_own(path, transfer.root):
                if self.foldings.of(folder).same(name, own):
                    return f"{own} is a name of kaiwo's own, and {name} the same there"
        return None

    def _check_each_other(self) -> None:
        """No file may be where another one is or needs a folder, however they are written."""
        likely = list(in_the_way(self.owners, folded))
        # What is in the way as it is written is among these.
        for above, path in in_the_way(self.owners, str) if likely else ():
            self.offenders.append(
                f"{self._target(path)}: {self._owner(path)} needs a folder where "
                f"{self._owner(above)} is a file"
            )
        for above, path in likely:
            if not path.startswith(f"{above}/") and self.foldings.meet(above, path):
                self.offenders.append(
                    f"{self._target(path)} ({self._owner(path)}) and {self._target(above)} "
                    f"({self._owner(above)}) are one name to this file system"
                )

    def _target(self, path: str) -> str:
        return self.owners[path][1].target

    def _check_inside(self, path: str, transfer: Transfer) -> None:
        root = transfer.root
        if root not in self.tops:
            top = real_path(posixpath.join(root, "."), self.folders)
            self.tops[root] = posixpath.dirname(top)
        top = self.tops[root]
        inside = is_within(path, top)
        if transfer.blob is not None:
            inside = inside and is_within(real_path(transfer.blob, self.folders), top)
        if not inside:
            also = f"a link leads out of {root} ({self._owner(path)})"
            self.offenders.append(f"{transfer.target}: {also}")

    def _is_missing(self, folder: str) -> bool:
        """There is no such folder, so nothing in it needs to be looked for."""
        if folder not in self.missing:
            try:
                os.lstat(folder)
            except FileNotFoundError:
                self.missing[folder] = True
            except OSError:
                self.missing[folder] = False
            else:
                self.missing[folder] = False
        return self.missing[folder]

    def _there(self, path: str, transfer: Transfer) -> os.stat_result | None:
        target = transfer.target
        if self._is_missing(path[: path.rfind("/")]):
            return None
        try:
            status = os.stat(target)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                owner = self._owner(path)
                self.offenders.append(f"{target}: a file is where a folder is needed ({owner})")
            elif error.errno == errno.ENAMETOOLONG:
                self.offenders.append(f"{target}: the name is too long ({self._owner(path)})")
            # Whatever else is wrong there, the attempt to write will say it better.
            return None
        if stat.S_ISDIR(status.st_mode):
            owner = self._owner(path)
            self.offenders.append(f"{target}: a folder is where the file should go ({owner})")
        right_size = stat.S_ISREG(status.st_mode) and status.st_size == transfer.object.size
        return status if right_size else None
