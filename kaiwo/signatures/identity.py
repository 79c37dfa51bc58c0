"""Identities of Sigstore: short-lived certificates, and a log that proves when they were used.

The library of Sigstore judges a bundle, with a trust root from the disk and without network: the
certificate comes from an authority of the trust root and was valid when the log, or a time-stamping
authority, saw the signature; a log of certificates has seen it; identity and provider are those
that are expected; the entry in the log has a proof and a promise that its keys have signed, and is
about this payload and this signature. ``sigstore`` and what it needs are loaded here alone.
"""

from __future__ import annotations

import os
from typing import Any

from msgspec import Struct

from kaiwo import units
from kaiwo.errors import ConfigError, SignatureError
from kaiwo.loading import loading
from kaiwo.objects import Signature
from kaiwo.signatures import periods
from kaiwo.signatures.envelope import PAYLOAD_TYPE, Envelope

with loading():
    try:
        from sigstore.models import Bundle, TrustedRoot
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity

        IS_INSTALLED = True
    except ImportError:
        IS_INSTALLED = False

#: Of what the library says, which may quote the bundle.
_LONGEST_REASON = 300


class Judge(Struct, frozen=True):
    """What judges bundles by a trust root: the library's verifier, and what it does not compare."""

    verifier: Any
    periods: periods.Periods


def judge_of(signature: Signature) -> Judge:
    """What judges bundles by the trust root of a signature.

    Raises:
        ConfigError: the trust root cannot be used, or sigstore is not installed.
    """
    if not IS_INSTALLED:
        raise ConfigError(
            "signature.identity: what checks identities is not installed: pip install 'kaiwo[sign]'"
        )
    path = signature.trust_root
    try:
        at = os.path.expanduser(path)
        with open(at, "rb") as file:
            found = periods.read(file.read())
        return Judge(Verifier(trusted_root=TrustedRoot.from_file(at)), found)
    except OSError as error:
        raise ConfigError(f"signature.trust_root: cannot read {path}: {error.strerror}") from None
    except Exception as error:  # each fault of a file has another class
        raise ConfigError(
            f"signature.trust_root: {path} is no trust root of Sigstore, as its trusted_root.json "
            f"is: {_reason(error)}"
        ) from None


def require_identity(envelope: Envelope, judge: Judge, signature: Signature, url: str) -> None:
    """Check that the expected identity has signed an envelope.

    Args:
        envelope: of a bundle.
        judge: see ``judge_of``.
        signature: what the task says.
        url: of the bundle, for errors.

    Raises:
        SignatureError: it has not.
    """
    if not envelope.certificates:
        raise SignatureError(f"{url}: it was signed with a key, not with an identity of Sigstore")
    who, provider = signature.identity, signature.identity_provider
    try:
        policy = Identity(identity=who, issuer=provider)
        judged = judge.verifier.verify_dsse(Bundle.from_json(envelope.bundle), policy)
    except Exception as error:  # anybody's bytes; not every fault of them has a class of sigstore
        raise SignatureError(
            f"{url}: nothing proves that {who} has signed it, known to {provider}: {_reason(error)}"
        ) from None
    # Two readers of one file must have read the same.
    if judged != (PAYLOAD_TYPE, envelope.payload):
        raise SignatureError(f"{url}: it has two payloads")
    periods.require_in_use(envelope.bundle, envelope.certificates[0], judge.periods, url)


def _reason(error: Exception) -> str:
    """The first line of what the library says."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    return units.printable(line[:_LONGEST_REASON]).rstrip(".")
