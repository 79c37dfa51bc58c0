"""The tables of task types and of URL schemes, and an entry-point group for other packages.

A task type's module is loaded when a configuration or a URL names the type; none loads an SDK.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from kaiwo.errors import ConfigError

if TYPE_CHECKING:
    from kaiwo.tasks.base import Task

GROUP = "kaiwo.tasks"
#: Type, and ``module:class`` of its task.
BUILT_IN = {
    "s3": "kaiwo.tasks.s3:S3Task",
    "gcs": "kaiwo.tasks.gcs:GcsTask",
    "azure-blob": "kaiwo.tasks.azure:AzureTask",
    "hf": "kaiwo.tasks.hub:HfTask",
    "url": "kaiwo.tasks.url:UrlTask",
}
#: URL scheme, and the task type that fetches it; every other scheme is one of ``url``.
SCHEMES = {
    "s3": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure-blob",
    "azure": "azure-blob",
    "abfs": "azure-blob",
    "hf": "hf",
}


def task_types() -> dict[str, str]:
    """All known types, kaiwo's own first; no other package can take their names."""
    others = {point.name: point.value for point in entry_points(group=GROUP)}
    return BUILT_IN | {name: value for name, value in others.items() if name not in BUILT_IN}


def task_class(type_: str) -> type[Task] | None:
    """The class of a task type; None for an unknown type.

    Raises:
        ConfigError: another package registered something that is no task type.
    """
    path = BUILT_IN.get(type_) or task_types().get(type_)
    if path is None:
        return None
    from kaiwo.tasks.base import Task  # noqa: PLC0415 - the tables need none of it

    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{path}, the class of task type {type_!r}, cannot be loaded") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(f"{path}, registered as task type {type_!r}, is not a kaiwo Task")
    return found
