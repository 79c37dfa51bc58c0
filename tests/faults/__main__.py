"""Try every tool on every fault, and write the table of docs/reliability.md.

    python -m tests.faults [--only reset,flip] [--tools s5cmd,kaiwo-obstore]

With a choice of faults or tools, the results are printed only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench import machine
from tests.bench.tools import all_tools
from tests.faults import page, runs
from tests.faults.catalogue import CASES, MORE

TOOLS = ("kaiwo-obstore", "kaiwo-fsspec", "s5cmd", "rclone", "s3fs")


def main() -> int:
    """The exit code: 1 if kaiwo does not survive a fault."""
    asked = _arguments()
    known = all_tools()
    if absent := [name for name in asked.tools or TOOLS if known[name].program is None]:
        sys.exit(f"not installed: {', '.join(absent)}")
    cases = [case for case in CASES + MORE if case.name in asked.only] or list(CASES)
    results: dict[str, dict[str, runs.Outcome]] = {}
    for case in cases:
        results[case.name] = {}
        for name in asked.tools or TOOLS:
            with tempfile.TemporaryDirectory(prefix="kaiwo-faults-") as work:
                outcome = runs.run(known[name], case, Path(work))
            results[case.name][name] = outcome
            print(page.line(case, name, outcome), flush=True)
    if not asked.only and not asked.tools:
        page.put(page.written(results, cases, machine.described()))
    return int(any(_failed(outcomes) for outcomes in results.values()))


def _failed(outcomes: dict[str, runs.Outcome]) -> bool:
    return any(
        name.startswith("kaiwo") and outcome.verdict != runs.OK
        for name, outcome in outcomes.items()
    )


def _arguments() -> argparse.Namespace:
    names = [case.name for case in CASES + MORE]
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    parser.add_argument("--only", type=_list, default=[], help=f"faults, of {', '.join(names)}")
    parser.add_argument("--tools", type=_list, default=[], help=f"tools, of {', '.join(TOOLS)}")
    asked = parser.parse_args()
    for word, known in ((asked.only, names), (asked.tools, TOOLS)):
        if unknown := set(word) - set(known):
            parser.error(f"not known: {', '.join(sorted(unknown))}")
    return asked


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
