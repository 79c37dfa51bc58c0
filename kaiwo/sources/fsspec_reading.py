"""Ranges of a file by an fsspec filesystem: from one opened file, or by ranges of its protocol.

A filesystem that has a way for ranges (``cat_file``) is asked for them. ``memory`` has one, and
gives all who open a file the same file, with one position.

A file of ``ftplib`` is read by one transfer from the first byte of the range on. fsspec's own way
is a listing of the folder and a transfer that is broken off, for each 64 KiB.
"""

from __future__ import annotations

import contextlib
import ftplib
from collections.abc import Callable, Iterator
from typing import Any

from fsspec import AbstractFileSystem

from kaiwo.errors import RangeIgnoredError

#: Reads at most that many bytes; empty at the end.
Read = Callable[[int], bytes]


@contextlib.contextmanager
def opened(filesystem: Any, path: str, start: int, end: int, *, is_whole: bool) -> Iterator[Read]:
    """What reads a range of a file.

    Args:
        filesystem: no other thread uses it.
        path: of the file.
        start: the first byte.
        end: the byte after the last one.
        is_whole: the range is the whole file.
    """
    ftp = getattr(filesystem, "ftp", None)
    if isinstance(ftp, ftplib.FTP):
        with _transfer(ftp, path, start, end) as read:
            yield read
        return
    is_async = getattr(filesystem, "async_impl", False)
    if type(filesystem).cat_file is not AbstractFileSystem.cat_file and not (is_whole and is_async):
        yield _by_ranges(filesystem, path, start, end)
        return
    if is_whole:
        # A file that is not sought needs no more of its filesystem, and reads nothing ahead.
        with filesystem.open(path, "rb", block_size=0) as file:
            yield file.read
        return
    with filesystem.open(path, "rb") as file:
        if not file.seekable():
            raise RangeIgnoredError("its filesystem cannot read from the middle of a file")
        file.seek(start)
        left = end - start

        def read(size: int) -> bytes:
            nonlocal left
            block: bytes = file.read(min(size, left)) if left else b""
            left -= len(block)
            return block

        yield read


def _by_ranges(filesystem: Any, path: str, start: int, end: int) -> Read:
    at = start

    def read(size: int) -> bytes:
        nonlocal at
        if at == end:
            return b""
        block: bytes = filesystem.cat_file(path, start=at, end=min(at + size, end))
        at += len(block)
        return block

    return read


@contextlib.contextmanager
def _transfer(ftp: ftplib.FTP, path: str, start: int, end: int) -> Iterator[Read]:
    """The bytes of a range from one transfer.

    Raises:
        BrokenOffError: the transfer is not at its end.
    """
    ftp.voidcmd("TYPE I")
    with ftp.transfercmd(f"RETR {path}", start or None) as data:
        left = end - start

        def read(size: int) -> bytes:
            nonlocal left
            block = data.recv(min(size, left)) if left else b""
            left -= len(block)
            return block

        yield read
        if left or data.recv(1):
            raise BrokenOffError
    ftp.voidresp()


class BrokenOffError(Exception):
    """What was read is right, and the connection cannot be used any more."""
