"""Small files of the state that are written whole: nobody ever reads half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable

from kaiwo.errors import DiskError
from kaiwo.files import documents, temporary_files
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import in_folder
from kaiwo.files.repeat import repeat
from kaiwo.own_names import STATE_FOLDER
from kaiwo.state.json_lines import without_waiting
from kaiwo.state.sharing import make_folder, root_of_state, share_file


def folder_of_state(root: str) -> str:
    """The folder of the state in a root; it is made.

    Raises:
        DiskError: the file system refused.
    """
    folder = os.path.join(root, STATE_FOLDER)
    try:
        make_folder(folder, root_of_state(folder))
    except OSError as error:
        raise disk_error(error, folder) from None
    return folder


def write(path: str, lines: Iterable[str | bytes]) -> None:
    """Replace a file of the state.

    Raises:
        DiskError: the file system refused.
    """
    folder = os.path.dirname(path)
    root = root_of_state(folder)
    try:
        make_folder(folder, root)
        documents.replace(
            path,
            lines,
            f"{path}.{secrets.token_hex(4)}.part",
            0o600,
            lambda descriptor: share_file(descriptor, root),
            root,
        )
    except OSError as error:
        raise disk_error(error, path) from None


def write_new(path: str, lines: Iterable[str | bytes]) -> None:
    """Write a file of the state, unless it is there.

    Raises:
        DiskError: the file system refused.
    """
    written = f"{path}.{secrets.token_hex(4)}.part"
    write(written, lines)

    def link(folder: int | None, name: str) -> None:
        os.link(os.path.basename(written), name, src_dir_fd=folder, dst_dir_fd=folder)

    def rename(folder: int | None, name: str) -> None:
        if not os.path.lexists(path):
            os.rename(os.path.basename(written), name, src_dir_fd=folder, dst_dir_fd=folder)

    root = root_of_state(os.path.dirname(path))
    try:
        in_folder(path, root, link)
    except FileExistsError:
        pass
    except OSError:  # no hard links: the caller has to see to it that nobody else writes it
        try:
            in_folder(path, root, rename)
        except OSError as error:
            raise disk_error(error, path) from None
    finally:
        remove(written)


def beginning(path: str, length: int) -> bytes | None:
    """The first bytes of a file of the state; None if there is no such file.

    Raises:
        DiskError: it cannot be read.
    """

    def attempt() -> bytes:
        with open(path, "rb", opener=without_waiting) as stream:
            # Python allocates as much as is asked for.
            return stream.read(min(length, os.fstat(stream.fileno()).st_size))

    try:
        return repeat(attempt)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror}") from error


def remove(path: str) -> None:
    """Remove a file of the state, if it is there."""
    temporary_files.discard(path, root_of_state(os.path.dirname(path)))
