"""Executors between kaiwo and a real one, that change or lose what goes through."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from kaiwo.remote.calls import Call


@dataclass
class Between(Executor):
    """Hands calls on to another executor.

    Attributes:
        to: the other one.
        change: what a call becomes.
        loses: so many of the first calls have no answer.
        calls: all that came.
    """

    to: Executor
    change: Callable[[Call], Call] = lambda call: call
    loses: int = 0
    calls: list[Call] = field(default_factory=list)

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        """See ``Executor``."""
        (call,) = args
        self.calls.append(call)
        sent = self.to.submit(function, self.change(call))
        if len(self.calls) > self.loses:
            return sent
        sent.result()
        lost: Future[Any] = Future()
        lost.set_exception(OSError("the machine was taken away"))
        return lost
