"""Several hosts of the web in one run: what one of them does is not charged to the others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import kaiwo
from kaiwo.jobs import RANGE
from tests.servers import web
from tests.servers.web import Page, Site
from tests.support.command import tree
from tests.support.faulty import content

LARGE = content(3 * RANGE)


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(web.site()), stack.enter_context(web.site())


def download(root: Path, *addresses: str, workers: int = 1) -> kaiwo.Report:
    """A run in this process, of one task."""
    items = [{"file": address, "target_path": f"{n}"} for n, address in enumerate(addresses)]
    config = {"download_root": str(root), "download_items": [{"type": "url", "items": items}]}
    return kaiwo.download(config, max_workers=workers)


@pytest.mark.usefixtures("loopback_only")
def test_a_host_that_ignores_ranges_does_not_take_them_from_the_others(
    sites: tuple[Site, Site], tmp_path: Path
) -> None:
    bad, good = sites
    bad.pages["/a"] = Page(LARGE + b"first", {"ETag": '"1"'}, ranges=False)
    good.pages["/a"] = Page(LARGE, {"ETag": '"1"'})
    report = download(tmp_path, f"{bad.at}/a", f"{good.at}/a")
    assert report.ok
    found = tree(tmp_path)
    assert (found["0"], found["1"]) == (LARGE + b"first", LARGE)
    gets = [headers.get("Range") for method, _, headers in good.asked if method == "GET"]
    assert len(gets) == 3
    assert None not in gets


@pytest.mark.usefixtures("loopback_only")
def test_what_an_earlier_version_remembered_of_the_web_counts(
    sites: tuple[Site, Site], tmp_path: Path
) -> None:
    site, _ = sites
    site.pages["/a"] = Page(b"bytes", {"ETag": '"1"'})
    assert download(tmp_path, f"{site.at}/a").ok
    manifest = (tmp_path / ".kaiwo/manifest.jsonl").read_text().splitlines()
    assert json.loads(manifest[-1])["origin"] == "url"
    assert download(tmp_path, f"{site.at}/a").count("unchanged") == 1


@pytest.mark.usefixtures("loopback_only")
def test_a_login_of_netrc_is_sent_to_its_host(
    sites: tuple[Site, Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, _ = sites
    site.pages["/a"] = Page(b"bytes", {"ETag": '"1"'})
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert download(tmp_path / "out", f"{site.at}/a").ok
    assert {headers.get("Authorization") for _, _, headers in site.asked} == {
        "Basic dXNlcjpzZWNyZXQ="
    }
