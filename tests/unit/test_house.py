"""The house is in order: files are short, packages say what they offer, others use only that."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.packages import KAIWO, docstring, is_module, offers

TESTS = KAIWO.parent / "tests"
LONGEST_FILE = 300
#: The line of a docstring that says why a file is longer.
REASON = "Longer than 300 lines: "
LONGEST_TEST = 600
MOST_AT_THE_ROOT = 16

MODULES = {
    ".".join(path.relative_to(KAIWO.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in KAIWO.rglob("*.py")
}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"} - {"kaiwo"}


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def shown(paths: Iterable[Path]) -> str:
    """Each path and how many lines it has."""
    return "\n".join(f"{path.relative_to(KAIWO.parent)}: {lines(path)}" for path in sorted(paths))


def test_a_long_file_says_why_it_is_long() -> None:
    long = [path for path in MODULES.values() if lines(path) > LONGEST_FILE]
    said = [each for path in long for each in docstring(path).splitlines() if REASON in each]
    unsaid = [path for path in long if REASON not in docstring(path)]
    assert all(each.strip().startswith(REASON) and each.partition(REASON)[2] for each in said)
    if unsaid:
        pytest.fail(f"longer than {LONGEST_FILE} lines, and does not say why:\n{shown(unsaid)}")


def test_no_file_of_the_tests_is_long() -> None:
    long = [path for path in TESTS.rglob("*.py") if lines(path) > LONGEST_TEST]
    if long:
        pytest.fail(f"longer than {LONGEST_TEST} lines:\n{shown(long)}")


def test_few_modules_are_at_the_root() -> None:
    assert len(list(KAIWO.glob("*.py"))) <= MOST_AT_THE_ROOT


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_names_what_it_offers(package: str) -> None:
    offered = offers(package.removeprefix("kaiwo."))
    assert offered, "the docstring of its __init__ names no module"
    folder = MODULES[package].parent
    missing = [name for name in offered if not is_module(folder / name)]
    assert not missing, "it names modules that it does not have"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_nothing_when_it_is_imported(package: str) -> None:
    assert list(imported(package)) == []


def test_packages_use_only_what_others_offer() -> None:
    inner = {
        f"{user} imports {used}, which {package} does not offer"
        for user in MODULES
        for used in imported(user)
        for package, name in entered(user, used)
        if name not in offers(package.removeprefix("kaiwo."))
    }
    if inner:
        pytest.fail("\n".join(sorted(inner)))


def imported(user: str) -> Iterator[str]:
    """The modules of kaiwo that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(MODULES[user].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inside]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def entered(user: str, used: str) -> Iterator[tuple[str, str]]:
    """Each package that an import enters from outside, and what of it is used."""
    parts = used.split(".")
    for end in range(2, len(parts)):
        package = ".".join(parts[:end])
        if package in PACKAGES and not f"{user}.".startswith(f"{package}."):
            yield package, parts[end]


def test_imports_are_found() -> None:
    assert "kaiwo.engine.scheduler" in set(imported("kaiwo.api.rounds"))
    assert list(entered("kaiwo.api.rounds", "kaiwo.engine.scheduler")) == [
        ("kaiwo.engine", "scheduler")
    ]
    assert list(entered("kaiwo.sources.hub.source", "kaiwo.sources.base")) == []
    assert list(entered("kaiwo.tasks.hub", "kaiwo.sources.hub.source")) == [
        ("kaiwo.sources", "hub"),
        ("kaiwo.sources.hub", "source"),
    ]
