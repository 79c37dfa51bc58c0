"""``kaiwo storage-initializer``: KServe's contract. What the pairs mean: ``kaiwo.initializer``."""

from __future__ import annotations

from typing import Annotated

import typer

from kaiwo.cli import options
from kaiwo.cli.process import guarded


def storage_initializer(
    pairs: Annotated[
        list[str],
        typer.Argument(
            help="URI of a model (s3://, gs://, hf://, https://, file:// or pvc://), and the "
            "folder that it goes to; one pair or several.",
            metavar="SRC DST...",
        ),
    ],
    max_workers: options.MaxWorkers = None,
    max_bandwidth: options.MaxBandwidth = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    progress: options.Progress = None,
    report: options.ReportFile = None,
    metrics_file: options.MetricsFile = None,
    engine: options.Engine = None,
    retries: options.Retries = None,
    startup_wait: options.StartupWait = None,
    stall_timeout: options.StallTimeout = None,
    deadline: options.Deadline = None,
    state_dir: options.StateDir = None,
    force: options.Force = None,
) -> None:
    """Put models where KServe's servers look for them; reads KServe's variables."""
    chosen = options.chosen(locals(), "pairs")
    if len(pairs) % 2:
        raise typer.BadParameter("each SRC is followed by its DST", param_hint="SRC DST")

    def run() -> int:
        from kaiwo.cli import commands  # noqa: PLC0415 - --help needs none of it

        return commands.initialize([*zip(pairs[::2], pairs[1::2], strict=True)], chosen)

    raise typer.Exit(guarded(run))
