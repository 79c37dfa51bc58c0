"""The Hub: its requests, the hosts that get the token, and the commit whose bytes arrive."""

from __future__ import annotations

import http.server
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaiwo.api.fetch import fetch
from kaiwo.errors import ContainerMissingError
from kaiwo.jobs import RANGE
from tests.servers import serving
from tests.support import stores
from tests.support.command import Kaiwo, Run, clean_environment, tree
from tests.support.faulty import MIB
from tests.support.hubs import Hub, downloaded
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store

LARGE = random.Random(9).randbytes(40 * MIB + 5)
RANGES = -(-len(LARGE) // RANGE)
TOKEN = "hf_right"


@pytest.fixture(scope="module")
def one_hub() -> Iterator[Hub]:
    with stores.hub(f"--token={TOKEN}", "--page-size=100") as store:
        yield Hub(store)


def fetched(kaiwo: Kaiwo, store: Store, repository: str, *options: str, **fields: Any) -> Run:
    """A run of one task into a folder."""
    return downloaded(kaiwo, store, repository, *options, target_path=".", **fields)


# --- signed addresses -------------------------------------------------------------------------


def test_a_signed_address_is_asked_for_once_and_read_from_in_ranges(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    hub.store.fill("acme/large", {"large.bin": LARGE})
    done = fetched(kaiwo, hub.store, "acme/large")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"large.bin": LARGE}
    assert hub.counts() == {"revision": 1, "tree": 1, "resolve": 1, "lfs": RANGES}
    ranges = {each["range"] for each in hub.log() if each["host"] == hub.lfs}
    assert len(ranges) == RANGES
    assert done.report["transferred_bytes"] == len(LARGE)


def test_a_small_file_that_lies_elsewhere_costs_two_requests_and_another_one(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    files = {"small.bin": b"x" * 1000, "config.json": b"{}", "empty": b""}
    hub.store.fill("acme/small", files)
    done = fetched(kaiwo, hub.store, "acme/small")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == files
    assert hub.counts() == {"revision": 1, "tree": 1, "resolve": 3, "lfs": 1}


@pytest.mark.parametrize("workers", [1, 8])
def test_addresses_that_expire_during_the_run_are_asked_for_again_once_and_are_no_failure(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, workers: int
) -> None:
    hub.store.fill("acme/expiring", {"large.bin": LARGE})
    hub.ask("fault", {"match": "^/lfs/", "action": "expire", "after": 2})
    options = (f"--max-workers={workers}", "--retries=0")
    done = fetched(kaiwo, hub.store, "acme/expiring", *options)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"large.bin": LARGE}
    counts = hub.counts()
    assert counts["resolve"] == 2
    assert RANGES < counts["lfs"] <= RANGES + workers
    assert done.report["items"][0]["attempts"] == 1


def test_an_address_that_is_refused_at_once_is_a_failure_that_may_pass(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    hub.store.fill("acme/closed", {"small.bin": b"x" * 1000, "large.bin": LARGE})
    hub.ask("fault", {"match": "^/lfs/", "action": "status:403", "times": 2})
    done = fetched(kaiwo, hub.store, "acme/closed", "--max-workers=1")
    assert done.code == 0, done.stderr
    hub.ask("fault", {"match": "^/lfs/", "action": "status:403", "times": 100})
    options = ("--force", "--retries=1", "--log-level=DEBUG")
    done = fetched(kaiwo, hub.store, "acme/closed", *options)
    assert done.code == 5, done.stderr
    assert "refused (403)" in done.stderr
    assert "Signature=" not in done.stderr
    hub.ask("reset")


def test_a_large_file_that_the_endpoint_itself_has_comes_in_ranges_from_there(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    hub.fill("acme/direct", {"large.bin": LARGE})
    hub.setting("acme/direct", private=True, lfs=[])
    done = fetched(kaiwo, hub.store, "acme/direct", token=TOKEN)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"large.bin": LARGE}
    assert done.report["items"][0]["checksum"]["algorithm"] == "git-sha1"
    assert hub.counts() == {"revision": 1, "tree": 1, "resolve": RANGES}
    assert all(each["authorization"] for each in hub.log())


# --- the token --------------------------------------------------------------------------------


class Redirecting(http.server.BaseHTTPRequestHandler):
    """Leads to the same path of another server, and remembers who came with a token."""

    protocol_version = "HTTP/1.1"
    elsewhere = ""
    seen: list[bool]

    def do_GET(self) -> None:
        self.seen.append("Authorization" in self.headers)
        self.send_response(302)
        self.send_header("Location", self.elsewhere + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Requests are not logged."""


def test_the_token_is_shown_to_the_endpoint_and_to_no_other_host(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    hub.store.fill("acme/secret", {"large.bin": LARGE, "small.bin": b"x", "config.json": b"{}"})
    hub.setting("acme/secret", private=True)
    done = fetched(kaiwo, hub.store, "acme/secret", token=TOKEN)
    assert done.code == 0, done.stderr
    for each in hub.log():
        assert each["authorization"] == (each["host"] != hub.lfs), each


def test_what_leads_to_other_hosts_again_and_again_is_followed_without_the_token(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    hub.store.fill("acme/public", {"large.bin": LARGE, "config.json": b"{}"})

    class Mirror(Redirecting):
        elsewhere = hub.store.settings["endpoint_url"]
        seen: list[bool] = []  # noqa: RUF012 - of this class alone

    listener = http.server.ThreadingHTTPServer((serving.HOST, 0), Mirror)
    with serving.in_thread(listener):
        address = f"http://{serving.HOST}:{listener.server_port}"
        store = replace(hub.store, fields={"endpoint_url": address, "token": TOKEN})
        done = fetched(kaiwo, store, "acme/public", "--max-workers", "1")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"large.bin": LARGE, "config.json": b"{}"}
    assert Mirror.seen == [True] * 4, "revision, tree, and each file once"
    assert not any(each["authorization"] for each in hub.log())
    assert hub.counts() == {"revision": 1, "tree": 1, "resolve": 2, "lfs": RANGES}


def test_a_repository_that_was_renamed_is_found_with_the_token(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    files = {"large.bin": LARGE, "config.json": b"{}"}
    hub.store.fill("acme/new-name", files)
    hub.setting("acme/new-name", private=True)
    hub.setting("acme/old-name", moved_to="acme/new-name")
    done = fetched(kaiwo, hub.store, "acme/old-name", token=TOKEN)
    assert done.code == 0, done.stderr
    named = fetched(kaiwo, hub.store, "acme/old-name", files=["config.json"], token=TOKEN)
    assert named.code == 0, named.stderr
    assert tree(tmp_path / "out") == files


# --- one commit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "value"),
    [("X-Repo-Commit", "0" * 40), ("X-Linked-Etag", f'"{"0" * 64}"')],
)
def test_a_mirror_that_answers_with_other_bytes_than_planned_is_refused(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, header: str, value: str
) -> None:
    hub.store.fill("acme/mirrored", {"small.bin": b"x" * 1000})

    def spoil(_: str, path: str, answer: Answer) -> Answer:
        other: Mapping[str, str] = {header: value} if "/resolve/" in path else {}
        return replace(answer, headers={**answer.headers, **other})

    with spoiling(hub.store, spoil) as mirror:
        done = fetched(kaiwo, mirror, "acme/mirrored")
    assert done.code == 7, done.stderr
    assert tree(tmp_path / "out") == {}
    assert "replaced" in done.stderr


def test_of_a_branch_that_moves_during_the_run_every_file_is_of_the_first_commit(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    old = {"large.bin": LARGE, **{f"{number}.json": b"old" for number in range(20)}}
    hub.fill("acme/moving", old)
    moved = {name: data[::-1] for name, data in old.items()} | {"new": b"x"}
    commits = []

    def spoil(_: str, path: str, answer: Answer) -> Answer:
        if "/revision/" in path:
            commits.append(json.loads(answer.body)["sha"])
            hub.fill("acme/moving", moved)
        return answer

    with spoiling(hub.store, spoil) as way:
        tasks = [way.task("acme/moving", (), target_path=path) for path in ("first", "second")]
        # One after the other: asked at once, either may be the first, or see the branch half moved.
        done = kaiwo({"download_items": tasks}, "--max-workers", "1")
    assert done.code == 0, done.stderr
    first, second = (tree(tmp_path / "out" / path) for path in ("first", "second"))
    assert first == old
    assert second == moved
    before, after = commits
    lines = [line for line in done.stderr.splitlines() if "is commit" in line]
    for commit, line in zip(commits, lines, strict=True):
        assert f"hf://acme/moving@main is commit {commit}" in line
    sources = Counter(item["source"].rpartition("/")[0] for item in done.report["items"])
    assert sources == {
        f"hf://acme/moving@{before}": len(old),
        f"hf://acme/moving@{after}": len(moved),
    }


@pytest.mark.parametrize("cached", [False, True])
def test_bytes_of_the_right_size_that_are_wrong_are_not_published(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, cached: bool
) -> None:
    hub.fill("acme/wrong", {"large.bin": LARGE, "small.bin": b"x" * 1000, "config.json": b"{}"})
    hub.ask("fault", {"match": "^/lfs/|json", "action": "flip", "times": 10_000})
    place = {"cache_dir": str(tmp_path / "out")} if cached else {"target_path": "."}
    done = kaiwo({"download_items": [hub.store.task("acme/wrong", (), **place)]})
    assert done.code == 7, done.stderr
    assert [item["status"] for item in done.report["items"]] == ["failed"] * 3
    there = [path for path in (tmp_path / "out").rglob("*") if ".kaiwo" not in path.parts]
    assert [path for path in there if path.is_file() or path.is_symlink()] == []


# --- what it costs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repository", "kind", "revision"),
    [
        ("acme/net", "model", "main"),
        ("acme/net", "dataset", "v1.0"),
        ("acme/net", "space", "refs/pr/7"),
        ("gpt2", "model", "a/branch"),
    ],
)
def test_a_file_costs_one_request_and_a_second_run_none(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, repository: str, kind: str, revision: str
) -> None:
    files = {f"{number % 7}/{number}.json": f"{number}".encode() for number in range(230)}
    hub.fill(repository, files, kind, revision)
    fields = {"repo_type": kind, "revision": revision}
    done = fetched(kaiwo, hub.store, repository, **fields)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == files
    assert hub.counts() == {"revision": 1, "tree": 3, "resolve": 230}
    hub.ask("reset")
    done = fetched(kaiwo, hub.store, repository, **fields)
    assert (done.code, done.report["unchanged"]) == (0, 230)
    assert hub.counts() == {"revision": 1, "tree": 3}


@pytest.mark.parametrize(
    ("url", "kind", "revision"),
    [
        ("hf://acme/url", "model", None),
        ("hf://datasets/acme/url@v1.0", "dataset", "v1.0"),
        ("hf://spaces/acme/url@refs/pr/7", "space", "refs/pr/7"),
        ("hf://url@main", "model", None),
    ],
)
def test_a_url_names_any_repository(
    hub: Hub, tmp_path: Path, url: str, kind: str, revision: str | None
) -> None:
    repository = url.partition("@")[0].removeprefix("hf://").removeprefix(f"{kind}s/")
    files = {"a/large.bin": b"x" * 1000, "a/b.json": b"{}", "c": b"c"}
    hub.fill(repository, files, kind, revision or "main")
    fields: dict[str, Any] = {"endpoint_url": hub.store.settings["endpoint_url"], "token": TOKEN}
    assert tree(fetch(url, tmp_path / "whole", **fields)) == files
    assert tree(fetch(f"{url}/a/", tmp_path / "a", **fields)) == {
        "large.bin": b"x" * 1000,
        "b.json": b"{}",
    }
    assert fetch(f"{url}/a/b.json", tmp_path / "b", **fields).read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("c", b"c"),
        ("a", {"large.bin": b"x" * 1000, "b.json": b"{}"}),
        ("a/b.json", b"{}"),
        ("a/", {"large.bin": b"x" * 1000, "b.json": b"{}"}),
        ("*", {"c": b"c"}),
        ("a/*.json", {"b.json": b"{}"}),
    ],
)
def test_of_a_repository_of_one_word_a_path_needs_no_revision(
    hub: Hub, tmp_path: Path, path: str, expected: bytes | dict[str, bytes]
) -> None:
    hub.fill("oneword", {"a/large.bin": b"x" * 1000, "a/b.json": b"{}", "c": b"c"})
    address = hub.store.settings["endpoint_url"]
    there = fetch(f"hf://oneword/{path}", tmp_path / "t", endpoint_url=address)
    assert (tree(there) if there.is_dir() else there.read_bytes()) == expected


def test_a_repository_that_is_missing_is_told_by_the_name_that_was_given(
    hub: Hub, tmp_path: Path
) -> None:
    address = hub.store.settings["endpoint_url"]
    with pytest.raises(ContainerMissingError, match="acme/nowhere"):
        fetch("hf://acme/nowhere", tmp_path / "t", endpoint_url=address)


# --- what fails for a moment -------------------------------------------------------------------


@pytest.mark.parametrize("action", ["status:500", "status:503", "truncate", "reset", "stall"])
def test_what_fails_for_a_moment_is_asked_again_at_either_host(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, action: str
) -> None:
    files = {"large.bin": LARGE, "small.bin": b"x" * 1000, "a.json": b"{}", "b.json": b"[]"}
    hub.fill("acme/failing", files)
    for match in ("/revision/", "/tree/", r"/resolve/.*\.json", r"/resolve/.*\.bin", "^/lfs/"):
        hub.ask("fault", {"match": match, "action": action})
    hub.ask("fault", {"match": "^/lfs/", "action": action, "after": 4})
    done = fetched(kaiwo, hub.store, "acme/failing", "--stall-timeout=1")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == files
    (large,) = (each for each in done.report["items"] if each["bytes"] == len(LARGE))
    assert large["attempts"] > 1
    # What fails is repeated, and nothing else.
    ranges = Counter(each["range"] for each in hub.log() if each["host"] == hub.lfs)
    assert sum(ranges.values()) <= RANGES + 1 + 3


@pytest.mark.parametrize("workers", [1, 8])
def test_one_wrong_byte_costs_a_second_read_and_no_more(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, workers: int
) -> None:
    hub.fill("acme/flipped", {"large.bin": LARGE})
    hub.ask("fault", {"match": "^/lfs/", "action": "flip", "after": 2})
    done = fetched(kaiwo, hub.store, "acme/flipped", f"--max-workers={workers}")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"large.bin": LARGE}
    assert hub.counts()["resolve"] == 1


# --- limits and refusals ----------------------------------------------------------------------


@pytest.mark.parametrize("host", ["/resolve/", "/lfs/"])
@pytest.mark.parametrize("header", ['RateLimit="api";r=0;t=2', "Retry-After=2"])
def test_a_host_that_asks_for_patience_is_left_alone_by_all_workers(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, host: str, header: str
) -> None:
    files = {f"{number}.bin": b"x" * 1000 for number in range(60)}
    hub.store.fill("acme/limited", files)
    limit = {"match": host, "action": f"status:429:{header}", "times": 1000, "seconds": 1.5}
    hub.ask("fault", limit)
    done = fetched(kaiwo, hub.store, "acme/limited", "--max-workers=4", "--retries=1")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == files
    kind = host.strip("/")
    assert len(files) < hub.counts()[kind] <= len(files) + 4


REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    ("acme/gated", {"token": TOKEN}, 3, "ask for access at {endpoint}/acme/gated and"),
    ("acme/gated", {"repo_type": "dataset"}, 3, "at {endpoint}/datasets/acme/gated and"),
    ("acme/private", {}, 4, "does not exist, or is private"),
    ("acme/none", {"token": TOKEN}, 4, "does not exist, or is private"),
    ("acme/open", {"token": "hf_wrong"}, 3, "refuses these credentials"),
    ("acme/open", {"revision": "v9"}, 4, "has no revision v9"),
    ("acme/open", {"files": ["none.bin"]}, 4, "no such file"),
    ("acme/open", {"allow_patterns": ["*.none"]}, 4, "*.none: nothing matches"),
    ("acme/open", {"ignore_patterns": ["*"]}, 4, "nothing matches"),
]


@pytest.mark.parametrize(("repository", "fields", "code", "words"), REFUSALS)
@pytest.mark.parametrize("cached", [False, True])
def test_what_the_hub_refuses_is_told_in_one_line(
    kaiwo: Kaiwo,
    hub: Hub,
    tmp_path: Path,
    repository: str,
    fields: dict[str, Any],
    code: int,
    words: str,
    cached: bool,
) -> None:
    for name in ("gated", "private", "open"):
        hub.fill(f"acme/{name}", {"k": b"data"})
        hub.fill(f"acme/{name}", {"k": b"data"}, "dataset")
    hub.setting("acme/gated", gated=True)
    hub.setting("acme/gated", "datasets", gated=True)
    hub.setting("acme/private", private=True)
    place = {} if cached else {"target_path": "."}
    task = hub.store.task(repository, (), **{"token": None, **fields, **place})
    done = kaiwo({"download_items": [task]}, env={"HF_HOME": str(tmp_path / "home")})
    assert done.code == code, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "failed:" in line)
    assert words.format(endpoint=hub.store.settings["endpoint_url"]) in line
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert "attempt" not in done.stderr


# --- mirrors that lack a part of the interface ------------------------------------------------


@pytest.mark.parametrize("lacks", ["HEAD", "paths-info", "tree"])
def test_a_mirror_needs_one_of_two_ways_to_look_a_named_file_up(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, lacks: str
) -> None:
    files = {"config.json": b"{}", "sub/large.bin": LARGE[: 9 * MIB]}
    hub.store.fill("acme/named", files)
    asked = set()

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        kind = next((kind for kind in ("paths-info", "tree") if f"/{kind}/" in path), method)
        asked.add(kind)
        return replace(answer, status=405, body=b"") if kind == lacks else answer

    with spoiling(hub.store, spoil) as mirror:
        done = fetched(kaiwo, mirror, "acme/named", files=sorted(files))
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == files
    # The API is asked first: it says of which kind a digest is.
    assert asked == {"GET", "paths-info"} | ({"tree"} if lacks == "paths-info" else set())


# --- before anything is fetched ---------------------------------------------------------------


def test_that_a_repository_is_gated_is_found_out_once_by_a_plan_too(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    hub.store.fill("acme/many-gated", {f"{n}.json": b"{}" for n in range(30)})
    hub.setting("acme/many-gated", gated=True)
    for options in ((), ("--dry-run",)):
        hub.ask("reset")
        done = fetched(kaiwo, hub.store, "acme/many-gated", *options, token=TOKEN)
        assert done.code == 3, done.stderr
        assert done.stderr.count("is gated") == 1, done.stderr
        assert hub.counts() == {"revision": 1, "tree": 1, "resolve": 1}


def test_a_file_that_is_asked_for_twice_is_fetched_once(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    files = {"config.json": b"{}", "a.bin": b"a" * 100}
    hub.store.fill("acme/twice", files)
    twice = ["config.json", "config.json"]
    named = hub.store.task("acme/twice", (), files=twice, target_path=".")
    whole = hub.store.task("acme/twice", (), target_path=".")
    done = kaiwo({"download_items": [named, whole]})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == files
    assert hub.counts()["paths-info"] == 2, "two looks at one file"
    assert hub.counts()["resolve"] == 2, "each file once"


def test_an_address_of_the_environment_that_is_none_is_an_error_of_the_configuration(
    kaiwo: Kaiwo, hub: Hub
) -> None:
    task = {"type": "hf", "repo_id": "acme/any", "target_path": "."}
    done = kaiwo({"download_items": [task]}, env={"HF_ENDPOINT": "127.0.0.1:9100"})
    assert (done.code, "HF_ENDPOINT: an endpoint must begin with" in done.stderr) == (2, True)


def command(tmp_path: Path, hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``kaiwo`` with these arguments, and the Hub as its endpoint."""
    env = clean_environment(tmp_path) | {"HF_ENDPOINT": hub.store.settings["endpoint_url"]}
    return subprocess.run(
        [sys.executable, "-m", "kaiwo", *arguments],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_the_url_leaves_open_is_given_as_a_field_and_nothing_else(
    hub: Hub, tmp_path: Path
) -> None:
    hub.fill("acme/ds", {"a.csv": b"1", "b.json": b"{}"}, kind="dataset")
    some = ("fetch", "hf://acme/ds", "some", "-o", "repo_type=dataset")
    done = command(tmp_path, hub, *some, "-o", 'allow_patterns=["*.json"]')
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "some") == {"b.json": b"{}"}
    for field in ("repo_id=acme/other", "target_path=x", "files=[a.csv]"):
        done = command(tmp_path, hub, *some, "-o", field)
        assert done.returncode == 2, done.stderr
        assert f"{field.partition('=')[0]} follows from the URL" in done.stderr
    done = command(tmp_path, hub, *some, "-o", "allow_patterns=[*.json]")
    assert (done.returncode, "is not a valid list" in done.stderr) == (2, True)


def test_what_is_planned_or_refused_leaves_nothing_in_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub.store.fill("acme/planned", {"a": b"1"})
    path = tmp_path / "config.yaml"
    for repository, code in (("acme/planned", 0), ("acme/missing", 4)):
        path.write_text(json.dumps({"download_items": [{"type": "hf", "repo_id": repository}]}))
        done = command(tmp_path, hub, "plan", str(path))
        assert done.returncode == code, done.stderr
    done = command(tmp_path, hub, "download", str(path))
    assert done.returncode == 4, done.stderr
    assert not list(tmp_path.rglob("models--*"))
