"""The Hub's cache: other tools find what kaiwo puts there, kaiwo what they do; and offline."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kaiwo.api.fetch import fetch
from tests.servers import free_port
from tests.support import stores
from tests.support.command import Kaiwo, Run, clean_environment, tree
from tests.support.faulty import MIB
from tests.support.hubs import Hub, downloaded
from tests.unit.state.killed_runs import big, killed

LARGE = random.Random(12).randbytes(10 * MIB)
FILES = {"large.bin": LARGE, "small.bin": b"x" * 1000, "sub/config.json": b"{}"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
#: What the Hub's own library finds: a snapshot, and the warnings of its scan.
FINDS = """
import json, sys
from pathlib import Path
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
cache, repository, kind, revision, *names = sys.argv[1:]
given = dict(repo_type=kind, revision=revision, cache_dir=cache, local_files_only=True)
folder = Path(snapshot_download(repository, **given))
assert all(Path(hf_hub_download(repository, name, **given)).read_bytes() for name in names)
scan = scan_cache_dir(cache)
files = [path for path in folder.rglob("*") if path.is_file()]
print(json.dumps({
    "warnings": [str(warning) for warning in scan.warnings],
    "repos": [repo.repo_id for repo in scan.repos],
    "refs": sorted(ref for repo in scan.repos for each in repo.revisions for ref in each.refs),
    "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
}))
"""
FETCHES = """
import sys
from huggingface_hub import snapshot_download
cache, repository, endpoint = sys.argv[1:]
snapshot_download(repository, cache_dir=cache, endpoint=endpoint)
"""


@pytest.fixture(scope="module")
def one_hub() -> Iterator[Hub]:
    with stores.hub("--xet") as store:
        yield Hub(store)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "hub"


@pytest.fixture
def run(kaiwo: Kaiwo, hub: Hub, cache: Path) -> Callable[..., Run]:
    home = {"HF_HOME": str(cache.parent)}

    def run(
        repository: str, *options: str, env: Mapping[str, str] | None = None, **fields: Any
    ) -> Run:
        environment = home | dict(env or {})
        return downloaded(kaiwo, hub.store, repository, *options, env=environment, **fields)

    return run


def python(code: str, cache: Path, *arguments: str) -> str:
    """What a program of the Hub's own library prints, in a separate process."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache), *arguments],
        env=clean_environment(cache.parent),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(cache: Path, repository: str, kind: str, revision: str, *names: str) -> Any:
    return json.loads(python(FINDS, cache, repository, kind, revision, *names))


SIZES = {name: len(data) for name, data in FILES.items()}


@pytest.mark.parametrize(
    ("repository", "kind", "revision"),
    [
        ("acme/net", "model", "main"),
        ("acme/data", "dataset", "v1.0"),
        ("acme/app", "space", "refs/pr/7"),
        ("gpt2", "model", "feature/with/slashes"),
    ],
)
def test_the_library_of_the_hub_finds_what_kaiwo_put_into_its_cache(
    run: Callable[..., Run], hub: Hub, cache: Path, repository: str, kind: str, revision: str
) -> None:
    hub.fill(repository, FILES, kind, revision)
    done = run(repository, repo_type=kind, revision=revision)
    assert done.code == 0, done.stderr
    assert found(cache, repository, kind, revision, *FILES) == {
        "warnings": [],
        "repos": [repository],
        "refs": [revision],
        "files": SIZES,
    }


@pytest.mark.parametrize("xet", ["0", "1"])
def test_what_the_library_put_into_the_cache_is_neither_fetched_again_nor_replaced(
    run: Callable[..., Run], hub: Hub, cache: Path, xet: str
) -> None:
    hub.fill("acme/theirs", FILES)
    code = f"import os; os.environ['HF_HUB_DISABLE_XET'] = '{xet}'\n{FETCHES}"
    python(code, cache, "acme/theirs", hub.store.settings["endpoint_url"])
    before = tree(cache)
    hub.ask("reset")
    done = run("acme/theirs")
    assert done.code == 0, done.stderr
    assert done.report["unchanged"] == len(FILES)
    assert hub.counts() == {"revision": 1, "tree": 1}
    after = {name: data for name, data in tree(cache).items() if "/.kaiwo/" not in name}
    assert after == before


def test_a_blob_that_is_there_and_right_is_only_linked_and_one_that_is_wrong_is_fetched(
    run: Callable[..., Run], hub: Hub, cache: Path
) -> None:
    hub.fill("acme/blobs", FILES)
    assert run("acme/blobs").code == 0
    storage = cache / "models--acme--blobs"
    (snapshot,) = (storage / "snapshots").iterdir()
    wrong = (snapshot / "small.bin").resolve()
    wrong.write_bytes(b"y" * 1000)
    for name in FILES:
        (snapshot / name).unlink()
    hub.ask("reset")
    done = run("acme/blobs")
    assert done.code == 0, done.stderr
    assert (done.report["unchanged"], done.report["downloaded"]) == (2, 1)
    assert hub.counts() == {"revision": 1, "tree": 1, "resolve": 1, "lfs": 1}
    assert found(cache, "acme/blobs", "model", "main", *FILES)["warnings"] == []
    assert wrong.read_bytes() == FILES["small.bin"]


def test_with_a_target_nothing_is_put_into_the_cache(
    hub: Hub, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fill("acme/aside", FILES)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    address = hub.store.settings["endpoint_url"]
    fetch("hf://acme/aside", tmp_path / "whole", endpoint_url=address)
    fetch("hf://acme/aside/small.bin", tmp_path / "one.bin", endpoint_url=address)
    assert tree(tmp_path / "whole") == FILES
    assert (tmp_path / "one.bin").read_bytes() == FILES["small.bin"]
    assert not cache.exists()


def upkeep(word: str, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A command about what the last run has left, without any network."""
    environment = clean_environment(tmp_path) | {"HF_HOME": str(tmp_path / "home")}
    words = [sys.executable, "-m", "kaiwo", word, str(tmp_path / "config.yaml"), *options]
    return subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_a_lock_the_files_of_the_newest_commit_are_verified(
    run: Callable[..., Run], hub: Hub, cache: Path, tmp_path: Path
) -> None:
    hub.fill("acme/verified", FILES)
    assert run("acme/verified").code == 0
    snapshots = cache / "models--acme--verified" / "snapshots"
    (old,) = snapshots.iterdir()
    hub.fill("acme/verified", {"small.bin": b"z" * 1000})
    assert run("acme/verified").code == 0
    shutil.rmtree(old)  # as people do who need the room
    done = upkeep("verify", tmp_path)
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["3", "files,"])
    (new,) = snapshots.iterdir()
    (new / "sub/config.json").resolve().write_bytes(b"[]")
    done = upkeep("verify", tmp_path)
    assert (done.returncode, f"failed: hf://acme/verified@{new.name}/sub" in done.stderr) == (
        7,
        True,
    )


def test_what_a_killed_run_left_in_the_cache_is_cleaned(
    run: Callable[..., Run], hub: Hub, cache: Path, tmp_path: Path
) -> None:
    hub.fill("acme/cleaned", FILES)
    assert run("acme/cleaned").code == 0
    part = killed(cache / "models--acme--cleaned", big(), 0)
    done = upkeep("clean", tmp_path)
    assert (done.returncode, str(part) in done.stdout) == (0, True)
    done = upkeep("clean", tmp_path, "--yes", "--partial")
    assert (done.returncode, part.exists()) == (0, False)
    assert found(cache, "acme/cleaned", "model", "main", *FILES)["warnings"] == []


# --- nobody is asked --------------------------------------------------------------------------


def test_offline_the_cache_is_enough_and_nobody_is_asked(
    run: Callable[..., Run], hub: Hub, cache: Path
) -> None:
    hub.fill("acme/off", FILES)
    assert run("acme/off").code == 0
    hub.ask("reset")
    for fields in ({}, {"files": ["small.bin"]}, {"allow_patterns": ["sub/*"]}):
        done = run("acme/off", env=OFFLINE, **fields)
        assert done.code == 0, done.stderr
        assert done.report["downloaded"] == 0
        assert done.report["unchanged"] == (1 if fields else len(FILES))
    assert hub.log() == []


def test_offline_what_other_tools_have_fetched_is_proven_by_its_checksums(
    run: Callable[..., Run], hub: Hub, cache: Path
) -> None:
    hub.fill("acme/proven", FILES)
    python(FETCHES, cache, "acme/proven", hub.store.settings["endpoint_url"])
    done = run("acme/proven", env=OFFLINE)
    assert (done.code, done.report["unchanged"]) == (0, len(FILES)), done.stderr
    assert all(item["checksum"]["verified"] for item in done.report["items"])
    (snapshot,) = cache.glob("models--acme--proven/snapshots/*")
    (snapshot / "large.bin").resolve().write_bytes(bytes(len(LARGE)))
    done = run("acme/proven", env=OFFLINE)
    assert done.code == 5, done.stderr
    (snapshot / "sub/config.json").resolve().unlink()
    done = run("acme/proven", env=OFFLINE)
    assert sum("HF_HUB_OFFLINE" in line for line in done.stderr.splitlines()) == 2, done.stderr


@pytest.mark.parametrize(
    "fields",
    [{"revision": "other"}, {"revision": "0" * 40}, {"files": ["none.bin"]}, {"repo_id": "a/none"}],
)
def test_offline_what_is_not_in_the_cache_is_an_error_that_says_so(
    run: Callable[..., Run], hub: Hub, cache: Path, fields: dict[str, Any]
) -> None:
    hub.fill("acme/absent", FILES)
    assert run("acme/absent").code == 0
    hub.ask("reset")
    repository = fields.pop("repo_id", "acme/absent")
    before = {path for path in cache.rglob("*") if ".kaiwo" not in str(path)}
    done = run(repository, env=OFFLINE, **fields)
    assert done.code == 5, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "failed:" in line)
    assert "is not in the Hub's cache" in line
    assert "HF_HUB_OFFLINE" in line
    assert hub.log() == []
    assert {path for path in cache.rglob("*") if ".kaiwo" not in str(path)} == before


def test_offline_a_folder_is_no_place_to_fetch_to(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    hub.fill("acme/plain", FILES)
    done = run("acme/plain", env=OFFLINE, target_path=".")
    assert done.code == 5, done.stderr
    assert "HF_HUB_OFFLINE" in done.stderr
    assert hub.log() == []


@pytest.mark.parametrize("status", [None, 401, 404, 429, 503])
def test_an_old_snapshot_is_no_success_when_the_hub_cannot_be_asked(
    run: Callable[..., Run], hub: Hub, status: int | None
) -> None:
    hub.fill("acme/old", FILES)
    assert run("acme/old").code == 0
    if status is None:
        gone = {"endpoint_url": f"http://127.0.0.1:{free_port()}"}
    else:
        gone = {}
        hub.ask("fault", {"match": "/revision/", "action": f"status:{status}", "times": 10})
    done = run("acme/old", "--retries=1", "--startup-wait=0", **gone)
    assert done.code == (4 if status in (401, 404) else 5), done.stderr
    assert done.report["unchanged"] == 0


def test_offline_what_may_be_incomplete_is_said_to_be(run: Callable[..., Run], hub: Hub) -> None:
    hub.store.fill("acme/partly", FILES)
    assert run("acme/partly", files=["small.bin"]).code == 0
    done = run("acme/partly", env=OFFLINE)
    assert (done.code, done.report["unchanged"]) == (0, 1), done.stderr
    assert "are taken for all" in done.stderr


def test_two_names_of_one_commit_are_fetched_once_and_both_lead_there(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path
) -> None:
    for revision in ("main", "v1.0"):
        hub.fill("acme/named", FILES, revision=revision)
    cache = tmp_path / "hub"
    tasks = [
        hub.store.task("acme/named", (), revision=revision, cache_dir=str(cache))
        for revision in ("main", "v1.0")
    ]
    done = kaiwo({"download_items": tasks})
    assert (done.code, done.report["downloaded"]) == (0, len(FILES)), done.stderr
    for revision in ("main", "v1.0"):
        assert found(cache, "acme/named", "model", revision, *FILES)["files"] == SIZES
