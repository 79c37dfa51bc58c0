"""Which names a file system treats as equal: in case, in the encoding of letters, at their ends.

Most file systems of a cluster keep every name apart. Those of USB sticks, shares and desktops do
not: there the second of ``Model.bin`` and ``model.bin`` would replace the first, and so would the
second of ``a`` and ``a.``. Some give a long name a second, short one: ``LONGNA~1.TXT``. Only a test
file in the folder itself can tell, since this is a property of the folder. It is made in the
nearest folder that exists, and only if a plan holds such names.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from kaiwo.files.repeat import repeat
from kaiwo.own_names import is_own, part_name

#: Dots and spaces at the end of a name.
_END = re.compile(r"[. ]+(?=/|$)")
#: A name that a file system may give to a file of a longer one.
_SHORT = re.compile(r"(?=[^.]{3,8}(\.|$))[^.~]+~[0-9]+(\.[^.]{1,3})?")


class Folding(Struct, frozen=True):
    """Which differences between names a folder ignores.

    Attributes:
        case: upper and lower case.
        form: the encoding of a letter: as one character, or as a letter and an accent.
        ends: dots and spaces at the end.
        short: it does not ignore them, but a long name has a short one, too.
    """

    case: bool = False
    form: bool = False
    ends: bool = False
    short: bool = False

    def are_equal(self, one: str, other: str) -> bool:
        """Whether two names are equal here; ``folded`` makes them equal."""
        first, second = _without_end(one), _without_end(other)
        if not self.ends and one[len(first) :] != other[len(second) :]:
            return False
        if not self.case and _composed(first) != _composed(second):
            return False
        return self.form or first.casefold() == second.casefold()

    def fault_of(self, name: str) -> str | None:
        """Why this name may stand for something else here; None if it may not."""
        if self.ends and not _without_end(name):
            return f"{name!r} is no name to this file system: it ignores dots and spaces at the end"
        if self.short and _SHORT.fullmatch(name):
            return f"{name} may be another file here: this file system gives long names short ones"
        return None


def folded(name: str) -> str:
    """The same text for all names that some file system treats as equal; each ``/`` stays."""
    if name[-1:] in (".", " ") or "./" in name or " /" in name:
        name = _without_end(name)
    if name.isascii():
        return name.lower()
    # ext4 ignores invisible characters, too.
    visible = (letter for letter in _composed(name) if unicodedata.category(letter) != "Cf")
    return _composed("".join(visible).casefold())


class Spellings:
    """Paths, each also by other names that the file system treats as equal to its own.

    Args:
        paths: absolute.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = set(paths)
        self._folded = {folded(path): path for path in self._paths}

    def find(self, path: str) -> str | None:
        """The one among them that this path of a file leads to; None if there is none."""
        if path in self._paths:
            return path
        other = self._folded.get(folded(path))
        with contextlib.suppress(OSError):
            if other is not None and os.path.samestat(os.lstat(path), os.lstat(other)):
                return other
        return None


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


def doubtful_names(path: str, root: str) -> Iterator[tuple[str, str]]:
    """Segments below the root that ``Folding.fault_of`` may refuse, with the folders above them."""
    folder = root.rstrip("/")
    for name in path[len(folder) + 1 :].split("/"):
        if not _without_end(name) or ("~" in name and _SHORT.fullmatch(name)):
            yield folder or "/", name
        folder = f"{folder}/{name}"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _without_end(name: str) -> str:
    return _END.sub("", name)


def probe(folder: str) -> Folding:
    """What an existing folder ignores; nothing, if it cannot be written.

    For a moment it holds an empty file with a name of kaiwo's own.
    """
    token = secrets.token_hex(8)
    plain, accented = part_name(token), part_name(f"{token}-\u00e9")
    short = [f"{plain.lstrip('.')[:6].upper()}~{number}.PAR" for number in range(1, 10)]
    with _made(folder, plain) as has_name:
        case = has_name(plain.upper())
        ends = has_name(f"{plain}.") or has_name(f"{plain} ")
        has_short = any(map(has_name, short))
    with _made(folder, accented) as has_name:
        form = has_name(unicodedata.normalize("NFD", accented))
    return Folding(case, form, ends, has_short)


@contextlib.contextmanager
def _made(folder: str, name: str) -> Iterator[Callable[[str], bool]]:
    """Make a file for a moment; says whether there is one with another name, too."""
    path = os.path.join(folder, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        os.close(repeat(lambda: os.open(path, flags, 0o600)))
    except OSError:
        yield lambda _: False
        return
    try:
        yield lambda other: os.path.lexists(os.path.join(folder, other))
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
