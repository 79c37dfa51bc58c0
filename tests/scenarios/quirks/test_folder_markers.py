"""Empty objects that mark folders: they are no files, and the folder of that name is meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import kaiwo as package
from kaiwo.errors import NotFoundError, PlaceholderError
from kaiwo.tasks.base import Engine
from tests.support.command import Kaiwo, tree
from tests.support.engines import opened
from tests.support.quirks_folders import put_object
from tests.support.stores import Store

SCHEMES = {"s3": "s3", "gcs": "gs", "azure-blob": "az"}
FILES = {"model/a": b"a", "model/deep/b": b"b", "model/empty": b"", "model-2": b"c"}
TYPES = (
    "application/x-directory",
    "application/x-directory; charset=UTF-8",
    "httpd/unix-directory",
    "Application/Directory",
    "inode/directory",
)
BINARY = "application/octet-stream"
MARKERS = ("model", "model/deep", "model/sub", "lonely")


def marked(store: Store, content_type: str, metadata: Mapping[str, str] | None = None) -> str:
    """A bucket with files, and with markers: of folders with files, and of empty folders."""
    bucket = store.new_bucket(FILES)
    for key in MARKERS:
        put_object(store, bucket, key, content_type, metadata)
    return bucket


def require_folders(store: Store, bucket: str, engine: Engine) -> None:
    """No marker is taken for a file: it is not listed, or not read, and not found by its name."""
    with opened(store, bucket, engine) as source:
        found = {}
        for remote in source.list(""):
            try:
                found[remote.key] = bytes(source.read(remote, 0, remote.size))
            except PlaceholderError:
                continue
        assert found == FILES
        for key in MARKERS:
            with pytest.raises(NotFoundError, match="marks a folder"):
                source.stat(key)
        assert source.stat("model/empty").size == 0


@pytest.mark.parametrize("content_type", TYPES)
def test_an_empty_object_with_the_type_of_a_folder_is_none(
    store: Store, engine: Engine, content_type: str
) -> None:
    require_folders(store, marked(store, content_type), engine)


@pytest.mark.parametrize("name", ["hdi_isfolder", "Hdi_isfolder", "HDI_ISFOLDER"])
def test_an_empty_object_with_the_metadata_of_a_folder_is_none(
    s3: Store, azure: Store, engine: Engine, name: str
) -> None:
    for store in (s3, azure):
        require_folders(store, marked(store, BINARY, {name: "True"}), engine)


def test_an_object_with_bytes_is_a_file(store: Store, engine: Engine) -> None:
    bucket = store.new_bucket({"a": b"a"})
    put_object(store, bucket, "file", TYPES[0], {"hdi_isfolder": "true"}, b"data")
    put_object(store, bucket, "none", BINARY, {"hdi_isfolder": "false"})
    with opened(store, bucket, engine) as source:
        found = {each.key: bytes(source.read(each, 0, each.size)) for each in source.list("")}
        assert found == {"a": b"a", "file": b"data", "none": b""}
        assert source.stat("file").size == len(b"data")


def test_many_markers_are_left_out(s3: Store, engine: Engine) -> None:
    """More than obstore's listing looks up: the fsspec source lists."""
    folders = [f"folder-{number:03}" for number in range(110)]
    bucket = s3.new_bucket({f"{folder}/file": b"x" for folder in folders})
    for folder in folders:
        put_object(s3, bucket, folder, TYPES[0])
    with opened(s3, bucket, engine) as source:
        assert [remote.key for remote in source.list("")] == [f"{each}/file" for each in folders]


def test_a_run_fetches_the_folder_and_not_its_marker(
    store: Store, engine: Engine, kaiwo: Kaiwo, tmp_path: Path
) -> None:
    bucket = marked(store, TYPES[0])
    items = [{"folder": "model", "target_path": "m"}]
    config = {"download_items": [store.task(bucket, items)]}
    done = kaiwo(config, "--engine", engine)
    assert done.code == 0, done.stderr
    wanted = {key.removeprefix("model/"): data for key, data in FILES.items() if "/" in key}
    assert tree(tmp_path / "out" / "m") == wanted
    again = kaiwo(config, "--engine", engine)
    assert (again.code, again.report["unchanged"]) == (0, len(wanted))

    file = [{"file": "model", "target_path": "f"}]
    done = kaiwo({"download_items": [store.task(bucket, file)]}, "--engine", engine)
    assert done.code == NotFoundError.exit_code
    assert "marks a folder" in done.stderr
    assert not (tmp_path / "out" / "f").exists()


def test_a_fetch_of_the_name_is_a_fetch_of_the_folder(store: Store, tmp_path: Path) -> None:
    bucket = marked(store, TYPES[0])
    url = f"{SCHEMES[store.type]}://{bucket}/model"
    fields = {name: value for name, value in store.fields.items() if value is not None}
    assert package.fetch(url, tmp_path / "m", **fields) == tmp_path / "m"
    assert (tmp_path / "m" / "deep" / "b").read_bytes() == b"b"
    with pytest.raises(NotFoundError):
        package.fetch(f"{SCHEMES[store.type]}://{bucket}/lonely", tmp_path / "x", **fields)
