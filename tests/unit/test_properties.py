"""What holds for any name, any glob, any state file, any configuration and any URL.

Examples are drawn from a fixed seed, so that every run tests the same ones; ``make trials`` draws
many more, from another seed each time.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kaiwo.config import fetch_url
from kaiwo.config.document import parse
from kaiwo.config.loader import Config, build, load
from kaiwo.errors import ConfigError, UnsafeNameError
from kaiwo.files.names import fault_of, fault_of_place
from kaiwo.files.placement import At, Under
from kaiwo.jobs import Plan, Transfer, Want
from kaiwo.objects import Checksum, Folder, Named, RemoteObject
from kaiwo.planning.gather import Listing
from kaiwo.state.earlier_runs import earlier_runs
from kaiwo.state.folder import journal_path, manifest_path
from kaiwo.state.manifest import Manifest, Record, sealed
from kaiwo.workers.globs import matcher
from tests.support.faulty import PatternOpener, closed_plan, held_by, put, transfer_of
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


# --- names --------------------------------------------------------------------------------------

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


# --- globs --------------------------------------------------------------------------------------

LETTERS = "ab*?[]!-.{}"
PARTS = st.one_of(
    st.text(LETTERS, min_size=1, max_size=4),
    st.sampled_from(["*", "**", "a", "b", "[ab]", "[!a]", "[a-b]", "?", "a*", "*.b", "{a,b}"]),
)
GLOBS = st.one_of(
    st.lists(PARTS, min_size=1, max_size=4).map("/".join),
    st.text(LETTERS + "/", min_size=1, max_size=8),
)
NAMES = st.lists(st.text("ab*?[]!-.{}", min_size=1, max_size=3), min_size=1, max_size=4)


def by_fsspec(keys: Sequence[str], glob: str) -> set[str]:
    """The files that fsspec's own glob finds below a folder, by their relative names."""
    fs = MemoryFileSystem(skip_instance_cache=True)
    fs.store, fs.pseudo_dirs = {}, [""]
    for key in keys:
        fs.pipe_file(f"/root/{key}", b"")
    found = fs.glob(f"/root/{glob}", detail=True)
    return {path[len("/root/") :] for path, info in found.items() if info["type"] == "file"}


@examples(800)
@given(st.lists(NAMES.map("/".join), max_size=8, unique=True), GLOBS)
@example(["a/b", "b"], "**")
@example(["a/b", "b"], "**/*")
@example(["a/b", "a/c/b", "b"], "**/b")
@example(["a/b", "b"], "a/")
@example(["a/b", "a/c/d"], "*/")
@example(["[", "a"], "[")
@example(["a]", "]"], "[]")
def test_a_glob_selects_the_files_that_fsspecs_own_glob_finds(keys: list[str], glob: str) -> None:
    # A store may hold "a" and "a/b", the memory file system cannot.
    assume(not any(one.startswith(f"{other}/") for one in keys for other in keys))
    # Only folders match what ends in "/", fsspec's rules say; but "a/" finds the file "a" there.
    assume(not glob.endswith("/") or glob.rstrip("/") not in keys)
    try:
        expected = by_fsspec(keys, glob)
    except ValueError:
        with pytest.raises(ValueError, match=r"\*\*"):
            matcher(Folder("", (glob,)))
        return
    selected = matcher(Folder("", (glob,)))
    assert {key for key in keys if selected(key)} == expected


# --- what kaiwo remembers -----------------------------------------------------------------------

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


# --- configurations -----------------------------------------------------------------------------

SECRET = "wJalrXUtnFEMI"
GOOD = f"""\
download_root: /workload
max_workers: 4
download_items:
  - type: s3
    name: models
    endpoint_url: http://127.0.0.1:9000
    access_key_id: key
    secret_key: {SECRET}
    buckets:
      - name: data
        items:
          - folder: {{folder: models/, target_path: models, glob: "**/*.bin"}}
          - file: a/b.bin
            target_path: &there there/b.bin
  - type: gcs
    anonymous: true
    buckets: [{{name: other, items: [{{folder: "", target_path: x}}]}}]
  - type: azure-blob
    account_name: me
    containers:
      - name: c
        items:
          - {{file: k, target_path: y/}}
  - type: hf
    repo_id: owner/repo
    files: [config.json]
    target_path: hf
  - type: url
    items:
      - file: https://127.0.0.1/x.bin
        target_path: z
"""
PUNCTUATION = (
    "\n",
    " ",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    "|",
    ">",
    "#",
    "?",
    "%",
    "@",
)
WORDS = (
    "~",
    "null",
    "2024-01-01",
    "2024-99-99",
    "0x1",
    "1e400",
    ".nan",
    "1:1",
    "type: s3",
    "download_items:",
)
YAML = (
    "&a [*a]",
    "? [a]\n",
    "<<: 1",
    "!other {a: b}",
    "&a",
    "*a",
    "<<: *there",
    "!!set",
    "!!binary x",
    "!!int x",
    "!!python/object:os.system x",
    "---\n",
)
INVISIBLE = ("\ufeff", "\0", "\u2028", "\t", "\x85")
FRAGMENTS = st.one_of(
    st.sampled_from((*PUNCTUATION, *WORDS, *YAML, *INVISIBLE)), st.text(max_size=4)
)


def outcome(text: str) -> str | None:
    """None for a configuration, the message of a refusal; anything else is a defect."""
    try:
        found = build(parse(text, "c.yaml"), {})
    except ConfigError as error:
        return error.message
    assert isinstance(found, Config)
    return None


def check_refusal(message: str | None) -> None:
    if message is not None:
        for line in message.split("\n"):
            assert re.match(r"c\.yaml:[1-9]\d*: ", line), message


@example("&a [*a]")
@example("&a {b: *a}")
@example("{[a]: b}")
@example("<<: 1")
@example("!!set {a}")
@example("!other {a: b}")
@example("download_items: [{type: [a]}]")
@example("download_items: [{type: {a: b}}]")
@examples(300)
@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=12).map("".join)))
def test_any_text_is_a_configuration_or_refused_with_its_line(text: str) -> None:
    check_refusal(outcome(text))


GOOD_LINES = GOOD.splitlines(keepends=True)
#: Where a key begins, by itself in its line: the line's number, and how far it is indented.
KEY_LINES = {
    number: match[1]
    for number, line in enumerate(GOOD_LINES)
    if (match := re.match(r"( *)[a-z_]+:", line))
}


@pytest.mark.parametrize("number", KEY_LINES)
@pytest.mark.parametrize(
    ("fault", "told"), [("bogus: 1", "unknown key 'bogus'"), ("@", "not valid YAML")]
)
def test_a_fault_is_told_with_its_own_line(number: int, fault: str, told: str) -> None:
    lines = [*GOOD_LINES]
    lines.insert(number, f"{KEY_LINES[number]}{fault}\n")
    message = outcome("".join(lines)) or ""
    assert message.startswith(f"c.yaml:{number + 1}: ")
    assert told in message
    assert "\n" not in message


def test_the_configuration_that_is_changed_below_is_a_good_one() -> None:
    assert outcome(GOOD) is None


@examples(500)
@given(st.data())
def test_a_configuration_with_any_fault_is_refused_with_file_and_line(data: st.DataObject) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(start + data.draw(st.sampled_from([0, 0, 1, 5, 30])), len(text))
        text = text[:start] + data.draw(FRAGMENTS) + text[end:]
    check_refusal(outcome(text))


@examples(300)
@given(st.data())
def test_no_fault_elsewhere_shows_a_secret(data: st.DataObject) -> None:
    lines = GOOD.splitlines(keepends=True)
    secret = next(number for number, line in enumerate(lines) if SECRET in line)
    number = data.draw(st.sampled_from([n for n in range(len(lines)) if n != secret]))
    line = lines[number]
    start = data.draw(st.integers(0, len(line) - 1))
    lines[number] = (
        line[:start] + data.draw(FRAGMENTS) + line[start + data.draw(st.integers(0, 3)) :]
    )
    assert SECRET not in (outcome("".join(lines)) or "")


@examples(300)
@given(st.sampled_from([*PUNCTUATION, *YAML, *INVISIBLE, "!", "&", "*"]), st.booleans())
@example("*", True)
@example("!", True)
def test_no_fault_in_its_own_line_shows_a_secret(fragment: str, before: bool) -> None:
    # With a colon behind it, it is a key, and an unknown key is shown.
    assume(not fragment.startswith(":") or before)
    text = f"{fragment}{SECRET}" if before else f"{SECRET}{fragment}"
    assert SECRET not in (outcome(GOOD.replace(SECRET, text)) or "")


@examples(150)
@given(st.binary(max_size=60))
def test_a_file_of_any_bytes_is_a_configuration_or_refused(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        with pytest.raises(ConfigError) as caught:
            load(file.name)
    assert caught.value.message.startswith(f"{file.name}:")


# --- URLs ---------------------------------------------------------------------------------------

SCHEMES = st.sampled_from(["s3", "gs", "az", "abfs", "hf", "https", "file", "S3", "memory", "sftp"])
PIECES = st.lists(st.sampled_from([*"ab/@:*?[]#%. ", "%ff", "%2F", "%41"]), max_size=12)


@example("https://host/%ff")
@example("https://host/a%2Fb/%ff*")
@examples(500)
@given(
    st.one_of(
        st.text(max_size=30),
        st.tuples(SCHEMES, st.text(max_size=30)).map("://".join),
        st.tuples(SCHEMES, PIECES.map("".join)).map("://".join),
        st.tuples(st.text(max_size=5), st.just("a/b")).map("://".join),
    )
)
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        found = fetch_url.parse(text)
    except ConfigError:
        return
    scheme = text.partition("://")[0].lower()
    assert scheme in known_implementations or scheme in ("hf", "az", "azure", "gs", "gcs")
    assert isinstance(found.own_name, str)
    assert found.is_folder in (True, False)
    if found.type != "url":
        assert found.container
        assert "/" not in found.container or found.type == "hf"


@examples(300)
@given(
    st.text("ab-.", min_size=3, max_size=8), st.text("ab/@:#% .\u00e9&=+~", min_size=1, max_size=20)
)
def test_a_key_without_wildcards_is_taken_as_it_is(bucket: str, key: str) -> None:
    for scheme in ("s3", "gs", "az"):
        found = fetch_url.parse(f"{scheme}://{bucket}/{key}")
        assert (found.container, found.path, found.glob) == (bucket, key, None)
        assert found.is_folder is key.endswith("/")
