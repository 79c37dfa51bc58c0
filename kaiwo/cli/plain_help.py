"""Help without the syntax of templates: ``CONFIG_FILE`` and not ``{CONFIG_FILE} <str>``.

Each version of typer has another form of it, so the finished text is changed. Limits of numbers are
in the help texts, where they matter.
"""

from __future__ import annotations

import re

import typer
from typer.core import TyperCommand

_NAME = re.compile(r"\{([^{}\n]*)\}(?:\.\.\.)?")
_TYPE = re.compile(r" <[a-z\[\] |]+>")
_RANGE = re.compile(r"\s*\[[^\[\]\n]*\bx[<>]=?[^\[\]\n]*\]")


def plain(text: str) -> str:
    """The text without braces, types and ranges; columns stay where they are."""
    text = _NAME.sub(r"\1", text)
    text = _TYPE.sub(lambda found: " " * len(found[0]), text)
    return _RANGE.sub("", text)


class PlainCommand(TyperCommand):
    """A command whose help is plain."""

    def get_usage(self, ctx: typer.Context) -> str:  # type: ignore[override]
        """See typer."""
        return plain(super().get_usage(ctx))

    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]
        """See typer."""
        return plain(super().get_help(ctx))
