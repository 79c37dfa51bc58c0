"""``STORAGE_ALLOW_PATTERNS`` and ``STORAGE_IGNORE_PATTERNS``: which files of a model are wanted.

The controller sets the first one where a pod needs a model's tokenizer alone. Patterns are those of
the Hub: ``*`` matches ``/`` too, and they are matched against the name relative to the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from msgspec import Struct

from kaiwo.objects import Folder
from kaiwo.workers.globs import matcher

ALLOW, IGNORE = "STORAGE_ALLOW_PATTERNS", "STORAGE_IGNORE_PATTERNS"


class Patterns(Struct, frozen=True):
    """Patterns of names.

    Attributes:
        allow: one of them must match; none: all names are wanted.
        ignore: none of them may match.
    """

    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def folder(self, prefix: str = "") -> Folder:
        """What is wanted below a prefix."""
        return Folder(prefix, self.allow, self.ignore, syntax="name")

    def matcher(self) -> Callable[[str], bool]:
        """Whether a name is wanted."""
        return matcher(self.folder())

    def __bool__(self) -> bool:
        return bool(self.allow or self.ignore)


def patterns_of(variables: Mapping[str, str]) -> Patterns:
    """The patterns that the variables hold: a list in JSON, or names with commas between them."""
    return Patterns(_listed(variables.get(ALLOW, "")), _listed(variables.get(IGNORE, "")))


def _listed(text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except ValueError:
        found = text.split(",")
    names = found if isinstance(found, list) else [found]
    return tuple(stripped for each in names if (stripped := str(each).strip()))
