"""A manifest loses its old lines at the end of a run, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.files import renames
from kaiwo.files.folders import Root
from kaiwo.jobs import Transfer
from kaiwo.objects import RemoteObject
from kaiwo.state import compaction
from kaiwo.state.claims import Claim, is_alone
from kaiwo.state.folder import claims_folder, manifest_path
from kaiwo.state.manifest import Manifest
from kaiwo.state.records import Record, line_of, sealed
from tests.support.command import Kaiwo
from tests.support.faulty import PatternOpener, published, transfer_of
from tests.support.stores import Store

OPENER = PatternOpener(())


def transfers(root: Path, version: int, count: int = 100) -> list[Transfer]:
    found = []
    for number in range(count):
        each = transfer_of(OPENER, RemoteObject(f"{number}", 1, f"{version}"), root, number)
        Path(each.target).write_bytes(b"x")
        found.append(each)
    return found


def remember(manifest: Manifest, some: list[Transfer]) -> None:
    manifest.remember([published(each, os.stat(each.target).st_mtime_ns) for each in some])


def run(root: Path, some: list[Transfer]) -> Manifest:
    """A run that publishes these."""
    manifest = Manifest(str(root))
    remember(manifest, some)
    return manifest


def lines(root: Path) -> list[bytes]:
    return Path(manifest_path(str(root))).read_bytes().splitlines(keepends=True)


def held(root: Path, some: list[Transfer]) -> int:
    manifest = Manifest(str(root))
    records = [manifest.find(each, os.stat(each.target)) for each in some]
    return sum(
        record is not None and record.etag == each.object.etag
        for record, each in zip(records, some, strict=True)
    )


def test_old_lines_go_and_the_last_of_each_target_stays(tmp_path: Path) -> None:
    for version in range(5):
        some = transfers(tmp_path, version)
        manifest = run(tmp_path, some)
    assert len(lines(tmp_path)) == 501
    before = os.stat(manifest_path(str(tmp_path)))
    manifest.compact()
    assert len(lines(tmp_path)) == 101
    assert held(tmp_path, some) == 100
    assert os.stat(manifest_path(str(tmp_path))).st_mode == before.st_mode
    assert os.listdir(tmp_path / ".kaiwo") == ["manifest.jsonl"]
    # It is written to as before.
    remember(manifest, transfers(tmp_path, 9, 10))
    assert len(lines(tmp_path)) == 111


def test_a_manifest_with_few_old_lines_stays_as_it_is(tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path))
    remember(manifest, transfers(tmp_path, 1))
    remember(manifest, transfers(tmp_path, 2, 60))
    before = os.stat(manifest_path(str(tmp_path)))
    manifest.compact()
    assert os.stat(manifest_path(str(tmp_path))).st_ino == before.st_ino


def test_lines_that_this_version_does_not_know_stay_and_torn_ones_go(tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path))
    remember(manifest, transfers(tmp_path, 1))
    unknown = [
        sealed(b'{"target": "0", "of": "a newer version", "more": [1]}'),
        sealed(b'{"something": "else"}'),
        sealed(b"[1]"),
    ]
    with Path(manifest_path(str(tmp_path))).open("ab") as file:
        file.write(b"".join([unknown[1], b'{"target": "torn\n', unknown[2]]))
    for version in range(3):
        manifest = run(tmp_path, transfers(tmp_path, version)[1:])
    with Path(manifest_path(str(tmp_path))).open("ab") as file:
        file.write(unknown[0])
    manifest.compact()
    found = lines(tmp_path)
    assert len(found) == 1 + 100 + 3
    assert set(unknown) < set(found)
    assert not any(b"torn" in line for line in found)


def test_answers_of_stores_stay_as_long_as_they_count(tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path))
    some = transfers(tmp_path, 1)
    remember(manifest, some)
    origin, source = OPENER.origin, some[0].source
    for target, url in (("a", f"{source}a"), ("0", f"{source}/")):
        answer = Record(f"{target}/", origin, url, 1, None, None, 0, None)
        with Path(manifest_path(str(tmp_path))).open("ab") as file:
            file.write(line_of(answer))
    for version in range(2, 5):
        manifest = run(tmp_path, transfers(tmp_path, version))
    manifest.compact()
    # A file was published where a placeholder was.
    assert [line for line in lines(tmp_path) if b'"a/"' in line] != []
    assert [line for line in lines(tmp_path) if b'"0/"' in line] == []
    assert len(lines(tmp_path)) == 1 + 100 + 1


def test_what_another_run_appends_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Manifest(str(tmp_path))
    for version in range(4):
        manifest = run(tmp_path, transfers(tmp_path, version))
    late = transfers(tmp_path, 7, 3)
    after = [replace(each, target=f"{each.target}-after") for each in late]
    remember(other, late[:1])  # its file is open from now on

    def renaming(source: str, target: str, root: Root) -> None:
        remember(other, late[1:])
        renames.rename(source, target, root)

    monkeypatch.setattr(compaction, "rename", renaming)
    manifest.compact()
    for each in after:
        Path(each.target).write_bytes(b"x")
    remember(other, after)
    assert held(tmp_path, late) == 3
    assert held(tmp_path, after) == 3
    assert len(lines(tmp_path)) == 1 + 100 + 2 + 3


def test_a_disk_that_refuses_leaves_the_manifest_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    for version in range(5):
        manifest = run(tmp_path, transfers(tmp_path, version))
    before = lines(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    manifest.compact()
    assert lines(tmp_path) == before
    assert os.listdir(tmp_path / ".kaiwo") == ["manifest.jsonl"]


def test_a_run_is_alone_until_another_claims_something(tmp_path: Path) -> None:
    with Claim("ab") as own:
        own.take({claims_folder(str(tmp_path)): {"00"}})
        assert is_alone(str(tmp_path), None, "ab")
        with Claim("cd") as other:
            other.take({claims_folder(str(tmp_path)): {"01"}})
            assert not is_alone(str(tmp_path), None, "ab")


def test_runs_that_replace_their_files_again_and_again_keep_a_short_manifest(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({})
    for version in range(4):
        s3.fill(bucket, {f"{number}": b"%d" % version for number in range(60)})
        task = s3.task(bucket, [{"folder": "", "target_path": "."}])
        done = kaiwo({"download_items": [task]})
        assert (done.code, done.report["downloaded"]) == (0, 60), done.stderr
    (path,) = tmp_path.rglob("manifest.jsonl")
    assert len(path.read_bytes().splitlines()) <= 1 + 60 + 60 + 50
    again = kaiwo({"download_items": [task]})
    assert (again.code, again.report["unchanged"]) == (0, 60)
    assert json.loads(path.read_bytes().splitlines()[0]) == {"kaiwo-manifest": 1}
