"""``python -m kaiwo``: the ``kaiwo`` command."""

from kaiwo.cli import main

if __name__ == "__main__":
    main()
