"""Mirrors and proxies of the Hub: which of their statements count, and which bytes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import kaiwo
from kaiwo.errors import IntegrityError, ServiceError, StandInError, TransientError
from kaiwo.jobs import RANGE
from tests.servers.hub.repositories import git_oid
from tests.support import stores
from tests.support.command import tree
from tests.support.hubs import Hub
from tests.support.proxies import Answer, Spoil, spoiling

SMALL = random.Random(5).randbytes(5000)
LARGE = random.Random(6).randbytes(RANGE + 1000)
FILES = {"small.bin": SMALL, "large.bin": LARGE, "config.json": b"{}"}


@pytest.fixture(scope="module")
def one_hub() -> Iterator[Hub]:
    with stores.hub() as store:
        yield Hub(store)


def fetch(hub: Hub, spoil: Spoil, root: Path, *names: str) -> dict[str, bytes]:
    """The files that a run in this process brings from the Hub by way of a spoiling mirror."""
    hub.fill("acme/any", FILES)
    with spoiling(hub.store, spoil) as mirror:
        task = mirror.task("acme/any", (), target_path=".", files=list(names))
        config = {"download_root": str(root), "download_items": [task]}
        report = kaiwo.download(config, retries=1)
    for error in (item.error for item in report.items if item.error is not None):
        raise error
    return dict(tree(root))


def pointer(data: bytes) -> bytes:
    sha256 = hashlib.sha256(data).hexdigest()
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n"
    return text.encode()


def sends(body: bytes, **headers: str) -> Spoil:
    """A mirror that answers with these bytes for one file, and knows the API."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if "/resolve/" not in path or "small" not in path:
            return answer
        named = {"ETag": f'"{git_oid("blob", body)}"', **headers}
        return replace(answer, status=200, headers=named, body=body)

    return spoil


@pytest.mark.parametrize("body", [pointer(SMALL), b"<!DOCTYPE html><html>Sign in</html>"])
def test_what_the_api_states_outranks_the_head_of_a_mirror(
    hub: Hub, tmp_path: Path, body: bytes
) -> None:
    with pytest.raises(IntegrityError):
        fetch(hub, sends(body), tmp_path, "small.bin")
    assert tree(tmp_path) == {}


def branch_for_commit(method: str, path: str, answer: Answer) -> Answer:
    """A mirror that knows no commits, and names the branch in their place."""
    if "/revision/" in path:
        return replace(answer, body=json.dumps({**json.loads(answer.body), "sha": "main"}).encode())
    return branch_beside_the_files(method, path, answer)


def branch_beside_the_files(_: str, path: str, answer: Answer) -> Answer:
    if "/resolve/" not in path:
        return answer
    return replace(answer, headers={**answer.headers, "X-Repo-Commit": "main"})


def size_of_pointer(_: str, path: str, answer: Answer) -> Answer:
    named = {name: "130" if name.lower() == "x-linked-size" else answer.headers[name]
             for name in answer.headers}  # fmt: skip
    return replace(answer, headers=named) if "/resolve/" in path else answer


@pytest.mark.parametrize("names", [(), ("large.bin", "config.json")], ids=["all", "named"])
@pytest.mark.parametrize("spoil", [branch_for_commit, branch_beside_the_files, size_of_pointer])
def test_what_a_digest_proves_is_not_refused_for_less(
    hub: Hub, tmp_path: Path, spoil: Spoil, names: tuple[str, ...]
) -> None:
    found = fetch(hub, spoil, tmp_path, *names)
    assert found == {name: FILES[name] for name in names or FILES}


@pytest.mark.parametrize("sha", [None, "", 7])
def test_a_revision_without_a_commit_is_no_answer_of_a_hub(
    hub: Hub, tmp_path: Path, sha: object
) -> None:
    def spoil(_: str, path: str, answer: Answer) -> Answer:
        if "/revision/" not in path:
            return answer
        return replace(answer, body=json.dumps({**json.loads(answer.body), "sha": sha}).encode())

    with pytest.raises(TransientError, match="not a valid Hub response"):
        fetch(hub, spoil, tmp_path)


def test_a_mirror_without_an_api_for_files_cannot_pass_off_a_pointer(
    hub: Hub, tmp_path: Path
) -> None:
    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if "/paths-info/" in path or "/tree/" in path:
            return replace(answer, status=404, body=b"Not found")
        return sends(pointer(SMALL))(method, path, answer)

    with pytest.raises(StandInError):
        fetch(hub, spoil, tmp_path, "small.bin")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "body", "is_refused"),
    [
        ("config.json", b"<!DOCTYPE html><html>Sign in</html>", True),
        ("config.json", "<html>Sign in</html>".encode("utf-16"), True),
        ("large.bin", b'{"error": "unauthorized"}', True),
        ("config.json", b"{}", False),
        ("large.bin", LARGE, False),
    ],
)
def test_a_mirror_without_an_api_for_files_cannot_pass_off_a_page(
    hub: Hub, tmp_path: Path, name: str, body: bytes, *, is_refused: bool
) -> None:
    """It may state the wrong type, too."""

    def spoil(_: str, path: str, answer: Answer) -> Answer:
        if "/paths-info/" in path or "/tree/" in path:
            return replace(answer, status=404, body=b"Not found")
        named = {"ETag": '"1"', "Content-Type": "text/html; charset=utf-8"}
        return replace(answer, status=200, headers=named, body=body) if name in path else answer

    if is_refused:
        with pytest.raises(StandInError, match="came, not"):
            fetch(hub, spoil, tmp_path, name)
        assert tree(tmp_path) == {}
    else:
        assert fetch(hub, spoil, tmp_path, name) == {name: body}


# --- digests whose kind is not known ----------------------------------------------------------


@pytest.mark.parametrize("names", [(), ("small.bin", "config.json")])
@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag"])
@pytest.mark.parametrize("has_api", [True, False])
def test_a_proxy_that_states_the_sha1_of_the_file_sends_the_right_bytes(
    hub: Hub, tmp_path: Path, header: str, has_api: bool, names: tuple[str, ...]
) -> None:
    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if not has_api and method == "POST":
            return replace(answer, status=404, body=b"Not found")
        if "/resolve/" not in path:
            return answer
        body = FILES[path.rpartition("/")[2]]
        headers = {header: hashlib.sha1(body).hexdigest(), "X-Linked-Size": f"{len(body)}"}
        return replace(answer, status=302 if method == "HEAD" else 200, headers=headers, body=body)

    if not names:
        names = ("small.bin",)
    found = fetch(hub, spoil, tmp_path, *names)
    assert found == {name: FILES[name] for name in names}


def without_lfs(size_of: str) -> Spoil:
    """A mirror whose trees do not say which files are in LFS."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if "/tree/" not in path:
            return answer
        entries = json.loads(answer.body)
        for entry in entries:
            lfs = entry.pop("lfs", None)
            if lfs and size_of == "pointer":
                entry["size"] = lfs["pointerSize"]
        return replace(answer, body=json.dumps(entries).encode())

    return spoil


def test_a_tree_that_does_not_say_which_files_are_in_lfs_proves_them(
    hub: Hub, tmp_path: Path
) -> None:
    assert fetch(hub, without_lfs("file"), tmp_path) == FILES


def test_a_tree_with_the_sizes_of_pointers_is_contradicted_by_the_files(
    hub: Hub, tmp_path: Path
) -> None:
    assert fetch(hub, without_lfs("pointer"), tmp_path) == FILES


def test_bytes_that_are_wrong_are_refused_by_a_tree_without_lfs_too(
    hub: Hub, tmp_path: Path
) -> None:
    hub.ask("fault", {"match": "^/lfs/|json", "action": "flip", "times": 10_000})
    with pytest.raises(IntegrityError):
        fetch(hub, without_lfs("file"), tmp_path)
    assert tree(tmp_path) == {}


# --- listings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["same entries", "no entries"])
def test_a_tree_whose_pages_have_no_end_is_refused(hub: Hub, tmp_path: Path, kind: str) -> None:
    pages, first = 0, b""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        nonlocal pages, first
        if "/tree/" not in path:
            return answer
        pages, first = pages + 1, first or answer.body
        link = {"Link": f'<http://host{path}?cursor={pages}>; rel="next"'}
        body = first if kind == "same entries" else b"[]"
        return replace(answer, status=200, headers={**answer.headers, **link}, body=body)

    with pytest.raises(ServiceError, match="its pages have no end"):
        fetch(hub, spoil, tmp_path)
    assert pages < 20


def test_an_empty_tree_of_a_revision_that_names_files_is_no_empty_repository(
    hub: Hub, tmp_path: Path
) -> None:
    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if "/tree/" in path:
            return replace(answer, body=b"[]")
        if method == "HEAD" or "/paths-info/" in path:
            return replace(answer, status=404, body=b"")
        return answer

    with pytest.raises(ServiceError, match="is not complete"):
        fetch(hub, spoil, tmp_path)
