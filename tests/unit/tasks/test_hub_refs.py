"""The names of revisions in the Hugging Face cache, when several runs write them."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

from kaiwo import own_names
from kaiwo.errors import KaiwoError
from kaiwo.tasks.hub_cache import write_ref

COMMITS = [letter * 40 for letter in "abcd"]


def test_runs_that_write_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Their temporary files were one, so that a run found its own gone, or an empty reference."""
    path = tmp_path / "refs" / "main"
    write_ref(str(tmp_path), "main", COMMITS[0])
    failed: list[KaiwoError] = []
    found: set[str] = set()
    ended = threading.Event()

    def write() -> None:
        try:
            for number in range(400):
                write_ref(str(tmp_path), "main", COMMITS[number % 4])
        except KaiwoError as error:
            failed.append(error)

    def read() -> None:
        while not ended.is_set():
            found.add(path.read_text())

    writers = [threading.Thread(target=write) for _ in range(3)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    reader.join()
    assert failed == []
    assert found <= set(COMMITS)
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["main"]


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_holds_stays(
    tmp_path: Path,
) -> None:
    left, held = (tmp_path / own_names.ref_part_name(token) for token in ("left", "held"))
    left.touch()
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_ref(str(tmp_path), "main", COMMITS[0])
    assert {each.name for each in tmp_path.iterdir()} == {"refs", held.name}


def test_the_library_sees_no_temporary_file_among_the_names(tmp_path: Path) -> None:
    """A revision's name may be as long as a file's, too."""
    name = f"pr/{'n' * 255}"
    write_ref(str(tmp_path), name, COMMITS[0])
    assert (tmp_path / "refs" / name).read_text() == COMMITS[0]
