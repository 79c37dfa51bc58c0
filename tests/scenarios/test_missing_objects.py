"""What a store does not have: each is named, and the rest is downloaded."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Kaiwo, tree
from tests.support.command_errors import CANARY, errors_of
from tests.support.stores import Store

EMPTY_ITEMS: list[dict[str, Any]] = [
    {"folder": "no/such/folder", "target_path": "t1"},
    {"folder": "data", "target_path": "t2", "glob": "*.csv"},
    {"folder": "dat", "target_path": "t3"},
]


def _secret(store: Store) -> dict[str, str]:
    """The canary in a field that the server ignores."""
    return {"secret_key": CANARY} if store.type == "s3" else {}


def test_whatever_is_missing_in_a_store_is_named_and_the_rest_is_fetched(
    failing: Kaiwo, store: Store, tmp_path: Path
) -> None:
    bucket = store.new_bucket({"data/k.txt": b"data"})
    items = [
        {"file": "data/k.txt", "target_path": "k"},
        {"file": "data/none", "target_path": "t0"},
        *EMPTY_ITEMS,
    ]
    tasks = [
        store.task(bucket, items, **_secret(store)),
        store.task("no-such-bucket", [{"file": "k", "target_path": "t4"}], **_secret(store)),
        store.task("no-such-bucket", [{"folder": "", "target_path": "t5"}], **_secret(store)),
    ]
    done = failing({"download_items": tasks})
    assert (done.code, done.stdout) == (4, "")
    # That a listing was empty for obstore, too, is no news.
    assert "fsspec" not in done.stderr
    assert tree(tmp_path / "out") == {"k": b"data"}
    failed = [item for item in done.report["items"] if item["status"] == "failed"]
    assert {item["error"]["kind"] for item in failed} == {"not_found"}
    scheme = {"s3": "s3", "gcs": "gs", "azure-blob": "az"}[store.type]
    assert [item["source"].removeprefix(f"{scheme}://{bucket}/") for item in failed[:4]] == [
        "data/none",
        "no/such/folder/**/*",
        "data/*.csv",
        "dat/**/*",
    ]
    assert all(f"{scheme}://no-such-bucket/" in item["source"] for item in failed[4:])
    assert len(failed) == 6
    assert all(
        any(item["source"] in message for message in errors_of(done.stderr)) for item in failed[:1]
    )
    # Each message leads to its line of the file.
    assert all(f"{tmp_path / 'config.yaml'}:" in item["error"]["message"] for item in failed)


def test_nothing_matched_is_fine_where_that_is_allowed(
    failing: Kaiwo, store: Store, tmp_path: Path
) -> None:
    bucket = store.new_bucket({"data/k.txt": b"data"})
    items = [item | {"allow_empty": True} for item in EMPTY_ITEMS]
    done = failing({"download_items": [store.task(bucket, items, **_secret(store))]})
    assert (done.code, done.report["files"]) == (0, 0)
    assert errors_of(done.stderr) == []


def test_one_item_that_may_be_empty_does_not_excuse_another(
    failing: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    items = [EMPTY_ITEMS[0] | {"allow_empty": True}, EMPTY_ITEMS[1]]
    done = failing({"download_items": [s3.task(s3.new_bucket(), items, secret_key=CANARY)]})
    assert done.code == 4
    assert [item["source"].rpartition("/")[2] for item in done.report["items"]] == ["*.csv"]


@pytest.mark.parametrize("token", ["hf_right", None], ids=["known", "unknown"])
def test_whatever_is_missing_on_the_hub_is_named(
    failing: Kaiwo, guarded_hub: Store, token: str | None
) -> None:
    missing: list[tuple[str, dict[str, Any], str]] = [
        ("acme/none", {}, "acme/none"),
        ("acme/open", {"revision": "v9"}, "v9"),
        ("acme/open", {"files": ["k", "none.bin"]}, "none.bin"),
        ("acme/open", {"allow_patterns": ["*.bin"]}, "*.bin"),
        ("acme/open", {"repo_type": "dataset"}, "dataset"),
    ]
    tasks = [
        guarded_hub.task(repository, (), token=token, target_path=f"t{number}", **fields)
        for number, (repository, fields, _) in enumerate(missing)
    ]
    done = failing({"download_items": tasks})
    assert (done.code, done.stdout) == (4, ""), done.stderr
    found = [item["error"] for item in done.report["items"] if item["status"] == "failed"]
    assert [error["kind"] for error in found] == ["not_found"] * len(missing)
    for error, (_, _, word) in zip(found, missing, strict=True):
        assert word in error["message"]


def test_nothing_matched_on_the_hub_is_fine_where_that_is_allowed(
    failing: Kaiwo, guarded_hub: Store, tmp_path: Path
) -> None:
    fields = {"allow_patterns": ["*.bin"], "allow_empty": True, "target_path": "t"}
    done = failing({"download_items": [guarded_hub.task("acme/open", (), **fields)]})
    assert (done.code, done.report["files"]) == (0, 0)
