"""A YAML file as plain data, with the place of every key and value.

PyYAML's parser makes the nodes. This module turns them into data, because PyYAML's constructor
forgets the places, lets the last of two equal keys win, and recurses endlessly on aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from msgspec import Struct

from kaiwo import redact, units
from kaiwo.config import syntax
from kaiwo.config.diagnostics import (
    Diagnostic,
    InvalidConfigError,
    Place,
    invalid,
    step_text,
)
from kaiwo.config.excerpts import Excerpts, Loader

#: No sensible file has more nodes; aliases of aliases grow without bound.
MOST_NODES = 1_000_000
DEEPEST = 100
_MERGE = "tag:yaml.org,2002:merge"
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
FOLDER_ITEM, FILE_ITEM = "folder item", "file item"
#: Steps of pydantic's locations that are not in the file: the tags of unions.
_TAGS = (FOLDER_ITEM, FILE_ITEM, "one glob", "several globs")


def without_tags(location: Sequence[str | int]) -> tuple[str | int, ...]:
    """A location of pydantic's, as a location in the file."""
    return tuple(step for step in location if step not in _TAGS)


class Document(Struct, frozen=True):
    """The file's data and positions.

    Attributes:
        name: the file's name, for errors.
        data: the file's content.
        faults: what is wrong with it although it is valid YAML, such as duplicate keys.
    """

    name: str
    data: Any
    faults: tuple[Diagnostic, ...] = ()
    _node: yaml.Node | None = None
    _excerpts: Excerpts | None = None

    @property
    def path(self) -> str:
        """Of the file that it was read from; empty: it was given as data."""
        return "" if self._node is None else self.name

    def __repr__(self) -> str:
        return f"Document({self.name!r})"  # it holds secrets

    def where(self, location: Sequence[str | int]) -> str:
        """``file:line: field`` of a location, or of the nearest thing around it."""
        field, node = self._find(location)
        line = "" if node is None else f":{node.start_mark.line + 1}"
        return f"{units.printable(self.name)}{line}: {field}".removesuffix(": ")

    def place(self, location: Sequence[str | int]) -> Place:
        """The place of a location, or of the nearest thing around it."""
        field, node = self._find(location)
        if node is None or self._excerpts is None:
            return Place(self.name, field=field)
        return _place(self.name, self._excerpts, node, field)

    def _find(self, location: Sequence[str | int]) -> tuple[str, yaml.Node | None]:
        """The field's path, and the node of its key, or of the value where it has none."""
        if self._node is None:
            return _joined(without_tags(location)), None
        path: list[str | int] = []
        node: yaml.Node | None = self._node
        nearest = self._node
        for step in without_tags(location):
            found = _step(node, step)
            if found is None:
                # A field that is not there still has a name.
                if isinstance(step, str):
                    path.append(step)
                    break
                continue
            key, node = found
            nearest = key or node
            path.append(step)
        return _joined(path), nearest


def _place(name: str, excerpts: Excerpts, node: yaml.Node, field: str = "") -> Place:
    """The place of a node; a collection is marked at its beginning."""
    seen = set()  # a collection may hold an alias of itself
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        if id(node) in seen:
            break
        seen.add(id(node))
        first = node.value[0]
        node = first[0] if isinstance(first, tuple) else first
    start, end = node.start_mark, node.end_mark
    is_word = isinstance(node, yaml.ScalarNode) and start.line == end.line
    width = max(end.column - start.column, 1) if is_word else 1
    line, column = start.line + 1, start.column + 1
    return Place(name, line, column, field, excerpts.excerpt(line, column, width))


def _joined(path: Iterable[str | int]) -> str:
    """The steps as ``download_items[0].buckets``."""
    return "".join(map(step_text, path)).removeprefix(".")


def _step(
    node: yaml.Node | None, step: str | int, seen: set[int] | None = None
) -> tuple[yaml.Node | None, yaml.Node] | None:
    """The nodes of key and value, one step into a node; it looks once into what many merge."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return (None, node.value[step]) if 0 <= step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step and key.tag != _MERGE:
                return key, value
        seen = set() if seen is None else seen
        for key, value in node.value:
            for other in _merged(value) if key.tag == _MERGE else ():
                if id(other) in seen:
                    continue
                seen.add(id(other))
                if (found := _step(other, step, seen)) is not None:
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
        InvalidConfigError: it is not valid YAML, or so deep or long that it is not read.
    """
    try:
        _check_depth(text, name)
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise invalid([Diagnostic(Place(name, 1, 1), "the file is empty")])
            builder = _Builder(loader, name, Excerpts(text))
            data = builder.build(node, ())
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _not_yaml(text, name, error) from None
    return Document(name, data, tuple(builder.faults), node, builder.excerpts)


def _not_yaml(text: str, name: str, error: yaml.YAMLError) -> InvalidConfigError:
    excerpts = Excerpts(text, parses=False)
    return invalid(
        Diagnostic(
            Place(name, at.line, at.column, "", excerpts.excerpt(at.line, at.column, 1)),
            f"not valid YAML: {at.problem}",
            at.hint,
        )
        for at in syntax.faults_of(text, error)
    )


def _check_depth(text: str, name: str) -> None:
    """Refuse deep nesting, on which the parser in C would run out of stack."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                mark: Any = event.start_mark
                place = Place(name, mark.line + 1, mark.column + 1)
                raise invalid([Diagnostic(place, "nested too deeply")])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    """Makes the data of nodes."""

    def __init__(self, loader: Any, name: str, excerpts: Excerpts) -> None:
        self.faults: list[Diagnostic] = []
        self.excerpts = excerpts
        self._loader = loader
        self._name = name
        self._count = 0
        self._noted: set[int] = set()
        # By id, for merged mappings: many may merge one, and others merge these in turn.
        self._built: dict[int, Any] = {}

    def build(self, node: yaml.Node, above: tuple[int, ...]) -> Any:
        self._count += 1
        if self._count > MOST_NODES or id(node) in above:
            raise invalid([*self.faults, self._fault(node, "too many aliases")])
        if len(above) >= DEEPEST:  # by aliases: each is nested little where it is written
            raise invalid([*self.faults, self._fault(node, "nested too deeply")])
        above = (*above, id(node))
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            self._note(node, "unknown tag", "remove it")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, above)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, above) for child in node.value]
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError, AttributeError, yaml.YAMLError):
            self._note(node, "invalid value for its type", "put it in quotes, or correct it")
            return node.value

    def _mapping(self, node: yaml.MappingNode, above: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._note(key, "a key must be a plain word")
                continue
            if key.tag == _MERGE:
                merged += _merged(child)
                continue
            built = self.build(child, above)
            if key.value in lines:
                first = lines[key.value]
                problem = f"duplicate key '{redact.key(key.value)}', first on line {first}"
                self._note(key, problem, "remove one of them")
                continue
            lines[key.value] = key.start_mark.line + 1
            mapping[key.value] = built
        for other in merged:
            # A merge never replaces a key: the mapping's own keys win, then the first merge.
            if id(other) not in self._built:
                self._built[id(other)] = self.build(other, above)
            below = self._built[id(other)]
            if isinstance(below, dict):
                mapping = below | mapping
            else:
                self._note(other, "only mappings can be merged")
        return mapping

    def _note(self, node: yaml.Node, problem: str, hint: str | None = None) -> None:
        if id(node) not in self._noted:  # aliases bring a node several times
            self._noted.add(id(node))
            self.faults.append(self._fault(node, problem, hint))

    def _fault(self, node: yaml.Node, problem: str, hint: str | None = None) -> Diagnostic:
        return Diagnostic(_place(self._name, self.excerpts, node), problem, hint)
