"""The ``kaiwo`` command, and ``python -m kaiwo``."""

from kaiwo import early


def main() -> None:
    """Run it."""
    early.begin()
    # What it imports takes a while; by now, a signal ends it.
    from kaiwo import cli  # noqa: PLC0415

    cli.main()


if __name__ == "__main__":
    main()
