"""Signed models: what is signed arrives, and nothing else."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec.structs import replace

import kaiwo
from kaiwo.api import locking
from kaiwo.api.orders import lock_path, order_of
from kaiwo.config.loader import load
from kaiwo.errors import ConfigError
from kaiwo.reporting.displays import QuietSink
from kaiwo.signatures import trust
from kaiwo.tasks.base import Engine
from tests.servers import web
from tests.support.command import configured, tree
from tests.support.faulty import content
from tests.support.signing import Signer, payload_of, resources
from tests.support.stores import Store

LARGE = content((8 << 20) + 1000)  # two ranges
FILES = {"a.bin": b"aaa", "sub/b.txt": b"bbbb", "large": LARGE}
ITEMS = [{"folder": "m", "target_path": "."}]


@pytest.fixture(autouse=True)
def _elsewhere(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.new(tmp_path / "signer")


def uploaded(store: Store, files: Mapping[str, bytes], bundle: bytes) -> str:
    """A bucket with these files and their bundle in the folder ``m``."""
    return store.new_bucket(
        {f"m/{key}": data for key, data in (*files.items(), ("model.sig", bundle))}
    )


def refused(path: str, out: Path, *words: str, **options: Any) -> None:
    """The run fails with exit code 7, says so, and publishes nothing."""
    report = kaiwo.download(path, **options)
    assert report.exit_code == 7, report.failed
    said = " ".join(str(item.error) for item in report.failed)
    assert all(word in said for word in words), said
    assert tree(out) == {}


def test_what_is_signed_arrives(
    store: Store, tmp_path: Path, signer: Signer, engine: Engine
) -> None:
    bundle = signer.bundle(FILES)
    bucket = uploaded(store, FILES, bundle)
    path = configured(tmp_path, store.task(bucket, ITEMS, signature=signer.field()))
    report = kaiwo.download(path, engine=engine)
    assert (report.exit_code, report.count("downloaded")) == (0, 4), report.failed
    assert tree(tmp_path / "out") == {**FILES, "model.sig": bundle}
    assert {item.checksum.algorithm for item in report.items if item.checksum} == {"sha256"}
    again = kaiwo.download(path, engine=engine)
    assert (again.count("unchanged"), again.transferred_bytes) == (4, 0)
    # The same size and time: only a hash tells.
    forged = tmp_path / "out" / "a.bin"
    before = forged.stat()
    forged.write_bytes(b"AAA")
    os.utime(forged, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kaiwo.download(path, engine=engine).count("downloaded") == 1
    assert forged.read_bytes() == b"aaa"


def test_one_other_byte_is_refused(
    store: Store, tmp_path: Path, signer: Signer, engine: Engine
) -> None:
    files = {name: FILES[name] for name in ("a.bin", "large")}
    wrong = {name: data[:-1] + bytes([data[-1] ^ 1]) for name, data in files.items()}
    bucket = uploaded(store, wrong, signer.bundle(files))
    item = {"folder": "m", "target_path": ".", "exclude": "*.sig"}
    path = configured(tmp_path, store.task(bucket, [item], signature=signer.field()))
    refused(path, tmp_path / "out", "signature has", *files, engine=engine)
    refused(path, tmp_path / "out", "signature has", *files, engine=engine, verify="size")


def test_files_of_other_names_and_keys_are_refused(
    store: Store, tmp_path: Path, signer: Signer
) -> None:
    files = {"a.bin": b"aaa"}
    bucket = uploaded(store, {**files, "evil.py": b"evil"}, signer.bundle(files))
    path = configured(tmp_path, store.task(bucket, ITEMS, signature=signer.field()))
    refused(path, tmp_path / "out", "m/evil.py: not signed")
    other = Signer.new(tmp_path / "other").field()
    path = configured(tmp_path, store.task(bucket, ITEMS, signature=other))
    refused(path, tmp_path / "out", "was not signed by")
    alone = store.new_bucket({"m/a.bin": b"aaa"})
    path = configured(tmp_path, store.task(alone, ITEMS, signature=signer.field()))
    report = kaiwo.download(path)
    assert (report.exit_code, tree(tmp_path / "out")) == (4, {})
    assert "there is no signature" in str(report.failed[0].error)


@pytest.mark.parametrize("kind", ["added", "renamed", "gone", "ignored", "others"])
def test_other_files_than_the_signed_ones_are_refused(
    s3: Store, tmp_path: Path, signer: Signer, kind: str
) -> None:
    def with_ignored(payload: dict[str, Any]) -> None:
        payload["predicate"]["serialization"]["ignore_paths"] = ["evil.py", "."]

    bundle = signer.again(signer.bundle(FILES), with_ignored)
    there, named = dict(FILES), "evil.py"
    if kind in ("added", "ignored"):
        there["evil.py"] = b"evil"
    elif kind == "renamed":
        there["evil.py"] = there.pop("a.bin")
    elif kind == "others":
        named, bundle = "a.bin", signer.bundle({"other.bin": b"other"})
    else:
        named = "a.bin"
        del there["a.bin"]
    bucket = uploaded(s3, there, bundle)
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=signer.field()))
    refused(path, tmp_path / "out", f"m/{named}")
    if kind == "gone":
        # What the item does not ask for is not missing.
        items = [{"folder": "m", "glob": "sub/*", "target_path": "."}]
        path = configured(tmp_path, s3.task(bucket, items, signature=signer.field()))
        assert kaiwo.download(path).exit_code == 0
        named_one = [{"file": "m/a.bin", "target_path": "a"}]
        path = configured(tmp_path, s3.task(bucket, named_one, signature=signer.field()))
        assert kaiwo.download(path).exit_code == 4
    elif kind == "added":
        skipping = s3.task(bucket, ITEMS, signature=signer.field(unsigned="skip"))
        assert kaiwo.download(configured(tmp_path, skipping)).exit_code == 0
        assert tree(tmp_path / "out") == {**FILES, "model.sig": bundle}
        named_one = [{"file": "m/evil.py", "target_path": "evil"}]
        task = s3.task(bucket, named_one, signature=signer.field(unsigned="skip"))
        assert kaiwo.download(configured(tmp_path, task)).exit_code == 7


def test_a_signature_without_a_certificate_is_refused(
    s3: Store, tmp_path: Path, signer: Signer
) -> None:
    files = {"a.bin": b"aaa"}
    bucket = uploaded(s3, files, signer.bundle(files))
    certified = Signer.with_certificate(tmp_path / "certified")
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=certified.field()))
    refused(path, tmp_path / "out", "not with a certificate")


def test_certificates(s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, asked, connect = {"a.bin": b"aaa"}, set(), socket.socket.connect

    def connecting(self: socket.socket, address: Any) -> None:
        asked.add(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    signer = Signer.with_certificate(tmp_path / "signer")
    bundle = signer.bundle(files)
    bucket, out = uploaded(s3, files, bundle), tmp_path / "out"

    def path(**fields: Any) -> str:
        return configured(tmp_path, s3.task(bucket, ITEMS, signature=signer.field(**fields)))

    refused(path(subject="CN=other,O=Example"), out, "CN=release,O=Example", "CN=other")
    foreign = Signer.with_certificate(tmp_path / "foreign").field()["certificate"]
    refused(path(certificate=foreign), out, "does not come from")
    refused(path(valid_at="2020-01-01T00:00:00Z"), out, "is valid from")
    refused(path(valid_at="2120-01-01T00:00:00Z"), out, "has expired")
    assert kaiwo.download(path()).exit_code == 0
    assert tree(out) == {**files, "model.sig": bundle}
    damaged = json.loads(bundle)
    (own, *_) = damaged["verificationMaterial"]["x509CertificateChain"]["certificates"]
    own["rawBytes"] = "AAAA"
    s3.fill(bucket, {"m/model.sig": json.dumps(damaged).encode()})
    (failed,) = kaiwo.download(path()).failed
    assert "certificates are damaged" in str(failed.error)
    s3.fill(bucket, {"m/model.sig": bundle})
    by_mail = path(subject="email:release@example.org")
    assert kaiwo.download(by_mail, engine="fsspec").exit_code == 0
    # Nothing was asked but the store.
    assert {f"http://{host}:{port}" for host, port in asked} == {s3.settings["endpoint_url"]}


@pytest.mark.parametrize(
    ("of_signer", "said"),
    [
        ({"days": (-10, -1)}, "has expired"),
        ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "not 'code signing'"),
        ({"ca": True}, "issuing certificates"),
    ],
)
def test_a_certificate_that_does_not_count(
    s3: Store, tmp_path: Path, of_signer: dict[str, Any], said: str
) -> None:
    signer = Signer.with_certificate(tmp_path / "signer", **of_signer)
    bucket = uploaded(s3, {"a.bin": b"aaa"}, signer.bundle({"a.bin": b"aaa"}))
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=signer.field()))
    refused(path, tmp_path / "out", said)


def test_a_state_is_pinned(
    s3: Store, tmp_path: Path, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = ({"a.bin": data} for data in (b"old", b"new"))
    bundle = signer.bundle(newer)
    digest = f"sha256:{hashlib.sha256(payload_of(bundle)).hexdigest()}"
    bucket = uploaded(s3, older, signer.bundle(older))
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=signer.field(digest=digest)))
    refused(path, tmp_path / "out", "another state was signed")
    s3.fill(bucket, {"m/a.bin": b"new"})
    refused(path, tmp_path / "out", "another state was signed")
    s3.fill(bucket, {"m/model.sig": bundle})
    with caplog.at_level(logging.INFO):
        assert kaiwo.download(path).exit_code == 0
    assert digest in caplog.text


@pytest.mark.parametrize("name", ["../a.bin", "./a.bin", "/m/a.bin", "m/a.bin", "a.bin/"])
def test_a_hostile_name_stands_for_no_file(
    s3: Store, tmp_path: Path, signer: Signer, name: str
) -> None:
    def renamed(payload: dict[str, Any]) -> None:
        payload["predicate"]["resources"][0]["name"] = name

    bucket = uploaded(
        s3, {"a.bin": b"aaa"}, signer.again(signer.bundle({"a.bin": b"aaa"}), renamed)
    )
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=signer.field()))
    refused(path, tmp_path / "out", "m/a.bin: not signed")


def test_a_bundle_that_is_too_large(s3: Store, tmp_path: Path, signer: Signer) -> None:
    bucket = uploaded(s3, {"a.bin": b"aaa"}, bytes(20 << 20))
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=signer.field()))
    refused(path, tmp_path / "out", "larger than")


def test_the_folder_of_a_bundle(s3: Store, tmp_path: Path, signer: Signer) -> None:
    bucket = uploaded(s3, FILES, signer.bundle(FILES))
    items = [
        {"folder": "m/sub", "target_path": "sub"},
        {"file": "m/a.bin", "target_path": "a.bin"},
    ]
    path = configured(tmp_path, s3.task(bucket, items, signature=signer.field("/m/model.sig")))
    assert kaiwo.download(path).exit_code == 0
    assert tree(tmp_path / "out") == {"sub/b.txt": b"bbbb", "a.bin": b"aaa"}
    fetched = kaiwo.fetch(
        f"s3://{bucket}/m/a.bin", tmp_path / "fetched", signature=signer.field(), **given(s3)
    )
    assert fetched.read_bytes() == b"aaa"
    s3.fill(bucket, {"m/a.bin": b"AAA"})
    with pytest.raises(kaiwo.IntegrityError):
        kaiwo.fetch(
            f"s3://{bucket}/m/a.bin", tmp_path / "other", signature=signer.field(), **given(s3)
        )


def given(store: Store) -> dict[str, Any]:
    return {name: value for name, value in store.fields.items() if value is not None}


def test_a_repository_of_the_hub(hub: Store, tmp_path: Path, signer: Signer) -> None:
    bundle = signer.bundle(FILES)
    hub.fill("signed/repo", {**FILES, "model.sig": bundle})
    for files in ((), ("sub/b.txt",)):
        task = hub.task("signed/repo", (), files=list(files), signature=signer.field())
        report = kaiwo.download(configured(tmp_path, {**task, "target_path": "."}))
        assert report.exit_code == 0, report.failed
    in_cache = hub.task("signed/repo", (), signature=signer.field())
    cached = kaiwo.download(configured(tmp_path, {**in_cache, "cache_dir": str(tmp_path / "c")}))
    assert cached.exit_code == 0
    hub.fill("signed/repo", {"sub/b.txt": b"BBBB"})
    path = configured(tmp_path, {**task, "target_path": "other"})
    refused(path, tmp_path / "out" / "other", "signature has")


def test_a_lock_and_a_signature(s3: Store, tmp_path: Path, signer: Signer) -> None:
    bucket = uploaded(s3, FILES, signer.bundle(FILES))
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=signer.field()))
    assert kaiwo.download(path, write_lock=True).exit_code == 0
    assert kaiwo.download(path, locked=True).count("unchanged") == 4
    # A lock with checksums of the store, which are of another algorithm.
    config = load(path, {})
    order = replace(order_of(config), lock_file=lock_path(config))
    locking.lock(order, QuietSink())
    assert kaiwo.download(path, locked=True).count("unchanged") == 4
    assert kaiwo.download(path, locked=True, force=True).exit_code == 0
    # Signed bytes are at the target, but the lock has others.
    lines = Path(order.lock_file).read_text()
    (line,) = (each for each in lines.splitlines() if '"key": "m/a.bin"' in each)
    md5 = f"md5:{hashlib.md5(b'AAA').hexdigest()}"
    entry = json.loads(line)
    assert entry["checksum"].startswith("md5:")
    other = json.dumps({**entry, "checksum": md5})
    Path(order.lock_file).write_text(lines.replace(line, other))
    report = kaiwo.download(path, locked=True)
    assert [(item.source, item.status) for item in report.items if item.status != "unchanged"] == [
        (f"s3://{bucket}/m/a.bin", "failed")
    ]
    assert "the lock has" in str(report.failed[0].error)
    Path(order.lock_file).write_text(lines)
    # Another signed state, which the lock does not have.
    s3.fill(bucket, {"m/a.bin": b"AAA", "m/model.sig": signer.bundle({**FILES, "a.bin": b"AAA"})})
    report = kaiwo.download(path, locked=True, force=True)
    assert report.exit_code == 7
    assert tree(tmp_path / "out")["a.bin"] == b"aaa"


def test_what_is_wrong_in_a_task(
    s3: Store, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = signer.field()
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    checked = [{"file": "m/a", "target_path": "a", "checksum": f"md5:{'0' * 32}"}]
    for wrong, items, said in (
        ({"bundle": "model.sig"}, ITEMS, "one of key, certificate and identity"),
        ({**field, "bundel": "model.sig"}, ITEMS, "did you mean 'bundle'"),
        ({**field, "valid_at": "2026-01-01"}, ITEMS, "must be a time with its zone"),
        ({**field, "bundle": "../model.sig"}, ITEMS, "without '..'"),
        ({"bundle": "model.sig", "certificate": field["key"]}, ITEMS, "needs subject"),
        ({**field, "digest": "sha256:00"}, ITEMS, "64 hexadecimal digits"),
        ({**field, "key": str(empty)}, ITEMS, "holds no public key"),
        ({**field, "key": "nowhere.pub"}, ITEMS, "cannot read nowhere.pub"),
        (field, checked, "exclude each other"),
    ):
        path = configured(tmp_path, s3.task("bucket", items, signature=wrong))
        with pytest.raises(ConfigError, match=said):
            kaiwo.download(path)
    monkeypatch.setattr(trust, "IS_INSTALLED", False)
    with pytest.raises(ConfigError, match=r"pip install 'kaiwo\[sign\]'"):
        kaiwo.download(configured(tmp_path, s3.task("bucket", ITEMS, signature=field)))


def test_a_model_that_is_one_file(s3: Store, tmp_path: Path, signer: Signer) -> None:
    def single(payload: dict[str, Any]) -> None:
        resources(payload, {".": b"aaa"})
        payload["subject"][0]["name"] = "a.bin"

    bucket = uploaded(s3, {"a.bin": b"aaa"}, signer.again(signer.bundle(FILES), single))
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=signer.field()))
    assert kaiwo.download(path).exit_code == 0


def test_a_model_on_the_web(tmp_path: Path, signer: Signer) -> None:
    """The address of a file may have a query or be escaped; a server may state no length."""
    with web.site() as site:
        site.pages["/m/a.bin?v=1"] = web.Page(b"aaa", {"ETag": '"1"'})
        site.pages["/m/b.bin"] = web.Page(b"bbb", {"ETag": '"2"'})
        site.pages["/m/my%20file"] = web.Page(b"mine", {"ETag": '"3"'})
        bundle = signer.bundle({"a.bin": b"aaa", "my file": b"mine"})
        site.pages["/m/model.sig"] = web.Page(bundle, sized=False)
        items = [
            {"file": f"{site.at}/m/a.bin?v=1", "target_path": "a.bin"},
            {"file": f"{site.at}/m/my%20file", "target_path": "my file"},
        ]
        task: dict[str, Any] = {"type": "url", "items": items, "signature": signer.field()}
        report = kaiwo.download(configured(tmp_path, task))
        assert report.exit_code == 0, report.failed
        assert tree(tmp_path / "out") == {"a.bin": b"aaa", "my file": b"mine"}
        other = [{"file": f"{site.at}/m/b.bin", "target_path": "other/b.bin"}]
        path = configured(tmp_path, {**task, "items": other})
        refused(path, tmp_path / "out" / "other", "b.bin: not signed")


def test_a_locked_commit_has_the_signature_of_then(
    hub: Store, tmp_path: Path, signer: Signer
) -> None:
    older, newer = ({"a.bin": data} for data in (b"old", b"new"))
    hub.fill("signed/moved", {**older, "model.sig": signer.bundle(older)})
    task = hub.task("signed/moved", (), signature=signer.field(), target_path=".")
    path = configured(tmp_path, task)
    assert kaiwo.download(path, write_lock=True).exit_code == 0
    hub.fill("signed/moved", {**newer, "model.sig": signer.bundle(newer)})
    report = kaiwo.download(path, locked=True, force=True)
    assert (report.exit_code, report.count("downloaded")) == (0, 2), report.failed
    assert tree(tmp_path / "out")["a.bin"] == b"old"
    assert kaiwo.download(path).exit_code == 0
    assert tree(tmp_path / "out")["a.bin"] == b"new"
