"""How a store behaves, as data, and what is to arrive from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.proxies import Spoil
from tests.support.quirks_objects import combined

LARGE = random.Random(1).randbytes(9 << 20)  # two ranges, to kaiwo and to boto3
OBJECTS = {
    "model/__init__.py": b"",
    "model/config": b"small",
    "model/deep/weights": LARGE,
    "model/deep/words": b"words",
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a store behaves.

    Attributes:
        name: a word for it.
        title: what the store does, for people.
        spoil: makes what edits its answers, for one client.
        objects: what it holds.
        parts: the lengths of the parts of those that were uploaded in parts.
        markers: empty objects that mark folders, and their content types.
        asking: see ``spoiling``.
        ignored: see ``spoiling``; the store behind does not know the etags that a GET states, where
            they are edited.
        bucket: the name by which clients know the bucket, if it is another than the store's.
        replaced: objects that are stored again before a second run, with other bytes.
        on_the_way: objects that are stored again after the first GET of each.
        code: the exit code of kaiwo that is right; where it is not 0, only an error is.
        damaged: the objects that cannot arrive then; none are named where nothing can.
    """

    name: str
    title: str
    spoil: Callable[[], Spoil] = combined
    objects: Mapping[str, bytes] = field(default_factory=lambda: OBJECTS)
    parts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    markers: Mapping[str, str] = field(default_factory=dict)
    asking: Callable[[str], str] = lambda target: target
    ignored: Collection[str] = ()
    bucket: str = ""
    replaced: Mapping[str, bytes] = field(default_factory=dict)
    on_the_way: Mapping[str, bytes] = field(default_factory=dict)
    code: int = 0
    damaged: Collection[str] = ()

    def wanted(self, *, is_success: bool) -> dict[str, Collection[bytes]]:
        """Which bytes each file may have at the end; of a mixture, none.

        Args:
            is_success: the tool says that everything is there.
        """
        now = {**self.objects, **self.replaced}
        lost: Collection[str] = ()
        if self.code and not is_success:
            lost = self.damaged or self.objects
        kept = {key: data for key, data in now.items() if key not in lost}
        return {key: {data, self.on_the_way.get(key, data)} for key, data in kept.items()}
