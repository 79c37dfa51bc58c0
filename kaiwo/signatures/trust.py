"""Who may have signed: a public key, certificates and a subject, or an identity of Sigstore.

The keys are those of the signers that exist: elliptic curves, with the hash that belongs to each.
A certificate is judged now, or at a time that the user gives: nothing in a bundle that is signed
with a certificate proves when it was signed. Identities are judged by ``identity``.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from kaiwo.errors import ConfigError, SignatureError
from kaiwo.objects import Signature
from kaiwo.signatures.envelope import Envelope

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import verification
    from cryptography.x509.oid import ExtendedKeyUsageOID

    # Releases before 45 cannot be told which extensions a certificate may have.
    IS_INSTALLED = hasattr(verification, "ExtensionPolicy")
except ImportError:
    IS_INSTALLED = False

#: Curves by their names, and the hash that is signed.
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_CURVES = "P-256, P-384 and P-521"


class Trust(Struct, frozen=True):
    """Who may have signed.

    Attributes:
        signature: what the task says.
        key: of a signer who has no certificate.
        roots: certificates that are trusted.
        others: certificates on the way from them to that of a signer.
        judge: of identities of Sigstore, if one has to sign.
    """

    signature: Signature
    key: Any = None
    roots: tuple[Any, ...] = ()
    others: tuple[Any, ...] = ()
    judge: Any = None


def trust_of(signature: Signature) -> Trust:
    """What a signature trusts, read from its files.

    Raises:
        ConfigError: they cannot be used, or what checks signatures is not installed.
    """
    if not IS_INSTALLED:
        raise ConfigError(
            "signature: what checks signatures is not installed: pip install 'kaiwo[sign]'"
        )
    if signature.key is not None:
        key = _loaded(signature.key, "key", serialization.load_pem_public_key)
        if _hash_of(key) is None:
            raise ConfigError(
                f"signature.key: {signature.key} must be a public key of one of the curves "
                f"{_CURVES}: models are signed with these"
            )
        return Trust(signature, key)
    if signature.identity:
        from kaiwo.signatures import identity  # noqa: PLC0415 - few signatures have one

        return Trust(signature, judge=identity.judge_of(signature))
    read = x509.load_pem_x509_certificates
    files = [_loaded(each, "certificate", read) for each in signature.certificates]
    found = [certificate for each in files for certificate in each]
    roots = tuple(each for each in found if each.issuer == each.subject)
    if not roots:
        raise ConfigError(
            "signature.certificate: there is no root among the certificates: one of them must be "
            "issued by itself"
        )
    return Trust(signature, None, roots, tuple(each for each in found if each not in roots))


def _loaded(path: str, name: str, read: Callable[[bytes], Any]) -> Any:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return read(file.read())
    except OSError as error:
        raise ConfigError(f"signature.{name}: cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        what = "public key" if name == "key" else "certificate"
        raise ConfigError(f"signature.{name}: {path} holds no {what} in PEM form") from None


def _hash_of(key: Any) -> Any:
    """The hash that goes with a key; None if no model is signed with such a key."""
    is_known = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _HASHES
    return getattr(hashes, _HASHES[key.curve.name])() if is_known else None


def require_signed(envelope: Envelope, trust: Trust, url: str) -> str:
    """Check who signed an envelope; returns that, for people.

    Args:
        envelope: of a bundle.
        trust: who may have signed.
        url: of the bundle, for errors.

    Raises:
        SignatureError: nobody who is trusted has signed this payload.
    """
    if trust.judge is not None:
        from kaiwo.signatures import identity  # noqa: PLC0415 - loaded with the judge

        identity.require_identity(envelope, trust.judge, trust.signature, url)
        return trust.signature.identity
    key, signer = trust.key, "the key"
    if key is None:
        key = _key_of_certificate(envelope, trust, url)
        signer = trust.signature.subject
    try:
        key.verify(envelope.signature, envelope.signed, ec.ECDSA(_hash_of(key)))
    except InvalidSignature:
        by = trust.signature.key or signer
        raise SignatureError(
            f"{url}: it was not signed by {by}, or was changed afterwards; ask its publisher "
            "for the key, or to sign again with model_signing 1.0 or newer"
        ) from None
    return signer


def _key_of_certificate(envelope: Envelope, trust: Trust, url: str) -> Any:
    """The key of the signer's certificate, which is trusted."""
    if not envelope.certificates:
        raise SignatureError(f"{url}: it was signed with a key, not with a certificate")
    try:
        own, *others = map(x509.load_der_x509_certificate, envelope.certificates)
        key, usage = own.public_key(), _fault_of_usage(own)
        names = set(_names(own))
    except Exception:  # anybody's bytes; each fault of them has another class
        raise SignatureError(f"{url}: its certificates are damaged") from None
    at_s = trust.signature.valid_at_s
    utc = dt.UTC
    time = dt.datetime.now(utc) if at_s is None else dt.datetime.fromtimestamp(at_s, utc)
    _require_valid(own, time, url)
    try:
        _verifier(trust.roots, time).verify(own, [*others, *trust.others])
    except Exception as error:  # as above
        why = str(error).partition("(encountered")[0].rpartition(": ")[2].strip()
        raise SignatureError(
            f"{url}: its certificate does not come from those that are trusted: {why}"
        ) from None
    if usage or _hash_of(key) is None:
        fault = usage or f"its key is none of the curves {_CURVES}"
        raise SignatureError(f"{url}: its certificate is not for signing: {fault}")
    if trust.signature.subject not in names:
        has = ", ".join(repr(each) for each in sorted(names)[:5]) or "no name"
        raise SignatureError(
            f"{url}: it was signed by {has}, but the subject must be {trust.signature.subject!r}"
        )
    return key


def _require_valid(certificate: Any, time: dt.datetime, url: str) -> None:
    """The common case, in words that say what to do."""
    if certificate.not_valid_after_utc < time:
        raise SignatureError(
            f"{url}: its certificate has expired on {certificate.not_valid_after_utc:%Y-%m-%d}: "
            "the model must be signed again; `valid_at` judges it at an earlier time"
        )
    if certificate.not_valid_before_utc > time:
        raise SignatureError(
            f"{url}: its certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on"
        )


def _verifier(roots: Iterable[Any], time: dt.datetime) -> Any:
    """Builds chains: every one but the first must be allowed to issue certificates."""
    either = verification.Criticality.AGNOSTIC
    above = (
        verification.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, either, None)
        .may_be_present(x509.KeyUsage, either, _require_issuer)
    )
    return (
        verification.PolicyBuilder()
        .store(verification.Store(list(roots)))
        .time(time)
        .extension_policies(ca_policy=above, ee_policy=verification.ExtensionPolicy.permit_all())
        .build_client_verifier()
    )


def _require_issuer(policy: Any, certificate: Any, usage: Any) -> None:  # noqa: ARG001
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("it may not issue certificates")


def _fault_of_usage(certificate: Any) -> str | None:
    """Why a certificate is not for signing models; None if it is."""
    usage = _extension(certificate, x509.KeyUsage)
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is not None and basic.ca:
        return "it is for issuing certificates"
    if usage is None and extended is None:
        return "it lacks the usage 'digital signature'"
    if usage is not None and not usage.digital_signature:
        return "its usage is not 'digital signature'"
    if extended is not None and ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        return "its extended usage is not 'code signing'"
    return None


def _names(certificate: Any) -> Iterable[str]:
    """Whose certificate it is: the whole subject, and other names with their kind before them."""
    if subject := certificate.subject.rfc4514_string():
        yield subject
    others = _extension(certificate, x509.SubjectAlternativeName) or ()
    kinds = {
        x509.RFC822Name: "email",
        x509.UniformResourceIdentifier: "URI",
        x509.DNSName: "DNS",
    }
    yield from (f"{kinds[type(each)]}:{each.value}" for each in others if type(each) in kinds)


def _extension(certificate: Any, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
