"""A row of the benchmark: what it compares with, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.buckets import Bucket
from tests.bench.load import MEASURES, Goal, Load
from tests.bench.loads import LOADS
from tests.bench.results import Row, goals, row, table
from tests.bench.rounds import Result
from tests.bench.tools import all_tools


def result(*walls: float) -> Result:
    return Result(runs=[{"wall_s": wall, "cpu_s": 1.0, "peak_mib": 10.0} for wall in walls])


def row_of(told: dict[str, tuple[str, ...]], *limits: Goal, **results: Result) -> Row:
    load = Load("row", "what", (Bucket("row", 1, 1),), limits, told=told)
    return row(load, 1, {name.replace("_", "-"): each for name, each in results.items()})


def on_a_line() -> Row:
    """A row whose peers run twice."""
    return row_of(
        {"rclone-told": ("--multi-thread-streams=64",)},
        Goal("wall_s", 0.35, "defaults"),
        Goal("wall_s", 1.8, "told"),
        kaiwo=result(9.0, 2.0, 1.0),
        rclone_defaults=result(8.0),
        rclone_told=result(1.25),
        boto3=result(0.5),
    )


def test_a_median_is_compared_with_the_best_at_its_defaults_and_told_the_best() -> None:
    kaiwo = on_a_line()["tools"]["kaiwo"]
    assert (kaiwo["to_best_peer"]["wall_s"], kaiwo["to_best_told"]["wall_s"]) == (0.25, 1.6)


def test_goals_say_whom_they_compare_with() -> None:
    assert goals(on_a_line()) == [
        "kaiwo: wall at most 0.35 of the best peer at its defaults: reached 0.25",
        "kaiwo: wall at most 1.8 of the best peer told the best: reached 1.6",
    ]


def test_a_goal_without_its_measure_is_not_measured() -> None:
    (goal,) = row_of({}, Goal("wall_s", 1.0, "told"), kaiwo=result(1.0))["goals"]
    assert goal["reached"] is None


def test_the_table_says_what_a_tool_was_told() -> None:
    assert (
        "| rclone-told `--multi-thread-streams=64` | 1.25 | 0.16 | 1.00 | 1.00 | 1.00 | 1.00 | 10 |"
    ) in table("row", on_a_line())


def test_a_tool_that_failed_has_a_row_without_figures() -> None:
    failed = Result("failed: code 1")
    shown = table("row", row_of({"s5cmd-told": ("-x",)}, s5cmd_told=failed, kaiwo=result(1.0)))
    assert "| s5cmd-told `-x` | failed: code 1 | | | | | | |" in shown


def test_a_row_whose_peers_run_once_has_one_measure() -> None:
    plain: dict[str, Any] = row_of({}, kaiwo=result(3.0), boto3=result(2.0))
    assert plain["tools"]["kaiwo"]["to_best_peer"]["wall_s"] == 1.5
    assert "to_best_told" not in plain["tools"]["kaiwo"]
    assert "| kaiwo | 3.00 | 1.50 | 1.00 | 1.00 | 10 |" in table("row", plain)


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_a_load_names_tools_that_there_are(load: Load) -> None:
    assert set(load.tools) <= all_tools().keys()
    assert load.told.keys() <= set(load.tools)
    compared = {goal.of: MEASURES.get(goal.of, (goal.of,)) for goal in load.goals if goal.of}
    assert all(set(names) & set(load.tools) for names in compared.values())
