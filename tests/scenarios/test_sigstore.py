"""Models that an identity of Sigstore has signed: judged by a trust root on the disk, offline."""

from __future__ import annotations

import base64
import json
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sigstore as library

import kaiwo
from kaiwo import signatures
from kaiwo.errors import ConfigError, SignatureError
from kaiwo.objects import Signature
from kaiwo.signatures import identity
from kaiwo.signatures.envelope import PAYLOAD_TYPE, opened
from kaiwo.signatures.periods import Periods
from tests.scenarios.test_signatures import FILES, ITEMS, refused, uploaded
from tests.support.command import configured, tree
from tests.support.signing import Signer, payload_of
from tests.support.sigstore_standin import IDENTITY, PROVIDER, Log, Sigstore
from tests.support.stores import Store

SMALL = {"a.bin": b"aaa"}
Bundle = dict[str, Any]


@pytest.fixture(autouse=True)
def _elsewhere(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sigstore(tmp_path: Path) -> Sigstore:
    return Sigstore(tmp_path / "sigstore")


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What model_signing has signed for ``SMALL``."""
    return payload_of(Signer.new(tmp_path_factory.mktemp("signer")).bundle(SMALL))


def test_what_an_identity_signed_arrives(
    s3: Store,
    tmp_path: Path,
    sigstore: Sigstore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked, connect = set(), socket.socket.connect

    def connecting(self: socket.socket, address: Any) -> None:
        asked.add(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    signed = payload_of(Signer.new(tmp_path / "signer").bundle(FILES))
    bundle = json.dumps(sigstore.bundle(signed)).encode()
    bucket = uploaded(s3, FILES, bundle)
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=sigstore.field()))
    with caplog.at_level(logging.INFO):
        report = kaiwo.download(path)
    assert report.exit_code == 0, report.failed
    assert tree(tmp_path / "out") == {**FILES, "model.sig": bundle}
    assert f"signed by {IDENTITY}" in caplog.text
    # Nothing was asked but the store, though certificate and log name services.
    assert {f"http://{host}:{port}" for host, port in asked} == {s3.settings["endpoint_url"]}
    s3.fill(bucket, {"m/a.bin": b"AAA"})
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=sigstore.field()))
    report = kaiwo.download(path, force=True)
    assert (report.exit_code, tree(tmp_path / "out")["a.bin"]) == (7, b"aaa")


def _entry(bundle: Bundle) -> dict[str, Any]:
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    found: dict[str, Any] = entry
    return found


def _flipped(text: str) -> str:
    """One bit of base64-encoded bytes is another one."""
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return base64.b64encode(data).decode()


def _other_body(bundle: Bundle) -> None:
    entry = _entry(bundle)
    entry["canonicalizedBody"] = _flipped(entry["canonicalizedBody"])


def _other_proof(bundle: Bundle) -> None:
    hashes = _entry(bundle)["inclusionProof"]["hashes"]
    hashes[0] = _flipped(hashes[0])


def _other_note(bundle: Bundle) -> None:
    checkpoint = _entry(bundle)["inclusionProof"]["checkpoint"]
    checkpoint["envelope"] = checkpoint["envelope"].replace("\n2\n", "\n3\n")


def _other_time(bundle: Bundle) -> None:
    entry = _entry(bundle)
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)


def _no_promise(bundle: Bundle) -> None:
    del _entry(bundle)["inclusionPromise"]


def _no_entry(bundle: Bundle) -> None:
    bundle["verificationMaterial"]["tlogEntries"] = []


def _other_payload(bundle: Bundle) -> None:
    envelope = bundle["dsseEnvelope"]
    text = base64.b64decode(envelope["payload"]).replace(b"a.bin", b"b.bin")
    envelope["payload"] = base64.b64encode(text).decode()


def _both_readings(bundle: Bundle) -> None:
    """Two spellings of a field, of which each reader may take another one."""
    envelope = bundle["dsseEnvelope"]
    envelope["payload_type"] = envelope["payloadType"]


def _other_spelling(bundle: Bundle) -> None:
    """The library reads it, and a reader who does not would miss the promise and its time."""
    entry = _entry(bundle)
    entry["inclusion_promise"] = entry.pop("inclusionPromise")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_body, "invalid log entry"),
        (_other_proof, "invalid log entry"),
        (_other_note, "invalid log entry"),
        (_other_time, "invalid log entry"),
        (_no_promise, "inclusion promise or signed timestamp"),
        (_no_entry, "exactly one log entry"),
        (_other_payload, "invalid signature"),
        (_both_readings, "failed to load bundle"),
        (_other_spelling, "otherwise than Sigstore writes it"),
    ],
)
def test_a_bundle_that_was_changed_is_refused(
    s3: Store,
    tmp_path: Path,
    sigstore: Sigstore,
    payload: bytes,
    change: Callable[[Bundle], None],
    said: str,
) -> None:
    bundle = sigstore.bundle(payload)
    change(bundle)
    bucket = uploaded(s3, SMALL, json.dumps(bundle).encode())
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=sigstore.field()))
    refused(path, tmp_path / "out", said)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"identity": "other@example.org"}, "do not match release@example.org"),
        ({"provider": "https://other.example.org"}, "expected 'https://accounts.example.org'"),
        ({"logged_after_s": 601}, "not valid at validation time"),
        ({"logged_after_s": -1}, "not valid at validation time"),
        ({"authority": None}, "certificate chain"),
        ({"certificates": Log()}, "verify SCT"),
        ({"signatures": Log()}, "invalid log entry"),
    ],
)
def test_what_others_vouch_for_is_refused(
    s3: Store, tmp_path: Path, sigstore: Sigstore, payload: bytes, parts: Any, said: str
) -> None:
    """Trusted is one Sigstore, and signed by another one that differs in a part."""
    parts = {
        name: Sigstore(tmp_path).authority if value is None else value
        for name, value in parts.items()
    }
    bundle = replace(sigstore, **parts).bundle(payload)
    bucket = uploaded(s3, SMALL, json.dumps(bundle).encode())
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=sigstore.field()))
    refused(path, tmp_path / "out", "nothing proves that", said)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("certificateAuthorities", "the authority of its certificate was not in use"),
        ("ctlogs", "the log of certificates was not in use"),
        ("tlogs", "the log of signatures was not in use"),
    ],
)
def test_what_was_no_longer_in_use_vouches_for_nothing(
    s3: Store, tmp_path: Path, sigstore: Sigstore, payload: bytes, part: str, said: str
) -> None:
    """A key that was replaced stays in the trust root, with an end."""
    bucket = uploaded(s3, SMALL, json.dumps(sigstore.bundle(payload)).encode())
    path = tmp_path / "ended.json"
    for year, code in (("2022", 7), ("2100", 0)):
        root = sigstore.root()
        (held,) = root[part]
        held.get("publicKey", held)["validFor"]["end"] = f"{year}-01-01T00:00:00Z"
        path.write_text(json.dumps(root))
        task = s3.task(bucket, ITEMS, signature=sigstore.field(trust_root=str(path)))
        report = kaiwo.download(configured(tmp_path, task))
        assert report.exit_code == code, report.failed
        assert code == 0 or said in str(report.failed[0].error)


def test_the_entry_of_another_signature_is_refused(
    s3: Store, tmp_path: Path, sigstore: Sigstore, payload: bytes
) -> None:
    """Both are in the log, and of one identity."""
    bundle, other = sigstore.bundle(payload), sigstore.bundle(payload)
    material = bundle["verificationMaterial"]
    material["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    bucket = uploaded(s3, SMALL, json.dumps(bundle).encode())
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=sigstore.field()))
    refused(path, tmp_path / "out", "log entry signatures do not match")


def test_a_signature_of_another_kind_is_refused(
    s3: Store, tmp_path: Path, sigstore: Sigstore, payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "kaiwo.signatures.identity")
    monkeypatch.delattr(signatures, "identity")
    by_key = Signer.new(tmp_path / "by-key")
    bucket = uploaded(s3, SMALL, json.dumps(sigstore.bundle(payload)).encode())
    out = tmp_path / "out"
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=by_key.field()))
    refused(path, out, "was not signed by")
    certified = Signer.with_certificate(tmp_path / "certified")
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=certified.field()))
    refused(path, out, "has expired")
    # Who has no identity to check does not load what checks them.
    assert "kaiwo.signatures.identity" not in sys.modules
    s3.fill(bucket, {"m/model.sig": by_key.bundle(SMALL)})
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=sigstore.field()))
    refused(path, out, "was signed with a key")
    s3.fill(bucket, {"m/model.sig": certified.bundle(SMALL)})
    refused(path, out, "nothing proves that")


def test_what_is_wrong_in_a_task(
    s3: Store, tmp_path: Path, sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = sigstore.field()
    damaged = tmp_path / "damaged.json"
    damaged.write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    lonely = tmp_path / "lonely.json"
    lonely.write_text(json.dumps({**sigstore.root(), "tlogs": []}))
    for change, said in (
        ({"identity_provider": None}, "needs identity, identity_provider and trust_root"),
        ({"trust_root": None}, "needs identity, identity_provider and trust_root"),
        ({"identity": None}, "needs identity, identity_provider and trust_root"),
        ({"identity": ""}, "is empty"),
        ({"identity_provider": ""}, "is empty"),
        ({"key": "some.pub"}, "one of key, certificate and identity"),
        ({"valid_at": "2026-01-01T00:00:00Z"}, "are for a certificate"),
        ({"trust_root": "nowhere.json"}, "cannot read nowhere.json"),
        ({"trust_root": str(damaged)}, "is no trust root of Sigstore"),
        ({"trust_root": str(lonely)}, "no transparency log"),
    ):
        wrong = {name: value for name, value in {**field, **change}.items() if value is not None}
        path = configured(tmp_path, s3.task("bucket", ITEMS, signature=wrong))
        with pytest.raises(ConfigError, match=said):
            kaiwo.download(path)
    monkeypatch.setattr(identity, "IS_INSTALLED", False)
    with pytest.raises(ConfigError, match=r"pip install 'kaiwo\[sign\]'"):
        kaiwo.download(configured(tmp_path, s3.task("bucket", ITEMS, signature=field)))


def test_both_readers_must_have_read_the_same(sigstore: Sigstore, payload: bytes) -> None:
    class Other:
        def verify_dsse(self, *_: Any) -> tuple[str, bytes]:
            return PAYLOAD_TYPE, b"{}"

    envelope = opened(json.dumps(sigstore.bundle(payload)).encode(), "s3://b/model.sig")
    judge = identity.Judge(Other(), Periods())
    with pytest.raises(SignatureError, match="two payloads"):
        identity.require_identity(envelope, judge, Signature("model.sig"), "s3://b/model.sig")


def test_the_trust_root_of_the_public_sigstore_is_read(
    s3: Store, tmp_path: Path, sigstore: Sigstore, payload: bytes
) -> None:
    """As the library brings it; of course it does not know the stand-in."""
    (root,) = Path(library.__file__).parent.glob("_store/*sigstore.dev/trusted_root.json")
    bundle = json.dumps(sigstore.bundle(payload)).encode()
    bucket = uploaded(s3, SMALL, bundle)
    field = sigstore.field(trust_root=str(root))
    path = configured(tmp_path, s3.task(bucket, ITEMS, signature=field))
    refused(path, tmp_path / "out", "certificate chain", PROVIDER)
