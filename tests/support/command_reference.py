"""The commands of ``kaiwo``, as the program itself has them."""

from __future__ import annotations

import typer

from kaiwo.cli.app import app
from kaiwo.config.settings import Settings
from tests.support.markdown import table

#: Every command takes these.
FOR_ALL = {"--help", "--verbose", "--quiet"}


def commands() -> str:
    """Every command: how it is called, what it does, and which options are its alone."""
    group = typer.main.get_command(app)
    known = getattr(group, "commands", {})
    rows = [(_usage(name, each), str(each.help), _options(each)) for name, each in known.items()]
    return table(("command", "does", "options"), sorted(rows))


def _usage(name: str, command: typer.core.TyperCommand) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    words = [str(getattr(each, "metavar", "")).partition("|")[0] for each in arguments]
    return f"`{' '.join(['kaiwo', name, *words])}`"


def _options(command: typer.core.TyperCommand) -> str:
    """Options of the command alone, then how many of the run it takes."""
    names = [max(each.opts, key=len) for each in command.params if each.param_type_name == "option"]
    of_run = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    own = [f"`{name}`" for name in names if name not in of_run | FOR_ALL]
    taken = [name for name in names if name in of_run]
    if set(taken) == of_run:
        own.append("all below")
    else:
        own += [f"`{name}`" for name in taken if not name.startswith("--log-")]
    return ", ".join(own)
