"""Every text that kaiwo can show: ``python -m tests.messages`` prints them, to be read at once.

The texts are read from the sources, not from runs:

    error   given to an error: ConfigError("…"), PydanticCustomError("type", "…")
    log     given to a logger
    help    of an option, a command, a field of the file, a metric
    part    any other string of several words: a reason that becomes part of a message, a table

In an f-string, ``{name}`` stands for what the program fills in. ``tests/unit/test_messages.py``
checks the words.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KAIWO = Path(__file__).resolve().parents[1] / "kaiwo"
#: Calls whose strings are messages.
ERROR = re.compile(r"(?:Error|Exception|Interrupted|BadParameter)$")
LOG = {"debug", "info", "warning", "error", "critical", "exception", "log"}
HELP = {"Option", "Argument", "Typer", "Field", "Metric", "_one"}
#: Their other strings are not for people.
NOT_FOR_PEOPLE = {"PydanticCustomError", "compile", "sub", "match", "fullmatch", "search"}
SEVERAL_WORDS = re.compile(r"[^\W\d_]{2,}[,;:]? [^\W\d_]{2,}|^(?:is|has|needs|must)\b")
#: And for errors and loggers, one word beside what is filled in.
A_WORD = re.compile(r"[^\W\d_]{2,} | [^\W\d_]{2,}")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Message:
    """A text and where it stands."""

    path: str
    line: int
    kind: str
    text: str

    @property
    def package(self) -> str:
        """The package of kaiwo that it belongs to; a module beside the packages is its own."""
        return self.path.partition("/")[0].removesuffix(".py")


def all_messages() -> list[Message]:
    """Of all files, in their order."""
    return [message for path in sorted(KAIWO.rglob("*.py")) for message in messages_of(path)]


def messages_of(path: Path) -> list[Message]:
    """Of one file, in the order of its lines."""
    name = str(path.relative_to(KAIWO))
    return messages_in(path.read_text(encoding="utf-8"), name)


def messages_in(source: str, name: str) -> list[Message]:
    """Of the text of a file."""
    module = _Module(source)
    found = {Message(name, line, kind, text) for line, kind, text in module.texts()}
    return sorted(found, key=lambda each: (each.line, each.text))


def called(node: ast.Call) -> str:
    """The last name of what is called."""
    match node.func:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
    return ""


def is_logging(node: ast.Call) -> bool:
    """Whether it is a method of a logger."""
    match node.func:
        case ast.Attribute(ast.Name(name), attr):
            return attr in LOG and name.strip("_").endswith("logger")
    return False


class _Module:
    """A file and, of each node of its tree, the one above it."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.above: dict[ast.AST, ast.AST] = {
            child: parent
            for parent in ast.walk(self.tree)
            for child in ast.iter_child_nodes(parent)
        }
        self.commands = self._commands()

    def texts(self) -> Iterator[tuple[int, str, str]]:
        """Line, kind and text of every string that people read."""
        for node in ast.walk(self.tree):
            if not _is_string(node) or self._is_inside_a_string(node):
                continue
            assert isinstance(node, ast.expr)
            text = rendered(node)
            kind = self._kind(node)
            pattern = A_WORD if kind in ("error", "log") else SEVERAL_WORDS
            if kind and pattern.search(text):
                yield node.lineno, kind, text

    def _kind(self, node: ast.AST) -> str:
        """What a string is for; empty where it is for no person."""
        above = self.above[node]
        if isinstance(above, ast.Expr):
            return "help" if self._describes(above) else ""
        for call in self._calls_around(node):
            if kind := _kind_of_argument(call, node):
                return kind
            if called(call) in NOT_FOR_PEOPLE:
                return ""
        return self._kind_of_variable(node) or "part"

    def _calls_around(self, node: ast.AST) -> Iterator[ast.Call]:
        """The calls that it is an argument of, the innermost first."""
        while (above := self.above.get(node)) is not None and not isinstance(above, ast.stmt):
            if isinstance(above, ast.Call) and node is not above.func:
                yield above
            node = above

    def _kind_of_variable(self, node: ast.AST) -> str:
        """What a string is for that a variable holds, which an error or a logger is given."""
        while not isinstance(node, ast.stmt):
            node = self.above[node]
        match node:
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                pass
            case ast.AugAssign(target=ast.Name(name)):
                pass
            case _:
                return ""
        around: ast.AST | None = node
        while around is not None and not isinstance(around, Function):
            around = self.above.get(around)
        for call in ast.walk(around or self.tree):
            if isinstance(call, ast.Call) and name in _names_in(call):
                if is_logging(call):
                    return "log"
                if ERROR.search(called(call)):
                    return "error"
        return ""

    def _describes(self, text: ast.Expr) -> bool:
        """Whether a string that stands alone is shown: below a field, or in a command."""
        above = self.above[text]
        body = getattr(above, "body", [])
        if text not in body:
            return False
        if isinstance(above, ast.ClassDef):
            index = body.index(text)
            return index > 0 and isinstance(body[index - 1], ast.AnnAssign)
        return isinstance(above, ast.FunctionDef) and above.name in self.commands

    def _commands(self) -> set[str]:
        """The names of functions that are commands of typer's."""
        calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        registered = [call for call in calls if "command" in ast.unparse(call.func)]
        return {name for call in registered for name in _names_in(call)}

    def _is_inside_a_string(self, node: ast.AST) -> bool:
        """Whether it is part of a larger string that is looked at as a whole."""
        above = self.above.get(node)
        if isinstance(above, ast.JoinedStr):
            return True
        return isinstance(above, ast.BinOp) and _is_string(above)


def _kind_of_argument(call: ast.Call, node: ast.AST) -> str:
    """What a string is for that stands in a call; empty where the call says nothing of it."""
    name = called(call)
    if is_logging(call):
        return "log"
    if ERROR.search(name) and not (name == "PydanticCustomError" and node is call.args[0]):
        return "error"
    return "help" if name in HELP else ""


def _is_string(node: ast.AST) -> bool:
    match node:
        case ast.Constant(str()) | ast.JoinedStr():
            return True
        case ast.BinOp(left, ast.Add(), right):
            return _is_string(left) or _is_string(right)
    return False


def _names_in(call: ast.Call) -> set[str]:
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    return {node.id for each in arguments for node in ast.walk(each) if isinstance(node, ast.Name)}


def rendered(node: ast.expr) -> str:
    """A string with ``{…}`` where it is filled in."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(rendered(part) for part in parts)
        case ast.BinOp(left, ast.Add(), right):
            return rendered(left) + rendered(right)
        case ast.FormattedValue(value, conversion):
            return f"{{{ast.unparse(value)}{'!' + chr(conversion) if conversion > 0 else ''}}}"
    return f"{{{ast.unparse(node)}}}"


def main() -> None:
    """Print all, by package and kind."""
    messages = all_messages()
    for package in dict.fromkeys(each.package for each in messages):
        print(f"\n=== {package}")
        for kind in ("error", "log", "help", "part"):
            some = [each for each in messages if (each.package, each.kind) == (package, kind)]
            if some:
                print(f"\n--- {kind}")
            for each in some:
                print(f"{each.path}:{each.line}: {' '.join(each.text.split())}")
    print(f"\n{len(messages)} texts", file=sys.stderr)


if __name__ == "__main__":
    main()
