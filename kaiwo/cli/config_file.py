"""The CONFIG_FILE of a command; ``-`` is stdin."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from kaiwo.config import loader
from kaiwo.config.document import parse

STDIN = "-"


def name_of(path: str) -> str:
    """What errors call it."""
    return "<stdin>" if path == STDIN else path


def load(
    path: str, options: Mapping[str, Any] | None = None, *, elsewhere: bool = False
) -> loader.Config:
    """See ``loader.load``."""
    if path != STDIN:
        return loader.load(path, options, elsewhere=elsewhere)
    name = name_of(path)
    document = parse(loader.decoded(sys.stdin.buffer.read(), name), name)
    return loader.build(document, options, os.environ, elsewhere=elsewhere)
