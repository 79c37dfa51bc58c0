"""The names of kaiwo's own files beside a user's files. No object may get such a name.

.kaiwo/                              the state of a root; its content: ``state/folder.py``
.kaiwo-<run>-<index>[.<round>].part  the bytes of an object, beside its target or blob
.kaiwo-<run>-<index>[.<round>].link  a link, until it gets the name of its target
.kaiwo-<run>-ready.part              a ready file, until it is whole
.kaiwo-<name>.generations/           the generations of a snapshot, beside the link of that name
.kaiwo-<name>.next                   the link to the generation that is being filled
.kaiwo-ref-<token>.part              a reference of the Hugging Face cache, until it is whole
.kaiwo-<run>-look.part               a new file, to see whose files are there
.kaiwo-<token>.part                  a probe: which names does this folder treat as equal?
<name>.<pid>.part                    a report or metrics, until they are whole
"""

from __future__ import annotations

import os

#: The folder of a root's state.
STATE_FOLDER = ".kaiwo"
#: The name of a temporary file of an object has at most this many bytes.
LONGEST_TEMPORARY = 64
_PREFIX = ".kaiwo-"
_REF = "ref-"
_PART = ".part"
_LINK = ".link"
_GENERATIONS = ".generations"
_NEXT = ".next"


def part_name(stem: str) -> str:
    """The name of a temporary file."""
    return f"{_PREFIX}{stem}{_PART}"


def ref_part_name(token: str) -> str:
    """The name of the temporary file of a reference."""
    return part_name(f"{_REF}{token}")


def ready_part_name(run: str) -> str:
    """The name of the temporary file of a ready file."""
    return part_name(f"{run}-ready")


def look_part_name(run: str) -> str:
    """The name of a new file that shows which owner and mode new files have."""
    return part_name(f"{run}-look")


def is_ref_part(name: str) -> bool:
    """Whether a reference's temporary file has such a name."""
    return name.startswith(f"{_PREFIX}{_REF}") and name.endswith(_PART)


def object_part_name(run: str, index: int, round_: int) -> str:
    """The name of an object's temporary file: unique for the run, the object and the round."""
    number = f"{index:x}.{round_}" if round_ else f"{index:x}"
    return f"{_PREFIX}{run}-{number}{_PART}"


def link_name(part: str) -> str:
    """The name of a temporary link.

    Args:
        part: the name of the object's temporary file.
    """
    return part.removesuffix(_PART) + _LINK


def generations_name(name: str) -> str:
    """The name of the folder that holds the generations of a snapshot of that name."""
    return f"{_PREFIX}{name}{_GENERATIONS}"


def next_name(name: str) -> str:
    """The name of the link to the next generation of a snapshot of that name."""
    return f"{_PREFIX}{name}{_NEXT}"


def name_of_next(name: str) -> str | None:
    """The name of the snapshot whose next generation's link has that name; None for others."""
    if not (name.startswith(_PREFIX) and name.endswith(_NEXT)):
        return None
    return name[len(_PREFIX) : -len(_NEXT)] or None


def is_of_generations(name: str) -> bool:
    """Whether kaiwo gives such names to what it has beside a snapshot."""
    return name.startswith(_PREFIX) and name.endswith((_GENERATIONS, _NEXT))


def is_in_generation(path: str) -> bool:
    """Whether a real path leads to a file of a snapshot, or to one that is to be in the next."""
    return f"{_GENERATIONS}/" in path and any(
        name.startswith(_PREFIX) and name.endswith(_GENERATIONS) for name in path.split("/")
    )


def is_staged(path: str) -> bool:
    """Whether a path leads through the link to a generation that is being filled."""
    return switched(path) is not None


def switched(path: str) -> str | None:
    """The path that a file of a generation that is being filled gets; None for other files."""
    if _NEXT not in path:
        return None
    names = path.split("/")
    found = [name_of_next(name) or name for name in names]
    return "/".join(found) if found != names else None


def document_part_name(name: str) -> str:
    """The name of the temporary file of a document: unique for this process."""
    return f"{name}.{os.getpid()}{_PART}"


def is_temporary(name: str) -> bool:
    """Whether kaiwo gives such names to temporary files beside objects."""
    return name.startswith(_PREFIX) and name.endswith((_PART, _LINK))


def is_temporary_of(name: str, run: str) -> bool:
    """Whether that run gives such names to temporary files."""
    return is_temporary(name) and name.startswith(f"{_PREFIX}{run}-")


def is_part_of(name: str, run: str) -> bool:
    """Whether that run gives such names to the bytes of objects."""
    return is_temporary_of(name, run) and name.endswith(_PART)


def is_own(name: str) -> bool:
    """Whether kaiwo uses this name for itself, as a file or as a folder."""
    return name == STATE_FOLDER or is_temporary(name) or is_of_generations(name)
