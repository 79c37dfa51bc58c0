"""Is a file of weights what its name says? For tasks with ``check_format``.

    .safetensors   a length, then a header of JSON; its tensors fill the rest of the file exactly
    .gguf          the magic, a version that is known, counts that fit in the file

Other names are not looked at. This finds files that are cut, mixed up or something else. It is no
protection: a header that is right says nothing about who wrote the file and what the numbers do.
"""

from __future__ import annotations

import contextlib
import math
import struct
import threading
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from kaiwo.errors import FormatError
from kaiwo.files import temporary_files
from kaiwo.files.folders import Root
from kaiwo.jobs import Transfer
from kaiwo.protocols import Buffer

#: Reads bytes of a file: from an offset, a number of them; fewer where the file ends.
Read = Callable[[int, int], Buffer]
#: A header of safetensors is read as a whole. That of a file with 100,000 tensors has 15 MB.
MOST_HEADER = 16 << 20
#: Large headers are read one after the other: many at once would take too much memory.
_LARGE = 1 << 20
_one_at_a_time = threading.Lock()
#: Bits of a number. Types that are not named here are not compared with their lengths.
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_GGUF_VERSIONS = (1, 2, 3)
#: Bytes that a tensor, and that a key with its value, take at least in the header of a GGUF file.
_LEAST_TENSOR, _LEAST_PAIR = {1: 20, 2: 24, 3: 24}, {1: 9, 2: 13, 3: 13}

_Count = Annotated[int, Meta(ge=0)]


class _Tensor(Struct, frozen=True, gc=False):
    dtype: str
    shape: tuple[_Count, ...]
    data_offsets: tuple[_Count, _Count]


class _Metadata(Struct, frozen=True):
    """What a header says besides its tensors."""

    metadata: dict[str, str] | None = msgspec.field(default=None, name="__metadata__")


_metadata = msgspec.json.Decoder(_Metadata)
_tensors = msgspec.json.Decoder(dict[str, msgspec.Raw])
_tensor = msgspec.json.Decoder(_Tensor)


def require_format(transfer: Transfer, path: str, size: int, root: Root | None = None) -> None:
    """Refuse a file whose header is not one of its format, if the task asks for that.

    Args:
        transfer: the object; the name of its target says the format.
        path: of the file.
        size: of the file, in bytes.
        root: of a temporary file, see ``folders.py``.

    Raises:
        FormatError: it is not.
    """
    if transfer.check_format and (fault := fault_of(transfer.target, reader(path, root), size)):
        raise FormatError(
            f"{transfer.source}: {fault}; check_format refuses it: nothing is published at "
            f"{transfer.target}"
        )


def fault_of(name: str, read: Read, size: int) -> str | None:
    """Why a file of that name is not of its format; None if it is, or if no format is known."""
    name = name.lower()
    if name.endswith(".safetensors"):
        return _fault_of_safetensors(read, size)
    return _fault_of_gguf(read, size) if name.endswith(".gguf") else None


def fault_of_file(path: str, size: int) -> str | None:
    """The same of a file on the disk."""
    return fault_of(path, reader(path), size)


def reader(path: str, root: Root | None = None) -> Read:
    """Reads bytes of a file; with a root, of a temporary one."""

    def read(start: int, count: int) -> Buffer:
        return temporary_files.read_range(path, start, count, root)

    return read


def _fault_of_safetensors(read: Read, size: int) -> str | None:
    start = read(0, 8)
    if len(start) < 8:  # noqa: PLR2004 - the length of the length
        return f"a safetensors file begins with a length of 8 bytes, and this one has {size} bytes"
    length = int.from_bytes(start, "little")
    if length > size - 8:
        return f"its safetensors header should have {length} bytes, and the file has {size} bytes"
    if length > MOST_HEADER:
        return f"its safetensors header has {length} bytes; kaiwo reads at most {MOST_HEADER}"
    with _one_at_a_time if length > _LARGE else contextlib.nullcontext():
        header = read(8, length)
        if len(header) < length:
            return "its safetensors header cannot be read"
        return _fault_of_header(header, size - 8 - length)


def _fault_of_header(header: Buffer, room: int) -> str | None:
    """What is wrong with the header of a safetensors file.

    Args:
        header: its bytes.
        room: bytes of the file behind it.
    """
    if bytes(header[:1]) != b"{":
        return "its safetensors header does not begin with '{'"
    spans: list[tuple[int, int]] = []
    try:
        _metadata.decode(header)
        for name, raw in _tensors.decode(header).items():
            if name == "__metadata__":
                continue
            tensor = _tensor.decode(raw)
            begin, end = tensor.data_offsets
            bits = _BITS.get(tensor.dtype)
            if bits is not None and math.prod(tensor.shape) * bits != (end - begin) * 8:
                return "a tensor of its safetensors header has another length than its shape says"
            spans.append((begin, end))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "its safetensors header is not the JSON of one"
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached or end < begin:
            return "the tensors of its safetensors header overlap, or leave gaps"
        reached = end
    if reached != room:
        return f"its safetensors header describes {reached} bytes of tensors, and {room} are there"
    return None


def _fault_of_gguf(read: Read, size: int) -> str | None:
    head = bytes(read(0, 24))
    if head[:4] != b"GGUF":
        return "it does not begin with 'GGUF'"
    # Files of machines with the other byte order have it in all numbers.
    order = "<" if head[4:6] != b"\0\0" else ">"
    if len(head) < 8:  # noqa: PLR2004 - magic and version
        return f"a GGUF header has at least 16 bytes, and this file has {size} bytes"
    (version,) = struct.unpack_from(f"{order}I", head, 4)
    if version not in _GGUF_VERSIONS:
        return f"its GGUF version is {version}; kaiwo knows {_GGUF_VERSIONS}"
    counts = f"{order}II" if version == 1 else f"{order}QQ"
    length = 8 + struct.calcsize(counts)
    if len(head) < length:
        return f"its GGUF header has at least {length} bytes, and this file has {size} bytes"
    tensors, pairs = struct.unpack_from(counts, head, 8)
    needed = length + tensors * _LEAST_TENSOR[version] + pairs * _LEAST_PAIR[version]
    if needed > size:
        return (
            f"its GGUF header counts {tensors} tensors and {pairs} values, which do not fit in "
            f"{size} bytes"
        )
    return None
