"""What is written when a run ends, however it ends: JSON report, termination message, metrics."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kaiwo.errors import DiskError, cause_of, exit_code_of
from kaiwo.events import Ended, Event
from kaiwo.objects import Report
from kaiwo.reporting import json_report, termination_message

if TYPE_CHECKING:
    from kaiwo.reporting.prometheus import MetricsFile

logger = logging.getLogger(__name__)


class Outputs:
    """A sink that learns a run's report from its ``Ended``, and then writes it.

    It must be the first of several sinks: a signal may arrive between two of them, and then the
    report has what the others show. Of several runs (``fetch`` asks for a file, then for a folder)
    the last one counts.

    Args:
        report_file: path of the JSON report, ``-`` for stdout, None for no report.
        metrics_file: path of the metrics file, None for no metrics.
    """

    def __init__(self, report_file: str | None = None, metrics_file: str | None = None) -> None:
        self._start_s, self._started_at_s = time.monotonic(), time.time()
        self._report_file = report_file
        self._ended: Report | None = None
        self._metrics: MetricsFile | None = None
        if metrics_file:
            from kaiwo.reporting.prometheus import MetricsFile  # noqa: PLC0415 - a run loads what it uses

            self._metrics = MetricsFile(metrics_file)

    def require_folder(self) -> None:
        """See ``json_report.require_folder``."""
        json_report.require_folder(self._report_file)

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if isinstance(event, Ended):
            self._ended = event.report
        if self._metrics is not None:
            self._metrics.emit(event)

    def report(self, error: BaseException | None = None) -> Report:
        """The report of the run that ended last.

        Args:
            error: what ended the program; the report then has this error and its exit code. Before
                the first run, the report has nothing else.
        """
        seconds = time.monotonic() - self._start_s
        ended = self._ended or Report(0, seconds, started_at_s=self._started_at_s)
        if error is None:
            return ended
        cause = cause_of(error)
        return replace(ended, exit_code=exit_code_of(cause), error=cause)

    def write(self, report: Report) -> None:
        """Write everything.

        Raises:
            DiskError: the run went well, and only the report cannot be written.
        """
        try:
            termination_message.write(report)
            self._write_report(report)
        except DiskError as error:
            report = replace(report, exit_code=exit_code_of(error), error=error)
            termination_message.write(report)
            raise
        finally:
            if self._metrics is not None:
                self._metrics.end(report)

    def _write_report(self, report: Report) -> None:
        if self._report_file is None:
            return
        try:
            json_report.write(report, self._report_file)
        except DiskError as error:
            if report.ok:
                raise
            # The run's own failure matters more, and is what the exit code says.
            logger.warning("%s", error.message)
