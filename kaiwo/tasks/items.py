"""Items: the folders and files that a task asks for, in buckets.

An item has a flat and a nested form, which mean the same:

    {folder: data, target_path: local}      {folder: {folder: data, target_path: local}}

``glob`` and ``exclude`` are one glob or a list: a file is wanted if any of ``glob`` matches it, and
none of ``exclude`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.files.names import fault_of
from kaiwo.files.placement import At, resolve
from kaiwo.net.web_urls import is_web
from kaiwo.objects import Checksum, Folder, Named
from kaiwo.protocols import Placement
from kaiwo.tasks.base import Location
from kaiwo.tasks.fetch_request import FetchRequest, ObjectUrl, is_access_point
from kaiwo.tasks.fields import (
    Address,
    Exclude,
    FileName,
    Globs,
    ItemChecksum,
    Model,
    TargetPath,
    Text,
    listed,
    matching,
)
from kaiwo.tasks.upkeep import KEEP_GENERATIONS, PRUNE, PUBLISH, READY_FILE, Publish, under
from kaiwo.workers.globs import not_meant


class _Item(Model):
    target_path: TargetPath = Field(
        description="Where it goes: relative to the download root, or absolute; ``~`` is the home "
        "folder. A file's that ends in ``/`` is the folder to put it in."
    )
    allow_empty: bool = Field(False, description="It is no error if nothing matches.")


class FolderItem(_Item):
    """Every file in a folder that matches a glob."""

    folder: Annotated[str, PlainSerializer(redact.text, return_type=str)] = Field(
        description="The folder; empty, ``.`` or ``/`` is the whole bucket."
    )
    glob: Globs = Field(
        "**/*",
        description="An fsspec glob, or a list of them, matched against the key relative to the "
        "folder; a file is wanted if one of them matches.",
    )
    exclude: Exclude = Field(
        (),
        description="A glob, or a list of them, by the same rules: what one of them matches is "
        "left out. ``tmp/**`` is a folder with all that is in it.",
    )

    allow_partial: bool = Field(
        False,
        description=(
            "Of the web: it is no error if a page of links has links that cannot be followed."
        ),
    )

    prune: bool = Field(False, description=PRUNE)
    ready_file: FileName | None = Field(None, description=READY_FILE)
    publish: Publish = Field("files", description=PUBLISH)
    keep_generations: int | None = Field(None, ge=1, description=KEEP_GENERATIONS)

    @field_validator("keep_generations")
    @classmethod
    def _of_snapshots(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("publish", "snapshot") != "snapshot":
            raise PydanticCustomError("publish", "keep_generations needs publish: snapshot")
        return value

    @field_validator("prune", "publish")
    @classmethod
    def _of_whole_listings(cls, value: bool | Publish, info: ValidationInfo) -> bool | Publish:
        if value in (True, "snapshot") and info.data.get("allow_partial"):
            what = "prune" if value is True else "publish: snapshot"
            text = "{what} and allow_partial exclude each other"
            raise PydanticCustomError("prune", text, {"what": what})
        return value

    @property
    def prefix(self) -> str:
        """What the keys of the folder begin with: empty, or ending in ``/``."""
        folder = self.folder.strip("/")
        return "" if folder in ("", ".") else f"{folder}/"


class FileItem(_Item):
    """One object."""

    file: Annotated[Address, matching(r"[\s\S]*[^/]|[\s\S]*://[\s\S]*\?[\s\S]*")] = Field(
        description="The object's key."
    )
    checksum: ItemChecksum | None = Field(
        None,
        description="What its bytes must have, even if the store states another one: "
        "``sha256:…``, ``md5:…``, ``crc32c:…`` or ``crc64nvme:…``, in hexadecimal digits or "
        "base64. Each run hashes the file that is there.",
    )

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


def item_keys(value: Any) -> dict[str, Any]:
    """The keys of a mapping; of an item in the nested form, those of the inner one."""
    if not isinstance(value, dict):
        return {}
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key in ITEM_KINDS and isinstance(inner, dict):
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


def globs_not_meant(item: FolderItem | FileItem) -> Iterator[tuple[Location, str, str]]:
    """See ``Task.globs_not_meant``: where in the item, fault, what to do."""
    if isinstance(item, FileItem):
        names: list[tuple[Location, str]] = [(("file",), item.file)]
    else:
        globs = (*_located("glob", item.glob), *_located("exclude", item.exclude))
        names = [(("folder",), item.folder), *globs]
    for location, name in names:
        # What follows in a URL is a query.
        path = name.partition("?")[0] if is_web(name) else name
        if (found := not_meant(path, is_glob=location[0] in ("glob", "exclude"))) is not None:
            yield location, *found


def _located(field: str, globs: str | tuple[str, ...]) -> Iterator[tuple[Location, str]]:
    """Each glob of a field, and where in the item it is."""
    if isinstance(globs, str):
        yield (field,), globs
    else:
        yield from (((field, number), glob) for number, glob in enumerate(globs))


class Bucket(Model):
    """A bucket or container, and the items wanted from it."""

    name: Annotated[Text, matching("[^/]+|arn:.+")] = Field(description="The bucket's name.")
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
        selection = Folder(item.prefix, listed(item.glob), listed(item.exclude))
        return selection, under(item, folder, root, item.prefix)
    target = item.target_path
    if target.endswith("/"):
        target += file_name(item.file)
    path, root = resolve(target, download_root, is_file=True)
    checksum = None if item.checksum is None else Checksum(*item.checksum.split(":"))
    return Named((item.file,), checksum), At(path, root)


def request_selection(request: FetchRequest) -> Folder | Named:
    """What a request selects, where the task has no items.

    Raises:
        ValidationError: a field of the item is wrong.
    """
    kind = FileItem if request.is_file else FolderItem
    item = kind.complete().model_validate({**request.item(), "target_path": "."})
    return selected(item, "/")[0]


def divided(
    fields: Mapping[str, Any], of_task: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a task, and those of its item, from what ``kaiwo.fetch`` is given.

    Args:
        fields: what is given.
        of_task: the names of the task's fields, which come first.
    """
    of_items = FolderItem.model_fields.keys() | FileItem.model_fields.keys()
    names = (fields.keys() & of_items) - {*of_task, *ITEM_KINDS, "target_path"}
    rest = {name: value for name, value in fields.items() if name not in names}
    return rest, {name: fields[name] for name in fields if name in names}


def as_asked(url: ObjectUrl, of_item: Mapping[str, Any]) -> ObjectUrl:
    """The URL as the item's fields have it: fields that only folders have make it a folder.

    Raises:
        ConfigError: the fields and the URL exclude each other.
    """
    if "glob" in of_item and url.glob is not None:
        raise ConfigError("fetch: glob follows from the URL; leave it out")
    own = [FolderItem.model_fields.keys(), FileItem.model_fields.keys()]
    of_folder = sorted(of_item.keys() & (own[0] - own[1]))
    of_file = sorted(of_item.keys() & (own[1] - own[0]))
    if of_folder and of_file:
        text = f"{of_folder[0]} is for a folder, and {of_file[0]} for one file"
        raise ConfigError(f"fetch: {text}: give one of them")
    if of_file and url.is_folder:
        raise ConfigError(f"fetch: {of_file[0]} is for one file, and the URL names a folder")
    if not of_folder or url.is_folder:
        return url
    folder = url.as_folder()
    if folder is None:
        raise ConfigError(f"fetch: {of_folder[0]} is for a folder, and the URL names one file")
    return folder


def file_name(key: str) -> str:
    """The last segment of a key, as the name of a file.

    Raises:
        ConfigError: no file can have that name.
    """
    name = key.rpartition("/")[2]
    if fault := fault_of(name):
        raise ConfigError(f"{key!r} cannot name a file ({fault}): give target_path a file name")
    return name
