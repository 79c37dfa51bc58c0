"""How many and how long headers an answer may have: metadata of users come as headers."""

from __future__ import annotations

import inspect

#: aiohttp's own limits are 128 headers of 8 kB.
_LIMITS = {"max_headers": 1_000, "max_field_size": 64 << 10}


def header_limits() -> dict[str, int]:
    """Options of an aiohttp session; older versions have no limit for the number of headers."""
    import aiohttp  # noqa: PLC0415 - only runs that use it load it

    known = inspect.signature(aiohttp.ClientSession.__init__).parameters
    return {name: limit for name, limit in _LIMITS.items() if name in known}
