"""The base of sources over HTTP: a service that answers a GET with an object's bytes.

A provider says where an object is, and implements ``list`` and ``stat``. ``read`` and ``stream``
are here: the range, the planned object and the number of bytes are checked in each answer, and
credentials stay with the server that they are for (see ``kaiwo.tasks.base.Task.http_client``).
"""

from __future__ import annotations

import contextlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from kaiwo.errors import KaiwoError, ServiceError, TransientError
from kaiwo.net.answers import Answer
from kaiwo.net.client import CONNECTION_ERRORS, Client
from kaiwo.net.failures import wire_error
from kaiwo.net.redirects import RedirectError
from kaiwo.net.statuses import RefusedError, refusal_error
from kaiwo.objects import RemoteObject
from kaiwo.protocols import PIECE, Buffer
from kaiwo.sources.answers import check_answer, check_etag_or_date, check_length, http_date_ns
from kaiwo.sources.base import StoreSource, wrong_length
from kaiwo.sources.pieces import cut


class HttpSource(StoreSource):
    """Base of the sources over HTTP.

    Args:
        client: sends the requests; closed with the source.
        url: of the bucket; it ends in ``/`` and holds no secrets.
        address: of the service, if it is not the provider's public one.
    """

    def __init__(self, client: Client, url: str, address: str = "") -> None:
        super().__init__(url, address)
        self._client = client

    @abstractmethod
    def address_of(self, key: str) -> str:
        """The web address of an object's bytes, percent-encoded."""

    def close(self) -> None:
        """See ``protocols.Source``."""
        self._client.close()

    def get_json(self, address: str) -> Any:
        """What a service answers in JSON; for ``list`` and ``stat``, inside ``translating``.

        Raises:
            TransientError: the answer is no JSON, as that of a gateway.
        """
        with self._client.request("GET", address) as answer:
            try:
                return json.loads(answer.body())
            except ValueError:
                raise TransientError(f"{self._url}: the answer is no JSON") from None

    def head(self, address: str) -> Answer:
        """The answer to a HEAD, without a body; for ``stat``, inside ``translating``."""
        with self._client.request("HEAD", address) as answer:
            return answer

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self._reading(remote, start, end) as answer:
            data = answer.take(end - start)
            if len(data) != end - start:
                raise wrong_length(self.describe("reading", remote.key), len(data), end - start)
            return data

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        end = remote.size if end is None else end
        with self._reading(remote, start, end) as answer:
            pieces = cut(answer.chunks(piece, end - start), piece)
            yield from self.read_pieces(pieces, remote, end - start)

    @contextlib.contextmanager
    def _reading(self, remote: RemoteObject, start: int, end: int) -> Iterator[Answer]:
        """The answer with a range of the planned object; its body is not read yet."""
        is_whole = (start, end) == (0, remote.size)
        headers = {} if is_whole else {"Range": f"bytes={start}-{end - 1}"}
        with (
            self.translating("reading", remote.key),
            self._client.request("GET", self.address_of(remote.key), headers) as answer,
        ):
            named, stated = self.display_url(remote.key), answer.header("Content-Range")
            modified_ns = http_date_ns(answer.header("Last-Modified"))
            check_etag_or_date(answer.header("ETag"), modified_ns, remote, named)
            check_answer(answer.status, stated, start, end, remote.size, named)
            if is_whole:
                check_length(answer.plain_length, stated, remote, named)
            yield answer

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``; by the statuses of HTTP."""
        if isinstance(error, RefusedError):
            return refusal_error(error, what)
        if isinstance(error, RedirectError):
            return ServiceError(f"{what}: {error}")
        return wire_error(error, what) if isinstance(error, CONNECTION_ERRORS) else None
