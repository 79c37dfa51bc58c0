"""The command line: commands and their options. What they do is in ``kaiwo.cli.commands``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.models import CommandInfo

from kaiwo._version import __version__
from kaiwo.cli import lock_commands, options, storage_initializer
from kaiwo.cli.plain_help import PlainCommand
from kaiwo.cli.process import guarded, run_and_leave
from kaiwo.errors import EXIT_CODES

#: Shared by ``kaiwo`` and ``python -m kaiwo.downloader``.
LOOK: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(
    name="kaiwo",
    help="Put models and data where a program needs them.",
    no_args_is_help=True,
    epilog="Exit codes: " + "; ".join(f"{code} {text}" for code, text in EXIT_CODES.items()) + ".",
    **LOOK,
)


def download(
    config_file: options.ConfigFile,
    max_workers: options.MaxWorkers = None,
    max_bandwidth: options.MaxBandwidth = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    download_root: options.DownloadRoot = None,
    progress: options.Progress = None,
    report: options.ReportFile = None,
    metrics_file: options.MetricsFile = None,
    verify: options.Verify = None,
    engine: options.Engine = None,
    retries: options.Retries = None,
    startup_wait: options.StartupWait = None,
    stall_timeout: options.StallTimeout = None,
    deadline: options.Deadline = None,
    state_dir: options.StateDir = None,
    dask: options.Dask = None,
    replicate: options.Replicate = None,
    fail_fast: options.FailFast = None,
    fsync: options.Fsync = None,
    force: options.Force = None,
    locked: options.Locked = None,
    write_lock: options.WriteLock = None,
    lock_file: options.LockFile = None,
    shard: options.Shard = None,
    shard_job: options.ShardJob = None,
    dry_run: options.DryRun = False,
) -> None:
    """Download everything that CONFIG_FILE asks for."""
    chosen = options.chosen(locals(), "config_file", "dry_run")

    def run() -> int:
        from kaiwo.cli import commands  # noqa: PLC0415 - --help needs none of it

        if dry_run:
            return commands.plan(config_file, chosen, as_json=False)
        return commands.download(config_file, chosen)

    raise typer.Exit(guarded(run))


def validate(
    config_files: options.ConfigFiles,
    as_json: options.AsJson = False,
) -> None:
    """Check each CONFIG_FILE alone: use no network, open no secret file."""

    def run() -> int:
        from kaiwo.cli import faults  # noqa: PLC0415

        return faults.validate(config_files, as_json=as_json)

    raise typer.Exit(guarded(run))


def plan(
    config_file: options.ConfigFile,
    as_json: options.AsJson = False,
    all_: Annotated[
        bool, typer.Option("--all", help="List what is unchanged, too, instead of counting it.")
    ] = False,
    download_root: options.DownloadRoot = None,
    state_dir: options.StateDir = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
) -> None:
    """Print what `download` would do, and do nothing."""
    chosen = options.chosen(locals(), "config_file", "as_json", "all_")

    def run() -> int:
        from kaiwo.cli import commands  # noqa: PLC0415

        return commands.plan(config_file, chosen, as_json=as_json, all_=all_)

    raise typer.Exit(guarded(run))


def clean(
    place: Annotated[
        str,
        typer.Argument(
            help="The YAML file, or the folder that `kaiwo fetch` was putting files into.",
            metavar="CONFIG_FILE|DIR",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also what a later run could resume.")
    ] = False,
    download_root: options.DownloadRoot = None,
    state_dir: options.StateDir = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
) -> None:
    """List what runs that are over left behind; remove it with --yes."""
    chosen = options.chosen(locals(), "place", "yes", "partial")

    def run() -> int:
        from kaiwo.cli import cleaning  # noqa: PLC0415

        return cleaning.clean(place, chosen, yes=yes, partial=partial)

    raise typer.Exit(guarded(run))


def doctor(as_json: options.AsJson = False) -> None:
    """Print what a question about a failure needs; no secret."""

    def run() -> int:
        from kaiwo.cli import doctor  # noqa: PLC0415

        return doctor.doctor(as_json=as_json)

    raise typer.Exit(guarded(run))


def schema() -> None:
    """Print the JSON Schema of the file, for editors."""

    def run() -> int:
        from kaiwo.config.schema import schema  # noqa: PLC0415

        print(json.dumps(schema(), indent=2))
        return 0

    raise typer.Exit(guarded(run))


def fetch(
    urls: Annotated[
        list[str],
        typer.Argument(
            help="s3://, gs://, az://, hf:// or https:// URL, and its file or folder; several URLs "
            "with -t [default of TARGET: the URL's own name].",
            metavar="URL [TARGET]",
        ),
    ],
    option: options.Fields = None,
    into: Annotated[
        str | None,
        typer.Option(
            "-t",
            help="Put each URL's file or folder into this folder, under its own name; that of a "
            "glob is the folder before it (what it matches goes into a TARGET itself). Several "
            "URLs need it.",
            metavar="DIR",
        ),
    ] = None,
    max_workers: options.MaxWorkers = None,
    max_bandwidth: options.MaxBandwidth = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    download_root: options.DownloadRoot = None,
    progress: options.Progress = None,
    report: options.ReportFile = None,
    metrics_file: options.MetricsFile = None,
    verify: options.Verify = None,
    engine: options.Engine = None,
    retries: options.Retries = None,
    startup_wait: options.StartupWait = None,
    stall_timeout: options.StallTimeout = None,
    deadline: options.Deadline = None,
    state_dir: options.StateDir = None,
    dask: options.Dask = None,
    replicate: options.Replicate = None,
    fail_fast: options.FailFast = None,
    fsync: options.Fsync = None,
    force: options.Force = None,
    locked: options.Locked = None,
    write_lock: options.WriteLock = None,
    lock_file: options.LockFile = None,
    shard: options.Shard = None,
    shard_job: options.ShardJob = None,
    dry_run: options.DryRun = False,
) -> None:
    """Download URLs, without a file, and print their paths."""
    chosen = options.chosen(locals(), "urls", "option", "into", "dry_run")
    fields = dict(options.field(text) for text in option or ())
    target = None
    if into is None and len(urls) > 1:
        urls, (target, *more) = urls[:1], urls[1:]
        if more:
            text = "is one path; several URLs need -t DIR, the folder for all of them"
            raise typer.BadParameter(text, param_hint="TARGET")

    def run() -> int:
        from kaiwo.cli import commands  # noqa: PLC0415

        return commands.fetch(urls, target, into, fields, chosen, dry_run=dry_run)

    raise typer.Exit(guarded(run))


def ls(
    url: Annotated[
        str,
        typer.Argument(
            help="s3://, gs://, az://, hf:// or https:// URL of a file or folder; may have a glob.",
            metavar="URL",
        ),
    ],
    option: options.Fields = None,
    as_json: options.AsJson = False,
    engine: options.Engine = None,
    startup_wait: options.StartupWait = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
) -> None:
    """List what is at a URL, and the totals."""
    chosen = options.chosen(locals(), "url", "option", "as_json")
    fields = dict(options.field(text) for text in option or ())

    def run() -> int:
        from kaiwo.cli import listing  # noqa: PLC0415

        return listing.ls(url, fields, chosen, as_json=as_json)

    raise typer.Exit(guarded(run))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"kaiwo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Print the version.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Put models and data where a program needs them."""


for _command in (
    *(clean, doctor, download, fetch, lock_commands.lock, ls, plan, schema),
    *(storage_initializer.storage_initializer, validate, lock_commands.verify),
):
    app.command(cls=PlainCommand)(_command)


def main() -> None:
    """The ``kaiwo`` command; ``kaiwo.__main__`` calls this after it has set signal handlers."""
    app.registered_commands = _asked(sys.argv[1:])
    run_and_leave(app)


def _asked(words: Sequence[str]) -> list[CommandInfo]:
    """The command that comes first, if one does: to prepare all of them takes 30 ms of a start."""
    known = app.registered_commands
    by_name = {each.callback.__name__.replace("_", "-"): each for each in known if each.callback}
    return [by_name[words[0]]] if words and words[0] in by_name else known
