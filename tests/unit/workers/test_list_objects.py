"""Globs mean what fsspec and the Hub's library mean by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub.utils._paths import filter_repo_objects
from msgspec.structs import replace

from kaiwo.errors import TransientError
from kaiwo.files.placement import Under
from kaiwo.jobs import ListJob, Want
from kaiwo.objects import Folder, RemoteObject
from kaiwo.workers.globs import glob_pattern, matcher
from kaiwo.workers.list_objects import run
from kaiwo.workers.source_cache import close_source
from tests.support.faulty import FaultyOpener, FaultyStore

NAMES = (
    "a",
    "b.txt",
    "A.TXT",
    ".hidden",
    "with space.txt",
    "a[1].txt",
    "a1.txt",
    "star*.txt",
    "question?.txt",
    "brace{x,y}.txt",
    "bang!.txt",
    "dash-.txt",
    "caret^.txt",
    "dollar$.txt",
    "plus+.txt",
    "paren(1).txt",
    "pipe|.txt",
    "unicode-ñ-日本-🚀.txt",
    "[red]x[/red].txt",
    "data/a",
    "data/b.txt",
    "data/.hidden",
    "data/sub/c.txt",
    "data/sub/deep/er/d.txt",
    "data2/b.txt",
    "other/data/b.txt",
    "x/y/z/b.txt",
    "x.y/b.txt",
)
GLOBS = (
    "*",
    "**",
    "**/*",
    "*.txt",
    "**/*.txt",
    "**.txt",
    "*/*",
    "*/*.txt",
    "*/**",
    "*/**/*.txt",
    "**/sub/**",
    "**/data/*",
    "data/*",
    "data/**",
    "data/**/*",
    "data/**/*.txt",
    "data/",
    "data",
    "data/a",
    "data/sub/",
    "data*/b.txt",
    "d?ta/*",
    "?",
    "??",
    "[ab]",
    "[ab]*",
    "[!a]*",
    "[^a]*",
    "[a-c]*",
    "[A-Z].TXT",
    "[]]",
    "[[]1]*",
    "a[[]1].txt",
    "a[[]1[]].txt",
    "a[1].txt",
    "a[1-",
    "[",
    "star[*].txt",
    "question[?].txt",
    "brace{x,y}.txt",
    "{a,b.txt}",
    ".*",
    "**/.hidden",
    "*ñ*",
    "*🚀*",
    "*(1)*",
    "*$*",
    "*+*",
    "*|*",
    "x/**/b.txt",
    "x/*/*/b.txt",
    "**/b.txt",
    "*.*/b.txt",
    "none/*",
    "B.TXT",
)


@pytest.fixture(scope="module")
def memory() -> Iterator[MemoryFileSystem]:
    """fsspec's own glob, over these names."""
    filesystem = MemoryFileSystem(skip_instance_cache=True)
    for name in NAMES:
        filesystem.pipe_file(f"/globs/{name}", b"x")
    yield filesystem
    filesystem.rm("/globs", recursive=True)


def selected(
    *globs: str, exclude: tuple[str, ...] = (), names: tuple[str, ...] = NAMES
) -> set[str]:
    matches = matcher(Folder("", globs, exclude))
    return {name for name in names if matches(name)}


def accepted(glob: str) -> bool:
    try:
        glob_pattern(glob)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("glob", GLOBS)
def test_a_glob_selects_the_files_that_fsspec_would(memory: MemoryFileSystem, glob: str) -> None:
    if not accepted(glob):
        with pytest.raises(ValueError, match=r"\*\*"):
            memory.glob(f"/globs/{glob}")
        return
    theirs = {path.removeprefix("/globs/") for path in memory.glob(f"/globs/{glob}")}
    assert selected(glob) == theirs & set(NAMES)


def test_two_stars_are_a_whole_segment() -> None:
    assert not accepted("**.txt")
    assert not accepted("a/b**/c")


@pytest.mark.parametrize("glob", ["**", "**/*"])
def test_everything_is_everything(glob: str) -> None:
    assert selected(glob) == selected() == set(NAMES)


def test_a_glob_matches_the_whole_name_and_respects_case() -> None:
    assert selected("b.txt", names=("b.txt", "B.txt", "b.txt2", "xb.txt", "a/b.txt")) == {"b.txt"}


def test_several_globs_are_alternatives_and_some_exclude() -> None:
    assert selected("a*", "b*", names=("a", "b", "c")) == {"a", "b"}
    assert selected("*", exclude=("b*",), names=("a", "b", "c")) == {"a", "c"}
    assert selected(exclude=("b", "c"), names=("a", "b", "c")) == {"a"}
    assert selected("**/*", exclude=("**/*",), names=("a", "b/c")) == set()


HUB_NAMES = (
    "README.md",
    "config.json",
    ".gitattributes",
    "model-00001-of-00002.safetensors",
    "original/consolidated.00.pth",
    "original/params.json",
    "onnx/model.onnx",
    "onnx/deep/er/model.onnx",
    "a[1].txt",
    "a1.txt",
    "data/train/x.parquet",
    "database/x.parquet",
    "Data/x.parquet",
    "unicode-ñ.txt",
)
HUB_PATTERNS = (
    "*",
    "*.json",
    "*.JSON",
    "config.json",
    "original/",
    "original/*",
    "original",
    "data/",
    "data*",
    "onnx/*.onnx",
    "*/model.onnx",
    "**/*.onnx",
    "*.safetensors",
    "model-0000?-of-*",
    "a[1].txt",
    "a[[]1].txt",
    "[!R]*",
    "*ñ*",
    "/",
    "*/",
    "none",
)


@pytest.mark.parametrize("pattern", HUB_PATTERNS)
def test_hub_patterns_select_what_the_hubs_library_would(pattern: str) -> None:
    matches = matcher(Folder("", (pattern,), (), "name"))
    assert [name for name in HUB_NAMES if matches(name)] == list(
        filter_repo_objects(HUB_NAMES, allow_patterns=[pattern])
    )


@pytest.mark.parametrize("ignore", HUB_PATTERNS)
def test_hub_patterns_exclude_what_the_hubs_library_would(ignore: str) -> None:
    for allow in (None, ["*.json", "original/"], ["*"]):
        matches = matcher(Folder("", tuple(allow or ()), (ignore, "*.md"), "name"))
        assert [name for name in HUB_NAMES if matches(name)] == list(
            filter_repo_objects(HUB_NAMES, allow_patterns=allow, ignore_patterns=[ignore, "*.md"])
        )


class Lavish(FaultyStore):
    """Lists everything, whatever is asked for."""

    def list(self, prefix: str) -> Iterator[RemoteObject]:  # noqa: ARG002 - that is the point
        return super().list("")


def test_what_a_service_lists_beside_what_was_asked_for_is_left_alone(tmp_path: Path) -> None:
    opener = FaultyOpener(Lavish({"a/1": b"one", "b/2": b"two", "a": b"three"}))
    want = Want("task", "", opener, Folder("a/"), Under(str(tmp_path), str(tmp_path), "a/"))
    found = run(ListJob(0, want))
    close_source(opener)
    assert [remote.key for remote in found.objects] == ["a/1"]


@pytest.mark.parametrize("is_same", [True, False])
def test_an_object_that_is_listed_twice_is_one_or_a_contradiction(
    tmp_path: Path, is_same: bool
) -> None:
    class Twice(FaultyStore):
        def list(self, prefix: str) -> Iterator[RemoteObject]:
            for remote in super().list(prefix):
                yield remote
                yield remote if is_same else replace(remote, size=remote.size + 1)

    opener = FaultyOpener(Twice({"a/1": b"one", "a/2": b"two"}))
    want = Want("task", "", opener, Folder("a/"), Under(str(tmp_path), str(tmp_path), "a/"))
    found = run(ListJob(0, want))
    close_source(opener)
    if is_same:
        assert [remote.key for remote in found.objects] == ["a/1", "a/2"]
    else:
        assert isinstance(found.error, TransientError)
        assert "'a/1' is listed twice, as two objects" in found.error.message
