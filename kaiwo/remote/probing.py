"""Before the first byte: which workers of a cluster can be used?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from kaiwo import redact, units
from kaiwo._version import __version__
from kaiwo.errors import ConfigError, DiskError, KaiwoError
from kaiwo.remote.meeting import unseen_of

#: By these, all that goes to a scheduler or a worker is encrypted.
_ENCRYPTED = ("tls://", "wss://")


def is_encrypted(address: str) -> bool:
    """Whether all that goes to that scheduler or worker is encrypted."""
    return address.startswith(_ENCRYPTED)


def probe(folders: Sequence[str], secret_files: Sequence[str]) -> dict[str, Any]:
    """What a worker says before it is used; plain data, which any version of kaiwo understands.

    Args:
        folders: that it must see.
        secret_files: that it must be able to read.
    """
    return {
        "version": __version__,
        "unseen": _unseen(folders),
        "unread": next(filter(_is_unread, secret_files), None),
    }


def _unseen(folders: Sequence[str]) -> str | None:
    try:
        return unseen_of(folders)
    except DiskError as error:
        return error.message


def _is_unread(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return not file.read(1)
    except OSError:
        return True


def without_tls(address: str) -> ConfigError:
    """The error for a worker that would get a secret as plain text."""
    return ConfigError(
        f"the Dask worker {address} does not use TLS, and the configuration holds a secret: use a "
        "field ..._file, which each worker reads itself, or start the worker with --protocol tls"
    )


def fault_of(address: str, asked: Future[dict[str, Any]]) -> KaiwoError | None:
    """Why a worker cannot be used, if it cannot."""
    try:
        said = asked.result()
    except BaseException as error:
        text = redact.text(units.printable(str(error)))[:200]
        return ConfigError(
            f"the Dask worker {address} cannot run kaiwo ({type(error).__name__}: {text}): install "
            f"kaiwo {__version__} there"
        )
    if said["version"] != __version__:
        return ConfigError(
            f"the Dask worker {address} has kaiwo {said['version']}, and this is {__version__}: "
            "install the same version on all of them"
        )
    if said["unseen"]:
        return DiskError(
            f"the Dask worker {address} does not see the download root ({said['unseen']}): all "
            "workers need the same folder at the same path"
        )
    if said["unread"]:
        return ConfigError(f"the Dask worker {address} cannot read {said['unread']}")
    return None
