"""What holds for any name of an object.

Examples are drawn from a fixed seed, so that every run tests the same ones; ``make trials`` draws
many more, from another seed each time.
"""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kaiwo.errors import UnsafeNameError
from kaiwo.files.names import fault_of, fault_of_place
from kaiwo.files.placement import At, Under
from kaiwo.jobs import Plan, Want
from kaiwo.objects import Folder, Named, RemoteObject
from kaiwo.planning.gather import Listing
from tests.support.faulty import PatternOpener, closed_plan
from tests.support.trials_length import examples

OPENER = PatternOpener(())


@pytest.fixture(scope="module", autouse=True)
def _elsewhere() -> Iterator[None]:
    """Whatever a name may do, it does not do it where the tests run."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        yield
        os.chdir(before)


HOSTILE = ("", ".", "..", "a\0", "\n", "\x85", "\u2028", "a" * 256, "\u00f1" * 128)
OWN = (".kaiwo", ".KAIWO", ".kaiwo-1.part", ".kaiwo-1.link")
ODD = ("...", "~", " ", "-rf", "\\", "..\\", "%2e%2e", "\u200b", "\u202e", "\udc80", "a" * 255)
ALIKE = ("a", "A", "\u00e9", "e\u0301", "\u0130", "\u00df", "SS")
SEGMENTS = st.one_of(st.sampled_from((*HOSTILE, *OWN, *ODD, *ALIKE)), st.text(max_size=6))
#: What a terminal or the reader of a log takes for more than letters.
STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
KAIWOS_OWN = re.compile(r"/\.kaiwo(-[^/]*\.(part|link))?(/|$)")
KEYS = st.one_of(st.lists(SEGMENTS, max_size=6).map("/".join), st.text(max_size=20))


def planned(keys: Sequence[str], root: str) -> Plan:
    want = Want("t", "c:1", OPENER, Folder(), Under(root, root))
    objects = tuple(RemoteObject(key, 0) for key in keys)
    return closed_plan(Listing(((want, objects),), ()))


@examples(400)
@given(st.lists(KEYS, min_size=1, max_size=6, unique=True))
@example(["a", "a/b"])
@example(["a//b", "a/b"])
@example(["/"])
@example(["\udc80"])
def test_accepted_names_are_files_of_their_own_inside_the_root(keys: list[str]) -> None:
    with tempfile.TemporaryDirectory() as above:
        root = f"{above}/root"
        os.mkdir(root)
        try:
            plan = planned(keys, root)
        except UnsafeNameError as error:
            message = str(error)
        else:
            message = ""
        if message:
            # Nothing in it but the ends of its lines.
            assert not STEERING.search(message.replace("\n", ""))
            return
        assert len(plan.transfers) == len(keys)
        for transfer in plan.transfers:
            assert not STEERING.search(transfer.target)
            assert not KAIWOS_OWN.search(transfer.target)
            os.makedirs(os.path.dirname(transfer.target), exist_ok=True)
            for path in (transfer.temporary, transfer.target):
                # Fails where another file is, so that no two of them are one.
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        assert os.listdir(above) == ["root"]
        found = {os.path.join(base, name) for base, _, names in os.walk(root) for name in names}
        assert len(found) == 2 * len(keys)


@examples(400)
@given(KEYS)
def test_a_name_without_a_fault_is_a_path_below_its_folder(name: str) -> None:
    """Nothing has to be normalised but empty segments."""
    segments = [segment for segment in name.split("/") if segment]
    if fault_of(name) is None:
        assert posixpath.normpath(f"/folder/{name}").split("/") == ["", "folder", *segments]
        assert segments
        assert not any(STEERING.search(segment) for segment in segments)
        assert all(len(os.fsencode(segment)) <= 255 for segment in segments)
    # The last look, at a path that a placement has made of it.
    for path in (f"/folder/{name}", f"/folder{name}", f"/{name}", name):
        if fault_of_place(path, "/folder") is None:
            assert posixpath.normpath(path).startswith("/folder/")
            assert not STEERING.search(path)


@examples(200)
@given(KEYS)
def test_a_refused_place_is_shown_without_what_steers_a_terminal(name: str) -> None:
    want = Want("t", "c:1", OPENER, Named(("k",)), At(f"/folder/{name}", "/folder"))
    listing = Listing(((want, (RemoteObject("k", 0),)),), ())
    message = ""
    try:
        closed_plan(listing)
    except UnsafeNameError as error:
        message = str(error)
    assert not STEERING.search(message.replace("\n", ""))
    assert message or fault_of_place(f"/folder/{name}", "/folder") is None


PLAIN = st.lists(
    st.sampled_from(["a", "b", "A", "\u00e9", "e\u0301", ".x", "c d"]), min_size=1, max_size=4
)


@examples(300)
@given(st.lists(PLAIN.map("/".join), min_size=1, max_size=6, unique=True))
def test_names_are_refused_just_when_the_file_system_could_not_hold_them(keys: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            planned(keys, folder)
        except UnsafeNameError:
            accepted = False
        else:
            accepted = True
        assert os.listdir(folder) == []
        assert accepted is _can_be_held(keys, folder)


def _can_be_held(keys: Sequence[str], folder: str) -> bool:
    """By trying."""
    for key in keys:
        path = f"{folder}/{key}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except OSError:
            return False
    return True
