"""A YAML file as plain data, with the line of every key and value.

PyYAML's parser composes the nodes; this module turns them into data, because its own
constructor forgets where things stood, lets the last of two equal keys win, and runs into
recursion on aliases. Its messages quote the text, which may be a secret: they are cut down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from kaiwo.errors import ConfigError

#: More nodes than any sensible file has; aliases of aliases grow without bound.
MOST_NODES = 1_000_000
_QUOTED = re.compile(r"'[^']{2,}'")

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


@dataclass(frozen=True)
class Document:
    """The file's data and positions.

    Attributes:
        name: of the file, for errors.
        data: what it holds.
    """

    name: str
    data: Any
    _node: yaml.Node | None = field(repr=False, default=None)

    def where(self, location: Sequence[str | int]) -> str:
        """``file:line: field`` of a location, or of the nearest thing around it."""
        if self._node is None:
            named = (step for step in location if isinstance(step, int) or " " not in step)
            return f"{self.name}: {_joined(named)}"
        path: list[str | int] = []
        node: yaml.Node | None = self._node
        line = self._node.start_mark.line + 1
        for step in location:
            found = _step(node, step)
            if found is None:
                # A union's tag, or a field that is not there: the latter still has a name.
                if isinstance(step, str) and " " not in step:
                    path.append(step)
                    break
                continue
            key, node = found
            line = (key or node).start_mark.line + 1
            path.append(step)
        return f"{self.name}:{line}: {_joined(path)}".removesuffix(": ")


def _joined(path: Iterable[str | int]) -> str:
    """``download_items[0].buckets`` of its steps."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _step(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    """The key's and the value's node of one step into a node."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return (None, node.value[step]) if 0 <= step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key, value
        if len(node.value) == 1 and node.value[0][0].value in ("folder", "file"):
            # An item in its nested form stands one level deeper than in the flat one.
            inner = node.value[0][1]
            return _step(inner, step) if isinstance(inner, yaml.MappingNode) else None
    return None


def parse(text: str, name: str) -> Document:
    """Read a YAML text.

    Raises:
        ConfigError: it is no YAML, holds several documents, or repeats a key.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise ConfigError(f"{name}:1: the file is empty")
            data = _Builder(loader, name).build(node, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{mark.line + 1}" if mark else "1"
        # The problem may quote the text: an alias, a tag, a token.
        problem = _QUOTED.sub("…", error.problem or "it does not parse")
        raise ConfigError(f"{name}:{line}: not valid YAML: {problem}") from None
    except yaml.YAMLError:
        raise ConfigError(
            f"{name}:1: not valid YAML: it holds characters that may not be"
        ) from None
    except RecursionError:
        raise ConfigError(f"{name}:1: not valid YAML: it is nested too deeply") from None
    return Document(name, data, node)


class _Builder:
    """Data of nodes."""

    def __init__(self, loader: Any, name: str) -> None:
        self._loader = loader
        self._name = name
        self._count = 0

    def build(self, node: yaml.Node, above: tuple[int, ...]) -> Any:
        self._count += 1
        if self._count > MOST_NODES or id(node) in above:
            raise self._error(node, "aliases repeat too much")
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            self._loader.flatten_mapping(node)  # the merge key, <<
            return self._mapping(node, above)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, above) for child in node.value]
        try:
            return self._loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            raise self._error(node, "a value that is none of its kind") from None

    def _mapping(self, node: yaml.MappingNode, above: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key has to be a plain word")
            if key.value in mapping:
                first = lines[key.value]
                raise self._error(key, f"duplicate key {key.value!r}, first on line {first}")
            lines[key.value] = key.start_mark.line + 1
            mapping[key.value] = self.build(child, above)
        return mapping

    def _error(self, node: yaml.Node, problem: str) -> ConfigError:
        return ConfigError(f"{self._name}:{node.start_mark.line + 1}: {problem}")
