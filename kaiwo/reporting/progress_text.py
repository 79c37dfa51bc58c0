"""Progress as text: the same numbers in log lines, in a notebook and beside the bar."""

from __future__ import annotations

from kaiwo import units
from kaiwo.errors import UnfinishedError
from kaiwo.objects import Report
from kaiwo.reporting.counters import Counters

_ENDED_BY = {130: "stopped", 143: "stopped", 8: "deadline passed"}


def progress_line(counters: Counters) -> str:
    """Files, bytes, rate and time left, in one line."""
    parts = [_files(counters), _bytes(counters), _speed(counters)]
    if counters.left_s is not None:
        parts.append(f"{units.duration(counters.left_s)} left")
    if counters.retries:
        parts.append(units.count(counters.retries, "retry", "retries"))
    return ", ".join(parts)


def end_line(counters: Counters, report: Report) -> str:
    """What a run ended with, in one line: the rate is that of the whole run."""
    if not counters.files:
        return ", ".join([end_label(report), *_in_place(report)])
    parts = [end_label(report), _files(counters), _bytes(counters)]
    if counters.received > 0:
        parts.append(f"{_rate(counters.mean_rate)} in {units.duration(counters.seconds)}")
    return ", ".join(parts)


def end_narrowing(counters: Counters, report: Report) -> list[str]:
    """The same for the last line, see ``narrowing``."""
    label, line = end_label(report), end_line(counters, report)
    return [line, f"{label}, {_bytes(counters)}", label] if counters.files else [line, label]


def _in_place(report: Report) -> list[str]:
    """What there was to say of a run that had nothing to fetch."""
    unchanged = report.count("unchanged")
    return [f"{units.count(unchanged, 'file')} in place already"] if unchanged else []


def end_label(report: Report) -> str:
    """How a run ended, in a word or two."""
    if report.ok:
        return "done"
    errors = [item.error for item in report.items if item.error is not None]
    failed = sum(not isinstance(error, UnfinishedError) for error in errors)
    return _ENDED_BY.get(report.exit_code) or (f"{failed} failed" if failed else "failed")


def slowest_text(counters: Counters) -> str:
    """The slowest large objects, to be added to a progress line; empty if there are none."""
    now_s = counters.clock()
    ages = (
        f"{each.source} {each.percent} % after {units.duration(now_s - each.started_s)}"
        for each in counters.slowest
    )
    return "".join(f"{', ' if at else ', slowest '}{text}" for at, text in enumerate(ages))


def narrowing(counters: Counters) -> list[str]:
    """The line beside a bar, the longest first: each says less, for a terminal that is narrower."""
    speed, left_s = _speed(counters), counters.left_s
    left = "" if left_s is None else f", {units.duration(left_s)} left"
    percent = f"{min(100 * counters.bytes_done // max(counters.bytes, 1), 100)} %"
    failed = f", {counters.failed} failed" if counters.failed else ""
    label = "checking" if counters.is_checking else "downloading"
    line = f"{label}: {_files(counters)}, {_bytes(counters)}, {speed}{left}"
    names = (
        f"{units.printable(each.source.rpartition('/')[2])} {each.percent} %"
        for each in counters.slowest
    )
    return [
        *([f"{line}; slowest: {named}"] if (named := ", ".join(names)) else ()),
        line,
        f"{_bytes(counters)}, {speed}{left}{failed}",
        f"{percent}, {speed}{left}{failed}",
        f"{percent}, {speed}{failed}",
        percent,
    ]


def _speed(counters: Counters) -> str:
    """The rate; what was there is checked, which is no speed."""
    return "checking" if counters.is_checking else _rate(counters.rate)


def _files(counters: Counters) -> str:
    failed = f" ({counters.failed} failed)" if counters.failed else ""
    return f"{counters.files_done} of {counters.files} files{failed}"


def _bytes(counters: Counters) -> str:
    return f"{units.size(counters.bytes_done)} of {units.size(counters.bytes)}"


def _rate(bytes_per_s: float) -> str:
    return f"{units.size(bytes_per_s)}/s"
