"""What holds for any file in the folder of kaiwo's state.

Examples are drawn from a fixed seed, so that every run tests the same ones; ``make trials`` draws
many more, from another seed each time.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kaiwo.jobs import Transfer
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.state.earlier_runs import earlier_runs
from kaiwo.state.folder import journal_path, manifest_path
from kaiwo.state.manifest import Manifest
from kaiwo.state.records import Record, sealed
from tests.support.faulty import PatternOpener, held_by, put, transfer_of
from tests.support.trials_length import examples

OPENER = PatternOpener(())


COUNT = 4


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Transfer], bytes]:
    """A root with some files in place, and the manifest that says so."""
    root = tmp_path_factory.mktemp("root")
    transfers = [
        transfer_of(
            OPENER,
            RemoteObject(f"d/{n}", n, f"etag{n}", None, Checksum("md5", f"{n:032x}")),
            root,
            n,
        )
        for n in range(COUNT)
    ]
    manifest = Manifest(str(root))
    manifest.remember([put(each, bytes(each.object.size)) for each in transfers])
    manifest.close()
    return root, transfers, Path(manifest_path(str(root), None)).read_bytes()


def believed(root: Path, transfers: Sequence[Transfer]) -> dict[int, Record]:
    """The records by which a run would leave files as they are."""
    manifest = Manifest(str(root))
    held = {each.index: held_by(manifest, each) for each in transfers}
    return {index: record for index, record in held.items() if record is not None}


def recorded(transfers: Sequence[Transfer]) -> dict[int, Record]:
    """What a manifest has to say of these files, as they are now."""
    return {
        each.index: Record(
            os.path.relpath(each.target, each.root),
            each.opener.origin,
            each.source,
            each.object.size,
            each.object.etag,
            each.object.version,
            os.stat(each.target).st_mtime_ns,
            each.object.checksum,
            checked=True,
        )
        for each in transfers
    }


def check_that_it_goes_on(root: Path, transfers: Sequence[Transfer]) -> None:
    """A run that remembers all of it is believed by the next, unless the file is a newer one's."""
    path = Path(manifest_path(str(root), None))
    before = path.read_bytes()
    manifest = Manifest(str(root))
    manifest.remember([put(each, bytes(each.object.size)) for each in transfers])
    manifest.close()
    header = b'{"kaiwo-manifest": 1}\n'
    if path.read_bytes() == before:
        own = before.startswith(header) or header.startswith(before)
        assert not own, "what begins as kaiwo's own is appended to, also where that is torn"
    else:
        assert believed(root, transfers) == recorded(transfers)


Published = tuple[Path, list[Transfer], bytes]


@examples(150)
@given(st.integers(0, 2_000))
def test_a_torn_manifest_is_believed_as_far_as_it_goes(remembered: Published, length: int) -> None:
    root, transfers, written = remembered
    path = Path(manifest_path(str(root), None))
    cut = written[: length % (len(written) + 1)]
    for each in transfers:
        put(each, bytes(each.object.size))
    path.write_bytes(_restated(written, transfers)[: len(cut)])
    lines = len(path.read_bytes().splitlines(keepends=True))
    whole = path.read_bytes().count(b"\n")
    expected = recorded(transfers[: max(whole - 1, 0)])
    found = believed(root, transfers)
    # A last line that only lacks its end is complete.
    assert expected.items() <= found.items()
    assert len(found) <= max(lines - 1, 0)
    assert found.items() <= recorded(transfers).items()
    check_that_it_goes_on(root, transfers)


def _restated(written: bytes, transfers: Sequence[Transfer]) -> bytes:
    """The manifest with the modification times that the files have now."""
    header, *lines = written.decode().splitlines()
    documents = [json.loads(line) for line in lines]
    for document, each in zip(documents, transfers, strict=True):
        document["mtime_ns"] = os.stat(each.target).st_mtime_ns
        del document["crc32"]
    return f"{header}\n".encode() + b"".join(
        sealed(json.dumps(each).encode()) for each in documents
    )


@examples(400)
@given(st.data())
def test_a_manifest_with_other_bytes_in_it_is_not_believed_there(
    remembered: Published, data: st.DataObject
) -> None:
    root, transfers, manifest = remembered
    for each in transfers:
        put(each, bytes(each.object.size))
    good = _restated(manifest, transfers)
    path = Path(manifest_path(str(root), None))
    position = data.draw(st.integers(0, len(good) - 1))
    flipped = bytes([good[position] ^ data.draw(st.integers(1, 255))])
    path.write_bytes(good[:position] + flipped + good[position + 1 :])
    found = believed(root, transfers)
    line = good[:position].count(b"\n")
    assert found.items() <= recorded(transfers).items()
    # One line is lost, or two that have become one; of another version, all are.
    assert not found if line == 0 else len(found) >= COUNT - 2
    check_that_it_goes_on(root, transfers)


@examples(300)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(lambda text: text.encode(errors="replace")),
    ),
    st.booleans(),
)
def test_garbage_in_a_manifest_says_nothing(
    remembered: Published, garbage: bytes, after: bool
) -> None:
    root, transfers, written = remembered
    for each in transfers:
        put(each, bytes(each.object.size))
    path = Path(manifest_path(str(root), None))
    path.write_bytes(_restated(written, transfers) + garbage + b"\n" if after else garbage)
    assert believed(root, transfers) == (recorded(transfers) if after else {})
    check_that_it_goes_on(root, transfers)


JSON: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
RECORDS = st.dictionaries(
    st.sampled_from([*msgspec.structs.fields(Record)]).map(lambda field: field.name),
    JSON | st.sampled_from(["d/1", "etag1", 1]),
)


@examples(400)
@given(st.one_of(st.lists(RECORDS, max_size=4), st.binary(max_size=40)))
@example([{"target": "\ud800"}])
@example(b'{"x": ' + b"[" * 2_000 + b"]" * 2_000 + b"}")
@example(rb'{"target": "\ud800", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
def test_whole_lines_that_are_foreign_say_nothing(
    remembered: Published, foreign: list[dict[str, object]] | bytes
) -> None:
    """As another program would write them that knows how lines are sealed."""
    root, transfers, written = remembered
    for each in transfers:
        put(each, bytes(each.object.size))
    texts = (
        [foreign] if isinstance(foreign, bytes) else [json.dumps(one).encode() for one in foreign]
    )
    path = Path(manifest_path(str(root), None))
    path.write_bytes(_restated(written, transfers) + b"".join(map(sealed, texts)))
    assert believed(root, transfers) == recorded(transfers)
    check_that_it_goes_on(root, transfers)


FIELDS = (
    "begin",
    "part",
    "end",
    "folder",
    "target",
    "temporary",
    "origin",
    "source",
    "identity",
    "crc32c",
)
LINES = st.dictionaries(
    st.sampled_from(FIELDS),
    JSON | st.sampled_from(["../x", "/etc", "a/.kaiwo-1-0.part"]),
    max_size=8,
)


TEMPORARY = ".kaiwo-1-0.part"
NAME = st.text("ab .\u00e9-", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
INSIDE = st.lists(NAME, min_size=1, max_size=3).map("/".join)
#: Nobody's temporary file, another run's, a link's: not what that run would go on with.
FOREIGN = (
    "model.bin",
    "kaiwo-1-0.part",
    ".kaiwo-1.part",
    ".kaiwo-2-0.part",
    ".kaiwo-11-0.part",
    ".kaiwo-1-0.link",
    ".kaiwo-1-0.part.bin",
    f"{TEMPORARY}/model.bin",
)


@st.composite
def outside(draw: st.DrawFn) -> str:
    """A path that leads out of its folder, or that no file can have."""
    names = draw(st.lists(NAME, max_size=3))
    if draw(st.booleans()):
        return "/" + "/".join(["etc", *names])
    hostile = draw(st.sampled_from(["..", "a\0", "\0", "\ud800", "b\udbff", "\udc7f", "\udd00"]))
    names.insert(draw(st.integers(0, len(names))), hostile)
    return "/".join(names)


NO_TEXT = JSON.filter(lambda value: not isinstance(value, str))
HOSTILE_FIELDS: st.SearchStrategy[tuple[str, object]] = st.one_of(
    st.tuples(st.sampled_from(["folder", "target"]), outside()),
    st.tuples(st.just("temporary"), outside().map(lambda folder: f"{folder}/{TEMPORARY}")),
    st.tuples(
        st.just("temporary"),
        st.tuples(INSIDE, st.sampled_from(FOREIGN)).map("/".join) | st.sampled_from(FOREIGN),
    ),
    st.tuples(st.sampled_from(["folder", "target", "temporary", "origin", "source"]), NO_TEXT),
    st.tuples(
        st.just("identity"),
        st.sampled_from([None, {}, [], ["e", None], ["e", None, "1"], [1, None, 1], "e"]),
    ),
)


def journal_of(*entries: Mapping[str, object]) -> str:
    """The text of a journal: the folder, the beginning and a part of each object."""
    lines: list[dict[str, object]] = [{"kaiwo-journal": 1}]
    for number, entry in enumerate(entries):
        fields = {"origin": "o", "source": "s", "identity": ["e", None, 1], **entry}
        lines.append({"folder": fields.pop("folder")})
        lines.append({"begin": number, **fields})
        lines.append({"part": [number, 0, 1], "crc32c": 7})
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def read_journal(folder: str, text: str) -> tuple[list[str], list[str]]:
    """Folders and targets that a journal names, after a look at each path in it."""
    root, state_dir = f"{folder}/root", f"{folder}/state"
    journal = Path(journal_path(root, state_dir, "1"))
    journal.parent.mkdir()
    journal.write_bytes(text.encode(errors="surrogatepass"))
    (found,) = earlier_runs(root, state_dir)
    targets = [entry.target for entry in found.entries]
    for path in (*found.folders, *targets, *(each.temporary for each in found.entries)):
        assert f"{path}/".startswith(f"{root}/")
        assert os.path.normpath(path) == path
        assert b"\0" not in os.fsencode(path)
    assert all(re.search(r"/\.kaiwo-1-[^/]*\.part$", each.temporary) for each in found.entries)
    return [path[len(root) + 1 :] for path in found.folders], [
        path[len(root) + 1 :] for path in targets
    ]


@examples(300)
@given(INSIDE, INSIDE)
def test_a_journal_of_names_inside_its_root_is_believed(one: str, other: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        entries = [
            {"folder": name, "target": f"{name}/x", "temporary": f"{name}/{TEMPORARY}"}
            for name in (one, other)
        ]
        found = read_journal(folder, journal_of(*entries))
    assert found == ([one, other], [f"{one}/x", f"{other}/x"])


@examples(600)
@given(INSIDE, HOSTILE_FIELDS)
def test_a_journal_of_anything_names_nothing_outside_its_root(
    name: str, hostile: tuple[str, object]
) -> None:
    """What is good in it but one field: the line with that field is the only one that is lost."""
    good = {"folder": name, "target": f"{name}/x", "temporary": f"{name}/{TEMPORARY}"}
    field, value = hostile
    with tempfile.TemporaryDirectory() as folder:
        folders, targets = read_journal(folder, journal_of(good | {field: value}, good))
    lost_folder = field == "folder"
    assert folders == [name] * (1 if lost_folder else 2)
    assert targets == [f"{name}/x"] * (2 if lost_folder else 1)


@examples(300)
@given(st.lists(st.one_of(LINES.map(json.dumps), st.text(max_size=30)), max_size=6))
def test_a_journal_of_any_lines_is_read_without_an_error(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read_journal(folder, "\n".join(['{"kaiwo-journal": 1}', *lines]))
