"""What a provider says of its test server, and what all tests of the suite use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Opener, Source

FOLDER = "suite"


@dataclass(frozen=True)
class Signing:
    """Credentials in a file, which are refused at first.

    Attributes:
        opener: of a source for the bucket, with credentials that the store refuses.
        renew: puts the right ones into the file that the opener's task names.
        secrets: texts that no message may hold, of the wrong credentials and of the right ones.
    """

    opener: Opener
    renew: Callable[[], object]
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class TestBucket:
    """A bucket for one test, empty at its beginning.

    Attributes:
        opener: of a source for it.
        missing: of a source for a bucket that does not exist.
        put: stores objects, replacing those that are there.
        signing: for a store that asks who reads.
        server: host and port of the test server, if a source can be told to go elsewhere.
        through: the opener of a source that goes to another host and port in its place.
    """

    __test__ = False

    opener: Opener
    missing: Opener
    put: Callable[[Mapping[str, bytes]], None]
    signing: Signing | None = None
    server: str = ""
    through: Callable[[str], Opener] | None = None


class Suite:
    """What the parts of the suite share; a provider's tests set the attributes."""

    #: Names that this provider's test server cannot store.
    unstorable_names: ClassVar[tuple[str, ...]] = ()
    #: Algorithms of the checksums that this source states, one of them for every object; none
    #: means that it states no checksum.
    checksums: ClassVar[tuple[str, ...]] = ()
    #: A folder that does not exist is an error here, because this store knows folders.
    knows_folders: ClassVar[bool] = False
    #: Objects whose keys end in ``/`` can be stored here. A store that knows folders has none.
    has_placeholders: ClassVar[bool] = True
    #: The test server asks for credentials; ``TestBucket.signing`` has wrong ones.
    asks_who_reads: ClassVar[bool] = True
    #: A source can be told to go to another host and port, see ``TestBucket.through``.
    has_address: ClassVar[bool] = True
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

    def stored(
        self, bucket: TestBucket, source: Source, data: bytes, suffix: str = "bin"
    ) -> RemoteObject:
        """Store the bytes, and describe them as the listing does."""
        key = f"{FOLDER}/{hashlib.sha256(data).hexdigest()[:8]}.{suffix}"
        bucket.put({key: data})
        return next(each for each in source.list(f"{FOLDER}/") if each.key == key)

    def read(self, source: Source, remote: RemoteObject, start: int, end: int) -> Buffer:
        """A range, or the error as the source classifies it."""
        try:
            return source.read(remote, start, end)
        except Exception as error:
            raise source.classify(error) from error
