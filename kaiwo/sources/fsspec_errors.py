"""Errors of fsspec filesystems, and of the clients below them, as kaiwo errors.

``ftplib`` and ``paramiko`` have errors of their protocols, ``requests`` and ``aiohttp`` have
statuses of HTTP, others raise Python's own. A filesystem may call every failure "not found": its
cause says more. Names are compared, because most of these packages are not installed.
"""

from __future__ import annotations

import ftplib
from collections.abc import Iterable

from kaiwo.errors import (
    BusyError,
    CertificateError,
    ConfigError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.net.failures import chain, connection_error, wire_error
from kaiwo.net.statuses import status_error

_REFUSED = "the server refuses the user, the password or the key; check them in options"
_MISSING = "not found; check the name"
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
#: Replies of FTP that refuse who asks, and one of too many connections.
_FTP_REFUSALS, _FTP_MISSING, _FTP_BUSY = {"331", "332", "530", "532"}, "550", "421"


def filesystem_error(error: Exception, what: str) -> KaiwoError:
    """The kaiwo error for what a filesystem raised.

    Args:
        error: never a kaiwo error.
        what: the operation and its object; the message begins with it.
    """
    if isinstance(error, PermissionError):  # of the filesystem; a network refuses so, too
        return CredentialsError(f"{what}: access is denied")
    causes = list(chain(error))
    # The addresses of a host that paramiko has tried.
    tried = [each for cause in causes for each in _tried(cause)]
    # Of SFTP, "no such file" has a number and no name, as an error of a socket.
    below = (error.__cause__ or error.__context__) if isinstance(error, _ABSENT) else error
    for cause in (*tried, *((below,) if below is not None else ())):
        if (found := connection_error(cause, what)) is not None:
            return found
    for cause in causes:
        if (found := _of_protocol(cause, what) or _of_status(cause, what)) is not None:
            return found
    return _of_python(error, what)


def _tried(cause: BaseException) -> Iterable[BaseException]:
    errors = getattr(cause, "errors", None)
    if type(cause).__name__ == "NoValidConnectionsError" and isinstance(errors, dict):
        return [each for each in errors.values() if isinstance(each, BaseException)]
    return ()


def _of_protocol(cause: BaseException, what: str) -> KaiwoError | None:
    """Errors of FTP and of SSH."""
    if isinstance(cause, ftplib.Error):
        return _of_ftp(cause, what)
    if isinstance(cause, EOFError):  # of both
        return NoAnswerError(f"{what}: the server closed the connection")
    names = {kind.__name__ for kind in type(cause).__mro__}
    if "AuthenticationException" in names:
        return CredentialsError(f"{what}: {_REFUSED}")
    if "BadHostKeyException" in names or (
        "SSHException" in names and "not found in known_hosts" in str(cause)
    ):
        return CertificateError(f"{what}: the server's host key is not the one that is known")
    if "SSHException" in names:
        return NoAnswerError(f"{what}: SSH failed ({type(cause).__name__})")
    return None


def _of_ftp(cause: ftplib.Error, what: str) -> KaiwoError:
    code = str(cause)[:3]
    if code in _FTP_REFUSALS:
        return CredentialsError(f"{what}: {_REFUSED} ({code})")
    if code == _FTP_BUSY:
        return BusyError(f"{what}: the server has too many connections, or is closing ({code})")
    if code == _FTP_MISSING:
        return NotFoundError(f"{what}: {_MISSING}, and the rights of this user ({code})")
    if isinstance(cause, ftplib.error_perm):
        return ServiceError(f"{what}: the server refuses the command ({code})")
    return TransientError(f"{what}: the transfer failed ({code})")


def _of_status(cause: BaseException, what: str) -> KaiwoError | None:
    """The status of HTTP that a client's error has; aiohttp's may be without one."""
    response = getattr(cause, "response", None)
    status = getattr(cause, "status", getattr(response, "status_code", None))
    if isinstance(status, int):
        return status_error(status, what)
    names = {kind.__name__ for kind in type(cause).__mro__}
    return wire_error(cause, what) if names & {"ClientError", "RequestException"} else None


def _of_python(error: Exception, what: str) -> KaiwoError:
    if isinstance(error, _ABSENT):
        return NotFoundError(f"{what}: {_MISSING}")
    if isinstance(error, NotImplementedError):
        return ServiceError(f"{what}: this filesystem cannot do that")
    if isinstance(error, ImportError):
        name = f": {error.name}" if error.name else ""
        return ConfigError(f"{what}: its filesystem needs a package that is not installed{name}")
    if isinstance(error, OSError | RuntimeError):
        return TransientError(f"{what}: its filesystem failed ({type(error).__name__})")
    return ServiceError(f"{what}: its filesystem failed: unforeseen {type(error).__name__}")
