"""``checksum`` of a file item: what its bytes must have, in the file and in a fetch."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kaiwo as program
from kaiwo.errors import ConfigError, IntegrityError, NotFoundError
from kaiwo.tasks.base import Engine
from tests.servers import web
from tests.servers.web import Page
from tests.support.command import Kaiwo, clean_environment, configured, tree
from tests.support.engines import each_engine
from tests.support.proxies import counting
from tests.support.stores import Store

LARGE = bytes(range(256)) * (36 << 10)  # two ranges
OBJECTS = {"small": b"small", "large": LARGE}
WRONG = hashlib.sha256(b"other").hexdigest()


@pytest.fixture(autouse=True)
def _elsewhere(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def given(store: Store) -> dict[str, Any]:
    return {name: value for name, value in store.fields.items() if value is not None}


def items(objects: dict[str, bytes], **checksums: str) -> list[dict[str, str]]:
    return [
        {"file": key, "target_path": key, "checksum": checksums.get(key, sha256(data))}
        for key, data in objects.items()
    ]


@each_engine
def test_what_is_at_the_target_counts_when_it_was_hashed(
    s3: Store, kaiwo: Kaiwo, tmp_path: Path, engine: Engine
) -> None:
    bucket, out = s3.new_bucket(OBJECTS), tmp_path / "out"
    options = ("--engine", engine)
    with counting(s3) as proxy:
        file = {"download_items": [proxy.stores[0].task(bucket, items(OBJECTS))]}
        done = kaiwo(file, *options)
        assert done.code == 0, done.stderr
        for item in done.report["items"]:
            assert item["checksum"]["algorithm"] == "sha256"
            assert item["checksum"]["verified"]
        proxy.reset()
        again = kaiwo(file, *options)
        assert (again.code, again.report["unchanged"], proxy.counts().gets) == (0, 2, 0)
        # Size and time are as kaiwo remembers them, and the bytes are not.
        for key, data in OBJECTS.items():
            status = os.stat(out / key)
            (out / key).write_bytes(data[:-1] + b"!")
            os.utime(out / key, ns=(status.st_atime_ns, status.st_mtime_ns))
        mended = kaiwo(file, *options)
        assert (mended.code, mended.report["downloaded"]) == (0, 2)
        assert tree(out) == OBJECTS


@each_engine
@pytest.mark.parametrize("verify", ["checksum", "size"])
def test_wrong_bytes_are_never_published(
    s3: Store, kaiwo: Kaiwo, tmp_path: Path, engine: Engine, verify: str
) -> None:
    bucket = s3.new_bucket({**OBJECTS, "right": b"right"})
    wanted = items({**OBJECTS, "right": b"right"}, small=f"sha256:{WRONG}", large=f"sha256:{WRONG}")
    options = ("--engine", engine, "--verify", verify)
    done = kaiwo({"download_items": [s3.task(bucket, wanted)]}, *options)
    assert (done.code, done.report["downloaded"], done.report["failed"]) == (7, 1, 2)
    assert tree(tmp_path / "out") == {"right": b"right"}
    assert done.stderr.count("but the item asks for") >= 2


def test_a_file_of_another_tool_counts_and_later_what_the_store_has(
    s3: Store, kaiwo: Kaiwo, tmp_path: Path
) -> None:
    bucket, out = s3.new_bucket({"small": b"replaced meanwhile"}), tmp_path / "out"
    out.mkdir()
    (out / "small").write_bytes(b"small")
    (wanted,) = items({"small": b"small"})
    done = kaiwo({"download_items": [s3.task(bucket, [wanted])]})
    assert (done.code, done.report["unchanged"]) == (0, 1), done.stderr
    assert tree(out) == {"small": b"small"}
    del wanted["checksum"]
    assert kaiwo({"download_items": [s3.task(bucket, [wanted])]}).code == 0
    assert tree(out) == {"small": b"replaced meanwhile"}


def test_a_plan_names_the_checksum_and_refuses_two(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"small": b"small"})

    def planned(*checksums: str | None) -> subprocess.CompletedProcess[str]:
        wanted = [{"file": "small", "target_path": "t", "checksum": each} for each in checksums]
        return subprocess.run(
            [sys.executable, "-m", "kaiwo", "plan", configured(tmp_path, s3.task(bucket, wanted)),
             "--json"],
            env=clean_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip

    right, other = sha256(b"small"), f"md5:{hashlib.md5(b'small').hexdigest()}"
    for checksums in ((right,), (None, right), (right, None), (right, right)):
        (item,) = json.loads(planned(*checksums).stdout)["items"]
        held = item["checksum"]
        assert f"{held['algorithm']}:{held['value']}" == right
    refused = planned(right, other)
    assert refused.returncode == 2
    assert "have this target" in refused.stderr


@pytest.mark.parametrize("store", ["s3", "hub"])
def test_a_fetch_takes_a_checksum(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    of: Store = request.getfixturevalue(store)
    if of.type == "hf":
        of.fill("checksum/some", {"d/k": b"small"})
        url = "hf://checksum/some/"
    else:
        url = f"s3://{of.new_bucket({'d/k': b'small'})}/"
    encoded = base64.b64encode(hashlib.sha256(b"small").digest()).decode()
    path = program.fetch(f"{url}d/k", tmp_path / "x", checksum=f"sha256:{encoded}", **given(of))
    assert path.read_bytes() == b"small"
    with pytest.raises(IntegrityError, match="but the item asks for"):
        program.fetch(f"{url}d/k", tmp_path / "y", checksum=f"sha256:{WRONG}", **given(of))
    assert not (tmp_path / "y").exists()
    # It is of a file: a folder of that name is not meant.
    with pytest.raises(NotFoundError):
        program.fetch(f"{url}d", tmp_path / "z", checksum=sha256(b""), **given(of))
    for wrong in ({"checksum": "md5:1"}, {"checksum": sha256(b""), "exclude": "*"}):
        fields: dict[str, Any] = {**given(of), **wrong}
        with pytest.raises(ConfigError, match="checksum"):
            program.fetch(f"{url}d/k", tmp_path / "z", **fields)
    with pytest.raises(ConfigError, match="checksum is for one file"):
        program.fetch(f"{url}d/", tmp_path / "z", checksum=sha256(b""), **given(of))


def test_of_the_web_the_item_is_believed_and_not_the_server(tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html>a page</html>"
    lie = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with web.site() as site:
        site.pages["/lie.bin"] = Page(b"right", {"Content-MD5": lie})
        site.pages["/page.bin"] = Page(page, {"ETag": '"1"'})
        site.pages["/unsized"] = Page(LARGE, sized=False)
        with pytest.raises(IntegrityError):
            program.fetch(f"{site.at}/lie.bin", tmp_path / "lie")
        for name, data in (("lie.bin", b"right"), ("page.bin", page), ("unsized", LARGE)):
            path = tmp_path / name
            for reads in (True, False):
                site.asked.clear()
                program.fetch(f"{site.at}/{name}", path, checksum=sha256(data))
                assert path.read_bytes() == data
                gets = [asked for method, _, asked in site.asked if method == "GET"]
                # A server is asked by a GET of one byte, too, what it states.
                assert bool([each for each in gets if each.get("Range") != "bytes=0-0"]) == reads
        with pytest.raises(IntegrityError, match="a page of HTML came"):
            program.fetch(f"{site.at}/page.bin", tmp_path / "p.bin", checksum=f"sha256:{WRONG}")


def test_in_the_cache_of_the_hub_the_blob_is_hashed(hub: Store, tmp_path: Path) -> None:
    hub.fill("checksum/cached", {"k": b"small"})
    fields: dict[str, Any] = {**given(hub), "cache_dir": tmp_path / "cache"}
    url, wanted = "hf://checksum/cached/k", sha256(b"small")
    path = program.fetch(url, checksum=wanted, **fields)
    blob = path.resolve()
    status = blob.stat()
    blob.write_bytes(b"smalL")
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert program.fetch(url, checksum=wanted, **fields).read_bytes() == b"small"
    path.unlink()
    assert program.fetch(url, checksum=wanted, **fields).read_bytes() == b"small"
