"""What answers prove of the length of a file, against a HEAD or an earlier answer.

    another length is stated                     the HEAD is wrong
    none is stated, and the body is longer       the HEAD is wrong
    the same, it is shorter, and shows its end   the HEAD is wrong: the last chunk, and the end
                                                 of gzip that is decoded, are such ends
    the same, and it ends with the connection    it is cut
    no answer states a length                    an answer that is shorter than one before is cut

Where a HEAD identifies the file, only an answer that does the same can show that the HEAD is wrong:
an error with status 200 states nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from kaiwo.errors import ChangedError, OtherLengthError, TransientError
from kaiwo.net.answers import Answer
from kaiwo.objects import RemoteObject, is_identified
from kaiwo.protocols import Buffer
from kaiwo.sources.answers import check_answer, check_length, http_date_ns, strong_etag
from kaiwo.sources.base import wrong_length
from kaiwo.sources.web.headers import WHOLE, has_end

T = TypeVar("T", bound=Buffer)


class Lengths:
    """What is known of the files of one source. Called from many threads at once."""

    def __init__(self) -> None:
        self._contradicted: set[str] = set()
        #: Bytes that came of files whose length nothing states.
        self._longest: dict[str, int] = {}

    def believes_head(self, key: str) -> bool:
        """Whether no answer contradicted a HEAD of the file."""
        return key not in self._contradicted

    def disbelieve(self, key: str) -> None:
        """A HEAD of the file is wrong."""
        self._contradicted.add(key)

    def check(self, answer: Answer, remote: RemoteObject, start: int, end: int, named: str) -> None:
        """Refuse an answer of another range, or one that states another length.

        Args:
            answer: to a request for a range; its body is not read.
            remote: the file.
            start: the first byte of the range.
            end: the byte after the last one.
            named: the file, for messages.

        Raises:
            ChangedError: it states another length.
            TransientError: it is another range.
        """
        content_range = answer.headers.get("Content-Range")
        try:
            check_answer(answer.status, content_range, start, end, remote.size, named)
            check_length(answer.plain_length, content_range, remote, named)
        except ChangedError:
            if _is_of(answer, remote):
                self.disbelieve(remote.key)
            raise

    def watched(
        self,
        pieces: Iterator[T],
        answer: Answer,
        remote: RemoteObject,
        named: str,
        *,
        is_decoded: bool,
    ) -> Iterator[T]:
        """The pieces of a whole file.

        Args:
            pieces: of the body.
            answer: that it belongs to.
            remote: the file.
            named: the file, for messages.
            is_decoded: they are decoded; of what is stored as it comes, nobody checks the encoding.

        Raises:
            ChangedError: its length is not the planned one: the HEAD is wrong.
            TransientError: it is cut.
        """
        came, shows_end = 0, has_end(answer.status, answer.headers, named)
        try:
            for piece in pieces:
                came += len(piece)
                if came > remote.size and not remote.unsized:
                    self._contradict(answer, remote, named)
                    raise wrong_length(named, came, remote.size)
                yield piece
        except OtherLengthError:
            self._contradict(answer, remote, named)
            raise
        finally:
            longest = self._longest.get(remote.key, 0)
            if remote.unsized:
                self._longest[remote.key] = max(came, longest)
        shows_end |= is_decoded and came > 0  # a body without any byte has no end of gzip
        if remote.unsized and came < longest and not shows_end:
            raise TransientError(
                f"{named}: the answer ended after {came} bytes, an earlier one had {longest}"
            )
        if not remote.unsized and came < remote.size and shows_end:
            self._contradict(answer, remote, named)

    def _contradict(self, answer: Answer, remote: RemoteObject, named: str) -> None:
        """The body has another length than a HEAD states; believe it if it says what it is of."""
        if not _is_of(answer, remote):
            return
        self.disbelieve(remote.key)
        raise ChangedError(f"{named}: {remote.size} bytes were listed, another number came")


def states_length(answer: Answer) -> bool:
    """Whether the answer of a whole file states how many bytes come; a part always does."""
    return answer.plain_length is not None or answer.status not in WHOLE


def _is_of(answer: Answer, remote: RemoteObject) -> bool:
    """Whether an answer says that it is of this file, as far as anything says what it is."""
    if not is_identified(remote):
        return True
    modified_ns = http_date_ns(answer.headers.get("Last-Modified"))
    is_dated = modified_ns is not None and remote.modified_ns in (None, modified_ns)
    etag = strong_etag(answer.headers.get("ETag"))
    return etag == remote.etag and (etag is not None or is_dated)
