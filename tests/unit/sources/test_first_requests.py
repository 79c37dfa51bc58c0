"""What the first requests of a process do not wait for."""

from __future__ import annotations

from typing import Any

import pytest

from kaiwo.protocols import Buffer
from kaiwo.sources.obstore.reading import PinnedReader
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store

SIZE = 2 << 20


def test_an_event_loop_is_loaded_once_the_first_answer_has_come(
    s3: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    load = PinnedReader._open_loop  # noqa: SLF001 - it loads asyncio

    def noted(reader: PinnedReader) -> Any:
        order.append("loop")
        return load(reader)

    def pass_on(method: str, path: str, answer: Answer) -> Answer:
        if path.endswith("/big"):
            order.append(method)
        return answer

    data = bytes(range(256)) * (SIZE // 256)
    name = s3.new_bucket()
    s3.fill(name, {"big": data})
    with spoiling(s3, pass_on) as slow:
        source = slow.opener(name, "obstore").open()
        (remote,) = source.list("")
        monkeypatch.setattr(PinnedReader, "_open_loop", noted)
        for _ in range(2):
            came: list[Buffer] = []

            def take(chunk: Buffer, came: list[Buffer] = came) -> bool:
                came.append(chunk)
                return True

            assert not list(source.stream_into(remote, 1, SIZE, SIZE, take))
            assert b"".join(came) == data[1:]
            assert came[0] == b""
        source.close()
    assert order == ["GET", "loop", "GET", "loop"]
