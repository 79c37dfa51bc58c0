"""Which names a file system treats as equal: they differ in case, or in the encoding of letters.

Most file systems of a cluster keep every name apart. Those of USB sticks, shares and desktops do
not: there the second of ``Model.bin`` and ``model.bin`` would replace the first. Only a test file
in the folder itself can tell, since this is a property of the folder. It is made in the nearest
folder that exists, and only if a plan holds such names.
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
    """Which differences between names a folder ignores.

    Attributes:
        case: upper and lower case.
        form: the encoding of a letter: as one character, or as a letter and an accent.
    """

    case: bool = False
    form: bool = False

    def are_equal(self, one: str, other: str) -> bool:
        """Whether two names are equal here; ``folded`` makes them equal."""
        if not self.case and _composed(one) != _composed(other):
            return False
        return self.form or one.casefold() == other.casefold()


def folded(name: str) -> str:
    """The same text for all names that some file system treats as equal; each ``/`` stays."""
    if name.isascii():
        return name.lower()
    # ext4 ignores invisible characters, too.
    visible = (letter for letter in _composed(name) if unicodedata.category(letter) != "Cf")
    return _composed("".join(visible).casefold())


def possible_own_names(path: str, root: str) -> Iterator[tuple[str, str, str]]:
    """Segments below the root that are a name of kaiwo's own if the folder ignores differences.

    Each with the folder that holds it, and the name that it would be.
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


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def probe(folder: str) -> Folding:
    """What an existing folder ignores; nothing, if it cannot be written.

    For a moment it holds an empty file with a name of kaiwo's own.
    """
    token = secrets.token_hex(8)
    plain, accented = part_name(token), part_name(f"{token}-\u00e9")
    return Folding(
        case=_are_one_file(folder, plain, plain.upper()),
        form=_are_one_file(folder, accented, unicodedata.normalize("NFD", accented)),
    )


def _are_one_file(folder: str, name: str, other: str) -> bool:
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


class FoldingProbe:
    """Probes each folder once; a folder that will be made counts as the one that it is made in.

    Args:
        probe: what an existing folder ignores.
    """

    def __init__(self, probe: Callable[[str], Folding] = probe) -> None:
        self._probe = probe
        self._known: dict[str, Folding] = {}

    def folding_of(self, folder: str) -> Folding:
        """What that folder ignores; its path is absolute."""
        while not os.path.isdir(folder) and folder != "/":
            folder = os.path.dirname(folder)
        if folder not in self._known:
            self._known[folder] = self._probe(folder)
        return self._known[folder]

    def collide(self, one: str, other: str) -> bool:
        """Whether one path is the other, or a folder above it, to the file system.

        Args:
            one: absolute; ``folded`` makes it equal to the other or to a folder above that.
            other: absolute.
        """
        ones, others = one.split("/"), other.split("/")
        pairs = list(zip(ones, others, strict=False))
        first = next((at for at, (a, b) in enumerate(pairs) if a != b), None)
        if first is None:
            return True
        folding = self.folding_of("/".join(ones[:first]) or "/")
        return all(folding.are_equal(a, b) for a, b in pairs)
