"""Removes secrets from texts: a safety net, for messages avoid secrets in the first place.

Hidden anywhere in a text: user info and signatures in URLs, values of fields and headers whose name
says that they are credentials (as ``name=value``, in dictionaries, in JSON), private keys, and
tokens with a recognisable form. Names of objects stay as they are.

The time is proportional to the length of any text: every repetition in a pattern either ends at the
next character that it excludes, or is bounded.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"
#: Loggers that may quote a request, with all loggers below them.
_TALKATIVE = {
    "adlfs", "aiobotocore", "aiohttp", "asyncio", "azure", "boto3", "botocore", "fsspec", "gcsfs",
    "google", "httpcore", "httpcore2", "httpx", "httpx2", "huggingface_hub", "kaiwo", "msal",
    "oauthlib", "paramiko", "requests", "requests_oauthlib", "s3fs", "urllib3",
}  # fmt: skip
#: Names of fields that hold a credential; also the ends of longer names.
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
#: Query parameters that are or sign a credential: SAS, signed URLs of AWS and GCS, tokens.
_PARAMETERS = (
    r"sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|"
    r"googleaccessid|(?:\w{1,20}_)?token|key-pair-id|policy|api_?key|key|password|secret|"
    r"client_secret|code|hmac|jwt|sv|se|sp|skoid"
)
_BETWEEN = r"\s{0,9}[=:]\s{0,9}"
_QUOTE = r"""\\{0,4}["']"""
#: The text after an opening quote, up to the closing one.
_QUOTED = r"""(?:(?<=\\["'])[^\\"']*|(?<=")(?:[^"\\]|\\.)*|(?<=')(?:[^'\\]|\\.)*)"""
_OF_HEADERS = ("authorization", "cookie", "x-")
_OF_FIELDS = ("key", "token", "secret", "pass", "assertion", "connection", "sig")
#: Words in lower case, and a pattern; a text without any of the words cannot match the pattern.
_PATTERNS: tuple[tuple[tuple[str, ...], str], ...] = (
    # private keys, also when their end was cut off
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
    # secret_key: x, but not a sentence: secret_key: must be a string
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


#: Longer words are no keys: a secret key of AWS has 40 letters.
_KEY = re.compile(r"[^\W\d][\w.-]{0,38}")
#: A part of a key: short, or letters as in ``secretAccessKey``. Few secrets are spelled like that.
_PART_OF_KEY = re.compile(r"\w{0,11}|[^\W\d]?[a-z]+(?:[A-Z][a-z]+)*\d{0,3}")


def key(name: str) -> str:
    """A key that a user wrote, if it looks like a name.

    With a colon missing, a secret is part of it; in a line that is indented wrongly, it is one.
    """
    is_name = _KEY.fullmatch(name) and all(map(_PART_OF_KEY.fullmatch, re.split("[_.-]", name)))
    return name if is_name and text(name) == name else HIDDEN


def text(message: str) -> str:
    """The message without signatures, keys and tokens, and without user info in its URLs."""
    lowered = message.lower()
    for words, pattern in _PATTERNS:
        if any(word in lowered for word in words):
            # re compiles a pattern at its first use and keeps it; most runs need none.
            message = re.sub(pattern, rf"\1{HIDDEN}", message, flags=re.IGNORECASE | re.DOTALL)
    return message


def no_url(given: str) -> str:
    """What was given for a URL and is none, quoted; all before its last ``@`` may be user info."""
    _, at, rest = given.rpartition("@")
    return text(repr(f"{HIDDEN}@{rest}" if at else given))


def url(address: str) -> str:
    """The URL without user info, query and fragment, as reports show it."""
    try:
        parts = urlsplit(address)
        # A port that is no number may be part of a password with a slash in it.
        _ = parts.port
    except ValueError:
        return HIDDEN  # not a URL, and perhaps a secret
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


class _Runs:
    """How many runs of this program are under way, and the factory that they rely on."""

    def __init__(self) -> None:
        self.renew()
        self.count = 0
        self.factory: _Factory | None = None

    def renew(self) -> None:
        """A forked child must not wait for a thread of its parent."""
        self.lock = threading.Lock()


_runs = _Runs()
os.register_at_fork(after_in_child=_runs.renew)
#: Whether what is called now works for a run. asyncio hands it on to the tasks of an event loop.
_is_of_run = contextvars.ContextVar("kaiwo_is_of_run", default=False)


def mark_thread() -> None:
    """From now on, this thread works for runs."""
    _is_of_run.set(True)


@contextlib.contextmanager
def marked() -> Iterator[None]:
    """What is called inside the block works for a run."""
    token = _is_of_run.set(True)
    try:
        yield
    finally:
        _is_of_run.reset(token)


@contextlib.contextmanager
def cleaning_log_records() -> Iterator[None]:
    """Inside the block, no log record of kaiwo or of an SDK that it calls holds a secret.

    At DEBUG the SDKs quote headers and signed URLs, and an application that uses kaiwo may log at
    that level. A logger's filter does not see the records of the loggers below it, and the handlers
    belong to the application; so records are cleaned when they are made. The application may use
    the same SDKs: its own records stay as they are.
    """
    with _runs.lock:
        _runs.count += 1
        if _runs.factory is None or logging.getLogRecordFactory() is not _runs.factory:
            _runs.factory = _Factory(logging.getLogRecordFactory())
            logging.setLogRecordFactory(_runs.factory)
    try:
        with marked():
            yield
    finally:
        with _runs.lock:
            _runs.count -= 1
            factory = _runs.factory
            # One that was set meanwhile stays; it may call ours, which then changes nothing.
            if not _runs.count and factory and logging.getLogRecordFactory() is factory:
                logging.setLogRecordFactory(factory.make)
                _runs.factory = None


class _Factory:
    """Makes log records with the factory of before, and cleans those of runs."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self.make = make

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.make(name, *args, **kwargs)
        logger = name.partition(".")[0]
        if _runs.count and logger in _TALKATIVE and (logger == "kaiwo" or _is_from_run(record)):
            clean(record)
        return record


def _is_from_run(record: logging.LogRecord) -> bool:
    """Whether kaiwo had it made: by context or thread; what asyncio itself says has no context."""
    thread = record.threadName or ""
    on_loop = thread == "fsspecIO" and record.name == "asyncio"
    return _is_of_run.get() or on_loop or thread.startswith("kaiwo")


class Redacted(logging.Filter):
    """Removes secrets from every record of a handler: message, traceback and stack.

    A record is rewritten in place and its arguments are merged, so that no later formatter finds
    a secret in it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """See ``logging.Filter``; every record passes."""
        clean(record)
        return True


def clean(record: logging.LogRecord) -> None:
    """Rewrite a log record so that its text holds no secret."""
    try:
        message = record.getMessage()
    except Exception:  # the caller's mistake: arguments that do not fit the message
        message = str(record.msg)
    record.msg, record.args = text(message), None
    if record.exc_info and record.exc_info[1] and not record.exc_text:
        record.exc_text = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
    record.exc_info = None
    if record.exc_text:
        record.exc_text = text(record.exc_text)
    if record.stack_info:
        record.stack_info = text(record.stack_info)
