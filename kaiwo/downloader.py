"""``python -m kaiwo.downloader CONFIG_FILE``: ``kaiwo download``, as a command of its own."""

from __future__ import annotations

from functools import partial

from kaiwo.cli import bootstrap


def main() -> None:
    """Run it."""
    bootstrap.begin()
    # What it imports takes a while; by now, a signal ends it.
    import typer  # noqa: PLC0415

    from kaiwo.cli.app import LOOK, download  # noqa: PLC0415
    from kaiwo.cli.process import run_and_leave  # noqa: PLC0415

    app = typer.Typer(**LOOK)
    app.command()(download)
    run_and_leave(partial(app, prog_name="python -m kaiwo.downloader"))


if __name__ == "__main__":
    main()
