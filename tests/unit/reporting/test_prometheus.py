"""A run in numbers: a file that Prometheus' own rules can read."""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kaiwo import __version__
from kaiwo.errors import ConfigError, KaiwoError, NotFoundError, TransientError
from kaiwo.events import Ended, Event, Planned, Retried, Settled, Ticked
from kaiwo.objects import Item, Report, Status
from kaiwo.reporting.prometheus import EVERY_S, Metric, MetricsFile
from tests.support.command import Kaiwo, Run
from tests.support.stores import Store
from tests.unit.reporting.reports import came

Values = dict[str, float]
#: https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"({NAME})(\{{{LABEL}(?:,{LABEL})*\}})? (\S+)")


def parsed(text: str) -> Values:
    """The samples of a file in Prometheus' text format, read strictly."""
    assert text.endswith("\n")
    values: Values = {}
    helped: set[str] = set()
    types: dict[str, str] = {}
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            name, _, words = line.removeprefix("# HELP ").partition(" ")
            assert re.fullmatch(NAME, name)
            assert words
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert name not in types
            assert name in helped
            assert kind == ("counter" if name.endswith("_total") else "gauge")
            types[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            # All samples of a metric stand together, below its head.
            assert match[1] == list(types)[-1]
            sample = match[1] + (match[2] or "")
            assert sample not in values
            values[sample] = float(match[3])
    return values


def item(status: Status = "downloaded", error: KaiwoError | None = None, attempts: int = 1) -> Item:
    return Item("task", "s3://b/k", "/t/k", status, 10, 0.0, attempts, error=error)


GONE = NotFoundError("gone")
RUN: tuple[Event, ...] = (
    Planned(4, 40, 1),
    Settled(item("unchanged", attempts=0)),
    came(10),
    Settled(item()),
    Retried("s3://b/k", TransientError("503"), 1, 0.5),
    came(-4),
    came(14),
    Settled(item("resumed")),
    Settled(item("failed", GONE)),
    Settled(item("failed", TransientError("503"))),
)


@dataclass
class Watched:
    """Metrics with clocks that the test moves."""

    path: Path
    seconds: float = 100.0
    metrics: MetricsFile = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = MetricsFile(
            str(self.path), lambda: self.seconds, lambda: 1_700_000_000.0 + self.seconds
        )

    def tell(self, *events: Event) -> None:
        for event in events:
            self.metrics.emit(event)

    def values(self) -> Values:
        return parsed(self.path.read_text(encoding="utf-8"))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "kaiwo.prom")


def test_at_the_end_all_of_the_run_is_there(watched: Watched) -> None:
    watched.tell(*RUN)
    watched.seconds += 12.5
    watched.metrics.end(Report(4, 12.0, 31))
    assert watched.values() == {
        f'kaiwo_info{{version="{__version__}"}}': 1,
        "kaiwo_seconds": 12.5,
        "kaiwo_files_planned": 4,
        "kaiwo_bytes_planned": 40,
        'kaiwo_files{status="downloaded"}': 1,
        'kaiwo_files{status="resumed"}': 1,
        'kaiwo_files{status="unchanged"}': 1,
        'kaiwo_files{status="failed"}': 2,
        "kaiwo_bytes_done": 20,
        "kaiwo_bytes_rate": 2,
        "kaiwo_transferred_bytes_total": 31,
        "kaiwo_retries_total": 1,
        'kaiwo_failures_total{kind="not_found"}': 1,
        'kaiwo_failures_total{kind="service"}': 1,
        "kaiwo_last_progress_timestamp_seconds": 1_700_000_100,
        "kaiwo_exit_code": 4,
    }


def test_it_is_there_with_the_plan_and_then_every_ten_seconds(watched: Watched) -> None:
    watched.tell(Ticked())
    assert not watched.path.exists()
    watched.tell(Planned(4, 40, 1))
    assert watched.values()["kaiwo_files_planned"] == 4
    assert "kaiwo_exit_code" not in watched.values()
    assert "kaiwo_last_progress_timestamp_seconds" not in watched.values()
    watched.tell(came(10))
    assert watched.values()["kaiwo_bytes_done"] == 0
    watched.seconds += EVERY_S
    watched.tell(Ticked())
    assert watched.values()["kaiwo_bytes_done"] == 10
    assert watched.values()["kaiwo_last_progress_timestamp_seconds"] == 1_700_000_100
    watched.tell(came(10), Ticked(), Ended(Report(0, 1.0)))
    assert watched.values()["kaiwo_bytes_done"] == 10


def test_counters_never_go_down(watched: Watched) -> None:
    watched.tell(Planned(1, 100, 0), came(90), came(-90))
    watched.metrics.end(Report(5, 1.0, 50))
    assert watched.values()["kaiwo_transferred_bytes_total"] == 90


def test_what_ended_the_run_is_counted(watched: Watched) -> None:
    watched.metrics.end(Report(2, 0.0, error=ConfigError("a key")))
    values = watched.values()
    assert (values["kaiwo_exit_code"], values['kaiwo_failures_total{kind="config"}']) == (2, 1)


def test_labels_and_words_are_escaped() -> None:
    odd = 'a "quoted" \\ back\nslash'
    (sample,) = parsed("".join(Metric("m", odd, {odd: 1.5}, "label").lines()))
    assert sample == r'm{label="a \"quoted\" \\ back\nslash"}'


def test_a_reader_never_finds_half_of_it(watched: Watched) -> None:
    watched.tell(*RUN)
    watched.metrics.end(Report(4, 12.0))
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(len(watched.values()))

    reader = threading.Thread(target=read)
    reader.start()
    deadline_s = time.monotonic() + 20
    while len(seen) < 200 and time.monotonic() < deadline_s:
        watched.metrics.end(Report(4, 12.0))
    done.set()
    reader.join()
    assert len(seen) >= 200
    assert set(seen) == {16}


def test_its_mode_is_the_umasks_and_nothing_is_left_beside_it(watched: Watched) -> None:
    before = os.umask(0o022)
    try:
        watched.metrics.end(Report(0, 1.0))
    finally:
        os.umask(before)
    assert stat.S_IMODE(watched.path.stat().st_mode) == 0o644
    assert os.listdir(watched.path.parent) == ["kaiwo.prom"]


def test_where_it_cannot_be_written_one_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(tmp_path / "none" / "kaiwo.prom")
    watched.tell(*RUN)
    watched.seconds += EVERY_S
    watched.tell(Ticked())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "none/kaiwo.prom: No such file" in record.getMessage()
    # The folder may come later.
    watched.path.parent.mkdir()
    watched.metrics.end(Report(0, 1.0))
    assert watched.values()["kaiwo_exit_code"] == 0


# --- the command ------------------------------------------------------------------------------


def ran(kaiwo: Kaiwo, store: Store, keys: Sequence[str], metrics: Path) -> tuple[Run, Values]:
    items = [{"file": key, "target_path": key} for key in keys]
    task = store.task(store.new_bucket({"a": b"1", "b": b"22"}), items)
    done = kaiwo({"download_items": [task]}, "--metrics-file", str(metrics))
    return done, parsed(metrics.read_text())


def test_the_command_writes_it(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    done, values = ran(kaiwo, s3, ["a", "b"], tmp_path / "kaiwo.prom")
    assert (done.code, values["kaiwo_exit_code"]) == (0, 0)
    assert values['kaiwo_files{status="downloaded"}'] == 2
    assert values["kaiwo_bytes_planned"] == values["kaiwo_bytes_done"] == 3
    assert values["kaiwo_transferred_bytes_total"] == done.report["transferred_bytes"] == 3


def test_the_command_tells_of_failures(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    done, values = ran(kaiwo, s3, ["a", "none"], tmp_path / "kaiwo.prom")
    assert (done.code, values["kaiwo_exit_code"]) == (4, 4)
    assert values['kaiwo_failures_total{kind="not_found"}'] == 1


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_run_that_never_began_is_told_of(kaiwo: Kaiwo, tmp_path: Path, how: str) -> None:
    path = tmp_path / "kaiwo.prom"
    options = ("--metrics-file", str(path)) if how == "option" else ()
    env = {"KAIWO_METRICS_FILE": str(path)} if how == "environment" else {}
    assert kaiwo("download_items: []", *options, env=env).code == 2
    assert parsed(path.read_text())["kaiwo_exit_code"] == 2


def test_a_run_whose_metrics_cannot_be_written_goes_on(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), [{"file": "k", "target_path": "k"}])
    config = {"download_items": [task], "metrics_file": str(tmp_path / "none" / "kaiwo.prom")}
    done = kaiwo(config)
    assert done.code == 0
    assert len([line for line in done.stderr.splitlines() if "WARNING" in line]) == 1
