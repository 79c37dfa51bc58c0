"""Options that are durations: seconds, or as people write them."""

from __future__ import annotations

from collections.abc import Callable

import typer


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
