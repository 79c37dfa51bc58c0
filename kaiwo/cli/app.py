"""The command line: commands and their options. What they do is in ``kaiwo.cli.commands``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from kaiwo._version import __version__
from kaiwo.cli.durations import duration
from kaiwo.cli.logs import LEVELS
from kaiwo.cli.process import guarded, run_and_leave
from kaiwo.errors import EXIT_CODES

#: Shared by ``kaiwo`` and ``python -m kaiwo.downloader``.
LOOK: dict[str, Any] = {
    "add_completion": False,
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

ConfigFile = Annotated[str, typer.Argument(help="The YAML file.", metavar="CONFIG_FILE")]


def _choice(*values: str) -> Callable[[str | None], str | None]:
    """Accept one of these values, in upper or lower case."""

    def check(value: str | None) -> str | None:
        if value is None:
            return None
        for known in values:
            if value.lower() == known.lower():
                return known
        raise typer.BadParameter(f"must be one of {', '.join(values)}")

    return check


LogLevel = Annotated[
    str | None,
    typer.Option(help="DEBUG, INFO, WARNING or ERROR [default: INFO].", callback=_choice(*LEVELS)),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        help="Log lines as text, or as json: one object a line [default: text].",
        callback=_choice("text", "json"),
    ),
]
DownloadRoot = Annotated[
    str | None,
    typer.Option(
        help="Folder for relative targets [default: the file's, else the working directory]."
    ),
]


def download(
    config_file: ConfigFile,
    max_workers: Annotated[
        int | None,
        typer.Option(
            help="At most this many requests at once, shared by all tasks [default: begins with 8 "
            "and follows the line].",
            min=1,
            max=1024,
        ),
    ] = None,
    max_bandwidth: Annotated[
        str | None,
        typer.Option(
            help="At most this many bytes a second: 200M, 1.5Gi [default: no limit].",
            metavar="RATE",
        ),
    ] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    download_root: DownloadRoot = None,
    progress: Annotated[
        str | None,
        typer.Option(
            help="auto, bar, log, json or none [default: auto].",
            callback=_choice("auto", "bar", "log", "json", "none"),
        ),
    ] = None,
    report: Annotated[
        str | None, typer.Option(help="Write a JSON report to this file; - is stdout.")
    ] = None,
    metrics_file: Annotated[
        str | None, typer.Option(help="Write Prometheus metrics to this file, every 10 s.")
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(
            help="Verify checksum, if the store states one, or size only [default: checksum].",
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
        int | None, typer.Option(help="Retries of a failed request [default: 5].", min=0)
    ] = None,
    startup_wait: Annotated[
        float | None,
        typer.Option(
            help="How long to retry a service that is not up yet [default: 30s].",
            parser=duration(0),
            metavar="DURATION",
        ),
    ] = None,
    stall_timeout: Annotated[
        float | None,
        typer.Option(
            help="How long a request may bring no byte before it fails [default: 30s].",
            parser=duration(0.001),
            metavar="DURATION",
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(
            help="Hard time limit of the run: 3600, 90s, 1h30m [default: none].",
            parser=duration(0.001),
            metavar="DURATION",
        ),
    ] = None,
    state_dir: Annotated[
        str | None,
        typer.Option(help="Keep kaiwo's state in this folder [default: .kaiwo in the roots]."),
    ] = None,
    fail_fast: Annotated[
        bool | None, typer.Option("--fail-fast", help="End at the first object that fails.")
    ] = None,
    fsync: Annotated[
        bool | None, typer.Option("--fsync", help="Sync each file to disk before its rename.")
    ] = None,
    force: Annotated[
        bool | None, typer.Option("--force", help="Fetch objects again that are in place.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and do nothing else.")
    ] = False,
) -> None:
    """Download everything that CONFIG_FILE asks for."""
    given = locals()
    options = {name: given[name] for name in given if name not in ("config_file", "dry_run")}

    def run() -> int:
        from kaiwo.cli import commands  # noqa: PLC0415 - --help needs none of it

        if dry_run:
            return commands.plan(config_file, options, as_json=False)
        return commands.download(config_file, options)

    raise typer.Exit(guarded(run))


def validate(
    config_files: Annotated[
        list[str], typer.Argument(help="YAML files; - is stdin.", metavar="CONFIG_FILE...")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, on stdout.")] = False,
) -> None:
    """Check each CONFIG_FILE alone: use no network, open no secret file."""

    def run() -> int:
        from kaiwo.cli import faults  # noqa: PLC0415

        return faults.validate(config_files, as_json=as_json)

    raise typer.Exit(guarded(run))


def plan(
    config_file: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    download_root: DownloadRoot = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Print everything that `download` would do; read no byte of any object."""
    options = {"download_root": download_root, "log_level": log_level, "log_format": log_format}

    def run() -> int:
        from kaiwo.cli import commands  # noqa: PLC0415

        return commands.plan(config_file, options, as_json=as_json)

    raise typer.Exit(guarded(run))


def schema() -> None:
    """Print the JSON Schema of the file, for editors."""

    def run() -> int:
        from kaiwo.config.schema import schema  # noqa: PLC0415

        print(json.dumps(schema(), indent=2))
        return 0

    raise typer.Exit(guarded(run))


def fetch(
    url: Annotated[
        str, typer.Argument(help="s3://, gs://, az://, hf:// or https:// URL.", metavar="URL")
    ],
    target: Annotated[
        str | None, typer.Argument(help="File or folder [default: the URL's own name].")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", help="A field of the task type, as FIELD=VALUE; may be repeated."),
    ] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Download one URL, without a configuration file, and print its path."""
    fields = dict(_field(text) for text in option or ())
    options = {"log_level": log_level, "log_format": log_format}

    def run() -> int:
        from kaiwo.cli import commands  # noqa: PLC0415

        return commands.fetch(url, target, fields, options)

    raise typer.Exit(guarded(run))


def _field(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter("has the form FIELD=VALUE", param_hint="-o")
    if value[:1] + value[-1:] in ("[]", "{}"):
        return name, _parsed(name, value)
    return name, {"true": True, "false": False}.get(value, value)


def _parsed(name: str, value: str) -> Any:
    """A list or a mapping in YAML; a string that only looks like one stays a string."""
    import yaml  # noqa: PLC0415 - few need it

    kind, word, form = (
        (list, "list", '["one", "two"]')
        if value[0] == "["
        else (dict, "mapping", '{"name": "value"}')
    )
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        text = f"{name} is not a valid {word}; write {name}='{form}'"
        raise typer.BadParameter(text, param_hint="-o") from None
    return found if isinstance(found, kind) else value


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
    """The ``kaiwo`` command; ``kaiwo.__main__`` calls this after it has set signal handlers."""
    run_and_leave(app)
