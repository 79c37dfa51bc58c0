"""The bundle of a signature, a document of sigstore: a DSSE envelope, and certificates.

    {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
     "dsseEnvelope": {"payloadType": "application/vnd.in-toto+json", "payload": "<base64>",
                      "signatures": [{"sig": "<base64>"}]},
     "verificationMaterial": {"x509CertificateChain": {"certificates": [{"rawBytes": "<base64>"}]}}}

Whoever can write to a bucket writes this. Nothing of it is believed before ``trust`` has checked
the signature, and then only the payload.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from kaiwo.errors import SignatureError

#: The kinds of bundle that are read.
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
#: The kind of payload that is read.
PAYLOAD_TYPE = "application/vnd.in-toto+json"
#: A chain of certificates is not longer.
_MOST_CERTIFICATES = 16


class Envelope(Struct, frozen=True):
    """What a bundle holds.

    Attributes:
        payload: what was signed, not yet believed.
        signature: of it.
        certificates: DER, that of the signer first; empty: it was signed with a key.
        bundle: the bytes that all this was read from.
    """

    payload: bytes
    signature: bytes
    certificates: tuple[bytes, ...] = ()
    bundle: bytes = b""

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is of: DSSE's encoding of the payload and its type."""
        head = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(self.payload)} "
        return head.encode() + self.payload


class _Certificate(Struct, frozen=True, rename="camel"):
    raw_bytes: bytes = b""


class _Chain(Struct, frozen=True):
    certificates: tuple[_Certificate, ...] = ()


class _Material(Struct, frozen=True, rename="camel"):
    x509_certificate_chain: _Chain | None = None
    certificate: _Certificate | None = None


class _Signature(Struct, frozen=True):
    sig: bytes = b""


class _Dsse(Struct, frozen=True, rename="camel"):
    payload: bytes
    payload_type: str
    signatures: tuple[_Signature, ...] = ()


class _Bundle(Struct, frozen=True, rename="camel"):
    media_type: str = ""
    dsse_envelope: _Dsse | None = None
    verification_material: _Material = field(default_factory=_Material)


def opened(data: bytes, url: str) -> Envelope:
    """What a bundle holds, none of it believed yet.

    Args:
        data: of the bundle.
        url: of the bundle, for errors.

    Raises:
        SignatureError: it is none that kaiwo reads.
    """
    try:
        bundle = msgspec.json.decode(data, type=_Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SignatureError(f"{url} is no signature of a model: not a sigstore bundle") from None
    envelope, material = bundle.dsse_envelope, bundle.verification_material
    if bundle.media_type != _MEDIA_TYPE or envelope is None:
        raise SignatureError(
            f"{url} is no signature of a model: not a DSSE envelope in a bundle of type "
            f"{_MEDIA_TYPE}"
        )
    if envelope.payload_type != PAYLOAD_TYPE or len(envelope.signatures) != 1:
        raise SignatureError(
            f"{url} is no signature of a model: its payload must be of type {PAYLOAD_TYPE}, with "
            "one signature"
        )
    chain = material.x509_certificate_chain
    found = chain.certificates if chain is not None else ()
    if material.certificate is not None:
        found = (material.certificate, *found)
    if len(found) > _MOST_CERTIFICATES:
        raise SignatureError(f"{url}: a chain of {len(found)} certificates is too long")
    return Envelope(
        envelope.payload,
        envelope.signatures[0].sig,
        tuple(each.raw_bytes for each in found),
        data,
    )
