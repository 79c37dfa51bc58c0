"""What README.md and pages in docs/ have from the code and from results; and the JSON Schema.

``python -m tests.reference`` writes them. Each table is between two comments that name it.
``tests/scenarios/test_docs.py`` holds them equal.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kaiwo.config.schema import schema
from kaiwo.config.settings import Settings
from kaiwo.errors import EXIT_CODES
from kaiwo.tasks.base import Task
from kaiwo.tasks.items import FileItem, FolderItem
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.registry import BUILT_IN, task_class
from kaiwo.tasks.s3_services import SERVICES
from kaiwo.tasks.signature import Signature
from tests.support import identities
from tests.support.command_reference import commands
from tests.support.headline import headline, numbers
from tests.support.markdown import table
from tests.support.packages import offers, summary
from tests.support.python_reference import python

ROOT = Path(__file__).resolve().parents[1]


# --- docs/reference ---------------------------------------------------------------------------


def exit_codes() -> str:
    """Every exit code and what it says."""
    return table(("code", "meaning"), ((str(code), text) for code, text in EXIT_CODES.items()))


def options() -> str:
    """Every setting: option, variable of the environment and key of the file."""
    rows = (
        (f"`--{name.replace('_', '-')}`", shown(field), described(Settings, name))
        for name, field in Settings.model_fields.items()
    )
    return table(("option", "default", "meaning"), rows)


def fields() -> str:
    """Every field of every task type; a field and its ``_file`` are one row."""
    rows = []
    for type_ in BUILT_IN:
        class_ = task_class(type_)
        assert class_ is not None
        own = {name: field for name, field in class_.model_fields.items() if name not in shared()}
        for name, field in own.items():
            if name.endswith("_file") and name.removesuffix("_file") in own:
                continue
            both = f"`{name}`" + (", `_file`" if f"{name}_file" in own else "")
            rows.append((f"`{type_}`", both, shown(field), described(class_, name)))
    rows += [("all", f"`{name}`", shown(field), described(Task, name)) for name, field in common()]
    inner = ("a folder item", FolderItem), ("a file item", FileItem), ("a `signature`", Signature)
    for kind, item in inner:
        for name, field in item.model_fields.items():
            rows.append((kind, f"`{name}`", shown(field), described(item, name)))
    return table(("type", "field", "default", "meaning"), rows)


def shared() -> set[str]:
    """Fields that all types have, and the type itself."""
    return set(Task.model_fields) | set(BucketTask.model_fields) - {"anonymous"}


def common() -> list[tuple[str, FieldInfo]]:
    """The fields that all types have."""
    return [(name, field) for name, field in Task.model_fields.items() if name != "type"]


def described(model: type[BaseModel], name: str) -> str:
    """A field's description, in Markdown."""
    return str(model.model_fields[name].description).replace("``", "`")


def shown(field: FieldInfo) -> str:
    """A default, written as in YAML."""
    if field.is_required():
        return "required"
    if field.default is None or field.default == ():
        return ""
    if isinstance(field.default, bool):
        return str(field.default).lower()
    text = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
    return f"`{text}`"


# --- docs/s3-services.md ----------------------------------------------------------------------


def s3_services() -> str:
    """What to write for each service, and what its host says."""
    rows = []
    for each in SERVICES:
        by_host = "by the host" if each.host else ""
        region = f"`{each.region}`, by the host" if each.region else by_host
        style = f"`{each.style}`" if each.style != "auto" else ""
        if style and each.host:
            style += ", by the host"
        rows.append((each.name, f"`{each.endpoint}`", region, style, each.note))
    head = ("service", "`endpoint_url`", "`region`", "`addressing_style`", "what else")
    return table(head, rows)


# --- docs/architecture.md ---------------------------------------------------------------------


def floors() -> str:
    """Every package, and every module outside of packages, in the order of the layers."""
    rows = (
        (
            f"`kaiwo.{name}`",
            in_markdown(summary(name)),
            ", ".join(f"`{each}`" for each in offers(name)),
        )
        for name in layers()
    )
    return table(("package", "what it is for", "modules that it offers"), rows)


def layers() -> Iterator[str]:
    """The layers that import-linter checks, top first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract.get("containers") == ["kaiwo"]:
            for layer in contract["layers"]:
                yield from layer.split(" | ")


def in_markdown(text: str) -> str:
    """A docstring's line, in a cell."""
    return text.replace("``", "`").replace("|", "\\|")


# --- docs/identities.md -----------------------------------------------------------------------


def signing_in() -> str:
    """Every way to sign in that is tried."""
    rows = (
        (f"`{row.provider}`", row.way, row.reads, row.engines, in_markdown(row.server))
        for row in identities.rows()
    )
    return table(("type", "identity", "what kaiwo reads", "engines", "tried against"), rows)


# --- all of them ------------------------------------------------------------------------------

#: For each page, what is between which comments.
PAGES: Mapping[str, Mapping[tuple[str, str], Callable[[], str]]] = {
    "README.md": {("<!-- table: numbers -->", "<!-- end of table -->"): numbers},
    "docs/performance.md": {("<!-- table: headline -->", "<!-- end of table -->"): headline},
    "docs/reference/file.md": {("<!-- table: fields -->", "<!-- end of table -->"): fields},
    "docs/reference/command-line.md": {
        ("<!-- table: commands -->", "<!-- end of table -->"): commands,
        ("<!-- table: options -->", "<!-- end of table -->"): options,
    },
    "docs/reference/exit-codes.md": {
        ("<!-- table: exit codes -->", "<!-- end of table -->"): exit_codes,
    },
    "docs/reference/python.md": {("<!-- python -->", "<!-- /python -->"): python},
    "docs/identities.md": {("<!-- table: identities -->", "<!-- end of table -->"): signing_in},
    "docs/s3-services.md": {("<!-- table: s3 services -->", "<!-- end of table -->"): s3_services},
    "docs/architecture.md": {("<!-- floors -->", "<!-- /floors -->"): floors},
}


def filled(page: str) -> str:
    """The page with all its tables as the code has them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for (begin, end), make in PAGES[page].items():
        written = f"{begin}\n\n{make()}\n\n{end}"
        pattern = re.escape(begin) + r"\n.*?" + re.escape(end)
        text, count = re.subn(pattern, written.replace("\\", r"\\"), text, flags=re.DOTALL)
        if count != 1:
            sys.exit(f"{page} has {count} tables that begin with {begin}")
    return text


SCHEMA = "docs/kaiwo.schema.json"


def schema_text() -> str:
    """The JSON Schema with kaiwo's own task types, as ``kaiwo schema`` prints it."""
    return json.dumps(schema(BUILT_IN), indent=2) + "\n"


if __name__ == "__main__":
    (ROOT / SCHEMA).write_text(schema_text(), encoding="utf-8")
    for page in PAGES:
        (ROOT / page).write_text(filled(page), encoding="utf-8")
