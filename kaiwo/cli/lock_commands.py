"""The commands about locks, and their options. What they do is in ``kaiwo.cli.locking``."""

from __future__ import annotations

from typing import Annotated

import typer

from kaiwo.cli import options
from kaiwo.cli.process import guarded


def lock(
    config_file: options.ConfigFile,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say what differs, with exit code 7.")
    ] = False,
    hash_: Annotated[
        str | None,
        typer.Option(
            "--hash",
            help="Read objects whose sha256 their stores do not state.",
            **options.among("sha256"),
        ),
    ] = None,
    as_json: options.AsJson = False,
    lock_file: options.LockFile = None,
    download_root: options.DownloadRoot = None,
    engine: options.Engine = None,
    max_workers: options.MaxWorkers = None,
    startup_wait: options.StartupWait = None,
    deadline: options.Deadline = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
) -> None:
    """Write which objects CONFIG_FILE asks for into its lock file."""
    chosen = options.chosen(locals(), "config_file", "check", "hash_", "as_json")

    def run() -> int:
        from kaiwo.cli import locking  # noqa: PLC0415

        hashed = hash_ is not None
        return locking.lock(config_file, chosen, check=check, hashed=hashed, as_json=as_json)

    raise typer.Exit(guarded(run))


def verify(
    config_file: options.ConfigFile,
    as_json: options.AsJson = False,
    lock_file: options.LockFile = None,
    download_root: options.DownloadRoot = None,
    state_dir: options.StateDir = None,
    progress: options.Progress = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
) -> None:
    """Hash what is on the disk against the lock file, or what kaiwo published; use no network."""
    chosen = options.chosen(locals(), "config_file", "as_json")

    def run() -> int:
        from kaiwo.cli import locking  # noqa: PLC0415

        return locking.verify(config_file, chosen, as_json=as_json)

    raise typer.Exit(guarded(run))
