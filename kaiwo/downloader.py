"""``python -m kaiwo.downloader CONFIG_FILE``: the same as ``kaiwo download CONFIG_FILE``."""

from __future__ import annotations

from functools import partial

from kaiwo.cli import bootstrap


def main() -> None:
    """Run the command."""
    bootstrap.begin()
    # The imports take a while; a signal already ends the process.
    import typer  # noqa: PLC0415

    from kaiwo.cli.app import LOOK, download  # noqa: PLC0415
    from kaiwo.cli.plain_help import PlainCommand  # noqa: PLC0415
    from kaiwo.cli.process import run_and_leave  # noqa: PLC0415

    app = typer.Typer(add_completion=False, **LOOK)
    app.command(cls=PlainCommand)(download)
    run_and_leave(partial(app, prog_name="python -m kaiwo.downloader"))


if __name__ == "__main__":
    main()
