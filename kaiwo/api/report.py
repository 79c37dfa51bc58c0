"""The report of ``kaiwo.download``: what a run did, with what a program asks of it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import astuple

from kaiwo import objects, redact, units
from kaiwo.api.shown_errors import is_whole
from kaiwo.errors import KaiwoError, exit_code_of
from kaiwo.objects import Item
from kaiwo.reporting import json_report
from kaiwo.reporting.log_lines import failure

#: A report's text names at most this many failures.
MOST_NAMED = 3


class Report(objects.Report, frozen=True):
    """What a run did; ``ok`` means that every object is in place and verified.

    Attributes:
        exit_code: what the command would exit with, 0 when all is well.
        seconds: the run's duration.
        transferred_bytes: object bytes read, repeats included.
        items: one for each object: ``source`` (its URL), ``target`` (its path), ``status``
            (``downloaded``, ``resumed``, ``unchanged`` or ``failed``), ``bytes``, ``seconds``,
            ``attempts``, ``etag``, ``checksum``, ``verified``, and ``error`` or None.
        error: what ended the run, if anything did.
        shard: of one of several processes with one plan, which one it is (``shard.shard``), and
            whether it has checked the whole (``shard.union_checked``); else None.
        nodes: with ``replicate``, what became of each node: ``address``, ``state`` (``complete``,
            ``failed`` or ``gone``), ``root``, ``store_bytes``, ``peer_bytes``, ``error``.
    """

    @classmethod
    def of(cls, report: objects.Report) -> Report:
        """The same report, for a program."""
        return cls(*astuple(report))

    @property
    def failed(self) -> tuple[Item, ...]:
        """The objects that failed, each with its ``source``, ``target`` and ``error``."""
        return tuple(item for item in self.items if item.status == "failed")

    def raise_for_failures(self) -> None:
        """Return if every object is in place.

        Raises:
            KaiwoError: objects failed. Of several kinds of failure, the error has the kind that
                the exit code stands for.
        """
        if self.ok:
            return
        failures = self._failures()
        error, text = next(
            (each for each in failures if exit_code_of(each[0]) == self.exit_code), failures[0]
        )
        if len(failures) > 1:
            text = f"{len(failures)} of {len(self.items)} objects failed; the first: {text}"
        # A new error each time: one that is raised twice keeps the traceback of both.
        raised = type(error)(text, *error.args[1:])
        raise raised from error.__cause__ if is_whole(error) else None

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--report`` writes it, ready for ``json.dumps``; without secrets."""
        return json_report.as_json(self)

    def __repr__(self) -> str:
        there = [item for item in self.items if item.status != "failed"]
        size = units.size(sum(item.bytes for item in there))
        counts = {each: self.count(each) for each in ("downloaded", "resumed", "unchanged")}
        how = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        text = f"{units.count(len(there), 'file')}, {size} in place" + (f" ({how})" if how else "")
        text += f" in {units.duration(self.seconds)}"
        if self.ok:
            return f"<Report: {text}>"
        failures = self._failures()
        lines = [f"{len(failures)} failed (exit code {self.exit_code}); {text}"]
        lines += [units.printable(text) for _, text in failures[:MOST_NAMED]]
        if (more := len(failures) - MOST_NAMED) > 0:
            lines.append(f"and {more} more: see report.failed")
        return "<Report: " + "\n  ".join(lines) + ">"

    def _failures(self) -> list[tuple[KaiwoError, str]]:
        """What ended the run, then what failed, each with its text for people."""
        own = [] if self.error is None else [(self.error, redact.text(self.error.message))]
        return own + [(each.error, failure(each)) for each in self.failed if each.error]
