"""Options that are numbers: durations, and whole numbers within limits."""

from __future__ import annotations

import re
from collections.abc import Callable

import typer

#: No option takes more.
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)


def duration(least: float) -> Callable[[str], float]:
    """Accept seconds, or a duration such as 1h30m, of at least this many seconds."""

    def parse(value: str) -> float:
        from kaiwo import units  # noqa: PLC0415 - --help needs none of it

        seconds = units.seconds(value)
        if seconds is None or not least <= seconds < float("inf"):
            text = f"must be at least {least:g} seconds, or a duration such as 90s or 1h30m"
            raise typer.BadParameter(text)
        return seconds

    return parse


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Accept a whole number of at least, and at most, this."""

    def parse(value: str) -> int:
        text = str(value).strip()
        number = int(text) if _WHOLE.fullmatch(text) else -1
        if number < least or (most is not None and number > most):
            limits = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise typer.BadParameter(f"must be a whole number {limits}")
        return number

    return parse
