"""Pods of two users and one group share a root: nothing is fetched twice, nothing fails."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaiwo.files.placement import Under
from kaiwo.jobs import Want
from kaiwo.objects import Folder
from kaiwo.state import sharing
from kaiwo.state.claims import Claim
from kaiwo.state.folder import claims_folder
from kaiwo.state.state import State
from tests.support.faulty import FaultyOpener, FaultyStore, carry_out, closed_plan, run_store
from tests.support.planning import listed

FIRST, SECOND, GROUP = 1201, 1202, 1300
OBJECTS = {"a": b"1", "sub/b": b"22"}


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def as_user(user: int, group: int, action: Callable[[], object], umask: int = 0o022) -> None:
    """Do it in a child with this user and group, and no others."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(umask)
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A volume as a cluster mounts it for a group (``fsGroup``)."""
    if os.geteuid() != 0:
        pytest.skip("only root may become two users")
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    # Python's own modules may be root's alone: what a run loads is loaded before it is another's.
    downloads(tmp_path, 2, 0)()
    yield folder
    shutil.rmtree(folder)


def downloads(root: Path, downloaded: int, unchanged: int) -> Callable[[], None]:
    """A run that has to end with these counts, and no other run in its way."""

    def run() -> None:
        opener = FaultyOpener(FaultyStore(OBJECTS))
        listing, _ = listed([Want("test", "", opener, Folder(""), Under(str(root), str(root)))])
        state = State()
        closed = closed_plan(listing, state)
        with Claim("ab") as claim:
            assert not claim.take({claims_folder(str(root)): {"00"}})
            report = carry_out(closed, root, memory=state).report
        assert report.exit_code == 0, report.items
        assert (report.count("downloaded"), report.count("unchanged")) == (downloaded, unchanged)

    return run


def test_a_second_user_of_the_group_finds_what_the_first_put_there(root: Path) -> None:
    as_user(FIRST, GROUP, downloads(root, 2, 0))
    manifest = root / ".kaiwo/manifest.jsonl"
    assert (manifest.stat().st_gid, mode(manifest)) == (GROUP, 0o660)
    assert mode(manifest.parent) == 0o2770
    as_user(SECOND, GROUP, downloads(root, 0, 2))
    (root / "a").unlink()
    (root / "sub/b").unlink()
    (root / "sub").chmod(0o2775)
    as_user(SECOND, GROUP, downloads(root, 2, 0))
    as_user(FIRST, GROUP, downloads(root, 0, 2))


def test_users_of_other_groups_get_nothing(root: Path) -> None:
    as_user(FIRST, GROUP, downloads(root, 2, 0))

    def read() -> None:
        with pytest.raises(PermissionError):
            (root / ".kaiwo/manifest.jsonl").read_text()

    as_user(SECOND, SECOND, read)


def test_a_group_that_the_owner_is_not_in_gets_nothing(root: Path) -> None:
    root.chmod(0o777)
    as_user(FIRST, FIRST, downloads(root, 2, 0))
    assert mode(root / ".kaiwo") == 0o700
    assert mode(root / ".kaiwo/manifest.jsonl") == 0o600


@pytest.mark.parametrize(
    ("bits", "folder", "file"),
    [(0o700, 0o700, 0o600), (0o755, 0o750, 0o640), (0o775, 0o770, 0o660), (0o777, 0o770, 0o660)],
)
def test_the_group_may_do_what_it_may_do_in_the_root(
    tmp_path: Path, bits: int, folder: int, file: int
) -> None:
    tmp_path.chmod(bits)
    run_store(FaultyStore(OBJECTS), tmp_path)
    assert mode(tmp_path / ".kaiwo") == folder
    assert mode(tmp_path / ".kaiwo/manifest.jsonl") == file


def test_with_a_state_folder_the_group_may_do_what_it_may_do_there(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    claims = claims_folder("/root", str(tmp_path))
    sharing.make_folder(claims, sharing.root_of_state(claims))
    assert mode(claims) == 0o770


def test_a_link_in_place_of_the_manifest_is_not_written_through(tmp_path: Path) -> None:
    """Others of the group could have made it."""
    (tmp_path / ".kaiwo").mkdir()
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / ".kaiwo/manifest.jsonl").symlink_to(tmp_path / "victim")
    result = run_store(FaultyStore(OBJECTS), tmp_path / ".")
    assert result.report.exit_code == 0
    assert (tmp_path / "victim").read_bytes() == b""
