"""The settings of a run: option over environment (``KAIWO_…``) over file over default.

pydantic-settings does the layers. It is loaded only where a variable of the environment sets one of
them: to import it is a third of a start, and without it two layers are left, which a dict joins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from kaiwo import units
from kaiwo.tasks.base import Engine
from kaiwo.tasks.fields import LocalPath, any_case

PREFIX = "KAIWO_"
#: The key of the tasks, beside the settings.
ITEMS = "download_items"


def of_command(name: str) -> str:
    """An option as it is named in errors of a command."""
    return f"option --{name.replace('_', '-')}"


def of_program(name: str) -> str:
    """The same, where a program calls kaiwo."""
    return f"argument {name}"


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["text", "json"]
Progress = Literal["auto", "bar", "log", "json", "none"]
Verify = Literal["size", "checksum"]
WRONG_DURATION = "must be seconds, or a duration such as 90s, 15m or 1h30m"


def _seconds(value: object) -> object:
    """A duration in seconds; a text that states none is refused here, in plain words."""
    if not isinstance(value, str):
        return value
    seconds = units.seconds(value)
    if seconds is None:
        raise PydanticCustomError("duration", WRONG_DURATION)
    return seconds


#: The same for a schema, which does not compute.
DURATION_PATTERN = (
    rf"^\s*(?=[0-9.])(?:[0-9]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?|{any_case(units.DURATION)})\s*$|\$\{{"
)


def _duration_schema(**least: float) -> WithJsonSchema:
    """A number of seconds, not less than that, or a text that is a duration."""
    text = {"type": "string", "pattern": DURATION_PATTERN}
    number = {"type": "number", **least}
    return WithJsonSchema({"anyOf": [number, text], "examples": ["90s", "15m", "1h30m"]})


Seconds = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(_seconds),
    _duration_schema(minimum=0),
]
SomeSeconds = Annotated[Seconds, Field(gt=0), _duration_schema(exclusiveMinimum=0)]
WRONG_RATE = (
    "must be bytes a second, such as 200M or 1.5Gi (k M G T count by 1000, Ki Mi Gi Ti by 1024; "
    "bits, such as Mbit, are not accepted)"
)
LOW_RATE = (
    "must be at least 1k: a number without a unit is bytes a second; leave it out for no limit"
)
#: The same for a schema, which does not compute.
RATE_PATTERN = r"^\s*(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?:[kKmMgGtT][iI]?)?B?(?:/[sS])?\s*$|\$\{"
#: Less is a mistake: tools differ in the unit of a plain number.
LEAST_RATE = 1000
Rate = Annotated[
    int,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": LEAST_RATE},
                {"type": "string", "pattern": RATE_PATTERN},
            ],
            "examples": ["200M", "1.5Gi"],
        }
    ),
]


SHARD = re.compile(r"([0-9]{1,4})/([1-9][0-9]{0,3})")
WRONG_SHARD = "must be I/N: the shard I, counted from 0, of N, such as 0/3"
HIGH_SHARD = "must be less than the number of shards: they are counted from 0"


class Settings(BaseModel):
    """The settings of a run. Each is an option, a variable, and a key of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    download_root: LocalPath | None = Field(
        None, description="Relative targets are below this folder. Default: the working directory."
    )
    max_workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="At most this many requests at once, shared by all tasks. Default: begins with "
        "8 and follows the line.",
    )
    max_bandwidth: Rate | None = Field(
        None,
        description="At most this many bytes of objects a second, in all: ``200M``, ``1.5Gi``. "
        "``k M G T`` count by 1000, ``Ki Mi Gi Ti`` by 1024.",
    )
    log_level: LogLevel = Field("INFO", description="The least severe messages that are shown.")
    log_format: LogFormat = Field(
        "text", description="Log lines as text, or as ``json``: one object a line, for collectors."
    )
    progress: Progress = Field("auto", description="How progress is shown.")
    report: LocalPath | None = Field(
        None, description="Write the JSON report to this file; ``-`` is stdout."
    )
    metrics_file: LocalPath | None = Field(
        None,
        description="Write Prometheus metrics to this file, every 10 s and at the end.",
    )
    verify: Verify = Field(
        "checksum",
        description="Verify each object's checksum, if its store states one, or its size only.",
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        5, description="Retries of one request after its first failure."
    )
    engine: Engine = Field(
        "auto",
        description="What reads bytes from object stores: ``auto`` takes obstore where it supports "
        "the task.",
    )
    startup_wait: Seconds = Field(
        30.0,
        description="Keep retrying a service that is not up yet, or an identity of the environment "
        "that is not known yet, for at least this long: seconds, or a duration such as ``2m``.",
    )
    stall_timeout: SomeSeconds = Field(
        30.0,
        description="A request fails when no byte arrives for this long: seconds, or a duration "
        "such as ``1m30s``.",
    )
    deadline: SomeSeconds | None = Field(
        None,
        description="Hard time limit of the whole run: seconds, or a duration such as ``1h30m``; "
        "what is missing then fails with exit code 8.",
    )
    dask: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="The scheduler of a Dask cluster, such as ``tcp://scheduler:8786``: its "
        "workers, which all have the download root, move the bytes. Needs ``kaiwo[dask]``.",
    )
    replicate: bool = Field(
        False,
        description="With ``dask``: the download root is each worker's own disk. Every part leaves "
        "the store once, and arrives on all of them.",
    )
    fsync: bool = Field(False, description="Sync each file to disk before it gets its name.")
    fail_fast: bool = Field(False, description="End the run at the first object that fails.")
    force: bool = Field(False, description="Fetch objects again that are in place already.")
    state_dir: LocalPath | None = Field(
        None, description="Keep kaiwo's state here, instead of in ``.kaiwo/`` in the target roots."
    )

    locked: bool = Field(
        False, description="Fetch exactly what the lock file has, and ask no listing."
    )
    write_lock: bool = Field(
        False, description="Write the lock file when all is in place, with sha256 of all files."
    )
    lock_file: LocalPath | None = Field(
        None,
        description="The lock file. Default: the configuration's name with the extension "
        "``.lock``, beside it. A name that ends in ``.gz`` is compressed.",
    )

    shard: str | None = Field(
        None,
        description="``I/N``: fetch part I (from 0) of N balanced parts of the plan, into folders "
        "that all shards share. Default: ``JOB_COMPLETION_INDEX`` and ``KAIWO_SHARDS``.",
    )
    shard_job: str | None = Field(
        None,
        description="What all shards belong to, different for each run of all of them: the uid of "
        "a Job. Without it, a plan that is finished gives way to a new one.",
    )

    @field_validator("shard")
    @classmethod
    def _shard(cls, value: str | None) -> str | None:
        if value is None:
            return value
        found = SHARD.fullmatch(value.strip())
        if found is None:
            raise PydanticCustomError("shard", WRONG_SHARD)
        if int(found[1]) >= int(found[2]):
            raise PydanticCustomError("shard", HIGH_SHARD)
        return f"{int(found[1])}/{int(found[2])}"

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("max_bandwidth", mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        if value is None:
            return value
        # Here, because pydantic would say of a text that it must be a whole number.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        rate = units.rate(f"{value}") if number or isinstance(value, str) else None
        if rate is None:
            raise PydanticCustomError("rate", WRONG_RATE)
        if rate < LEAST_RATE:
            raise PydanticCustomError("rate", LOW_RATE)
        return rate

    @field_validator("max_workers", "retries", "deadline", mode="before")
    @classmethod
    def _no_switch(cls, value: object) -> object:
        if isinstance(value, bool):
            raise PydanticCustomError("number", "must be a number")
        return value


def layered(file: Mapping[str, Any], options: Mapping[str, Any]) -> Settings:
    """The settings of all layers.

    Args:
        file: values of the file, by their keys.
        options: of the command, those that are given.

    Raises:
        ValidationError: a value is wrong; its location begins with the name of the setting.
    """
    if not in_environment():
        return Settings(**{**file, **options})
    from pydantic_settings import (  # noqa: PLC0415 - see above
        BaseSettings,
        InitSettingsSource,
        PydanticBaseSettingsSource,
        SettingsConfigDict,
    )

    class Layered(Settings, BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as it is called
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """The layers, the strongest first."""
            return init_settings, env_settings, InitSettingsSource(settings_cls, dict(file))

    found = Layered(**options)
    # A class of a function cannot be pickled, and settings travel to other machines.
    values = {name: getattr(found, name) for name in Settings.model_fields}
    return Settings.model_construct(found.model_fields_set, **values)


def in_environment() -> set[str]:
    """The names of the settings that the environment gives; variables may be of any case.

    An empty one is none: it is what an optional value of a chart leaves.
    """
    variables = {name.upper() for name, value in os.environ.items() if value}
    return {name for name in Settings.model_fields if f"{PREFIX}{name}".upper() in variables}


def before_file(name: str, options: Mapping[str, Any]) -> str | None:
    """A setting as option or environment give it, before the file is read; "" counts as none."""
    return options[name] or os.environ.get(f"{PREFIX}{name.upper()}") or None
