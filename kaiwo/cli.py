"""The command line: its commands and options. Everything else is ``kaiwo.api``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaiwo._version import __version__
from kaiwo.errors import EXIT_CODES, KaiwoError
from kaiwo.process import (
    LEVELS,
    Interrupted,
    console,
    early_level,
    guarded,
    log_to_stderr,
    logger,
    run_and_leave,
)

if TYPE_CHECKING:
    from kaiwo.objects import Report

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="kaiwo",
    help="Put models and data where a program needs them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
    epilog="Exit codes: " + "; ".join(f"{code} {text}" for code, text in EXIT_CODES.items()) + ".",
)

ConfigFile = Annotated[str, typer.Argument(help="The YAML file.", metavar="CONFIG_FILE")]


def _choice(*values: str) -> Callable[[str | None], str | None]:
    """Accept one of these, whatever its case."""

    def check(value: str | None) -> str | None:
        if value is None:
            return None
        for known in values:
            if value.lower() == known.lower():
                return known
        raise typer.BadParameter(f"it is one of {', '.join(values)}")

    return check


LogLevel = Annotated[
    str | None,
    typer.Option(help="DEBUG, INFO, WARNING or ERROR [default: INFO].", callback=_choice(*LEVELS)),
]


def download(
    config_file: ConfigFile,
    max_workers: Annotated[
        int | None,
        typer.Option(help="Concurrent workers, shared by all tasks [default: 8].", min=1, max=1024),
    ] = None,
    log_level: LogLevel = None,
    download_root: Annotated[
        str | None,
        typer.Option(help="Relative targets are below it [default: the file's, else here]."),
    ] = None,
    progress: Annotated[
        str | None,
        typer.Option(
            help="auto, bar, log, json or none [default: auto].",
            callback=_choice("auto", "bar", "log", "json", "none"),
        ),
    ] = None,
    report: Annotated[
        str | None, typer.Option(help="Write a JSON report there; - is stdout.")
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(
            help="size, or checksum as the store states it [default: checksum].",
            callback=_choice("size", "checksum"),
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="What reads bytes: auto, fsspec or obstore [default: auto].",
            callback=_choice("auto", "fsspec", "obstore"),
        ),
    ] = None,
    retries: Annotated[
        int | None, typer.Option(help="Repeats of a failed request [default: 5].", min=0)
    ] = None,
    startup_wait: Annotated[
        float | None,
        typer.Option(help="Seconds to wait for a service that is not up [default: 30].", min=0),
    ] = None,
    stall_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds without a byte that are a failure [default: 30].", min=0.001),
    ] = None,
    state_dir: Annotated[
        str | None, typer.Option(help="Keep kaiwo's memory there [default: .kaiwo in the roots].")
    ] = None,
    fail_fast: Annotated[
        bool | None, typer.Option("--fail-fast", help="End at the first object that fails.")
    ] = None,
    force: Annotated[
        bool | None, typer.Option("--force", help="Fetch even what is already there.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")
    ] = False,
) -> None:
    """Download everything that CONFIG_FILE asks for."""
    given = locals()
    options = {name: given[name] for name in given if name not in ("config_file", "dry_run")}
    if dry_run:
        raise typer.Exit(guarded(lambda: _plan(config_file, options, as_json=False)))
    raise typer.Exit(guarded(lambda: _download(config_file, options)))


def _download(config_file: str, options: dict[str, Any]) -> int:
    from kaiwo import api, config, progress, report  # noqa: PLC0415 - --help needs none of it

    log_to_stderr(early_level(options["log_level"]))
    destination = options["report"] or os.environ.get("KAIWO_REPORT")
    try:
        loaded = config.load(config_file, options)
        settings = loaded.settings
        destination = settings.report
        log_to_stderr(settings.log_level)
        done = api.run(loaded, progress.sink_for(settings.progress, console))
    except (KaiwoError, Interrupted) as error:
        cause = error.error if isinstance(error, Interrupted) else error
        report.deliver(report.failure(cause), destination)
        raise
    report.deliver(done, destination)
    _summarise(done)
    return done.exit_code


def _summarise(done: Report) -> None:
    from kaiwo.progress import amount, counted, duration  # noqa: PLC0415

    size = sum(item.bytes for item in done.items if item.status != "failed")
    fetched, unchanged = done.count("downloaded") + done.count("resumed"), done.count("unchanged")
    files = counted(fetched + unchanged, "file")
    text = "%s, %s in place (%d downloaded, %d unchanged) in %s"
    logger.info(text, files, amount(size), fetched, unchanged, duration(done.seconds))
    if failed := done.count("failed"):
        logger.error("%d failed, see above; exit code %d", failed, done.exit_code)


def validate(config_file: ConfigFile) -> None:
    """Check CONFIG_FILE alone: no network, no secret file."""

    def check() -> int:
        from kaiwo import config, progress  # noqa: PLC0415

        loaded = config.load(config_file)
        print(f"{config_file}: valid, {progress.counted(len(loaded.tasks), 'task')}")
        return 0

    raise typer.Exit(guarded(check))


def plan(
    config_file: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    download_root: Annotated[
        str | None,
        typer.Option(help="Relative targets are below it [default: the file's, else here]."),
    ] = None,
    log_level: LogLevel = None,
) -> None:
    """Print everything that `download` would do; no byte of any object is read."""
    options = {"download_root": download_root, "log_level": log_level}
    raise typer.Exit(guarded(lambda: _plan(config_file, options, as_json=as_json)))


def _plan(config_file: str, options: dict[str, Any], *, as_json: bool) -> int:
    from kaiwo import api, config, progress, report  # noqa: PLC0415

    log_to_stderr(early_level(options["log_level"]))
    loaded = config.load(config_file, options)
    log_to_stderr(loaded.settings.log_level)
    decided = api.decide(loaded, progress.QuietSink())
    document = report.plan_as_json(decided)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        for item in document["items"]:
            action = item.get("action", "failed")
            print(f"{action:<9}  {item['bytes']:>15,}  {item['source']} -> {item['target']}")
    for item in decided.missed:
        logger.error("%s", progress.failure(item))
    return report.plan_exit_code(decided)


def schema() -> None:
    """Print the JSON Schema of the file, for editors."""

    def show() -> int:
        from kaiwo import config  # noqa: PLC0415

        print(json.dumps(config.schema(), indent=2))
        return 0

    raise typer.Exit(guarded(show))


def fetch(
    url: Annotated[str, typer.Argument(help="s3://, gs://, az:// or hf:// URL.", metavar="URL")],
    target: Annotated[
        str | None, typer.Argument(help="File or folder [default: its name].")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", help="A field of the task type, as FIELD=VALUE; may be repeated."),
    ] = None,
    log_level: LogLevel = None,
) -> None:
    """Download one URL, without a file, and print where it is."""
    fields = dict(_field(text) for text in option or ())

    def run() -> int:
        from kaiwo import api, progress  # noqa: PLC0415

        log_to_stderr(early_level(log_level))
        path = api.fetch(url, target, sink=progress.sink_for("auto", console), **fields)
        print(path)
        return 0

    raise typer.Exit(guarded(run))


def _field(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter("has the form FIELD=VALUE", param_hint="-o")
    return name, {"true": True, "false": False}.get(value, value)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"kaiwo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Put models and data where a program needs them."""


app.command()(download)
app.command()(fetch)
app.command()(plan)
app.command()(schema)
app.command()(validate)


def main() -> None:
    """The ``kaiwo`` command."""
    run_and_leave(app)
