"""Task types and URL schemes by name: kaiwo's own tables, and what other packages add.

A task type's module is loaded when a configuration or a URL names the type; none loads an SDK.
No other package can take the name of a type or of a scheme that kaiwo reads itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kaiwo.errors import ConfigError
from kaiwo.tasks import plugins
from kaiwo.tasks.plugins import Plugin

if TYPE_CHECKING:
    from kaiwo.tasks.base import Task

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
#: Other names of kaiwo's own, which no package can take either.
_ALSO_OWN = {"s3a", "abfss", "kaiwo"}


def task_types() -> dict[str, str]:
    """All known types, kaiwo's own first; no other package can take their names."""
    return BUILT_IN | {name: plugin.path for name, plugin in _plugins().items()}


def task_class(type_: str) -> type[Task] | None:
    """The class of a task type; None for an unknown type.

    Raises:
        ConfigError: another package registered something that cannot be used.
    """
    if path := BUILT_IN.get(type_):
        module, _, name = path.partition(":")
        found: type[Task] = getattr(importlib.import_module(module), name)
        return found.complete()
    plugin = _plugins().get(type_)
    return None if plugin is None else plugin.load().complete()


def type_of_scheme(scheme: str) -> str | None:
    """The task type that fetches URLs of a scheme; None where none but ``url`` may know it.

    Raises:
        ConfigError: no type has it, and the package that may have it cannot be used.
    """
    if found := SCHEMES.get(scheme):
        return found
    if is_own_scheme(scheme):
        return None
    broken: ConfigError | None = None
    # A type that has the scheme's name is the likeliest; others are loaded only if it is not it.
    for plugin in sorted(_plugins().values(), key=lambda each: each.name != scheme):
        try:
            if scheme in plugin.load().schemes:
                return plugin.name
        except ConfigError as error:
            if plugin.name == scheme:
                broken = error
    if broken is not None:
        raise broken
    return None


def is_own_scheme(scheme: str) -> bool:
    """Whether kaiwo reads a scheme itself, by a task type or by what comes with fsspec."""
    from fsspec.registry import known_implementations  # noqa: PLC0415 - for few URLs

    if scheme in SCHEMES or scheme in _ALSO_OWN:
        return True
    # Packages add their filesystems to this table, and may bring a better task type for them.
    return str(known_implementations.get(scheme, {}).get("class", "")).startswith("fsspec.")


def plugin_states() -> Iterator[tuple[Plugin, str]]:
    """All types of other packages, and why each cannot be used as it wants; empty if it can."""
    used, schemes = _plugins(), dict[str, str]()
    for plugin in plugins.installed():
        if plugin.name in BUILT_IN:
            yield plugin, "the name is that of a task type of kaiwo"
        elif used[plugin.name] is not plugin:
            yield plugin, f"the package {used[plugin.name].package} has this name already"
        else:
            yield plugin, _fault(plugin, schemes)


def _fault(plugin: Plugin, taken: dict[str, str]) -> str:
    """Why a type or one of its schemes cannot be used; its schemes are taken now."""
    try:
        schemes = plugin.load().schemes
    except ConfigError as error:
        return error.message
    for scheme in schemes:
        if is_own_scheme(scheme):
            return f"{scheme}:// is read by kaiwo itself"
        if taken.setdefault(scheme, plugin.name) != plugin.name:
            return f"{scheme}:// is that of task type {taken[scheme]!r}"
    return ""


def _plugins() -> dict[str, Plugin]:
    """The types of other packages by their names; of several with one name, the first."""
    found: dict[str, Plugin] = {}
    for plugin in plugins.installed():
        if plugin.name not in BUILT_IN:
            found.setdefault(plugin.name, plugin)
    return found
