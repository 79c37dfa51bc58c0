"""Progress as text: the same numbers in log lines, in a notebook and beside the bar."""

from __future__ import annotations

from kaiwo import units
from kaiwo.errors import UnfinishedError
from kaiwo.objects import Report
from kaiwo.reporting.counters import Counters

_ENDED_BY = {130: "stopped", 143: "stopped", 8: "deadline passed"}


def progress_line(counters: Counters) -> str:
    """Files, bytes, rate and time left, in one line."""
    parts = [_files(counters), _bytes(counters), _rate(counters.rate)]
    if counters.left_s is not None:
        parts.append(f"{units.duration(counters.left_s)} left")
    if counters.retries:
        parts.append(units.count(counters.retries, "retry", "retries"))
    return ", ".join(parts)


def end_line(counters: Counters, report: Report) -> str:
    """What a run ended with, in one line: the rate is that of the whole run."""
    parts = [end_label(report), _files(counters), _bytes(counters)]
    if counters.received > 0:
        parts.append(f"{_rate(counters.mean_rate)} in {units.duration(counters.seconds)}")
    return ", ".join(parts)


def end_narrowing(counters: Counters, report: Report) -> list[str]:
    """The same for the last line, see ``narrowing``."""
    label = end_label(report)
    return [end_line(counters, report), f"{label}, {_bytes(counters)}", label]


def end_label(report: Report) -> str:
    """How a run ended, in a word or two."""
    if report.ok:
        return "done"
    errors = [item.error for item in report.items if item.error is not None]
    failed = sum(not isinstance(error, UnfinishedError) for error in errors)
    return _ENDED_BY.get(report.exit_code) or (f"{failed} failed" if failed else "failed")


def slowest_text(counters: Counters) -> str:
    """The slowest large object, to be added to a progress line; empty if there is none."""
    slowest = counters.slowest
    if slowest is None:
        return ""
    age = units.duration(counters.clock() - slowest.started_s)
    return f", slowest {slowest.source} {slowest.percent} % after {age}"


def narrowing(counters: Counters, label: str) -> list[str]:
    """The line beside a bar, the longest first: each says less, for a terminal that is narrower."""
    rate, left_s = _rate(counters.rate), counters.left_s
    left = "" if left_s is None else f", {units.duration(left_s)} left"
    percent = f"{min(100 * counters.bytes_done // max(counters.bytes, 1), 100)} %"
    failed = f", {counters.failed} failed" if counters.failed else ""
    return [
        f"{label}: {_files(counters)}, {_bytes(counters)}, {rate}{left}",
        f"{_bytes(counters)}, {rate}{left}{failed}",
        f"{percent}, {rate}{left}{failed}",
        f"{percent}, {rate}{failed}",
        percent,
    ]


def _files(counters: Counters) -> str:
    failed = f" ({counters.failed} failed)" if counters.failed else ""
    return f"{counters.files_done} of {counters.files} files{failed}"


def _bytes(counters: Counters) -> str:
    return f"{units.size(counters.bytes_done)} of {units.size(counters.bytes)}"


def _rate(bytes_per_s: float) -> str:
    return f"{units.size(bytes_per_s)}/s"
