"""Asking other nodes: what is waited for, and how long."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kaiwo import checksums
from kaiwo.replicas import peers
from kaiwo.replicas.blocks import Block
from kaiwo.replicas.members import Members
from kaiwo.replicas.node import PATIENCE_S, Node, NotHereError
from kaiwo.replicas.peers import DaskPeers
from kaiwo.replicas.seats import Served, seats
from kaiwo.replicas.serving import _on_ask
from kaiwo.replicas.stored import CHECK

ANSWERS_IN_S = 2.0
BLOCK = Block(0, 0)
HERE = {"data": b"abc", "crc": checksums.crc(CHECK, b"abc")}


class Answering(DaskPeers):
    """Has these answers, each after two seconds of its own clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(None, "r", Members("a", ("a", "n")))  # type: ignore[arg-type]
        self.now_s = 0.0
        self.answers: Iterable[Mapping[str, Any]] = ()
        monkeypatch.setattr(peers, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def asked(self, answers: Iterable[Mapping[str, Any]]) -> tuple[bytes | str, float]:
        """What an ask ends with, and after how long."""
        self.answers, begun_s = iter(answers), self.now_s
        try:
            found: bytes | str = bytes(self.ask("n", BLOCK, 0, 3, waits=True))
        except NotHereError as error:
            found = f"not here: {error.why}"
        return found, self.now_s - begun_s

    def _answer(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        self.now_s += ANSWERS_IN_S
        return next(iter(self.answers))


def coming(stored: int) -> dict[str, Any]:
    return {"has": "coming", "progress": stored}


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Answering:
    return Answering(monkeypatch)


def test_a_block_that_does_not_come_to_its_owner_is_asked_of_the_next_one(
    asking: Answering,
) -> None:
    # Its reads fail and are repeated; meanwhile other nodes give it something.
    failing = (
        {"has": "not yet", "progress": count} if count % 3 == 2 else coming(7)
        for count in itertools.count()
    )
    found, took_s = asking.asked(failing)
    # No reason: it is asked for other blocks, by this node and by others.
    assert found == "not here: "
    assert PATIENCE_S <= took_s <= 3 * PATIENCE_S
    # The next block that is coming there is not waited for, until something comes.
    assert asking.asked(itertools.repeat(coming(7))) == ("not here: ", ANSWERS_IN_S)
    assert asking.asked([HERE]) == (b"abc", ANSWERS_IN_S)
    assert asking.asked([coming(8)] * 3 + [HERE]) == (b"abc", 4 * ANSWERS_IN_S)


def test_a_block_that_comes_slowly_is_waited_for(asking: Answering) -> None:
    slowly = [coming(count // 3) for count in range(300)]
    assert asking.asked([*slowly, HERE]) == (b"abc", 301 * ANSWERS_IN_S)


def test_what_is_coming_is_told_with_what_came_from_the_store() -> None:
    node = Node(Members("a", ("a",)), SimpleNamespace())
    node.count(store=5, peers=3)
    node.shelf.bring = lambda _: None  # type: ignore[assignment,return-value]
    seat = Served(SimpleNamespace(address="a"))  # type: ignore[arg-type]
    seat.node = node
    seats.open("r", seat)

    def told() -> Any:
        return asyncio.run(_on_ask(None, "r", BLOCK, 0, 3, waits=False))  # type: ignore[arg-type]

    assert told() == {"has": "not yet", "progress": 8}
    with node.shelf.reading(BLOCK):
        assert told() == {"has": "coming", "progress": 5}
    seats.end("r")
