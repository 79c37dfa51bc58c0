"""What went wrong on the wire, told alike for all SDKs.

SDKs wrap the operating system's errors in layers of their own; the cause is found by walking
the chain. Messages are put together here, from host, status and reason: an SDK's own text may
quote a signed URL or a header.
"""

from __future__ import annotations

import email.utils
import errno
import os
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from kaiwo.errors import (
    BusyError,
    CertificateError,
    ChangedError,
    ConfigError,
    ContainerMissingError,
    CredentialsError,
    DiskError,
    KaiwoError,
    NotFoundError,
    ServiceError,
    TransientError,
    UnreachableError,
)

if TYPE_CHECKING:
    import socket
    import ssl

#: A service that asks for more is asked again nevertheless: the run has an end.
LONGEST_RETRY_AFTER_S = 300.0
#: Words of S3 and Azure for credentials that they do not take, under whatever status.
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
#: Parameters of a quota in ``RateLimit``: what remains, and the seconds until it begins anew.
_NOTHING_REMAINS, _RESET = re.compile(r";\s*r=0(?!\d)"), re.compile(r";\s*t=(\d+)")
_ARCHIVED = {"BlobArchived", "BlobBeingRehydrated", "InvalidObjectState"}
_PASSING = {"InternalError", "RequestTimeout"}
#: Words of S3 and Azure that ask for fewer requests.
_BUSY = {"ServerBusy", "ServiceUnavailable", "SlowDown", "Throttling", "TooManyRequestsException"}


class NetworkSettings(Struct, frozen=True):
    """How connections behave.

    Attributes:
        stall_timeout_s: no byte for so long is a failure.
        connect_timeout_s: a connection that is not there after so long is a failure.
        connections: how many may be open at once.
    """

    stall_timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    connections: int = 64


#: What reading an answer ends in that is another one than the service gives.
GARBLED = (AttributeError, KeyError, TypeError, ValueError)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was raised from, the outermost first."""
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        # aiohttp keeps the cause in os_error, requests and urllib3 in reason or args,
        # botocore in kwargs["error"], azure-core in inner_exception.
        candidates = [
            current.__cause__,
            current.__context__,
            *(getattr(current, name, None) for name in ("os_error", "reason", "inner_exception")),
            *(getattr(current, "kwargs", None) or {}).values(),
            *current.args,
        ]
        pending.extend(item for item in candidates if isinstance(item, BaseException))


def connection_error(error: BaseException, what: str) -> KaiwoError | None:
    """The kaiwo error for a failure below HTTP, or None when it is something else.

    Args:
        error: as the SDK raised it.
        what: the operation and its object, to begin the message with.
    """
    causes = list(chain(error))
    for kind, describe in _kinds():
        for cause in causes:
            if isinstance(cause, kind) and (found := describe(cause, what)) is not None:
                return found
    return None


def wire_error(error: BaseException, what: str) -> KaiwoError:
    """The same for an error that can only come from the wire, whatever its cause."""
    return connection_error(error, what) or TransientError(
        f"{what}: the connection was cut ({type(error).__name__})"
    )


def _untrusted(cause: ssl.SSLCertVerificationError, what: str) -> KaiwoError | None:
    # aiohttp raises one of its own that lacks the message; the cause below it has it.
    reason = getattr(cause, "verify_message", None)
    return _not_trusted(reason, what) if reason else None


def _not_trusted(reason: object, what: str) -> CertificateError:
    return CertificateError(
        f"{what}: the server's TLS certificate is not trusted ({reason}); "
        "give its authority with ca_bundle"
    )


def _unknown_host(cause: socket.gaierror, what: str) -> KaiwoError:
    return UnreachableError(f"{what}: the host name is unknown ({cause.strerror})")


def _refused(_: ConnectionRefusedError, what: str) -> KaiwoError:
    return UnreachableError(f"{what}: connection refused (is the service up?)")


def _late(_: TimeoutError, what: str) -> KaiwoError:
    return TransientError(f"{what}: no answer in time")


def _tls(cause: ssl.SSLError, what: str) -> KaiwoError | None:
    reason = getattr(cause, "reason", None)
    if reason == "WRONG_VERSION_NUMBER":
        return ServiceError(f"{what}: the server does not speak TLS; http:// instead of https://?")
    return TransientError(f"{what}: TLS failed ({reason})") if reason else None


def _lost(cause: ConnectionError, what: str) -> KaiwoError:
    reason = os.strerror(cause.errno) if cause.errno else "connection lost"
    return TransientError(f"{what}: {reason}")


def _too_many(cause: OSError, what: str) -> KaiwoError | None:
    return too_many_files(what) if cause.errno in (errno.EMFILE, errno.ENFILE) else None


def too_many_files(what: str) -> DiskError:
    """This process, or the machine, cannot open one more connection."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    hint = f"the limit is {limit}; raise the limit of open files, or use fewer workers"
    return DiskError(f"{what}: {os.strerror(errno.EMFILE)} ({hint})")


def _socket(cause: OSError, what: str) -> KaiwoError | None:
    """No route to host, network is down, and the like; a file's error names the file."""
    if cause.errno is None or cause.filename is not None:
        return None
    return TransientError(f"{what}: {os.strerror(cause.errno)}")


@cache
def _kinds() -> tuple[tuple[type[BaseException], Callable[[Any, str], KaiwoError | None]], ...]:
    """What is looked for in a chain of causes: the most telling first."""
    import socket  # noqa: PLC0415 - most runs meet no error
    import ssl  # noqa: PLC0415

    return (
        (OSError, _too_many),
        (ssl.SSLCertVerificationError, _untrusted),
        (ssl.SSLCertVerificationError, lambda _, what: _not_trusted("verification failed", what)),
        (socket.gaierror, _unknown_host),
        (ConnectionRefusedError, _refused),
        (TimeoutError, _late),
        (ssl.SSLError, _tls),
        (ssl.SSLError, lambda _, what: TransientError(f"{what}: TLS failed")),
        (ConnectionError, _lost),
        (OSError, _socket),
    )


def status_error(
    status: int, what: str, code: str = "", headers: Mapping[str, str] | None = None
) -> KaiwoError:
    """The kaiwo error for an HTTP status of 400 or more.

    Args:
        status: the HTTP status.
        what: the operation and its object, to begin the message with.
        code: the service's own word for it, such as ``NoSuchKey``.
        headers: of the response, for ``Retry-After``.
    """
    if code in _PASSING:
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
        return kind(f"{answer}: not there; check the name, the region and the endpoint")
    if status in (409, 412, 416) and code not in _ARCHIVED:
        return ChangedError(f"{answer}: the object was replaced or removed since it was listed")
    if status in (408, 425) or status >= 500:  # noqa: PLR2004 - HTTP's server errors
        return TransientError(answer, retry_after_s(headers or {}))
    reason = "the service does not accept this request"
    if code in _ARCHIVED:
        reason = "the object is archived; restore it first"
    elif status in (301, 307):
        reason = "the bucket is in another region"
    return ServiceError(f"{answer}: {reason}")


def garbled(what: str, whose: str) -> TransientError:
    """The kaiwo error for an answer that a service of that name does not give."""
    return TransientError(
        f"{what}: the answer is none of {whose}; check the endpoint, if that comes always"
    )


def header_token(token: str, name: str) -> str:
    """A token as it may stand in a header: without the white space around it.

    Args:
        token: as the user gave it.
        name: of its field, for the error.

    Raises:
        ConfigError: no header can hold it.
    """
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise ConfigError(f"{name} has a line break in it, or a letter that no token has")
    return token


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait.

    ``Retry-After`` (RFC 9110, 10.2.3: a number or a date) says so; else ``RateLimit``
    (draft-ietf-httpapi-ratelimit-headers: ``"api";r=0;t=55``), where nothing remains of a quota.
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
    """Seconds until all quotas that are used up begin anew; None if none is."""
    used_up = (limit for limit in limits.split(",") if _NOTHING_REMAINS.search(limit))
    resets = [float(match[1]) for limit in used_up if (match := _RESET.search(limit))]
    return min(max(resets), LONGEST_RETRY_AFTER_S) if resets else None
