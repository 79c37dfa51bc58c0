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
from kaiwo.errors import ContainerMissingError, KaiwoError, NotFoundError, UnsafeNameError
from kaiwo.events import Retried, Ticked
from kaiwo.journal import Memory, Record
from kaiwo.listing import Found, find
from kaiwo.objects import Folder, Item, ListJob, Named, Plan, RemoteObject, Transfer, Want
from kaiwo.protocols import Sink
from kaiwo.retry import RetryPolicy
from kaiwo.targets import is_within, real_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What the wants' listings brought, in the order of the wants."""

    found: tuple[tuple[Want, tuple[RemoteObject, ...]], ...]
    failed: tuple[tuple[Want, KaiwoError], ...]


def gather(
    wants: Sequence[Want], executor: Executor, window: int, policy: RetryPolicy, sink: Sink
) -> Listing:
    """List all wants at once; failures that pass are repeated.

    Args:
        wants: of all tasks.
        executor: where the listings run.
        window: how many run at once.
        policy: how persistent to be.
        sink: is told of repeats.
    """
    results: dict[int, Found] = {}

    def handle(job: ListJob, found: Found) -> None:
        again = policy.again(job, found.error) if found.error is not None else None
        if again is None or found.error is None:
            results[job.number] = found
            return
        sink.emit(Retried(job.want.where, found.error, again[0].attempt, again[1]))
        dispatcher.repeat(*again)

    dispatcher = Dispatcher(executor, window, find, idle=lambda: sink.emit(Ticked()))
    dispatcher.feed(ListJob(number, want) for number, want in enumerate(wants))
    dispatcher.run(handle)
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


def close(listing: Listing, run: str, memory: Memory, *, force: bool, verify: bool) -> Plan:
    """Place and check everything that was listed; afterwards nothing is decided any more.

    Args:
        listing: of all wants.
        run: a token for temporary names.
        memory: of what is in place.
        force: fetch even what is already there.
        verify: what is there has to be proven by a checksum.

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
            todo.append(transfer)
            continue
        record = memory.of(transfer.root).holds(transfer, there)
        if record is None or (verify and _unproven(record, transfer)):
            todo.append(replace(transfer, present=True))
        elif record.checksum == transfer.object.checksum:
            unchanged.append(transfer)
        else:
            known = replace(transfer.object, checksum=record.checksum)
            unchanged.append(replace(transfer, object=known))
    todo.sort(key=lambda each: -each.object.size)
    return Plan(tuple(todo), tuple(unchanged), tuple(_missed(listing)))


def _unproven(record: Record, transfer: Transfer) -> bool:
    """It was published by its size alone, and there is a checksum to prove it by."""
    return record.checksum is None and transfer.object.checksum is not None


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


@dataclass
class _Checked:
    """The targets of a plan as they are collected, and what is wrong with them.

    Two names are one target when links in their folders lead to the same place, so ``owners`` goes
    by the real paths.
    """

    offenders: list[str] = field(default_factory=list)
    owners: dict[str, tuple[Want, Transfer]] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    files_above: dict[str, list[str]] = field(default_factory=dict)
    tops: dict[str, str] = field(default_factory=dict)
    missing: dict[str, bool] = field(default_factory=dict)

    def transfers(
        self, placed: Iterable[tuple[Want, Transfer]]
    ) -> Iterator[tuple[Transfer, os.stat_result | None]]:
        """The transfers, each with the status of a file of its size that is at its target now."""
        for want, transfer in placed:
            path = real_path(transfer.target, self.folders)
            if path in self.owners:
                owner = f"{transfer.source}{_where(want)}"
                also = f"both {self._owner(path)} and {owner} go there"
                self.offenders.append(f"{transfer.target}: {also}")
                continue
            self.owners[path] = want, transfer
        for path, (_, transfer) in self.owners.items():
            self._check_ancestors(path, transfer)
            self._check_inside(path, transfer)
            yield transfer, self._there(path, transfer)

    def _owner(self, path: str) -> str:
        """Whose path it is, for people."""
        want, transfer = self.owners[path]
        return f"{transfer.source}{_where(want)}"

    def _check_ancestors(self, path: str, transfer: Transfer) -> None:
        for above in self._files_above(path[: path.rfind("/")]):
            self.offenders.append(
                f"{transfer.target}: {self._owner(path)} needs a folder where "
                f"{self._owner(above)} is a file"
            )

    def _files_above(self, folder: str) -> list[str]:
        """The targets that are files and this folder, or one above it; none, in a good plan."""
        above: list[str] = []
        if folder not in self.files_above:
            # From the top down: a key may have thousands of segments.
            parents = [folder[:cut] for cut, letter in enumerate(folder) if letter == "/" and cut]
            for each in (*parents, folder):
                if each not in self.files_above:
                    own = [each] if each in self.owners else []
                    self.files_above[each] = own + above if own else above
                above = self.files_above[each]
        return self.files_above[folder]

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
