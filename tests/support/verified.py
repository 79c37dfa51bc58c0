"""What ``kaiwo verify`` finds, in this process."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from kaiwo.api.orders import lock_path, order_of
from kaiwo.api.verification import Verified, verify
from kaiwo.config.loader import load
from kaiwo.reporting.displays import QuietSink


def verified(path: str, **options: Any) -> Verified:
    """What it finds for a configuration."""
    config = load(path, options)
    return verify(replace(order_of(config), lock_file=lock_path(config)), QuietSink())
