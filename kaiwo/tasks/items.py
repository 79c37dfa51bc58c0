"""What stands in a task's list: buckets, and in each the folders and files that are wanted."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    Tag,
    field_validator,
)
from pydantic_core import PydanticCustomError

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.files.names import fault_of
from kaiwo.files.placement import At, Under, resolve
from kaiwo.objects import Folder, Named
from kaiwo.protocols import Placement
from kaiwo.workers.globs import glob_pattern

Text = Annotated[str, StringConstraints(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
#: An address may hold user info or a signature, which are used and never shown.
Address = Annotated[Text, PlainSerializer(redact.text, return_type=str)]


def require_inside(target_path: str) -> str:
    """Refuse a target that climbs, or that no file can have; for validators."""
    segments = [name for name in target_path.split("/") if name not in ("", ".")]
    if ".." in segments:
        raise PydanticCustomError("target", "'..' would climb out of the download root")
    if segments and (fault := fault_of("/".join(segments))):
        raise PydanticCustomError("target", "{fault}", {"fault": fault})
    return target_path


def _require_glob(glob: str) -> str:
    try:
        glob_pattern(glob)
    except ValueError as error:
        raise PydanticCustomError("glob", "'**' has to be a whole path component") from error
    return glob


class Model(BaseModel):
    """Frozen, strict about keys, silent about values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redact.text(value) if isinstance(value, str) else value


class _Item(Model):
    target_path: Text
    """Where it goes: below the download root, or absolute."""
    allow_empty: bool = False
    """Nothing matched is no error."""

    @field_validator("target_path")
    @classmethod
    def _inside(cls, value: str) -> str:
        return require_inside(value)


class FolderItem(_Item):
    """Every file below a folder that matches a glob."""

    folder: Annotated[str, PlainSerializer(redact.text, return_type=str)]
    """The folder; empty, ``.`` or ``/`` is the whole bucket."""
    glob: Text = "**/*"
    """fsspec glob, matched against the key relative to the folder."""

    @field_validator("glob")
    @classmethod
    def _translatable(cls, value: str) -> str:
        return _require_glob(value)

    @property
    def prefix(self) -> str:
        """What all its keys begin with: empty, or ending in ``/``."""
        folder = self.folder.strip("/")
        return "" if folder in ("", ".") else f"{folder}/"


class FileItem(_Item):
    """One object."""

    file: Address
    """Its key."""

    @field_validator("file")
    @classmethod
    def _is_file(cls, value: str) -> str:
        ends_in_query = "://" in value and "?" in value
        if value.endswith("/") and not ends_in_query:
            raise PydanticCustomError("file", "ends in '/': give it as a folder")
        return value


_KINDS = ("folder", "file")


def _item_kind(value: Any) -> str | None:
    if isinstance(value, FolderItem):
        return "folder item"
    if isinstance(value, FileItem):
        return "file item"
    if not isinstance(value, Mapping) or ("folder" in value) == ("file" in value):
        return None
    return "folder item" if "folder" in value else "file item"


def _flat(value: Any) -> Any:
    """An item in its nested form, ``folder: {folder: …}``, in the flat one."""
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key in _KINDS and isinstance(inner, Mapping):
            if key not in inner:
                _refuse_misspelled(inner)
                raise PydanticCustomError("item", f"what stands under '{key}' needs a '{key}' too")
            return inner
    if not any(kind in value for kind in _KINDS):
        _refuse_misspelled(value)
    return value


def _refuse_misspelled(value: Mapping[Any, Any]) -> None:
    for kind in _KINDS:
        for key in difflib.get_close_matches(kind, map(str, value), n=1):
            text = "unknown key {key}; did you mean {kind}?"
            raise PydanticCustomError("item", text, {"key": repr(key), "kind": repr(kind)})


Item = Annotated[
    Annotated[FolderItem, Tag("folder item")] | Annotated[FileItem, Tag("file item")],
    Discriminator(
        _item_kind,
        custom_error_type="item",
        custom_error_message="an item has either 'folder' or 'file', and a 'target_path'",
    ),
    BeforeValidator(_flat),
]


class Bucket(Model):
    """A bucket or container and what is wanted from it."""

    name: Text
    """Its name."""
    items: tuple[Item, ...] = Field(min_length=1)
    """Folders and files."""

    @field_validator("name")
    @classmethod
    def _one_name(cls, value: str) -> str:
        if "/" in value:
            raise PydanticCustomError("bucket", "is a bucket's name; a folder goes into an item")
        return value


def selected(item: FolderItem | FileItem, download_root: str) -> tuple[Folder | Named, Placement]:
    """Which objects an item means, and where they go.

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
        ConfigError: it can be none.
    """
    name = key.rpartition("/")[2]
    if fault := fault_of(name):
        raise ConfigError(f"{key!r} cannot name a file ({fault}): give target_path a file name")
    return name
