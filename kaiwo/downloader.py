"""``python -m kaiwo.downloader CONFIG_FILE``: ``kaiwo download``, as a command of its own."""

from __future__ import annotations

from functools import partial

import typer

from kaiwo.cli import HELP, download
from kaiwo.process import run_and_leave

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
)
app.command()(download)


def main() -> None:
    """Run it."""
    run_and_leave(partial(app, prog_name="python -m kaiwo.downloader"))


if __name__ == "__main__":
    main()
