"""Hostile names and conflicting targets: refused before the first byte, all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import kaiwo as library
from kaiwo.planning.case_folding import Folding, probe
from tests.support.command import Kaiwo, tree
from tests.support.proxies import Counting, counting
from tests.support.stores import Store

Json = dict[str, Any]
LONG = "l" * 256
HOSTILE = (
    "../climbs",
    "a/../../climbs",
    "a/..",
    "a/./b",
    "./b",
    "/etc/absolute",
    "//double",
    "one\x01",
    "tab\tstop",
    "escape\x1b[2J",
    "delete\x7f",
    "next\x85line",
    "csi\x9b2J",
    "separator\u2028",
    f"a/{LONG}",
    "\u00e9" * 128,
    ".kaiwo/manifest.jsonl",
    ".kaiwo-9f1c22aa-0.part",
    "sub/.kaiwo-0123456789abcdef.link",
)


@pytest.fixture(scope="module")
def counted(s3: Store, gcs: Store) -> Iterator[Counting]:
    """S3 and GCS by way of a counting proxy."""
    with counting(s3, gcs) as way:
        yield way


Refused = Callable[[Sequence[Json]], str]


@pytest.fixture
def refused(counted: Counting, tmp_path: Path) -> Refused:
    """Runs tasks that have to be refused; returns why."""

    def run(tasks: Sequence[Json]) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(
            yaml.safe_dump({"download_root": str(tmp_path / "out"), "download_items": list(tasks)})
        )
        before = everything(tmp_path)
        counted.reset()
        with pytest.raises(library.ConfigError) as caught:
            library.download(path)
        assert caught.value.exit_code == 2
        assert counted.counts().gets == 0, "no byte was read"
        assert everything(tmp_path) == before, "nothing was written"
        return str(caught.value)

    return run


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def shown(key: str) -> str:
    """As a message names it: control characters are not sent to the terminal."""
    return repr(key)[1:-1]


# --- keys -------------------------------------------------------------------------------------


def test_every_hostile_key_is_named_in_one_message_and_the_command_ends_with_2(
    kaiwo: Kaiwo, counted: Counting, tmp_path: Path
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket(dict.fromkeys((*HOSTILE, "good", "sub/good"), b"x"))
    task = s3.task(bucket, [{"folder": "", "target_path": "."}])
    counted.reset()
    done = kaiwo({"download_items": [task]})
    assert (done.code, done.stdout, counted.counts().gets) == (2, "", 0)
    assert everything(tmp_path) == {"config.yaml", "report.json"}
    said = done.stderr
    for key in HOSTILE:
        assert shown(key) in said
    assert "good" not in said
    assert "\x1b" not in said
    assert "config.yaml:" in said, "and the item that asks for them"


@pytest.mark.parametrize("key", HOSTILE, ids=range(len(HOSTILE)))
def test_each_hostile_key_is_refused_by_itself(s3: Store, tmp_path: Path, key: str) -> None:
    bucket = s3.new_bucket({key: b"x", "good": b"x"})
    task = s3.task(bucket, [{"folder": "", "target_path": "deep/er"}])
    config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
    with pytest.raises(library.UnsafeNameError) as caught:
        library.download(config)
    assert shown(key) in str(caught.value)
    assert everything(tmp_path) == set()


def test_of_a_bucket_full_of_hostile_keys_a_hundred_are_named(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({f"../{number}": b"x" for number in range(150)})
    task = s3.task(bucket, [{"folder": "", "target_path": "."}])
    config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
    with pytest.raises(library.UnsafeNameError) as caught:
        library.download(config)
    assert str(caught.value).count("'../") == 100
    assert str(caught.value).endswith("and 50 more")


def test_keys_that_only_fill_a_path_together_are_refused(
    refused: Refused, counted: Counting, tmp_path: Path
) -> None:
    s3 = counted.stores[0]
    deep = str(tmp_path / "out" / "/".join(["d" * 200] * 17))
    bucket = s3.new_bucket({"/".join(["k" * 200] * 5): b"x", "good": b"x"})
    said = refused([s3.task(bucket, [{"folder": "", "target_path": deep}])])
    assert "4095 bytes" in said
    assert "good" not in said


def test_names_that_differ_in_case_are_files_of_their_own_here(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    objects = {"Model.bin": b"1", "model.bin": b"2", "caf\u00e9": b"3", "cafe\u0301": b"4"}
    if probe(str(tmp_path)) != Folding():
        pytest.skip("here they are not")
    bucket = s3.new_bucket({**objects, "A/x": b"5", "a/x": b"6"})
    done = kaiwo({"download_items": [s3.task(bucket, [{"folder": "", "target_path": "."}])]})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {**objects, "A/x": b"5", "a/x": b"6"}


def test_a_hostile_key_of_one_task_stops_the_others_too(
    refused: Refused, counted: Counting
) -> None:
    s3, gcs = counted.stores
    bad = s3.task(s3.new_bucket({"../x": b"x"}), [{"folder": "", "target_path": "a"}])
    good = gcs.task(gcs.new_bucket({"y": b"x"}), [{"folder": "", "target_path": "b"}])
    assert "../x" in refused([good, bad])


def test_a_hostile_key_that_no_glob_selects_is_of_no_concern(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"../x": b"x", "a.csv": b"1"})
    task = s3.task(bucket, [{"folder": "", "target_path": ".", "glob": "*.csv"}])
    assert kaiwo({"download_items": [task]}).code == 0
    assert tree(tmp_path / "out") == {"a.csv": b"1"}


def test_a_file_that_is_named_may_have_any_key_when_its_target_is_named_too(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"a/../x": b"1", "/abs": b"2"})
    items = [{"file": "a/../x", "target_path": "x"}, {"file": "/abs", "target_path": "y"}]
    done = kaiwo({"download_items": [s3.task(bucket, items)]})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"x": b"1", "y": b"2"}


# --- targets in the configuration -------------------------------------------------------------


@pytest.mark.parametrize("target", ["../x", "a/../../x", "a/..", "/tmp/../x", "..", "a\0b"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_target_that_climbs_is_refused(s3: Store, tmp_path: Path, target: str, kind: str) -> None:
    task = s3.task("bucket", [{kind: "a", "target_path": target}])
    config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
    with pytest.raises(library.ConfigError, match="target_path"):
        library.download(config)
    assert everything(tmp_path) == set()


def test_all_climbing_targets_are_named_with_their_lines(
    refused: Refused, counted: Counting
) -> None:
    s3 = counted.stores[0]
    items = [{"file": "a", "target_path": target} for target in ("../x", "good", "a/../../y")]
    said = refused([s3.task("bucket", items)])
    assert "items[0].target_path" in said
    assert "items[2].target_path" in said
    assert "items[1]" not in said
    assert said.count("config.yaml:") == 2


def test_a_folder_target_without_a_possible_file_name_is_refused(
    refused: Refused, counted: Counting
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"a/..": b"x"})
    assert "a/.." in refused([s3.task(bucket, [{"file": "a/..", "target_path": "into/"}])])


@pytest.mark.parametrize("target", [f"a/{LONG}", f"{LONG}/a", f"a/{LONG}/", "x/" * 2_100 + "y"])
def test_a_target_with_a_name_too_long_is_refused(
    refused: Refused, counted: Counting, target: str
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"a": b"x"})
    assert "config.yaml:" in refused([s3.task(bucket, [{"file": "a", "target_path": target}])])


# --- conflicts --------------------------------------------------------------------------------


def test_a_file_beside_what_needs_its_name_for_a_folder_is_refused(
    refused: Refused, counted: Counting
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"a": b"1", "a/b": b"2", "c": b"3", "c/d/e": b"4", "good": b"5"})
    said = refused([s3.task(bucket, [{"folder": "", "target_path": "."}])])
    for key in ("a", "a/b", "c", "c/d/e"):
        assert f"s3://{bucket}/{key} " in said
    assert "good" not in said


def test_two_objects_of_one_bucket_that_become_one_name_are_refused(
    refused: Refused, counted: Counting
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"a/b": b"1", "a//b": b"2"})
    said = refused([s3.task(bucket, [{"folder": "", "target_path": "."}])])
    assert f"s3://{bucket}/a/b " in said
    assert f"s3://{bucket}/a//b " in said


def test_a_conflict_ends_the_command_with_2(
    kaiwo: Kaiwo, counted: Counting, tmp_path: Path
) -> None:
    s3, gcs = counted.stores
    tasks = [
        store.task(store.new_bucket({"a": b"1", "b": b"2"}), [{"folder": "", "target_path": "x"}])
        for store in (s3, gcs)
    ]
    counted.reset()
    done = kaiwo({"download_items": tasks})
    assert (done.code, done.stdout, counted.counts().gets) == (2, "", 0)
    assert everything(tmp_path) == {"config.yaml", "report.json"}
    for name in ("x/a", "x/b"):
        assert str(tmp_path / "out" / name) in done.stderr


def test_tasks_with_one_target_are_refused_however_it_is_written(
    refused: Refused, counted: Counting, tmp_path: Path
) -> None:
    s3, gcs = counted.stores
    one, two = s3.new_bucket({"a": b"1", "b": b"2"}), gcs.new_bucket({"a": b"3", "b": b"4"})
    said = refused(
        [
            s3.task(one, [{"file": "a", "target_path": "x/a"}]),
            gcs.task(two, [{"file": "a", "target_path": "./x//a"}]),
        ]
    )
    # The file alone shows it.
    assert "download_items[1].buckets[0].items[0].target_path" in said
    assert "download_items[0].buckets[0].items[0].target_path" in said
    said = refused(
        [
            s3.task(one, [{"folder": "", "target_path": "y"}]),
            gcs.task(two, [{"file": "b", "target_path": str(tmp_path / "out/y/b")}]),
        ]
    )
    assert str(tmp_path / "out/y/b") in said
    for source in (f"s3://{one}/b ", f"gs://{two}/b "):
        assert source in said


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("below", ["y", "deep/er/y"])
def test_a_target_below_anothers_file_is_refused(
    refused: Refused, counted: Counting, tmp_path: Path, below: str, *, absolute: bool
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"a": b"1", "b": b"2"})
    root = f"{tmp_path}/elsewhere/" if absolute else ""
    items = [
        {"file": "a", "target_path": f"{root}x"},
        {"file": "b", "target_path": f"{root}x/{below}"},
    ]
    said = refused([s3.task(bucket, items)])
    assert "items[1].target_path" in said
    assert "items[0].target_path" in said
    assert "puts a file" in said


# --- what is on the disk already --------------------------------------------------------------


def test_a_folder_at_a_files_target_is_refused(
    refused: Refused, counted: Counting, tmp_path: Path
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"a": b"1", "b": b"2"})
    for name in ("a", "b"):
        (tmp_path / "out" / name).mkdir(parents=True)
    said = refused([s3.task(bucket, [{"folder": "", "target_path": "."}])])
    assert str(tmp_path / "out/a") in said
    assert str(tmp_path / "out/b") in said


def test_a_file_where_a_folder_is_needed_is_refused(
    refused: Refused, counted: Counting, tmp_path: Path
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"a/b/c": b"1"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_bytes(b"mine")
    assert "out/a" in refused([s3.task(bucket, [{"folder": "", "target_path": "."}])])
    assert (tmp_path / "out/a").read_bytes() == b"mine"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_that_leads_out_of_the_root_is_refused(
    refused: Refused, counted: Counting, tmp_path: Path, *, exists: bool
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"link/a": b"1", "deep/link/b": b"2", "good": b"3"})
    if exists:
        (tmp_path / "outside").mkdir()
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "out/link").symlink_to(tmp_path / "outside")
    (tmp_path / "out/deep/link").symlink_to("../../outside")
    said = refused([s3.task(bucket, [{"folder": "", "target_path": "."}])])
    assert str(tmp_path / "out/link/a") in said
    assert str(tmp_path / "out/deep/link/b") in said
    assert "good" not in said


def test_a_link_that_stays_inside_and_a_root_that_is_one_are_fine(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"link/a": b"1", "b": b"2"})
    (tmp_path / "real/kept").mkdir(parents=True)
    (tmp_path / "real/link").symlink_to("kept")
    (tmp_path / "out").symlink_to(tmp_path / "real")
    done = kaiwo({"download_items": [s3.task(bucket, [{"folder": "", "target_path": "."}])]})
    assert done.code == 0, done.stderr
    assert (tmp_path / "real/kept/a").read_bytes() == b"1"
    assert (tmp_path / "real/b").read_bytes() == b"2"


def test_a_root_that_is_a_link_to_a_folder_that_is_missing_gets_all_that_a_run_makes(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"a": b"1"})
    (tmp_path / "out").symlink_to(tmp_path / "volume/models")
    done = kaiwo({"download_items": [s3.task(bucket, [{"folder": "", "target_path": "."}])]})
    assert (done.code, "WARNING" in done.stderr) == (0, False), done.stderr
    assert tree(tmp_path / "volume/models") == {"a": b"1"}
    assert (tmp_path / "volume/models/.kaiwo/manifest.jsonl").exists()


def test_a_link_that_leads_in_a_circle_is_refused_before_the_first_byte(
    refused: Refused, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"link/a": b"1", "b": b"2"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to("link")
    (tmp_path / "out/b").symlink_to("b")  # a link that is replaced may lead anywhere
    said = refused([s3.task(bucket, [{"folder": "", "target_path": "."}])])
    assert f"{tmp_path}/out/link/a: a link in its folder leads in a circle" in said
    assert "out/b" not in said


def test_a_link_at_the_target_is_replaced_and_its_goal_is_not_touched(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"a": b"new"})
    (tmp_path / "outside").write_bytes(b"old")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(tmp_path / "outside")
    done = kaiwo({"download_items": [s3.task(bucket, [{"folder": "", "target_path": "."}])]})
    assert done.code == 0, done.stderr
    assert (tmp_path / "outside").read_bytes() == b"old"
    assert not (tmp_path / "out/a").is_symlink()
    assert (tmp_path / "out/a").read_bytes() == b"new"


def test_targets_that_a_link_makes_one_are_refused(
    refused: Refused, counted: Counting, tmp_path: Path
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"link/a": b"1", "kept/a": b"2"})
    (tmp_path / "out/kept").mkdir(parents=True)
    (tmp_path / "out/link").symlink_to("kept")
    said = refused([s3.task(bucket, [{"folder": "", "target_path": "."}])])
    assert f"s3://{bucket}/link/a " in said
    assert f"s3://{bucket}/kept/a " in said
