"""Showing a run."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from rich.console import Console

from kaiwo.errors import ConfigError, NotFoundError, TransientError, UnreachableError
from kaiwo.events import Ended, Event, Planned, Progressed, Retried, Settled, Started, Ticked
from kaiwo.objects import Item, Report, Status
from kaiwo.protocols import Sink
from kaiwo.reporting.bar import BarSink
from kaiwo.reporting.counters import MOST_FOLLOWED, RATE_OVER_S, Counters
from kaiwo.reporting.displays import (
    LOG_EVERY_S,
    JsonSink,
    LogSink,
    QuietSink,
    Sinks,
    program_sink,
    sink_for,
)
from kaiwo.reporting.log_lines import MOST_REMEMBERED, MOST_RETRIES, RETRIES_S
from kaiwo.reporting.progress_text import progress_line, slowest_text
from tests.support.terminal import on_a_terminal
from tests.support.waiting import wait_until
from tests.unit.reporting.reports import came

NAME = "[red]markup[/wrong] [bold].txt"
SECRET = "hunter2"
FAILED = NotFoundError(f"reading s3://b/{NAME}?sig={SECRET}: 404: not there")


def item(
    status: Status = "downloaded", *, size: int = 10, attempts: int = 1, error: Any = None
) -> Item:
    return Item("task", f"s3://b/{NAME}", f"/t/{NAME}", status, size, 0.0, attempts, error=error)


def ended(code: int = 0, *items: Item) -> Ended:
    return Ended(Report(code, 1.0, items=items))


RUN: tuple[Event, ...] = (
    Planned(3, 30, 2),
    Settled(item("unchanged", attempts=0)),
    Settled(item("unchanged", attempts=0)),
    came(10),
    Settled(item()),
    Retried("s3://b/x", TransientError(f"503 ?sig={SECRET}"), 1, 0.5),
    came(-4),
    came(14),
    Settled(item("unchanged", attempts=1)),
    Ticked(),
    Settled(item("failed", error=FAILED)),
    ended(4, item(), item("failed", error=FAILED)),
)


def tell(sink: Sink, events: Sequence[Event] = RUN) -> None:
    for event in events:
        sink.emit(event)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, "kaiwo"):
        yield caplog


def messages(log: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= level]


# --- counts -----------------------------------------------------------------------------------


def test_the_tally_counts_what_had_to_be_looked_at() -> None:
    counters = Counters()
    for event in RUN:
        counters.add(event)
    assert (counters.files, counters.files_done, counters.failed, counters.retries) == (3, 3, 1, 1)
    assert (counters.bytes, counters.bytes_done) == (30, 30)


def test_wants_that_could_not_be_planned_are_not_counted_among_the_files() -> None:
    counters = Counters()
    counters.add(Planned(1, 10, 0))
    counters.add(Settled(item("failed", size=0, attempts=0, error=FAILED)))
    counters.add(Settled(item()))
    assert counters.files_done <= counters.files


def test_before_the_first_byte_nobody_knows_how_long_it_takes() -> None:
    counters = Counters()
    counters.add(Planned(3, 30, 0))
    assert counters.left_s is None
    assert "left" not in progress_line(counters)
    counters.add(came(30))
    assert counters.left_s == 0


def test_bytes_that_have_to_be_read_again_are_no_negative_rate() -> None:
    counters = Counters()
    counters.add(Planned(1, 10, 0))
    counters.add(came(-10))
    assert counters.left_s is None


def test_a_line_has_files_bytes_rate_and_time_left() -> None:
    counters = Counters()
    for event in RUN[:8]:
        counters.add(event)
    counters.add(came(-5))
    shown = progress_line(counters)
    assert shown.startswith("1 of 3 files, 15 B of 30 B, ")
    assert re.search(r"/s, \d+(\.\d)? s left, 1 retry$", shown)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now_s = 100.0
    counters = Counters(lambda: now_s)
    counters.add(Planned(1, 1_000_000, 0))
    for _ in range(60):
        counters.add(came(1_000))
        now_s += 1
    assert counters.rate == pytest.approx(1_000)
    for _ in range(20):
        counters.add(came(50))
        now_s += 1
    assert counters.rate == pytest.approx(50, rel=0.1)
    assert counters.mean_rate == pytest.approx(61_000 / 80)
    for _ in range(30):  # nothing comes any more
        counters.add(Ticked())
        now_s += 1
    assert (counters.rate, counters.left_s) == (0, None)


def test_what_an_earlier_run_left_is_no_rate() -> None:
    now_s = 100.0
    counters = Counters(lambda: now_s)
    counters.add(Planned(1, 3_000, 0))
    now_s += RATE_OVER_S / 2
    counters.add(Progressed(2_000, kept=2_000))
    counters.add(came(100))
    assert (counters.bytes_done, counters.rate) == (2_100, 100 / (RATE_OVER_S / 2))


# --- log lines --------------------------------------------------------------------------------


def test_the_plan_is_worth_a_line(log: pytest.LogCaptureFixture) -> None:
    tell(LogSink(), [Planned(3, 3 << 20, 2)])
    assert messages(log) == ["3 files, 3.0 MiB to fetch; 2 files in place already"]


def test_files_that_are_there_are_no_files_to_fetch(log: pytest.LogCaptureFixture) -> None:
    tell(LogSink(), [Planned(3, 3 << 20, 2, 2, 1 << 20)])
    text = "1 file, 2.0 MiB to fetch; 2 files, 1.0 MiB to check; 2 files in place already"
    assert messages(log) == [text]


def test_what_only_checks_fetches_nothing(log: pytest.LogCaptureFixture) -> None:
    tell(LogSink(), [Planned(3, 3 << 20, 0, 3, 3 << 20)])
    assert messages(log) == ["3 files, 3.0 MiB to check"]


def test_a_line_comes_every_ten_seconds(log: pytest.LogCaptureFixture) -> None:
    now_s = 100.0
    sink = LogSink(clock=lambda: now_s)
    tell(sink, [Planned(1_000, 1_000, 0), *(came(1) for _ in range(400))])
    assert len(messages(log)) == 1
    now_s += LOG_EVERY_S
    tell(sink, [Ticked(), Ticked(), came(100)])
    assert messages(log)[1:] == ["0 of 1000 files, 400 B of 1000 B, 40 B/s, 15 s left"]
    now_s += LOG_EVERY_S
    tell(sink, [Ticked()])
    assert len(messages(log)) == 3


def test_a_long_listing_is_told_of_every_ten_seconds(log: pytest.LogCaptureFixture) -> None:
    now_s = 100.0
    sink = LogSink(clock=lambda: now_s)
    for passed_s in range(0, 26, 5):
        now_s = 100.0 + passed_s
        sink.emit(Ticked())
    assert messages(log) == ["still listing after 10 s", "still listing after 20 s"]


@pytest.mark.parametrize("sink", [LogSink(), QuietSink()], ids=["log", "none"])
def test_failures_and_repeats_are_lines_without_secrets(
    log: pytest.LogCaptureFixture, sink: Sink
) -> None:
    tell(sink)
    found = messages(log, logging.WARNING)
    assert len(found) == 2
    assert found[0].startswith("503 ")
    assert "attempt 2 in 0.5 s" in found[0]
    for part in ("failed: ", "task", f"s3://b/{NAME}", f"/t/{NAME}", "404: not there"):
        assert part in found[1]
    assert SECRET not in log.text


def test_no_progress_is_no_line_but_for_what_goes_wrong(log: pytest.LogCaptureFixture) -> None:
    tell(QuietSink(), [event for event in RUN if not isinstance(event, Retried)])
    assert [text[:7] for text in messages(log)] == ["failed:"]


def test_each_object_is_a_line_at_debug(log: pytest.LogCaptureFixture) -> None:
    tell(LogSink(), [Settled(item())])
    assert messages(log, logging.DEBUG) == [f"downloaded: s3://b/{NAME} -> /t/{NAME}"]
    assert messages(log) == []


def retry(number: int = 0) -> Retried:
    return Retried(f"s3://b/{number}", TransientError(f"reading s3://b/{number}: 503"), 1, 0.5)


def test_thousands_of_retries_are_told_first_and_then_counted(
    log: pytest.LogCaptureFixture,
) -> None:
    now_s = 100.0
    sink = QuietSink(clock=lambda: now_s)
    tell(sink, [retry(number) for number in range(5_000)])
    told = messages(log, logging.WARNING)
    first = [f"reading s3://b/{number}: 503; attempt 2 in 0.5 s" for number in range(MOST_RETRIES)]
    assert told == first
    now_s += RETRIES_S
    tell(sink, [Ticked(), Ticked(), retry(7)])
    told = messages(log, logging.WARNING)[len(first) :]
    assert told == ["and 4980 more retries in the last 10 s", first[7]]
    assert len(messages(log, logging.DEBUG)) == 5_002


def test_what_was_not_told_is_counted_when_the_run_ends(log: pytest.LogCaptureFixture) -> None:
    tell(QuietSink(), [*(retry() for _ in range(MOST_RETRIES + 1)), ended()])
    assert messages(log)[-1] == "and 1 more retry in the last 10 s"


def test_a_service_that_is_waited_for_is_told_now_and_then(log: pytest.LogCaptureFixture) -> None:
    now_s = 100.0
    sink = QuietSink(clock=lambda: now_s)
    waits = Retried("s3://b/k", UnreachableError("s3://b/k: connection refused"), 1, 0.5)
    tell(sink, [waits] * 1_000)
    assert len(messages(log, logging.DEBUG)) == 1
    now_s += 5
    tell(sink, [waits] * 1_000)
    assert len(messages(log, logging.DEBUG)) == 2


def test_memory_of_what_was_said_is_bounded(log: pytest.LogCaptureFixture) -> None:
    sink = QuietSink(clock=lambda: 100.0)
    first = UnreachableError("the first")
    events = [UnreachableError(f"another {number}") for number in range(MOST_REMEMBERED)]
    tell(sink, [Retried("x", error, 1, 0.5) for error in (first, *events, first)])
    # It was forgotten, so it is said again.
    said = [text for text in messages(log, logging.DEBUG) if text.startswith("the first")]
    assert len(said) == 2


# --- the slowest object -----------------------------------------------------------------------


def test_the_slowest_is_the_large_object_that_has_been_on_its_way_longest(
    log: pytest.LogCaptureFixture,
) -> None:
    now_s = 100.0
    sink = LogSink(clock=lambda: now_s)
    tell(sink, [Planned(3, 3_000, 0), Started("s3://b/one", 1_000)])
    now_s += 8
    tell(sink, [Started("s3://b/two", 1_000), came(900, "s3://b/two")])
    tell(sink, [came(150, "s3://b/one"), came(-30, "s3://b/one"), retry()])
    now_s += 40
    tell(sink, [Ticked()])
    assert messages(log)[-1] == (
        "0 of 3 files, 1020 B of 2.9 KiB, 26 B/s, 1 min 15 s left, 1 retry,"
        " slowest s3://b/one 12 % after 48 s, s3://b/two 90 % after 40 s"
    )
    tell(sink, [Settled(Item("t", "s3://b/one", "/t/one", "downloaded", 1_000, 48.0, 1))])
    now_s += LOG_EVERY_S
    tell(sink, [Ticked()])
    assert messages(log)[-1].endswith(", slowest s3://b/two 90 % after 50 s")


def test_an_object_that_begins_anew_is_on_its_way_since_it_began_first() -> None:
    now_s = 100.0
    counters = Counters(lambda: now_s)
    counters.add(Started("s3://b/one", 1_000))
    now_s += 60
    counters.add(Started("s3://b/one", 1_000))
    assert slowest_text(counters) == ", slowest s3://b/one 0 % after 1 min 00 s"


def test_without_a_large_object_none_is_the_slowest() -> None:
    counters = Counters()
    counters.add(came(10))
    counters.add(came(10, "s3://b/unheard"))
    assert (slowest_text(counters), counters.slowest) == ("", [])


def test_a_bounded_number_of_objects_is_followed() -> None:
    counters = Counters()
    for number in range(MOST_FOLLOWED + 10):
        counters.add(Started(f"s3://b/{number}", 1_000))
        counters.add(came(10, f"s3://b/{number}"))
    assert len(counters.in_progress) == MOST_FOLLOWED
    assert counters.bytes_done == 10 * (MOST_FOLLOWED + 10)
    for number in range(MOST_FOLLOWED + 10):
        counters.add(Settled(Item("t", f"s3://b/{number}", "/t", "failed", 1_000, 0.0, 1)))
    assert counters.slowest == []


def test_what_was_there_already_makes_nothing_faster() -> None:
    counters = Counters()
    counters.add(Planned(2, 1 << 40, 0))
    counters.add(Settled(item("unchanged", size=1 << 39, attempts=1)))
    assert (counters.bytes_done, counters.rate) == (1 << 39, 0)


# --- JSON lines -------------------------------------------------------------------------------


def test_every_line_of_json_is_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    tell(JsonSink(stream))
    documents = [json.loads(text) for text in stream.getvalue().splitlines()]
    counts = {"files": 3, "bytes": 30}
    assert documents[0] == {
        "event": "planned",
        "unchanged": 2,
        "files_done": 0,
        "bytes_done": 0,
        **counts,
    }
    assert [each["event"] for each in documents if each["event"] != "progress"] == [
        "planned",
        "retried",
        "failed",
        "ended",
    ]
    retried = next(each for each in documents if each["event"] == "retried")
    assert (retried["what"], retried["attempt"], retried["delay_s"]) == ("s3://b/x", 1, 0.5)
    failed = next(each for each in documents if each["event"] == "failed")
    assert (failed["source"], failed["target"]) == (f"s3://b/{NAME}", f"/t/{NAME}")
    assert documents[-1] == {
        "event": "ended",
        "exit_code": 4,
        "files_done": 3,
        "bytes_done": 30,
        **counts,
    }
    assert SECRET not in stream.getvalue()
    assert capsys.readouterr() == ("", "")


def test_a_tally_in_json_comes_at_most_every_second() -> None:
    stream = io.StringIO()
    start = time.monotonic()
    tell(JsonSink(stream), [Planned(9, 9_999, 0), *[came(1)] * 5_000])
    tallies = [text for text in stream.getvalue().splitlines() if '"progress"' in text]
    assert 1 <= len(tallies) <= 2 + time.monotonic() - start


def test_a_tally_in_json_names_the_slowest_object() -> None:
    stream = io.StringIO()
    begun = Started("s3://b/k", 1_000)
    tell(JsonSink(stream), [Planned(9, 9_999, 0), begun, came(10, "s3://b/k")])
    _, tally = map(json.loads, stream.getvalue().splitlines())
    assert (tally["event"], tally["retries"]) == ("progress", 0)
    assert {**tally["slowest"], "seconds": 0} == {
        "source": "s3://b/k",
        "bytes": 0,
        "size": 1_000,
        "seconds": 0,
    }
    stream = io.StringIO()
    tell(JsonSink(stream), [Planned(9, 9_999, 0), came(10)])
    assert json.loads(stream.getvalue().splitlines()[1])["slowest"] is None


def test_a_tally_in_json_has_the_numbers_of_every_display() -> None:
    stream = io.StringIO()
    sink = JsonSink(stream)
    tell(sink, [Planned(9, 9_999, 0), Progressed(10, kept=4, read=6)])
    last = json.loads(stream.getvalue().splitlines()[-1])
    numbers = {name: last[name] for name in ("transferred_bytes", "checked_bytes", "failed")}
    assert numbers == {"transferred_bytes": 6, "checked_bytes": 4, "failed": 0}
    assert last["left_s"] >= 0
    assert last["slowest_files"] == []


def test_names_in_json_are_data_whatever_they_are() -> None:
    stream = io.StringIO()
    odd = 'ñ 🚀 "\\ \n \x1b[31m \udcff'
    failed = Item("t", odd, odd, "failed", 1, attempts=1, error=NotFoundError(odd))
    tell(JsonSink(stream), [Settled(failed)])
    (text,) = stream.getvalue().splitlines()
    assert json.loads(text)["source"] == json.loads(text)["message"] == odd


# --- a bar ------------------------------------------------------------------------------------


def terminal(width: int = 120) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, width=width, color_system=None), stream


@pytest.mark.parametrize("width", [120, 80, 40, 20])
def test_a_bar_is_one_line_however_narrow_the_terminal_is(width: int) -> None:
    console, stream = terminal(width)
    bar = BarSink(console)
    started = Started(f"s3://b/{NAME}", 200 << 30)
    tell(bar, [Planned(120, 200 << 30, 0), started, came(90 << 30), Ticked()])
    wait_until(lambda: re.search("45 %|90.0 GiB of 200.0 GiB", "".join(drawn(stream))))
    assert width <= 20 or any("━" in line for line in drawn(stream)), "the bar is left out"
    tell(bar, [ended()])
    assert all(len(line) < width for line in drawn(stream))
    assert drawn(stream)[-1].startswith("done")


@pytest.mark.parametrize(
    ("code", "label"), [(0, "done"), (130, "stopped"), (143, "stopped"), (8, "deadline passed")]
)
def test_the_label_at_the_end_says_how_the_run_ended(code: int, label: str) -> None:
    console, stream = terminal()
    tell(BarSink(console), [Planned(1, 10, 0), came(10), ended(code)])
    assert drawn(stream)[-1].startswith(f"{label}, ")


def test_where_the_cursor_cannot_move_a_bar_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(sink_for("auto", lambda: pytest.fail("nobody needs it")), LogSink)


def drawn(stream: io.StringIO) -> list[str]:
    """The lines that were drawn, without what moves the cursor."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    return [line for line in re.split(r"[\r\n]", plain) if line.strip()]


def test_a_run_with_nothing_to_fetch_says_what_is_in_place() -> None:
    console, stream = terminal()
    there = item("unchanged", attempts=0)
    tell(
        BarSink(console), [Planned(0, 0, 2), Settled(there), Settled(there), ended(0, there, there)]
    )
    assert drawn(stream)[-1].rstrip() == "done, 2 files in place already"


def test_a_bar_ends_with_all_counts() -> None:
    console, stream = terminal()
    tell(BarSink(console))
    last = drawn(stream)[-1].rstrip()
    assert last.startswith("1 failed, 3 of 3 files (1 failed), 30 B of 30 B, ")
    assert stream.getvalue().count("\x1b[?25h") == stream.getvalue().count("\x1b[?25l") == 1


def test_a_bar_begins_with_the_listing() -> None:
    console, stream = terminal()
    bar = BarSink(console)
    bar.emit(ended())
    assert "listing" in stream.getvalue() or "done" in stream.getvalue()


@pytest.mark.parametrize("make", [LogSink, JsonSink, QuietSink])
def test_a_sink_says_nothing_on_stdout(
    make: type[Sink], capsys: pytest.CaptureFixture[str]
) -> None:
    tell(make())
    assert capsys.readouterr().out == ""


def test_names_are_shown_as_they_are_on_a_terminal(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    task = {
        "type": "url",
        "items": [{"file": f"file://{tmp_path}/{NAME}", "target_path": str(tmp_path / "x")}],
    }
    config.write_text(json.dumps({"download_items": [task]}))
    command = [sys.executable, "-m", "kaiwo.downloader", str(config), "--progress", "bar"]
    shown = on_a_terminal(command, tmp_path)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert NAME in re.sub(r"\s+", " ", plain), plain
    assert "Traceback" not in plain


# --- which sink there is ------------------------------------------------------------------------


def closed_pipe() -> IO[str]:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def test_a_reader_that_went_away_is_no_failure_of_the_run() -> None:
    # As in ``kaiwo download … --progress json 2>&1 | head``: sinks never raise.
    stream = closed_pipe()
    try:
        tell(JsonSink(stream))
    finally:
        with contextlib.suppress(BrokenPipeError):
            stream.close()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bar", BarSink),
        ("log", LogSink),
        ("json", JsonSink),
        ("none", QuietSink),
        ("auto", LogSink),
    ],
)
def test_the_sink_is_the_one_that_was_asked_for(kind: str, expected: type[Sink]) -> None:
    sink = sink_for(kind, lambda: terminal()[0])
    assert type(sink) is expected
    sink.emit(ended())


def test_where_lines_are_expected_a_bar_is_a_line() -> None:
    sink = sink_for("bar", lambda: pytest.fail("nobody needs it"), lines_only=True)
    assert isinstance(sink, LogSink)


def test_several_sinks_are_told_in_their_order() -> None:
    streams = io.StringIO(), io.StringIO()
    tell(Sinks(*map(JsonSink, streams)))
    first, second = (stream.getvalue() for stream in streams)
    assert first == second != ""


def test_a_console_is_made_only_for_a_bar() -> None:
    for kind in ("auto", "log", "json", "none"):
        sink_for(kind, lambda: pytest.fail("nobody needs it"))


class Plain:
    """What some programs have in place of stderr: it can be written, and nothing else."""

    def write(self, text: str) -> None: ...


def closed() -> IO[str]:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stderr", [None, closed(), Plain()], ids=["none", "closed", "plain"])
def test_a_program_may_have_no_stderr(monkeypatch: pytest.MonkeyPatch, stderr: object) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    assert isinstance(program_sink("auto"), QuietSink)
    assert isinstance(sink_for("auto", Console), LogSink)


@pytest.mark.parametrize("stderr", [None, closed()], ids=["none", "closed"])
def test_lines_for_nobody_are_not_written(monkeypatch: pytest.MonkeyPatch, stderr: object) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    JsonSink().emit(Planned(1, 10, 0))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("auto", QuietSink), ("none", QuietSink), ("log", LogSink), ("json", JsonSink)],
)
def test_a_program_says_how_progress_is_shown(kind: str, expected: type[Sink]) -> None:
    assert type(program_sink(kind)) is expected


def test_a_program_on_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(program_sink("auto"), BarSink)


def test_another_way_to_show_progress_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be one of auto, bar, log, json, none"):
        program_sink("tqdm")
