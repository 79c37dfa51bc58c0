"""The part of a wrong task in which nothing is wrong, for what else can be said of the file.

What is wrong is left out: a field of the task or of an item, or a whole item. In lists, something
harmless takes its place, so that the others keep their numbers.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from kaiwo.config.document import without_tags
from kaiwo.tasks.base import Location, Task
from kaiwo.tasks.items import ITEM_KINDS, Bucket, FolderItem, item_keys

#: They name no file and have no glob, and may stand in all task types.
_ITEM = FolderItem.model_construct(folder="file:///", target_path=".")
_BUCKET = Bucket.model_construct(name="-", items=(_ITEM,))
_NEEDED = (*ITEM_KINDS, "target_path")
#: Fields that contradict each other are seen when all else is right.
_MOST_ROUNDS = 4


def sound_part(class_: type[Task], data: dict[str, Any]) -> Task | None:
    """A task without what is wrong in it; None where too much is.

    Args:
        class_: of the task.
        data: of the task, with the right names of its keys; it is changed.
    """
    for _ in range(_MOST_ROUNDS):
        try:
            return class_.model_validate(data)
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False, include_context=False)
        for fault in faults:
            _leave_out(data, without_tags(fault["loc"]))
        if not all(fault["loc"] for fault in faults):
            for field, _ in [*class_.model_construct(**data).contradictions()]:
                data.pop(field, None)
    return None


def _leave_out(data: dict[str, Any], location: Location) -> None:
    """Take out the smallest thing around a location that can be missing."""
    match location:
        case ("items", int(item), *rest):
            _leave_out_of_item(data["items"], item, rest)
        case (str(holder), int(number), *rest) if _has_bucket(data.get(holder), number):
            _leave_out_of_bucket(data[holder], number, rest)
        case (field, *_):
            data.pop(str(field), None)


def _has_bucket(value: Any, number: int) -> bool:
    """Whether it is a list with a bucket at that place; None: it was left out for another fault."""
    return isinstance(value, list) and isinstance(value[number], dict | Bucket)


def _leave_out_of_bucket(buckets: list[Any], number: int, rest: list[str | int]) -> None:
    bucket = buckets[number]
    if isinstance(bucket, Bucket):
        return  # it was left out for another fault
    match rest:
        case ("items", int(item), *inner):
            _leave_out_of_item(bucket["items"], item, inner)
        case ("name",):
            bucket["name"] = _BUCKET.name
        case _:
            buckets[number] = _BUCKET


def _leave_out_of_item(items: Any, number: int, rest: list[str | int]) -> None:
    item = item_keys(items[number])
    if rest and rest[0] in item and rest[0] not in _NEEDED:
        del item[str(rest[0])]
    else:
        items[number] = _ITEM
