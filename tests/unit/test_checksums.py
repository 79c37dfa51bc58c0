"""Checksums by the names that stores give them, against vectors that others published."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest

from kaiwo import checksums
from kaiwo.files import hashing
from kaiwo.objects import Checksum
from tests.support.faulty import MIB, content

CHECK = b"123456789"
#: Of ``CHECK``: the crcs' check values are those of the catalogue of parametrised CRC algorithms.
VECTORS = {
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "crc32": "cbf43926",
    "crc32c": "e3069283",
    "crc64nvme": "ae8b14860a799888",
    "git-sha1": "e2e107ac61ac259b87c544f6e7a4eb03422c6c21",
}
EMPTY = {
    "md5": "d41d8cd98f00b204e9800998ecf8427e",
    "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "crc32": "00000000",
    "crc32c": "00000000",
    "crc64nvme": "0000000000000000",
    "git-sha1": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
}


@pytest.mark.parametrize("algorithm", VECTORS)
def test_known_vectors(tmp_path: Path, algorithm: str) -> None:
    for data, expected in ((CHECK, VECTORS), (b"", EMPTY)):
        wanted = Checksum(algorithm, expected[algorithm])
        assert checksums.of_bytes(algorithm, data) == wanted
        path = tmp_path / "file"
        path.write_bytes(data)
        assert hashing.of_file(algorithm, str(path), len(data)) == wanted


def test_leading_zeros_are_kept() -> None:
    for algorithm, digits in (("crc32", 8), ("crc32c", 8), ("crc64nvme", 16)):
        values = [checksums.of_bytes(algorithm, bytes([number])) for number in range(256)]
        assert {len(value.value) for value in values if value} == {digits}
        assert any(value.value.startswith("0") for value in values if value)


@pytest.mark.parametrize("algorithm", VECTORS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_in_parts_it_is_the_same_as_at_once(
    algorithm: str, kind: type[bytes | bytearray | memoryview]
) -> None:
    data = content(100_003)
    running = checksums.hasher(algorithm, len(data))
    assert running is not None
    for start in range(0, len(data), 7_919):
        running.update(kind(data[start : start + 7_919]))
    assert checksums.of_bytes(algorithm, data) == Checksum(algorithm, running.hexdigest())


@pytest.mark.parametrize("size", [hashing.CHUNK - 1, hashing.CHUNK, 3 * MIB + 5])
def test_files_of_several_chunks(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(size))
    for algorithm in VECTORS:
        assert hashing.of_file(algorithm, str(path), size) == checksums.of_bytes(
            algorithm, content(size)
        )


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"line\r\nline\n", content(70_000)],
    ids=["empty", "one", "lines", "many"],
)
def test_a_git_sha1_is_what_git_says(tmp_path: Path, data: bytes) -> None:
    command = ["git", "hash-object", "--no-filters", "--stdin"]
    done = subprocess.run(command, input=data, capture_output=True, cwd=tmp_path, check=True)
    assert checksums.of_bytes("git-sha1", data) == Checksum(
        "git-sha1", done.stdout.decode().strip()
    )


def test_an_unknown_algorithm_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert checksums.hasher("sha3", 1) is None
    assert checksums.of_bytes("sha3", b"x") is None
    assert hashing.of_file("sha3", str(tmp_path / "file"), 1) is None


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hashing.of_file("md5", str(tmp_path / "none"), 0)


def test_the_best_of_several_is_chosen() -> None:
    stated: dict[str, str | None] = {name: value.upper() for name, value in VECTORS.items()}
    order = []
    while (found := checksums.best(stated)) is not None:
        order.append(found.algorithm)
        assert found.value == (stated.pop(found.algorithm) or "").lower()
    assert order[0] == "crc64nvme"
    assert order.index("crc32c") < order.index("sha256") < order.index("md5")
    assert set(order) == set(VECTORS)


@pytest.mark.parametrize("stated", [{}, {"md5": None}, {"md5": ""}, {"sha3": "00"}])
def test_nothing_useful_stated_is_no_checksum(stated: dict[str, str | None]) -> None:
    assert checksums.best(stated) is None


@pytest.mark.parametrize("algorithm", VECTORS)
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        b"",
        "no base64!",
        "ñ",
        "abc",
        "0" * 7,
        "AAAA",
        b"abc",
        "A" * 500,
        "=",
        "-",
        "zz" * 16,
    ],
)
def test_what_has_another_length_or_other_signs_is_no_checksum(
    algorithm: str, value: str | bytes | None
) -> None:
    assert checksums.stated(algorithm, value) is None


@pytest.mark.parametrize("algorithm", VECTORS)
def test_in_every_spelling_it_is_the_same_checksum(algorithm: str) -> None:
    digits = VECTORS[algorithm]
    raw = bytes.fromhex(digits)
    text = base64.b64encode(raw).decode()
    spellings: list[str | bytes | bytearray] = [
        *(digits, digits.upper(), f" {digits}\n", text, text.rstrip("="), f" {text}"),
        *(raw, bytearray(raw), base64.urlsafe_b64encode(raw).decode()),
    ]
    found = {checksums.stated(algorithm, spelling) for spelling in spellings}
    assert found == {Checksum(algorithm, digits)}


# --- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", VECTORS)
def test_only_crcs_of_a_known_polynomial_combine(algorithm: str) -> None:
    assert checksums.combinable(algorithm) == (algorithm in ("crc32c", "crc64nvme"))


@pytest.mark.parametrize("algorithm", ["crc32c", "crc64nvme"])
@pytest.mark.parametrize("lengths", [(), (0,), (9,), (1, 8), (4, 0, 5), (3, 3, 3), (1,) * 9])
def test_the_checksum_of_a_whole_follows_from_its_parts(
    algorithm: str, lengths: tuple[int, ...]
) -> None:
    parts, data = [], CHECK
    for length in lengths:
        parts.append((checksums.crc(algorithm, data[:length]), length))
        data = data[length:]
    whole = CHECK[: sum(lengths)]
    assert checksums.combined(algorithm, parts) == checksums.of_bytes(algorithm, whole)


@pytest.mark.parametrize("algorithm", ["crc32c", "crc64nvme"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_part_may_be_any_buffer(
    algorithm: str, kind: type[bytes | bytearray | memoryview]
) -> None:
    assert f"{checksums.crc(algorithm, kind(CHECK)):x}" == VECTORS[algorithm]


def test_following_takes_in_that_part_of_the_file_and_no_more(tmp_path: Path) -> None:
    path, data = tmp_path / "file", content(2 * MIB + 5)
    path.write_bytes(data)
    running = checksums.hasher("md5", len(data))
    assert running is not None
    for start, end in ((0, 10), (10, MIB + 3), (MIB + 3, MIB + 3), (MIB + 3, 2 * MIB)):
        hashing.follow(running, str(path), start, end)
    wanted = checksums.of_bytes("md5", data[: 2 * MIB])
    assert Checksum("md5", running.hexdigest()) == wanted


def test_following_a_file_that_is_too_short_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CHECK)
    running = checksums.hasher("md5", 100)
    assert running is not None
    hashing.follow(running, str(tmp_path / "file"), 0, 100)
    assert running.hexdigest() == VECTORS["md5"]


@pytest.mark.parametrize("size", [1, 4, 5, 9, 10, 11])
@pytest.mark.parametrize("step", [1, 3, 5, 7, 100])
def test_the_etag_of_an_upload_in_parts_is_the_md5_of_their_md5s(size: int, step: int) -> None:
    data = content(size)
    parts = [data[start : start + 5] for start in range(0, size, 5)]
    outer = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    stated = checksums.of_parts(f"{outer}-{len(parts)}", size, 5)
    assert stated == Checksum("md5-5", f"{outer}-{len(parts)}")
    running = checksums.hasher("md5-5", size)
    assert running is not None
    for start in range(0, size, step):
        running.update(data[start : start + step])
    assert running.hexdigest() == stated.value


@pytest.mark.parametrize(
    ("etag", "size", "length"),
    [
        (None, 10, 5),
        ("0" * 32, 10, 5),
        (f"{'0' * 32}-2", 10, 4),
        (f"{'0' * 32}-2", 10, 0),
        (f"{'0' * 32}-0", 0, 5),
        (f"{'z' * 32}-2", 10, 5),
        ("odd-2", 10, 5),
    ],
)
def test_an_etag_whose_parts_do_not_add_up_states_no_checksum(
    etag: str | None, size: int, length: int
) -> None:
    assert checksums.of_parts(etag, size, length) is None


@pytest.mark.parametrize(
    ("etag", "expected"),
    [
        (f"{'0' * 32}-1", True),
        (f"{'0' * 32}-10000", True),
        (f"{'0' * 32}-0", False),
        (f"{'0' * 32}-2x", False),
        (f"{'0' * 32}-100000", False),
        ("0" * 32, False),
        ("", False),
        (None, False),
    ],
)
def test_an_upload_in_parts_is_known_by_the_whole_of_its_etag(
    etag: str | None, expected: bool
) -> None:
    assert checksums.is_of_parts(etag) is expected
