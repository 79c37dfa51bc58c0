"""Commands as pages have them: taken apart as a shell does, and looked at without running them."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from kaiwo.api.fetch_fields import OF_COMMAND
from kaiwo.api.fetch_order import Goal, order_of_urls
from kaiwo.cli import options
from kaiwo.cli.app import app
from tests.servers import ROOT
from tests.support.markdown import read

#: Programs that kaiwo does not come with, and that a page may name.
OTHERS = {
    ".", "cd", "cp", "curl", "docker", "echo", "export", "git", "helm", "kubectl", "ls", "mkdir",
    "model_signing", "openssl", "pip", "podman", "uv",
}  # fmt: skip
#: The image's name: what follows it is for its entry point.
IMAGE = "kaiwo-downloader"
#: The scheme of the provider in ``examples/``, which is not installed.
OF_EXAMPLE = "shelf://"
#: Between simple commands; what follows one of the others is a file.
_ENDS, _FILES = {"|", "||", "&&", ";", "&"}, {">", ">>", "<", "2>"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class WrongCommandError(Exception):
    """A page has a command that does not exist, or that nobody can type."""


def commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command of a text for a shell, without assignments."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        is_file = False
        for word in (*lexer, ";"):
            if word in _ENDS:
                if words:
                    yield words
                words = []
            elif word in _FILES or is_file:
                is_file = not is_file
            elif words or not _ASSIGNMENT.match(word):
                words.append(word)


def check(words: Sequence[str], *, is_whole: bool = True) -> None:
    """Return if a command exists, with the options and as many arguments as it has.

    Args:
        words: of one simple command.
        is_whole: nothing may be missing, as in a block that is to be typed.

    Raises:
        WrongCommandError: it does not.
    """
    program, *rest = words
    is_ours = program.startswith(".venv/bin/")
    program = program.removeprefix(".venv/bin/")
    if program == "kaiwo":
        parse(rest, is_whole=is_whole)
    elif program == "python":
        _check_python(rest, is_whole=is_whole)
    elif program == "make":
        _check_target(rest)
    elif program == "uvx" and "kaiwo" in rest:
        parse(rest[rest.index("kaiwo") + 1 :], is_whole=is_whole)
    elif program in ("docker", "podman") and rest[0] == "run" and IMAGE in rest:
        parse(["download", *rest[rest.index(IMAGE) + 1 :]], is_whole=is_whole)
    elif program not in OTHERS and not is_ours:
        raise WrongCommandError(f"unknown program {program}: see tests/support/typed_commands.py")
    for option, path in itertools.pairwise(rest):
        if program in ("pip", "uv") and option == "-r":
            _check_file(path)


def parse(words: Sequence[str], *, is_whole: bool = True) -> None:
    """Parse the words after ``kaiwo`` as the program does, and do nothing.

    Raises:
        WrongCommandError: it would refuse them.
    """
    group = _group()
    name, *rest = words or ["--help"]
    command = group if name.startswith("-") else group.commands.get(name)
    if command is None:
        raise WrongCommandError(f"kaiwo has no command {name}")
    try:
        context = command.make_context(name, [name, *rest] if command is group else rest)
        if name in ("fetch", "ls"):
            _check_urls(context.params)
    except typer.Exit:  # --help, --version
        return
    except SystemExit as error:
        if error.code:
            raise WrongCommandError(f"kaiwo {shlex.join(words)}: exit code {error.code}") from error
    except Exception as error:
        # Their classes are click's, or a copy's that some versions of typer have.
        if type(error).__name__ in ("MissingParameter", "BadOptionUsage") and not is_whole:
            return
        raise WrongCommandError(f"kaiwo {shlex.join(words)}: {error}") from error


def _check_urls(parameters: Mapping[str, Any]) -> None:
    """The URLs of ``fetch`` and ``ls``, and the fields of ``-o``; placeholders are left out.

    Raises:
        ConfigError: the program would refuse them.
    """
    words = [*parameters.get("urls", ()), parameters.get("url") or ""]
    if any("…" in word for word in words):
        return
    urls = [word for word in words if "://" in word]
    targets = [word for word in words if word and "://" not in word]
    if not urls or urls[0].startswith(OF_EXAMPLE):
        return
    if parameters.get("into"):
        targets.append(parameters["into"])
    if len(targets) > 1 or (len(urls) > 1 and not parameters.get("into")):
        raise WrongCommandError(f"too many targets, or too many URLs for one: {words}")
    given = dict(options.field(text) for text in parameters["option"] or ())
    # Secret files are those of somebody else.
    fields = {
        name.removesuffix("_file"): "a" if name.endswith("_file") else value
        for name, value in given.items()
    }
    order_of_urls(urls, Goal(target=targets[0] if targets else None), fields, {}, OF_COMMAND)


@functools.cache
def _group() -> typer.core.TyperGroup:
    """The program with its commands."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group


def _check_python(words: Sequence[str], *, is_whole: bool) -> None:
    """A module, or a file, that Python is to run."""
    if words[0] != "-m":
        _check_file(words[0])
        return
    module, *rest = words[1:]
    if module == "kaiwo.downloader":
        parse(["download", *rest], is_whole=is_whole)
    elif module == "kaiwo":
        parse(rest, is_whole=is_whole)
    elif importlib.util.find_spec(module) is None:
        raise WrongCommandError(f"there is no module {module}")
    elif module == "pytest":
        for word in rest:
            if "/" in word:
                _check_file(word.partition("::")[0])


def _check_target(words: Sequence[str]) -> None:
    """The targets of make exist."""
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), flags=re.MULTILINE))
    if missing := {word for word in words if "=" not in word} - targets:
        raise WrongCommandError(f"the Makefile has no target {', '.join(sorted(missing))}")


def _check_file(path: str) -> None:
    if not (ROOT / path).exists():
        raise WrongCommandError(f"there is no file {path}")
