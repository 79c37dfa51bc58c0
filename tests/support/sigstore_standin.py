"""A whole Sigstore: an authority, its log of certificates, and the log of signatures.

Certificates, logs and trust root are made here, by their specifications; nothing of the library
that checks them is used. Signatures, proofs and promises are real.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import Certified
from tests.support.signing import name

IDENTITY = "release@example.org"
PROVIDER = "https://accounts.example.org"
_KIND = "application/vnd.in-toto+json"
_PROVIDER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SEEN = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_SINCE = {"start": "2020-01-01T00:00:00Z"}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _plain(value: Any) -> bytes:
    """As RFC 8785 has it, for values like these."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _signed(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True)
class Log:
    """A log with a key; its id is the digest of the key."""

    key: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=_new_key)

    @property
    def der(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.der).digest()

    def in_root(self) -> dict[str, Any]:
        """As a trust root names it."""
        return {
            "baseUrl": "https://log.invalid",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _text(self.der),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": dict(_SINCE),
            },
            "logId": {"keyId": _text(self.id)},
        }


def _authority() -> Certified:
    key, now = _new_key(), dt.datetime.now(dt.UTC)
    public = key.public_key()
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), False
    )
    usage |= dict.fromkeys(("key_agreement", "encipher_only", "decipher_only"), False)
    made = (
        x509.CertificateBuilder()
        .subject_name(name("authority"))
        .issuer_name(name("authority"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=900))
        .not_valid_after(now + dt.timedelta(days=900))
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return Certified(made.sign(key, hashes.SHA256()), key)


@dataclass(frozen=True)
class Sigstore:
    """Authority and logs; ``dataclasses.replace`` gives one that differs in a part."""

    folder: Path
    authority: Certified = dataclasses.field(default_factory=_authority)
    certificates: Log = dataclasses.field(default_factory=Log)
    signatures: Log = dataclasses.field(default_factory=Log)
    identity: str = IDENTITY
    provider: str = PROVIDER
    #: Seconds from the beginning of the certificate's ten minutes to the entry in the log.
    logged_after_s: int = 60

    def field(self, bundle: str = "model.sig", **fields: Any) -> dict[str, Any]:
        """``signature`` of a task that trusts this Sigstore."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "trusted_root.json"
        path.write_text(json.dumps(self.root()))
        who = {"identity": IDENTITY, "identity_provider": PROVIDER, "trust_root": str(path)}
        return {"bundle": bundle, **who, **fields}

    def root(self) -> dict[str, Any]:
        """The trust root."""
        der = self.authority.certificate.public_bytes(Encoding.DER)
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.signatures.in_root()],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "Example", "commonName": "authority"},
                    "uri": "https://authority.invalid",
                    "certChain": {"certificates": [{"rawBytes": _text(der)}]},
                    "validFor": dict(_SINCE),
                }
            ],
            "ctlogs": [self.certificates.in_root()],
            "timestampAuthorities": [],
        }

    def bundle(self, payload: bytes) -> dict[str, Any]:
        """What somebody with the identity makes of a payload, a year ago."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        key, began = _new_key(), now - dt.timedelta(days=365)
        certificate = self._certificate(key, began)
        signature = _signed(key, f"DSSEv1 {len(_KIND)} {_KIND} {len(payload)} ".encode() + payload)
        logged_s = int(began.timestamp()) + self.logged_after_s
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": _text(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": [self._entry(payload, signature, certificate, logged_s)],
            },
            "dsseEnvelope": {
                "payload": _text(payload),
                "payloadType": _KIND,
                "signatures": [{"sig": _text(signature)}],
            },
        }

    def _certificate(self, key: ec.EllipticCurvePrivateKey, began: dt.datetime) -> x509.Certificate:
        """For ten minutes, with the word of the log that has seen it."""
        by = self.authority
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        usage |= dict.fromkeys(
            ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False
        )
        names = x509.SubjectAlternativeName([x509.RFC822Name(self.identity)])
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(by.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(began)
            .not_valid_after(began + dt.timedelta(minutes=10))
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
            .add_extension(identifier, critical=False)
            .add_extension(names, critical=True)
            .add_extension(
                x509.UnrecognizedExtension(_PROVIDER, self.provider.encode()), critical=False
            )
        )
        before = made.sign(by.key, hashes.SHA256()).tbs_certificate_bytes
        seen = x509.UnrecognizedExtension(_SEEN, self._seen(before, began))
        return made.add_extension(seen, critical=False).sign(by.key, hashes.SHA256())

    def _seen(self, before: bytes, at: dt.datetime) -> bytes:
        """The log's word for a certificate (RFC 6962, 3.2 and 3.3), as an OCTET STRING."""
        issuer = self.authority.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        time = struct.pack("!Q", int(at.timestamp()) * 1000)
        said = b"\0\0" + time + b"\0\1" + hashlib.sha256(issuer).digest()
        said += struct.pack("!I", len(before))[1:] + before + b"\0\0"
        signature = _signed(self.certificates.key, said)
        word = b"\0" + self.certificates.id + time + b"\0\0\4\3"
        word += struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!HH", len(word) + 2, len(word)) + word
        return bytes((4, len(listed))) + listed

    def _entry(
        self, payload: bytes, signature: bytes, certificate: x509.Certificate, logged_s: int
    ) -> dict[str, Any]:
        """The second of two entries of the log, with its proof and its promise."""

        def digest(data: bytes) -> dict[str, str]:
            return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}

        verifier = _text(certificate.public_bytes(Encoding.PEM))
        content = {
            "envelopeHash": digest(b"an envelope"),
            "payloadHash": digest(payload),
            "signatures": [{"signature": _text(signature), "verifier": verifier}],
        }
        body = _plain({"apiVersion": "0.0.1", "kind": "dsse", "spec": content})
        log = self.signatures
        first = hashlib.sha256(b"\0another entry").digest()
        own = hashlib.sha256(b"\0" + body).digest()
        root = _text(hashlib.sha256(b"\1" + first + own).digest())
        note = f"log.invalid - 1\n2\n{root}\n"
        mark = _text(log.id[:4] + _signed(log.key, note.encode()))
        promised = {
            "body": _text(body),
            "integratedTime": logged_s,
            "logID": log.id.hex(),
            "logIndex": 1,
        }
        return {
            "logIndex": "1",
            "logId": {"keyId": _text(log.id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(logged_s),
            "inclusionPromise": {"signedEntryTimestamp": _text(_signed(log.key, _plain(promised)))},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": root,
                "treeSize": "2",
                "hashes": [_text(first)],
                "checkpoint": {"envelope": f"{note}\n\N{EM DASH} log.invalid {mark}\n"},
            },
            "canonicalizedBody": _text(body),
        }
