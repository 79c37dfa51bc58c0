"""A token is asked for once, kept until it is due, and replaced when a service refuses it."""

from __future__ import annotations

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.identity import (
    Identity,
    Token,
    TokenError,
    is_of_this_machine,
    proxy_for_token,
)
from kaiwo.tasks.gcs import GcsTask


@dataclass
class Service:
    """Gives numbered tokens.

    Attributes:
        lives_s: how long each is good for.
        asked: whether each was asked for because of a refusal.
        fails: it gives none.
        is_stubborn: it gives the same one again.
    """

    lives_s: float = 3600.0
    asked: list[bool] = field(default_factory=list)
    fails: bool = False
    is_stubborn: bool = False

    def ask(self, is_refused: bool) -> Token:
        """See ``Identity``."""
        self.asked.append(is_refused)
        if self.fails:
            raise PermissionError("Kanarienvogel")
        number = 1 if self.is_stubborn else len(self.asked)
        return Token.until(f"token-{number}", time.time() + self.lives_s)


@pytest.mark.parametrize(("lives_s", "kept_s"), [(3600, 3300), (400, 200), (2, 1)])
def test_a_token_is_due_in_the_middle_of_its_life_or_five_minutes_before_its_end(
    lives_s: float, kept_s: float
) -> None:
    token = Token.until("t", time.time() + lives_s)
    assert token.due_s == pytest.approx(time.time() + kept_s, abs=0.5)
    assert "'t'" not in repr(token)


def test_many_threads_ask_once() -> None:
    service, together = Service(), threading.Barrier(8)
    who = Identity("me", service.ask)

    def one(_: int) -> str:
        together.wait(10)
        return who.token().value

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(8))) == {"token-1"}
        assert {pool.submit(who.replace, "token-1").result() for _ in range(8)} == {True}
    assert service.asked == [False, True]
    assert who.token().value == "token-2"


@pytest.mark.parametrize(("left_s", "counts"), [(3600.0, True), (-1.0, False)])
def test_a_token_that_is_due_counts_to_its_end_if_there_is_no_next_one(
    left_s: float, counts: bool
) -> None:
    service = Service()
    first = [Token("first", time.time() + left_s, due_s=0.0)]
    who = Identity("me", lambda is_refused: first.pop() if first else service.ask(is_refused))
    assert who.token().value == "first"
    service.fails = True
    if counts:
        assert [who.token().value for _ in range(3)] == ["first"] * 3
        assert len(service.asked) == 1  # not for each request
        return
    with pytest.raises(TokenError) as caught:
        who.token()
    assert (str(caught.value), type(caught.value.__cause__)) == ("me", PermissionError)


def test_a_service_that_refuses_every_token_is_no_reason_to_ask_for_ever() -> None:
    service = Service()
    who = Identity("me", service.ask)
    assert who.replace(who.token().value)
    assert not who.replace(who.token().value)
    assert len(service.asked) == 2
    stubborn = Identity("me", Service(is_stubborn=True).ask)
    assert not stubborn.replace(stubborn.token().value)


def test_a_task_has_one_identity_in_a_process_and_another_one_elsewhere() -> None:
    task = GcsTask.model_validate(
        {"token": "t", "buckets": [{"name": "b", "items": [{"file": "k", "target_path": "k"}]}]}
    )
    bare, network = task.model_copy(update={"buckets": ()}), NetworkSettings()
    assert task.identity(network) is bare.identity(network)
    elsewhere = pickle.loads(pickle.dumps(task))
    assert elsewhere == task
    assert elsewhere.identity(network) is not task.identity(network)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://169.254.169.254/metadata", True),
        ("http://metadata.google.internal/x", True),
        ("http://127.0.0.1:41000/msi/token", True),
        ("http://[fe80::1]/x", True),
        ("http://localhost:40342/x", True),
        ("https://localhost/x", False),
        ("http://10.0.0.1/x", False),
        ("http://metadata.google.internal.example.org/x", False),
        ("https://login.microsoftonline.com/t", False),
    ],
)
def test_metadata_services_are_asked_without_a_proxy(
    address: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://proxy.example.org:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    assert is_of_this_machine(address) == expected
    assert (proxy_for_token(address) is None) == expected
