"""The URL of ``kaiwo.fetch``, as a task type gets it.

``kaiwo.config.fetch_url`` parses the text, and a task type makes its fields of it, see
``Task.fetch_fields``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.net.web_urls import web_name

#: The ARN of an access point stands for a bucket in S3; it may contain slashes.
_ACCESS_POINT = re.compile(r"arn:[^/]*:(?:outpost[/:][^/:]+[/:])?accesspoint[/:][^/]+")


def is_access_point(name: str) -> bool:
    """Whether a bucket's name is the ARN of an access point."""
    return _ACCESS_POINT.fullmatch(name) is not None


def split_bucket(text: str) -> tuple[str, str]:
    """The name of a bucket, and what follows it after a slash; ARNs contain slashes."""
    arn = _ACCESS_POINT.match(text)
    if arn is None:
        bucket, _, path = text.partition("/")
        return bucket, path
    return arn[0], text[arn.end() + 1 :]


class ObjectUrl(Struct, frozen=True):
    """What a URL asks for.

    Attributes:
        type: the task type.
        container: bucket, container or repository (``owner/repo``); the host of other URLs.
        path: an object's key, a folder (ends in ``/``, or empty) or, with ``glob``, the folder
            that the glob is relative to.
        glob: None for an object or a folder.
    """

    type: str
    container: str
    path: str
    glob: str | None = None

    def __repr__(self) -> str:
        """Without the path, which may be an address with a signature."""
        return f"{type(self).__name__}({self.type!r})"

    @property
    def is_folder(self) -> bool:
        """It cannot be a single object."""
        return self.glob is not None or not self.path or self.path.endswith("/")

    @property
    def own_name(self) -> str:
        """The file's or folder's own name; the bucket's for a whole bucket."""
        return self.path.rstrip("/").rpartition("/")[2] or self.container.rpartition("/")[2]

    @property
    def store(self) -> ObjectUrl:
        """What two URLs have in common that one source reads."""
        return replace(self, path="", glob=None)

    def as_folder(self) -> ObjectUrl | None:
        """The folder of that name, which is meant where there is no such object."""
        return replace(self, path=f"{self.path}/")

    def other_reading(self) -> ObjectUrl | None:
        """What else the URL may mean, where there is no such container."""
        return None


class HubUrl(ObjectUrl, frozen=True):
    """A repository of the Hugging Face Hub, or what is in it.

    Attributes:
        repo_type: its kind.
        revision: None for the default branch.
    """

    repo_type: str = "model"
    revision: str | None = None

    def other_reading(self) -> HubUrl | None:
        """``hf://gpt2/config.json`` may be a file of a repository whose name has one word.

        A revision stands between repository and file, and leaves no choice.
        """
        name, _, first = self.container.partition("/")
        if self.revision is not None or not first:
            return None
        below = self.path or self.glob
        return replace(self, container=name, path=f"{first}/{self.path}" if below else first)


class WebUrl(ObjectUrl, frozen=True):
    """A URL of another protocol; ``path`` is the whole URL. With a query it names one file."""

    @property
    def is_folder(self) -> bool:
        """See ``ObjectUrl``."""
        return "?" not in self.path and super().is_folder

    @property
    def own_name(self) -> str:
        """See ``ObjectUrl``; without query and percent-encoding."""
        return web_name(self.path).rstrip("/").rpartition("/")[2] or self.container

    @property
    def store(self) -> ObjectUrl:
        """See ``ObjectUrl``; a source of the web is for the file of one address."""
        return self

    def as_folder(self) -> ObjectUrl | None:
        """See ``ObjectUrl``."""
        return None if "?" in self.path else super().as_folder()


class FetchRequest(Struct, frozen=True):
    """One file or folder that ``kaiwo.fetch`` asks for.

    Attributes:
        url: what to fetch.
        target: absolute path of the file or folder; None where the task finds the place.
        is_file: ask for one object, not for a folder.
        within: absolute path of a folder that the target is in, if several requests share it.
        of_item: further fields of the item, such as ``exclude``.
    """

    url: ObjectUrl
    target: str | None
    is_file: bool
    within: str | None = None
    of_item: Mapping[str, Any] = {}

    @property
    def root(self) -> str | None:
        """The folder that has the state of the target: the shared one, else it or its folder."""
        if self.within is not None or self.target is None or not self.is_file:
            return self.within or self.target
        return posixpath.dirname(self.target)

    def item(self) -> dict[str, Any]:
        """The file item or folder item that asks for it."""
        path, glob = self.url.path, self.url.glob
        item = {"file": path} if self.is_file else {"folder": path}
        if glob is not None:
            item["glob"] = glob
        return {**item, **self.of_item, "target_path": self.target}
