"""Maps failures of web requests to kaiwo errors."""

from __future__ import annotations

import aiohttp

from kaiwo.errors import (
    CredentialsError,
    KaiwoError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.net.failures import connection_error, wire_error
from kaiwo.net.statuses import RefusedError, status_error


class RedirectError(Exception):
    """Redirects that end at no file; the argument says why."""


class FolderError(NotFoundError):
    """The address of a file is the page of a folder."""


def map_refusal(refused: RefusedError, what: str) -> KaiwoError:
    """The kaiwo error for an answer whose status is not the expected one."""
    status = refused.status
    found = status_error(status, what, refused.code, refused.headers)
    if isinstance(found, NotFoundError):
        return NotFoundError(f"{what}: {status}: not found; check the URL")
    if isinstance(found, CredentialsError):
        return CredentialsError(
            f"{what}: {status}: access is refused; check the URL and its signature, or the "
            "credentials in options (such as headers)"
        )
    if status < 400:  # noqa: PLR2004 - HTTP's errors
        return ServiceError(f"{what}: {status}: the server's answer is not the file")
    return found


def map_client_error(error: aiohttp.ClientError, what: str) -> KaiwoError:
    """The kaiwo error for a failure of the connection, or of HTTP above it."""
    if (found := connection_error(error, what)) is not None:
        return found
    match error:
        case aiohttp.InvalidURL():
            return ServiceError(f"{what}: this address, or one that it redirects to, is invalid")
        case aiohttp.ClientResponseError():
            return TransientError(f"{what}: the server's answer is not HTTP")
    return wire_error(error, what)
