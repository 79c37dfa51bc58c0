"""What a source must read: exactly the bytes of exactly the object that was planned."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import ChangedError, TransientError
from kaiwo.objects import same_bytes
from kaiwo.protocols import Buffer, Source
from kaiwo.suite.bucket import FOLDER, Suite, TestBucket


class Reading(Suite):
    """Ranges, streams, checksums and identity."""

    def test_ranges_are_exact(self, bucket: TestBucket, source: Source) -> None:
        """Any range of a large object, its ends and the whole."""
        data = random.Random(1).randbytes(300_000)
        found = self.stored(bucket, source, data)
        for start, end in ((0, 1), (0, 300_000), (1, 2), (150_000, 299_999), (299_999, 300_000)):
            assert bytes(source.read(found, start, end)) == data[start:end]

    def test_a_stream_is_the_whole_object(self, bucket: TestBucket, source: Source) -> None:
        """For servers that ignore ranges."""
        data = random.Random(2).randbytes(3_000_001)
        found = self.stored(bucket, source, data)
        assert b"".join(bytes(chunk) for chunk in source.stream(found)) == data

    def test_a_stream_of_a_range_is_what_a_read_gives(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """In order, in pieces of at most the size that was asked for."""
        data = random.Random(4).randbytes(300_000)
        found = self.stored(bucket, source, data)
        for start, end in ((0, 1), (0, 300_000), (1, 200_001), (299_999, 300_000)):
            pieces = [bytes(each) for each in source.stream(found, start, end, 70_000)]
            assert b"".join(pieces) == bytes(source.read(found, start, end))
            assert max(map(len, pieces)) <= 70_000

    def test_what_is_taken_where_it_arrives_is_not_yielded(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """In order, until it is refused once; a source may offer nothing."""
        data = random.Random(6).randbytes(300_000)
        found = self.stored(bucket, source, data)
        for most in (0, 1, 100):
            taken: list[bytes] = []

            def take(chunk: Buffer, taken: list[bytes] = taken, most: int = most) -> bool:
                assert len(taken) <= most, "offered again"
                taken.append(bytes(chunk) if len(taken) < most else b"")
                return len(taken) <= most

            yielded = [bytes(each) for each in source.stream_into(found, 1, 200_001, 9_000, take)]
            assert b"".join(taken + yielded) == data[1:200_001]

    def test_a_stream_may_be_closed_early(self, bucket: TestBucket, source: Source) -> None:
        """Others are read meanwhile and afterwards."""
        data = random.Random(5).randbytes(3_000_001)
        found = self.stored(bucket, source, data)
        for _ in range(3):
            pieces = source.stream(found, 1, 2_000_000, 100_000)
            assert data[1:].startswith(bytes(next(pieces)))
            assert bytes(source.read(found, 5, 10)) == data[5:10]
            del pieces
        assert b"".join(map(bytes, source.stream(found))) == data

    def test_stated_checksums_are_those_of_the_bytes(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """In the listing and when the object is asked for, of small objects and of large ones."""
        objects = {
            f"{FOLDER}/small.txt": b"some bytes",
            f"{FOLDER}/small.bin": b"other bytes",
            f"{FOLDER}/large.bin": random.Random(3).randbytes(3_000_001),
        }
        bucket.put(objects)
        listed = {each.key: each for each in source.list(f"{FOLDER}/")}
        for key, data in objects.items():
            for found in (listed[key], source.stat(key), source.fetch_checksum(key)):
                assert same_bytes(found, listed[key])
                if not self.checksums:
                    assert found.checksum is None
                    continue
                assert found.checksum is not None
                assert found.checksum.algorithm in self.checksums
                assert found.checksum == checksums.of_bytes(found.checksum.algorithm, data)

    def test_a_replaced_object_never_yields_other_bytes(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """Not in a range, not as a whole, not in a stream, though it has the same size.

        A store that keeps versions may go on giving those that were planned.
        """
        old, new = b"o" * 200_000, b"n" * 200_000
        planned = self.stored(bucket, source, old)
        bucket.put({planned.key: new})
        assert same_bytes(source.stat(planned.key), planned) is self.keeps_revision
        if planned.silent_reads:
            assert planned.unpinned
            return  # who reads looks it up again, as here

        def streamed(*limits: int) -> Iterator[bytes]:
            for piece in source.stream(planned, *limits):
                assert old.startswith(piece), "another object's bytes were handed on"
                yield bytes(piece)

        reads: list[tuple[int, Callable[[], Buffer]]] = [
            (100, lambda: source.read(planned, 0, 100)),
            (len(old), lambda: source.read(planned, 0, len(old))),
            (len(old), lambda: b"".join(streamed())),
            (1_000, lambda: b"".join(streamed(100, 1_100, 200))),
        ]
        for length, read in reads:
            with contextlib.suppress(ChangedError):
                assert bytes(read()) == old[:length]

    def test_a_shrunken_object_is_an_error(self, bucket: TestBucket, source: Source) -> None:
        """A range beyond its end never comes back shorter in silence."""
        planned = self.stored(bucket, source, b"o" * 1_000)
        beyond = replace(planned, size=2_000, etag=None)
        for start in (900, 1_000):
            with pytest.raises((ChangedError, TransientError)):
                self.read(source, beyond, start, 2_000)
            with pytest.raises((ChangedError, TransientError)):
                list(source.stream(beyond, start, 2_000, 300))
        # Asked for as a whole, it may come as a short body, which the engine refuses.
        with contextlib.suppress(ChangedError, TransientError):
            assert len(self.read(source, beyond, 0, 2_000)) == 1_000
