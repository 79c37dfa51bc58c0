"""``check_format``: headers of safetensors and GGUF files."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from kaiwo.workers.formats import MOST_HEADER, fault_of

F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
U8 = {"dtype": "U8", "shape": [3], "data_offsets": [16, 19]}


def safetensors(header: Any, data: int = 16, *, length: int | None = None) -> bytes:
    """A file with this header and so many bytes of tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data)


def gguf(tensors: int, pairs: int, version: int = 3, order: str = "<", data: int = 64) -> bytes:
    kind = "II" if version == 1 else "QQ"
    return b"GGUF" + struct.pack(f"{order}I{kind}", version, tensors, pairs) + bytes(data)


def fault(name: str, data: bytes) -> str | None:
    return fault_of(name, lambda start, count: data[start : start + count], len(data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.safetensors", safetensors({"t": F32})),
        ("A.SafeTensors", safetensors({"__metadata__": {"format": "pt"}, "u": U8, "t": F32}, 19)),
        ("padded.safetensors", safetensors(json.dumps({"t": F32}).encode() + b"   ")),
        ("empty.safetensors", safetensors({}, 0)),
        ("scalar.safetensors", safetensors({"t": F32 | {"shape": [], "data_offsets": [0, 4]}}, 4)),
        ("none.safetensors", safetensors({"t": F32 | {"shape": [0], "data_offsets": [0, 0]}}, 0)),
        ("half.safetensors", safetensors({"t": F32 | {"dtype": "F4", "shape": [32]}})),
        ("later.safetensors", safetensors({"t": F32 | {"dtype": "Q9", "shape": [7]}})),
        ("a.gguf", gguf(1, 2)),
        ("one.gguf", gguf(1, 2, 1)),
        ("big.GGUF", gguf(1, 2, order=">")),
        ("other.bin", b"anything"),
        ("safetensors", b"anything"),
    ],
)
def test_what_is_right_passes(name: str, data: bytes) -> None:
    assert fault(name, data) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "has 0 bytes"),
        (b"\x80\x04\x95", "has 3 bytes"),
        (safetensors({"t": F32}, length=10_000), "should have 10000 bytes"),
        (safetensors({"t": F32})[:-1], "describes 16 bytes of tensors, and 15"),
        (safetensors({"t": F32}) + b"more", "describes 16 bytes of tensors, and 20"),
        (safetensors(b"[1, 2]"), "begin with"),
        (safetensors(b'{"t": '), "not the JSON"),
        (safetensors(b'{"t": "\xff"}'), "not the JSON"),
        (safetensors({"t": 1}), "not the JSON"),
        (safetensors({"__metadata__": {"a": 1}, "t": F32}), "not the JSON"),
        (safetensors({"t": F32 | {"data_offsets": [-16, 0]}}), "not the JSON"),
        (safetensors({"t": F32 | {"shape": [5]}}), "another length than its shape"),
        (safetensors({"t": F32, "u": U8 | {"data_offsets": [20, 23]}}, 23), "leave gaps"),
        (safetensors({"t": F32, "u": F32}), "overlap"),
        (safetensors({"t": {"dtype": "X", "shape": [], "data_offsets": [0, -1]}}), "JSON"),
    ],
)
def test_what_is_wrong_with_safetensors_is_said(data: bytes, why: str) -> None:
    found = fault("x.safetensors", data)
    assert found is not None
    assert why in found


def test_a_header_that_is_too_long_is_not_read() -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, count: int) -> bytes:
        asked.append((start, count))
        return struct.pack("<Q", MOST_HEADER + 1)

    assert "at most" in str(fault_of("x.safetensors", read, MOST_HEADER * 2))
    assert asked == [(0, 8)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "begin with"),
        (b"GGML" + bytes(40), "begin with"),
        (b"GGUF", "at least 16"),
        (b"GGUF\3\0\0\0\1\0", "at least 24"),
        (gguf(1, 1, 9), "version is 9"),
        (gguf(3, 1, data=64), "do not fit"),
        (gguf(0, 2**60), "do not fit"),
    ],
)
def test_what_is_wrong_with_gguf_is_said(data: bytes, why: str) -> None:
    found = fault("x.gguf", data)
    assert found is not None
    assert why in found
