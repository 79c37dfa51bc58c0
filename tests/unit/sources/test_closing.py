"""A source that is closed: what it is asked at that moment ends, on every service and engine."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kaiwo.errors import KaiwoError
from kaiwo.tasks.base import Engine
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store

SIZE = 3 << 20
PATIENCE_S = 30.0


@pytest.fixture(params=["s3", "gcs", "azure", "hub"])
def anywhere(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


def test_a_read_ends_when_its_source_is_closed(anywhere: Store, engine: Engine) -> None:
    if anywhere.type == "hf" and engine == "obstore":
        pytest.skip("one way only")
    asked, held = threading.Event(), threading.Event()

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith("/held"):
            asked.set()
            held.wait(PATIENCE_S)
        return answer

    name = "owner/closing" if anywhere.type == "hf" else anywhere.new_bucket()
    anywhere.fill(name, {"held": bytes(SIZE)})
    with spoiling(anywhere, hold) as slow, ThreadPoolExecutor() as threads:
        source = slow.opener(name, engine).open()
        remote = next(iter(source.list("")))
        try:
            read = threads.submit(source.read, remote, 0, SIZE)
            assert asked.wait(PATIENCE_S)
            start_s = time.monotonic()
            source.close()
            error = read.exception(PATIENCE_S)
            assert isinstance(error, KaiwoError)
            assert time.monotonic() - start_s < 5.0
            with pytest.raises(KaiwoError):
                source.read(remote, 0, SIZE)
        finally:
            held.set()
