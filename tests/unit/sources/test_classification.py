"""What an error of obstore is: always an error of kaiwo's, also where fsspec could do better."""

from __future__ import annotations

from collections.abc import Mapping

import obstore
import pytest
from obstore.exceptions import BaseError, GenericError, InvalidPathError
from obstore.store import S3Store

from kaiwo.errors import BugError, CredentialsError, KaiwoError, TransientError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Source
from kaiwo.sources.obstore.source import ObstoreSource
from kaiwo.sources.obstore.store import Provider
from tests.support.engines import opened
from tests.support.stores import Store

#: Of an error, as obstore says it; fsspec is asked after each of these.
TEXTS = {
    "TLS": "cut\n  error: InvalidMessage(\n",
    "certificate": "cut\n  error: InvalidCertificate(\n",
    "busy": "busy\n  status: 503,\n",
    "refused": "refused\n  status: 403,\n",
    "unread": "what nobody has seen before",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_stream_that_fails_ends_in_an_error_of_kaiwo(s3: Store, text: str) -> None:
    def fail() -> bytes:
        raise GenericError(text)

    with opened(s3, s3.new_bucket({"k": b"data"}), "obstore") as source:
        assert isinstance(source, ObstoreSource)
        with pytest.raises(KaiwoError) as caught:
            list(source.read_chunks(fail, RemoteObject("k", 4), 4))
    assert not isinstance(caught.value, BugError)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_classification_never_raises(s3: Store, text: str) -> None:
    with opened(s3, s3.new_bucket({"k": b"data"}), "obstore") as source:
        for error in (GenericError(text), InvalidPathError(text)):
            found = source.classify(error)
            assert not isinstance(found, BugError)


def test_a_stream_whose_connection_obstore_cannot_take_is_repeated_through_fsspec(
    s3: Store,
) -> None:
    def fail() -> bytes:
        raise GenericError(TEXTS["certificate"])

    with opened(s3, s3.new_bucket({"k": b"data"}), "obstore") as source:
        assert isinstance(source, ObstoreSource)
        (remote,) = source.list("")
        with pytest.raises(TransientError, match=r"reading .*k at "):
            list(source.read_chunks(fail, remote, 4))
        assert source.is_bypassed
        assert b"".join(bytes(chunk) for chunk in source.stream(remote)) == b"data"


@pytest.mark.parametrize("size", [4, 1 << 20])
def test_a_request_at_which_obstore_panics_goes_through_fsspec(s3: Store, size: int) -> None:
    impossible = RemoteObject("k", size, "a\nb")  # as no header can have it
    with opened(s3, s3.new_bucket({"k": b"data"}), "obstore") as source:
        assert isinstance(source, ObstoreSource)
        with pytest.raises(KaiwoError) as caught:
            source.read(impossible, 0, size)
    assert not isinstance(caught.value, BugError)


def test_a_request_that_could_not_sign_in_says_so_when_another_one_can_by_then() -> None:
    keys = {"access_key_id": "a", "secret_access_key": "b", "expires_at": None}
    failure = CredentialsError("signing in: not yet")
    answers: list[Exception | Mapping[str, str | None]] = [failure, keys]

    def give() -> Mapping[str, str | None]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def fallback() -> Source:
        raise AssertionError("fsspec would sign in again")

    provider = Provider(give)
    store = S3Store("b", endpoint="https://127.0.0.1:9", credential_provider=provider)  # type: ignore[arg-type]
    source = ObstoreSource(store, "s3://b/", "a", pin="etag", lists=True, fallback=fallback)
    with pytest.raises(BaseError) as caught:
        obstore.list_with_delimiter(store)
    assert provider() == keys
    assert source.classify(caught.value) is failure
