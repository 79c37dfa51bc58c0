"""The command line: options, logging, exit codes. Everything else is ``kaiwo.api``.

Only results go to stdout; logs, bars and errors go to stderr.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from kaiwo import redact
from kaiwo._version import __version__
from kaiwo.errors import EXIT_CODES, ConfigError, KaiwoError, StoppedError, exit_code_of

if TYPE_CHECKING:
    from rich.console import Console

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
logger = logging.getLogger("kaiwo")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

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
    typer.Option(help="DEBUG, INFO, WARNING or ERROR [default: INFO].", callback=_choice(*_LEVELS)),
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
        raise typer.Exit(_guarded(lambda: _plan(config_file, options, as_json=False)))
    raise typer.Exit(_guarded(lambda: _download(config_file, options)))


def _download(config_file: str, options: dict[str, Any]) -> int:
    from kaiwo import api, config, progress, report  # noqa: PLC0415 - --help needs none of it

    _log_to_stderr(_early_level(options["log_level"]))
    destination = options["report"] or os.environ.get("KAIWO_REPORT")
    try:
        loaded = config.load(config_file, options)
        settings = loaded.settings
        destination = settings.report
        _log_to_stderr(settings.log_level)
        done = api.run(loaded, progress.sink_for(settings.progress, _console))
    except (KaiwoError, _Interrupted) as error:
        cause = error.error if isinstance(error, _Interrupted) else error
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

    raise typer.Exit(_guarded(check))


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
    raise typer.Exit(_guarded(lambda: _plan(config_file, options, as_json=as_json)))


def _plan(config_file: str, options: dict[str, Any], *, as_json: bool) -> int:
    from kaiwo import api, config, progress, report  # noqa: PLC0415

    _log_to_stderr(_early_level(options["log_level"]))
    loaded = config.load(config_file, options)
    _log_to_stderr(loaded.settings.log_level)
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

    raise typer.Exit(_guarded(show))


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

        _log_to_stderr(_early_level(log_level))
        path = api.fetch(url, target, sink=progress.sink_for("auto", _console), **fields)
        print(path)
        return 0

    raise typer.Exit(_guarded(run))


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


def _guarded(command: Callable[[], int]) -> int:
    """Run a command; its errors become one message and an exit code.

    A signal ends the process at once, whatever a worker is waiting for: a target never holds
    partial bytes, so there is nothing to finish.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        return command()
    except _Interrupted as interrupted:
        logger.error("%s", interrupted.error.message)  # noqa: TRY400 - no trace for a signal
        _leave(exit_code_of(interrupted.error))
    except KaiwoError as error:
        _log_to_stderr_if_silent()
        logger.error("%s", redact.text(error.message))  # noqa: TRY400 - no trace but at DEBUG
        if logger.isEnabledFor(logging.DEBUG) and not isinstance(error, ConfigError):
            logger.debug("%s", redact.text(traceback.format_exc()))
        return exit_code_of(error)
    except Exception as error:
        _log_to_stderr_if_silent()
        trace = "".join(traceback.format_tb(error.__traceback__))
        text = "a defect of kaiwo, please report it: %s\n%s"
        logger.critical(text, type(error).__name__, redact.text(trace))
        return 1


class _Interrupted(BaseException):
    """Raised by a signal wherever the main thread is; no ``except Exception`` may swallow it."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        text = f"stopped by {name}; what is complete is in place, a further run goes on from there"
        self.error = StoppedError(text, number)
        super().__init__(self.error)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signals are
    # A second one ends the process at once.
    signal.signal(number, signal.SIG_DFL)
    raise _Interrupted(number)


def _leave(code: int) -> NoReturn:
    """End the process without waiting for its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@functools.cache
def _console() -> Console:
    """The one rich console: log lines and the bar must not draw over each other."""
    from rich.console import Console  # noqa: PLC0415 - on a terminal only

    return Console(stderr=True)


def _early_level(option: str | None) -> str:
    """The level to begin with, before it is known what the file says."""
    level = (option or os.environ.get("KAIWO_LOG_LEVEL", "")).upper()
    return level if level in _LEVELS else "INFO"


def _log_to_stderr(level: str) -> None:
    """Send kaiwo's log lines to stderr: rich on a terminal, plain elsewhere.

    The SDKs' own lines stay silent: they quote headers and signed addresses.
    """
    logger.setLevel(level)
    if logger.handlers:
        return
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.highlighter import NullHighlighter  # noqa: PLC0415 - on a terminal only
        from rich.logging import RichHandler  # noqa: PLC0415

        # Names of objects are neither markup nor numbers to be coloured.
        handler = RichHandler(
            console=_console(), markup=False, highlighter=NullHighlighter(), show_path=False
        )
        handler.setFormatter(logging.Formatter("%(message)s", "[%X]"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())


def _log_to_stderr_if_silent() -> None:
    if not logger.handlers:
        _log_to_stderr("INFO")


def main() -> None:
    """The ``kaiwo`` command."""
    app()
