"""The command as a child process: its environment, what it left behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.fork_server import READ_LATER, ForkServer, Order, Running, started


@dataclass(frozen=True)
class Run:
    """What the command left behind.

    Attributes:
        code: its exit code.
        stdout: what it wrote there.
        stderr: what it wrote there.
        report: its JSON report, empty when it wrote none.
    """

    code: int
    stdout: str
    stderr: str
    report: Mapping[str, Any]


#: The fixture of that name: runs the command on a configuration.
Kaiwo = Callable[..., Run]


def clean_environment(home: Path) -> dict[str, str]:
    """As a pod has it: no credentials, no settings, a separate home."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    here = str(Path(__file__).resolve().parents[2])
    return kept | {"HOME": str(home), "PYTHONPATH": here, "HF_HUB_DISABLE_TELEMETRY": "1"}


def configured(folder: Path, *tasks: Mapping[str, Any]) -> str:
    """Write a configuration with these tasks, for targets below ``folder / "out"``.

    Returns its path.
    """
    path = folder / "config.yaml"
    items = [dict(task) for task in tasks]
    document = {"download_root": str(folder / "out"), "download_items": items}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(path)


def downloading(
    config: str,
    folder: Path,
    *options: str,
    inside: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Run:
    """Run ``python -m kaiwo.downloader`` on a YAML text, in a clean environment, with a report.

    Args:
        config: the text; it is written into the folder, which is also the home.
        folder: the working directory.
        options: of the command.
        inside: what the command line begins with, if it is run by another program.
        env: variables besides.
    """
    path, report = folder / "config.yaml", folder / "report.json"
    path.write_text(config, encoding="utf-8")
    report.unlink(missing_ok=True)
    arguments = [str(path), "--report", str(report), *options]
    environment = clean_environment(folder) | dict(env or {})
    early = {name: value for name, value in (env or {}).items() if not name.startswith(READ_LATER)}
    if not inside and _has_server(early):
        code, stdout, stderr = forked(arguments, environment, folder, early)
    else:
        command = [*inside, sys.executable, "-m", "kaiwo.downloader", *arguments]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        code, stdout, stderr = done.returncode, done.stdout, done.stderr
    document = json.loads(report.read_text()) if report.exists() else {}
    return Run(code, stdout, stderr, document)


#: Variables that libraries read when they are loaded.
_Early = frozenset[tuple[str, str]]
#: Fork servers that have nothing to do, by the early variables that they began with; each has one
#: order at a time.
_idle = defaultdict[_Early, list[ForkServer]](list)
#: How often a run had these early variables.
_asked = Counter[_Early]()
#: A server costs as much as a few real starts: variables that come again get one.
_FEW, _MOST_KINDS = 3, 6


def _has_server(early: Mapping[str, str]) -> bool:
    """Whether a run with these early variables is a fork."""
    if any(name.startswith("COVERAGE_") for name in os.environ):
        return False
    kind = frozenset(early.items())
    _asked[kind] += 1
    is_frequent = _asked[kind] > _FEW and len(_idle) < _MOST_KINDS
    return not kind or kind in _idle or is_frequent


def forked(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    early: Mapping[str, str],
    module: str = "kaiwo.downloader",
) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of a run in a fork, see ``fork_server``.

    Args:
        arguments: of the command.
        environment: all of it.
        folder: the working directory.
        early: variables that the fork server begins with, as well.
        module: the command.
    """
    with tempfile.TemporaryDirectory() as aside, _server(early) as server:
        output, errors = (Path(aside, name) for name in ("output", "errors"))
        os.umask(umask := os.umask(0o022))
        paths = (str(folder), str(output), str(errors))
        order = Order(arguments, environment, *paths, module, umask)
        code = server.run(order)
        return code, output.read_text(), errors.read_text()


@contextlib.contextmanager
def _server(early: Mapping[str, str]) -> Iterator[ForkServer]:
    """A fork server with these early variables, which others can have again afterwards.

    One whose run has failed to end is left to its end.
    """
    idle = _idle[frozenset(early.items())]
    try:
        server = idle.pop()
    except IndexError:
        server = started(clean_environment(Path(os.devnull)) | dict(early))
    yield server
    idle.append(server)


def have_ready(count: int) -> None:
    """See that this many runs can begin at once."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(_server({}))


@contextlib.contextmanager
def begun(
    arguments: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    *,
    errors: Path | None = None,
) -> Iterator[Running]:
    """The command in a fork, for tests that stop it; it is killed when the block is left.

    Args:
        arguments: of the command.
        folder: the working directory and the home.
        variables: those of ``READ_LATER``, besides.
        errors: where the run says what it does; else ``errors`` in the folder.
    """
    environment = clean_environment(folder) | {"AWS_EC2_METADATA_DISABLED": "true"}
    environment |= variables or {}
    assert all(name.startswith(READ_LATER) for name in variables or {}), "a fork is too late"
    said = errors or folder / "errors"
    said.touch()
    order = Order(arguments, environment, str(folder), os.devnull, str(said))
    with _server({}) as server:
        run = server.begin(order)
        try:
            yield run
        finally:
            run.kill()
            run.wait()


def succeeding(words: Sequence[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Run a command in a folder, with this environment's own programs; returns its stdout."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        env=clean_environment(folder) | {"PATH": programs} | dict(variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but kaiwo's own, by its relative name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: path.read_bytes() for name, path in named.items() if not name.startswith(".kaiwo/")
    }
