"""Sizes, counts, durations and names as people read them, the same in every message and display.

And rates and durations as people write them, see ``rate`` and ``seconds``.
"""

from __future__ import annotations

import contextlib
import re
import time

#: What is moved is shown in TiB at most; the room on a file system may be more.
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_LARGEST_MOVED = 4
#: A number, its unit, and what people write after it; ``b`` is not there, it stands for bits.
_RATE = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?([kmgt]?)(i?)B?(?:/s)?", re.ASCII)
#: Days, hours, minutes and seconds, the largest first, with their seconds.
_SCALES = {
    "d(?:ays?)?": 86400.0,
    "h(?:ours?)?": 3600.0,
    "m(?:in(?:utes?)?)?": 60.0,
    "s(?:ec(?:onds?)?)?": 1.0,
}
#: Of lower case; what is empty matches, and states none.
DURATION = " ?".join(rf"(?:([0-9]+(?:\.[0-9]*)?) ?{unit})?" for unit in _SCALES)
_DURATION = re.compile(DURATION)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size(count: float) -> str:
    """Bytes in a binary unit: ``12 B``, ``1.5 MiB``."""
    return _in_unit(count, _LARGEST_MOVED) if count >= 1024 else f"{count:.0f} B"  # noqa: PLR2004


def exact_size(count: int) -> str:
    """Bytes in a binary unit and as a number: ``404.0 KiB (413,696 bytes)``."""
    exact = f"{count:,} bytes"
    return f"{_in_unit(count, len(_UNITS))} ({exact})" if count >= 1024 else exact  # noqa: PLR2004


def _in_unit(count: float, largest: int) -> str:
    """At least 1 KiB, in the largest unit of which there is at least one."""
    power = 1
    while count >= 1024 ** (power + 1) and power < largest:
        power += 1
    return f"{count / 1024**power:.1f} {_UNITS[power - 1]}"


def rate(text: str) -> int | None:
    """Bytes a second that a text states: ``200M``, ``1.5Gi``, ``20 MB/s``; None if it states none.

    ``k M G T`` are powers of 1000, ``Ki Mi Gi Ti`` of 1024, in upper or lower case.
    """
    # Only B keeps its case: b would be bits.
    found = _RATE.fullmatch("B".join(each.lower() for each in text.strip().split("B")))
    if found is None or (found[3] and not found[2]):
        return None
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2]])


def seconds(text: str) -> float | None:
    """Seconds that a text states: ``90``, ``90s``, ``15 min``, ``1h30m``; None for no duration."""
    plain = text.strip().lower()
    with contextlib.suppress(ValueError):
        return float(plain)
    found = _DURATION.fullmatch(plain)
    if found is None or not any(found.groups()):
        return None
    parts = zip(found.groups(), _SCALES.values(), strict=True)
    return sum(float(number) * scale for number, scale in parts if number)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things: ``1 file``, ``3 files``, ``2 retries``.

    Args:
        number: how many there are.
        noun: names one of them.
        plural: names several, where an added ``s`` is wrong.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def timestamp(seconds: float) -> str:
    """A time in seconds since 1970 as RFC 3339 has it: ``2026-01-31T12:00:00.123Z``."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03}Z"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours: ``0.4 s``, ``1 min 01 s``, ``25 h 01 min``."""
    if seconds < 9.95:  # noqa: PLR2004 - above this, tenths of a second say nothing
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def printable(name: str) -> str:
    """A name that harms no terminal: what does not print is written as its number.

    Escapes would move the cursor, line breaks would look like other lines, and half a character
    cannot be written at all.
    """
    if name.isprintable():
        return name
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in name
    )
