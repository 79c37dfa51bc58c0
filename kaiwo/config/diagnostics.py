"""One fault of a configuration: where it is, what is wrong, and what to do.

A diagnostic shows no value, because a value may be a secret, above all when its key is misspelled;
nor a key that is no word, because a value may be part of it.
As text it is one line; ``kaiwo.config.rendering`` draws it with the line of the file, or as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from kaiwo import redact, units
from kaiwo.config.excerpts import Excerpt
from kaiwo.errors import ConfigError


class Place(Struct, frozen=True):
    """Where something is.

    Attributes:
        source: the file, or what else a setting came from.
        line: of the file, from 1; None where there is no line.
        column: from 1.
        field: as ``download_items[0].name``; empty for the whole.
        excerpt: the line as it may be shown.
    """

    source: str
    line: int | None = None
    column: int | None = None
    field: str = ""
    excerpt: Excerpt | None = None

    def __str__(self) -> str:
        numbers = "".join(f":{each}" for each in (self.line, self.column) if each is not None)
        return f"{units.printable(self.source)}{numbers}"


class Diagnostic(Struct, frozen=True):
    """One fault.

    Attributes:
        place: where it is.
        problem: what is wrong.
        hint: what to do.
        severity: a run ends at an error.
    """

    place: Place
    problem: str
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"

    @property
    def headline(self) -> str:
        """Place, field and problem."""
        severity = "warning" if self.severity == "warning" else ""
        parts = (str(self.place), severity, self.place.field, self.problem)
        return ": ".join(part for part in parts if part)

    def __str__(self) -> str:
        return redact.text(f"{self.headline}; {self.hint}" if self.hint else self.headline)


class InvalidConfigError(ConfigError):
    """A configuration with faults.

    Args:
        message: a line for each fault.
        diagnostics: the faults, and warnings.
    """

    def __init__(self, message: str, diagnostics: tuple[Diagnostic, ...] = ()) -> None:
        super().__init__(message, diagnostics)
        self.diagnostics = diagnostics


def invalid(diagnostics: Iterable[Diagnostic]) -> InvalidConfigError:
    """The error of these faults, in the order of the file; what is only a warning goes with it."""
    ordered = sorted(diagnostics, key=lambda each: (each.place.line or 0, each.place.column or 0))
    errors = (str(each) for each in ordered if each.severity == "error")
    return InvalidConfigError("\n".join(errors), tuple(ordered))


def step_text(step: str | int) -> str:
    """A step of a field's path: ``[0]``, ``.name``, ``.***``."""
    return f"[{step}]" if isinstance(step, int) else f".{redact.key(str(step))}"
