"""Folders without end: the listing of a server that answers every address with links ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaiwo.errors import ServiceError
from kaiwo.sources.web import listing
from kaiwo.sources.web.folders import DEEPEST
from tests.scenarios.test_web_folders import fetch, page
from tests.servers import web
from tests.servers.web import Page, Site


class _Pages(dict[str, Page]):
    """A page for each address.

    Args:
        make: the page of a path.
    """

    def __init__(self, make: Callable[[str], Page]) -> None:
        super().__init__()
        self._make = make

    def get(self, path: str, _: object = None) -> Page:
        return self._make(path)


@pytest.fixture
def site(loopback_only: None) -> Iterator[Site]:
    with web.site() as found:
        yield found


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a/"], ["a/", "b/"]], ids="-".join)
def test_folders_below_each_other_have_an_end(site: Site, tmp_path: Path, names: list[str]) -> None:
    site.pages = _Pages(lambda path: page(*(f"{path.rstrip('/')}/{name}" for name in names)))
    with pytest.raises(ServiceError, match=r"/d/: its folders have no end"):
        fetch(site, tmp_path)
    # Of each level, some requests for each link; never a number that doubles with each level.
    assert len(site.asked) < 10 * len(names) * DEEPEST


def test_folders_beside_each_other_that_show_no_slash_are_bounded(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"f{number}" for number in range(12)]

    def made(path: str) -> Page:
        if path.endswith(".bin"):
            return Page(b"bytes", {"ETag": '"1"'})
        if path.rstrip("/") == "/d":
            return page(*(f"/d/{name}" for name in names))
        return page(f"{path.rstrip('/')}/x.bin")

    site.pages = _Pages(made)
    assert fetch(site, tmp_path / "1") == {f"{name}/x.bin": b"bytes" for name in names}
    monkeypatch.setattr(listing, "MOST_WITHOUT_SLASH", 10)
    with pytest.raises(ServiceError, match="more than 10 of its pages without an extension"):
        fetch(site, tmp_path / "2")


def test_folders_that_show_all_folders_below_them_are_read_once(site: Site, tmp_path: Path) -> None:
    levels = 8

    def made(path: str) -> Page:
        if path.endswith(".bin"):
            return Page(b"bytes", {"ETag": '"1"'})
        here = path.rstrip("/")
        links = [here + "/a" * level for level in range(1, levels + 1 - here.count("/"))]
        return page(*links, f"{here}/x.bin")

    site.pages = _Pages(made)
    found = fetch(site, tmp_path)
    assert found == {"a/" * level + "x.bin": b"bytes" for level in range(levels)}
    assert len(site.asked) < 10 * levels
