"""Running checksums: they follow the contiguous bytes of a file that is still growing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.errors import DiskError
from kaiwo.files import hashing
from kaiwo.files.folders import Root
from kaiwo.jobs import Outcome, Transfer
from kaiwo.objects import Checksum, RemoteObject
from tests.support.faulty import PATIENCE_S, PatternOpener, content, transfer_of

SIZE = 300_007
ALGORITHMS = ["md5", "sha1", "sha256", "git-sha1", "crc32"]


def transfer(root: Path, index: int = 0) -> Transfer:
    remote = RemoteObject(f"big{index}", SIZE)
    each = transfer_of(PatternOpener(()), remote, root, index)
    Path(each.temporary).write_bytes(b"")
    return each


def grow(each: Transfer, data: bytes) -> None:
    with Path(each.temporary).open("ab") as file:
        file.write(data)


def followed(digests: RunningDigests, each: Transfer, end: int) -> Outcome:
    (outcome,) = digests.follow(each, end).result(PATIENCE_S)
    assert outcome.transfer == each
    return outcome


@pytest.fixture
def digests() -> Iterator[RunningDigests]:
    made = RunningDigests()
    yield made
    made.close()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_in_steps_it_is_the_checksum_of_the_whole(
    tmp_path: Path, digests: RunningDigests, algorithm: str
) -> None:
    data, each, end = content(SIZE), transfer(tmp_path), 0
    assert digests.begin(each, algorithm)
    for step in (1, 100_000, 0, 70_000, SIZE - 170_001):
        grow(each, data[end : end + step])
        end += step
        outcome = followed(digests, each, end)
        assert outcome.error is None
    assert outcome.checksum == checksums.of_bytes(algorithm, data)


def test_a_step_tells_the_checksum_of_the_bytes_so_far(
    tmp_path: Path, digests: RunningDigests
) -> None:
    data, each = content(SIZE), transfer(tmp_path)
    grow(each, data)
    assert digests.begin(each, "md5")
    outcome = followed(digests, each, 1_000)
    assert outcome.checksum == checksums.of_bytes("md5", data[:1_000])


def test_each_byte_is_read_once(
    tmp_path: Path, digests: RunningDigests, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []
    follow = hashing.follow

    def noted(running: checksums.Hasher, path: str, start: int, end: int, root: Root) -> None:
        read.append((start, end))
        follow(running, path, start, end, root)

    monkeypatch.setattr(hashing, "follow", noted)
    each = transfer(tmp_path)
    grow(each, content(SIZE))
    digests.begin(each, "sha256")
    for end in (10, 20_000, SIZE):
        followed(digests, each, end)
    assert read == [(0, 10), (10, 20_000), (20_000, SIZE)]


def test_many_objects_are_followed_side_by_side(tmp_path: Path, digests: RunningDigests) -> None:
    transfers = [transfer(tmp_path, index) for index in range(6)]
    for number, each in enumerate(transfers):
        grow(each, content(SIZE, number))
        digests.begin(each, ALGORITHMS[number % len(ALGORITHMS)])
    for end in (100_000, SIZE):
        futures = [digests.follow(each, end) for each in transfers]
        outcomes = [future.result(PATIENCE_S)[0] for future in futures]
    for number, outcome in enumerate(outcomes):
        algorithm = ALGORITHMS[number % len(ALGORITHMS)]
        assert outcome.checksum == checksums.of_bytes(algorithm, content(SIZE, number))


def test_an_unknown_algorithm_is_not_followed(tmp_path: Path, digests: RunningDigests) -> None:
    assert not digests.begin(transfer(tmp_path), "sha3")


def test_begun_anew_it_knows_nothing_of_what_was_before(
    tmp_path: Path, digests: RunningDigests
) -> None:
    each = transfer(tmp_path)
    digests.begin(each, "md5")
    grow(each, b"other bytes")
    followed(digests, each, 11)
    digests.forget(each)
    Path(each.temporary).write_bytes(content(SIZE))
    digests.begin(each, "md5")
    assert followed(digests, each, SIZE).checksum == checksums.of_bytes("md5", content(SIZE))


def test_a_file_that_is_gone_is_a_disk_error_of_that_object(
    tmp_path: Path, digests: RunningDigests
) -> None:
    each, other = transfer(tmp_path), transfer(tmp_path, 1)
    grow(other, b"x")
    for one in (each, other):
        digests.begin(one, "md5")
    Path(each.temporary).unlink()
    outcome = followed(digests, each, 10)
    assert isinstance(outcome.error, DiskError)
    assert str(tmp_path) in outcome.error.message
    assert followed(digests, other, 1).error is None


def test_what_was_never_begun_can_be_forgotten_and_closed(tmp_path: Path) -> None:
    digests = RunningDigests()
    digests.forget(transfer(tmp_path))
    digests.close()


def test_an_object_of_the_same_name_in_another_run_is_another(tmp_path: Path) -> None:
    first, second = RunningDigests(), RunningDigests()
    each = transfer(tmp_path)
    grow(each, b"x")
    first.begin(each, "md5")
    second.begin(replace(each, run="another"), "sha256")
    assert followed(first, each, 1).checksum == Checksum("md5", "9dd4e461268c8034f5c8564e155c67a6")
    first.close()
    second.close()
