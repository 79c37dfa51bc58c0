"""What holds for any glob.

Examples are drawn from a fixed seed, so that every run tests the same ones; ``make trials`` draws
many more, from another seed each time.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kaiwo.objects import Folder
from kaiwo.workers.globs import matcher
from tests.support.faulty import PatternOpener
from tests.support.trials_length import examples

OPENER = PatternOpener(())


LETTERS = "ab*?[]!-.{}"
PARTS = st.one_of(
    st.text(LETTERS, min_size=1, max_size=4),
    st.sampled_from(["*", "**", "a", "b", "[ab]", "[!a]", "[a-b]", "?", "a*", "*.b", "{a,b}"]),
)
GLOBS = st.one_of(
    st.lists(PARTS, min_size=1, max_size=4).map("/".join),
    st.text(LETTERS + "/", min_size=1, max_size=8),
)
NAMES = st.lists(st.text("ab*?[]!-.{}", min_size=1, max_size=3), min_size=1, max_size=4)


def by_fsspec(keys: Sequence[str], glob: str) -> set[str]:
    """The files that fsspec's own glob finds below a folder, by their relative names."""
    fs = MemoryFileSystem(skip_instance_cache=True)
    fs.store, fs.pseudo_dirs = {}, [""]
    for key in keys:
        fs.pipe_file(f"/folder/{key}", b"")
    found = fs.glob(f"/folder/{glob}", detail=True)
    return {path[len("/folder/") :] for path, info in found.items() if info["type"] == "file"}


@examples(800)
@given(st.lists(NAMES.map("/".join), max_size=8, unique=True), GLOBS)
@example(["a/b", "b"], "**")
@example(["a/b", "b"], "**/*")
@example(["a/b", "a/c/b", "b"], "**/b")
@example(["a/b", "b"], "a/")
@example(["a/b", "a/c/d"], "*/")
@example(["[", "a"], "[")
@example(["a]", "]"], "[]")
def test_a_glob_selects_the_files_that_fsspecs_own_glob_finds(keys: list[str], glob: str) -> None:
    # A store may hold "a" and "a/b", the memory file system cannot.
    assume(not any(one.startswith(f"{other}/") for one in keys for other in keys))
    # Only folders match what ends in "/", fsspec's rules say; but "a/" finds the file "a" there.
    assume(not glob.endswith("/") or glob.rstrip("/") not in keys)
    try:
        expected = by_fsspec(keys, glob)
    except ValueError:
        with pytest.raises(ValueError, match=r"\*\*"):
            matcher(Folder("", (glob,)))
        return
    selected = matcher(Folder("", (glob,)))
    assert {key for key in keys if selected(key)} == expected
