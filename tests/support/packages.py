"""What the packages of kaiwo say of themselves: purpose, and modules for other packages.

The docstring of a package begins with its purpose. A paragraph of it lists what it offers:

    jobs           read, verify and publish objects
    list_objects   list the objects of a want

Each line names a module, or several with commas between them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

KAIWO = Path(__file__).resolve().parents[2] / "kaiwo"

_ENTRY = re.compile(r"([a-z][a-z0-9_]*(?:, [a-z][a-z0-9_]*)*) +\S.*")


def docstring(path: Path) -> str:
    """The docstring of a module."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def summary(name: str) -> str:
    """The first line of the docstring of a package, or of a module: ``state``, ``errors``."""
    package = KAIWO / name / "__init__.py"
    path = package if package.exists() else KAIWO / f"{name}.py"
    return docstring(path).partition("\n")[0]


def is_module(path: Path) -> bool:
    """Whether a module or a package has this path, without a suffix."""
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def offers(name: str) -> list[str]:
    """The modules that a package names in its docstring, in its order; of a module, none."""
    folder = KAIWO.joinpath(*name.split("."))
    if not folder.is_dir():
        return []
    for paragraph in docstring(folder / "__init__.py").split("\n\n")[1:]:
        matches = [_ENTRY.fullmatch(line.strip()) for line in paragraph.splitlines()]
        names = [each for match in matches if match for each in match[1].split(", ")]
        # prose can look like such lines; it names no module
        if all(matches) and any(is_module(folder / each) for each in names):
            return names
    return []
