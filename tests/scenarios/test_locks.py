"""Locks: what a configuration had, fetched again as it was; what is on the disk, hashed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import boto3
import msgspec
import pytest
import yaml
from azure.storage.blob import ContainerClient
from msgspec.structs import replace

import kaiwo
from kaiwo.api import locking, verification
from kaiwo.api.orders import lock_path, order_of
from kaiwo.config.loader import load
from kaiwo.errors import ConfigError, UnsafeNameError
from kaiwo.locks import lock_file
from kaiwo.objects import Item
from kaiwo.reporting import lock_text
from kaiwo.reporting.displays import QuietSink
from kaiwo.state.records import Record, line_of, parsed
from kaiwo.tasks.base import Engine
from tests.support.command import configured, tree
from tests.support.faulty import content
from tests.support.proxies import counting
from tests.support.stores import Store

LARGE = content((8 << 20) + 1000)
OBJECTS = {"data/a.bin": b"aaa", "data/sub/b.txt": b"bbbb", "data/large": LARGE}
ITEMS = [{"folder": "data", "target_path": "."}]
ARRIVED = {name.removeprefix("data/"): data for name, data in OBJECTS.items()}
pytestmark = pytest.mark.usefixtures("loopback_only", "in_tmp_path")


def _order(path: str, **options: Any) -> Any:
    config = load(path, options)
    return replace(order_of(config), lock_file=lock_path(config))


def locked(path: str, *, hashed: bool = False) -> Mapping[str, Any]:
    """Write the lock of a configuration; its objects by their names."""
    locking.lock(_order(path), QuietSink(), hashed=hashed)
    lines = Path(path).with_suffix(".lock").read_text().splitlines()
    entries = [json.loads(line) for line in lines[1:]]
    return {each["url"].rpartition("/")[2]: each for each in entries if "url" in each}


def check(path: str) -> list[str]:
    """What differs, as people see it."""
    return list(lock_text.lines(locking.check(_order(path), QuietSink())))


def _failed(found: verification.Verified) -> list[Item]:
    return [item for item in found.report.items if item.status == "failed"]


@pytest.fixture(params=["s3", "gcs", "azure"])
def any_store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


def test_what_was_locked_is_fetched_without_a_listing(
    any_store: Store, tmp_path: Path, engine: Engine
) -> None:
    bucket = any_store.new_bucket(OBJECTS)
    with counting(any_store) as proxy:
        path = configured(tmp_path, proxy.stores[0].task(bucket, ITEMS))
        entries = locked(path)
        assert sorted(entries) == ["a.bin", "b.txt", "large"]
        assert entries["b.txt"]["target"] == "sub/b.txt"
        assert not any(each.get("weak") for each in entries.values())
        proxy.reset()
        report = kaiwo.download(path, locked=True, engine=engine)
        assert (report.exit_code, report.count("downloaded")) == (0, 3)
        assert all(item.verified for item in report.items)
        # Two small objects, two ranges, and nothing else.
        assert len(proxy.counts().lines) == 4
        assert tree(tmp_path / "out") == ARRIVED
        proxy.reset()
        again = kaiwo.download(path, locked=True, engine=engine)
        assert (again.count("unchanged"), again.transferred_bytes) == (3, 0)
        assert not proxy.counts().lines


def test_another_object_in_its_place_is_refused(
    any_store: Store, tmp_path: Path, engine: Engine
) -> None:
    bucket = any_store.new_bucket(OBJECTS)
    path = configured(tmp_path, any_store.task(bucket, ITEMS))
    locked(path)
    kaiwo.download(path).raise_for_failures()
    other = {"data/a.bin": b"AAA", "data/large": b"L" * len(LARGE), "data/new": b"new"}
    any_store.fill(bucket, other)
    report = kaiwo.download(path, locked=True, engine=engine, force=True)
    assert report.exit_code == 7
    assert sorted(item.target for item in report.failed) == [
        str(tmp_path / "out" / name) for name in ("a.bin", "large")
    ]
    assert tree(tmp_path / "out") == ARRIVED
    found = check(path)
    assert [line[0] for line in found[:-1]] == ["~", "~", "+"]
    assert found[-1] == "1 added, 2 changed"
    assert any("data/new  (3 B)" in line for line in found), found


def test_an_object_that_is_gone_is_named(any_store: Store, tmp_path: Path, engine: Engine) -> None:
    bucket = any_store.new_bucket({**OBJECTS, "data/z": b"z"})
    path = configured(tmp_path, any_store.task(bucket, ITEMS))
    locked(path)
    removed(any_store, bucket, "data/z")
    report = kaiwo.download(path, locked=True, engine=engine)
    (failed,) = report.failed
    assert (report.exit_code, failed.target) == (7, str(tmp_path / "out" / "z"))
    assert "gone" in str(failed.error)
    assert tree(tmp_path / "out") == ARRIVED
    gone, counted = check(path)
    assert (gone.split()[0], gone.endswith("data/z  (1 B)"), counted) == ("-", True, "1 gone")


def test_buckets_of_one_name_at_two_services_are_told_apart(
    s3: Store, s3_signed: Store, tmp_path: Path
) -> None:
    tasks: list[dict[str, Any]] = []
    for store in (s3, s3_signed):
        store.fill("of-one-name", {"data/a": store.settings["endpoint_url"].encode()})
        items = [{"folder": "data", "target_path": f"{len(tasks)}"}]
        tasks.append(store.task("of-one-name", items))
    path = configured(tmp_path, *tasks)
    locked(path)
    assert check(path) == ["2 objects as in the lock"]
    s3.fill("of-one-name", {"data/a": b"other"})
    assert check(path)[-1] == "1 changed"


def client(store: Store) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.settings["endpoint_url"],
        aws_access_key_id=store.settings["access_key_id"],
        aws_secret_access_key=store.settings["secret_key"],
        region_name=store.settings["region"],
    )


def of_gcs(store: Store, method: str, path: str, document: Any = None) -> None:
    """A request of the JSON interface."""
    request = Request(
        f"{store.settings['endpoint_url']}/storage/v1/{path}",
        None if document is None else json.dumps(document).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    urlopen(request).close()


def removed(store: Store, bucket: str, key: str) -> None:
    match store.type:
        case "s3":
            client(store).delete_object(Bucket=bucket, Key=key)
        case "gcs":
            of_gcs(store, "DELETE", f"b/{bucket}/o/{quote(key, safe='')}")
        case _:
            at = store.settings["connection_string"]
            with ContainerClient.from_connection_string(at, bucket) as container:
                container.delete_blob(key)


def versioned(store: Store) -> str:
    """A bucket that keeps what is overwritten or removed."""
    if store.type == "gcs":
        bucket = f"versioned-{store.new_bucket()}"
        project = store.settings["project"]
        document = {"name": bucket, "versioning": {"enabled": True}}
        of_gcs(store, "POST", f"b?project={project}", document)
        return bucket
    bucket = store.new_bucket()
    status = {"Status": "Enabled"}
    client(store).put_bucket_versioning(Bucket=bucket, VersioningConfiguration=status)
    return bucket


@pytest.mark.parametrize("name", ["s3", "gcs"])
def test_a_version_that_was_overwritten_still_arrives(
    request: pytest.FixtureRequest, name: str, tmp_path: Path, engine: Engine
) -> None:
    store: Store = request.getfixturevalue(name)
    bucket = versioned(store)
    store.fill(bucket, OBJECTS)
    path = configured(tmp_path, store.task(bucket, ITEMS))
    assert all(each["version"] for each in locked(path).values())
    store.fill(bucket, {"data/a.bin": b"other", "data/large": b"other"})
    removed(store, bucket, "data/sub/b.txt")
    report = kaiwo.download(path, locked=True, engine=engine)
    assert (report.exit_code, tree(tmp_path / "out")) == (0, ARRIVED)


@pytest.mark.parametrize("name", ["s3", "gcs"])
def test_a_version_is_enough_where_no_checksum_is_stated(
    request: pytest.FixtureRequest, name: str, tmp_path: Path, engine: Engine
) -> None:
    """So are objects that a key of the user's encrypts."""
    store: Store = request.getfixturevalue(name)
    bucket = versioned(store)
    store.fill(bucket, {"data/z": b"right"})
    path = configured(tmp_path, store.task(bucket, ITEMS))
    locked(path)
    lock = Path(path).with_suffix(".lock")
    head, item, line = map(json.loads, lock.read_text().splitlines())
    line |= {"checksum": None, "weak": True}
    assert line["version"]
    lock.write_text("".join(json.dumps(each) + "\n" for each in (head, item, line)))
    store.fill(bucket, {"data/z": b"other"})
    report = kaiwo.download(path, locked=True, engine=engine)
    assert (report.exit_code, tree(tmp_path / "out")) == (0, {"z": b"right"})


def test_a_branch_that_moved_arrives_at_the_commit_of_the_lock(
    hub: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are not in LFS, too: of these, a mirror may state the pointer's digest."""
    files = {**ARRIVED, "config.json": b"{}"}
    hub.fill("locked/repo", files)
    path = configured(tmp_path, hub.task("locked/repo", (), target_path="."))
    entries = locked(path)
    assert not any(each.get("weak") for each in entries.values())
    hub.fill("locked/repo", {"a.bin": b"other", "config.json": b"[0]"})
    report = kaiwo.download(path, locked=True)
    assert (report.exit_code, tree(tmp_path / "out")) == (0, files)
    assert {each["version"] for each in entries.values()} == {
        item.source.partition("@")[2].partition("/")[0] for item in report.items
    }


def test_a_lock_of_a_run_has_the_sha256_of_all_files(
    any_store: Store, tmp_path: Path, engine: Engine
) -> None:
    bucket = any_store.new_bucket(OBJECTS)
    path = configured(tmp_path, any_store.task(bucket, ITEMS))
    digests = {
        name.rpartition("/")[2]: f"sha256:{hashlib.sha256(data).hexdigest()}"
        for name, data in OBJECTS.items()
    }
    for _ in range(2):  # what is fetched; what is in place
        report = kaiwo.download(path, write_lock=True, engine=engine)
        assert report.exit_code == 0
        lines = Path(path).with_suffix(".lock").read_text().splitlines()
        entries = [json.loads(line) for line in lines[2:]]
        found = {each["url"].rpartition("/")[2]: each["checksum"] for each in entries}
        assert found == digests
        Path(path).with_suffix(".lock").unlink()
    assert {name: each["checksum"] for name, each in locked(path, hashed=True).items()} == digests


def flipped(path: Path) -> None:
    """One bit of a file is another one; its size and time are as before."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name", ["s3", "gcs", "azure", "hub"])
def test_what_is_at_the_target_counts_only_when_it_was_hashed(
    request: pytest.FixtureRequest, name: str, tmp_path: Path
) -> None:
    """Each store states other checksums, and these are all that a lock has."""
    store: Store = request.getfixturevalue(name)
    if name == "hub":
        store.fill("locked/flipped", ARRIVED)
        task = store.task("locked/flipped", (), target_path=".")
    else:
        task = store.task(store.new_bucket(OBJECTS), ITEMS)
    path, out = configured(tmp_path, task), tmp_path / "out"
    locked(path)
    assert kaiwo.download(path, locked=True).exit_code == 0
    for each in ("a.bin", "large"):
        flipped(out / each)
    found = verification.verify(_order(path), QuietSink())
    assert {item.target for item in _failed(found)} == {str(out / "a.bin"), str(out / "large")}
    assert (found.report.exit_code, found.unproven) == (7, ())
    report = kaiwo.download(path, locked=True)
    assert (report.exit_code, report.count("downloaded")) == (0, 2)
    assert tree(out) == ARRIVED
    report = kaiwo.download(path, locked=True)
    assert (report.exit_code, report.count("downloaded"), report.transferred_bytes) == (0, 0, 0)


def test_verify_names_what_is_missing_different_and_extra(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket(OBJECTS)
    path = configured(tmp_path, s3.task(bucket, ITEMS))
    kaiwo.download(path).raise_for_failures()
    out = tmp_path / "out"
    for has_lock in (False, True):
        if has_lock:
            kaiwo.download(path, write_lock=True).raise_for_failures()
        (out / "extra").write_bytes(b"x")
        (out / "a.bin").unlink()
        flipped(out / "large")
        found = verification.verify(_order(path), QuietSink())
        failed = {item.target: str(item.error) for item in _failed(found)}
        assert sorted(failed) == [str(out / "a.bin"), str(out / "large")]
        assert "missing" in failed[str(out / "a.bin")]
        assert found.extra == (str(out / "extra"),)
        assert found.report.exit_code == 7
        assert (found.against is not None) == has_lock
        (out / "large").unlink()
        (out / "extra").unlink()
        kaiwo.download(path).raise_for_failures()
        assert verification.verify(_order(path), QuietSink()).report.ok


def test_a_damaged_manifest_line_is_not_believed_under_a_lock(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket(OBJECTS)
    path = configured(tmp_path, s3.task(bucket, ITEMS))
    kaiwo.download(path, write_lock=True).raise_for_failures()
    forged = tmp_path / "out" / "sub" / "b.txt"
    forged.write_bytes(b"BBBB")
    # Another run "published" this: its line has size and time of the forged file.
    manifest = tmp_path / "out" / ".kaiwo" / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    (line,) = (each for each in lines if b"sub/b.txt" in each)

    record = parsed(line.rstrip(), msgspec.json.Decoder(Record))
    assert record is not None
    known = replace(record, mtime_ns=forged.stat().st_mtime_ns)
    manifest.write_bytes(manifest.read_bytes() + line_of(known))
    assert kaiwo.download(path).count("unchanged") == 3  # without a lock, it is
    report = kaiwo.download(path, locked=True)
    assert (report.exit_code, report.count("downloaded")) == (0, 1)
    assert tree(tmp_path / "out") == ARRIVED


# --- the file ---------------------------------------------------------------------------------


@pytest.fixture
def written(s3: Store, tmp_path: Path) -> tuple[str, Path]:
    """A configuration and its lock."""
    bucket = s3.new_bucket(OBJECTS)
    path = configured(tmp_path, s3.task(bucket, ITEMS))
    locked(path)
    return path, Path(path).with_suffix(".lock")


def _edited(lock: Path, **fields: Any) -> None:
    """Change fields of its first object."""
    lines = lock.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **fields})
    lock.write_text("\n".join(lines) + "\n")


def test_a_lock_does_not_change_from_run_to_run_and_may_be_compressed(
    written: tuple[str, Path],
) -> None:
    path, lock = written
    before = lock.read_bytes()
    locked(path)
    assert lock.read_bytes() == before
    packed = f"{lock}.gz"
    locking.lock(_order(path, lock_file=packed), QuietSink())
    assert gzip.decompress(Path(packed).read_bytes()) == before
    lock.unlink()
    assert kaiwo.download(path, locked=True, lock_file=packed).exit_code == 0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"key": "other/a.bin"}, "not what"),
        ({"key": None}, "not what"),
        ({"checksum": "sha256:12"}, "lock:3: not a checksum"),
        ({"checksum": "rot13:aa"}, "lock:3: not a checksum"),
        ({"size": "many"}, "lock:3: this line is damaged"),
        ({"host": "elsewhere"}, "lock:3: this line is damaged"),
        ({"etag": None, "checksum": None, "modified_ns": None}, "lock:3: nothing identifies"),
        ({"key": "data/large"}, "have this target"),
    ],
)
def test_a_lock_that_says_something_else_is_refused(
    written: tuple[str, Path], fields: dict[str, Any], says: str
) -> None:
    path, lock = written
    _edited(lock, **fields)
    with pytest.raises(ConfigError, match=says):
        kaiwo.download(path, locked=True)


def test_names_of_a_lock_are_checked_like_those_of_a_listing(written: tuple[str, Path]) -> None:
    path, lock = written
    _edited(lock, key="data/../../escaped")
    with pytest.raises(UnsafeNameError):
        kaiwo.download(path, locked=True)


def _nothing(path: str, lock: Path) -> None:
    lock.unlink()


def _newer(path: str, lock: Path) -> None:
    lock.write_text('{"kaiwo-lock": 2}\n')


def _other_file(path: str, lock: Path) -> None:
    lock.write_text("models: []\n")


def _other_config(path: str, lock: Path) -> None:
    document = yaml.safe_load(Path(path).read_text())
    document["download_items"][0]["buckets"][0]["items"][0]["glob"] = "*.bin"
    Path(path).write_text(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_nothing, "there is no lock file"),
        (_newer, "newer kaiwo"),
        (_other_file, "damaged|no lock file of kaiwo"),
        (_other_config, "does not fit the configuration"),
    ],
)
def test_a_lock_that_does_not_fit_is_refused(
    written: tuple[str, Path], change: Callable[[str, Path], None], says: str
) -> None:
    path, lock = written
    change(path, lock)
    with pytest.raises(ConfigError, match=says):
        kaiwo.download(path, locked=True)


def test_fetch_follows_a_lock_too(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket(OBJECTS)
    fields = {name: value for name, value in s3.fields.items() if value is not None}
    urls = [f"s3://{bucket}/data", f"s3://{bucket}/data/a.bin"]
    kaiwo.fetch(urls, "first", write_lock="some.lock", **fields)
    s3.fill(bucket, {"data/new": b"new"})
    paths = kaiwo.fetch(urls, "second", locked="some.lock", **fields)
    assert [path.name for path in paths] == ["data", "a.bin"]
    assert tree(tmp_path / "second") == {
        **{f"data/{name}": data for name, data in ARRIVED.items()},
        "a.bin": b"aaa",
    }
    assert len(lock_file.read("some.lock")) == 4
