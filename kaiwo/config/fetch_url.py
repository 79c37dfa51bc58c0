"""The URLs that ``kaiwo.fetch`` takes, cut into the fields of a task.

    s3://bucket/key    gs://bucket/key    az://container/key
    hf://[datasets/|spaces/]owner/repo[@revision][/path]; hf://repo, where the name is one word
    https://host/path, and whatever else fsspec has a filesystem for

Keys are taken as they are: no percent-decoding, no query, no fragment. A glob (``*``, ``?``,
``[``) or a trailing ``/`` makes it a folder; a key that holds one of these characters itself is
named in a file, or by its folder. In other URLs, ``?`` is no glob: on the web, a query begins
there, and such a URL names one file.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.net.web_urls import fault_of_address, is_web, plain_name, web_name

_SCHEMES = {
    "s3": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure-blob",
    "azure": "azure-blob",
    "abfs": "azure-blob",
    "hf": "hf",
}
_GLOB = re.compile(r"[*?\[]")


class ObjectUrl(Struct, frozen=True):
    """What a URL asks for.

    Attributes:
        type: the task type.
        container: bucket, container or repository (``owner/repo``); a host of other URLs.
        path: an object's key, a folder (ends in ``/``, or empty) or, with ``glob``, the folder
            that the glob is relative to.
        glob: None for an object or a folder.
        repo_type: of a repository.
        revision: of a repository.
    """

    type: str
    container: str
    path: str
    glob: str | None = None
    repo_type: str = "model"
    revision: str | None = None

    @property
    def is_folder(self) -> bool:
        """It cannot be a single object."""
        if self.type == "url" and "?" in self.path:
            return False
        return self.glob is not None or not self.path or self.path.endswith("/")

    def of_one_word(self) -> ObjectUrl | None:
        """What else ``hf://gpt2/config.json`` may mean: a file of a repository of one word.

        With a revision, which stands between them, there is nothing else.
        """
        name, _, first = self.container.partition("/")
        if self.type != "hf" or self.revision is not None or not first:
            return None
        below = self.path or self.glob
        return replace(self, container=name, path=f"{first}/{self.path}" if below else first)

    @property
    def own_name(self) -> str:
        """The file's or folder's own name; the bucket's for a whole bucket."""
        path = web_name(self.path) if self.type == "url" else self.path
        return path.rstrip("/").rpartition("/")[2] or self.container.rpartition("/")[2]


def split_glob(path: str) -> tuple[str, str | None]:
    """The folder before the first segment with a wildcard, and the rest."""
    segments = path.split("/")
    for position, segment in enumerate(segments):
        if _GLOB.search(segment):
            folder = "".join(f"{name}/" for name in segments[:position])
            return folder, "/".join(segments[position:])
    return path, None


def parse(url: str) -> ObjectUrl:
    """Cut a URL into task type, container and path.

    Raises:
        ConfigError: it is no URL, or the container is missing.
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator or not scheme:
        given = redact.text(repr(url))
        raise ConfigError(f"{given} is no URL: give s3://, gs://, az://, hf:// or https://")
    scheme = scheme.lower()
    type_ = _SCHEMES.get(scheme)
    if type_ is None:
        from fsspec.registry import known_implementations  # noqa: PLC0415 - for these only

        if scheme not in known_implementations:
            known = ", ".join(f"{name}://" for name in _SCHEMES)
            raise ConfigError(f"unknown scheme {scheme}://; known are {known}, https:// and others")
        if fault := fault_of_address(url):
            raise ConfigError(f"{scheme}:// is followed by {fault}")
        host, slash, path = rest.partition("/")
        folder, glob = (path, None) if "?" in path else split_glob(path)
        if glob and is_web(url):
            glob = plain_name(glob)
        whole = f"{scheme}://{host}{slash}{folder}"
        return ObjectUrl("url", host.rpartition("@")[2], whole, glob)
    if type_ == "hf":
        return _parse_hub(rest)
    container, _, path = rest.partition("/")
    if not container or "@" in container:
        raise ConfigError(f"{scheme}:// needs a bucket or container name, and no user info")
    path, glob = split_glob(path)
    return ObjectUrl(type_, container, path, glob)


def _parse_hub(rest: str) -> ObjectUrl:
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
    path, glob = split_glob(match["path"] or "")
    return ObjectUrl(
        "hf",
        match["repo"],
        path,
        glob,
        repo_type,
        revision.replace("%2F", "/") if revision else None,
    )
