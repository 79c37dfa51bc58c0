"""Maps HTTP statuses and the services' error codes to kaiwo errors, alike for all services."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping

from kaiwo.errors import (
    BusyError,
    ChangedError,
    ContainerMissingError,
    CredentialsError,
    KaiwoError,
    NotAcceptedError,
    NotFoundError,
    ServiceError,
    TransientError,
)

#: The longest wait that a service can ask for; a longer one is cut to this.
LONGEST_RETRY_AFTER_S = 300.0
#: Codes of S3 and Azure for credentials that they refuse, under any status.
_REFUSED = {
    "AccessDenied", "AccountProblem", "AllAccessDisabled", "AuthenticationFailed",
    "AuthorizationFailure", "AuthorizationHeaderMalformed", "AuthorizationPermissionMismatch",
    "ExpiredToken", "InvalidAccessKeyId", "InvalidAuthenticationInfo", "InvalidSecurity",
    "InvalidToken", "NoAuthenticationInformation", "PublicAccessNotPermitted",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired", "UnauthorizedAccess",
}  # fmt: skip
_MISSING: dict[str, type[NotFoundError]] = {
    "ContainerNotFound": ContainerMissingError,
    "NoSuchBucket": ContainerMissingError,
    "NoSuchKey": NotFoundError,
    "NoSuchVersion": NotFoundError,
}
#: Parameters of a quota in ``RateLimit``: the requests that remain, the seconds until it resets.
_USED_UP, _RESET = re.compile(r";\s*r=0(?!\d)"), re.compile(r";\s*t=(\d+)")
_ARCHIVED = {"BlobArchived", "BlobBeingRehydrated", "InvalidObjectState"}
#: Codes of failures that pass, under any status.
_TRANSIENT = {"InternalError", "RequestTimeout"}
#: Codes of S3 and Azure that ask for fewer requests.
_BUSY = {"ServerBusy", "ServiceUnavailable", "SlowDown", "Throttling", "TooManyRequestsException"}
#: Errors of code that reads an answer which does not look as expected; see ``garbled``.
GARBLED = (AttributeError, KeyError, TypeError, ValueError)


class RefusedError(Exception):
    """An answer whose status says that the request failed; ``status_error`` maps it.

    Args:
        status: the HTTP status.
        code: the service's error code; may be empty.
        headers: of the answer.
        address: that was requested, where a source compares it.
    """

    def __init__(
        self, status: int, code: str, headers: Mapping[str, str], address: str = ""
    ) -> None:
        super().__init__(status, code, headers, address)
        self.status = status
        self.code = code
        self.headers = headers
        self.address = address


def status_error(
    status: int, what: str, code: str = "", headers: Mapping[str, str] | None = None
) -> KaiwoError:
    """The kaiwo error for an HTTP status of 400 or more.

    Args:
        status: the HTTP status.
        what: the operation and its object; the message begins with it.
        code: the service's error code, such as ``NoSuchKey``.
        headers: of the answer, for ``Retry-After``.
    """
    if code in _TRANSIENT:
        status = max(status, 500)
    if code in _BUSY or status in (429, 503):
        return BusyError(f"{what}: {status} {code}".rstrip(), retry_after_s(headers or {}))
    refused = code in _REFUSED or (status in (401, 403, 407) and code not in _ARCHIVED)
    if refused and status not in (401, 407):
        status = 403
    answer = f"{what}: {status} {code}".rstrip()
    if refused:
        return CredentialsError(
            f"{answer}: the service refuses these credentials; "
            "check them, and their rights to this object"
        )
    if code in _MISSING or status in (404, 410):
        kind = _MISSING.get(code, NotFoundError)
        return kind(f"{answer}: not found; check the name, the region and the endpoint")
    if status in (409, 412, 416) and code not in _ARCHIVED:
        return ChangedError(f"{answer}: the object was replaced or removed since it was listed")
    if status in (408, 425) or status >= 500:  # noqa: PLR2004 - HTTP's server errors
        return TransientError(answer, retry_after_s(headers or {}))
    reason = "the service does not accept this request"
    if code in _ARCHIVED:
        reason = "the object is archived; restore it first"
    elif status in (301, 307):
        reason = "the bucket is in another region"
    kind_ = NotAcceptedError if status in (400, 405, 501) else ServiceError
    return kind_(f"{answer}: {reason}")


def garbled(what: str, service: str) -> TransientError:
    """The kaiwo error for an answer that this kind of service does not give.

    Args:
        what: the operation and its object; the message begins with it.
        service: its kind, such as ``S3`` or ``Hub``.
    """
    return TransientError(
        f"{what}: the answer is not a valid {service} response; "
        "if this persists, check the endpoint"
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait, or None.

    It asks by ``Retry-After`` (RFC 9110, 10.2.3: a number or a date), else by ``RateLimit``
    (draft-ietf-httpapi-ratelimit-headers: ``"api";r=0;t=55``), if a quota is used up.
    """
    named = {name.lower(): value for name, value in headers.items()}
    value = named.get("retry-after")
    if value is None:
        return _reset_s(named.get("ratelimit", ""))
    if value.strip().isdecimal():
        return min(float(value), LONGEST_RETRY_AFTER_S)
    try:
        wait_s = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError):
        return None
    return min(max(wait_s, 0.0), LONGEST_RETRY_AFTER_S)


def _reset_s(limits: str) -> float | None:
    """Seconds until all quotas that are used up have reset; None if no quota is used up."""
    used_up = (limit for limit in limits.split(",") if _USED_UP.search(limit))
    resets = [float(match[1]) for limit in used_up if (match := _RESET.search(limit))]
    return min(max(resets), LONGEST_RETRY_AFTER_S) if resets else None
