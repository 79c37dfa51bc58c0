"""A file system that takes files only from beginning to end, as mounts of object stores do.

    python -m tests.servers.sequential_mount BACKING MOUNT [REFUSAL ...]

It speaks the protocol of FUSE over /dev/fuse by itself, needs the right to mount, and shows the
folder BACKING at MOUNT. One request at a time is served. What it always refuses, as all of these
mounts do: to write elsewhere than at the end of what was written since the file was opened. What it
refuses besides, with the error that a mount is known for:

    existing     to open a file that exists for writing, but for O_TRUNC (mountpoint-s3, rclone)
    both         to open a file for reading and writing (mountpoint-s3, rclone)
    no-times     to set times (mountpoint-s3)

It prints its settings as JSON, and ends when its input does.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import stat
import struct
import sys
from collections.abc import Callable

_HEADER = struct.Struct("<IIQQIIII")
_ATTRIBUTES = struct.Struct("<6Q10I")
_NO_REPLY = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_MOST_WRITE = 1 << 17


class SequentialMount:
    """The requests of the kernel, by their numbers in its ``fuse.h``."""

    def __init__(self, backing: str, refusals: set[str]) -> None:
        self._refusals = refusals
        self._paths = {1: backing}
        self._nodes = {backing: 1}
        #: Of open files that are written: where the next byte goes.
        self._ends: dict[int, int] = {}
        self._listings: dict[int, bytes] = {}
        self._answers: dict[int, Callable[[str, bytes], bytes]] = {
            1: self._lookup,
            3: lambda path, _: self._attributes(path),
            4: self._set_attributes,
            9: self._make_folder,
            10: lambda path, data: self._remove(os.unlink, path, data),
            11: lambda path, data: self._remove(os.rmdir, path, data),
            12: lambda path, data: self._rename(path, data, 8),
            14: self._open,
            15: self._read,
            16: self._write,
            17: self._space,
            18: self._release,
            20: lambda *_: b"",
            25: lambda *_: b"",
            26: lambda *_: struct.pack(
                "<IIIIHHIIHHI28x", 7, 31, 1 << 17, 1 << 5, 16, 12, _MOST_WRITE, 1, 0, 0, 0
            ),
            27: self._open_folder,
            28: self._read_folder,
            29: lambda _, data: self._listings.pop(struct.unpack_from("<Q", data)[0]) and b"",
            35: self._create,
            38: lambda *_: b"",
            45: lambda path, data: self._rename(path, data, 16),
        }

    def answer(self, request: bytes) -> bytes | None:
        """The answer to a request of the kernel; None where it expects none."""
        _, operation, number, node = _HEADER.unpack_from(request)[:4]
        if operation in _NO_REPLY:
            return None
        code, body = 0, b""
        try:
            answer = self._answers.get(operation, _unknown)
            body = answer(self._paths.get(node, ""), request[_HEADER.size :])
        except OSError as error:
            code = -(error.errno or errno.EIO)
        return struct.pack("<IiQ", 16 + len(body), code, number) + body

    def _child(self, path: str, name: bytes) -> str:
        return os.path.join(path, os.fsdecode(name.partition(b"\0")[0]))

    def _entry(self, path: str) -> bytes:
        status = os.lstat(path)
        if path not in self._nodes:
            self._nodes[path] = max(self._paths) + 1
            self._paths[self._nodes[path]] = path
        return struct.pack("<QQQQII", self._nodes[path], 0, 0, 0, 0, 0) + _packed(status)

    def _attributes(self, path: str) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + _packed(os.lstat(path))

    def _lookup(self, path: str, data: bytes) -> bytes:
        return self._entry(self._child(path, data))

    def _set_attributes(self, path: str, data: bytes) -> bytes:
        (valid, size) = struct.unpack_from("<I12xQ", data)
        if valid & 1 << 3 and size:  # FATTR_SIZE
            raise OSError(errno.EOPNOTSUPP, "")
        if valid & 1 << 3:
            os.truncate(path, 0)
        if valid & (1 << 4 | 1 << 5 | 1 << 7 | 1 << 8) and "no-times" in self._refusals:
            raise OSError(errno.EPERM, "")
        return self._attributes(path)

    def _make_folder(self, path: str, data: bytes) -> bytes:
        os.mkdir(child := self._child(path, data[8:]))
        return self._entry(child)

    def _remove(self, remove: Callable[[str], None], path: str, data: bytes) -> bytes:
        remove(child := self._child(path, data))
        self._forget(child)
        return b""

    def _forget(self, path: str) -> None:
        node = self._nodes.pop(path, None)
        if node is not None:
            self._paths.pop(node)

    def _rename(self, path: str, data: bytes, begin: int) -> bytes:
        (folder,) = struct.unpack_from("<Q", data)
        old, new = data[begin:].split(b"\0")[:2]
        source, target = self._child(path, old), self._child(self._paths[folder], new)
        os.rename(source, target)
        self._forget(target)
        node = self._nodes.pop(source, None)
        if node is not None:
            self._nodes[target], self._paths[node] = node, target
        return b""

    def _open(self, path: str, data: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", data)
        return self._opened(path, flags, exists=True)

    def _opened(self, path: str, flags: int, *, exists: bool) -> bytes:
        way = flags & os.O_ACCMODE
        if way == os.O_RDWR and "both" in self._refusals:
            raise OSError(errno.EINVAL, "")
        is_kept = exists and not flags & os.O_TRUNC
        if way != os.O_RDONLY and is_kept and "existing" in self._refusals:
            raise OSError(errno.EPERM, "")
        descriptor = os.open(path, flags & ~(os.O_APPEND | os.O_NOFOLLOW | os.O_EXCL), 0o644)
        if way != os.O_RDONLY:
            self._ends[descriptor] = 0 if is_kept else os.fstat(descriptor).st_size
        return struct.pack("<QII", descriptor, 1, 0)  # FOPEN_DIRECT_IO

    def _create(self, path: str, data: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", data)
        child = self._child(path, data[16:])
        opened = self._opened(child, flags | os.O_CREAT, exists=os.path.exists(child))
        return self._entry(child) + opened

    def _read(self, _: str, data: bytes) -> bytes:
        descriptor, offset, size = struct.unpack_from("<QQI", data)
        return os.pread(descriptor, size, offset)

    def _write(self, _: str, data: bytes) -> bytes:
        descriptor, offset, size = struct.unpack_from("<QQI", data)
        if offset != self._ends[descriptor]:
            raise OSError(errno.EOPNOTSUPP, "")
        self._ends[descriptor] += size
        os.pwrite(descriptor, data[40 : 40 + size], offset)
        return struct.pack("<II", size, 0)

    def _release(self, _: str, data: bytes) -> bytes:
        (descriptor,) = struct.unpack_from("<Q", data)
        self._ends.pop(descriptor, None)
        os.close(descriptor)
        return b""

    def _space(self, *_: object) -> bytes:
        return struct.pack("<5Q4I24x", 1 << 30, 1 << 30, 1 << 30, 0, 0, 4096, 255, 4096, 0)

    def _open_folder(self, path: str, _: bytes) -> bytes:
        handle = max(self._listings, default=0) + 1
        entries = b""
        for name in map(os.fsencode, os.listdir(path)):
            offset = len(entries) + -(-(24 + len(name)) // 8) * 8
            entry = struct.pack("<QQII", 1, offset, len(name), 0) + name
            entries += entry.ljust(offset - len(entries), b"\0")
        self._listings[handle] = entries
        return struct.pack("<QII", handle, 0, 0)

    def _read_folder(self, _: str, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        entries, end = self._listings[handle], offset
        while end < len(entries):
            (following,) = struct.unpack_from("<8xQ", entries, end)
            if following - offset > size:
                break
            end = following
        return entries[offset:end]


def _unknown(_: str, __: bytes) -> bytes:
    raise OSError(errno.ENOSYS, "")


def _packed(found: os.stat_result) -> bytes:
    times = [found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns]
    seconds, rests = [each // 10**9 for each in times], [each % 10**9 for each in times]
    mode = found.st_mode if stat.S_ISDIR(found.st_mode) else stat.S_IFREG | 0o644
    return _ATTRIBUTES.pack(
        *(found.st_ino, found.st_size, found.st_blocks, *seconds, *rests, mode, found.st_nlink),
        *(found.st_uid, found.st_gid, 0, 4096, 0),
    )


def serve(kind: type[SequentialMount]) -> None:
    """Mount, serve until standard input ends, unmount."""
    backing, mount, *refusals = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if libc.mount(b"kaiwo-test", os.fsencode(mount), b"fuse", 0, options.encode()):
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    served = kind(backing, set(refusals))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        print(json.dumps({"folder": mount}), flush=True)
        while True:
            readable = select.select([device, 0], [], [])[0]
            if 0 in readable:
                return
            answer = served.answer(os.read(device, _MOST_WRITE + 4096))
            if answer is not None:
                os.write(device, answer)
    finally:
        libc.umount2(os.fsencode(mount), 2)  # MNT_DETACH


if __name__ == "__main__":
    serve(SequentialMount)
