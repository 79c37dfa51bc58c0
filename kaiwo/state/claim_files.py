"""Claims as files, for other runs to see.

One file for each root and attempt, ``<root>/.kaiwo/claims/<run>-<n>-<m>.json``, without secrets.
It never changes, and is there as a whole or not at all:

    {"kaiwo-claim": 1, "host": "pod-1", "boot": "3f4e...", "namespace": "pid:[4026531836]",
     "pid": 1, "start": 81234, "since": "2025-03-01T12:00:00Z",
     "targets": ["0011223344556677", ...]}

``boot`` to ``start`` name a process (see ``alive``); ``host`` and ``since`` are for people.
``targets`` are short hashes of paths relative to the root, so that it does not matter where a pod
mounts the volume. While the run lasts, the file is touched every few seconds.

Its mode is 0600, like that of all state. A run of another user cannot read it, and takes it for a
claim on everything in that root.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import posixpath
import threading
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from msgspec import Struct

from kaiwo.files.disk_errors import disk_error
from kaiwo.state.processes import Process, this_process

VERSION = 1
_ENDING = ".json"
#: How often other runs may remove a folder, to tidy up, right before it is written to.
_RACES = 100
logger = logging.getLogger(__name__)

#: The targets to claim in each folder of claims, as short hashes.
Places = Mapping[str, AbstractSet[str]]


class OwnClaim:
    """The claims of one attempt, and the thread that touches them.

    Args:
        name: of this run and attempt.
        wanted: what to claim.
        touch_s: how often to touch them.

    Attributes:
        places: what is really claimed: a folder that cannot be written is left out.
        since_ns: when they were posted, by the clock of the file system.
    """

    def __init__(self, name: str, wanted: Places, touch_s: float) -> None:
        self.places: dict[str, AbstractSet[str]] = {}
        self.since_ns = 0
        self._name = name
        self._wanted = wanted
        self._touch_s = touch_s
        self._paths: list[str] = []
        self._made: list[str] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def post(self) -> None:
        """Make them seen, and keep touching them."""
        with self._lock:
            for number, (folder, hashes) in enumerate(self._wanted.items()):
                path = posixpath.join(folder, f"{self._name}-{number}{_ENDING}")
                # Known before it is there: whatever interrupts this, ``withdraw`` finds it.
                self._paths.append(path)
                try:
                    self._write(path, hashes)
                except OSError as error:
                    self._paths.remove(path)
                    reason = disk_error(error, folder).message
                    logger.warning("%s; two runs at once may both fetch the same", reason)
                else:
                    self.places[folder] = hashes
        threading.Thread(target=self._touch, name="kaiwo-claim", daemon=True).start()

    def _write(self, path: str, hashes: AbstractSet[str]) -> None:
        content = json.dumps(_header() | {"targets": [*hashes]})
        for races_left in reversed(range(_RACES)):
            try:
                self._make_folder(os.path.dirname(path))
                _write_whole(path, content)
                break
            except FileNotFoundError:
                if not races_left:
                    raise
        self.since_ns = os.stat(path).st_mtime_ns

    def _make_folder(self, folder: str) -> None:
        missing = []
        while folder and not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        if missing:
            self._made += missing
            os.makedirs(missing[0], exist_ok=True)

    def _touch(self) -> None:
        while not self._ended.wait(self._touch_s):
            with self._lock:
                if not self._ended.is_set():
                    self._paths = [path for path in self._paths if _touched(path)]

    def withdraw(self) -> None:
        """Remove them, and folders that hold nothing else."""
        self._ended.set()
        with self._lock:
            for path in self._paths:
                for each in (path, path.removesuffix(_ENDING)):
                    with contextlib.suppress(OSError):
                        os.unlink(each)
            for folder in (*self.places, *self._made):
                with contextlib.suppress(OSError):  # it is of use to somebody
                    os.rmdir(folder)


def _write_whole(path: str, content: str) -> None:
    """Make a file that is there with all of its content; raises OSError."""
    try:
        # Without a name until it is whole: nothing is left of it when this process is killed.
        with open(os.path.dirname(path), "w", encoding="ascii", opener=_nameless) as file:
            file.write(content)
            file.flush()
            # Told from where, it follows the link that the system shows of an open file.
            os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno())
            return
    except FileNotFoundError:
        raise
    except OSError:
        pass  # a file system, or a container, that cannot do so
    temporary = path.removesuffix(_ENDING)
    with open(temporary, "w", encoding="ascii", opener=_private) as file:
        file.write(content)
    os.rename(temporary, path)


def _nameless(folder: str, _: int) -> int:
    return os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _touched(path: str) -> bool:
    """Touch a claim; False when it is gone."""
    try:
        os.utime(path)
    except FileNotFoundError:
        logger.warning(
            "%s is gone: another run took this one for dead, and may fetch the same again", path
        )
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
    """A claim that was found.

    Attributes:
        path: of its file.
        process: whose it is, if that can be read.
        targets: what it is for, if that can be read.
        holder: whose it is, for people.
        newer: it is of a newer version; not ours to remove.
    """

    path: str
    process: Process | None = None
    targets: frozenset[str] | None = None
    holder: str = "another run"
    newer: bool = False

    @property
    def run(self) -> str:
        """Of which run it is."""
        return posixpath.basename(self.path).partition("-")[0]


def posted_in(folder: str) -> list[str]:
    """The paths of all claims there."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [posixpath.join(folder, name) for name in names if name.endswith(_ENDING)]


def look(path: str, known: ForeignClaim | None) -> tuple[ForeignClaim, int]:
    """A claim and its modification time in ns; it is read unless it is known.

    Raises:
        FileNotFoundError: it is gone.
    """
    try:
        # Opening it has network file systems ask their server, where stat may not.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError:
        return known or ForeignClaim(path), os.lstat(path).st_mtime_ns
    with open(descriptor, "rb") as file:
        touched_ns = os.fstat(descriptor).st_mtime_ns
        return known or _parsed(path, file.read()), touched_ns


def _parsed(path: str, content: bytes) -> ForeignClaim:
    """What a claim says; nothing, when it is foreign or garbled."""
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return ForeignClaim(path)
    match told:
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
            printable = "".join(letter if letter.isprintable() else "?" for letter in holder)
            process = Process(boot, namespace, pid, start)
            return ForeignClaim(path, process, frozenset(targets), printable)
        case {"kaiwo-claim": int(version)} if version > VERSION:
            return ForeignClaim(path, holder="a run of a newer kaiwo", newer=True)
    return ForeignClaim(path)
