"""The URLs that ``kaiwo.fetch`` takes, parsed.

    s3://bucket/key    gs://bucket/key    az://container/key
    hf://[datasets/|spaces/]owner/repo[@revision][/path]; hf://repo, where the name is one word
    https://host/path, and any other protocol that fsspec has a filesystem for
    scheme://bucket/key of a task type of another package

Keys are taken as they are: no percent-decoding, no query, no fragment. A glob (``*``, ``?``,
``[``) or a ``/`` at the end makes it a folder. A key that itself contains one of these characters
is named in a configuration file, or by its folder. In URLs of other protocols ``?`` is no glob: on
the web a query begins there, and such a URL names one file.

User info belongs to URLs of other protocols only. Elsewhere it is refused, and no error quotes it;
so is what may be user info: a ``:`` in a bucket's name with ``@`` in the key, a host as revision.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.net.web_urls import fault_of_address, is_web, plain_name
from kaiwo.tasks.fetch_request import (
    HubUrl,
    ObjectUrl,
    WebUrl,
    is_access_point,
    split_bucket,
)
from kaiwo.tasks.fields import require_local
from kaiwo.tasks.registry import SCHEMES, type_of_scheme
from kaiwo.workers.globs import glob_start

#: Divides a path into a folder and a glob, or gives it as a key.
_Split = Callable[[str], tuple[str, str | None]]
#: The Hub's own; no revision has such a name.
_HUB = re.compile(r"(?:.*\.)?(?:huggingface\.co|hf\.co)", re.IGNORECASE)
#: For a URL of the Hub with user info.
NO_USER_OF_HUB = (
    "hf:// names no host, user or password; a host goes into endpoint_url (HF_ENDPOINT), and a "
    "token into token_file (HF_TOKEN)"
)


def parse(url: str, *, globs: bool = True) -> ObjectUrl:
    """Split a URL into task type, container and path.

    Args:
        url: the URL.
        globs: it may have a glob; otherwise all characters are those of a key.

    Raises:
        ConfigError: it is no URL, the container is missing, or the package of its scheme cannot be
            used.
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator or not scheme or "@" in scheme:
        given = redact.no_url(str(url))
        raise ConfigError(f"{given} is not a URL: give s3://, gs://, az://, hf:// or https://")
    scheme = scheme.lower()
    type_ = type_of_scheme(scheme)
    split = split_glob if globs else _no_glob
    if type_ is None:
        return _parse_other(url, scheme, rest, split)
    if type_ == "hf":
        return _parse_hub(rest, split)
    container, path = split_bucket(rest)
    if not container or "@" in container:
        raise ConfigError(f"{scheme}:// needs a bucket or container name, and no user info")
    if ":" in container and "@" in path and not is_access_point(container):
        # A secret may have a slash: key:a/b@bucket
        raise ConfigError(
            f"{scheme}:// has ':' and then '@', as user info has; a configuration file can name "
            "such a bucket and its key"
        )
    path, glob = split(path)
    return ObjectUrl(type_, container, path, glob)


def require_target(target: str) -> None:
    """Return if the target is a path.

    Raises:
        ConfigError: it is a URL.
    """
    try:
        require_local(target)
    except ConfigError as error:
        hint = "several URLs need -t DIR, the folder for all of them; quote a URL with a glob"
        raise ConfigError(f"the target: {error.message}; {hint}") from None


def split_glob(path: str) -> tuple[str, str | None]:
    """The folder before the first segment with a wildcard, and the rest."""
    start = glob_start(path)
    if start is None:
        return path, None
    end = path.rfind("/", 0, start) + 1
    return path[:end], path[end:]


def _no_glob(path: str) -> tuple[str, None]:
    return path, None


def _parse_other(url: str, scheme: str, rest: str, split: _Split) -> WebUrl:
    from fsspec.registry import known_implementations  # noqa: PLC0415 - for these only

    if scheme not in known_implementations:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ConfigError(f"unknown scheme {scheme}://; known are {known}, https:// and others")
    if fault := fault_of_address(url):
        raise ConfigError(f"{scheme}:// is followed by {fault}")
    host, slash, path = rest.partition("/")
    folder, glob = (path, None) if "?" in path else split(path)
    if glob and is_web(url):
        glob = plain_name(glob)
    return WebUrl("url", host.rpartition("@")[2], f"{scheme}://{host}{slash}{folder}", glob)


def _parse_hub(rest: str, split: _Split) -> HubUrl:
    repo_type = "model"
    for kind in ("dataset", "space", "model"):
        if rest.startswith(f"{kind}s/"):
            repo_type, rest = kind, rest.removeprefix(f"{kind}s/")
            break
    match = re.fullmatch(
        # A revision with a slash is written refs/pr/1, or with %2F for the slash.
        r"(?P<repo>[^/@]+(?:/[^/@*?\[]+)?)(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?"
        r"(?:/(?P<path>.*))?",
        rest,
        re.DOTALL,
    )
    if match is None or rest.partition("/")[2].partition("/")[0].endswith("@"):
        raise ConfigError("hf:// needs owner/repo[@revision][/path]")
    revision = match["revision"]
    if ":" in match["repo"] or (revision and _is_host(revision)):
        raise ConfigError(f"{NO_USER_OF_HUB}; give hf://owner/repo[@revision][/path]")
    path, glob = split(match["path"] or "")
    name = revision.replace("%2F", "/") if revision else None
    return HubUrl("hf", match["repo"], path, glob, repo_type, name)


def _is_host(revision: str) -> bool:
    """Whether it can be no revision but a host: what is before it is a token then."""
    try:
        mirror = urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname
    except ValueError:
        mirror = None
    # No name in git has a colon.
    return ":" in revision or revision == mirror or _HUB.fullmatch(revision) is not None
