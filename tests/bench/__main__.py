"""The benchmark of kaiwo and its peers: which loads, which tools, how often, where.

Results are kept where whole loads ran as often as they say. The rest is a try, and only printed:

    python -m tests.bench --only wan-25 --rounds 1
    python -m tests.bench --only large,small --tools kaiwo --before ../kaiwo-of-yesterday
    python -m tests.bench --only wan-25 --tools kaiwo --pod 512Mi --strict
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from kaiwo import units
from tests.bench import machine, pod, results, rounds, serve
from tests.bench.load import ROUNDS, Load, quick
from tests.bench.loads import LOADS
from tests.bench.tools import all_tools, kaiwo_of
from tests.servers import ROOT

_MEMORY = Path("/dev/shm")
_BESIDES = 4 << 30
_BEFORE = "kaiwo-before"


def main() -> int:
    """Run what is asked for; with --strict, 1 if a goal is missed."""
    asked = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    loads = [load for load in LOADS if load.name in asked.only or not (asked.only or load.asked)]
    if asked.quick:
        loads = [quick(load) for load in loads]
    tools = dict(all_tools())
    if asked.before:
        tools[_BEFORE] = kaiwo_of(asked.before, _BEFORE)
    rows = {}
    for load in loads:
        room = asked.dir or (None if asked.pod else _room(load))
        with tempfile.TemporaryDirectory(prefix="kaiwo-bench-", dir=room) as folder:
            chosen = [tools[name] for name in load.tools if not asked.tools or name in asked.tools]
            chosen += [tools[_BEFORE]] if asked.before and "kaiwo" in load.tools else []
            times = asked.rounds or load.rounds or ROUNDS
            if lacking := serve.missing(load):
                done = {tool.name: rounds.Result(f"needs {lacking}") for tool in chosen}
            else:
                with (
                    serve.served(load, Path(folder, load.name)) as place,
                    pod.limited(asked.pod) if asked.pod else contextlib.nullcontext() as group,
                ):
                    done = rounds.run(load, chosen, times, dataclasses.replace(place, pod=group))
            rows[load.name] = results.row(load, times, done)
            shown = results.table(load.name, rows[load.name]) + results.goals(rows[load.name])
            print("\n".join([*shown, ""]), flush=True)
            if asked.output or not _is_try(asked, load):
                output = asked.output or ROOT / "docs"
                kept = results.keep(output, machine.described(), {load.name: rows[load.name]})
                _draw(kept, output / "benchmark.svg")
    missed = [goal for one in rows.values() for goal in one["goals"] if goal["reached"] is False]
    return 1 if missed and asked.strict else 0


def _is_try(asked: argparse.Namespace, load: Load) -> bool:
    """Whether what comes out is no result to keep."""
    few = asked.rounds is not None and asked.rounds < (load.rounds or ROUNDS)
    return bool(asked.quick or asked.tools or asked.before or asked.pod or few)


def _draw(rows: Mapping[str, results.Row], path: Path) -> None:
    """The picture, where matplotlib is installed."""
    try:
        chart = importlib.import_module("tests.bench.chart")
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
    else:
        chart.draw(rows, path)


def _room(load: Load) -> Path | None:
    """A folder in memory if it holds the load three times; otherwise as tempfile chooses."""
    with contextlib.suppress(OSError):
        # served, and twice as much in use right before each run; the rest is the tools'
        if shutil.disk_usage(_MEMORY).free > 3 * load.size + _BESIDES:
            return _MEMORY
    return None


def _arguments() -> argparse.Namespace:
    """The options."""
    names = [load.name for load in LOADS]
    parser = argparse.ArgumentParser(
        "python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=_list, default=[], help=f"loads, of {', '.join(names)}")
    parser.add_argument("--tools", type=_list, default=[], help="tools, of those of the load")
    parser.add_argument(
        "--rounds", type=int, help=f"how often each tool runs; else {ROUNDS}, or as the load says"
    )
    parser.add_argument("--before", type=Path, help="another checkout of kaiwo, to run in turn")
    parser.add_argument("--pod", type=_bytes, help="run tools in a control group of that memory")
    parser.add_argument("--quick", action="store_true", help="little work, one round: does it run?")
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--dir", type=Path, help="for files served and fetched")
    parser.add_argument("--output", type=Path, help="for the results; default docs/")
    asked = parser.parse_args()
    if asked.before and not (asked.before / "kaiwo").is_dir():
        parser.error(f"--before {asked.before}: no checkout of kaiwo")
    for word in asked.only:
        if word not in names:
            parser.error(f"--only {word}: no such load; there are {', '.join(names)}")
    known = sorted({tool for load in LOADS for tool in load.tools})
    for word in asked.tools:
        if word not in known:
            parser.error(f"--tools {word}: no such tool; there are {', '.join(known)}")
    return asked


def _bytes(text: str) -> int:
    if (found := units.rate(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, such as 512Mi")
    return found


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _end(_number: int, _frame: FrameType | None) -> None:
    """Leave every open `with`."""
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
