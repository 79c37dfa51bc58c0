"""No secret in anything people see: a net below the care that every message takes anyway."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"
#: Query parameters that are, or sign, a credential: SAS, AWS and GCS signed URLs, tokens.
_SECRET_PARAMETERS = re.compile(
    r"(?i)([?&;](?:sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token|"
    r"x-goog-signature|x-goog-credential|awsaccesskeyid|token|access_token|sv|se|sp|skoid)=)"
    r"[^&\s'\"]*"
)
_SECRET_FIELDS = re.compile(
    r"(?i)((?:accountkey|sharedaccesssignature|x-amz-security-token)"
    r"['\"]?\s*[=:]\s*['\"]?)[^;'\"\s,]+"
)
_AUTHORIZATION = re.compile(r"(?i)(authorization['\"]?\s*[=:]\s*['\"]?)[^'\"\r\n]+")
_USER_INFO = re.compile(r"(://)[^/\s]+@")


def text(message: str) -> str:
    """The message without signatures, keys and user info in the URLs that it quotes."""
    message = _SECRET_PARAMETERS.sub(rf"\1{HIDDEN}", message)
    message = _SECRET_FIELDS.sub(rf"\1{HIDDEN}", message)
    message = _AUTHORIZATION.sub(rf"\1{HIDDEN}", message)
    return _USER_INFO.sub(rf"\1{HIDDEN}@", message)


def url(address: str) -> str:
    """The URL without user info, query and fragment: what may name an object in a report."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN  # not a URL; whatever it is, it is not to be shown
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
