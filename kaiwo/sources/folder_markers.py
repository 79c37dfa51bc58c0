"""Markers of folders: empty objects that stand for a folder, though their keys end in no slash.

Filesystems over object stores, gateways and consoles write them, and some gateways answer a HEAD
of any folder in this way. A marker says what it is by one of these:

    content type   one of ``_TYPES``
    metadata       ``hdi_isfolder`` (Azure's hierarchical namespace); names of metadata have no case

An object that holds bytes is a file in any case. A key that ends in a slash is always a
placeholder, and is left out by its name.

Listings of GCS and Azure state what is needed. A listing of S3 states neither, so a marker is
found when it is looked up or read. Where files are below it, it is looked up at once: a folder and
a file of the same name would be a conflict. The manifest remembers what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kaiwo.errors import PlaceholderError
from kaiwo.objects import RemoteObject

#: Of Amazon's console, s3fs-fuse and many gateways; of SeaweedFS, Cyberduck and Java's clients; of
#: OpenStack Swift; of desktops.
_TYPES = {
    "application/x-directory",
    "httpd/unix-directory",
    "application/directory",
    "inode/directory",
}
_METADATA = "hdi_isfolder"


def is_marker(
    key: str, size: int, content_type: str | None, metadata: Mapping[str, str] | None = None
) -> bool:
    """Whether an object only marks a folder; see the module's docstring.

    Args:
        key: of the object.
        size: of the object.
        content_type: as the store states it.
        metadata: the user's metadata, as the store states it.
    """
    if size or key.endswith("/"):
        return False
    if (content_type or "").partition(";")[0].strip().lower() in _TYPES:
        return True
    values = {name.lower(): str(value).strip().lower() for name, value in (metadata or {}).items()}
    return values.get(_METADATA) == "true"


def is_marker_by_headers(key: str, size: int, headers: Mapping[str, str]) -> bool:
    """The same, by the headers of an answer of S3; their names are in lower case."""
    metadata = {_METADATA: headers.get(f"x-amz-meta-{_METADATA}", "")}
    return is_marker(key, size, headers.get("content-type"), metadata)


def not_a_file(named: str) -> PlaceholderError:
    """The error for a look-up that found a marker.

    Args:
        named: the operation and the object, for messages.
    """
    return PlaceholderError(f"{named}: it only marks a folder; ask for the folder of that name")


def left_out(named: str) -> PlaceholderError:
    """The error for a marker that was read like a file; it is no failure.

    Args:
        named: the object, for messages.
    """
    return PlaceholderError(f"{named}: it only marks a folder, left out")


def with_keys_below(found: Sequence[RemoteObject]) -> set[str]:
    """The keys of the empty objects of a listing that other keys lie below."""
    empty = {remote.key for remote in found if not remote.size}
    folders = set()
    for remote in found if empty else ():
        end = remote.key.find("/")
        while end >= 0:
            if (folder := remote.key[:end]) in empty:
                folders.add(folder)
            end = remote.key.find("/", end + 1)
    return folders
