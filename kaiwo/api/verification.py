"""``kaiwo verify``: is what lies on the disk what the lock has, or what kaiwo published there?

Nothing is asked over the network, and nothing is changed. Every file is hashed: neither its size
nor its time is believed.
"""

from __future__ import annotations

import os
import posixpath
import stat
import time
from collections.abc import Iterator, Sequence
from functools import partial

from msgspec import Struct

from kaiwo import checksums, environment, own_names
from kaiwo.api.orders import Order
from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.errors import (
    IntegrityError,
    KaiwoError,
    NotFoundError,
    cause_of,
    exit_code_of,
    first_exit_code,
)
from kaiwo.events import Ended, Planned, Settled, Ticked
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.paths import is_within
from kaiwo.files.placement import At, folder_of
from kaiwo.jobs import Want
from kaiwo.locks import lock_file
from kaiwo.locks.locked import listing_of
from kaiwo.net import proxies
from kaiwo.objects import Checksum, Item, Report
from kaiwo.planning import plan
from kaiwo.planning.plan import Comparison
from kaiwo.planning.prune import with_ready
from kaiwo.protocols import Sink
from kaiwo.state.manifest import Manifest
from kaiwo.state.state import State
from kaiwo.tasks.hub_cache import InHubCache
from kaiwo.workers.threads import ENDS_IN_S, WorkerThreads
from kaiwo.workers.verify import hash_file

#: Files that are hashed at once: as many as there are processors, and disks that wait.
_MOST = 8


class Expected(Struct, frozen=True):
    """What a file should be.

    Attributes:
        task: that it belongs to, if that is known.
        source: where it came from.
        target: its absolute path.
        size: in bytes; None if it is not known.
        checksum: of its bytes; None if nothing is known of them.
        may_be_pointer: see ``RemoteObject``.
    """

    task: str
    source: str
    target: str
    size: int | None
    checksum: Checksum | None
    may_be_pointer: bool = False


class Verified(Struct, frozen=True):
    """What a verification found.

    Attributes:
        report: an item for each file: ``unchanged`` or ``failed``.
        extra: files that nobody knows, below folders of the configuration.
        unproven: files of which only the size was compared.
        against: the lock file; None: what kaiwo remembers.
    """

    report: Report
    extra: tuple[str, ...]
    unproven: tuple[str, ...]
    against: str | None


class _Checked(Struct, frozen=True):
    """Why a file is not what it should be, if it is not; whether its bytes prove that it is."""

    error: KaiwoError | None = None
    is_proven: bool = True


@environment.cleaned(proxies.canonical)
def verify(order: Order, sink: Sink) -> Verified:
    """Hash what is at the targets of an order, against its lock if there is one.

    Args:
        order: its ``lock_file`` need not exist, unless its settings name it.
        sink: gets the events.

    Raises:
        ConfigError: the lock is of another configuration.
        NotFoundError: nobody knows what should be there.
    """
    is_locked = order.settings.lock_file is not None or os.path.exists(order.lock_file)
    files = list(_of_lock(order) if is_locked else _of_manifests(order))
    if not files:
        raise NotFoundError(
            "nothing to verify: there is no lock file, and kaiwo has published nothing there"
        )
    report = _hashed(files, sink)
    return Verified(
        report,
        tuple(_extra(order.asked, {each.target for each in files})),
        tuple(i.target for i in report.items if i.error is None and not i.verified),
        order.lock_file if is_locked else None,
    )


def _of_lock(order: Order) -> Iterator[Expected]:
    """What the lock has."""
    path = order.lock_file
    listing = listing_of(lock_file.read(path), order.asked, path)
    state = State(order.settings.state_dir, "0" * 8)
    drafted = plan.draft(listing, state, Comparison(force=True, verify=True))
    for transfer, _ in drafted.missing:
        remote = transfer.object
        size = None if remote.unsized else remote.size
        named = (transfer.task, transfer.source, transfer.target)
        yield Expected(*named, size, transfer.expected, remote.may_be_pointer)


def _of_manifests(order: Order) -> Iterator[Expected]:
    """What kaiwo published where the configuration puts files."""
    roots = {want.placement.root: None for want in order.asked}
    for root in roots:
        for record in Manifest(root, order.settings.state_dir).records():
            target = posixpath.normpath(posixpath.join(root, record.target))
            want = next((each for each in order.asked if _goes_to(each, target)), None)
            if want is not None:
                yield Expected(want.task, record.source, target, record.size, record.checksum)


def _goes_to(want: Want, target: str) -> bool:
    """Whether the want may put a file there."""
    place = want.placement
    if isinstance(place, At):
        return target == place.path
    if isinstance(place, InHubCache):
        return is_within(target, place.snapshot())
    folder = folder_of(place)
    return is_within(target, place.root if folder is None else folder.folder)


def _hashed(files: Sequence[Expected], sink: Sink) -> Report:
    begun_s, began_at_s = time.monotonic(), time.time()
    items: list[Item] = []
    executor = WorkerThreads(_MOST, "kaiwo-verify")

    def handle(file: Expected, found: _Checked) -> None:
        item = Item(
            file.task,
            file.source,
            file.target,
            "unchanged" if found.error is None else "failed",
            file.size or 0,
            attempts=1,
            checksum=file.checksum,
            verified=found.error is None and found.is_proven,
            error=found.error,
        )
        items.append(item)
        sink.emit(Settled(item))

    def report(error: KaiwoError | None = None) -> Report:
        codes = [item.error.exit_code for item in items if item.error is not None]
        code = first_exit_code(codes) if error is None else exit_code_of(error)
        return Report(code, time.monotonic() - begun_s, 0, tuple(items), error, began_at_s)

    known = sum(each.size or 0 for each in files)
    sink.emit(Planned(len(files), known, 0, present=len(files), present_bytes=known))
    dispatcher: Dispatcher[Expected, _Checked] = Dispatcher(
        executor, _MOST, _check, idle=lambda: sink.emit(Ticked())
    )
    dispatcher.feed(files)
    try:
        dispatcher.run(handle)
        sink.emit(Ended(report()))
    except BaseException as error:
        sink.emit(Ended(report(cause_of(error))))
        raise
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        executor.join(ENDS_IN_S)
    return report()


def _check(file: Expected) -> _Checked:
    """Hash a file."""
    try:
        return _Checked(is_proven=_is_proven(file))
    except KaiwoError as error:
        return _Checked(error)


def _is_proven(file: Expected) -> bool:
    """Whether the bytes of a file prove that it is as it should be; else only its size agrees.

    Raises:
        IntegrityError: it is not as it should be.
        DiskError: it cannot be read.
    """
    try:
        status = os.stat(file.target)
    except (FileNotFoundError, NotADirectoryError):
        raise IntegrityError(f"{file.target}: is missing") from None
    except OSError as error:
        raise disk_error(error, file.target, reading=True) from error
    if not stat.S_ISREG(status.st_mode):
        raise IntegrityError(f"{file.target}: is no regular file")
    if file.size is not None and status.st_size != file.size:
        raise IntegrityError(f"{file.target}: has {status.st_size} bytes instead of {file.size}")
    if (stated := file.checksum) is None:
        return False
    hashed = partial(hash_file, path=file.target, size=status.st_size)
    found = hashed(stated.algorithm)
    if file.may_be_pointer:
        found = checksums.proven(stated, found, hashed)
    if found is None or checksums.proves(found, stated):
        return found is not None
    if checksums.is_guess(stated):
        return False
    raise IntegrityError(
        f"{file.target}: {stated.algorithm} is {found.value} instead of {stated.value}"
    )


def _extra(wants: Sequence[Want], known: set[str]) -> Iterator[str]:
    """Files below the folders of the wants that are not known; kaiwo's own are left out."""
    folders = {
        place.folder.rstrip("/") or "/": None
        for want in wants
        if (place := folder_of(want.placement)) is not None
    }
    seen = {place.ready for _, place in with_ready(wants)}
    for folder in folders:
        for path, names, files in os.walk(folder):
            names[:] = [each for each in names if not own_names.is_own(each)]
            for name in sorted(files):
                target = f"{path.rstrip('/')}/{name}"
                if target not in known | seen and not own_names.is_temporary(name):
                    seen.add(target)
                    yield target
