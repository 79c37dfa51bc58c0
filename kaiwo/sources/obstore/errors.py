"""Maps obstore's errors to kaiwo errors.

obstore's errors are text. kaiwo reads status, code and kind from that text and never shows it,
because it quotes addresses and what the server said.

Some texts say that the fsspec source may succeed (``FallbackReason``):

    RANGES       the service answers ranges oddly; only ranges go through fsspec from now on
    CONNECTION   a certificate that rustls refuses and OpenSSL accepts; something that is not TLS;
                 a redirect or a setting (the SDK finds a bucket's region)
    REDIRECT     to another host, which would see credentials, see ``store``
    LANGUAGE     405 or 501: an emulator of GCS that speaks JSON only
    ANSWER       a header is missing, or the answer is not a listing, or not text
    PATIENCE     the failure passes: the answer may hold a Retry-After, which obstore does not show;
                 or a proxy makes no tunnel, and obstore does not show the status
    REFUSAL      refused credentials: the SDK signs for the region that an answer names, follows no
                 redirect without a signature, and shows headers that say why

S3 answers a HEAD with a wrong signature or token with 400 and no body; kaiwo reports it as
refused credentials.
"""

from __future__ import annotations

import os
import re
from enum import Enum

from kaiwo.errors import (
    ChangedError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    NotFoundError,
    StalledError,
    TransientError,
    WrongRangeError,
)
from kaiwo.net.codes import code_in
from kaiwo.net.failures import too_many_files
from kaiwo.net.statuses import proxy_error, status_error
from kaiwo.net.unreachable import unreachable

#: Of a long description, this is read at its start, and at its end.
_START, _END = 1 << 16, 1 << 12
#: These are found in the description that follows an error's text; it quotes names on one line.
#: They are compiled where they are used: most runs meet no error.
_STATUS = r"(?m)^\s*status: (\d{3}),$"
_KIND = r"(?m)^\s*kind: (\w+),$"
_BODY = r'(?m)^\s*body: Some\(\s*"(.*)",$'
#: A refusal whose body is no text; obstore does not say its status then.
_NO_TEXT = r"(?m)^\s*source: FromUtf8Error"
_NO_LISTING = r"(?m)^\s*source: InvalidListResponse"
_RANGES = r"(?m)^    source: (NotPartial|NoContentRange|ParseContentRange)\b"
_OTHER_RANGE = r"(?m)^    source: UnexpectedRange"
_HEADERS = r"(?m)^\s*(source: )?Missing(ContentLength|LastModified|Etag)"
_SETTINGS = r"(?m)^\s*(inner: BareRedirect|kind: (Builder|Redirect)),"
#: Method not allowed, not implemented.
_UNSUPPORTED = r"(?m)^\s*status: (405|501),$"
#: An answer that hyper cannot read, such as one with more headers than usual.
_NO_HTTP = r"(?m)^\s*Parse\($"
#: The request was sent, and no answer began.
_NO_ANSWER = r"(?m)^\s*SendRequest,$"
_SYSTEM = r"(?m)^\s*code: (\d{1,3}),$"
#: What gives obstore its credentials has failed.
_SIGN_IN = r"(?m)^\s*source: PyErr \{$"
#: The proxy of ``store`` for hosts that requests may not go to.
_NOWHERE = r"(?m)^\s*0\.0\.0\.0:0,$"
_TLS = r"(?m)^\s*error: (Invalid(Certificate|Message)|AlertReceived)\("
_PROXY_ASKS = r"(?m)^\s*ProxyAuthRequired,$"
_NO_TUNNEL = r"(?m)^\s*TunnelUnsuccessful,$"


class FallbackReason(Enum):
    """Why the fsspec source may succeed where obstore did not."""

    RANGES = "the service answers ranges oddly"
    CONNECTION = "obstore cannot connect to the service"
    REDIRECT = "the service redirects to another host, which obstore would show credentials"
    LANGUAGE = "the service does not support obstore's requests"
    ANSWER = "obstore cannot read the answer"
    PATIENCE = "the answer may say how long to wait"
    REFUSAL = "the service refuses the request"


#: The first pattern that is found decides.
_REASONS = (
    (_RANGES, FallbackReason.RANGES),
    # OpenSSL accepts certificates that rustls refuses, and says if a server speaks no TLS; the SDK
    # finds a bucket's region.
    (_SETTINGS, FallbackReason.CONNECTION),
    (_TLS, FallbackReason.CONNECTION),
    (_NOWHERE, FallbackReason.REDIRECT),
    (_NO_TUNNEL, FallbackReason.PATIENCE),
    (_UNSUPPORTED, FallbackReason.LANGUAGE),
    (_HEADERS, FallbackReason.ANSWER),
    (_NO_LISTING, FallbackReason.ANSWER),
    (_NO_TEXT, FallbackReason.ANSWER),
)


def description(error: BaseException) -> str:
    """What obstore says about an error, without what the server said.

    The server's words come first, as they are, and again inside the description, on one line. They
    can be as long as an object; the code is at their start.
    """
    found = str(error).rpartition("\nDebug source:\n")[2]
    if len(found) > _START + _END:
        return found[:_START] + found[-_END:]
    return found


def fallback_reason(text: str, found: KaiwoError) -> FallbackReason | None:
    """Why the fsspec source may succeed where obstore failed; None if it cannot.

    Args:
        text: the description of obstore's error.
        found: the kaiwo error for it, see ``map_text``.
    """
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    if re.search(_STATUS, text) is None:
        return None if _is_understood(text) else FallbackReason.ANSWER
    if isinstance(found, TransientError):
        return FallbackReason.PATIENCE
    return FallbackReason.REFUSAL if isinstance(found, CredentialsError) else None


def _is_understood(text: str) -> bool:
    """Whether a request failed on its way, or brought another range than was asked for.

    Otherwise obstore could not read the answer.
    """
    if re.search(_OTHER_RANGE, text):
        return True
    return re.search(_KIND, text) is not None and re.search(_NO_HTTP, text) is None


def is_of_sign_in(text: str) -> bool:
    """Whether the request was not sent, since there were no credentials; see ``Provider``."""
    return re.search(_SIGN_IN, text) is not None


def is_unauthorized(text: str) -> bool:
    """Whether the service refuses the token itself: another one may be accepted."""
    status = re.search(_STATUS, text)
    return status is not None and status[1] == "401"


def error_code(text: str) -> str:
    """The service's code in the description of an error; empty if there is none."""
    body = re.search(_BODY, text)
    return code_in(body[1].replace('\\"', '"').replace("\\n", "\n")) if body else ""


def map_text(text: str, what: str, *, by_version: bool) -> KaiwoError:
    """The kaiwo error for the description of an error.

    Args:
        text: the description of obstore's error.
        what: the operation and its object; the message begins with it.
        by_version: requests name the version of the object.
    """
    if re.search(_OTHER_RANGE, text):
        return WrongRangeError(f"{what}: the answer is another range than requested")
    status = re.search(_STATUS, text)
    if status is None and "Too many open files" in text:
        return too_many_files(what)
    if status is None and re.search(_PROXY_ASKS, text):
        return proxy_error(407, f"{what}: 407")
    if status is None:
        return _map_connection(text, what)
    return _map_status(int(status[1]), text, what, by_version=by_version)


def _map_status(status: int, text: str, what: str, *, by_version: bool) -> KaiwoError:
    """The error for an answer of the service."""
    code = error_code(text)
    if status == 400 and not code and what.startswith("looking up"):  # noqa: PLR2004
        status = 403  # S3's answer to a HEAD with a wrong signature or token
    found = status_error(status, what, code)
    if isinstance(found, NotFoundError) and by_version and what.startswith("reading"):
        return ChangedError(f"{what}: the object was replaced or removed since it was listed")
    return found


def _map_connection(text: str, what: str) -> KaiwoError:
    """The error for a request without a complete answer."""
    kinds = re.findall(_KIND, text)
    if "Connect" in kinds:
        if '"dns error"' in text:
            return unreachable(what, "the host name is unknown")
        if "ConnectionRefused" in kinds:
            return unreachable(what, "connection refused", " (is the service up?)")
        return unreachable(what, f"no connection{_reason(text)}")
    if "Timeout" in kinds:
        return StalledError(f"{what}: no answer in time")
    kind = NoAnswerError if re.search(_NO_ANSWER, text) else TransientError
    return kind(f"{what}: the connection was cut")


def _reason(text: str) -> str:
    """What the system says of a connection that cannot be made, in brackets."""
    number = re.search(_SYSTEM, text)
    return f" ({os.strerror(int(number[1]))})" if number else ""
