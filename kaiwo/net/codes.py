"""What the error codes of services say, in any spelling.

A code is one word: ``SlowDown``, ``Throttling.User``, ``rateLimitExceeded``, ``request_timeout``.
Services of one kind share most codes, and each has others for the same facts. So a code is read
without case, dots and dashes, and what it says is found by its words:

    BUSY         fewer requests are asked for           throttling, a limit of rates is exceeded
    FAILING      a failure that passes                  internal errors, timeouts, unavailable
    QUOTA        an amount of the account is used up    no retry within a run helps
    CLOCK        the request is too old, or too new     the clock is wrong
    EXPIRED      the session token is too old
    ADDRESSING   the bucket belongs into the host name
    REGION       the request is for another region
    REFUSED      the credentials, or their rights
    SIGNATURE    the secret key is not that of the access key

Codes are data of a service: ``clean`` takes nothing but a short word, so a message may show it.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Any

# Most runs meet no code. So the patterns are compiled where they are used: to compile them takes
# 15 ms, and a start 400.

#: A longer code is cut to this.
LONGEST_CODE = 64
_CODE = r"(?a)[A-Za-z][\w.:-]*"
_REGION = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_FROM_XML = r"(?i)<(?:\w+:)?code\b[^>]*>\s*(?:<!\[CDATA\[)?\s*([^<\]]*?)\s*(?:\]\]>)?\s*</"
#: A page for people may show code, too.
_PAGE = r"(?i)<(?:!doctype\s+)?html"


class Meaning(Enum):
    """What a code says; see the module's docstring."""

    BUSY = auto()
    FAILING = auto()
    QUOTA = auto()
    CLOCK = auto()
    EXPIRED = auto()
    ADDRESSING = auto()
    REGION = auto()
    REFUSED = auto()
    SIGNATURE = auto()
    ARCHIVED = auto()
    UNSUPPORTED = auto()
    CHANGED = auto()
    MISSING = auto()
    CONTAINER_MISSING = auto()


_WORDS: dict[Meaning, str] = {
    Meaning.ARCHIVED: "BlobArchived BlobBeingRehydrated InvalidObjectState",
    Meaning.BUSY: "LimitExceeded PriorRequestNotComplete ResourceExhausted ServiceUnavailable",
    Meaning.CONTAINER_MISSING: (
        "BucketNotFound ContainerNotFound FilesystemNotFound NoSuchBucket NoSuchContainer"
    ),
    Meaning.FAILING: "AccountBeingCreated Aborted BackendError OperationAborted",
    Meaning.MISSING: "NoSuchKey NoSuchVersion",
    Meaning.REFUSED: """
        AccessDenied AccountProblem AllAccessDisabled AuthFailure AuthenticationFailed
        AuthorizationFailure AuthorizationPermissionMismatch InvalidAccessKeyId
        InvalidAuthenticationInfo InvalidClientTokenId InvalidSecurity InvalidSecurityToken
        InvalidToken MissingAuthenticationToken NoAuthenticationInformation
        PublicAccessNotPermitted Unauthorized UnauthorizedAccess UnauthorizedOperation
        UnrecognizedClient
        """,
    Meaning.REGION: """
        AuthorizationHeaderMalformed IllegalLocationConstraint IncorrectEndpoint IncorrectRegion
        InvalidRegion PermanentRedirect TemporaryRedirect WrongRegion
        """,
    Meaning.SIGNATURE: "IncompleteSignature InvalidSignature SignatureDoesNotMatch",
    Meaning.UNSUPPORTED: "NotImplemented NotSupported UnsupportedOperation",
}
_LIMITED = "rate|qps|tps|ops|requests?|bandwidth|throughput|traffic|connections?|concurrency"
#: Phrases inside a code; the first that is found decides.
_PHRASES: dict[Meaning, str] = {
    Meaning.QUOTA: (
        r"quota|dailylimit|capexceeded|arrear|overdue|insufficient(balance|funds)"
        r"|(storage|space|capacity)limitexceeded"
    ),
    Meaning.BUSY: (
        rf"throttl|slowdown|toomany(request|connection|operation)|busy|ratetoo(large|high|fast)"
        rf"|({_LIMITED}|concurrent\w*)(limits?)?(exceed(ed|s)?|exhausted|limited|reached)"
        rf"|exceed(ed)?(the)?({_LIMITED})"
    ),
    Meaning.CLOCK: (
        r"timetooskewed|clockskew|skewed|requestexpired?|requestinthefuture"
        r"|signatureexpired?|expiredsignature|notyetvalid"
    ),
    Meaning.EXPIRED: (
        r"expired?\w*(token|credentials?)|(token|credentials?|session)expired?|tokenrefresh"
    ),
    Meaning.ADDRESSING: r"(secondlevel|pathstyle|virtualhost)\w*|invalidpathaccess",
    Meaning.FAILING: (
        r"(timeout|timedout|unavailable|tryagain(later)?|internal(server)?(error|failure)?"
        r"|temporary(error|failure)?)$"
    ),
}


def _folded(code: str) -> str:
    """A code without case, separators and the word Exception at its end."""
    return re.sub(r"[^a-z0-9]", "", code.lower()).removesuffix("exception")


_BY_CODE = {_folded(code): said for said, codes in _WORDS.items() for code in codes.split()}


def meaning(code: str) -> Meaning | None:
    """What a code says; None if kaiwo does not know it.

    The parts of ``Throttling.User`` go from the general to the special. The special one decides.
    """
    folded = _folded(code)
    if folded in _BY_CODE:
        return _BY_CODE[folded]
    for said, phrase in _PHRASES.items():
        if re.search(phrase, folded):
            return said
    general = code.partition(".")[0]
    return meaning(general) if general != code else None


def clean(code: object) -> str:
    """A code as a message may show it; empty if it is not one word."""
    word = code.strip() if isinstance(code, str) else ""
    return word[:LONGEST_CODE] if re.fullmatch(_CODE, word) else ""


def clean_region(region: object) -> str:
    """A region that an answer names, as a message may show it; empty if it cannot be one."""
    return region if isinstance(region, str) and re.fullmatch(_REGION, region) else ""


def code_in(body: str | bytes) -> str:
    """The code in the body of an answer, of XML or JSON; empty if there is none."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if text.lstrip()[:1] == "{":
        try:
            return _code_of(json.loads(text))
        except (ValueError, RecursionError):
            return ""
    found = None if re.search(_PAGE, text) else re.search(_FROM_XML, text)
    return clean(found[1]) if found else ""


def _code_of(said: Any) -> str:
    """The code in a JSON document: the reason of GCS is more than its number."""
    if not isinstance(said, dict):
        return clean(said)
    errors = said.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    reason = first.get("reason") if isinstance(first, dict) else None
    names = ("code", "Code", "status", "error", "Error", "__type")
    named = (reason, *(said.get(name) for name in names))
    return next((code for each in named if (code := _code_of(each))), "")
