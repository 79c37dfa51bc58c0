"""Claims as files, for other runs to see.

One file for each root and attempt, ``<root>/.kaiwo/claims/<run>-<attempt>-<number>.json``, without
secrets. It never changes, and is there as a whole or not at all:

    {"kaiwo-claim": 1, "host": "pod-1", "boot": "3f4e...", "namespace": "pid:[4026531836]",
     "pid": 1, "start": 81234, "since": "2025-03-01T12:00:00Z",
     "targets": ["0011223344556677", ...]}

``boot`` to ``start`` identify a process (see ``processes.py``); ``host`` and ``since`` are for
people. ``targets`` are short hashes of paths relative to the root, so that it does not matter where
a pod mounts the volume. While the run lasts, it touches the file every few seconds.

A run that cannot read the file, since it has another user and another group, treats it as a claim
on everything in that root.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from msgspec import Struct

from kaiwo import units
from kaiwo.files import documents, new_threads
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, in_folder
from kaiwo.files.temporary_files import discard
from kaiwo.state.folder import claim_part_path, claim_path, log_level, run_of_claim
from kaiwo.state.processes import Process, this_process
from kaiwo.state.sharing import make_folder, root_of_state, share_file

VERSION = 1
#: Other runs may remove an empty folder right before a claim is written there; so often at most.
_MAX_RACES = 100
#: Its thread ends at once, unless it is in a file system that hangs.
_ENDS_IN_S = 1.0
logger = logging.getLogger(__name__)

#: Targets by folders of claims; each target is a short hash.
Targets = Mapping[str, AbstractSet[str]]


class OwnClaim:
    """The claims of one attempt, and the thread that touches them.

    Args:
        run: the token of this run.
        attempt: its number.
        wanted: the targets to claim.
        touch_s: how often the claims are touched.

    Attributes:
        targets: what is really claimed: a folder that cannot be written is left out.
        since_ns: when they were posted, by the clock of the file system.
    """

    def __init__(self, run: str, attempt: int, wanted: Targets, touch_s: float) -> None:
        self.targets: dict[str, AbstractSet[str]] = {}
        self.since_ns = 0
        self._run = run
        self._attempt = attempt
        self._wanted = wanted
        self._touch_s = touch_s
        self._roots: dict[str, Root] = {}
        self._paths: list[str] = []
        self._made_folders: list[str] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def post(self) -> None:
        """Write the files, and keep touching them."""
        with self._lock:
            for number, (folder, hashes) in enumerate(self._wanted.items()):
                path = claim_path(folder, self._run, self._attempt, number)
                self._roots[path] = root_of_state(folder)
                # Noted before it exists: if a signal interrupts this, ``withdraw`` finds it.
                self._paths.append(path)
                try:
                    self._write(path, hashes)
                except OSError as error:
                    self._paths.remove(path)
                    reason = disk_error(error, folder).message
                    text = "%s; two runs at the same time may download the same objects"
                    logger.log(log_level(error, folder), text, reason)
                else:
                    self.targets[folder] = hashes
        self._thread = threading.Thread(target=self._keep_touching, name="kaiwo-claim", daemon=True)
        if not new_threads.start(self._thread):
            self._thread = None
            logger.warning(
                "no thread can be started: runs on other machines may take this run for dead, and "
                "download the same objects"
            )

    def _write(self, path: str, hashes: AbstractSet[str]) -> None:
        content = json.dumps(_header() | {"targets": [*hashes]})
        root = self._roots[path]
        for races_left in reversed(range(_MAX_RACES)):
            try:
                self._make_folder(os.path.dirname(path), root)
                _write_whole(path, content, root)
                break
            except FileNotFoundError:
                if not races_left:
                    raise
        self.since_ns = os.stat(path).st_mtime_ns

    def _make_folder(self, folder: str, root: Root) -> None:
        missing = []
        while folder and not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        if missing:
            self._made_folders += missing
            make_folder(missing[0], root)

    def _keep_touching(self) -> None:
        while not self._ended.wait(self._touch_s):
            with self._lock:
                if not self._ended.is_set():
                    self._paths = [path for path in self._paths if _touch(path, self._roots[path])]

    @property
    def is_gone(self) -> bool:
        """Another run has removed one of the files, for it took this run for dead."""
        with self._lock:
            there = [path for path in self._paths if os.path.lexists(path)]
        return len(there) < len(self.targets)

    def withdraw(self) -> None:
        """Remove the files, and folders that hold nothing else."""
        self._ended.set()
        with self._lock:
            for path in self._paths:
                for each in (path, claim_part_path(path)):
                    discard(each, self._roots[path])
            for folder in (*self.targets, *self._made_folders):
                remove_folder(folder)
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # its start was interrupted
                self._thread.join(_ENDS_IN_S)


def remove_folder(folder: str) -> None:
    """Remove a folder of the state or a root, if it is empty."""
    root = root_of_state(folder)
    with contextlib.suppress(OSError):
        if folder == root.path:
            os.rmdir(folder)
        else:
            in_folder(folder, root, lambda parent, name: os.rmdir(name, dir_fd=parent))


def _write_whole(path: str, content: str, root: Root) -> None:
    """Make a file that never exists with a part of its content; raises OSError."""

    def share(descriptor: int) -> None:
        share_file(descriptor, root)

    def write(folder: int | None, name: str) -> None:
        # It has no name until it is whole: if this process is killed, nothing is left of it.
        with open(_nameless(folder), "w", encoding="ascii") as file:
            share(file.fileno())
            file.write(content)
            file.flush()
            # ``src_dir_fd`` makes it follow the link that the system shows of an open file.
            shown = f"/proc/self/fd/{file.fileno()}"
            os.link(shown, name, src_dir_fd=file.fileno(), dst_dir_fd=folder)

    try:
        in_folder(path, root, write)
    except FileNotFoundError:
        raise
    except OSError:
        # This system, file system or container does not support it.
        documents.replace(path, [content], claim_part_path(path), 0o600, share, root)


def _nameless(folder: int | None) -> int:
    flag: int | None = getattr(os, "O_TMPFILE", None)
    if flag is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))  # Linux alone has such files
    return os.open(".", os.O_WRONLY | flag | os.O_CLOEXEC, 0o600, dir_fd=folder)


def _touch(path: str, root: Root) -> bool:
    """Touch a claim; False when it is gone."""

    def touch(folder: int | None, name: str) -> None:
        os.utime(name, dir_fd=folder, follow_symlinks=False)

    try:
        in_folder(path, root, touch)
    except FileNotFoundError:
        warning = "%s is gone: another run took this run for dead, and may download the same again"
        logger.warning(warning, path)
        return False
    except OSError as error:
        logger.debug("cannot touch %s: %s", path, error.strerror)
    return True


def _header() -> dict[str, object]:
    process = this_process()
    return {
        "kaiwo-claim": VERSION,
        "host": os.uname().nodename,
        "boot": process.boot,
        "namespace": process.namespace,
        "pid": process.pid,
        "start": process.start,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


class ForeignClaim(Struct, frozen=True):
    """The claim of another run.

    Attributes:
        path: of its file.
        process: its run's process, if that can be read.
        targets: what it claims, if that can be read.
        holder: its run, for people.
        is_newer: a newer version of kaiwo wrote it; only that version may remove it.
    """

    path: str
    process: Process | None = None
    targets: frozenset[str] | None = None
    holder: str = "another run"
    is_newer: bool = False

    @property
    def run(self) -> str:
        """The token of its run."""
        return run_of_claim(self.path)


def read_claim(path: str, known: ForeignClaim | None) -> tuple[ForeignClaim, int]:
    """A claim and its modification time in ns.

    Args:
        path: of its file.
        known: the claim, if it was read before; claims never change.

    Raises:
        FileNotFoundError: it is gone.
    """
    try:
        # Opening it makes network file systems ask their server, where stat may not.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError:
        return known or ForeignClaim(path), os.lstat(path).st_mtime_ns
    with open(descriptor, "rb") as file:
        touched_ns = os.fstat(descriptor).st_mtime_ns
        return known or _parsed(path, file.read()), touched_ns


def _parsed(path: str, content: bytes) -> ForeignClaim:
    """What a claim says; almost nothing, if it is foreign or damaged."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return ForeignClaim(path)
    match document:
        case {
            "kaiwo-claim": int(version),
            "host": str(host),
            "boot": str(boot),
            "namespace": str(namespace),
            "pid": int(pid),
            "start": int(start),
            "since": str(since),
            "targets": list(targets),
        } if version == VERSION and all(isinstance(each, str) for each in targets):
            holder = f"the run of process {pid} on {host} (since {since})"
            process = Process(boot, namespace, pid, start)
            return ForeignClaim(path, process, frozenset(targets), units.printable(holder))
        case {"kaiwo-claim": int(version)} if version > VERSION:
            return ForeignClaim(path, holder="a run of a newer kaiwo", is_newer=True)
    return ForeignClaim(path)
