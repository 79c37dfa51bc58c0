"""kaiwo's log lines on stderr: text for people, one JSON object a line for collectors.

    {"time": "2026-01-31T12:00:00.123Z", "level": "INFO", "logger": "kaiwo", "message": "…"}

A line may also have a ``trace``. The SDKs' log lines are not shown: they quote headers and signed
addresses.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

from kaiwo import redact, units
from kaiwo.cli import bootstrap

if TYPE_CHECKING:
    from rich.console import Console

#: On a narrower terminal, the time would leave too little room for the message.
_WIDE_ENOUGH = 60
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
logger = logging.getLogger("kaiwo")


class Text(logging.Formatter):
    """A line of text, and its trace below it."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        text = super().format(record)
        trace = getattr(record, "trace", None)
        text = f"{text}\n{trace}" if trace else text
        # Lines and tabs stay.
        return "".join(each if each in "\n\t" else units.printable(each) for each in text)


class Json(logging.Formatter):
    """A JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        document = {
            "time": f"{stamp}.{milliseconds:03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = getattr(record, "trace", None) or record.exc_text
        if trace:
            document["trace"] = trace
        return json.dumps(document)


class Lines(logging.StreamHandler[IO[str]]):
    """Lines on stderr; if the reader has gone, they are dropped."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """See ``logging.Handler``."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def early_level(option: str | None) -> str:
    """The level before the file is read, from option or environment."""
    level = (option or os.environ.get("KAIWO_LOG_LEVEL", "")).upper()
    return level if level in LEVELS else "INFO"


def early_format(option: str | None = None) -> str:
    """The format before the file is read, from option or environment."""
    return option or ("json" if bootstrap.wants_json() else "text")


def log_to_stderr(level: str, log_format: str) -> None:
    """Send kaiwo's log lines to stderr; a later call changes level and format."""
    logger.setLevel(level)
    kind = Json if log_format == "json" else Text
    if any(isinstance(handler.formatter, kind) for handler in logger.handlers):
        return
    handler = _json_handler() if kind is Json else _text_handler()
    handler.addFilter(redact.Redacted())
    logger.handlers[:] = [handler]
    logger.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    if kind is Json:
        _log_warnings_and_threads(handler)


def is_json() -> bool:
    """Whether log lines are JSON now, as option, environment or file say."""
    return any(isinstance(handler.formatter, Json) for handler in logger.handlers)


def log_if_silent() -> None:
    """Set up the log for an error that came before anything else did."""
    if not logger.handlers:
        log_to_stderr("INFO", early_format())


def _text_handler() -> logging.Handler:
    """Through rich on a terminal, where a bar may be."""
    if not sys.stderr.isatty():
        handler: logging.Handler = Lines(sys.stderr)
        handler.setFormatter(Text("%(asctime)s %(levelname)s %(message)s"))
        return handler
    from rich.highlighter import NullHighlighter  # noqa: PLC0415 - on a terminal only
    from rich.logging import RichHandler  # noqa: PLC0415

    # Names of objects must not be read as markup, nor coloured.
    handler = RichHandler(
        console=console(),
        markup=False,
        highlighter=NullHighlighter(),
        show_path=False,
        show_time=console().width >= _WIDE_ENOUGH,
    )
    handler.setFormatter(Text("%(message)s", "[%X]"))
    return handler


def _json_handler() -> logging.Handler:
    handler = Lines(sys.stderr)
    handler.setFormatter(Json())
    return handler


def _log_warnings_and_threads(handler: logging.Handler) -> None:
    """Log Python's warnings, and the errors that end a thread."""
    logging.captureWarnings(True)
    warnings = logging.getLogger("py.warnings")
    warnings.handlers[:] = [handler]
    warnings.propagate = False

    def ended(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "a thread"
        logger.error("%s ended: %s", name, args.exc_type.__name__, exc_info=args.exc_value)

    threading.excepthook = ended


@functools.cache
def console() -> Console:
    """The one rich console, so that log lines and bar do not overwrite each other."""
    from rich.console import Console  # noqa: PLC0415 - on a terminal only

    return Console(stderr=True)
