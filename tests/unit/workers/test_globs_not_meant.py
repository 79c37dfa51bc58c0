"""What looks like a glob and selects nothing is said."""

from __future__ import annotations

import pytest

from kaiwo.workers.globs import glob_pattern, not_meant


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("data/0*.csv", "'*' is a part of the name"),
        ("data/?.csv", "'?' is a part of the name"),
        ("data[1].csv", "'[' is a part of the name"),
        ("{01,02}.csv", "globs have no braces"),
    ],
)
def test_a_glob_in_the_name_of_a_file_is_said(name: str, says: str) -> None:
    found = not_meant(name, is_glob=False)
    assert found is not None
    assert found[0].startswith(says)


@pytest.mark.parametrize("name", ["data/01.csv", "{id}.csv", "a{b", "a,b", "}x,y{"])
def test_a_plain_name_is_no_glob(name: str) -> None:
    assert not_meant(name, is_glob=False) is None
    assert not_meant(name, is_glob=True) is None


def test_braces_in_a_glob_are_said_and_select_what_is_written() -> None:
    found = not_meant("*/{a,b}.csv", is_glob=True)
    assert found == ("globs have no braces: '{' is a part of the name", "write each name by itself")
    assert glob_pattern("*/{a,b}.csv").match("x/{a,b}.csv")
    assert not glob_pattern("*/{a,b}.csv").match("x/a.csv")
    assert not_meant("**/*.[ab]", is_glob=True) is None
