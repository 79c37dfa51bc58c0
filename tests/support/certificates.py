"""Certificates and keys for the servers of tests; all are for localhost and 127.0.0.1.

Nobody trusts them who is not given the authority's certificate (``ca_bundle``).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = dt.timedelta(days=1)
_IS_AUTHORITY = x509.BasicConstraints(ca=True, path_length=0)
_IS_NONE = x509.BasicConstraints(ca=False, path_length=None)
_SERVES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Certified:
    """A certificate and the key that belongs to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def locked_key_pem(self) -> bytes:
        """The key, encrypted."""
        locked = BestAvailableEncryption(b"password")
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)

    def tls(self, folder: Path) -> ssl.SSLContext:
        """TLS of a server with this certificate; writes it and its key into the folder."""
        both = folder / "server-and-key.pem"
        both.write_bytes(self.key_pem + self.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context


def authority() -> Certified:
    """An authority that can sign certificates of servers."""
    return _issue("kaiwo test authority", (_IS_AUTHORITY, _SIGNS))


def server(
    signed_by: Certified, *, host: str | None = None, days: tuple[int, int] = (-1, 1)
) -> Certified:
    """A server that this authority vouches for.

    Args:
        signed_by: the authority.
        host: that it is for, instead of this one.
        days: from when until when it is valid, counted from now.
    """
    named = _local() if host is None else x509.SubjectAlternativeName([x509.DNSName(host)])
    return _issue("kaiwo test server", (_IS_NONE, named, _SERVES), signed_by, days)


def client(signed_by: Certified) -> Certified:
    """A client that this authority vouches for."""
    shows = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return _issue("kaiwo test client", (_IS_NONE, shows), signed_by)


def peer(signed_by: Certified) -> Certified:
    """Both a server and a client that this authority vouches for."""
    return _issue("kaiwo test peer", (_IS_NONE, _local()), signed_by)


def self_signed(*, is_authority: bool = False) -> Certified:
    """A server that only its own key has signed; it may call itself an authority."""
    constraints = (_IS_AUTHORITY,) if is_authority else ()
    return _issue("localhost", (_local(), *constraints))


@cache
def rsa_key() -> str:
    """A private key in PEM, as service accounts have it, which no server knows."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def rsa_certified() -> tuple[str, bytes]:
    """A certificate and its RSA key in PEM, and the public key in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a service principal")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return (pem + made.public_bytes(Encoding.PEM)).decode(), public


def _local() -> x509.SubjectAlternativeName:
    address = ipaddress.ip_address("127.0.0.1")
    return x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(address)])


def _issue(
    name: str,
    extensions: Sequence[x509.ExtensionType],
    signed_by: Certified | None = None,
    days: tuple[int, int] = (-1, 1),
) -> Certified:
    """A certificate for a new key, valid between these days from now on."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by.certificate.subject if signed_by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if signed_by:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
    for extension in extensions:
        critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
        builder = builder.add_extension(extension, critical=critical)
    signing = signed_by.key if signed_by else key
    return Certified(builder.sign(signing, hashes.SHA256()), key)
