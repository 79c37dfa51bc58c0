"""No secret in anything people see: a net below the care that every message takes anyway.

What is hidden, wherever it stands in a text: user info and signatures in URLs, values of fields and
headers that are credentials by their name (as ``name=value``, in dictionaries, in JSON), private
keys, and tokens that are known by their look. Names of objects stay as they are.

Every pattern takes time in proportion to the text, whatever the text is: repetitions either end at
the next character that they exclude, or are bounded.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"
#: Loggers, with all below them, that may quote a request.
_TALKATIVE = {
    "adlfs", "aiobotocore", "aiohttp", "asyncio", "azure", "boto3", "botocore", "fsspec", "gcsfs",
    "google", "httpcore", "httpcore2", "httpx", "httpx2", "huggingface_hub", "kaiwo", "msal",
    "oauthlib", "paramiko", "requests", "requests_oauthlib", "s3fs", "urllib3",
}  # fmt: skip
#: Names of fields that hold a credential; a longer name may end in one of them.
_FIELDS = (
    r"account_?key|shared_?access_?(?:key|signature)|secret_?(?:access_?)?key|access_?key_?id|"
    r"(?:access|refresh|session|security|sas|hf|id|subject)_?token|client_?(?:secret|assertion)|"
    r"private_?key(?:_?id)?|api_?key|password|passwd|passphrase|(?<!\w)assertion|"
    r"connection_?string|(?<![\w/])(?:sig(?:nature)?|token|secret)"
)
_HEADERS = (
    r"(?:proxy-)?authorization|(?:set-)?cookie|(?<![\w-])x-(?:amz|aws|api|auth|goog|hf|ms|vault|xet)-?"
    r"[a-z0-9-]{0,60}?(?:token|key|secret|signature|credential|authorization)(?!-|\w)"
)
#: Query parameters that are, or sign, a credential: SAS, AWS and GCS signed URLs, tokens.
_PARAMETERS = (
    r"sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|"
    r"googleaccessid|(?:\w{1,20}_)?token|key-pair-id|policy|api_?key|key|password|secret|"
    r"client_secret|code|hmac|jwt|sv|se|sp|skoid"
)
_BETWEEN = r"\s{0,9}[=:]\s{0,9}"
_QUOTE = r"""\\{0,4}["']"""
#: What follows an opening quote, up to the closing one.
_QUOTED = r"""(?:(?<=\\["'])[^\\"']*|(?<=")(?:[^"\\]|\\.)*|(?<=')(?:[^'\\]|\\.)*)"""
_OF_HEADERS = ("authorization", "cookie", "x-")
_OF_FIELDS = ("key", "token", "secret", "pass", "assertion", "connection", "sig")
#: Each with words of which a text has one, in lower case, where the pattern can find anything.
_PATTERNS: tuple[tuple[tuple[str, ...], str], ...] = (
    # also when the end was cut off
    (("private key",), r"(-----BEGIN [a-z0-9 ]{0,30}PRIVATE KEY-----).*?(?=-----END|\Z)"),
    # 'Authorization': 'Bearer x', 'x-amz-security-token': b'x', (b'Authorization', b'x')
    (_OF_HEADERS, rf"((?:{_HEADERS})(?:{_QUOTE})?\s{{0,9}}[=:,]\s{{0,9}}b?{_QUOTE}){_QUOTED}"),
    # Authorization: Bearer x; x-amz-security-token:x
    (_OF_HEADERS[:2], rf"((?:authorization|cookie){_BETWEEN})[^'\"\r\n]+"),
    (_OF_HEADERS, rf"((?:{_HEADERS}){_BETWEEN})[^'\"\s,;&]+"),
    # "client_secret": "x", secret_key='x'
    (_OF_FIELDS, rf"(?<!/)((?:{_FIELDS})(?:{_QUOTE})?{_BETWEEN}b?{_QUOTE}){_QUOTED}"),
    # AccountKey=x, but not a name of an object: /secret_key=x/
    (_OF_FIELDS, rf"(?<!/)((?:{_FIELDS})\s{{0,9}}=\s{{0,9}})[^'\"\s,;&)}}]+"),
    # secret_key: x, but not a sentence: secret_key: has to be a text
    (_OF_FIELDS, rf"(?<!/)((?:{_FIELDS})(?:{_QUOTE})?:\s{{0,9}})[^'\"\s,;&)}}]{{16,}}"),
    # ?sig=x, &X-Amz-Signature=x, %26sig%3Dx
    (("=", "%3d"), rf"((?:[?&;]|%3f|%26)(?:{_PARAMETERS})(?:=|%3d))[^&\s'\"]*"),
    (("bearer",), r"(\bbearer\s{1,9})[\w.~+/=-]{16,}"),
    # https://user:password@host, also when the password has a slash in it; but hf://repo@revision
    (("@",), r"((?<!\bhf)://|(?<![^\s'\"(=])//)[^/\s]+(?=@)"),
    (("@",), r"(://)[^/\s:@]{0,200}:(?!\d{1,5}/)[^\s@]{0,200}(?=@)"),
    # tokens of Hugging Face, AWS and Google, and signed JSON
    (("hf_",), r"\b(hf_)[a-z0-9]{30,}"),
    (("akia", "asia"), r"\b(A(?:KIA|SIA))[A-Z0-9]{16}\b"),
    (("ya29.",), r"\b(ya29\.)[\w.-]{16,}"),
    (("eyj",), r"\b(eyJ)[\w-]{8,}\.[\w-]{8,}\.[\w-]+"),
)


def text(message: str) -> str:
    """The message without signatures, keys and tokens, and without user info in its URLs."""
    lowered = message.lower()
    for words, pattern in _PATTERNS:
        if any(word in lowered for word in words):
            # Compiled, and kept by re, when there is something to look for: most runs need none.
            message = re.sub(pattern, rf"\1{HIDDEN}", message, flags=re.IGNORECASE | re.DOTALL)
    return message


def url(address: str) -> str:
    """The URL without user info, query and fragment: what may name an object in a report."""
    try:
        parts = urlsplit(address)
        # What has no number as its port may be a password with a slash in it.
        _ = parts.port
    except ValueError:
        return HIDDEN  # not a URL; whatever it is, it is not to be shown
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def clean_log_records() -> None:
    """From now on, no log record of kaiwo or of an SDK holds a secret, whoever handles it.

    At DEBUG the SDKs quote headers and signed addresses, and an application that uses kaiwo may
    have its log at that level. A filter of a logger does not see the records of the loggers below
    it, and the handlers are not ours; so they are cleaned where they are made.
    """
    make = logging.getLogRecordFactory()
    if not isinstance(make, _Factory):
        logging.setLogRecordFactory(_Factory(make))


class _Factory:
    """Makes log records as they were made before, and cleans those of some loggers."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(name, *args, **kwargs)
        if name.partition(".")[0] in _TALKATIVE:
            clean(record)
        return record


class Redacted(logging.Filter):
    """Takes the secrets out of every record of a handler: message, traceback and stack.

    A record is rewritten in place, its arguments merged, so that whatever formats it afterwards
    has nothing left to show.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """See ``logging.Filter``; every record passes."""
        clean(record)
        return True


def clean(record: logging.LogRecord) -> None:
    """Rewrite a log record so that its text holds no secret."""
    try:
        message = record.getMessage()
    except Exception:  # as many arguments as the message has no place for: someone's mistake
        message = str(record.msg)
    record.msg, record.args = text(message), None
    if record.exc_info and record.exc_info[1] and not record.exc_text:
        record.exc_text = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
    record.exc_info = None
    if record.exc_text:
        record.exc_text = text(record.exc_text)
    if record.stack_info:
        record.stack_info = text(record.stack_info)
