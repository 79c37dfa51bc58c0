"""The ``kaiwo`` command, and ``python -m kaiwo``."""

from kaiwo.cli import bootstrap


def main() -> None:
    """Run it."""
    bootstrap.begin()
    # What it imports takes a while; by now, a signal ends it.
    from kaiwo.cli import app  # noqa: PLC0415

    app.main()


if __name__ == "__main__":
    main()
