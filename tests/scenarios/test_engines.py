"""Both engines end alike, for any content of a bucket."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from kaiwo.errors import (
    ChangedError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
)
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Source
from kaiwo.tasks.base import Engine
from kaiwo.testing import ODD_NAMES
from tests.support import stores
from tests.support.command import Kaiwo, Run, tree
from tests.support.engines import (
    ALL,
    BIG,
    CANARY,
    ENGINES,
    NOWHERE,
    QUICK,
    each_engine,
    everything,
    opened,
)
from tests.support.stores import Store

pytestmark = pytest.mark.usefixtures("loopback_only")


# --- the same end -----------------------------------------------------------------------------


def stripped(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without what may differ: durations, the order of its items, words of errors."""
    items = [
        {
            **item,
            "seconds": None,
            "error": item["error"] and item["error"]["kind"],
        }
        for item in report["items"]
    ]
    items.sort(key=lambda item: (str(item["task"]), str(item["source"]), str(item["target"])))
    return {**report, "seconds": None, "started_at": None, "ended_at": None, "items": items}


@pytest.fixture
def compared(kaiwo: Kaiwo, tmp_path: Path) -> Kaiwo:
    """Runs tasks through both engines, and sees that they end alike."""

    def run(*tasks: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Run:
        ends = []
        for engine in ENGINES:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            config = {"download_items": list(tasks)}
            options = (*QUICK, "--engine", engine)
            done = kaiwo(config, *options, env=NOWHERE | dict(env or {}))
            assert "Traceback" not in done.stderr
            assert CANARY not in done.stdout + done.stderr + json.dumps(dict(done.report))
            ends.append((done.code, stripped(done.report), tree(tmp_path / "out")))
        assert ends[0] == ends[1]
        return done

    return run


#: What buckets hold, and what of it arrives.
SETS: dict[str, dict[str, bytes]] = {
    "ordinary": {"a": b"1", "d/b": b"22" * 5_000, "d/e/f": b"", "big": BIG, "d/big": BIG * 3},
    "odd": {f"d/{name}": name.encode() for name in ODD_NAMES},
    "empty": {f"e/{number:03}": b"" for number in range(130)} | {"f": b"1"},
    "placeholders": {"d/": b"", "d/file": b"1", "d/e/": b"", "d/e/f": b"2", "g/": b""},
    "slashes": {"a//b": b"1", "c": b"2"},
}

FILES_ONLY = ("ordinary", "odd", "empty")


def into(store: Store, name: str, objects: Mapping[str, bytes]) -> dict[str, Any]:
    """A task that puts a new bucket with these objects into a folder."""
    items = [{"folder": "", "target_path": name}]
    return store.task(store.new_bucket(objects), items, name=name)


@pytest.fixture(params=["s3", "rclone", "gcs", "azure"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each object store in turn, and a second server of S3."""
    found: Store = request.getfixturevalue(request.param)
    return found


def test_both_engines_end_with_the_same_bytes_and_report(
    compared: Kaiwo, any_store: Store, rclone: Store, tmp_path: Path
) -> None:
    names = FILES_ONLY if any_store is rclone else tuple(SETS)
    done = compared(*(into(any_store, name, SETS[name]) for name in names))
    assert done.code == 0, done.stderr
    found = tree(tmp_path / "out")
    for name in names:
        files = {key: data for key, data in SETS[name].items() if not key.endswith("/")}
        arrived = [data for path, data in found.items() if path.startswith(f"{name}/")]
        assert sorted(arrived) == sorted(files.values())
    for name in FILES_ONLY:
        for key, data in SETS[name].items():
            assert found[f"{name}/{key}"] == data


def test_both_engines_refuse_an_object_whose_name_is_also_a_folder(
    compared: Kaiwo, store: Store, tmp_path: Path
) -> None:
    done = compared(into(store, "x", {"d/n": b"", "d/n/file": b"1"}))
    assert done.code == 2, done.stderr
    assert tree(tmp_path / "out") == {}


def test_both_engines_tell_what_is_missing_alike(
    compared: Kaiwo, any_store: Store, tmp_path: Path
) -> None:
    store, bucket = any_store, any_store.new_bucket({"d/k": b"data"})
    done = compared(
        store.task("no-such-bucket", ALL, name="bucket"),
        store.task("no-such-bucket", [{"file": "k", "target_path": "1"}], name="file of bucket"),
        store.task(bucket, [{"file": "none", "target_path": "2"}], name="key"),
        store.task(bucket, [{"file": "d", "target_path": "3"}], name="folder as key"),
        store.task(bucket, [{"folder": "none", "target_path": "4"}], name="folder"),
        store.task(
            bucket, [{"folder": "none", "target_path": "5", "allow_empty": True}], name="allowed"
        ),
        store.task(bucket, [{"folder": "d", "target_path": "6"}], name="there"),
    )
    assert done.code == 4, done.stderr
    kinds = {item["task"]: item["error"] and item["error"]["kind"] for item in done.report["items"]}
    missing = ("bucket", "file of bucket", "key", "folder as key", "folder")
    assert kinds == dict.fromkeys(missing, "not_found") | {"there": None}
    assert tree(tmp_path / "out") == {"6/k": b"data"}


def test_both_engines_refuse_a_key_that_is_an_absolute_path(
    compared: Kaiwo, store: Store, tmp_path: Path
) -> None:
    done = compared(into(store, "x", {"/x": b"1", "y": b"2"}))
    assert done.code == 2, done.stderr
    assert "'/x'" in done.stderr
    assert tree(tmp_path / "out") == {}


OTHER_KEY = "b3RoZXIga2V5IHRoYXQgaXMgbm90IHRoZSBhY2NvdW50cw=="


@pytest.mark.parametrize("server", ["s3_signed", "rclone", "azure"])
def test_both_engines_tell_wrong_credentials_alike(
    compared: Kaiwo, request: pytest.FixtureRequest, server: str, tmp_path: Path
) -> None:
    store: Store = request.getfixturevalue(server)
    bucket = store.new_bucket({"d/k": b"data"})
    wrong: list[dict[str, Any]] = [{"secret_key": CANARY}, {"access_key_id": CANARY}]
    if store.type == "azure-blob":
        own = {"connection_string": None, "endpoint_url": store.settings["endpoint_url"]}
        wrong = [{**own, "account_name": store.settings["account_name"], "account_key": OTHER_KEY}]
        wrong += [{**own, "anonymous": True}]
    items = ([{"folder": "", "target_path": "a"}], [{"file": "d/k", "target_path": "b"}])
    done = compared(*(store.task(bucket, each, **fields) for fields in wrong for each in items))
    assert done.code == 3, done.stderr
    kinds = {item["error"]["kind"] for item in done.report["items"]}
    assert (len(done.report["items"]), kinds) == (len(wrong) * 2, {"credentials"})
    assert OTHER_KEY not in done.stderr
    assert tree(tmp_path / "out") == {}


@each_engine
def test_a_token_that_gcs_does_not_know_is_refused(engine: Engine) -> None:
    with stores.gcs("--token=known") as store:
        bad = replace(store, fields={**store.fields, "application_credentials_file": None})
        bad = replace(bad, fields={**bad.fields, "token": CANARY})
        with opened(bad, "bucket", engine) as source:
            for ask in (
                lambda: list(source.list("")),
                lambda: source.stat("k"),
                lambda: source.read(RemoteObject("k", 4, None, "1"), 0, 4),
                lambda: list(source.stream(RemoteObject("k", 4, None, "1"))),
            ):
                with pytest.raises(CredentialsError) as caught:
                    ask()
                assert CANARY not in caught.value.message


# --- sources ----------------------------------------------------------------------------------


@each_engine
def test_an_object_that_was_replaced_or_removed_since_it_was_listed_is_told_as_that(
    any_store: Store, engine: Engine
) -> None:
    bucket = any_store.new_bucket({"k": b"a" * 10, "big": b"a" * (2 << 20)})
    with opened(any_store, bucket, engine) as source:
        listed = list(source.list(""))
        any_store.fill(bucket, {"k": b"b" * 10, "big": b"b" * (2 << 20)})
        for remote in listed:
            for ask in readings(source, remote):
                with pytest.raises(ChangedError, match=remote.key):
                    ask()
        gone = [structs.replace(remote, key=f"{remote.key}-gone") for remote in listed]
        # Azure may look at the condition first.
        either = (NotFoundError, ChangedError)
        kinds: dict[str, tuple[type[KaiwoError], ...]]
        kinds = {"gcs": (ChangedError,), "s3": (NotFoundError,), "azure-blob": either}
        for remote in gone:
            for ask in readings(source, remote):
                with pytest.raises(kinds[any_store.type], match=remote.key):
                    ask()


def readings(source: Source, remote: RemoteObject) -> Sequence[Callable[[], object]]:
    return (
        lambda: source.read(remote, 0, remote.size),
        lambda: source.read(remote, 1, remote.size),
        lambda: list(source.stream(remote)),
    )


def test_a_source_of_obstore_leaves_nothing_open(s3: Store) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("no /proc here")
    bucket = s3.new_bucket({"big": BIG})

    def rounds(number: int) -> int:
        for _ in range(number):
            with opened(s3, bucket, "obstore") as source:
                assert everything(source) == {"big": BIG}
        return sum(
            "event" in link or "socket" in link for link in map(pointed_at, folder.iterdir())
        )

    before = rounds(2)
    # Connections may still be on their way out.
    assert rounds(8) - before < 8


def pointed_at(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
