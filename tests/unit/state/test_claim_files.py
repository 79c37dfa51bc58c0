"""Claims as files: who may read them, what is believed of those of others, and what is left."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaiwo.state.claim_files import ForeignClaim, OwnClaim, read_claim
from kaiwo.state.claims import Claim

TOLD: dict[str, Any] = {
    "kaiwo-claim": 1,
    "host": "pod-1",
    "boot": "3f4e",
    "namespace": "pid:[1]",
    "pid": 1,
    "start": 2,
    "since": "2025-03-01T12:00:00Z",
    "targets": ["00", "11"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of claims that is not there yet."""
    return tmp_path / ".kaiwo" / "claims"


@pytest.fixture
def posting(folder: Path) -> Iterator[OwnClaim]:
    """The claims of a run, not posted yet."""
    found = OwnClaim("ab12", 1, {str(folder): {"00"}}, 60.0)
    yield found
    found.withdraw()


def refuse(*_: object, **__: object) -> None:
    raise OSError


@pytest.fixture(params=["nameless", "renamed", "not on Linux"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How a claim is made: the second where a file without a name cannot be had."""
    if request.param == "renamed":
        monkeypatch.setattr(os, "link", refuse)
    elif request.param == "not on Linux":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


@pytest.mark.usefixtures("way")
def test_only_its_owner_may_read_a_claim(posting: OwnClaim, folder: Path) -> None:
    before = os.umask(0)
    try:
        posting.post()
    finally:
        os.umask(before)
    (path,) = folder.iterdir()
    assert path.name == "ab12-1-0.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found, _ = read_claim(str(path), None)
    assert found.targets == frozenset({"00"})


def test_what_an_interrupted_attempt_left_goes_with_the_claim(
    posting: OwnClaim, folder: Path
) -> None:
    posting.post()
    (path,) = folder.iterdir()
    path.with_suffix("").write_text("half of it")
    posting.withdraw()
    assert not folder.exists()


def written(folder: Path, **fields: Any) -> str:
    """The path of a claim that says this."""
    folder.mkdir(parents=True)
    path = folder / "cd34-1-0.json"
    path.write_text(json.dumps(TOLD | fields))
    return str(path)


def test_a_claim_says_whose_it_is_and_what_for(folder: Path) -> None:
    path = written(folder)
    found, touched_ns = read_claim(path, None)
    assert (found.run, found.targets, found.is_newer) == ("cd34", frozenset({"00", "11"}), False)
    assert found.process is not None
    assert touched_ns == os.stat(path).st_mtime_ns


@pytest.mark.parametrize(
    "fields",
    [
        {"kaiwo-claim": 0},
        {"kaiwo-claim": "1"},
        {"targets": [[]]},
        {"targets": [1]},
        {"targets": {}},
        {"pid": "1"},
        {"start": None},
        {"host": 1},
    ],
    ids=str,
)
def test_of_a_claim_that_is_none_of_this_version_nothing_is_believed(
    folder: Path, fields: dict[str, Any]
) -> None:
    path = written(folder, **fields)
    assert read_claim(path, None)[0] == ForeignClaim(path)


def test_a_claim_of_a_newer_version_is_known_as_that_and_nothing_in_it_is_believed(
    folder: Path,
) -> None:
    path = written(folder, **{"kaiwo-claim": 2})
    assert read_claim(path, None)[0] == ForeignClaim(
        path, holder="a run of a newer kaiwo", is_newer=True
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000], ids=len)
def test_garbage_is_a_claim_on_everything(folder: Path, content: bytes) -> None:
    path = written(folder)
    Path(path).write_bytes(content)
    assert read_claim(path, None)[0] == ForeignClaim(path)


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = Path(written(folder)).rename(tmp_path / "elsewhere")
    path = folder / "cd34-1-0.json"
    path.symlink_to(elsewhere)
    assert read_claim(str(path), None)[0] == ForeignClaim(str(path))


def test_a_folder_without_claims_is_tidied_away(folder: Path) -> None:
    folder.mkdir(parents=True)
    with Claim("ab12") as own:
        own.tidy([str(folder)])
    assert not folder.exists()
    assert folder.parent.exists()
