"""The benchmark of kaiwo and its peers: which loads, which tools, how often, where."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from tests.bench import machine, results, rounds, serve
from tests.bench.loads import LOADS, quick
from tests.bench.tools import all_tools
from tests.servers import ROOT

_MEMORY = Path("/dev/shm")


def main() -> int:
    """Run what is asked for; with --strict, 1 if a goal is missed."""
    asked = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    loads = [load for load in LOADS if load.name in asked.only or not (asked.only or load.asked)]
    if asked.quick:
        loads = [quick(load) for load in loads]
    tools = all_tools()
    rows = {}
    with tempfile.TemporaryDirectory(prefix="kaiwo-bench-", dir=asked.dir or _room()) as folder:
        for load in loads:
            chosen = [tools[name] for name in load.tools if not asked.tools or name in asked.tools]
            times = asked.rounds or load.rounds or 5
            if lacking := serve.missing(load):
                done = {tool.name: rounds.Result(f"needs {lacking}") for tool in chosen}
            else:
                with serve.served(load, Path(folder, load.name)) as place:
                    done = rounds.run(load, chosen, times, place)
            rows[load.name] = results.row(load, times, done)
            shown = results.table(load.name, rows[load.name]) + results.goals(rows[load.name])
            print("\n".join([*shown, ""]), flush=True)
            # a try is not a result
            if asked.output or not (asked.quick or asked.tools):
                output = asked.output or ROOT / "docs"
                kept = results.keep(output, machine.described(), {load.name: rows[load.name]})
                _draw(kept, output / "benchmark.svg")
    missed = [goal for one in rows.values() for goal in one["goals"] if goal["reached"] is False]
    return 1 if missed and asked.strict else 0


def _draw(rows: Mapping[str, results.Row], path: Path) -> None:
    """The picture, where matplotlib is installed."""
    try:
        chart = importlib.import_module("tests.bench.chart")
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
    else:
        chart.draw(rows, path)


def _room() -> Path | None:
    """A folder in memory if it holds the largest load twice; otherwise as tempfile chooses."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(_MEMORY).free > 10 << 30:
            return _MEMORY
    return None


def _arguments() -> argparse.Namespace:
    """The options."""
    names = [load.name for load in LOADS]
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__)
    parser.add_argument("--only", type=_list, default=[], help=f"loads, of {', '.join(names)}")
    parser.add_argument("--tools", type=_list, default=[], help="tools, of those of the load")
    parser.add_argument("--rounds", type=int, help="how often each tool runs")
    parser.add_argument("--quick", action="store_true", help="little work, one round: does it run?")
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--dir", type=Path, help="for files served and fetched")
    parser.add_argument("--output", type=Path, help="for the results; default docs/")
    asked = parser.parse_args()
    for word in asked.only:
        if word not in names:
            parser.error(f"--only {word}: no such load; there are {', '.join(names)}")
    known = sorted({tool for load in LOADS for tool in load.tools})
    for word in asked.tools:
        if word not in known:
            parser.error(f"--tools {word}: no such tool; there are {', '.join(known)}")
    return asked


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _end(_number: int, _frame: FrameType | None) -> None:
    """Leave every open `with`."""
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
