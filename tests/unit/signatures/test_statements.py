"""What is believed of a bundle: of its envelope nothing, of its payload what kaiwo can follow."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from kaiwo.errors import SignatureError
from kaiwo.signatures.envelope import opened
from kaiwo.signatures.statement import parsed

DIGEST = "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"  # of b"aaa"
ROOT = "2da088f23b65eac349084e13bec32e82804801b5c4c3b6baedb8811ea517334d"
BOTH = "fe0ca5c740196c8b64c693f8e63f9e1d36a1c93dff8d9011289e05a04a521465"
PAYLOAD: dict[str, Any] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "m", "digest": {"sha256": ROOT}}],
    "predicateType": "https://model_signing/signature/v1.0",
    "predicate": {
        "serialization": {"method": "files", "hash_type": "sha256", "ignore_paths": ["a.bin"]},
        "resources": [{"name": "a.bin", "algorithm": "sha256", "digest": DIGEST}],
    },
}
URL = "s3://b/m/model.sig"


def test_names_and_digests() -> None:
    found = parsed(json.dumps(PAYLOAD).encode(), URL)
    assert {name: digest.value for name, digest in found.files.items()} == {"a.bin": DIGEST}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.update(_type="x"), "no statement"),
        (lambda p: p.update(predicateType="https://model_signing/Digests/v0.1"), "before 1.0"),
        (lambda p: p["predicate"]["serialization"].update(method="shards"), "'shards'"),
        (lambda p: p["predicate"]["serialization"].update(method="x" * 10_000), "'xx"),
        (lambda p: p["predicate"]["serialization"].update(hash_type="blake2b"), "'blake2b'"),
        (lambda p: p["predicate"]["serialization"].update(hash_type="y" * 10_000), "'yy"),
        (lambda p: p["predicate"]["resources"][0].update(algorithm="blake3"), "'blake3'"),
        (lambda p: p["predicate"]["resources"][0].update(digest="00" * 32), "contradicts itself"),
        (lambda p: p["predicate"]["resources"][0].update(digest="00"), "no sha256"),
        (lambda p: p["subject"].append(p["subject"][0]), "contradicts itself"),
        (lambda p: p["subject"].clear(), "contradicts itself"),
        (lambda p: p.pop("predicate"), "damaged"),
        (lambda p: p.update(subject=3), "damaged"),
    ],
)
def test_a_payload_that_cannot_be_followed(change: Any, said: str) -> None:
    payload = copy.deepcopy(PAYLOAD)
    change(payload)
    with pytest.raises(SignatureError, match=said) as caught:
        parsed(json.dumps(payload).encode(), URL)
    assert len(str(caught.value)) < 1_000


def test_a_name_with_two_digests() -> None:
    payload = copy.deepcopy(PAYLOAD)
    (resource,) = payload["predicate"]["resources"]
    payload["predicate"]["resources"].append({**resource, "digest": ROOT})
    # The subject's digest of both.
    payload["subject"][0]["digest"]["sha256"] = BOTH
    with pytest.raises(SignatureError, match="two digests"):
        parsed(json.dumps(payload).encode(), URL)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b"\xff",
        b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}',
        b'{"dsseEnvelope": {"payload": "", "payloadType": "x"}}',
    ],
)
def test_what_is_no_bundle(data: bytes) -> None:
    with pytest.raises(SignatureError, match="no signature of a model"):
        opened(data, URL)


@pytest.mark.parametrize(
    ("type_", "signatures", "certificates", "said"),
    [
        ("application/json", 1, 0, "must be of type"),
        ("application/vnd.in-toto+json", 0, 0, "one signature"),
        ("application/vnd.in-toto+json", 2, 0, "one signature"),
        ("application/vnd.in-toto+json", 1, 17, "too long"),
    ],
)
def test_an_envelope_that_does_not_count(
    type_: str, signatures: int, certificates: int, said: str
) -> None:
    chain = {"certificates": [{"rawBytes": "AA=="}] * certificates}
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "dsseEnvelope": {
            "payload": "e30=",
            "payloadType": type_,
            "signatures": [{"sig": "AA=="}] * signatures,
        },
        "verificationMaterial": {"x509CertificateChain": chain},
    }
    with pytest.raises(SignatureError, match=said):
        opened(json.dumps(bundle).encode(), URL)
