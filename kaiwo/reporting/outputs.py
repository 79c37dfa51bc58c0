"""Who is told how a run ended, however it ends: a report, the pod, Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaiwo.errors import KaiwoError, cause_of
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.reporting import json_report

if TYPE_CHECKING:
    from kaiwo.reporting.prometheus import Metrics


class Delivery:
    """Where the outcome of one run goes.

    Args:
        destination: of the report, or None.
        metrics_file: or None.

    Attributes:
        sinks: are to be told what happens.
    """

    def __init__(self, destination: str | None, metrics_file: str | None) -> None:
        self._destination = destination
        self._metrics: Metrics | None = None
        self._settled = json_report.Settlements()
        # A signal may come between them: what is shown is in the report.
        self.sinks: tuple[Sink, ...] = (self._settled,)
        if metrics_file:
            from kaiwo.reporting.prometheus import Metrics  # noqa: PLC0415 - a run loads what it uses

            self._metrics = Metrics(metrics_file)
            self.sinks += (self._metrics,)

    def require_folder(self) -> None:
        """See ``report.require_folder``."""
        json_report.require_folder(self._destination)

    def until(self, error: BaseException) -> Report:
        """What was settled before that error, a signal's perhaps, ended the run."""
        return self._settled.until(cause_of(error))

    def deliver(self, done: Report) -> None:
        """Tell all of them.

        Raises:
            DiskError: all went well, and only the report cannot be written.
        """
        try:
            json_report.deliver(done, self._destination)
        except KaiwoError as error:
            done = Report(error.exit_code, done.seconds, done.transferred_bytes, done.items, error)
            raise
        finally:
            if self._metrics is not None:
                self._metrics.end(done)
