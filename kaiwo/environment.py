"""The variables of SDKs, without what optional values of a chart leave in them.

A chart sets each variable that it knows: ``AWS_PROFILE: {{ .Values.profile | quote }}`` is an empty
one where the value is not given. Some SDKs take that for a profile without a name, for the current
folder, or for "verify no certificate". And a secret that was made from a file ends with the file's
line break. So while kaiwo works, an empty variable does not exist, and a line break at the end of
one is not part of it. Variables that obstore reads although it is given other credentials do not
exist either. Afterwards the program's environment is as it was.

Native threads may read the environment at any time, and C's ``setenv`` is not safe beside them. So
all of that is done once, in the thread that begins a run, before it has threads of that kind.

Who begins a run says which variables must be set besides: those of proxies, so that all libraries
find the same one (``net/proxies.py``). Empty ones of these are left alone: every library ignores
them, and an empty ``http_proxy`` switches ``HTTP_PROXY`` off.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

_OF_SDKS = re.compile(
    r"(AWS|BOTO|GOOGLE|GCE|GCS|GCSFS|GCLOUD|CLOUDSDK|AZURE|MSI|IDENTITY|IMDS|HF|HUGGING_?FACE|FSSPEC"
    r"|KAIWO|SSL_CERT)_.*"
    r"|(REQUESTS|CURL)_CA_BUNDLE|STORAGE_EMULATOR_HOST|NO_GCE_CHECK|XDG_CACHE_HOME",
    re.IGNORECASE,
)
#: obstore fails on them, also when other credentials are given; Google's own clients ignore them.
_OF_NOBODY = re.compile(r"(GOOGLE_)?SERVICE_ACCOUNT(_KEY|_PATH)?")
#: Variables that name a certificate file or folder: for every SDK.
TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
#: Variables that name a file with credentials.
CREDENTIALS_OF_AZURE = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH")
CREDENTIALS = (
    *CREDENTIALS_OF_AZURE,
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
)


def missing_file(names: Iterable[str], where: str | None = None) -> str | None:
    """Which of these variables names a file that is not there, for an error; None if none does.

    Args:
        names: of variables.
        where: the path that could not be opened, if that is known.
    """
    for name in names:
        path = os.environ.get(name)
        if path and not os.path.exists(path) and where in (None, path):
            return f"{name} names {path}, which does not exist"
    return None


class _Cleaned:
    """What was changed, and how many runs of this program rely on it."""

    def __init__(self) -> None:
        self.renew()
        self.runs = 0
        #: Of each variable: its value before, and what kaiwo made of it.
        self.before: dict[str, tuple[str | None, str | None]] = {}

    def renew(self) -> None:
        """A forked child must not wait for a thread of its parent."""
        self.lock = threading.Lock()


_cleaned = _Cleaned()
os.register_at_fork(after_in_child=_cleaned.renew)


@contextlib.contextmanager
def cleaned(more: Callable[[], Mapping[str, str]] = dict) -> Iterator[None]:
    """Inside the block, no variable of an SDK is empty or ends with a line break.

    For several runs at once, it lasts until the last of them has ended.

    Args:
        more: gives the variables that must be set besides.
    """
    with _cleaned.lock:
        _cleaned.runs += 1
        _clean()
        for name, content in more().items():
            value = os.environ.get(name)
            if value != content:
                _cleaned.before.setdefault(name, (value, content))
                os.environ[name] = content
    try:
        yield
    finally:
        with _cleaned.lock:
            _cleaned.runs -= 1
            if not _cleaned.runs:
                _restore()


def _clean() -> None:
    for name, value in list(os.environ.items()):
        content = value.rstrip("\r\n") or None
        if _OF_NOBODY.fullmatch(name):
            content = None
        elif content == value or not _OF_SDKS.fullmatch(name):
            continue
        _cleaned.before[name] = value, content
        if content is None:
            del os.environ[name]
        else:
            os.environ[name] = content


def _restore() -> None:
    """Undo what was done, unless the program has set the variable meanwhile."""
    for name, (value, content) in _cleaned.before.items():
        if os.environ.get(name) != content:
            continue
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    _cleaned.before.clear()
