"""What the fields of a model are for: the string that stands below each in the source.

Pydantic can read these itself, when a class is made; that takes a run a tenth of its start, and
only the schema and the documentation ask for them.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise

from pydantic import BaseModel


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The description of each field that has one, those of base classes included."""
    found: dict[str, str] = {}
    for class_ in reversed(model.__mro__):
        if issubclass(class_, BaseModel) and class_.__module__.startswith("kaiwo."):
            found.update(_below_fields(class_))
    return {name: text for name, text in found.items() if name in model.model_fields}


def _below_fields(class_: type) -> Iterator[tuple[str, str]]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(class_))).body
    for field, below in pairwise(getattr(tree, "body", ())):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)
            case _:
                pass
