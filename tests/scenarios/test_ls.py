"""``kaiwo ls``: what is at a URL, for people and for programs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.scenarios.test_fetch import OBJECTS, as_words, filled, given, run
from tests.servers import web
from tests.servers.web import Page
from tests.support.command import configured
from tests.support.proxies import counting
from tests.support.stores import Store


def listed(words: Sequence[str], home: Path) -> list[str]:
    done = run(["-m", "kaiwo", "ls", *words], home)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_size_checksum_and_key_of_each_and_the_totals_last(s3: Store, tmp_path: Path) -> None:
    url, words = filled(s3, "", OBJECTS), as_words(given(s3))
    *lines, totals = listed([f"{url}data", *words], tmp_path)
    assert [line.split() for line in sorted(lines, key=lambda line: line.split()[-1])] == [
        ["4", "B", f"md5:{hashlib.md5(OBJECTS[key]).hexdigest()}", key]
        for key in ("data/a.csv", "data/c.txt", "data/deep/b.csv")
    ]
    assert totals == "3 files, 12 B"


def test_what_is_asked_for_is_as_for_a_fetch(s3: Store, tmp_path: Path) -> None:
    url, words = filled(s3, "", OBJECTS), as_words(given(s3))
    with counting(s3) as proxy:
        words = as_words(given(proxy.stores[0]))
        for path, keys in {
            "top.txt": ["top.txt"],
            "data/**/*.csv": ["data/a.csv", "data/deep/b.csv"],
            "": sorted(OBJECTS),
        }.items():
            document = json.loads("\n".join(listed([url + path, *words, "--json"], tmp_path)))
            assert sorted(item["key"] for item in document["items"]) == keys
            assert document["files"] == len(keys)
            assert document["bytes"] == sum(len(OBJECTS[key]) for key in keys)
        assert proxy.counts().gets == 0
    first = next(item for item in document["items"] if item["key"] == "top.txt")
    assert (first["url"], first["bytes"]) == (f"{url}top.txt", 3)
    assert first["checksum"] == {"algorithm": "md5", "value": first["etag"]}
    assert first["modified"].endswith("Z")
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.mark.parametrize("path", ["none", "none/", "*.none"])
def test_where_nothing_is_the_exit_code_says_so(s3: Store, tmp_path: Path, path: str) -> None:
    url, words = filled(s3, "", OBJECTS), as_words(given(s3))
    done = run(["-m", "kaiwo", "ls", url + path, *words], tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert url in done.stderr
    done = run(["-m", "kaiwo", "ls", "--json", url + path, *words], tmp_path)
    document = json.loads(done.stdout)
    assert (document["ok"], document["exit_code"], done.returncode) == (False, 4, 4)
    assert document["error"]["kind"] == "not_found"
    assert document["error"]["message"] in done.stderr


def test_names_are_data(s3: Store, tmp_path: Path) -> None:
    keys = ("[red]m[/red]", "esc\x1b[31m", "<b>", "\u202eright")
    url = filled(s3, "", {f"odd/{key}": b"x" for key in keys})
    *lines, totals = listed([f"{url}odd/", *as_words(given(s3))], tmp_path)
    assert totals == "4 files, 4 B"
    assert {line.partition("odd/")[2] for line in lines} == {
        "[red]m[/red]", "esc\\x1b[31m", "<b>", "\\u202eright",
    }  # fmt: skip
    document = json.loads(
        "\n".join(listed([f"{url}odd/", *as_words(given(s3)), "--json"], tmp_path))
    )
    assert {item["key"] for item in document["items"]} == {f"odd/{key}" for key in keys}


def test_a_repository_and_a_page_of_links_are_listed_too(hub: Store, tmp_path: Path) -> None:
    url = filled(hub, "listed", OBJECTS)
    *lines, totals = listed([f"{url}data2", *as_words(given(hub))], tmp_path)
    assert [line.split()[-1] for line in lines] == ["data2/d.csv"]
    assert totals == "1 file, 5 B"
    (tmp_path / "served").mkdir()
    (tmp_path / "served/a.bin").write_bytes(b"some bytes")
    with web.folder(tmp_path / "served") as at:
        *lines, totals = listed([f"{at}/"], tmp_path)
    assert ([line.split()[-1] for line in lines], totals) == (["a.bin"], "1 file, 10 B")


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_the_query_of_a_web_address_is_not_shown(tmp_path: Path, more: list[str]) -> None:
    query = "X-Amz-Signature=TOPSECRETSIG&sig=TOPSECRETSIG&my-word=TOPSECRETSIG"
    with web.site() as site:
        site.pages[f"/d/a.bin?{query}"] = Page(b"some bytes", {"ETag": '"1"'})
        link = f'<a href="a.bin?{query}">a.bin</a>'.encode()
        site.pages["/d/"] = Page(link, {"Content-Type": "text/html"})
        for url in (f"{site.at}/d/a.bin?{query}", f"{site.at}/d/"):
            shown = "\n".join(listed([url, *more], tmp_path))
            assert "a.bin" in shown
            assert "TOPSECRETSIG" not in shown


@pytest.mark.parametrize("command", [["plan"], ["plan", "--json"], ["download"]], ids="".join)
def test_no_other_command_shows_it_either(tmp_path: Path, command: list[str]) -> None:
    query = "X-Amz-Signature=TOPSECRETSIG&sig=TOPSECRETSIG&my-word=TOPSECRETSIG"
    with web.site() as site:
        paths = [f"/d/a.bin?{query}", f"/d/b.bin?{query}", f"/e/c.bin?{query}"]
        for path in paths:
            site.pages[path] = Page(b"some bytes", {"ETag": '"1"'})
        links = f'<a href="a.bin?{query}">a</a> <a href="b.bin?{query}">b</a>'.encode()
        site.pages["/d/"] = Page(links, {"Content-Type": "text/html"})
        items = [
            {"folder": f"{site.at}/d/", "target_path": "d"},
            {"file": f"{site.at}{paths[2]}", "target_path": "e/"},
            {"file": f"{site.at}/missing.bin?{query}", "target_path": "m/"},
        ]
        path = configured(tmp_path, {"type": "url", "items": items})
        report = ["--report", str(tmp_path / "report.json")] if command == ["download"] else []
        words = [command[0], path, *command[1:], *report, "--log-level=debug"]
        done = run(["-m", "kaiwo", *words], tmp_path)
        assert done.returncode == 4, done.stderr
    assert "a.bin" in done.stdout + done.stderr
    left = [each for each in tmp_path.rglob("*") if each.is_file() and each.name != Path(path).name]
    texts = [done.stdout, done.stderr, *(each.read_bytes().decode() for each in left)]
    assert not [text for text in texts if "TOPSECRETSIG" in text]
