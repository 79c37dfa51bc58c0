"""The ``kaiwo`` command, and ``python -m kaiwo``."""

from kaiwo.cli import bootstrap


def main() -> None:
    """Run the command."""
    bootstrap.begin()
    # The imports take a while; a signal already ends the process.
    from kaiwo.cli import app  # noqa: PLC0415

    app.main()


if __name__ == "__main__":
    main()
