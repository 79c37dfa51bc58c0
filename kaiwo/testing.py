"""The conformance suite: what a source must do, run against a real server.

This is the definition of ``protocols.Source``. A provider's test file inherits the suite and says
how a bucket is filled, and which checksums the store states; kaiwo's own providers do it in a
dozen lines each:

    class TestMyStore(SourceSuite):
        checksums = ("md5",)

        @pytest.fixture
        def bucket(self, server) -> TestBucket:
            return TestBucket(opener=..., missing=..., put=lambda objects: ...)

The suite needs pytest, which kaiwo itself does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import ChangedError, ContainerMissingError, NotFoundError, TransientError
from kaiwo.objects import RemoteObject, same_bytes
from kaiwo.protocols import Buffer, Opener, Source

#: Names that have broken downloaders, each below the suite's folder.
ODD_NAMES = (
    "with space.txt",
    "percent%20sign%.txt",
    "plus+sign.txt",
    "hash#sign.txt",
    "question?mark=1&two.txt",
    "brackets[1]{2}(3).txt",
    "unicode-ñ-日本-🚀.txt",
    "[red]markup[/wrong].txt",
    ".leading.dot",
    "quotes'\"`.txt",
    "colon:at@equals=comma,.txt",
    "tilde~caret^dollar$.txt",
    "folder with space/nested%/file+.txt",
)
FOLDER = "suite"


@dataclass(frozen=True)
class TestBucket:
    """A bucket for one test, empty at its beginning.

    Attributes:
        opener: of a source for it.
        missing: of a source for a bucket that does not exist.
        put: stores objects, replacing those that are there.
    """

    __test__ = False

    opener: Opener
    missing: Opener
    put: Callable[[Mapping[str, bytes]], None]


class SourceSuite:
    """Inherited by the tests of each provider."""

    #: Names that this provider's test server cannot store.
    unstorable_names: ClassVar[tuple[str, ...]] = ()
    #: Algorithms of the checksums that this source states, one of them for every object; none
    #: means that it states no checksum.
    checksums: ClassVar[tuple[str, ...]] = ()
    #: A folder that does not exist is an error here, because this store knows folders.
    knows_folders: ClassVar[bool] = False
    #: An open source keeps to the revision that it was first asked for.
    keeps_revision: ClassVar[bool] = False
    #: How many objects make a listing come in several pages.
    listing_size: ClassVar[int] = 1_100

    @pytest.fixture
    def bucket(self) -> TestBucket:
        """An empty bucket; the tests of a provider define it."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, bucket: TestBucket) -> Iterator[Source]:
        """An open source for the bucket."""
        source = bucket.opener.open()
        yield source
        source.close()

    def test_lists_every_file_below_a_prefix_flat_and_with_its_size(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """Of two folders of which one's name begins with the other's, one is listed."""
        bucket.put(
            {f"{FOLDER}/a": b"1", f"{FOLDER}/deep/er/b": b"22", f"{FOLDER}2/c": b"", "d": b""}
        )
        found = {each.key: each.size for each in source.list(f"{FOLDER}/")}
        assert found == {f"{FOLDER}/a": 1, f"{FOLDER}/deep/er/b": 2}
        assert len(list(source.list(""))) == 4

    def test_odd_names_are_listed_looked_up_and_read_as_they_are(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """Percent signs, markup, brackets, unicode: nothing is decoded or read as magic."""
        names = [name for name in ODD_NAMES if name not in self.unstorable_names]
        objects = {f"{FOLDER}/{name}": name.encode() for name in names}
        bucket.put(objects)
        listed = {each.key: each for each in source.list(f"{FOLDER}/")}
        assert set(listed) == set(objects)
        for key, data in objects.items():
            assert bytes(source.read(listed[key], 0, len(data))) == data
            assert same_bytes(source.stat(key), listed[key])

    def test_empty_objects_are_files(self, bucket: TestBucket, source: Source) -> None:
        """They are listed, and their zero bytes can be read."""
        bucket.put({f"{FOLDER}/empty": b""})
        (found,) = source.list(f"{FOLDER}/")
        assert (found.size, bytes(source.read(found, 0, 0))) == (0, b"")

    def test_a_listing_of_several_pages_is_complete(
        self, bucket: TestBucket, source: Source
    ) -> None:
        """No page is lost, none comes twice."""
        expected = [f"{FOLDER}/{number:05}" for number in range(self.listing_size)]
        bucket.put(dict.fromkeys(expected, b"x"))
        assert sorted(each.key for each in source.list(f"{FOLDER}/")) == expected

    def test_an_empty_prefix_yields_nothing(self, bucket: TestBucket, source: Source) -> None:
        """The bucket is there; the folder is not. A store that knows folders may say so."""
        bucket.put({"other": b"x"})
        if self.knows_folders:
            with pytest.raises(NotFoundError) as caught:
                list(source.list(f"{FOLDER}/"))
            assert not isinstance(caught.value, ContainerMissingError)
        else:
            assert list(source.list(f"{FOLDER}/")) == []

    def test_listings_are_never_from_a_cache(self, bucket: TestBucket, source: Source) -> None:
        """What is stored between two listings is in the second."""
        bucket.put({f"{FOLDER}/a": b"1"})
        before = {each.key for each in source.list(f"{FOLDER}/")}
        bucket.put({f"{FOLDER}/b": b"2"})
        assert before == {f"{FOLDER}/a"}
        again = {each.key for each in source.list(f"{FOLDER}/")}
        assert again - before == (set() if self.keeps_revision else {f"{FOLDER}/b"})
        later = bucket.opener.open()
        assert {each.key for each in later.list(f"{FOLDER}/")} == {f"{FOLDER}/a", f"{FOLDER}/b"}
        later.close()

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

    def test_a_missing_object_is_not_found(self, bucket: TestBucket, source: Source) -> None:
        """The message names it."""
        bucket.put({"other": b"x"})
        with pytest.raises(NotFoundError, match="no-such-object") as caught:
            source.stat(f"{FOLDER}/no-such-object")
        assert not isinstance(caught.value, ContainerMissingError)

    def test_a_missing_bucket_is_not_found(self, bucket: TestBucket) -> None:
        """When it is listed as when an object in it is asked for."""
        source = bucket.missing.open()
        with pytest.raises(NotFoundError):
            list(source.list(""))
        with pytest.raises(NotFoundError):
            source.stat("key")
        source.close()

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

    def stored(self, bucket: TestBucket, source: Source, data: bytes) -> RemoteObject:
        """Store the bytes, and describe them as the listing does."""
        key = f"{FOLDER}/{hashlib.sha256(data).hexdigest()[:8]}.bin"
        bucket.put({key: data})
        return next(each for each in source.list(f"{FOLDER}/") if each.key == key)

    def read(self, source: Source, remote: RemoteObject, start: int, end: int) -> Buffer:
        """A range, or the error as the source classifies it."""
        try:
            return source.read(remote, start, end)
        except Exception as error:
            raise source.classify(error) from error
