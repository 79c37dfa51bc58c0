"""Maps HTTP statuses and the services' error codes to kaiwo errors, alike for all services."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from http import HTTPStatus

from kaiwo.errors import (
    BusyError,
    ChangedError,
    ContainerMissingError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    NotAcceptedError,
    NotAllowedYetError,
    NotFoundError,
    ServiceError,
    TransientError,
    UnavailableError,
)
from kaiwo.net import codes, redirects
from kaiwo.net.codes import Meaning

#: The longest wait that a service can ask for; a longer one is cut to this.
LONGEST_RETRY_AFTER_S = 300.0
#: Parameters of a quota in ``RateLimit``: the requests that remain, the seconds until it resets.
_USED_UP, _RESET = re.compile(r";\s*r=0(?!\d)"), re.compile(r";\s*t=(\d+)")
#: Clocks that differ by more make signatures invalid; the shortest time that a service allows.
_MOST_SKEW_S = 300.0
_NOT_FOUND = "not found; check the name, the region and the endpoint"
_REFUSED = "the service refuses these credentials; check them, and their rights to this object"
_ANONYMOUS_REFUSED = "the service refuses anonymous requests; give credentials that may read this"
#: Azure says so of a container that only some may read.
_LOOKS_MISSING = " 404 ResourceNotFound"
#: The kind of error for each meaning, and what helps.
_ERRORS: dict[Meaning | None, tuple[type[KaiwoError], str]] = {
    Meaning.BUSY: (BusyError, ""),
    Meaning.FAILING: (TransientError, ""),
    Meaning.REFUSED: (NotAllowedYetError, _REFUSED),
    Meaning.SIGNATURE: (CredentialsError, _REFUSED),
    Meaning.CLOCK: (
        CredentialsError,
        "the service's clock and this machine's differ; set this machine's clock",
    ),
    Meaning.EXPIRED: (
        CredentialsError,
        "the session token or the credentials have expired; give new ones",
    ),
    Meaning.ADDRESSING: (
        CredentialsError,
        "the service wants the bucket's name in the host name; give addressing_style: virtual",
    ),
    Meaning.REGION: (
        CredentialsError,
        "the request is signed for another region than the service's; give region",
    ),
    Meaning.CONTAINER_MISSING: (ContainerMissingError, _NOT_FOUND),
    Meaning.MISSING: (NotFoundError, _NOT_FOUND),
    Meaning.CHANGED: (ChangedError, "the object was replaced or removed since it was listed"),
    Meaning.ARCHIVED: (ServiceError, "the object is archived; restore it first"),
    Meaning.QUOTA: (
        ServiceError,
        "a quota of the account is used up; raise it, or try again later",
    ),
    Meaning.UNSUPPORTED: (NotAcceptedError, "the service does not support this request"),
    None: (NotAcceptedError, "the service does not accept this request"),
}
#: What a status means whose code says nothing; others of 500 and more pass.
_STATUSES = {
    401: Meaning.REFUSED, 403: Meaning.REFUSED, 404: Meaning.MISSING,
    408: Meaning.FAILING, 409: Meaning.CHANGED, 410: Meaning.MISSING, 412: Meaning.CHANGED,
    416: Meaning.CHANGED, 425: Meaning.FAILING, 501: Meaning.UNSUPPORTED,
}  # fmt: skip
#: A gateway answers so in place of a service that is not up, as with 503.
_OF_GATEWAYS = {502, 504}
#: So does a proxy that is asked for a tunnel: it has too many, or the host is not up.
_OF_PROXIES = {
    429: BusyError, 502: NoAnswerError, 503: UnavailableError, 504: NoAnswerError,
}  # fmt: skip
#: Errors of code that reads an answer which does not look as expected; see ``garbled``.
GARBLED = (AttributeError, KeyError, TypeError, ValueError)


class RefusedError(Exception):
    """An answer whose status says that the request failed; ``status_error`` maps it.

    Args:
        status: the HTTP status.
        code: the service's error code; may be empty.
        headers: of the answer.
        address: that gave the answer, after redirects; where a source knows it.
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
    code, headers = codes.clean(code), headers or {}
    said = codes.meaning(code) or _STATUSES.get(status)
    if status in (429, 503):
        said = Meaning.BUSY
    elif said is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        said = Meaning.FAILING
    kind, reason = _ERRORS[said]
    answer = f"{what}: {status} {code}".rstrip()
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return proxy_error(status, answer)
    if status in _OF_GATEWAYS and kind is TransientError:
        kind = NoAnswerError
    if status == HTTPStatus.SERVICE_UNAVAILABLE and not code:
        kind = UnavailableError
    if issubclass(kind, TransientError):
        return kind(answer, retry_after_s(headers))
    if said in (Meaning.REFUSED, Meaning.SIGNATURE):
        reason += _describe_skew(headers)
    return kind(f"{answer}: {reason}")


def as_anonymous(error: KaiwoError) -> KaiwoError:
    """The error for an answer, where the request had no credentials."""
    message = error.message.replace(_REFUSED, _ANONYMOUS_REFUSED)
    if _LOOKS_MISSING in message:
        message += "; what is private looks missing to anonymous requests"
    return error if message == error.message else type(error)(message, *error.args[1:])


def proxy_error(status: int, answer: str) -> KaiwoError:
    """The kaiwo error for a proxy that refuses to pass a request on.

    Args:
        status: of the proxy's answer, most often to CONNECT.
        answer: the operation, its object and the status; the message begins with it.
    """
    if status in (401, 407):  # tinyproxy answers a wrong password with 401
        return CredentialsError(
            f"{answer}: the proxy refuses its user and password; give the right ones in "
            "HTTPS_PROXY or HTTP_PROXY"
        )
    if status in (408, 429) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        why = (
            "asks to wait" if status == HTTPStatus.TOO_MANY_REQUESTS else "does not reach the host"
        )
        return _OF_PROXIES.get(status, TransientError)(f"{answer}: the proxy {why}")
    return ServiceError(
        f"{answer}: the proxy does not allow this host; have it allowed, or name the host in "
        "NO_PROXY"
    )


def refusal_error(refused: RefusedError, what: str) -> KaiwoError:
    """The kaiwo error for a refusal or a redirect; see ``status_error`` and ``redirect_error``."""
    status, headers = refused.status, refused.headers
    if status in (401, 403) and refused.address:
        headers = {**headers, "Location": refused.address}
        if _leads_to_tls(what, headers):
            return redirect_error(status, what, refused.code, headers)
    to_error = redirect_error if status in redirects.STATUSES else status_error
    return to_error(status, what, refused.code, headers)


def redirect_error(
    status: int, what: str, code: str, headers: Mapping[str, str], region: object = None
) -> KaiwoError:
    """The kaiwo error for a redirect that a signed request cannot follow.

    Args:
        status: of HTTP; of the redirect, or of the refusal at its end.
        what: the operation and its object; the message begins with it.
        code: the service's error code.
        headers: of the answer.
        region: that the body of the answer names.
    """
    answer = f"{what}: {status} {codes.clean(code)}".rstrip()
    named = {name.lower(): value for name, value in headers.items()}
    if _leads_to_tls(what, headers):
        return CredentialsError(
            f"{answer}: the service redirects from http to https, and credentials do not "
            "follow; give an endpoint_url that begins with https://"
        )
    region = codes.clean_region(named.get("x-amz-bucket-region")) or codes.clean_region(region)
    if region:
        return ServiceError(
            f"{answer}: the bucket is in the region {region}; give region: {region}, and the "
            "endpoint_url of that region if there is one"
        )
    return ServiceError(
        f"{answer}: the bucket is in another region or at another address; give its region, or "
        "its endpoint_url"
    )


def _leads_to_tls(what: str, headers: Mapping[str, str]) -> bool:
    """Whether a service that is asked at http redirects to https."""
    named = {name.lower(): value for name, value in headers.items()}
    return " at http:" in what and named.get("location", "").lower().startswith("https:")


def _describe_skew(headers: Mapping[str, str]) -> str:
    """By how much this machine's clock differs from an answer's; empty if it is not too much."""
    named = {name.lower(): value for name, value in headers.items()}
    moment_s = _timestamp(named.get("date", ""))
    if moment_s is None or "age" in named:  # with an age, the answer was kept on the way
        return ""
    skew_s = abs(time.time() - moment_s)
    if skew_s < _MOST_SKEW_S:
        return ""
    return f"; this machine's clock and the service's differ by {skew_s / 60:.0f} minutes"


def _timestamp(date: str) -> float | None:
    """A date of HTTP in seconds; None if it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


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
    moment_s = _timestamp(value)
    if moment_s is None:
        return None
    return min(max(moment_s - _now_s(named), 0.0), LONGEST_RETRY_AFTER_S)


def _now_s(headers: Mapping[str, str]) -> float:
    """The time at the service when an answer came, by its ``Date``; without one, by our clock.

    Args:
        headers: their names are in lower case.
    """
    sent_s = _timestamp(headers.get("date", ""))
    if sent_s is None:
        return time.time()
    age = headers.get("age", "").strip()  # of an answer that a proxy kept
    return sent_s + (float(age) if age.isdecimal() else 0.0)


def _reset_s(limits: str) -> float | None:
    """Seconds until all quotas that are used up have reset; None if no quota is used up."""
    used_up = (limit for limit in limits.split(",") if _USED_UP.search(limit))
    resets = [float(match[1]) for limit in used_up if (match := _RESET.search(limit))]
    return min(max(resets), LONGEST_RETRY_AFTER_S) if resets else None
