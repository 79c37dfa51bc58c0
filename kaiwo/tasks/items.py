"""Items: the folders and files that a task asks for, in buckets.

An item has a flat and a nested form, which mean the same:

    {folder: data, target_path: local}      {folder: {folder: data, target_path: local}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    field_validator,
)
from pydantic_core import PydanticCustomError

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.files.names import fault_of
from kaiwo.files.placement import At, Under, resolve
from kaiwo.net.web_urls import is_web
from kaiwo.objects import Folder, Named
from kaiwo.protocols import Placement
from kaiwo.tasks.fetch_request import is_access_point
from kaiwo.tasks.fields import Address, Model, TargetPath, Text
from kaiwo.workers.globs import glob_pattern, not_meant


def _require_glob(glob: str) -> str:
    try:
        glob_pattern(glob)
    except ValueError as error:
        raise PydanticCustomError("glob", "'**' must be a whole path segment") from error
    return glob


class _Item(Model):
    target_path: TargetPath = Field(
        description="Where it goes: relative to the download root, or absolute."
    )
    allow_empty: bool = Field(False, description="It is no error if nothing matches.")


class FolderItem(_Item):
    """Every file in a folder that matches a glob."""

    folder: Annotated[str, PlainSerializer(redact.text, return_type=str)] = Field(
        description="The folder; empty, ``.`` or ``/`` is the whole bucket."
    )
    glob: Text = Field(
        "**/*", description="An fsspec glob, matched against the key relative to the folder."
    )

    allow_partial: bool = Field(
        False,
        description=(
            "Of the web: it is no error if a page of links has links that cannot be followed."
        ),
    )

    @field_validator("glob")
    @classmethod
    def _translatable(cls, value: str) -> str:
        return _require_glob(value)

    @property
    def prefix(self) -> str:
        """What the keys of the folder begin with: empty, or ending in ``/``."""
        folder = self.folder.strip("/")
        return "" if folder in ("", ".") else f"{folder}/"


class FileItem(_Item):
    """One object."""

    file: Address = Field(description="The object's key.")

    @field_validator("file")
    @classmethod
    def _is_file(cls, value: str) -> str:
        ends_in_query = "://" in value and "?" in value
        if value.endswith("/") and not ends_in_query:
            raise PydanticCustomError("file", "ends in '/': write it as a folder")
        return value


ITEM_KINDS = ("folder", "file")
#: Pydantic's type of the error of an item that is neither a folder nor a file, or both.
NO_KIND = "item"


def _item_kind(value: Any) -> str | None:
    if isinstance(value, FolderItem):
        return "folder item"
    if isinstance(value, FileItem):
        return "file item"
    if not isinstance(value, Mapping) or ("folder" in value) == ("file" in value):
        return None
    return "folder item" if "folder" in value else "file item"


def _flat(value: Any) -> Any:
    """An item of the nested form, in the flat form."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((key, inner),) = value.items()
        if key in ITEM_KINDS and isinstance(inner, Mapping):
            if key not in inner:
                text = f"the mapping under '{key}' needs the key '{key}' too"
                raise PydanticCustomError(NO_KIND, text)
            return inner
    return value


Item = Annotated[
    Annotated[FolderItem, Tag("folder item")] | Annotated[FileItem, Tag("file item")],
    Discriminator(
        _item_kind,
        custom_error_type=NO_KIND,
        custom_error_message="an item needs either 'folder' or 'file', and a 'target_path'",
    ),
    BeforeValidator(_flat),
]


def named_target(item: FolderItem | FileItem, download_root: str) -> str | None:
    """The path of an item that names one file which must be there; None for others."""
    if isinstance(item, FolderItem) or item.allow_empty:
        return None
    try:
        _, placement = selected(item, download_root)
    except ConfigError:
        return None
    return placement.path if isinstance(placement, At) else None


def globs_not_meant(item: FolderItem | FileItem) -> Iterator[tuple[str, str, str]]:
    """See ``Task.globs_not_meant``: field, fault, what to do."""
    if isinstance(item, FolderItem):
        names = [("folder", item.folder), ("glob", item.glob)]
    else:
        names = [("file", item.file)]
    for field, name in names:
        # What follows in a URL is a query.
        path = name.partition("?")[0] if is_web(name) else name
        if (found := not_meant(path, is_glob=field == "glob")) is not None:
            yield field, *found


class Bucket(Model):
    """A bucket or container, and the items wanted from it."""

    name: Text = Field(description="The bucket's name.")
    items: tuple[Item, ...] = Field(min_length=1, description="Folders and files.")

    @field_validator("name")
    @classmethod
    def _one_name(cls, value: str) -> str:
        if "/" in value and not is_access_point(value):
            raise PydanticCustomError("bucket", "must be a name without '/'; folders go into items")
        return value


def selected(item: FolderItem | FileItem, download_root: str) -> tuple[Folder | Named, Placement]:
    """Which objects an item asks for, and where they go.

    A file's target that ends in ``/`` is the folder to put it in.
    """
    if isinstance(item, FolderItem):
        folder, root = resolve(item.target_path, download_root, is_file=False)
        return Folder(item.prefix, (item.glob,)), Under(folder, root, item.prefix)
    target = item.target_path
    if target.endswith("/"):
        target += file_name(item.file)
    path, root = resolve(target, download_root, is_file=True)
    return Named((item.file,)), At(path, root)


def file_name(key: str) -> str:
    """The last segment of a key, as the name of a file.

    Raises:
        ConfigError: no file can have that name.
    """
    name = key.rpartition("/")[2]
    if fault := fault_of(name):
        raise ConfigError(f"{key!r} cannot name a file ({fault}): give target_path a file name")
    return name
