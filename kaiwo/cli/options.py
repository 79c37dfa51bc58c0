"""The options of the commands: each also in the environment, as its help says.

Values are checked by ``config.settings`` once more, with those of the environment and the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from kaiwo.cli.logs import LEVELS


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


ConfigFile = Annotated[str, typer.Argument(help="The YAML file.", metavar="CONFIG_FILE")]
MaxWorkers = Annotated[
    int | None,
    typer.Option(
        help="At most N requests at once, shared by all tasks [default: begins with 8 and follows "
        "the line; env: KAIWO_MAX_WORKERS].",
        metavar="N",
        min=1,
        max=1024,
    ),
]
MaxBandwidth = Annotated[
    str | None,
    typer.Option(
        help="At most this many bytes a second: 200M, 1.5Gi [default: no limit; "
        "env: KAIWO_MAX_BANDWIDTH].",
        metavar="RATE",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        help="The least severe messages that are shown [default: INFO; env: KAIWO_LOG_LEVEL].",
        metavar="DEBUG|INFO|WARNING|ERROR",
        callback=_choice(*LEVELS),
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        help="Log lines as text, or as json: one object a line [default: text; "
        "env: KAIWO_LOG_FORMAT].",
        metavar="text|json",
        callback=_choice("text", "json"),
    ),
]
DownloadRoot = Annotated[
    str | None,
    typer.Option(
        help="Folder for relative targets [default: the file's, else the working directory; "
        "env: KAIWO_DOWNLOAD_ROOT].",
        metavar="DIR",
    ),
]
Progress = Annotated[
    str | None,
    typer.Option(
        help="How progress is shown; auto is a bar on a terminal, else log [default: auto; "
        "env: KAIWO_PROGRESS].",
        metavar="auto|bar|log|json|none",
        callback=_choice("auto", "bar", "log", "json", "none"),
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
        help="Verify checksum, if the store states one, or size only [default: checksum; "
        "env: KAIWO_VERIFY].",
        metavar="size|checksum",
        callback=_choice("size", "checksum"),
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="What reads bytes of object stores [default: auto; env: KAIWO_ENGINE].",
        metavar="auto|fsspec|obstore",
        callback=_choice("auto", "fsspec", "obstore"),
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        help="Retries of a failed request [default: 5; env: KAIWO_RETRIES].", metavar="N", min=0
    ),
]
StartupWait = Annotated[
    float | None,
    typer.Option(
        help="How long to retry a service that is not up yet [default: 30; "
        "env: KAIWO_STARTUP_WAIT].",
        metavar="SECONDS",
        min=0,
    ),
]
StallTimeout = Annotated[
    float | None,
    typer.Option(
        help="How long no byte may arrive before a request fails [default: 30; "
        "env: KAIWO_STALL_TIMEOUT].",
        metavar="SECONDS",
        min=0.001,
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option(
        help="Hard time limit of the run [default: none; env: KAIWO_DEADLINE].",
        metavar="SECONDS",
        min=0.001,
    ),
]
StateDir = Annotated[
    str | None,
    typer.Option(
        help="Keep kaiwo's state in this folder [default: .kaiwo in the roots; "
        "env: KAIWO_STATE_DIR].",
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
