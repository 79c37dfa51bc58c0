"""Which names a file system takes for one: those that differ in case, or in how letters are coded.

Most file systems of a cluster take every name as it is; those of sticks, shares and desktops do
not, and there the second of ``Model.bin`` and ``model.bin`` would replace the first. It is asked
only where a plan holds such names, by a temporary file in the nearest folder that exists: whether
a folder folds is a property of the folder, and nothing tells it but trying.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import unicodedata
from collections.abc import Callable, Iterator

from msgspec import Struct

from kaiwo.own_names import is_own, part_name


class Folding(Struct, frozen=True):
    """What a folder makes no difference of.

    Attributes:
        case: of letters.
        form: of a letter that can be coded in several ways: one character, or letter and accent.
    """

    case: bool = False
    form: bool = False

    def same(self, one: str, other: str) -> bool:
        """Whether two names that ``folded`` makes equal are equal here."""
        if not self.case and _formed(one) != _formed(other):
            return False
        return self.form or one.casefold() == other.casefold()


def folded(name: str) -> str:
    """Equal for all names that some file system takes for one; a ``/`` stays where it is."""
    if name.isascii():
        return name.lower()
    # ext4 takes no notice of invisible characters either.
    visible = (letter for letter in _formed(name) if unicodedata.category(letter) != "Cf")
    return _formed("".join(visible).casefold())


def likely_own(path: str, root: str) -> Iterator[tuple[str, str, str]]:
    """Segments below the root that would be a name of kaiwo's own if names folded.

    Each with the folder that it is in, and the name that it would be.
    """
    below = path[len(root.rstrip("/")) :]
    if "/.ka" not in below.lower() and below.isascii():
        return
    folder = root.rstrip("/")
    for name in below.split("/")[1:]:
        own = folded(name)
        if own != name and is_own(own):
            yield folder or "/", name, own
        folder = f"{folder}/{name}"


def _formed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def probe(folder: str) -> Folding:
    """Find out about a folder that exists; one that cannot be written folds nothing.

    For a moment, an empty file with a name of kaiwo's own is there.
    """
    token = secrets.token_hex(8)
    plain, accented = part_name(token), part_name(f"{token}-\u00e9")
    return Folding(
        case=_is_same(folder, plain, plain.upper()),
        form=_is_same(folder, accented, unicodedata.normalize("NFD", accented)),
    )


def _is_same(folder: str, name: str, other: str) -> bool:
    path = os.path.join(folder, name)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    try:
        return os.path.lexists(os.path.join(folder, other))
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


class Foldings:
    """Answers for folders, each found out once; a folder to be made is like the one it is made in.

    Args:
        find_out: of a folder that exists.
    """

    def __init__(self, find_out: Callable[[str], Folding] = probe) -> None:
        self._find_out = find_out
        self._known: dict[str, Folding] = {}

    def of(self, folder: str) -> Folding:
        """For an absolute path."""
        while not os.path.isdir(folder) and folder != "/":
            folder = os.path.dirname(folder)
        if folder not in self._known:
            self._known[folder] = self._find_out(folder)
        return self._known[folder]

    def meet(self, one: str, other: str) -> bool:
        """Whether that path is the other, or a folder above it, though they are written otherwise.

        Args:
            one: absolute; ``folded`` makes it equal to the other or to a folder above that.
            other: absolute.
        """
        ones, others = one.split("/"), other.split("/")
        pairs = list(zip(ones, others, strict=False))
        first = next((at for at, (a, b) in enumerate(pairs) if a != b), None)
        if first is None:
            return True
        folding = self.of("/".join(ones[:first]) or "/")
        return all(folding.same(a, b) for a, b in pairs)
