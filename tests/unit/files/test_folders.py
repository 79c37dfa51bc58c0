"""Folders are opened one by one: a link never leads out of the root, at any moment."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import DiskError, PassingDiskError
from kaiwo.files import inherited_files, kept_folders, publish, temporary_files
from kaiwo.files.folders import Root, in_folder, open_folder, resolved
from kaiwo.files.kept_folders import kept, kept_open
from kaiwo.jobs import Transfer
from tests.unit.files.writing import transfer


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    return resolved(str(tmp_path / "root"))


@pytest.fixture
def outside(tmp_path: Path, root: Root) -> Iterator[Path]:
    """A folder that stays empty."""
    folder = tmp_path / "outside"
    yield folder
    assert names(folder) == []


@pytest.fixture(params=[False, True], ids=["each opened", "kept open"])
def during_a_run(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.param:
        yield
        return
    with kept_open():
        yield


def swap(folder: Path, destination: Path) -> None:
    """Put a link in place of a folder, as somebody who may write above it."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}-away"))
    folder.symlink_to(destination)


def is_same(descriptor: int, folder: Path) -> bool:
    return os.path.samestat(os.fstat(descriptor), folder.stat())


@pytest.mark.parametrize("destination", ["absolute", "relative", "up", "by another link"])
def test_a_link_that_leads_out_is_not_followed(root: Root, outside: Path, destination: str) -> None:
    top = Path(root.path)
    (top / "sub").mkdir()
    (top / "sub" / "up").symlink_to("../..")
    links = {
        "absolute": str(outside),
        "relative": "../../outside",
        "up": "../..",
        "by another link": "up/outside",
    }
    (top / "sub" / "link").symlink_to(links[destination])
    with pytest.raises(OSError, match=f"{top}/sub/link is a link that leads out of {top}"):
        open_folder(f"{top}/sub/link/below", root, make=True)
    with pytest.raises(OSError, match="leads out"):
        temporary_files.status_of(f"{top}/sub/link/file", root)


@pytest.mark.parametrize("destination", ["real", "./real", "../root/real", "{root}/real", "again"])
def test_a_link_to_a_folder_of_the_same_root_is_followed(root: Root, destination: str) -> None:
    top = Path(root.path)
    (top / "real").mkdir()
    (top / "again").symlink_to("real")
    (top / "link").symlink_to(destination.format(root=top))
    found = open_folder(f"{top}/link/new", root, make=True)
    assert is_same(found.descriptor, top / "real" / "new")


def test_links_in_a_circle_have_an_end(root: Root) -> None:
    top = Path(root.path)
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    with pytest.raises(OSError):  # noqa: PT011 - its number depends on the system
        open_folder(f"{top}/a", root)


@pytest.mark.parametrize("name", ["link", "above/root"])
def test_a_root_behind_links_of_the_user_is_fine(tmp_path: Path, root: Root, name: str) -> None:
    (tmp_path / "link").symlink_to("root")
    (tmp_path / "above").symlink_to(".")
    user = resolved(str(tmp_path / name))
    assert user.real == root.path
    found = open_folder(f"{user.path}/a/b", user, make=True)
    assert is_same(found.descriptor, Path(root.path) / "a/b")


@pytest.mark.parametrize("which", ["root", "."])
def test_a_root_that_becomes_a_link_afterwards_is_refused(
    tmp_path: Path, root: Root, outside: Path, which: str
) -> None:
    """The root itself, and the folder above it."""
    if which == "root":
        swap(tmp_path / "root", outside)
    else:
        elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
        elsewhere.mkdir()
        tmp_path.rename(elsewhere / "old")
        (elsewhere / "new" / "root").mkdir(parents=True)
        tmp_path.symlink_to(elsewhere / "new")
    try:
        with pytest.raises(OSError, match="leads elsewhere since the plan was made"):
            open_folder(f"{root.path}/sub", root, make=True)
    finally:
        if which == ".":
            tmp_path.unlink()
            (elsewhere / "old").rename(tmp_path)


def test_a_root_that_is_missing_is_made(tmp_path: Path) -> None:
    root = resolved(str(tmp_path / "a/b"))
    found = open_folder(f"{root.path}/c/d", root, make=True)
    assert is_same(found.descriptor, tmp_path / "a/b/c/d")
    with pytest.raises(FileNotFoundError):
        open_folder(f"{root.path}/e/f", root)


def test_nobody_needs_the_right_to_list_the_folders_above() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    above = Path(tempfile.mkdtemp())
    (above / "root" / "sub").mkdir(parents=True)
    above.chmod(0o711)
    (above / "root").chmod(0o711)
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgid(1201)
            os.setuid(1201)
            open_folder(f"{above}/root/sub", resolved(f"{above}/root"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    shutil.rmtree(above)


# --- a run that is at work ------------------------------------------------------------------------


Write = Callable[[Transfer], object]


def small(each: Transfer) -> int:
    root = resolved(each.root)
    written = temporary_files.write_small(each.temporary, b"new", root)
    return publish.publish(each.temporary, each, written)


@pytest.mark.usefixtures("during_a_run")
def test_a_folder_that_becomes_a_link_gets_nothing_more(
    tmp_path: Path, root: Root, outside: Path
) -> None:
    first, second = transfer(Path(root.path), "sub/a"), transfer(Path(root.path), "sub/b")
    small(first)
    swap(Path(root.path) / "sub", outside)
    with pytest.raises(DiskError, match="cannot write"):
        small(second)
    with pytest.raises(DiskError, match="leads out of"):
        small(second)
    assert (Path(root.path) / "sub-away/a").read_bytes() == b"new"


@pytest.mark.usefixtures("during_a_run")
@pytest.mark.parametrize("step", ["write", "publish"])
def test_neither_has_a_large_file(root: Root, outside: Path, step: str) -> None:
    each = transfer(Path(root.path), "sub/a")
    temporary_files.create(each.temporary, root)
    if step == "publish":
        temporary_files.write_range(each.temporary, [b"new"], 0, root)
    swap(Path(root.path) / "sub", outside)
    kept.clear()  # as when many other folders were used since then

    def go_on() -> None:
        if step == "write":
            temporary_files.write_range(each.temporary, [b"new"], 0, root)
        else:
            publish.publish(each.temporary, each)

    with pytest.raises(DiskError, match="leads out of"):
        go_on()
    temporary_files.discard(each.temporary, root)
    assert not inherited_files.take_over(each.temporary, f"{root.path}/sub/b", root)


def test_what_is_elsewhere_is_neither_read_renamed_nor_removed(tmp_path: Path, root: Root) -> None:
    outside = tmp_path / "outside"
    each = transfer(Path(root.path), "sub/a")
    name = os.path.basename(each.temporary)
    (outside / name).write_bytes(b"another's")
    swap(Path(root.path) / "sub", outside)
    temporary_files.discard(each.temporary, root)
    assert temporary_files.read_range(each.temporary, 0, 9, root) == b""
    assert not inherited_files.take_over(each.temporary, f"{root.path}/b", root)
    assert (outside / name).read_bytes() == b"another's"


@pytest.mark.parametrize("kind", ["moved", "file"])
def test_what_is_not_at_its_target_in_the_end_was_not_published(
    root: Root, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    top, replace_ = Path(root.path), os.replace

    def replacing(source: str, target: str, **folders: int) -> None:
        replace_(source, target, **folders)
        if kind == "moved":
            (top / "sub").rename(top / "away")
        else:
            (top / "sub/other").write_bytes(b"another file")
            (top / "sub/other").rename(top / "sub/a")

    monkeypatch.setattr(os, "replace", replacing)
    with kept_open(), pytest.raises(PassingDiskError, match="replaced while kaiwo wrote there"):
        small(transfer(top, "sub/a"))


@pytest.mark.usefixtures("during_a_run")
def test_a_folder_that_was_removed_is_made_again(root: Root) -> None:
    for name in "ab":
        small(transfer(Path(root.path), f"sub/{name}"))
        os.unlink(f"{root.path}/sub/{name}")
        os.rmdir(f"{root.path}/sub")
    small(transfer(Path(root.path), "sub/c"))
    assert names(Path(root.path) / "sub") == ["c"]


@pytest.mark.usefixtures("during_a_run")
def test_links_to_blobs_stay_in_the_root(root: Root, outside: Path) -> None:
    each = replace(transfer(Path(root.path), "snapshots/1/a"), blob=f"{root.path}/blobs/1")
    small(each)
    swap(Path(root.path) / "snapshots", outside)
    kept.clear()
    with pytest.raises(DiskError, match="leads out of"):
        small(each)
    with pytest.raises(OSError, match="leads out of"):
        publish.link(each)


# --- what stays open ------------------------------------------------------------------------------


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_folders_stay_open_and_none_after_the_run(root: Root) -> None:
    before = open_files()
    with kept_open():
        for number in range(200):
            open_folder(f"{root.path}/{number}", root, make=True)
        assert before + 10 < open_files() <= before + kept_folders.MOST_KEPT
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        try:
            open_folder(f"{root.path}/new", root, make=True)
            assert open_files() <= before + 4
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_files() == before
    open_folder(f"{root.path}/1", root)
    assert open_files() == before


def test_a_folder_that_stays_open_is_used_again(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, open_ = [], os.open

    def opening(path: str, *rest: int, dir_fd: int | None = None) -> int:
        opened.append(path)
        return open_(path, *rest, dir_fd=dir_fd)

    with kept_open():
        open_folder(f"{root.path}/a/b", root, make=True)
        monkeypatch.setattr(os, "open", opening)
        for _ in range(3):
            in_folder(f"{root.path}/a/b/file", root, lambda _, name: opened.append(name))
    assert opened == ["file"] * 3


def test_without_a_root_a_path_is_the_callers_own(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to("outside")
    temporary_files.write_small(str(tmp_path / "link/new/file"), b"x")
    assert (tmp_path / "outside/new/file").read_bytes() == b"x"
