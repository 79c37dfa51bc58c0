"""Files of the web: all kinds of servers, and what identifies a file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import kaiwo as api
from kaiwo.jobs import RANGE
from tests.faults.catalogue import CASES, MORE, Case, objects
from tests.servers import serving, web
from tests.servers.faulty_s3 import BUCKET, Plan, faulty_s3
from tests.servers.web import Page, Site
from tests.support.command import Kaiwo, clean_environment, tree
from tests.support.faulty import content

CANARY = "Kanarienvogel9"
QUICK = ("--startup-wait", "0", "--retries", "1")
#: What a server of files does not do, or nobody can see where no checksum is stated.
_NOT_HERE = {"listing", "flip", "flip-twice", "flip-parts"}
WEB_CASES = [case for case in (*CASES, *MORE) if case.name not in _NOT_HERE]
LARGE = content(RANGE + 1000)


def files_of(*addresses: str, target: str = "t/", **fields: Any) -> dict[str, Any]:
    items = [{"file": address, "target_path": target} for address in addresses]
    return {"download_items": [{"type": "url", "items": items, **fields}]}


@pytest.mark.parametrize("case", WEB_CASES, ids=lambda case: case.name)
def test_a_fault_of_a_web_server_costs_no_byte(kaiwo: Kaiwo, tmp_path: Path, case: Case) -> None:
    stored = dict(sorted(objects().items())[::3])
    with faulty_s3(stored, case.plan) as server:
        at = f"{server.url}/{BUCKET}"
        items = [{"file": f"{at}/{key}", "target_path": key} for key in stored]
        config = {"download_items": [{"type": "url", "items": items}]}
        done = kaiwo(config, *case.options.get("kaiwo", ()))
    assert done.code == 0, done.stderr
    found = tree(tmp_path / "out")
    replaced = {get.key for get in server.counts.replaced}
    assert found.keys() == stored.keys()
    assert {key for key in stored if found[key] != stored[key]} <= replaced
    assert server.counts.spoilt or replaced or case.plan.down_s


@pytest.fixture
def site() -> Iterator[Site]:
    with web.site() as found:
        yield found


# --- what identifies a file -------------------------------------------------------------------


def test_another_query_is_another_file(kaiwo: Kaiwo, site: Site, tmp_path: Path) -> None:
    for number in "12":
        site.pages[f"/get?file={number}"] = Page(
            number.encode() * 9, {"Last-Modified": "Wed, 02 Jan 2019 10:00:00 GMT"}
        )
    for number in "12":
        done = kaiwo(files_of(f"{site.at}/get?file={number}", target="t"))
        assert done.code == 0, done.stderr
        assert tree(tmp_path / "out") == {"t": number.encode() * 9}


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
@pytest.mark.parametrize("size", [100, RANGE + 1000], ids=["small", "large"])
def test_a_file_that_says_it_is_another_one_is_fetched_again(
    kaiwo: Kaiwo, site: Site, tmp_path: Path, name: str, size: int
) -> None:
    for version in "12":
        stated = f'"{version}"' if name == "ETag" else f"Tue, 0{version} Jan 2019 10:00:00 GMT"
        site.pages["/a"] = Page(version.encode() * size, {name: stated})
        done = kaiwo(files_of(f"{site.at}/a"))
        assert done.code == 0, done.stderr
        assert tree(tmp_path / "out") == {"t/a": version.encode() * size}
    done = kaiwo(files_of(f"{site.at}/a"))
    assert done.report["items"][0]["status"] == "unchanged"


def test_where_nothing_tells_that_a_file_is_another_one_that_is_said(
    kaiwo: Kaiwo, site: Site
) -> None:
    site.pages["/a"] = Page(b"bytes")
    done = kaiwo(files_of(f"{site.at}/a"))
    assert done.code == 0
    assert "of 1 objects only the size is stated" in done.stderr


@pytest.mark.parametrize("etags", ["md5", "none"])
def test_a_large_file_that_is_replaced_on_the_way_is_no_mixture(
    kaiwo: Kaiwo, tmp_path: Path, etags: Any
) -> None:
    stored = {f"{number}.bin": content(3 * RANGE, number) for number in range(3)}
    plan = Plan(replaces=lambda get: get.key_number == 1 and get.object.version == 0, etags=etags)
    with faulty_s3(stored, plan) as server:
        done = kaiwo(files_of(*(f"{server.url}/{BUCKET}/{key}" for key in stored), target="./"))
    assert done.code == 0, done.stderr
    assert len(server.counts.replaced) == len(stored)
    found = tree(tmp_path / "out")
    assert all(
        found[key] == bytes(byte ^ 0xFF for byte in data[:16]) + found[key][16:]
        for key, data in stored.items()
    )


def stating(data: bytes, kind: str) -> dict[str, str]:
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return {
        "Content-MD5": {"Content-MD5": md5},
        "Digest": {"Digest": f"SHA-256={sha256}"},
        "Repr-Digest": {"Repr-Digest": f"sha-512=:aaaa:, sha-256=:{sha256}:"},
        "X-Checksum-Sha256": {"X-Checksum-Sha256": hashlib.sha256(data).hexdigest()},
        "X-Checksum-Sha1": {"X-Checksum-Sha1": hashlib.sha1(data).hexdigest().upper()},
        "X-Checksum-Md5": {"X-Checksum-Md5": hashlib.md5(data).hexdigest()},
        "X-Goog-Hash": {"X-Goog-Hash": "crc32c=AAA=", "x-goog-hash": f"md5={md5}"},
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["Content-MD5", "Digest", "Repr-Digest", "X-Goog-Hash", "X-Checksum-Sha256", "X-Checksum-Sha1",
     "X-Checksum-Md5"],
)  # fmt: skip
@pytest.mark.parametrize("size", [100, RANGE + 1000], ids=["small", "large"])
def test_a_checksum_that_a_server_states_is_compared(
    kaiwo: Kaiwo, site: Site, kind: str, size: int
) -> None:
    data = content(size)
    site.pages["/right"] = Page(data, stating(data, kind))
    site.pages["/wrong"] = Page(data, stating(b"other", kind))
    done = kaiwo(files_of(f"{site.at}/right"))
    assert done.code == 0, done.stderr
    assert done.report["items"][0]["checksum"]
    done = kaiwo(files_of(f"{site.at}/wrong"), *QUICK)
    assert done.code == 7


def test_a_checksum_that_is_none_is_left_aside(kaiwo: Kaiwo, site: Site) -> None:
    site.pages["/a"] = Page(b"x", {"Content-MD5": "of another kind", "Digest": "id=1"})
    done = kaiwo(files_of(f"{site.at}/a"))
    assert done.code == 0, done.stderr
    assert done.report["items"][0]["checksum"] is None


def test_a_checksum_in_digits_is_one(kaiwo: Kaiwo, site: Site) -> None:
    digits = hashlib.md5(b"x").hexdigest()
    site.pages["/a"] = Page(b"x", {"Content-MD5": digits.upper()})
    done = kaiwo(files_of(f"{site.at}/a"))
    assert done.code == 0, done.stderr
    stated = {"algorithm": "md5", "value": digits, "verified": True}
    assert done.report["items"][0]["checksum"] == stated


# --- how servers answer -----------------------------------------------------------------------


def test_a_server_without_ranges_gives_large_files(kaiwo: Kaiwo, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/large").write_bytes(LARGE)

    with web.folder(tmp_path / "www") as at:
        done = kaiwo(files_of(f"{at}/large"))
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"t/large": LARGE}


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 501])
def test_a_server_that_refuses_to_tell_is_asked_for_a_byte(
    kaiwo: Kaiwo, site: Site, tmp_path: Path, status: int
) -> None:
    site.pages["/a"] = Page(b"bytes", {"ETag": '"1"'}, head=status)
    site.pages["/empty"] = Page(b"", {"ETag": '"2"'}, head=status)
    site.pages["/plain"] = Page(b"", {"ETag": '"3"'}, ranges=False, head=status)
    done = kaiwo(files_of(*(f"{site.at}/{name}" for name in ("a", "empty", "plain"))))
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"t/a": b"bytes", "t/empty": b"", "t/plain": b""}


def test_a_server_that_calls_all_files_empty_is_asked_for_a_byte(
    kaiwo: Kaiwo, tmp_path: Path
) -> None:
    class Shy(serving.Quiet, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            body = b"bytes" if self.command == "GET" else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

    with serving.listening(Shy) as at:
        done = kaiwo(files_of(f"{at}/a"))
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"t/a": b"bytes"}


def test_what_comes_encoded_is_kept_so(kaiwo: Kaiwo, site: Site, tmp_path: Path) -> None:
    packed = gzip.compress(b"bytes" * 100)
    site.pages["/a"] = Page(packed, {"ETag": '"1"', "Content-Encoding": "gzip"})
    done = kaiwo(files_of(f"{site.at}/a"))
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"t/a": packed}
    assert {headers["Accept-Encoding"] for _, _, headers in site.asked} == {"identity"}


@pytest.mark.parametrize(
    ("redirect", "words"),
    [("/a", "too many redirects"), ("file:///etc/passwd", "not a web address")],
)
def test_a_way_that_leads_nowhere_is_told(
    kaiwo: Kaiwo, site: Site, redirect: str, words: str
) -> None:
    site.pages["/a"] = Page(redirect=redirect)
    done = kaiwo(files_of(f"{site.at}/a"), *QUICK)
    assert done.code == 5
    assert words in done.stderr


@pytest.mark.parametrize(
    ("status", "code"), [(404, 4), (401, 3), (429, 5), (500, 5), (300, 5), (302, 5), (202, 5)]
)
def test_a_refusal_is_told_with_its_status(
    kaiwo: Kaiwo, site: Site, status: int, code: int
) -> None:
    site.pages["/a"] = Page(head=status, status=status)
    done = kaiwo(files_of(f"{site.at}/a"), *QUICK)
    assert done.code == code, done.stderr
    assert f": {status}" in done.stderr
    assert "endpoint" not in done.stderr


def test_an_answer_that_is_longer_than_it_says_is_cut_where_it_said(
    kaiwo: Kaiwo, site: Site, tmp_path: Path
) -> None:
    class Longer(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"bytes and more")

        def do_HEAD(self) -> None:
            self.do_GET()

    with serving.listening(Longer) as at:
        done = kaiwo(files_of(f"{at}/a", f"{at}/b"))
    # Where the rest comes together with the body, it is taken for an answer that is not HTTP.
    statuses = {item["target"]: item["status"] for item in done.report["items"]}
    whole = [path for path, status in statuses.items() if status == "downloaded"]
    assert len(statuses) == 2
    assert done.code == (0 if len(whole) == 2 else 5), done.stderr
    messages = re.sub(r"(?m)^\S+ \S+ ", "", done.stderr)  # their time may have 400 milliseconds
    assert re.search(r"\b400\b", messages) is None
    found = {str(tmp_path / "out" / name): data for name, data in tree(tmp_path / "out").items()}
    assert found == dict.fromkeys(whole, b"bytes")


# --- addresses --------------------------------------------------------------------------------


def test_names_lose_their_percent_escapes_where_that_can_be(
    kaiwo: Kaiwo, site: Site, tmp_path: Path
) -> None:
    names = ["with space", "plus+", "ñ", "100%", "q?", "a#b"]
    for name in names:
        site.pages[f"/{quote(name)}"] = Page(name.encode(), {"ETag": '"1"'})
    done = kaiwo(files_of(*(f"{site.at}/{quote(name)}" for name in names)))
    assert done.code == 0, done.stderr
    kept = {"100%", "q?", "a#b"}
    assert tree(tmp_path / "out") == {
        f"t/{quote(name) if name in kept else name}": name.encode() for name in names
    }


def test_a_folder_is_what_its_page_leads_to(kaiwo: Kaiwo, site: Site, tmp_path: Path) -> None:
    html = {"Content-Type": "text/html; charset=utf-8"}
    links = "".join(
        f'<a href="{link}">x</a>'
        for link in ("?C=N;O=D", "../", "/", "#top", "one", f"{site.at}/d/two%20words", "/d/sub/",
                     "sub/", "http://elsewhere.invalid/d/no", "mailto:x@y", "http://[", "..%2Fup")
    )  # fmt: skip
    site.pages["/d/"] = Page(links.encode(), html)
    site.pages["/d/sub/"] = Page(b'<a href="three">', html)
    site.pages["/d"] = Page(redirect="/d/")
    for path in ("/d/one", "/d/two%20words", "/d/sub/three"):
        site.pages[path] = Page(path.encode(), {"ETag": '"1"'})
    site.pages["/d/..%2Fup"] = Page(b"up", {"ETag": '"1"'})
    items = [{"folder": f"{site.at}/d", "target_path": "t"}]
    done = kaiwo({"download_items": [{"type": "url", "items": items}]})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {
        "t/one": b"/d/one",
        "t/two words": b"/d/two%20words",
        "t/sub/three": b"/d/sub/three",
        "t/..%2Fup": b"up",
    }


def test_folders_without_end_are_an_error(kaiwo: Kaiwo) -> None:
    class Endless(serving.Quiet, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b'<a href="more/">'
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

    with serving.listening(Endless) as at:
        items = [{"folder": f"{at}/d", "target_path": "t"}]
        done = kaiwo({"download_items": [{"type": "url", "items": items}]}, *QUICK)
    assert done.code == 5
    assert "have no end" in done.stderr


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"folder": "http://host/d/?x=1"}, "no '?'"),
        ({"file": "http://host:99999/a"}, "port"),
        ({"file": "http://host:port/a"}, "port"),
        ({"file": "http:///a"}, "no host"),
        ({"file": "gopher://host/a"}, "does not know the protocol gopher://"),
    ],
)
def test_addresses_that_can_lead_nowhere_are_faults_of_the_file(
    kaiwo: Kaiwo, item: dict[str, str], words: str
) -> None:
    items = [{**item, "target_path": "t"}]
    done = kaiwo({"download_items": [{"type": "url", "items": items}]})
    assert done.code == 2
    assert words in done.stderr
    if "file" in item:
        with pytest.raises(api.ConfigError):
            api.fetch(item["file"])


def test_the_scheme_may_be_in_capitals(kaiwo: Kaiwo, site: Site, tmp_path: Path) -> None:
    site.pages["/a"] = Page(b"bytes", {"ETag": '"1"'})
    done = kaiwo(files_of(f"{site.at}/a".replace("http", "HTTP")))
    assert done.code == 0, done.stderr
    path = api.fetch(f"{site.at}/a".replace("http", "Http"), tmp_path / "b")
    assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize(
    "options",
    [{"heders": {}}, {"headers": "x"}, {"client_kwargs": {"no": 1}}, {"client_kwargs": 1},
     {"timeout": "x"}, {"headers": {"a": ["b"]}}],
)  # fmt: skip
def test_options_that_the_filesystem_does_not_take_are_faults_of_the_configuration(
    kaiwo: Kaiwo, site: Site, options: dict[str, Any]
) -> None:
    site.pages["/a"] = Page(b"bytes", {"ETag": '"1"'})
    done = kaiwo(files_of(f"{site.at}/a", options=options), *QUICK)
    assert done.code == 2, done.stderr
    assert "options" in done.stderr


def test_headers_are_sent_with_every_request(kaiwo: Kaiwo, site: Site, tmp_path: Path) -> None:
    site.pages["/a"] = Page(LARGE, {"ETag": '"1"'})
    done = kaiwo(files_of(f"{site.at}/a", options={"headers": {"X-Who": "me"}}))
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"t/a": LARGE}
    assert {headers["X-Who"] for _, _, headers in site.asked} == {"me"}


def test_links_to_folders_without_a_slash_are_followed(
    kaiwo: Kaiwo, site: Site, tmp_path: Path
) -> None:
    html = {"Content-Type": "text/html"}
    site.pages["/d/"] = Page(b'<base href="/d/"><a href="sub">', html)
    site.pages["/d/sub"] = Page(redirect="/d/sub/")
    site.pages["/d/sub/"] = Page(
        gzip.compress(b'<a href="b">'), {**html, "Content-Encoding": "gzip"}
    )
    site.pages["/d/sub/b"] = Page(b"bytes", {"ETag": '"1"'})
    items = [{"folder": f"{site.at}/d", "target_path": "t"}]
    done = kaiwo({"download_items": [{"type": "url", "items": items}]})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"t/sub/b": b"bytes"}
    assert tree(api.fetch(f"{site.at}/d/sub", tmp_path / "f")) == {"b": b"bytes"}


def test_links_to_other_ports_are_not_below(kaiwo: Kaiwo, site: Site, tmp_path: Path) -> None:
    page = f'<a href="{site.at.rpartition(":")[0]}:1/d/no"> <a href="yes">'
    site.pages["/d/"] = Page(page.encode(), {"Content-Type": "text/html"})
    site.pages["/d/yes"] = site.pages["/d/no"] = Page(b"bytes", {"ETag": '"1"'})
    assert tree(api.fetch(f"{site.at}/d/", tmp_path / "t")) == {"yes": b"bytes"}


def test_a_page_of_links_that_is_cut_is_no_folder(kaiwo: Kaiwo, site: Site) -> None:
    html = {"Content-Type": "text/html"}
    site.pages["/d/"] = Page(b'<html><a href="a">', html, sized=False)
    site.pages["/d/a"] = Page(b"bytes", {"ETag": '"1"'})
    items = [{"folder": f"{site.at}/d", "target_path": "t"}]
    done = kaiwo({"download_items": [{"type": "url", "items": items}]}, *QUICK)
    assert (done.code, "is cut" in done.stderr) == (5, True)


def test_one_failure_in_a_folder_costs_its_own_request(
    kaiwo: Kaiwo, site: Site, tmp_path: Path
) -> None:
    names = [f"{number:03}" for number in range(100)]
    links = "".join(f'<a href="{name}">' for name in names)
    site.pages["/d/"] = Page(links.encode(), {"Content-Type": "text/html"})
    for number, name in enumerate(names):
        tag = {"ETag": f'"{name}"'}
        site.pages[f"/d/{name}"] = Page(name.encode(), tag, fails=int(number % 20 == 7))
    items = [{"folder": f"{site.at}/d", "target_path": "t"}]
    done = kaiwo({"download_items": [{"type": "url", "items": items}]}, "--retries", "2")
    assert done.code == 0, done.stderr
    assert len(tree(tmp_path / "out")) == len(names)


@pytest.mark.parametrize("query", ["", "?file=x", "?path=a/b/"])
@pytest.mark.parametrize("path", ["/q/x", "/q/", "/", "/a::b/c", "/x::file:///etc/passwd"])
def test_what_is_asked_for_is_what_was_given(
    site: Site, tmp_path: Path, path: str, query: str
) -> None:
    if path.endswith("/") and not query:
        return  # a folder
    site.pages[path + query] = Page(b"bytes", {"ETag": '"1"'})
    assert api.fetch(f"{site.at}{path}{query}", tmp_path / "t").read_bytes() == b"bytes"
    assert {asked for _, asked, _ in site.asked} == {path + query}


def test_hosts_may_be_named_by_numbers_of_ipv6(tmp_path: Path) -> None:
    class Six(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

    (tmp_path / "www").mkdir()
    (tmp_path / "www/a").write_bytes(b"bytes")
    try:
        server = Six(("::1", 0), web.files_of(tmp_path / "www"))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving.in_thread(server):
        path = api.fetch(f"http://[::1]:{server.server_port}/a", tmp_path / "a")
    assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize("place", ["headers", "client_kwargs"])
def test_what_is_given_for_a_host_goes_to_no_other(
    kaiwo: Kaiwo, site: Site, tmp_path: Path, place: str
) -> None:
    given = {"X-Key": CANARY, "PRIVATE-TOKEN": CANARY, "Authorization": f"Basic {CANARY}"}
    options = {"headers": given} if place == "headers" else {"client_kwargs": {"headers": given}}
    elsewhere: list[Mapping[str, str]] = []

    class Other(serving.Quiet, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            elsewhere.append(dict(self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.send_header("ETag", '"1"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"bytes")

        def do_HEAD(self) -> None:
            self.do_GET()

    with serving.listening(Other) as at:
        site.pages["/a"] = Page(redirect="/b")
        site.pages["/b"] = Page(redirect=f"{at}/c")
        done = kaiwo(files_of(f"{site.at}/a", options=options))
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"t/a": b"bytes"}
    assert all(headers["X-Key"] == CANARY for _, _, headers in site.asked)
    assert elsewhere
    assert CANARY not in str(elsewhere)


@pytest.mark.parametrize(
    "signed",
    ["X-Amz-Date={0}&X-Amz-Signature={0}", "md5={0}&expires={0}", "token={0}&expires={0}",
     "x-oss-date={0}&x-oss-signature={0}", "sv=1&se={0}&sig={0}"],
)  # fmt: skip
@pytest.mark.parametrize(
    "tag", [{"ETag": '"0123456789abcdef"'}, {"Last-Modified": "Wed, 02 Jan 2019 10:00:00 GMT"}]
)
def test_what_signs_an_address_is_no_part_of_the_file(
    kaiwo: Kaiwo, site: Site, signed: str, tag: dict[str, str]
) -> None:
    statuses = []
    for day in "12":
        path = f"/a?v=1&{signed.format(day)}"
        site.pages[path] = Page(b"bytes", tag, head=403)
        statuses.append(kaiwo(files_of(f"{site.at}{path}")).report["items"][0]["status"])
    assert statuses == ["downloaded", "unchanged"]


def test_a_glob_of_the_web_is_a_folder(site: Site, tmp_path: Path) -> None:
    page = b'<a href="a.bin">a</a> <a href="b.txt">b</a> <a href="c%20d.bin">c</a>'
    site.pages["/d/"] = Page(page, {"Content-Type": "text/html"})
    for name in ("a.bin", "b.txt", "c%20d.bin"):
        site.pages[f"/d/{name}"] = Page(name.encode(), {"ETag": '"1"'})
    folder = api.fetch(f"{site.at}/d/*.bin", tmp_path / "t")
    assert tree(folder) == {"a.bin": b"a.bin", "c d.bin": b"c%20d.bin"}
    assert tree(api.fetch(f"{site.at}/d/", tmp_path / "all")).keys() == {
        "a.bin", "b.txt", "c d.bin",
    }  # fmt: skip


def test_the_command_takes_options_as_a_mapping(site: Site, tmp_path: Path) -> None:
    site.pages["/a"] = Page(b"bytes", {"ETag": '"1"'})
    for options, code in (('{"headers": {"X-Who": "me"}}', 0), ('{"headers": {]}', 2)):
        done = subprocess.run(
            [sys.executable, "-m", "kaiwo", "fetch", f"{site.at}/a", "-o", f"options={options}"],
            cwd=tmp_path,
            env=clean_environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
    assert (tmp_path / "a").read_bytes() == b"bytes"
    assert {headers["X-Who"] for _, _, headers in site.asked} == {"me"}
