"""Documents for other programs: replaced whole, so that no reader ever sees half of one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

from kaiwo import own_names
from kaiwo.files.folders import Root, in_folder, open_new
from kaiwo.files.paths import regular_file
from kaiwo.files.renames import rename


def write(path: str, lines: Iterable[str | bytes]) -> None:
    """Write a document where the user wants it: a file is replaced, a pipe or device is written to.

    Raises:
        OSError: the file system refused; an older document is still there.
    """
    # What cannot be looked at is treated as missing: the attempt to write gives the reason.
    if os.path.exists(path) and regular_file(path) is None:
        write_in_place(path, lines)
        return
    final = os.path.realpath(path)
    folder, name = os.path.split(final)
    replace(final, lines, os.path.join(folder, own_names.document_part_name(name)))


def replace(
    path: str,
    lines: Iterable[str | bytes],
    temporary: str,
    mode: int = 0o666,
    prepare: Callable[[int], None] = lambda _: None,
    root: Root | None = None,
) -> None:
    """Write these lines to a temporary file, then rename it.

    Args:
        path: of the document.
        lines: its content.
        temporary: path of the temporary file, in the same folder.
        mode: of a new file, less the umask.
        prepare: gets the descriptor of the new file.
        root: of both paths, see ``folders.py``.

    Raises:
        OSError: the file system refused; an older document is still there, no temporary file is.
    """
    try:
        with open(open_new(temporary, root, mode), "wb") as stream:
            prepare(stream.fileno())
            stream.writelines(_encoded(lines))
        rename(temporary, path, root)
    except BaseException:  # the exception of a signal, too
        with contextlib.suppress(OSError):
            in_folder(temporary, root, lambda folder, name: os.unlink(name, dir_fd=folder))
        raise


def write_in_place(path: str, lines: Iterable[str | bytes]) -> None:
    """Write these lines into what is there: a mounted file, a pipe, a device.

    A pipe without a reader is an error; this function does not wait for a reader.

    Raises:
        OSError: the file system refused.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as stream:
        stream.writelines(_encoded(lines))


def _encoded(lines: Iterable[str | bytes]) -> Iterator[bytes]:
    return (each.encode() if isinstance(each, str) else each for each in lines)
