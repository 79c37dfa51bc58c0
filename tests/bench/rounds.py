"""Carry a load out: every tool in turn, round after round, so that noise hits all alike."""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import meter
from tests.bench.buckets import MIB, Bucket, Shelf
from tests.bench.load import MATCHING, Action, Load
from tests.bench.nginx import Endpoint
from tests.bench.orders import Order, Tool, environment
from tests.servers import ROOT

OK = "ok"
_LONGEST = 200
#: What a tool takes besides the objects, in bytes.
_PROCESS = 256 * MIB
_ZEROS = bytes(MIB)
_KEYS = re.compile(r"part-\d/\d+\.bin")


@dataclass
class Result:
    """What became of one tool: a run for each round, and "ok", or why there is no number."""

    status: str = OK
    runs: list[dict[str, float]] = field(default_factory=list)


class WrongBytes(Exception):  # noqa: N818 - reads as what happened
    """A tool said that it was done, and was not; the message says what is wrong."""


@dataclass(frozen=True)
class Place:
    """Where everything is: the served files, the server, and a folder for the tools.

    Attributes:
        shelf: the served files.
        endpoint: the server.
        work: a folder for the tools.
        pod: the file that takes the ids of a control group's processes, if tools run in one.
    """

    shelf: Shelf
    endpoint: Endpoint
    work: Path
    pod: Path | None = None


def run(load: Load, tools: Sequence[Tool], rounds: int, place: Place) -> dict[str, Result]:
    """Run every tool so often; a tool that fails once is left out of the further rounds."""
    results = {tool.name: Result() for tool in tools}
    for tool in tools:
        if tool.program is None:
            results[tool.name].status = "not installed"
    for number in range(rounds):
        # In another order each time: what a tool leaves behind in memory, the next one meets, and
        # a tool that always came after the same other took 2.7 s here instead of 1.6.
        for tool in random.Random(number).sample(tools, len(tools)):
            result = results[tool.name]
            if result.status == OK:
                try:
                    result.runs.append(_one(load, tool, place))
                except WrongBytes as error:
                    result.status = f"wrong bytes: {error}"
                except meter.ToolFailed as error:
                    result.status = f"failed: {_nameless(error, place)}"
                _say(load, tool, result)
    for tool in tools:
        shutil.rmtree(_target(load, tool, place), ignore_errors=True)
    return results


def _nameless(error: Exception, place: Place) -> str:
    """What it says, in short, without the folders of this machine: it is kept with the results."""
    text = str(error)
    for folder in (place.work.parent, ROOT):
        text = text.replace(str(folder), "")
    return text[:_LONGEST]


def _target(load: Load, tool: Tool, place: Place) -> Path:
    """A fresh folder for each run; but a second run needs the first one's."""
    return place.work / (f"target-{tool.name}" if load.action is Action.AGAIN else "target")


def _one(load: Load, tool: Tool, place: Place) -> dict[str, float]:
    """One run, checked, and cleaned up."""
    order = Order(
        load.action,
        load.buckets,
        place.endpoint,
        _target(load, tool, place),
        place.work,
        load.told.get(tool.name, ()),
    )
    if load.action is Action.AGAIN:
        return _second(tool, order, place)
    shutil.rmtree(order.target, ignore_errors=True)
    figures = _run(tool, order, place.pod)
    if load.action is Action.LIST:
        _check_names(load, place)
    elif tool.name != "imports":
        _check(order, place)
    shutil.rmtree(order.target)
    return figures


def _second(tool: Tool, order: Order, place: Place) -> dict[str, float]:
    """One run with everything in place, by a first run of the same tool."""
    if not order.target.exists():
        _run(tool, order, place.pod)
    before = _stamps(order.target)
    figures = _run(tool, order, place.pod)
    _check(order, place)
    if _stamps(order.target) != before:
        raise WrongBytes("fetched again")
    return figures


def _run(tool: Tool, order: Order, pod: Path | None) -> dict[str, float]:
    """Run the tool's commands; trouble of the server is a failure too."""
    assert tool.program is not None
    for bucket in order.buckets:
        if order.action is not Action.CACHE:  # what a cache holds, its tools decide
            order.folder(bucket).mkdir(parents=True, exist_ok=True)
    tool.before(order)
    _warm(order)
    commands, env = tool.commands(tool.program, order), environment(tool, order)
    before = len(order.endpoint.troubles())
    try:
        files = (str(order.work / "stdout"), str(order.work / "stderr"))
        return meter.run(commands, env, *files, pod)
    finally:
        if troubles := order.endpoint.troubles()[before:]:
            raise meter.ToolFailed(f"the server: {troubles[0]}")


def _warm(order: Order) -> None:
    """Have the memory at hand that the run may take.

    The host of a virtual machine takes free memory back after some seconds: writing 1 GiB took
    0.3 s here where that had just been in use, and 2.8 s where it had not. Without this, what a
    tool costs depends on which tool ran before it.
    """
    size = 2 * sum(bucket.count * bucket.size for bucket in order.buckets) + _PROCESS
    path = order.work / "memory"
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(size // MIB):
                file.write(_ZEROS)
    finally:
        path.unlink()


def _check(order: Order, place: Place) -> None:
    """Everything is there, as it is served."""
    for bucket in order.buckets:
        _check_files(bucket, order.folder(bucket), place.shelf)


def _files(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All files below a folder, by their key."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from ((f"{entry.name}/{key}", one) for key, one in _files(Path(entry.path)))
        else:
            yield entry.name, entry


def _stamps(target: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every object in place: what another transfer would change."""
    stats = ((key, entry.stat()) for key, entry in _files(target) if key.endswith(".bin"))
    return {key: (stat.st_ino, stat.st_mtime_ns) for key, stat in stats}


def _check_files(bucket: Bucket, folder: Path, shelf: Shelf) -> None:
    """Every file is there, as it is served, and nothing else is."""
    there, wanted = {key for key, _ in _files(folder)}, set(bucket.names())
    if missing := wanted - there:
        raise WrongBytes(f"{len(missing)} files are missing")
    if stray := there - wanted:
        raise WrongBytes(f"{len(stray)} files too many: {min(stray)}")
    wrong = sum(not _same(folder / key, shelf.path(bucket, key)) for key in wanted)
    if wrong:
        raise WrongBytes(f"{wrong} files differ")


def _same(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes."""
    with one.open("rb", buffering=0) as a, other.open("rb", buffering=0) as b:
        if os.fstat(a.fileno()).st_size != os.fstat(b.fileno()).st_size:
            return False
        while piece := a.read(MIB):
            if piece != b.read(MIB):
                return False
    return True


def _check_names(load: Load, place: Place) -> None:
    """The names that match were printed, and no others."""
    (bucket,) = load.buckets
    wanted = {key for key in bucket.names() if key.endswith(MATCHING)}
    there = set(_KEYS.findall((place.work / "stdout").read_text(encoding="utf-8")))
    if there != wanted:
        raise WrongBytes(f"{len(there)} names instead of {len(wanted)}")


def _say(load: Load, tool: Tool, result: Result) -> None:
    """A line for the person who waits."""
    line = f"{load.name:14} {tool.name:16} "
    if result.status == OK:
        last = result.runs[-1]
        line += "{wall_s:8.2f} s {cpu_s:8.2f} s CPU {peak_mib:6.0f} MiB".format(**last)
    else:
        line += result.status
    print(line, file=sys.stderr, flush=True)
