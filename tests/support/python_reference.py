"""What ``import kaiwo`` offers, from its signatures and docstrings, as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from textwrap import dedent, indent
from typing import Any

import kaiwo
from kaiwo.errors import KaiwoError
from tests.support.markdown import table

_SECTION = re.compile(r"^(Args|Returns|Raises|Example|Attributes):$")
_ENTRY = re.compile(r"(\w+): (.*)", re.DOTALL)


def python() -> str:
    """The functions, the report, and the errors."""
    parts = [
        "## Functions",
        *_callable("kaiwo.fetch", kaiwo.fetch),
        *_callable("kaiwo.download", kaiwo.download),
        "## The report",
        *_class("kaiwo.Report", kaiwo.Report),
        *_class("kaiwo.Item", kaiwo.Item),
        *_class("kaiwo.Checksum", kaiwo.Checksum),
        "## Errors",
        "All are `kaiwo.KaiwoError`, and `except` of one catches those whose base it is.",
        errors(),
    ]
    return "\n\n".join(parts)


def errors() -> str:
    """Every class of error that a program can name."""
    rows = []
    for name in kaiwo.__all__:
        found = getattr(kaiwo, name)
        if inspect.isclass(found) and issubclass(found, KaiwoError) and found is not KaiwoError:
            code = "130, 143" if name == "StoppedError" else str(found.exit_code)
            base = next(
                each.__name__ for each in found.__mro__[1:] if each.__name__ in kaiwo.__all__
            )
            said = _plain((inspect.getdoc(found) or "").partition("\n\n")[0])
            rows.append((f"`{name}`", code, f"`{base}`", said))
    return table(
        ("error", "exit code", "base", "what it means"), sorted(rows, key=lambda row: row[1])
    )


def _callable(name: str, function: Callable[..., Any]) -> Iterator[str]:
    """A heading, the call, and the docstring."""
    yield f"### {name}"
    yield f"```text\n{name}{_call(function)}\n```"
    yield from _docstring(inspect.getdoc(function) or "")


def _class(name: str, class_: type) -> Iterator[str]:
    """A heading, the docstring, and the public methods that are the class's own."""
    yield f"### {name}"
    yield from _docstring(inspect.getdoc(class_) or "")
    for member, found in vars(class_).items():
        if member.startswith("_") or not (inspect.isfunction(found) or isinstance(found, property)):
            continue
        shown = member if isinstance(found, property) else f"{member}{_call(found)}"
        said, *rest = _docstring(inspect.getdoc(found) or "")
        yield f"`{shown}`: {said}"
        yield from rest


def _call(function: Callable[..., Any]) -> str:
    """The parameters without their types."""
    signature = inspect.signature(function)
    bare = [
        each.replace(annotation=inspect.Parameter.empty)
        for name, each in signature.parameters.items()
        if name != "self"
    ]
    return str(inspect.Signature(bare)).replace("'", '"')


def _docstring(text: str) -> Iterator[str]:
    """Paragraphs as they are, indented ones as blocks, and the sections as lists."""
    for paragraph in text.split("\n\n"):
        first, _, rest = paragraph.partition("\n")
        if match := _SECTION.match(first):
            section, content = match[1], dedent(rest)
            yield f"{'Arguments' if section == 'Args' else section}:"
            if section == "Example":
                yield f"```pycon\n{content}\n```"
            elif section == "Returns":
                yield _plain(content)
            else:
                yield "\n".join(_entries(content))
        elif paragraph.startswith("    "):
            yield f"```text\n{dedent(paragraph)}\n```"
        else:
            yield _plain(paragraph)


def _entries(text: str) -> Iterator[str]:
    """The entries of a section: their further lines are indented."""
    for entry in re.split(r"\n(?=\S)", text):
        match = _ENTRY.fullmatch(entry)
        assert match, entry
        yield f"- `{match[1]}`: {indent(_plain(dedent(match[2])), '').strip()}"


def _plain(text: str) -> str:
    """One paragraph on one line, with Markdown's code."""
    return " ".join(text.split()).replace("``", "`")
