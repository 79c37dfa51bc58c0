"""The options of a run, as one model: the command, the environment and the file fill it alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from kaiwo.tasks.base import Engine

DEFAULT_WORKERS = 8
MOST_SMALL_REQUESTS = 64

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["text", "json"]
Progress = Literal["auto", "bar", "log", "json", "none"]
Verify = Literal["size", "checksum"]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """The options of a run; each is an option of the command and a key of the file too."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    download_root: Annotated[str, Field(min_length=1)] | None = None
    """Relative targets are below it; the working directory when it is left out."""
    max_workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Concurrent workers, shared by all tasks; 8 when it is left out."""
    log_level: LogLevel = "INFO"
    """Least severe messages that are shown."""
    log_format: LogFormat = "text"
    """Log lines for people, or ``json``: each an object of its own, for collectors."""
    progress: Progress = "auto"
    """How progress is shown."""
    report: Annotated[str, Field(min_length=1)] | None = None
    """Where the JSON report goes; ``-`` is stdout."""
    metrics_file: Annotated[str, Field(min_length=1)] | None = None
    """Counts in Prometheus' text format go there, every 10 s and at the end."""
    verify: Verify = "checksum"
    """Check every object against the checksum that its store states, or its size only."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Repeats of one request after its first failure."""
    engine: Engine = "auto"
    """What reads bytes from object stores: ``auto`` takes obstore where it can express the task."""
    startup_wait: Seconds = 30.0
    """Seconds that a service which is not up yet is waited for at least."""
    stall_timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    """Seconds without a byte that are a failure."""
    deadline: Annotated[Seconds, Field(gt=0)] | None = None
    """Seconds that the whole run may take; what is missing then fails with exit code 8."""
    fsync: bool = False
    """Have each file on the disk itself before it gets its name."""
    fail_fast: bool = False
    """End the run at the first object that fails."""
    force: bool = False
    """Fetch even what is already there."""
    state_dir: Annotated[str, Field(min_length=1)] | None = None
    """Where kaiwo's memory lives, instead of ``.kaiwo/`` in the target roots."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("max_workers", "retries", "deadline", mode="before")
    @classmethod
    def _no_switch(cls, value: object) -> object:
        if isinstance(value, bool):
            raise PydanticCustomError("number", "has to be a number")
        return value

    @property
    def workers(self) -> int:
        """How many jobs run at once."""
        return self.max_workers or DEFAULT_WORKERS

    @property
    def small_requests(self) -> int | None:
        """Requests for small objects besides; None where a given number limits all together."""
        return MOST_SMALL_REQUESTS if self.max_workers is None else None
