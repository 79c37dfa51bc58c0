"""The periods of a trust root of Sigstore: until when authorities and logs were in use.

    {"tlogs": [{"publicKey": {"rawBytes": "<base64>", "validFor": {"start": "…", "end": "…"}}}],
     "ctlogs": [as above],
     "certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": "<base64>"}]},
                                 "validFor": {"start": "…"}}]}

A key that was replaced, or stolen, gets an end there and stays in the file, for what it signed
before. The library of Sigstore compares no period but that of time-stamping authorities. So this
is compared here, after the library has checked all signatures.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from cryptography import x509
from msgspec import Struct

from kaiwo.errors import SignatureError

_Time = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class _Period(Struct, frozen=True):
    start: _Time | None = None
    end: _Time | None = None

    def has(self, time: dt.datetime) -> bool:
        return (self.start is None or self.start <= time) and (self.end is None or time <= self.end)


class _Key(Struct, frozen=True, rename="camel"):
    raw_bytes: bytes = b""
    valid_for: _Period = _Period()


class _Log(Struct, frozen=True, rename="camel"):
    public_key: _Key


class _Certificate(Struct, frozen=True, rename="camel"):
    raw_bytes: bytes = b""


class _Chain(Struct, frozen=True):
    certificates: tuple[_Certificate, ...] = ()


class _Authority(Struct, frozen=True, rename="camel"):
    cert_chain: _Chain
    valid_for: _Period = _Period()


class Periods(Struct, frozen=True, rename="camel"):
    """What a trust root says of its authorities and logs."""

    certificate_authorities: tuple[_Authority, ...] = ()
    tlogs: tuple[_Log, ...] = ()
    ctlogs: tuple[_Log, ...] = ()


# Of a bundle, the library takes other spellings of names, too: what is unknown here is refused.
class _LogId(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    key_id: bytes


class _Entry(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    log_id: _LogId
    log_index: Any = None
    kind_version: Any = None
    integrated_time: str | None = None
    inclusion_promise: Any = None
    inclusion_proof: Any = None
    canonicalized_body: Any = None


class _Material(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    tlog_entries: tuple[_Entry, ...]
    certificate: Any = None
    timestamp_verification_data: Any = None


class _Bundle(Struct, frozen=True, rename="camel"):
    verification_material: _Material


def read(root: bytes) -> Periods:
    """The periods of a trust root.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return msgspec.json.decode(root, type=Periods)


def require_in_use(bundle: bytes, certificate: bytes, periods: Periods, url: str) -> None:
    """Check that authority and logs were in use when they signed.

    Args:
        bundle: that the library of Sigstore has accepted.
        certificate: of who signed it, DER.
        periods: of the trust root.
        url: of the bundle, for errors.

    Raises:
        SignatureError: one of them was not.
    """
    own = x509.load_der_x509_certificate(certificate)
    issued = own.not_valid_before_utc
    by = [each for each in periods.certificate_authorities if _has_issued(each, own)]
    if not any(each.valid_for.has(issued) for each in by):
        raise _not_in_use(url, "the authority of its certificate", issued)
    kind = x509.PrecertificateSignedCertificateTimestamps
    for seen in own.extensions.get_extension_for_class(kind).value:
        at = seen.timestamp.replace(tzinfo=dt.UTC)
        _require(periods.ctlogs, seen.log_id, at, "the log of certificates", url)
    try:
        material = msgspec.json.decode(bundle, type=_Bundle).verification_material
    except msgspec.DecodeError:
        raise SignatureError(f"{url}: it is written otherwise than Sigstore writes it") from None
    for entry in material.tlog_entries:
        if entry.inclusion_promise is None or not entry.integrated_time:
            continue  # the time is that of a time-stamping authority, which the library judges
        at = dt.datetime.fromtimestamp(int(entry.integrated_time), dt.UTC)
        _require(periods.tlogs, entry.log_id.key_id, at, "the log of signatures", url)


def _has_issued(authority: _Authority, own: Any) -> bool:
    for each in authority.cert_chain.certificates:
        try:
            own.verify_directly_issued_by(x509.load_der_x509_certificate(each.raw_bytes))
        except Exception:  # of each fault, another class  # noqa: S112 - another one may have
            continue
        return True
    return False


def _require(logs: Iterable[_Log], key_id: bytes, at: dt.datetime, what: str, url: str) -> None:
    """A log is identified by the digest of its key."""
    keys = [each.public_key for each in logs]
    found = [key for key in keys if hashlib.sha256(key.raw_bytes).digest() == key_id]
    if not any(key.valid_for.has(at) for key in found):
        raise _not_in_use(url, what, at)


def _not_in_use(url: str, what: str, at: dt.datetime) -> SignatureError:
    return SignatureError(
        f"{url}: {what} was not in use on {at:%Y-%m-%d}, by the periods of the trust root"
    )
