"""Maps failures of web requests to kaiwo errors."""

from __future__ import annotations

from http import HTTPStatus

from kaiwo.errors import (
    CredentialsError,
    KaiwoError,
    NotFoundError,
    ServiceError,
)
from kaiwo.net import codes
from kaiwo.net.statuses import RefusedError, status_error


class FolderError(NotFoundError):
    """The address of a file is the page of a folder."""


def map_refusal(refused: RefusedError, what: str) -> KaiwoError:
    """The kaiwo error for an answer whose status is not the expected one."""
    found = status_error(refused.status, what, refused.code, refused.headers)
    answer = f"{what}: {refused.status} {codes.clean(refused.code)}".rstrip()
    if isinstance(found, NotFoundError):
        return NotFoundError(f"{answer}: not found; check the URL")
    has_reason = codes.meaning(refused.code) in (codes.Meaning.CLOCK, codes.Meaning.EXPIRED)
    has_reason |= refused.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    if isinstance(found, CredentialsError) and not has_reason:
        return CredentialsError(
            f"{answer}: access is refused; check the URL and its signature, or the "
            "credentials in options (such as headers)"
        )
    if refused.status < 400:  # noqa: PLR2004 - HTTP's errors
        return ServiceError(f"{answer}: the server's answer is not the file")
    return found
