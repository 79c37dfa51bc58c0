"""A disk that is full, read-only, forbidden or out of inodes: exit 6, and a later run resumes.

The file systems are real and small, and fill up while objects are on their way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import Run, clean_environment, configured, downloading, tree
from tests.support.faulty import MIB, content
from tests.support.proxies import Answer, counting, spoiling
from tests.support.stores import Store
from tests.support.volumes import Volume, volume

Json = dict[str, Any]
Command = Callable[..., Run]
#: Root without its right to overlook permissions is like anybody.
_LOST = "--bounding-set=-dac_override,-dac_read_search"
AS_ANYBODY = ("setpriv", _LOST) if os.geteuid() == 0 else ()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs the command on tasks that go to a folder; ``inside`` is what it begins with."""

    def run(tasks: Sequence[Json], root: Path, *options: str, inside: Sequence[str] = ()) -> Run:
        text = yaml.safe_dump({"download_root": str(root), "download_items": list(tasks)})
        env = {"KAIWO_RETRIES": "1"}
        return downloading(text, tmp_path, *options, inside=inside, env=env)

    return run


class Watched:
    """A store that counts the objects it hands out, and does something before one of them.

    Args:
        number: of the answer before which it is done; the first is 0.
        action: what is done; all answers wait for it.
    """

    def __init__(self, number: int, action: Callable[[], None]) -> None:
        self.gets = 0
        self._number = number
        self._action = action
        self._lock = threading.Lock()

    def spoil(self, method: str, path: str, answer: Answer) -> Answer:
        """See ``proxies.Spoil``."""
        if method == "GET" and path.count("/") > 1:
            with self._lock:
                if self.gets == self._number:
                    self._action()
                self.gets += 1
        return answer


def whole_bucket(store: Store, objects: Mapping[str, bytes]) -> tuple[str, list[Json]]:
    bucket = store.new_bucket(objects)
    return bucket, [{"folder": "", "target_path": "."}]


def fill(folder: Path, left: int = 0) -> None:
    """Leave this many bytes free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(MIB)):
                pass
        file.truncate(file.tell() - left)


def fill_inodes(folder: Path) -> None:
    """Leave none."""
    (folder / "fillers").mkdir()
    # Whoever writes there meanwhile takes some, too.
    with contextlib.suppress(OSError):
        for number in range(os.statvfs(folder).f_favail):
            (folder / "fillers" / f"{number}").touch()


def temporary(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob(".kaiwo-*")}


def accounted_for(folder: Path) -> set[str]:
    """The temporary files that kaiwo's own memory names."""
    journals = folder.glob(".kaiwo/journal-*")
    return set(
        re.findall(r"\.kaiwo-[0-9a-f]+-[0-9a-f.]+part", "".join(j.read_text() for j in journals))
    )


def small_objects(count: int, size: int = 20_000) -> dict[str, bytes]:
    return {f"d{n % 3}/f{n:04}": content(size, seed=n) for n in range(count)}


# --- room goes away during a run ----------------------------------------------------------------


def test_no_room_in_the_middle_of_a_large_object(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    data = content(40 * MIB)
    bucket, items = whole_bucket(s3, {"big.bin": data})
    # Room for it once, but not beside what the first run leaves.
    with volume(tmp_path / "v", "size=48m") as disk:
        root = disk.folder / "out"
        watched = Watched(2, lambda: fill(disk.seen, left=4 * MIB))
        with spoiling(s3, watched.spoil) as store:
            options = ("--max-workers", "1")
            first = command([store.task(bucket, items)], root, *options, inside=disk.inside)
            assert first.code == 6, first.stderr
            (item,) = first.report["items"]
            said = item["error"]["message"]
            assert item["error"]["kind"] == "disk"
            assert str(root) in said
            assert os.strerror(errno.ENOSPC) in said
            assert re.search(r"[\d,]+ bytes were to be written; [\d,]+ bytes and", said)
            assert not (disk.seen / "out" / "big.bin").exists()
            assert temporary(disk.seen) == accounted_for(disk.seen / "out") != set()
            (disk.seen / "filler").unlink()
            before = watched.gets
            second = command([store.task(bucket, items)], root, *options, inside=disk.inside)
        assert second.code == 0, second.stderr
        assert second.report["resumed"] == 1
        # Two of the five ranges were there already.
        assert watched.gets - before == 3
        assert (disk.seen / "out/big.bin").read_bytes() == data
        assert temporary(disk.seen) == set()


def test_what_nobody_will_go_on_with_is_removed_before_room_is_asked_for(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    bucket, items = whole_bucket(s3, {"big.bin": content(40 * MIB)})
    with volume(tmp_path / "v", "size=48m") as disk:
        root, options = disk.folder / "out", ("--max-workers", "1")
        with spoiling(s3, Watched(2, lambda: fill(disk.seen, left=4 * MIB)).spoil) as store:
            first = command([store.task(bucket, items)], root, *options, inside=disk.inside)
            assert first.code == 6, first.stderr
            (disk.seen / "filler").unlink()
            assert temporary(disk.seen) != set()
            data = content(40 * MIB, seed=1)
            s3.fill(bucket, {"big.bin": data})
            second = command([store.task(bucket, items)], root, *options, inside=disk.inside)
        assert second.code == 0, second.stderr
        assert second.report["resumed"] == 0
        assert (disk.seen / "out/big.bin").read_bytes() == data
        assert temporary(disk.seen) == set()


@pytest.mark.parametrize("lack", ["bytes", "inodes"])
def test_no_room_in_the_middle_of_many_small_objects(
    command: Command, s3: Store, tmp_path: Path, lack: str
) -> None:
    objects = small_objects(120)
    bucket, items = whole_bucket(s3, objects)
    with volume(tmp_path / "v", "size=16m,nr_inodes=400") as disk:
        root = disk.folder / "out"
        fillers = {"bytes": lambda: fill(disk.seen), "inodes": lambda: fill_inodes(disk.seen)}
        watched = Watched(40, fillers[lack])
        with spoiling(s3, watched.spoil) as store:
            task = store.task(bucket, items)
            first = command([task], root, "--max-workers", "2", inside=disk.inside)
            assert first.code == 6, first.stderr
            assert first.report["downloaded"] + first.report["failed"] == 120
            # A batch is read as a whole before it is written.
            assert 1 <= first.report["downloaded"] <= 45
            errors = [item["error"]["message"] for item in first.report["items"] if item["error"]]
            free = r"\b0 bytes and" if lack == "bytes" else r"bytes and [01] inodes are free"
            assert [each for each in errors if not re.search(free, each)] == []
            assert [each for each in errors if str(root) not in each] == []
            assert temporary(disk.seen) == set()
            for path in [disk.seen / "filler", *disk.seen.glob("fillers/*")]:
                path.unlink(missing_ok=True)
            before = watched.gets
            second = command([task], root, inside=disk.inside)
        assert second.code == 0, second.stderr
        assert second.report["unchanged"] == first.report["downloaded"]
        assert watched.gets - before == first.report["failed"]
        assert tree(disk.seen / "out") == objects
        assert temporary(disk.seen) == set()


def test_a_disk_that_becomes_read_only_under_way(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    objects = small_objects(60)
    bucket, items = whole_bucket(s3, objects)
    with volume(tmp_path / "v", "size=16m") as disk:
        root = disk.folder / "out"
        # Nothing may be open for writing at that moment: what has no room there is elsewhere.
        options = ("--max-workers", "1", "--state-dir", str(tmp_path / "state"))
        watched = Watched(20, lambda: disk.remount("ro"))
        with spoiling(s3, watched.spoil) as store:
            task = store.task(bucket, items)
            first = command([task], root, *options, inside=disk.inside)
            assert first.code == 6, first.stderr
            assert os.strerror(errno.EROFS) in first.stderr
            assert str(root) in first.stderr
            disk.remount("rw")
            second = command([task], root, *options, inside=disk.inside)
        assert second.code == 0, second.stderr
        # A batch is read as a whole before it is written, so that several were lost.
        assert first.report["downloaded"] >= 1
        assert second.report["downloaded"] == first.report["failed"]
        assert tree(disk.seen / "out") == objects
        assert temporary(disk.seen) == set()


def test_no_room_for_kaiwos_own_memory_spoils_no_download(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    objects = small_objects(50) | {"big": content(20 * MIB)}
    bucket, items = whole_bucket(s3, objects)
    with volume(tmp_path / "state", "size=8k") as disk:
        done = command(
            [s3.task(bucket, items)],
            tmp_path / "out",
            "--state-dir",
            str(disk.folder),
            inside=disk.inside,
        )
        assert done.code == 0, done.stderr
        assert str(disk.folder) in done.stderr
        assert os.strerror(errno.ENOSPC) in done.stderr
        assert "Traceback" not in done.stderr
    assert tree(tmp_path / "out") == objects
    assert temporary(tmp_path / "out") == set()


# --- never any room, or no right to it ----------------------------------------------------------


def test_a_read_only_disk(command: Command, s3: Store, tmp_path: Path) -> None:
    bucket, items = whole_bucket(s3, {"a": b"1", "big": content(9 * MIB)})
    with volume(tmp_path / "v", "size=16m") as disk:
        disk.remount("ro")
        done = command([s3.task(bucket, items)], disk.folder / "out", inside=disk.inside)
    assert done.code == 6, done.stderr
    assert os.strerror(errno.EROFS) in done.stderr
    assert "mount the volume writable" in done.stderr
    assert str(disk.folder) in done.stderr


@pytest.mark.parametrize("by", ["kaiwo", "others"])
def test_complete_targets_on_a_read_only_disk_are_no_failure(
    command: Command, s3: Store, tmp_path: Path, by: str
) -> None:
    objects = {"a": b"1", "sub/big": content(9 * MIB)}
    bucket, items = whole_bucket(s3, objects)
    with volume(tmp_path / "v", "size=16m") as disk:
        if by == "kaiwo":
            assert command([s3.task(bucket, items)], disk.folder, inside=disk.inside).code == 0
        else:
            for name, data in objects.items():
                (disk.seen / name).parent.mkdir(exist_ok=True)
                (disk.seen / name).write_bytes(data)
        disk.remount("ro")
        done = command([s3.task(bucket, items)], disk.folder, inside=disk.inside)
        assert (done.code, done.report["unchanged"]) == (0, 2), done.stderr
        assert "WARNING" not in done.stderr


def test_a_folder_of_another_user(command: Command, s3: Store, tmp_path: Path) -> None:
    bucket, items = whole_bucket(s3, {"a": b"1", "sub/b": b"2"})
    root = tmp_path / "out"
    root.mkdir(mode=0o500)
    done = command([s3.task(bucket, items)], root, inside=AS_ANYBODY)
    assert done.code == 6, done.stderr
    assert os.strerror(errno.EACCES) in done.stderr
    assert str(root) in done.stderr
    assert "give this user the right to write there" in done.stderr
    root.chmod(0o700)
    assert tree(root) == {}


def test_a_snapshot_that_cannot_have_a_next_generation_says_why(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"a": b"1"})
    task = s3.task(bucket, [{"folder": "", "target_path": "m", "publish": "snapshot"}])
    root = tmp_path / "out"
    assert command([task], root).code == 0
    root.chmod(0o500)
    s3.fill(bucket, {"a": b"2"})
    done = command([task], root, inside=AS_ANYBODY)
    root.chmod(0o700)
    assert done.code == 6
    assert f"cannot write {root}/.kaiwo-m.next: {os.strerror(errno.EACCES)}" in done.stderr
    assert tree(root / "m") == {"a": b"1"}


@pytest.mark.parametrize("verb", ["download", "verify"])
def test_a_file_that_may_not_be_read_is_said_to_be_that(
    s3: Store, tmp_path: Path, verb: str
) -> None:
    bucket, items = whole_bucket(s3, {"a": b"1"})
    path = configured(tmp_path, s3.task(bucket, items))
    words = [sys.executable, "-m", "kaiwo"]
    environment = clean_environment(tmp_path)
    subprocess.run([*words, "download", path], env=environment, check=True, timeout=60)
    (tmp_path / "out/a").chmod(0)
    if verb == "download":
        shutil.rmtree(tmp_path / "out/.kaiwo")  # so that the file is hashed
    done = subprocess.run(
        [*AS_ANYBODY, *words, verb, path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 6
    assert f"cannot read {tmp_path}/out/a: {os.strerror(errno.EACCES)}" in done.stderr
    assert "give this user the right to read it" in done.stderr


def test_files_larger_than_this_process_may_write(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    # No file system is needed for this one: as a quota, it refuses in the middle of a file.
    objects = {"big": content(20 * MIB), "small": b"fits"}
    bucket, items = whole_bucket(s3, objects)
    limited = ("prlimit", f"--fsize={12 * MIB}")
    one = ("--max-workers", "1")
    done = command([s3.task(bucket, items)], tmp_path / "out", *one, inside=limited)
    assert done.code == 6, done.stderr
    assert os.strerror(errno.EFBIG) in done.stderr
    assert "bytes were to be written" in done.stderr
    assert (tmp_path / "out/small").read_bytes() == b"fits"
    assert not (tmp_path / "out/big").exists()
    again = command([s3.task(bucket, items)], tmp_path / "out")
    assert again.code == 0, again.stderr
    assert tree(tmp_path / "out") == objects
    assert (again.report["resumed"], again.report["unchanged"]) == (1, 1)
    assert temporary(tmp_path / "out") == set()


def test_too_many_open_files(command: Command, s3: Store, tmp_path: Path) -> None:
    objects = small_objects(100)
    bucket, items = whole_bucket(s3, objects)
    task = s3.task(bucket, items)
    for limit in (26, 20, 14, 11, 9):  # how many a run needs depends on the libraries
        root = tmp_path / f"out-{limit}"
        limited = ("prlimit", f"--nofile={limit}")
        first = command([task], root, "--engine", "fsspec", inside=limited)
        if first.code != 0:
            break
    assert first.code == 6, first.stderr
    told = f"{os.strerror(errno.EMFILE)} (the limit is {limit}; raise the limit of open files"
    assert told in first.stderr
    assert temporary(root) == set()
    second = command([task], root)
    assert second.code == 0, second.stderr
    assert second.report["unchanged"] == first.report["downloaded"]
    assert tree(root) == objects


# --- refused before the first byte --------------------------------------------------------------


def preflight(
    command: Command, s3: Store, disk: Volume, objects: Mapping[str, bytes], *options: str
) -> str:
    """The message of a run that has to be refused without a byte read or a file made."""
    bucket, items = whole_bucket(s3, objects)
    with counting(s3) as proxy:
        task = proxy.stores[0].task(bucket, items)
        done = command([task], disk.folder / "out", *options, inside=disk.inside)
        assert done.code == 6, done.stderr
        assert proxy.counts().gets == 0
    assert os.listdir(disk.seen) == []
    assert str(disk.folder) in done.stderr
    return done.stderr


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_what_cannot_fit_is_refused_before_the_first_byte(
    command: Command, s3: Store, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with volume(tmp_path / "v", "size=1m") as disk:
        said = preflight(command, s3, disk, {"a": bytes(700_000), "b": bytes(700_000)}, *options)
    assert "1.3 MiB" in said
    assert re.search(r"1,4\d\d,\d{3} bytes\) are needed and .*[\d,]+ bytes\) are free", said)


def test_too_few_inodes_are_told_before_the_first_byte(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    with volume(tmp_path / "v", "size=1m,nr_inodes=20") as disk:
        said = preflight(command, s3, disk, dict.fromkeys((f"{n}/x" for n in range(10)), b""))
    assert re.search(r"2\d inodes are needed and 1\d are free", said)


@pytest.fixture
def small_pod() -> Iterator[Path]:
    """A control group of version 1 with 300 MiB; skipped where none can be made."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(each.split(":", 2)[2] for each in lines if each.split(":")[1] == "memory")
        folder = Path(f"/sys/fs/cgroup/memory{own}/kaiwo-test-{os.getpid()}")
        folder.mkdir()
        try:
            (folder / "memory.limit_in_bytes").write_text(f"{300 * MIB}")
            yield folder
        finally:
            folder.rmdir()
        return
    pytest.skip("no control group of version 1 can be made here")


def test_in_memory_the_pods_memory_is_the_room(
    command: Command, s3: Store, tmp_path: Path, small_pod: Path
) -> None:
    bucket, items = whole_bucket(s3, {"a": b"1"})

    def enlarged(method: str, path: str, answer: Answer) -> Answer:
        body = answer.body.replace(b"<Size>1</Size>", b"<Size>%d</Size>" % (280 * MIB))
        return Answer(answer.status, answer.headers, body)

    enter = ("sh", "-c", f'echo $$ > {small_pod}/cgroup.procs && exec "$@"', "sh")
    with volume(tmp_path / "v", "size=1g") as disk, spoiling(s3, enlarged) as store:
        task = store.task(bucket, items)
        done = command([task], disk.folder / "out", inside=(*disk.inside, *enter))
        assert done.code == 6, done.stderr
        assert "give the pod more memory" in done.stderr
        # What fits is fetched.
        small = command([s3.task(bucket, items)], disk.folder, inside=(*disk.inside, *enter))
        assert small.code == 0, small.stderr


def test_sizes_that_a_store_makes_up_are_refused_before_the_first_byte(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    bucket, items = whole_bucket(s3, {"a": b"12345"})
    gets: list[str] = []

    def exaggerated(method: str, path: str, answer: Answer) -> Answer:
        if path.count("/") > 1:
            gets.append(f"{method} {path}")
        body = answer.body.replace(b"<Size>5</Size>", b"<Size>%d</Size>" % (1 << 60))
        return Answer(answer.status, answer.headers, body)

    with spoiling(s3, exaggerated) as store:
        done = command([store.task(bucket, items)], tmp_path / "out")
    assert done.code == 6, done.stderr
    assert f"{1 << 60:,} bytes" in done.stderr
    assert [each for each in gets if each.startswith("GET")] == []
    assert not (tmp_path / "out").exists()


def test_what_is_there_already_is_not_asked_for_twice(
    command: Command, s3: Store, tmp_path: Path
) -> None:
    objects = {"a": content(600_000), "b": content(300_000)}
    bucket, items = whole_bucket(s3, objects)
    with volume(tmp_path / "v", "size=1m") as disk:
        root = disk.folder / "out"
        for expected in ("downloaded", "unchanged"):
            done = command([s3.task(bucket, items)], root, inside=disk.inside)
            assert done.code == 0, done.stderr
            assert done.report[expected] == 2
        # 200 kB are free: room for neither, unless the old ones go.
        said = command([s3.task(bucket, items)], root, "--force", inside=disk.inside)
        assert said.code == 6
        assert temporary(disk.seen) == set()
