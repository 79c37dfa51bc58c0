"""What pages show to be typed or written is right: each command, each YAML, each Python.

Commands are parsed by the program itself, configurations are built, pods call what there is. What
is run, too, against local servers, is in ``test_readme.py``.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import kaiwo
from kaiwo.config import document, loader
from kaiwo.config.settings import Settings
from tests.servers import ROOT
from tests.support import typed_commands
from tests.support.markdown import fences, read, spans
from tests.support.typed_commands import WrongCommandError

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"))
)
#: Languages of blocks that hold what programs print, a drawing, or what is not typed.
SHOWN = {"", "console", "dockerfile", "pycon", "text"}
#: Fragments of a configuration, by their first key, and what is missing around them.
FRAGMENTS: Mapping[str, Mapping[str, Any]] = {
    "items": {"buckets": [{"name": "b"}]},
    "signature": {"buckets": [{"name": "b", "items": [{"folder": "", "target_path": "t"}]}]},
}
#: Keys of parts of a manifest. Of these and of whole ones, what is kaiwo's is looked at here.
PARTS = {
    "args", "backoffLimit", "command", "containers", "env", "initContainers", "podFailurePolicy",
    "resources", "securityContext", "spec", "volumeMounts", "volumes",
}  # fmt: skip


def blocks(page: str, *languages: str) -> list[str]:
    return [text for language, text in fences(read(ROOT / page)) if language in languages]


def having(*languages: str) -> list[str]:
    return [page for page in PAGES if blocks(page, *languages)]


def build(text: str, name: str) -> None:
    assert loader.build(document.parse(text, name), None, {}).tasks


# --- commands ---------------------------------------------------------------------------------


def check_all(text: str, *, is_whole: bool = True) -> int:
    """Check every command of a text; returns how many there are."""
    found = list(typed_commands.commands(text))
    for words in found:
        typed_commands.check(words, is_whole=is_whole)
    return len(found)


@pytest.mark.parametrize("page", having("bash"))
def test_each_command_of_a_block_can_be_typed(page: str) -> None:
    for text in blocks(page, "bash"):
        assert check_all(text)


@pytest.mark.parametrize("page", PAGES)
def test_each_command_in_a_line_exists(page: str) -> None:
    for text in spans(read(ROOT / page)):
        if text.startswith(("kaiwo ", "make ", "python -m kaiwo")):
            assert check_all(text.replace(" …", ""), is_whole=False)


@pytest.mark.parametrize(
    "text",
    [
        "kaiwo downlod kaiwo.yaml",
        "kaiwo download",
        "kaiwo download a.yaml b.yaml",
        "kaiwo plan kaiwo.yaml --max-worker 3",
        "kaiwo download kaiwo.yaml --max-workers none",
        "python -m kaiwo.downloader kaiwo.yaml --jsn",
        "kaiwo fetch s3://b/k a b",
        "kaiwo fetch s3://b/k gs://b/k -t a",
        "kaiwo fetch s3://b/k -o endpoint=http://localhost:9000",
        "kaiwo fetch s4://b/k",
        "kaiwo ls hf://",
        "kaiwo ls s3://b/ -o secret_key=a",
        "make lnt",
        "X=1 kaiwo nothing | cat",
        "true && kaiwo schema --nothing",
        "docker run -v a:b kaiwo-downloader kaiwo.yaml --nothing",
        "uvx --from . kaiwo nothing",
        "wget https://example.org",
        "python tests/nothing.py",
        "python -m tests.nothing",
        "python -m pytest tests/nothing.py::test_a",
    ],
)
def test_a_command_that_is_wrong_is_found(text: str) -> None:
    with pytest.raises(WrongCommandError):
        check_all(text)


def test_a_line_is_taken_apart_as_a_shell_does() -> None:
    text = "export A=b\nA=b kaiwo ls 'a b' \\\n  c > d # e\nx | y && z >> w; v"
    assert list(typed_commands.commands(text)) == [
        ["export", "A=b"], ["kaiwo", "ls", "a b", "c"], ["x"], ["y"], ["z"], ["v"],
    ]  # fmt: skip


# --- YAML -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", having("yaml"))
def test_each_yaml_is_what_it_shows(page: str) -> None:
    for text in blocks(page, "yaml"):
        for found in yaml.safe_load_all(text):
            if "download_items" in found:
                build(text, page)
            elif fragment := next((key for key in FRAGMENTS if key in found), None):
                build(yaml.safe_dump(completed(fragment, found)), page)
            elif {"apiVersion", "kind"} <= found.keys() or found.keys() <= PARTS:
                check_manifest(found, page)
            else:
                pytest.fail(f"{page}: unknown YAML, see FRAGMENTS:\n{text}")


def completed(fragment: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a fragment is a part of."""
    task: dict[str, Any] = {"type": "s3", **FRAGMENTS[fragment]}
    if fragment == "items":
        task["buckets"] = [task["buckets"][0] | found]
    else:
        task |= found
    return {"download_items": [task]}


def check_manifest(found: Mapping[str, Any], page: str) -> None:
    """Containers call what there is, mount what there is, and ConfigMaps hold what is right."""
    for text in found.get("data", {}).values() if found.get("kind") == "ConfigMap" else ():
        if "download_items" in text:
            build(text, page)
    if found.keys() & {"command", "args"}:
        check_container(found)
    for pod in pods(found):
        volumes = {each["name"] for each in pod.get("volumes", ())}
        for container in (*pod.get("initContainers", ()), *pod.get("containers", ())):
            mounts = {each["name"] for each in container.get("volumeMounts", ())}
            assert "containers" not in pod or mounts <= volumes, (page, mounts - volumes)
            if "kaiwo" in str(container.get("image", "")):
                check_container(container)


def pods(found: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a document that has containers."""
    if isinstance(found, Mapping):
        if found.keys() & {"initContainers", "containers"}:
            yield found
        found = list(found.values())
    if isinstance(found, list):
        for each in found:
            yield from pods(each)


def check_container(container: Mapping[str, Any]) -> None:
    """The command of a container of kaiwo exists; one without is the image's entry point."""
    command = container.get("command", ["python", "-m", "kaiwo.downloader"])
    typed_commands.check([*command, *container.get("args", ())])


# --- Python and data --------------------------------------------------------------------------


@pytest.mark.parametrize("page", having("python"))
def test_each_python_names_what_there_is(page: str) -> None:
    for text in blocks(page, "python"):
        check_python(ast.parse(text))


def test_each_call_in_a_line_names_what_there_is() -> None:
    calls = [
        text for page in PAGES for text in spans(read(ROOT / page)) if text.startswith("kaiwo.")
    ]
    calls = [text for text in calls if text.endswith(")") and "…" not in text]
    assert len(calls) > 3
    for text in calls:
        check_python(ast.parse(text))


def check_python(tree: ast.AST) -> None:
    """Names of kaiwo exist, and the two functions take these options."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "kaiwo":
            assert hasattr(kaiwo, node.attr) or importlib.util.find_spec(f"kaiwo.{node.attr}")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kaiwo"):
            assert importlib.util.find_spec(str(node.module)), node.module
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "kaiwo.download":
            known = Settings.model_fields.keys() | inspect.signature(kaiwo.download).parameters
            given = {each.arg for each in node.keywords if each.arg}
            assert given <= known, given - known


@pytest.mark.parametrize("page", PAGES)
def test_each_block_has_a_language_that_is_looked_at(page: str) -> None:
    for language, text in fences(read(ROOT / page)):
        if language == "json":
            json.loads(text)
        elif language == "toml":
            tomllib.loads(text)
        else:
            assert language in SHOWN | {"bash", "yaml", "python"}, language


# --- the site ---------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = yaml.safe_load(read(ROOT / "mkdocs.yml"))
    named = set(leaves(site["nav"])) - {
        "index.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    }
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    reached = {page for page in pages if Path(page).match("decisions/0*.md")}
    if missing := pages - named - reached:
        pytest.fail(f"put them into `nav` of mkdocs.yml: {', '.join(sorted(missing))}")
    if gone := named - pages:
        pytest.fail(f"`nav` of mkdocs.yml has pages that do not exist: {', '.join(sorted(gone))}")


def leaves(found: Any) -> Iterator[str]:
    """The pages of a navigation."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, Mapping):
        yield from leaves(list(found.values()))
    else:
        for each in found:
            yield from leaves(each)
