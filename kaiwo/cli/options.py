"""The options of the commands: each also in the environment, as its help says.

Values are checked by ``config.settings`` once more, with those of the environment and the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from kaiwo.cli.logs import LEVELS
from kaiwo.cli.numbers import duration, whole


def among(*values: str) -> dict[str, Any]:
    """Accept one of these values, in upper or lower case; show and complete them."""

    def check(value: str | None) -> str | None:
        if value is None:
            return None
        for known in values:
            if value.lower() == known.lower():
                return known
        raise typer.BadParameter(f"must be one of {', '.join(values)}")

    def complete(incomplete: str) -> list[str]:
        return [each for each in values if each.startswith(incomplete)]

    return {"callback": check, "autocompletion": complete, "metavar": "|".join(values)}


ConfigFile = Annotated[
    str, typer.Argument(help="The YAML file; - is stdin.", metavar="CONFIG_FILE")
]
ConfigFiles = Annotated[
    list[str], typer.Argument(help="YAML files; - is stdin.", metavar="CONFIG_FILE...")
]
MaxWorkers = Annotated[
    int | None,
    typer.Option(
        help="At most N requests at once (1 to 1024), shared by all tasks [default: begins with 8 "
        "and follows the line] [env: KAIWO_MAX_WORKERS].",
        metavar="N",
        parser=whole(1, 1024),
    ),
]
MaxBandwidth = Annotated[
    str | None,
    typer.Option(
        help="At most this many bytes a second: 200M, 1.5Gi [default: no limit] "
        "[env: KAIWO_MAX_BANDWIDTH].",
        metavar="RATE",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        help="The scheduler of a Dask cluster, such as tcp://scheduler:8786, whose workers move "
        "the bytes; needs kaiwo[dask] [default: this process does] [env: KAIWO_DASK].",
        metavar="ADDRESS",
    ),
]
Replicate = Annotated[
    bool | None,
    typer.Option(
        "--replicate",
        help="With --dask: the download root is each worker's own disk. Every part leaves the "
        "store once, and arrives on all of them [env: KAIWO_REPLICATE].",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        help="The least severe messages that are shown [default: INFO] [env: KAIWO_LOG_LEVEL].",
        **among(*LEVELS),
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        help="Log lines as text, or as json: one object a line [default: text] "
        "[env: KAIWO_LOG_FORMAT].",
        **among("text", "json"),
    ),
]
DownloadRoot = Annotated[
    str | None,
    typer.Option(
        help="Folder for relative targets [default: the file's, else the working directory] "
        "[env: KAIWO_DOWNLOAD_ROOT].",
        metavar="DIR",
    ),
]
Progress = Annotated[
    str | None,
    typer.Option(
        help="How progress is shown; auto is a bar on a terminal, else log [default: auto] "
        "[env: KAIWO_PROGRESS].",
        **among("auto", "bar", "log", "json", "none"),
    ),
]
ReportFile = Annotated[
    str | None,
    typer.Option(
        "--report",
        help="Write a JSON report to this file; - is stdout [env: KAIWO_REPORT].",
        metavar="FILE",
    ),
]
MetricsFile = Annotated[
    str | None,
    typer.Option(
        help="Write Prometheus metrics to this file, every 10 s [env: KAIWO_METRICS_FILE].",
        metavar="FILE",
    ),
]
Verify = Annotated[
    str | None,
    typer.Option(
        help="Verify checksum, if the store states one, or size only [default: checksum] "
        "[env: KAIWO_VERIFY].",
        **among("size", "checksum"),
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="What reads bytes of object stores [default: auto] [env: KAIWO_ENGINE].",
        **among("auto", "fsspec", "obstore"),
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        help="Retries of a failed request [default: 5] [env: KAIWO_RETRIES].",
        metavar="N",
        parser=whole(0),
    ),
]
StartupWait = Annotated[
    float | None,
    typer.Option(
        help="How long to retry a service that is not up yet [default: 30] "
        "[env: KAIWO_STARTUP_WAIT].",
        metavar="DURATION",
        parser=duration(0),
    ),
]
StallTimeout = Annotated[
    float | None,
    typer.Option(
        help="How long no byte may arrive before a request fails [default: 30] "
        "[env: KAIWO_STALL_TIMEOUT].",
        metavar="DURATION",
        parser=duration(0.001),
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option(
        help="Hard time limit of the run: 3600, 90s, 1h30m [default: none] [env: KAIWO_DEADLINE].",
        metavar="DURATION",
        parser=duration(0.001),
    ),
]
StateDir = Annotated[
    str | None,
    typer.Option(
        help="Keep kaiwo's state in this folder [default: .kaiwo in the roots] "
        "[env: KAIWO_STATE_DIR].",
        metavar="DIR",
    ),
]
FailFast = Annotated[
    bool | None,
    typer.Option("--fail-fast", help="End at the first object that fails [env: KAIWO_FAIL_FAST]."),
]
Fsync = Annotated[
    bool | None,
    typer.Option("--fsync", help="Sync each file to disk before its rename [env: KAIWO_FSYNC]."),
]
Force = Annotated[
    bool | None,
    typer.Option("--force", help="Fetch objects again that are in place [env: KAIWO_FORCE]."),
]
Locked = Annotated[
    bool | None,
    typer.Option(
        "--locked",
        help="Fetch exactly what the lock file has, or end with exit code 7 [env: KAIWO_LOCKED].",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        help="Fetch part I (from 0) of N balanced parts of the plan, into folders that all shards "
        "share [default: JOB_COMPLETION_INDEX/KAIWO_SHARDS] [env: KAIWO_SHARD].",
        metavar="I/N",
    ),
]
ShardJob = Annotated[
    str | None,
    typer.Option(
        help="What all shards belong to, another one for each run of all of them: the uid of a Job "
        "[env: KAIWO_SHARD_JOB].",
        metavar="NAME",
    ),
]
WriteLock = Annotated[
    bool | None,
    typer.Option(
        "--write-lock",
        help="Write the lock file when all is in place [env: KAIWO_WRITE_LOCK].",
    ),
]
LockFile = Annotated[
    str | None,
    typer.Option(
        help="The lock file [default: the configuration's name with .lock, beside it] "
        "[env: KAIWO_LOCK_FILE].",
        metavar="FILE",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, and do nothing else.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        help="A field of the task type, such as endpoint_url=…; may be repeated.",
        metavar="FIELD=VALUE",
    ),
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show details, as --log-level DEBUG does.")
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Show warnings and errors alone, and no progress.")
]


def chosen(parameters: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """The options of a run, with what -v and -q stand for where nothing else was given.

    Args:
        parameters: of a command, by their names.
        others: names of those that are no options of a run.
    """
    verbose, quiet = parameters["verbose"], parameters["quiet"]
    if verbose and quiet:
        raise typer.BadParameter("and -v exclude each other", param_hint="-q")
    left_out = {*others, "verbose", "quiet"}
    found = {name: value for name, value in parameters.items() if name not in left_out}
    if (verbose or quiet) and found.get("log_level") is None:
        found["log_level"] = "DEBUG" if verbose else "WARNING"
    if quiet and "progress" in found and found["progress"] is None:
        found["progress"] = "none"
    return found


#: Fields that take a glob or a list of them: ``[0-9]`` is a glob there.
_GLOBS = ("glob", "exclude")


def field(text: str) -> tuple[str, Any]:
    """Name and value of a FIELD=VALUE."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter("has the form FIELD=VALUE", param_hint="-o")
    is_glob = name in _GLOBS and not any(sign in value for sign in ",'\"")
    if value[:1] + value[-1:] in ("[]", "{}") and not is_glob:
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
    except (yaml.YAMLError, ValueError, RecursionError):
        text = f"{name} is not a valid {word}; write {name}='{form}'"
        raise typer.BadParameter(text, param_hint="-o") from None
    return found if isinstance(found, kind) else value
