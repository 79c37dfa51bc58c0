"""Room is asked for before the first byte, on real file systems of a few hundred KiB."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import DiskError
from kaiwo.files import memory_limit
from kaiwo.jobs import PartialDownload, Transfer
from kaiwo.objects import RemoteObject
from kaiwo.planning import free_space
from tests.support.faulty import PatternOpener, transfer_of
from tests.support.volumes import Volume, volume

KIB = 1 << 10
OPENER = PatternOpener(())


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Volume]:
    """100 blocks of 4 KiB, all of them free."""
    with volume(tmp_path / "small", "size=400k,nr_inodes=50") as made:
        yield made


def transfers(root: Path, sizes: dict[str, int]) -> list[Transfer]:
    return [
        transfer_of(OPENER, RemoteObject(key, size), root, index)
        for index, (key, size) in enumerate(sizes.items())
    ]


def refused(wanted: list[Transfer]) -> str:
    with pytest.raises(DiskError) as caught:
        free_space.require(wanted)
    assert caught.value.exit_code == 6
    return caught.value.message


def test_what_fits_exactly_is_accepted_and_one_byte_more_is_not(small: Volume) -> None:
    free = small.free
    assert free == 400 * KIB
    free_space.require(transfers(small.seen, {"a": free}))
    message = refused(transfers(small.seen, {"a": free + 1}))
    assert "404.0 KiB (413,696 bytes) are needed and 400.0 KiB (409,600 bytes) are free" in message
    assert str(small.folder) in message
    assert "free some space" in message


def test_what_is_accepted_can_be_written(small: Volume) -> None:
    wanted = transfers(small.seen, {"a/b": 100 * KIB, "a/c": 1, "d": 280 * KIB})
    free_space.require(wanted)
    for each in wanted:
        Path(each.target).parent.mkdir(exist_ok=True)
        Path(each.target).write_bytes(bytes(each.object.size))


def test_small_files_take_whole_blocks(small: Volume) -> None:
    small.remount("nr_inodes=1000")
    free_space.require(transfers(small.seen, {f"{number}": 1 for number in range(100)}))
    assert "404.0 KiB" in refused(transfers(small.seen, {f"{number}": 1 for number in range(101)}))


def test_empty_files_take_inodes(small: Volume) -> None:
    free = os.statvfs(small.seen).f_favail
    free_space.require(transfers(small.seen, {f"{number}": 0 for number in range(free)}))
    message = refused(transfers(small.seen, {f"{number}": 0 for number in range(free + 1)}))
    assert f"{free + 1} inodes are needed and {free} are free" in message


def test_folders_that_have_to_be_made_take_inodes_once(small: Volume) -> None:
    free = os.statvfs(small.seen).f_favail
    (small.seen / "there").mkdir()
    names = {f"there/new/er/{number}": 0 for number in range(free - 3)}
    free_space.require(transfers(small.seen, names))
    assert f"{free} inodes are needed and {free - 1} are free" in refused(
        transfers(small.seen, {**names, "there/new/another": 0})
    )


def test_keys_of_thousands_of_folders_are_counted(small: Volume) -> None:
    message = refused(transfers(small.seen, {"d/" * 1_500 + "a": 1}))
    assert "1,501 inodes are needed" in message


def test_what_is_there_and_may_be_adopted_needs_nothing(small: Volume) -> None:
    (small.seen / "a").write_bytes(bytes(300 * KIB))
    (there,) = transfers(small.seen, {"a": 300 * KIB})
    free_space.require([replace(there, present=True)])


def test_a_file_that_is_replaced_gives_its_room_back(small: Volume) -> None:
    for name in ("a", "b", "c"):
        (small.seen / name).write_bytes(bytes(100 * KIB))
    # 100 KiB are free: one at a time fits, and that is how they are replaced.
    free_space.require(transfers(small.seen, dict.fromkeys(("a", "b", "c"), 100 * KIB)))
    assert "are needed" in refused(transfers(small.seen, {"a": 104 * KIB}))
    assert "are needed" in refused(transfers(small.seen, {"a": 100 * KIB, "d": 101 * KIB}))


def test_a_file_with_another_name_gives_nothing_back(small: Volume) -> None:
    (small.seen / "a").write_bytes(bytes(300 * KIB))
    wanted = transfers(small.seen, {"a": 92 * KIB, "b": 92 * KIB})
    free_space.require(wanted)
    os.link(small.seen / "a", small.seen / "backup")
    assert "184.0 KiB" in refused(wanted)


def test_what_an_earlier_run_left_is_taken_off(small: Volume) -> None:
    (each,) = transfers(small.seen, {"big": 350 * KIB})
    left = small.seen / ".kaiwo-1-0.part"
    # As ranges come: the last before the first.
    with left.open("wb") as file:
        file.seek(200 * KIB)
        file.write(bytes(150 * KIB))
    assert "350.0 KiB" not in refused([replace(each, object=RemoteObject("big", 401 * KIB))])
    assert "are needed" in refused([each])
    free_space.require([replace(each, partial=PartialDownload(str(left)))])
    assert "are needed" in refused([replace(each, partial=PartialDownload(f"{left}-that-is-gone"))])


def test_the_bytes_of_a_link_are_where_its_blob_is(small: Volume, tmp_path: Path) -> None:
    root = str(tmp_path)
    blob = f"{small.seen}/blobs/1"
    each = Transfer(0, "run", "t", OPENER, RemoteObject("a", 500 * KIB), f"{root}/x/a", root, blob)
    assert str(small.folder) in refused([each])
    elsewhere = replace(each, target=f"{small.seen}/x/a", blob=f"{root}/blobs/1")
    free_space.require([elsewhere])


def test_files_of_a_snapshot_that_are_alike_take_their_room_once(small: Volume) -> None:
    root = str(small.seen)
    wanted = [
        replace(each, blob=f"{root}/blobs/same")
        for each in transfers(small.seen, dict.fromkeys(("x/a", "x/b", "x/c"), 380 * KIB))
    ]
    free_space.require(wanted)


def test_every_file_system_that_is_short_is_named(small: Volume, tmp_path: Path) -> None:
    with volume(tmp_path / "other", "size=40k,nr_inodes=50") as other:
        wanted = [
            *transfers(small.seen, {"a": 401 * KIB}),
            *transfers(other.seen, {"b": 41 * KIB}),
            *transfers(tmp_path, {"c": 1}),
        ]
        message = refused(wanted)
        assert message.count("\n") == 1
        assert str(small.folder) in message
        assert str(other.folder) in message
        assert "c" not in [line.split()[-1] for line in message.splitlines()]


@pytest.mark.parametrize("nowhere", ["/proc/1/task/1/nope", "/dev/null/x", "/proc/self/fd/x"])
def test_what_cannot_be_asked_is_no_error(nowhere: str) -> None:
    free_space.require(transfers(Path(nowhere), {"a": 10, "b/c": 10}))


def test_a_file_system_without_numbers_has_room(tmp_path: Path) -> None:
    # procfs says that it has no blocks and no inodes.
    assert (os.statvfs("/proc").f_blocks, os.statvfs("/proc").f_files) == (0, 0)
    free_space.require(transfers(Path("/proc/self"), {"a": 1 << 60}))


def test_sizes_beyond_all_reason_are_refused_with_their_numbers(tmp_path: Path) -> None:
    message = refused(transfers(tmp_path, {"a": 1 << 62}))
    assert f"{1 << 62:,} bytes" in message
    assert "PiB" in message


def test_a_folder_that_is_a_link_is_on_the_file_system_that_it_leads_to(
    small: Volume, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(small.seen)
    assert str(small.folder) in refused(transfers(tmp_path / "link", {"new/a": 401 * KIB}))


def test_a_hundred_thousand_files_are_added_up_in_no_time(tmp_path: Path) -> None:
    wanted = transfers(tmp_path, {f"f{n % 300}/s{n % 7}/{n}": n for n in range(100_000)})
    start = time.process_time()
    free_space.require(wanted)
    # 0.1 s on a quiet machine.
    assert time.process_time() - start < 1


def test_nothing_is_made_or_changed(small: Volume) -> None:
    free_space.require(transfers(small.seen, {"new/a": 10}))
    assert os.listdir(small.seen) == []


# --- in memory ----------------------------------------------------------------------------------


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose files take memory, of which the pod may still use 1 MiB and kaiwo's part."""
    monkeypatch.setattr(memory_limit, "is_in_memory", lambda _: True)
    monkeypatch.setattr(memory_limit, "memory_left", lambda: 1024 * KIB * 8 // 7 + 1)
    return tmp_path


def test_in_memory_there_is_no_more_room_than_the_pod_may_still_use(in_memory: Path) -> None:
    free_space.require(transfers(in_memory, {"a": 600 * KIB, "b": 424 * KIB}))
    message = refused(transfers(in_memory, {"a": 600 * KIB, "b": 425 * KIB}))
    assert "keeps its files in memory" in message
    assert "1.0 MiB (1,052,672 bytes) are needed" in message
    assert "give the pod more memory" in message
    # A file that is replaced gives its memory back.
    (in_memory / "a").write_bytes(bytes(600 * KIB))
    free_space.require(transfers(in_memory, {"a": 600 * KIB, "b": 424 * KIB}))


def test_without_a_limit_a_file_system_in_memory_is_like_any_other(
    in_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_limit, "memory_left", lambda: None)
    free_space.require(transfers(in_memory, {"a": 10 << 20}))
