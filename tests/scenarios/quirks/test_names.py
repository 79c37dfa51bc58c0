"""File systems with rules for names, and mounts: no file gets another one's bytes with exit 0."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests import servers
from tests.support.command import Kaiwo, downloading, tree
from tests.support.stores import Store

ALL = [{"folder": "", "target_path": "."}]
DAY = "\u65e5"  # three bytes
Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts such a file system as the download root; returns the folder behind it."""
    backing, folder = tmp_path / "backing", tmp_path / "out"
    with contextlib.ExitStack() as mounts:

        def mount(*rules: str) -> Path:
            backing.mkdir()
            folder.mkdir()
            try:
                mounts.enter_context(
                    servers.start("naming_mount", str(backing), str(folder), *rules)
                )
            except servers.ServerFailed as error:
                pytest.skip(str(error))
            return backing

        yield mount


@pytest.mark.parametrize(
    ("rules", "keys"),
    [
        (("case",), ("A.txt", "a.txt")),
        (("form",), ("caf\u00e9/x", "cafe\u0301/x")),
        (("ends",), ("a", "a.")),
        (("case", "ends"), ("d. /A", "d/a")),
        (("ends",), (".kaiwo./manifest.jsonl",)),
        (("short",), ("longname.txt.gz", "LONGNA~1.GZ")),
    ],
)
def test_two_keys_that_are_one_file_there_are_refused(
    kaiwo: Kaiwo, s3: Store, mount: Mount, rules: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    backing = mount(*rules)
    bucket = s3.new_bucket({key: key.encode() for key in keys})
    done = kaiwo({"download_items": [s3.task(bucket, ALL)]})
    assert done.code == 2, done.stderr
    assert list(backing.iterdir()) == []


def test_names_that_are_different_there_arrive(
    kaiwo: Kaiwo, s3: Store, mount: Mount, tmp_path: Path
) -> None:
    backing = mount("case", "form", "ends", "short")
    objects = {"A.txt": b"1", "D/x": b"2", "d/y.": b"33", "caf\u00e9": b"4", "long~1name": b"5"}
    config = {"download_items": [s3.task(s3.new_bucket(objects), ALL)]}
    for number in range(2):
        done = kaiwo(config)
        assert (done.code, done.report["unchanged"]) == (0, 5 * number), done.stderr
    assert {name: (tmp_path / "out" / name).read_bytes() for name in objects} == objects
    assert len(tree(backing)) == 5


def test_a_name_that_is_too_long_there_is_refused_before_the_first_byte(
    kaiwo: Kaiwo, s3: Store, mount: Mount
) -> None:
    backing = mount("longest=143")
    fits = {f"d/{'n' * 143}": b"1", DAY * 47: b"2"}
    bucket = s3.new_bucket(fits)
    config = {"download_items": [s3.task(bucket, ALL)]}
    done = kaiwo(config)
    assert done.code == 0, done.stderr
    assert tree(backing) == fits
    s3.fill(bucket, {f"missing/{'n' * 144}": b"x", DAY * 48 + "/missing": b"y"})
    done = kaiwo(config)
    assert done.code == 2, done.stderr
    assert done.stderr.count("is too long for this file system") == 2
    assert tree(backing) == fits


def test_a_quota_that_is_used_up_leaves_no_part_of_a_file(
    kaiwo: Kaiwo, s3: Store, mount: Mount
) -> None:
    backing = mount(f"room={4 << 20}")
    bucket = s3.new_bucket({"big": b"1" * (9 << 20), "small": b"1"})
    done = kaiwo({"download_items": [s3.task(bucket, ALL)]})
    assert done.code == 6, done.stderr
    assert "the quota is used up" in done.stderr
    assert {name for name in tree(backing) if not name.startswith(".kaiwo")} <= {"small"}


def test_files_that_are_one_since_a_folder_is_mounted_twice_are_refused(
    s3: Store, tmp_path: Path
) -> None:
    """As two mounts of one claim in a pod."""
    bucket = s3.new_bucket({"x/f": b"one", "y/f": b"two", "y/g": b"3"})
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    script = f'mount --bind {one} {two} && exec "$@"'
    inside = ("unshare", "-m" if os.geteuid() == 0 else "-rm", "sh", "-c", script, "sh")
    for keys, code in ((("x/f", "y/f"), 2), (("x/f", "x/f"), 0), (("x/f", "y/g"), 0)):
        places = (one / Path(keys[0]).name, two / Path(keys[1]).name)
        items = [
            {"file": key, "target_path": str(place)}
            for key, place in zip(keys, places, strict=True)
        ]
        text = yaml.safe_dump({"download_items": [s3.task(bucket, items)]})
        done = downloading(text, tmp_path, inside=inside)
        if "mount:" in done.stderr or "unshare:" in done.stderr:
            pytest.skip(done.stderr)
        assert done.code == code, done.stderr
        assert ("the same folder is mounted at both" in done.stderr) == (code == 2)
    assert tree(one) == {"f": b"one", "g": b"3"}
