"""Every way to sign in that the tests try: the rows of docs/identities.md, a module a provider.

A module's ``ROWS`` are its provider's rows, in the order of the page. A new module is found by
itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A way to sign in.

    Attributes:
        provider: the task type.
        way: what it is, in a few words.
        reads: fields of the task, variables and files that kaiwo reads for it.
        engines: what it runs on: ``both``, or the name of one engine.
        server: what it is tried against, and what that checks.
        test: file below ``tests/`` and function that try it, as pytest writes them.
    """

    provider: str
    way: str
    reads: str
    engines: str
    server: str
    test: str


def rows() -> Iterator[Row]:
    """The rows of all providers."""
    for module in pkgutil.iter_modules(__path__):
        yield from importlib.import_module(f"{__name__}.{module.name}").ROWS
