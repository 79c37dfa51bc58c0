"""``kaiwo::`` before a URL of fsspec: whole files, verified, from a cache of a bounded size."""

from __future__ import annotations

import asyncio
import csv
import errno
import gzip
import importlib
import json
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

import kaiwo
from tests.servers import web
from tests.support.fsspec_plugin import PROTOCOLS, options, register
from tests.support.proxies import Counting, counting
from tests.support.stores import Store

TABLE = b"name,size\na,1\nb,2\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, and a home without the developer's settings."""
    register()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "STORAGE_EMULATOR_HOST", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    fsspec.get_filesystem_class("kaiwo").clear_instance_cache()
    return tmp_path / "kaiwo"


@pytest.fixture(scope="module")
def counted(s3: Store, gcs: Store, azure: Store, hub: Store) -> Iterator[Counting]:
    """All four by way of a counting proxy."""
    with counting(s3, gcs, azure, hub) as way:
        yield way


@pytest.fixture(params=range(4), ids=["s3", "gs", "az", "hf"])
def each(request: pytest.FixtureRequest, counted: Counting) -> Store:
    """Each provider in turn."""
    number: int = request.param
    return counted.stores[number]


def filled(store: Store, name: str, objects: dict[str, bytes]) -> str:
    """The URL of a new bucket or repository with these objects, ending in a slash."""
    if store.type == "hf":
        store.fill(f"owner/{name}", objects)
        return f"kaiwo::hf://owner/{name}/"
    return f"kaiwo::{PROTOCOLS[store.type]}://{store.new_bucket(objects)}/"


def given(store: Store, cache: Path, **own: Any) -> dict[str, Any]:
    """The options of a chain: of the store's filesystem, and of kaiwo."""
    return {PROTOCOLS[store.type]: options(store), "kaiwo": {"cache_storage": str(cache), **own}}


def read(url: str, how: dict[str, Any]) -> bytes:
    with fsspec.open(url, **how) as file:
        data: bytes = file.read()
    return data


def kept(cache: Path) -> int:
    """The bytes of the files in the cache."""
    return sum(path.stat().st_size for path in cache.glob("kaiwo-*"))


# --- what is read -----------------------------------------------------------------------------


def test_it_is_read_whole_once_and_again_when_it_was_replaced(
    each: Store, counted: Counting, cache: Path
) -> None:
    url, how = filled(each, "cached", {"d/t.csv": TABLE}), given(each, cache)
    for data, gets in ((TABLE, 1), (TABLE, 0), (b"replaced,1\n", 1), (b"replaced,1\n", 0)):
        if data != TABLE:
            each.fill(url.removesuffix("/").partition("://")[2], {"d/t.csv": data})
        counted.reset()
        assert read(f"{url}d/t.csv", how) == data
        assert counted.counts().gets == gets
    with fsspec.open(f"{url}d/t.csv", "rt", newline="", **how) as file:
        assert list(csv.reader(file)) == [["replaced", "1"]]


def test_programs_read_tables_and_documents_through_it(s3: Store, cache: Path) -> None:
    document = {"a": [1, 2], "ü": None}
    objects = {
        "t.csv": TABLE,
        "t.csv.gz": gzip.compress(TABLE),
        "d.json": json.dumps(document).encode(),
    }
    url, how = filled(s3, "", objects), given(s3, cache)
    with fsspec.open(f"{url}t.csv.gz", "rt", compression="infer", **how) as file:
        assert [row["size"] for row in csv.DictReader(file)] == ["1", "2"]
    with fsspec.open(f"{url}d.json", "rt", **how) as file:
        assert json.load(file) == document
    with fsspec.open_files([f"{url}t.csv", f"{url}t.csv.gz"], "rt", compression="infer", **how) as (
        one,
        two,
    ):
        assert one.read() == two.read() == TABLE.decode()
    assert Path(fsspec.open_local(f"{url}t.csv", **how)).read_bytes() == TABLE


def test_listings_and_sizes_are_those_of_the_filesystem_behind_it(s3: Store, cache: Path) -> None:
    url, how = filled(s3, "", {"d/a": b"12", "d/b*[1]": b"3"}), given(s3, cache)
    files, path = fsspec.url_to_fs(f"{url}d", **how)
    assert [each.rpartition("/")[2] for each in files.ls(path, detail=False)] == ["a", "b*[1]"]
    assert (files.info(f"{path}/a")["size"], files.isdir(path), files.isfile(path)) == (
        2,
        True,
        False,
    )
    assert (files.exists(f"{path}/a"), files.exists(f"{path}/none")) == (True, False)
    assert files.find(path) == [f"{path}/a", f"{path}/b*[1]"]
    assert files.cat([f"{path}/a"]) == {f"{path}/a": b"12"}
    # A character of a glob is one of the key.
    assert files.cat_file(f"{path}/b*[1]") == b"3"
    assert files.cat_ranges([f"{path}/a"] * 2, [0, 1], [1, 2]) == [b"1", b"2"]
    files.get(f"{path}/a", str(cache / "copy"))
    assert (cache / "copy").read_bytes() == b"12"
    with pytest.raises(OSError, match="reads only"):
        files.open(f"{path}/new", "wb")
    with pytest.raises(IsADirectoryError):
        files.open(f"{path}/".rstrip("/d") + "/")


@pytest.mark.parametrize("protocol", ["http", "file"])
def test_other_protocols_are_read_through_it(tmp_path: Path, cache: Path, protocol: str) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/a.bin").write_bytes(b"some bytes")
    with web.folder(tmp_path / "served") as at:
        url = f"{at}/a.bin" if protocol == "http" else f"file://{tmp_path}/served/a.bin"
        assert read(f"kaiwo::{url}", {}) == b"some bytes"
    assert kept(cache) == 10


# --- options ----------------------------------------------------------------------------------


def test_options_may_stand_beside_the_url_as_pandas_gives_them(s3: Store, cache: Path) -> None:
    url, flat = filled(s3, "", {"t.csv": TABLE}), options(s3)
    assert read(f"{url}t.csv", flat) == TABLE
    client = {"endpoint_url": flat.pop("endpoint_url"), "region_name": "us-east-1"}
    assert read(f"{url}t.csv", {**flat, "client_kwargs": client, "use_ssl": False}) == TABLE
    assert kept(cache) == len(TABLE)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sekret": "canary"}, "'sekret'; did you mean 'secret'"),
        ({"client_kwargs": {"verify": False}}, "verifies certificates"),
        ({"session": "canary"}, "'session'"),
        ({"config_kwargs": {"s3": {"use_accelerate_endpoint": True}}}, "use_accelerate_endpoint"),
        ({"use_ssl": False}, "use_ssl"),
        ({"cache_limit": "canary"}, "cache_limit"),
    ],
)
def test_what_kaiwo_cannot_do_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(kaiwo.ConfigError, match=says) as caught:
        read("kaiwo::s3://bucket/key", wrong)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("option", ["version_id", "revision", "generation"])
def test_another_version_is_not_asked_for_in_vain(s3: Store, cache: Path, option: str) -> None:
    files, path = fsspec.url_to_fs(f"{filled(s3, '', {'a': b'now'})}a", **given(s3, cache))
    for read_it in (files.open, files.cat_file):
        with pytest.raises(kaiwo.ConfigError, match=option):
            read_it(path, **{option: "of-yesterday"})
    with files.open(path, block_size=None, cache_type="none") as file:
        assert file.read() == b"now"


def test_ranges_are_those_of_slices_and_of_one_state(s3: Store, cache: Path) -> None:
    files, path = fsspec.url_to_fs(f"{filled(s3, '', {'a': b'0123456789'})}a", **given(s3, cache))
    starts, ends = [0, None, -3, 8, 5], [2, 3, None, 99, 5]
    expected = [b"01", b"012", b"789", b"89", b""]
    assert files.cat_ranges([path] * 5, starts, ends) == expected
    assert files.cat_ranges([path, path], 1, 3) == [b"12", b"12"]


def test_what_is_missing_or_refused_has_the_errors_of_python(
    s3_signed: Store, hub: Store, cache: Path
) -> None:
    url, how = filled(s3_signed, "", {"a": b"1"}), given(s3_signed, cache)
    with pytest.raises(FileNotFoundError) as caught:
        read(f"{url}none", how)
    assert caught.value.errno == errno.ENOENT
    assert isinstance(caught.value.__cause__, kaiwo.NotFoundError)
    how["s3"] = {**how["s3"], "secret": "not-the-right-secret"}
    with pytest.raises(PermissionError) as refused:
        read(f"{url}a", how)
    assert "not-the-right-secret" not in str(refused.value)
    with pytest.raises(FileNotFoundError):
        read("kaiwo::hf://nobody/nothing/a", given(hub, cache))


# --- the folder -------------------------------------------------------------------------------


def test_the_folder_keeps_within_its_size_and_loses_what_was_opened_longest_ago(
    counted: Counting, cache: Path
) -> None:
    s3 = counted.stores[0]
    url = filled(s3, "", {name: name.encode() * 400 for name in "abcd"})
    how = given(s3, cache, cache_limit=1200)
    cache.mkdir(exist_ok=True)
    mine = cache / ("0" * 64)  # as fsspec's own caches name their files
    mine.write_bytes(bytes(5000))
    for name in "abacada":
        assert read(url + name, how) == name.encode() * 400
        assert kept(cache) <= 1200
    counted.reset()
    for name in "ad":
        read(url + name, how)
    assert counted.counts().gets == 0
    assert mine.exists()


def test_what_is_larger_than_the_folder_may_be_is_refused_before_its_first_byte(
    counted: Counting, cache: Path
) -> None:
    s3 = counted.stores[0]
    url = filled(s3, "", {"large": bytes(2000), "small": b"1"})
    how = given(s3, cache, cache_limit=1000)
    read(f"{url}small", how)
    counted.reset()
    with pytest.raises(kaiwo.DiskError, match=r"large: .*without kaiwo:: to read parts of it"):
        read(f"{url}large", how)
    assert counted.counts().gets == 0
    assert read(f"{url}small", how) == b"1"


def test_a_file_that_is_removed_while_it_is_open_is_read_to_its_end(s3: Store, cache: Path) -> None:
    url = filled(s3, "", {name: name.encode() * 400 for name in "ab"})
    how = given(s3, cache, cache_limit=500)
    with fsspec.open(f"{url}a", **how) as file:
        assert file.read(1) == b"a"
        assert read(f"{url}b", how) == b"b" * 400
        assert file.read() == b"a" * 399


def test_many_threads_and_processes_may_use_it(s3: Store, cache: Path) -> None:
    url, how = filled(s3, "", {"a": b"1" * 1000, "b": b"2" * 1000}), given(s3, cache)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: read(url + name, how), "abababab"))
    assert found == [b"1" * 1000, b"2" * 1000] * 4
    files, path = fsspec.url_to_fs(f"{url}a", **how)
    again = pickle.loads(pickle.dumps(files))
    assert again == files
    assert again.cat_file(path, 1, 3) == b"11"


def test_it_is_read_in_an_event_loop(s3: Store, cache: Path) -> None:
    url, how = filled(s3, "", {"a": b"123"}), given(s3, cache)
    files, path = fsspec.url_to_fs(f"{url}a", **how)

    async def main() -> tuple[bytes, list[bytes]]:
        # So fsspec's asynchronous users call it.
        whole, ranges = files._cat_file, files._cat_ranges  # noqa: SLF001
        return await whole(path), await ranges([path], [1], [2])

    assert asyncio.run(main()) == (b"123", [b"2"])


# --- other packages, where they are installed ---------------------------------------------------


def test_pandas_reads_through_it(s3: Store, cache: Path) -> None:
    pandas = pytest.importorskip("pandas")
    url = filled(s3, "", {"t.csv": TABLE})
    assert pandas.read_csv(f"{url}t.csv", storage_options=options(s3))["size"].sum() == 3
    assert kept(cache) == len(TABLE)


def test_pyarrow_reads_through_it(s3: Store, cache: Path) -> None:
    pytest.importorskip("pyarrow")
    arrow = importlib.import_module("pyarrow.fs")
    tables = importlib.import_module("pyarrow.csv")
    files, path = fsspec.url_to_fs(f"{filled(s3, '', {'t.csv': TABLE})}t.csv", **given(s3, cache))
    there = arrow.PyFileSystem(arrow.FSSpecHandler(files))
    assert there.get_file_info(path).size == len(TABLE)
    with there.open_input_file(path) as file:
        assert tables.read_csv(file)["size"].to_pylist() == [1, 2]


def test_datasets_reads_through_it(s3: Store, cache: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    url = f"{filled(s3, '', {'t.csv': TABLE})}t.csv"
    # It takes no chain of protocols without paths, such as simplecache:: either; but a local path.
    found = datasets.load_dataset(
        "csv",
        data_files=fsspec.open_local(url, **given(s3, cache)),
        cache_dir=str(tmp_path / "datasets"),
        split="train",
    )
    assert found["size"] == [1, 2]
