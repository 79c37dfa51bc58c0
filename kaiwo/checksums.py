r"""Checksums of local bytes, under the names that stores use.

crc32c and crc64nvme come from awscrt (about 19 GiB/s), the others from hashlib. A git sha1
is the sha1 of ``blob <size>\0`` and the content, which is how the Hub names small files. A
``git-lfs`` is the git sha1 of the LFS pointer to the content, which some mirrors state instead.
``md5-<n>`` is the md5 of the md5s of parts of n bytes, and their number: the etag that S3 gives a
multipart upload. That all parts but the last are equally long is a guess. ``md5-<n>,<m>,``
has the length of each part, and is none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from kaiwo.objects import Checksum
from kaiwo.protocols import Buffer

_PARTS = "md5-"
_OF_PARTS = re.compile(r"[0-9A-Fa-f]{32}-([1-9][0-9]{0,4})")
#: Algorithms whose parts combine, and their hexadecimal digits.
COMBINABLE = {"crc64nvme": 16, "crc32c": 8}
#: Bytes of each checksum.
LENGTHS = {
    "crc64nvme": 8,
    "crc32c": 4,
    "sha256": 32,
    "sha1": 20,
    "crc32": 4,
    "md5": 16,
    "git-sha1": 20,
}
#: Best first: a store that states several is checked by the first of these.
PREFERENCE = ("crc64nvme", "crc32c", "sha256", "sha1", "crc32", "md5", "git-sha1")


class Hasher(Protocol):
    """A running checksum."""

    def update(self, data: Buffer) -> None:
        """Continue with these bytes."""
        ...

    def hexdigest(self) -> str:
        """The checksum so far, in lower-case hexadecimal digits."""
        ...


class _Crc:
    """A crc as a running checksum."""

    def __init__(self, function: Callable[[Any, int], int], digits: int) -> None:
        self._function = function
        self._digits = digits
        self._value = 0

    def update(self, data: Buffer) -> None:
        self._value = self._function(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:0{self._digits}x}"


class _Multipart:
    """The md5 of the md5s of parts, and their number."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._lengths = lengths
        self._outer = hashlib.md5(usedforsecurity=False)
        self._inner = hashlib.md5(usedforsecurity=False)
        self._left = lengths[0]
        self._parts = 0

    def update(self, data: Buffer) -> None:
        view = memoryview(data)
        while view:
            taken, view = view[: self._left], view[self._left :]
            self._inner.update(taken)
            self._left -= len(taken)
            if not self._left:
                self._outer.update(self._inner.digest())
                self._inner = hashlib.md5(usedforsecurity=False)
                self._parts += 1
                # The last length is that of all further parts.
                self._left = self._lengths[min(self._parts, len(self._lengths) - 1)]

    def hexdigest(self) -> str:
        outer, parts = self._outer.copy(), self._parts
        if self._left < self._lengths[min(self._parts, len(self._lengths) - 1)]:
            outer.update(self._inner.digest())
            parts += 1
        return f"{outer.hexdigest()}-{parts}"


class _Pointer:
    """The git sha1 of the LFS pointer to what passes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._inner = hashlib.sha256(usedforsecurity=False)

    def update(self, data: Buffer) -> None:
        self._inner.update(data)

    def hexdigest(self) -> str:
        return of_pointer(self._inner.hexdigest(), self._size).value


def hasher(algorithm: str, size: int) -> Hasher | None:
    """A running checksum for an object of ``size`` bytes; None for an unknown algorithm."""
    match algorithm:
        case "md5" | "sha1" | "sha256":
            return hashlib.new(algorithm, usedforsecurity=False)
        case "git-lfs":
            return _Pointer(size)
        case "git-sha1":
            return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        case "crc32":
            return _Crc(binascii.crc32, 8)
        case "crc32c" | "crc64nvme":
            return _Crc(getattr(_crt(), algorithm), COMBINABLE[algorithm])
    lengths = algorithm.removeprefix(_PARTS).removesuffix(",").split(",")
    is_of_lengths = algorithm.startswith(_PARTS) and all(each.isdecimal() for each in lengths)
    return _Multipart([int(each) for each in lengths]) if is_of_lengths else None


def of_bytes(algorithm: str, data: Buffer) -> Checksum | None:
    """The checksum of these bytes; None for an unknown algorithm."""
    running = hasher(algorithm, len(data))
    if running is None:
        return None
    running.update(data)
    return Checksum(algorithm, running.hexdigest())


def is_of_parts(etag: str | None) -> bool:
    """Whether it is the etag of a multipart upload of S3."""
    return _OF_PARTS.fullmatch(etag or "") is not None


def of_parts(etag: str | None, size: int, length: int) -> Checksum | None:
    """The checksum that the etag of a multipart upload of S3 is.

    Args:
        etag: without quotes.
        size: of the object.
        length: of its first part. None is returned if parts of that length do not add up to its
            size.
    """
    match = _OF_PARTS.fullmatch(etag or "")
    if match is None or length <= 0 or -(-size // length) != int(match[1]):
        return None
    return Checksum(f"{_PARTS}{length}", match[0].lower())


def is_guess(checksum: Checksum | None) -> bool:
    """Whether it was made of an etag and a guess: it proves something only when it agrees."""
    if checksum is None or not checksum.algorithm.startswith(_PARTS):
        return False
    return "," not in checksum.algorithm


def is_of_bytes(checksum: Checksum | None) -> bool:
    """Whether the bytes of an object alone tell if they have it."""
    return checksum is not None and checksum.algorithm in LENGTHS


def of_pointer(sha256: str, size: int) -> Checksum:
    """The git sha1 of the LFS pointer to a file of that sha256 and size."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    data = f"blob {len(text)}\0{text}".encode()
    return Checksum("git-sha1", hashlib.sha1(data, usedforsecurity=False).hexdigest())


def proven(
    stated: Checksum, found: Checksum | None, compute: Callable[[str], Checksum | None]
) -> Checksum | None:
    """What bytes are proven by, if they have another git sha1 than is stated; else as found.

    Args:
        stated: what they should have; a git sha1 may be that of their LFS pointer.
        found: what they have.
        compute: the checksum of the bytes by that algorithm.
    """
    if found == stated or stated.algorithm != "git-sha1":
        return found
    pointer = Checksum("git-lfs", stated.value)
    return pointer if compute(pointer.algorithm) == pointer else found


def proves(found: Checksum, stated: Checksum) -> bool:
    """Whether bytes with that checksum are those that have the stated one; see ``proven``."""
    if (found.algorithm, stated.algorithm) == ("git-lfs", "git-sha1"):
        return found.value == stated.value
    return found == stated


def count_parts(guess: Checksum) -> int:
    """How many parts the etag of a multipart upload states."""
    return int(guess.value.rpartition("-")[2])


def of_lengths(guess: Checksum, lengths: Sequence[int]) -> Checksum:
    """What a guess becomes when the lengths of all parts are known."""
    return Checksum(_PARTS + ",".join(map(str, lengths)) + ",", guess.value)


def combinable(algorithm: str) -> bool:
    """Whether the checksum of a whole can be computed from those of its parts."""
    return algorithm in COMBINABLE


def crc(algorithm: str, data: Buffer, before: int = 0) -> int:
    """The combinable checksum of one part.

    Args:
        algorithm: a combinable one.
        data: of the part.
        before: the checksum of the bytes before them that it continues.
    """
    function: Callable[[Any, int], int] = getattr(_crt(), algorithm)
    return function(data, before)


def combined(algorithm: str, parts: Iterable[tuple[int, int]]) -> Checksum:
    """The checksum of a whole.

    Args:
        algorithm: a combinable one.
        parts: checksum and length of each part, in their order.
    """
    combine: Callable[[int, int, int], int] = getattr(_crt(), f"combine_{algorithm}")
    value = 0
    for part, length in parts:
        value = combine(value, part, length)
    return Checksum(algorithm, f"{value:0{COMBINABLE[algorithm]}x}")


def _crt() -> Any:
    # Imported here: most stores state md5, and the library is native code to load.
    from awscrt import checksums as crt  # noqa: PLC0415

    return crt


def stated(algorithm: str, value: str | bytes | bytearray | None) -> Checksum | None:
    """The checksum that a store states; None if it is none.

    Args:
        algorithm: one of ``PREFERENCE``.
        value: base64 or hexadecimal digits in any case, or raw bytes.
    """
    raw = _raw(value, LENGTHS[algorithm])
    return Checksum(algorithm, raw.hex()) if len(raw) == LENGTHS[algorithm] else None


def _raw(value: str | bytes | bytearray | None, length: int) -> bytes:
    """The bytes of a checksum; empty if the text is neither base64 nor hexadecimal."""
    if not isinstance(value, str):
        return bytes(value or b"")
    text = value.strip()
    try:
        if len(text) == 2 * length and "=" not in text:
            return bytes.fromhex(text)
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        return base64.b64decode(
            padded, altchars=b"-_" if {"-", "_"} & {*text} else None, validate=True
        )
    except ValueError:
        return b""


def best(values: Mapping[str, str | bytes | bytearray | None]) -> Checksum | None:
    """The best of the checksums that a store states; see ``stated`` for their spelling."""
    found = (stated(each, values[each]) for each in PREFERENCE if each in values)
    return next((each for each in found if each is not None), None)
