"""Our Hub answers as huggingface_hub expects of the real one."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub as hub
import pytest
from huggingface_hub import errors

from tests import servers

Fetch = Callable[..., dict[str, bytes]]
MODEL = random.Random(7).randbytes(3_000_000)
TREE = {"config.json": b"{}", "a/empty": b"", "a/b/odd #%é.txt": b"odd", "model.bin": MODEL}
REVISIONS = ("main", "v1.0", "refs%2Fpr%2F1")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    files = {f"models/acme--net/main/{path}": data for path, data in TREE.items()}
    for repo in ("models/gpt2", *(f"{kind}/acme--it" for kind in ("models", "datasets", "spaces"))):
        files |= {f"{repo}/{name}/name": f"{repo} {name}".encode() for name in REVISIONS}
    files["models/acme--own/main/name"] = files["models/acme--shut/main/name"] = b"hidden"
    files["models/acme--own/.kaiwo-hub.json"] = b'{"private": true}'
    files["models/acme--shut/.kaiwo-hub.json"] = b'{"gated": true}'
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    with servers.start("hub", f"--root={tmp_path}", "--token=hf_right", "--page-size=2") as server:
        yield server.settings["endpoint_url"]
    hub.close_session()


@pytest.fixture
def fetch(url: str, tmp_path: Path) -> Fetch:
    def fetch(repo: str = "acme/net", **options: Any) -> dict[str, bytes]:
        options = {"token": False, "cache_dir": tmp_path / "cache", **options}
        folder = Path(hub.snapshot_download(repo, endpoint=url, **options))
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    return fetch


def location(url: str) -> str:
    return hub.get_hf_file_metadata(f"{url}/acme/net/resolve/main/model.bin", token=False).location


def test_a_branch_in_pages_of_two_is_complete(url: str, fetch: Fetch) -> None:
    assert fetch() == TREE
    log = hub.get_session().get(f"{url}/__log").json()
    assert sum("/tree/" in request["path"] for request in log) == 3


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"repo": "gpt2", "revision": "v1.0"}, b"models/gpt2 v1.0"),
        ({"repo": "acme/it", "revision": "refs/pr/1"}, b"models/acme--it refs%2Fpr%2F1"),
        ({"repo": "acme/it", "repo_type": "dataset"}, b"datasets/acme--it main"),
        ({"repo": "acme/it", "repo_type": "space"}, b"spaces/acme--it main"),
        ({"repo": "acme/own", "token": "hf_right"}, b"hidden"),
    ],
)
def test_every_kind_and_revision_is_found(fetch: Fetch, options: Any, name: bytes) -> None:
    assert fetch(**options) == {"name": name}


def test_a_changed_file_leaves_its_old_commit(url: str, fetch: Fetch, tmp_path: Path) -> None:
    old = hub.HfApi(url, token=False).model_info("acme/net").sha
    (tmp_path / "models/acme--net/main/config.json").write_bytes(b"{1}")
    assert fetch() == {**TREE, "config.json": b"{1}"}
    assert fetch(revision=old) == TREE


@pytest.mark.parametrize(
    ("repo", "token", "refusal"),
    [
        *((f"acme/{repo}", "hf_wrong", (401, "HfHubHTTPError")) for repo in ("net", "none")),
        *((f"acme/{repo}", False, (401, "HfHubHTTPError")) for repo in ("own", "none")),
        ("acme/none", "hf_right", (404, "RepositoryNotFoundError")),
        ("acme/shut", False, (401, "GatedRepoError")),
        ("acme/shut", "hf_right", (403, "GatedRepoError")),
    ],
)
def test_who_may_not_read_is_told_why(fetch: Fetch, repo: str, token: Any, refusal: Any) -> None:
    with pytest.raises(errors.HfHubHTTPError) as caught:
        fetch(repo, token=token)
    assert (caught.value.response.status_code, caught.typename) == refusal


def test_a_revision_and_a_file_can_be_missing(url: str, fetch: Fetch) -> None:
    with pytest.raises(errors.RevisionNotFoundError):
        fetch(revision="none")
    with pytest.raises(errors.RemoteEntryNotFoundError):
        hub.get_hf_file_metadata(f"{url}/acme/net/resolve/main/none", token=False)


def test_signed_urls_give_ranges_until_they_expire_and_refuse_tokens(url: str) -> None:
    signed, session = location(url), hub.get_session()
    part = session.get(signed, headers={"Range": "bytes=2999990-"})
    assert (part.status_code, part.content) == (206, MODEL[-10:])
    assert session.get(signed, headers={"Range": "bytes=3000000-"}).status_code == 416
    assert session.get(signed, headers={"Authorization": "Bearer hf_right"}).status_code == 400
    assert session.get(f"{signed}0").status_code == 403
    session.post(f"{url}/__expire")
    assert session.get(signed).status_code == 403


def test_faults_come_as_often_as_asked(url: str) -> None:
    session = hub.get_session()
    for action in ("status:429:retry-after=7", "flip"):
        session.post(f"{url}/__fault", json={"match": "^/lfs/", "action": action})
    busy, wrong, right = (session.get(location(url)) for _ in range(3))
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "7")
    assert (wrong.content, right.content) == (MODEL[:-1] + bytes([MODEL[-1] ^ 0xFF]), MODEL)
