"""Errors as they leave kaiwo: with the caller's frames, and not those inside kaiwo.

The message says what failed and what to do; a traceback of kaiwo and of an SDK below it says
nothing to whoever called. It stays whole for a bug, and where the log level is DEBUG.
"""

from __future__ import annotations

import logging
import os

from kaiwo.config.settings import PREFIX
from kaiwo.errors import BugError, KaiwoError

logger = logging.getLogger("kaiwo")


def is_whole(error: KaiwoError) -> bool:
    """Whether the error keeps its frames and its causes."""
    level = os.environ.get(f"{PREFIX}LOG_LEVEL", "").upper()
    return isinstance(error, BugError) or level == "DEBUG" or logger.isEnabledFor(logging.DEBUG)
