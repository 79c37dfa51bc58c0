"""How a source is opened and used: by many threads, with credentials, over a line that breaks."""

from __future__ import annotations

import pickle
import random
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kaiwo.errors import CredentialsError, KaiwoError, TransientError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Source
from kaiwo.suite.bucket import FOLDER, Signing, Suite, TestBucket
from kaiwo.suite.relay import How, relay

_THREADS = 16


class Sharing(Suite):
    """Openers, credentials, threads and failures of the network."""

    def test_an_opener_travels_to_another_process(self, bucket: TestBucket) -> None:
        """A copy equals it, opens the same bucket, and says the same of it."""
        bucket.put({f"{FOLDER}/a": b"1"})
        opener = bucket.opener
        copy = pickle.loads(pickle.dumps(opener))
        assert (copy, hash(copy)) == (opener, hash(opener))
        assert (copy.origin, copy.service, copy.url("k"), copy.secrets_digest()) == (
            *(opener.origin, opener.service, opener.url("k"), opener.secrets_digest()),
        )
        assert opener.url("k").endswith("/k")
        source = copy.open()
        assert [each.key for each in source.list(f"{FOLDER}/")] == [f"{FOLDER}/a"]
        source.close()

    def test_many_threads_share_a_source(self, bucket: TestBucket, source: Source) -> None:
        """Each gets the bytes that it asked for; listings and look-ups go on meanwhile."""
        data = random.Random(7).randbytes(400_000)
        found = self.stored(bucket, source, data)
        small = {f"{FOLDER}/small-{number}": bytes([number]) * 1_000 for number in range(_THREADS)}
        bucket.put(small)
        listed = {each.key: each for each in bucket.opener.open().list(f"{FOLDER}/")}

        def work(number: int) -> None:
            key, start = f"{FOLDER}/small-{number}", number * 20_000
            for _ in range(2):
                assert (
                    bytes(source.read(found, start, start + 50_000)) == data[start : start + 50_000]
                )
                assert b"".join(source.stream(found, start, len(data), 30_000)) == data[start:]
                assert bytes(source.read(listed[key], 0, 1_000)) == small[key]
                assert source.stat(found.key).size == len(data)
                assert found.key in {each.key for each in source.list(f"{FOLDER}/")}

        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(work, range(_THREADS)))

    def test_refused_credentials_are_said_to_be_and_are_not_shown(self, bucket: TestBucket) -> None:
        """For each thing that is asked for; no message, trace or description has them."""
        signing, found = self._refused(bucket)
        source = signing.opener.open()
        shown = [repr(signing.opener), repr(source), signing.opener.url(found.key)]
        asks: list[Callable[[], object]] = [
            lambda: list(source.list(f"{FOLDER}/")),
            lambda: source.stat(found.key),
            lambda: self.read(source, found, 0, 3),
            lambda: list(source.stream(found)),
        ]
        for ask in asks:
            with pytest.raises(CredentialsError) as caught:
                ask()
            shown += traceback.format_exception(caught.value)
            shown += [repr(caught.value), caught.value.message]
        source.close()
        for secret in signing.secrets:
            assert not any(secret in text for text in shown)

    def test_renewed_credentials_are_used_by_the_next_source(self, bucket: TestBucket) -> None:
        """The opener says that its secrets have changed, so that a run opens it again."""
        signing, found = self._refused(bucket)
        before = signing.opener.secrets_digest()
        assert signing.opener.secrets_digest() == before
        signing.renew()
        assert signing.opener.secrets_digest() != before
        source = signing.opener.open()
        assert bytes(source.read(found, 0, 3)) == b"abc"
        source.close()

    def _refused(self, bucket: TestBucket) -> tuple[Signing, RemoteObject]:
        """Credentials that are refused, and an object that others may read."""
        if not self.asks_who_reads:
            pytest.skip("this server takes any credentials")
        assert bucket.signing is not None
        source = bucket.opener.open()
        found = self.stored(bucket, source, b"abc")
        source.close()
        return bucket.signing, found

    @pytest.fixture(params=["reset", "end"])
    def how(self, request: pytest.FixtureRequest) -> How:
        """How a connection ends too early."""
        found: How = request.param
        return found

    def test_a_connection_that_breaks_passes_and_nothing_wrong_comes(
        self, bucket: TestBucket, source: Source, how: How
    ) -> None:
        """A reset or a short body: an error that is retried, never fewer bytes."""
        if not self.has_address:
            pytest.skip("this source cannot be told to go elsewhere")
        assert bucket.through is not None
        data = random.Random(8).randbytes(3_000_001)
        found = self.stored(bucket, source, data, "dat")

        def streamed(broken: Source) -> Iterator[bytes]:
            at = 0
            for piece in broken.stream(found, 0, len(data), 100_000):
                assert data[at : at + len(piece)] == piece
                at += len(piece)
                yield bytes(piece)

        with relay(bucket.server) as line:
            broken = bucket.through(line.address).open()
            assert bytes(broken.read(found, 0, len(data))) == data

            def read(start: int, end: int) -> None:
                if len(self.read(broken, found, start, end)) < end - start:
                    raise TransientError("as the engine does")

            asks: list[tuple[int, Callable[[], object]]] = [
                (1_000_000, lambda: read(0, len(data))),
                (1_000_000, lambda: read(1, len(data) - 1)),
                (1_000_000, lambda: list(streamed(broken))),
                (0, lambda: broken.stat(found.key)),
                (0, lambda: list(broken.list(f"{FOLDER}/"))),
            ]
            for after, ask in asks:
                line.cut(how, after)
                with pytest.raises(TransientError) as caught:
                    ask()
                assert isinstance(caught.value, KaiwoError)
                line.mend()
            assert b"".join(streamed(broken)) == data
            assert broken.stat(found.key).size == len(data)
            broken.close()
