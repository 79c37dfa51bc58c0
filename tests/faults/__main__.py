"""Try every tool on every fault and every unusual store; writes the tables of docs/reliability.md.

    python -m tests.faults [--only stores,reset,flip] [--tools s5cmd,kaiwo-obstore]

A section, `faults` or `stores`, that is tried as a whole and with all its tools is written to the
page. The rest is printed only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from tests.bench import machine
from tests.bench.orders import Tool
from tests.bench.tools import all_tools
from tests.faults import page, runs, store_runs
from tests.faults.behaviour import Behaviour
from tests.faults.catalogue import CASES, MORE
from tests.faults.stores import MORE_STORES, STORES
from tests.support import stores

_KAIWO = ("kaiwo-obstore", "kaiwo-fsspec")
#: Who is tried, by section.
TOOLS = {
    "faults": (*_KAIWO, "s5cmd", "rclone", "s3fs"),
    "stores": (*_KAIWO, "s5cmd", "rclone", "boto3"),
}


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_What = TypeVar("_What", bound=_Named)
_Found = TypeVar("_Found")
_Results = dict[str, dict[str, _Found]]


def main() -> int:
    """The exit code: 1 if kaiwo does not do what is right."""
    asked = _arguments()
    is_right = True
    if faults := _chosen(asked.only, "faults", CASES, MORE):
        results = _tried(faults, _tools("faults", asked.tools), runs.run, page.fault_line)
        is_right &= all(found.verdict == runs.OK for found in _of_kaiwo(results))
        if _is_whole(asked, "faults"):
            page.put("faults", page.faults(results, faults, machine.described()))
    if behaviours := _chosen(asked.only, "stores", STORES, MORE_STORES):
        with stores.s3() as store:

            def run(tool: Tool, behaviour: Behaviour, work: Path) -> store_runs.Verdict:
                return store_runs.run(tool, behaviour, store, work)

            verdicts = _tried(behaviours, _tools("stores", asked.tools), run, page.store_line)
        is_right &= all(verdict.is_right for verdict in _of_kaiwo(verdicts))
        if _is_whole(asked, "stores"):
            page.put("stores", page.stores(verdicts, behaviours, machine.described()))
    return int(not is_right)


def _chosen(
    only: Sequence[str], section: str, shown: Sequence[_What], more: Sequence[_What]
) -> list[_What]:
    """What of a section is tried: all that the page shows, or what was asked for."""
    if not only or section in only:
        return list(shown)
    return [each for each in (*shown, *more) if each.name in only]


def _is_whole(asked: argparse.Namespace, section: str) -> bool:
    return not asked.tools and (not asked.only or section in asked.only)


def _tools(section: str, asked: Sequence[str]) -> list[Tool]:
    known = all_tools()
    names = [name for name in TOOLS[section] if not asked or name in asked]
    if absent := [name for name in names if known[name].program is None]:
        sys.exit(f"not installed: {', '.join(absent)}")
    return [known[name] for name in names]


def _tried(
    whats: Sequence[_What],
    tools: Sequence[Tool],
    run: Callable[[Tool, _What, Path], _Found],
    line: Callable[[_What, str, _Found], str],
) -> _Results[_Found]:
    """Each tool on each of these; each result is printed when it is there."""
    results: _Results[_Found] = {}
    for what in whats:
        results[what.name] = {}
        for tool in tools:
            with tempfile.TemporaryDirectory(prefix="kaiwo-faults-") as work:
                found = run(tool, what, Path(work))
            results[what.name][tool.name] = found
            print(line(what, tool.name, found), flush=True)
    return results


def _of_kaiwo(results: _Results[_Found]) -> list[_Found]:
    return [
        found
        for outcomes in results.values()
        for name, found in outcomes.items()
        if name.startswith("kaiwo")
    ]


def _arguments() -> argparse.Namespace:
    names = [*TOOLS, *(each.name for each in (*CASES, *MORE, *STORES, *MORE_STORES))]
    tools = sorted({name for section in TOOLS.values() for name in section})
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    parser.add_argument("--only", type=_list, default=[], help=f"of {', '.join(names)}")
    parser.add_argument("--tools", type=_list, default=[], help=f"of {', '.join(tools)}")
    asked = parser.parse_args()
    for word, known in ((asked.only, names), (asked.tools, tools)):
        if unknown := set(word) - set(known):
            parser.error(f"not known: {', '.join(sorted(unknown))}")
    return asked


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
