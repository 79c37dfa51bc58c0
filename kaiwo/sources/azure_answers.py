"""What answers of Azure state of blobs, read without the SDK.

The SDK reads every property into its type, and fails on a date in another spelling, or on a value
that is newer than itself: the whole listing is lost for the sake of what kaiwo does not need.

Folders of a hierarchical namespace are marked in the metadata, and in newer listings by
``ResourceType``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

from kaiwo import checksums
from kaiwo.objects import RemoteObject
from kaiwo.sources.answers import http_date_ns, stated_size, strong_etag
from kaiwo.sources.folder_markers import is_marker

#: Headers of metadata begin with this.
_METADATA = "x-ms-meta-"


def listing_url(container_url: str, parameters: Mapping[str, str]) -> str:
    """The address of a page of a listing.

    Args:
        container_url: with a signature, if the task has one.
        parameters: of the request; empty ones are left out.
    """
    given = {name: value for name, value in parameters.items() if value}
    asked = {"restype": "container", "comp": "list", "include": "metadata", **given}
    base, _, signature = container_url.partition("?")
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
    return f"{base}?{query}{'&' if signature else ''}{signature}"


def parse_page(body: bytes) -> tuple[Sequence[RemoteObject | None], str]:
    """The blobs of a page, None for each that only marks a folder; and the marker of the next page.

    Raises:
        ValueError: the body is no listing, or lacks ``NextMarker``, which is empty on the last
            page; or it lists folders, and not what is in them.
    """
    try:
        page = ET.fromstring(body)  # noqa: S314 - Python's reader resolves no external entities
    except ET.ParseError:
        raise ValueError("no XML") from None
    marker = page.find("{*}NextMarker")
    if marker is None:
        raise ValueError("no NextMarker")
    if page.find("{*}Blobs/{*}BlobPrefix") is not None:
        raise ValueError("folders, though no delimiter was given")
    blobs = [_parse_entry(blob) for blob in page.iterfind("{*}Blobs/{*}Blob")]
    return blobs, (marker.text or "").strip()


def _parse_entry(blob: ET.Element) -> RemoteObject | None:
    properties = {_name(each).lower(): each.text or "" for each in blob.iterfind("{*}Properties/*")}
    metadata = {_name(each): each.text or "" for each in blob.iterfind("{*}Metadata/*")}
    name = blob.find("{*}Name")
    if name is None:
        raise ValueError("a blob without a name")
    key = name.text or ""
    if name.get("Encoded", "").lower() == "true":
        key = unquote(key)
    is_folder = properties.get("resourcetype", "").lower() == "directory"
    remote = parse_blob(key, properties)
    marks = is_marker(key, remote.size, properties.get("content-type"), metadata)
    return None if is_folder or marks else remote


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def is_marker_by_headers(key: str, headers: Mapping[str, str]) -> bool:
    """Whether the answer to a look-up is that of a folder's marker.

    Args:
        key: of the blob.
        headers: of the answer; their names are in lower case.
    """
    metadata = {
        name.removeprefix(_METADATA): value
        for name, value in headers.items()
        if name.startswith(_METADATA)
    }
    size = stated_size(headers.get("content-length"))
    is_folder = headers.get("x-ms-resource-type", "").lower() == "directory"
    return is_folder or is_marker(key, size, headers.get("content-type"), metadata)


def parse_blob(key: str, stated: Mapping[str, str]) -> RemoteObject:
    """A blob as its properties in a listing, or the headers of a look-up, state it.

    Args:
        key: of the blob.
        stated: both have the same names, here in lower case.
    """
    return RemoteObject(
        key,
        stated_size(stated.get("content-length")),
        strong_etag(stated.get("etag")),
        None,
        checksums.best({"md5": stated.get("content-md5")}),
        modified_ns=http_date_ns(stated.get("last-modified")),
    )
