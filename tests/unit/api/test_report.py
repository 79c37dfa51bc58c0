"""The report of ``kaiwo.download``."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

import kaiwo
from kaiwo import objects
from kaiwo.errors import DeadlineError, TransientError
from kaiwo.objects import Checksum, Item
from kaiwo.reporting import json_report

NAME = "k\x1b[31m\n<b>&"
THERE = Item("t", "s3://b/a", "/t/a", "downloaded", 10, checksum=Checksum("md5", "0" * 32))
UNCHANGED = Item("t", "s3://b/b", "/t/b", "unchanged", 20)
MISSING = Item(
    "t", f"s3://b/{NAME}", "/t/c", "failed", 0, error=kaiwo.NotFoundError("no such object")
)
BUSY = Item("t", "s3://b/d", "/t/d", "failed", 0, error=TransientError("503", 2.5, 7))


def report(code: int, *items: Item) -> kaiwo.Report:
    return kaiwo.Report.of(objects.Report(code, 1.25, 10, items))


def test_a_report_without_failures_raises_nothing_and_says_what_happened() -> None:
    good = report(0, THERE, UNCHANGED)
    good.raise_for_failures()
    assert good.failed == ()
    assert repr(good) == ("<Report: 2 files, 30 B in place (1 downloaded, 1 unchanged) in 1.2 s>")


def test_a_failure_is_raised_with_its_kind_its_url_and_its_attributes() -> None:
    bad = report(5, THERE, BUSY)
    assert bad.failed == (BUSY,)
    raised = []
    for _ in range(2):
        with pytest.raises(TransientError) as caught:
            bad.raise_for_failures()
        raised.append(caught.value)
        assert str(caught.value) == "s3://b/d: 503 (task t, target /t/d)"
        assert (caught.value.retry_after_s, caught.value.reached) == (2.5, 7)
    # Each keeps the traceback of its own.
    assert raised[0] is not raised[1] is not BUSY.error


def test_of_several_failures_the_one_is_raised_that_the_exit_code_stands_for() -> None:
    bad = report(4, BUSY, THERE, MISSING)
    with pytest.raises(kaiwo.NotFoundError, match="2 of 3 objects failed; the first: ") as caught:
        bad.raise_for_failures()
    assert caught.value.exit_code == bad.exit_code


def test_what_ended_the_run_is_raised_too() -> None:
    ended = kaiwo.Report.of(objects.Report(8, 1.0, error=DeadlineError("the deadline passed")))
    with pytest.raises(DeadlineError):
        ended.raise_for_failures()
    assert "the deadline passed" in repr(ended)


def test_its_text_names_the_first_failures_on_a_line_each() -> None:
    bad = report(4, THERE, *[MISSING] * 5)
    lines = repr(bad).splitlines()
    assert lines[0] == (
        "<Report: 5 failed (exit code 4); 1 file, 10 B in place (1 downloaded) in 1.2 s"
    )
    assert lines[-1] == "  and 2 more: see report.failed>"
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)


def test_as_a_dictionary_it_is_the_json_of_the_command() -> None:
    bad = report(4, THERE, MISSING)
    as_dict = bad.to_dict()
    assert as_dict == json_report.as_json(bad)
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert (as_dict["failed"], as_dict["items"][1]["error"]["message"]) == (1, "no such object")


@pytest.mark.parametrize("again", [lambda each: pickle.loads(pickle.dumps(each)), copy.deepcopy])
def test_it_survives_pickling_and_copying(again: object) -> None:
    assert callable(again)
    bad = report(4, THERE, MISSING)
    other = again(bad)
    assert type(other) is kaiwo.Report
    assert repr(other) == repr(bad)
    assert other.to_dict() == bad.to_dict()
