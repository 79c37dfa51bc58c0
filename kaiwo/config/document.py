"""A YAML file as plain data, with the line of every key and value.

PyYAML's parser makes the nodes. This module turns them into data, because PyYAML's constructor
forgets the lines, lets the last of two equal keys win, and recurses endlessly on aliases. The
parser's messages quote the text, which may be a secret: the quotes are removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from msgspec import Struct

from kaiwo.errors import ConfigError

#: No sensible file has more nodes; aliases of aliases grow without bound.
MOST_NODES = 1_000_000
DEEPEST = 100
#: The parser's messages, in plain words.
_PLAINLY = {
    "found character that cannot start any token": "a tab, or a character that must be in quotes",
    "but found another document": "a second document begins ('---'); put each into a separate file",
    "found unexpected end of stream": "a quote is not closed",
}
_QUOTED = re.compile(r"'([^']*)'")
_MERGE = "tag:yaml.org,2002:merge"
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


class Document(Struct, frozen=True):
    """The file's data and positions.

    Attributes:
        name: the file's name, for errors.
        data: the file's content.
    """

    name: str
    data: Any
    _node: yaml.Node | None = None

    def __repr__(self) -> str:
        return f"Document({self.name!r})"  # it holds secrets

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
    """The steps as ``download_items[0].buckets``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _step(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    """The nodes of key and value, one step into a node."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return (None, node.value[step]) if 0 <= step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step and key.tag != _MERGE:
                return key, value
        for key, value in node.value:
            for other in _merged(value) if key.tag == _MERGE else ():
                if (found := _step(other, step)) is not None:
                    return found
        if len(node.value) == 1 and node.value[0][0].value in ("folder", "file"):
            # An item of the nested form is one level deeper than one of the flat form.
            inner = node.value[0][1]
            return _step(inner, step) if isinstance(inner, yaml.MappingNode) else None
    return None


def _merged(value: yaml.Node) -> list[yaml.Node]:
    """The nodes under a merge key: one mapping, or several."""
    return list(value.value) if isinstance(value, yaml.SequenceNode) else [value]


def parse(text: str, name: str) -> Document:
    """Read a YAML text.

    Raises:
        ConfigError: it is not valid YAML, has several documents, or repeats a key.
    """
    try:
        _check_depth(text, name)
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
        reason = error.problem or "it does not parse"
        problem = _PLAINLY.get(reason) or _QUOTED.sub(_shown, reason)
        raise ConfigError(f"{name}:{line}: not valid YAML: {problem}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{name}:1: not valid YAML: it contains forbidden characters") from None
    return Document(name, data, node)


def _shown(quoted: re.Match[str]) -> str:
    """Hide a quote that may be of the file (an alias, a tag); a single character is shown."""
    return quoted[0] if len(quoted[1]) == 1 else "…"


def _check_depth(text: str, name: str) -> None:
    """Refuse deep nesting, on which the parser in C would run out of stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ConfigError(f"{name}:{line}: nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    """Makes the data of nodes."""

    def __init__(self, loader: Any, name: str) -> None:
        self._loader = loader
        self._name = name
        self._count = 0
        # By id, for merged mappings: many may merge one, and others merge these in turn.
        self._built: dict[int, Any] = {}

    def build(self, node: yaml.Node, above: tuple[int, ...]) -> Any:
        self._count += 1
        if self._count > MOST_NODES or id(node) in above:
            raise self._error(node, "too many aliases")
        above = (*above, id(node))
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            raise self._error(node, "unknown tag")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, above)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, above) for child in node.value]
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError, AttributeError, yaml.YAMLError):
            raise self._error(node, "invalid value for its type") from None

    def _mapping(self, node: yaml.MappingNode, above: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key must be a plain word")
            if key.tag == _MERGE:
                merged += _merged(child)
                continue
            if key.value in lines:
                first = lines[key.value]
                raise self._error(key, f"duplicate key {key.value!r}, first on line {first}")
            lines[key.value] = key.start_mark.line + 1
            mapping[key.value] = self.build(child, above)
        for other in merged:
            # A merge never replaces a key: the mapping's own keys win, then the first merge.
            if id(other) not in self._built:
                self._built[id(other)] = self.build(other, above)
            below = self._built[id(other)]
            if not isinstance(below, dict):
                raise self._error(other, "only mappings can be merged")
            mapping = below | mapping
        return mapping

    def _error(self, node: yaml.Node, problem: str) -> ConfigError:
        return ConfigError(f"{self._name}:{node.start_mark.line + 1}: {problem}")
