"""What proves that an object is that of a lock, and what does not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

import kaiwo
from kaiwo.api import locking, verification
from kaiwo.api.orders import lock_path, order_of
from kaiwo.config.loader import load
from kaiwo.errors import ConfigError, NotFoundError
from kaiwo.reporting.displays import QuietSink
from tests.servers import web
from tests.servers.web import Page, Site
from tests.support.command import configured, tree
from tests.support.stores import Store

OLD, NEW = b"old bytes!", b"NEW bytes!"
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.fixture
def site(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    with web.site() as found:
        yield found


def _order(path: str, **options: Any) -> Any:
    config = load(path, options)
    return replace(order_of(config), lock_file=lock_path(config))


def _locked(path: str) -> list[dict[str, Any]]:
    """Write the lock of a configuration; its lines, without the first."""
    locking.lock(_order(path), QuietSink())
    return _lines(path)


def _lines(path: str) -> list[dict[str, Any]]:
    lines = Path(path).with_suffix(".lock").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


def _of_web(tmp_path: Path, site: Site, **item: Any) -> str:
    item = {"file": f"{site.at}/f.bin", "target_path": "f.bin", **item}
    return configured(tmp_path, {"type": "url", "items": [item]})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({"ETag": '"e1"'}, {}),
        ({"ETag": '"e1"', "Last-Modified": DATE}, {"ETag": 'W/"e2"'}),
        ({"Last-Modified": DATE}, {}),
    ],
)
def test_what_states_less_than_the_lock_is_not_its_object(
    tmp_path: Path, site: Site, before: dict[str, str], after: dict[str, str]
) -> None:
    site.pages["/f.bin"] = Page(OLD, before)
    path = _of_web(tmp_path, site)
    _, entry = _locked(path)
    # What nothing identifies is hashed at once.
    assert ("checksum" in entry) == (not before)
    report = kaiwo.download(path, locked=True)
    assert (report.exit_code, tree(tmp_path / "out")) == (0, {"f.bin": OLD})
    site.pages["/f.bin"] = Page(NEW, after)
    report = kaiwo.download(path, locked=True, force=True)
    assert (report.exit_code, tree(tmp_path / "out")) == (7, {"f.bin": OLD})


def test_the_checksum_of_an_item_is_that_of_the_lock(tmp_path: Path, site: Site) -> None:
    site.pages["/f.bin"] = Page(OLD, {"ETag": '"e1"'})
    sums = {data: f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (OLD, NEW)}
    path = _of_web(tmp_path, site, checksum=sums[OLD])
    assert _locked(path)[1]["checksum"] == sums[OLD]
    assert kaiwo.download(path, locked=True).exit_code == 0
    _of_web(tmp_path, site, checksum=sums[NEW])
    site.pages["/f.bin"] = Page(NEW, {})
    with pytest.raises(ConfigError, match="is not that of its item"):
        kaiwo.download(path, locked=True)
    assert tree(tmp_path / "out") == {"f.bin": OLD}


def test_a_lock_that_was_cut_off_is_refused(tmp_path: Path, s3: Store, site: Site) -> None:
    bucket = s3.new_bucket({"a": b"aaa", "b": b"bbbb"})
    items = [{"folder": "", "target_path": "."}, {"file": "b", "target_path": "x/b"}]
    path = configured(tmp_path, s3.task(bucket, items))
    _locked(path)
    lock = Path(path).with_suffix(".lock")
    lines = lock.read_text().splitlines(keepends=True)
    for length in range(2, len(lines)):
        lock.write_text("".join(lines[:length]))
        with pytest.raises(ConfigError, match=r"is damaged|does not fit"):
            kaiwo.download(path, locked=True)
    assert not (tmp_path / "out").exists()


def test_a_lock_that_is_too_deep_is_refused(tmp_path: Path, site: Site) -> None:
    path = _of_web(tmp_path, site)
    for text in (
        '{"kaiwo-lock": %s',
        '{"kaiwo-lock": 1}\n{"item":%s',
        '{"kaiwo-lock": 1}\n{"url":%s',
    ):
        Path(path).with_suffix(".lock").write_text(text % ("[" * 60_000))
        with pytest.raises(ConfigError, match=r"damaged|without an item"):
            kaiwo.download(path, locked=True)


def test_the_bytes_of_a_run_are_known_to_its_lock(tmp_path: Path, site: Site) -> None:
    """A file of the web, of which nobody states a checksum."""
    site.pages["/f.bin"] = Page(OLD, {"ETag": '"e1"'})
    path, target = _of_web(tmp_path, site), tmp_path / "out" / "f.bin"
    assert kaiwo.download(path, write_lock=True).exit_code == 0
    before = target.stat()
    target.write_bytes(NEW)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = verification.verify(_order(path), QuietSink())
    assert [item.target for item in found.report.items if item.error] == [str(target)]
    assert (kaiwo.download(path, locked=True).exit_code, target.read_bytes()) == (0, OLD)


def test_a_lock_is_not_written_from_a_file_that_was_changed(
    tmp_path: Path, s3: Store, site: Site
) -> None:
    bucket = s3.new_bucket({"a": b"aaa", "b": b"bbbb"})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "."}]))
    kaiwo.download(path).raise_for_failures()
    target = tmp_path / "out" / "a"
    before = target.stat()
    target.write_bytes(b"XXX")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = kaiwo.download(path, write_lock=True)
    assert (report.exit_code, report.count("downloaded"), report.count("unchanged")) == (0, 1, 1)
    assert target.read_bytes() == b"aaa"
    assert _lines(path)[1]["checksum"] == f"sha256:{hashlib.sha256(b'aaa').hexdigest()}"


def test_one_object_that_is_refused_does_not_end_the_run(
    tmp_path: Path, s3: Store, site: Site
) -> None:
    site.pages["/f.bin"] = Page(OLD, {"ETag": '"e1"'})
    path = _of_web(tmp_path, site)
    document = yaml.safe_load(Path(path).read_text())
    missing = {"file": f"{site.at}/none", "target_path": "none"}
    document["download_items"][0]["items"].append(missing)
    Path(path).write_text(yaml.safe_dump(document))
    report = kaiwo.download(path, write_lock=True)
    assert (report.exit_code, tree(tmp_path / "out")) == (4, {"f.bin": OLD})
    assert not Path(path).with_suffix(".lock").exists()


def test_a_guess_condemns_no_file(tmp_path: Path, s3: Store, site: Site) -> None:
    bucket = s3.new_bucket({"a": b"aaa"})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "."}]))
    _locked(path)
    kaiwo.download(path).raise_for_failures()
    lock = Path(path).with_suffix(".lock")
    header, item, line = lock.read_text().splitlines()
    guess = {**json.loads(line), "checksum": f"md5-1:{'0' * 32}-3", "weak": True}
    lock.write_text("\n".join((header, item, json.dumps(guess))) + "\n")
    found = verification.verify(_order(path), QuietSink())
    assert (found.report.exit_code, found.unproven) == (0, (str(tmp_path / "out" / "a"),))


@pytest.mark.parametrize(
    ("checksum", "field"),
    [
        (f"md5-0:{'0' * 32}-1", {}),
        (f"blake9:{'0' * 32}-1", {}),
        (None, {"size": -3}),
        (None, {"modified_ns": 1 << 70}),
        (None, {"etag": "a\nb"}),
        (None, {"etag": "a\n"}),
    ],
)
def test_an_entry_that_cannot_be_is_refused(
    tmp_path: Path, s3: Store, site: Site, checksum: str | None, field: dict[str, object]
) -> None:
    bucket = s3.new_bucket({"a": b"aaa"})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "."}]))
    _locked(path)
    lock = Path(path).with_suffix(".lock")
    header, item, line = lock.read_text().splitlines()
    changed = {**json.loads(line), **field} | ({"checksum": checksum} if checksum else {})
    lock.write_text("\n".join((header, item, json.dumps(changed))) + "\n")
    with pytest.raises(ConfigError, match="lock:3: "):
        kaiwo.download(path, locked=True)


def test_to_verify_nothing_is_no_success(tmp_path: Path, s3: Store, site: Site) -> None:
    bucket = s3.new_bucket({"a": b"aaa"})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "."}]))
    with pytest.raises(NotFoundError, match="nothing to verify"):
        verification.verify(_order(path), QuietSink())
    kaiwo.download(path).raise_for_failures()
    with pytest.raises(ConfigError, match="there is no lock file"):
        verification.verify(_order(path, lock_file="typo.lock"), QuietSink())
