"""What a task asks of everything that arrives, as frozen data."""

from __future__ import annotations

from msgspec import Struct


class Policy(Struct, frozen=True):
    """What a task lets arrive.

    Attributes:
        allow: globs of which one must match; none: everything may arrive.
        deny: globs of which none may match.
        check_format: files of weights must have a header of their format.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    check_format: bool = False


class Signature(Struct, frozen=True):
    """Which signature says what the bytes of a want must have, and whose it must be.

    Attributes:
        bundle: key of the object that holds it.
        folder: what the names in it are relative to: empty, or ending in ``/``.
        key: file with the public key.
        certificates: files with the certificates that are trusted; of these or a key, one is given.
        subject: who the signing certificate must be of.
        valid_at_s: judge certificates at that time, in seconds since 1970; None: now.
        digest: the sha256 of the signed payload, as hexadecimal digits; empty: any.
        skips: objects that are not signed are left out, and no error.
    """

    bundle: str
    folder: str = ""
    key: str | None = None
    certificates: tuple[str, ...] = ()
    subject: str = ""
    valid_at_s: float | None = None
    digest: str = ""
    skips: bool = False
