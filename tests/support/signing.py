"""Signs models as their publishers do: with model_signing, a key or certificates."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from model_signing import hashing, signing

from tests.support.certificates import Certified

_KIND = "application/vnd.in-toto+json"
SUBJECT = "CN=release,O=Example"
_MAIL = "release@example.org"


def name(common: str) -> x509.Name:
    given = ((NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(*each) for each in given])


def certified(
    subject: str,
    issuer: Certified | None = None,
    *,
    ca: bool = False,
    days: tuple[float, float] = (-10, 10),
    usage: Any = ExtendedKeyUsageOID.CODE_SIGNING,
) -> Certified:
    """A certificate: of an authority, or of a signer; without an issuer, it is a root."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    by = key if issuer is None else issuer.key
    flags = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    flags |= {"crl_sign": False, "encipher_only": False, "decipher_only": False}
    made = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(subject) if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.KeyUsage(not ca, key_cert_sign=ca, **flags), critical=True)
    )
    if not ca:
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        names = x509.SubjectAlternativeName([x509.RFC822Name(_MAIL)])
        made = made.add_extension(names, critical=False)
    return Certified(made.sign(by, hashes.SHA256()), key)


@dataclass(frozen=True)
class Signer:
    """Who signs, and what a task says of that.

    Attributes:
        folder: for files.
        key: the private key.
        chain: certificates, the signer's first; none: the key is trusted itself.
    """

    folder: Path
    key: ec.EllipticCurvePrivateKey
    chain: Sequence[Certified] = ()

    @classmethod
    def new(cls, folder: Path) -> Signer:
        """With a key alone."""
        return cls(folder, ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def with_certificate(cls, folder: Path, **of_signer: Any) -> Signer:
        """With a root, an authority below it, and a certificate."""
        root = certified("root", ca=True)
        authority = certified("authority", root, ca=True)
        own = certified("release", authority, **of_signer)
        return cls(folder, own.key, (own, authority, root))

    def field(self, bundle: str = "model.sig", **fields: Any) -> dict[str, Any]:
        """``signature`` of a task that trusts this signer."""
        if self.chain:
            path = self._file("root.pem", self.chain[-1].pem)
            return {"bundle": bundle, "certificate": path, "subject": SUBJECT} | fields
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {"bundle": bundle, "key": self._file("key.pub", pem)} | fields

    def bundle(
        self,
        files: Mapping[str, bytes],
        hashed: Callable[[hashing.Config], Any] = lambda config: config,
    ) -> bytes:
        """The bundle of a model with these files, by model_signing.

        Args:
            files: of the model.
            hashed: sets how the files are hashed.
        """
        model = self.folder / f"model-{hashlib.sha256(repr(files).encode()).hexdigest()[:8]}"
        for key, data in files.items():
            (model / key).parent.mkdir(parents=True, exist_ok=True)
            (model / key).write_bytes(data)
        config = signing.Config()
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key = self._file("key", pem)
        if self.chain:
            own, *others = self.chain[:-1]
            config.use_certificate_signer(
                private_key=key,
                signing_certificate=self._file("own.pem", own.pem),
                certificate_chain=[self._file("others.pem", b"".join(e.pem for e in others))],
            )
        else:
            config.use_elliptic_key_signer(private_key=key)
        config.set_hashing_config(hashed(hashing.Config()))
        config.sign(model, self.folder / "made.sig")
        return (self.folder / "made.sig").read_bytes()

    def again(self, bundle: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
        """The bundle with another payload, signed again with the key."""
        whole = json.loads(bundle)
        envelope = whole["dsseEnvelope"]
        payload = json.loads(base64.b64decode(envelope["payload"]))
        change(payload)
        text = json.dumps(payload).encode()
        head = f"DSSEv1 {len(_KIND)} {_KIND} {len(text)} ".encode()
        signature = self.key.sign(head + text, ec.ECDSA(hashes.SHA256()))
        envelope["payload"] = base64.b64encode(text).decode()
        envelope["signatures"] = [{"sig": base64.b64encode(signature).decode()}]
        return json.dumps(whole).encode()

    def _file(self, name: str, data: bytes) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.write_bytes(data)
        return str(path)


def payload_of(bundle: bytes) -> bytes:
    """What was signed."""
    return base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])


def resources(payload: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """Let a payload have these files, and the digest of all of them."""
    digests = {key: hashlib.sha256(data) for key, data in files.items()}
    payload["predicate"]["resources"] = [
        {"name": key, "algorithm": "sha256", "digest": digest.hexdigest()}
        for key, digest in digests.items()
    ]
    root = hashlib.sha256(b"".join(each.digest() for each in digests.values()))
    payload["subject"][0]["digest"]["sha256"] = root.hexdigest()
