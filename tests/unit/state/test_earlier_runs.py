"""Journals of earlier runs: what is believed of them, what is removed, and hostile ones."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from kaiwo.jobs import RANGE, Crc, Mark, Transfer
from kaiwo.objects import Checksum
from kaiwo.state.state import State
from tests.support.faulty import (
    FaultyOpener,
    FaultyStore,
    content,
    files,
    in_place,
    left,
    plan_of,
    put,
)
from tests.support.trials_length import examples
from tests.unit.state.killed_runs import (
    DEAD,
    NOW,
    SIZE,
    STARTS,
    after,
    all_dead,
    believed,
    big,
    edited,
    journal,
    journals,
    killed,
    transfer,
)


def test_a_later_run_looks_for_what_was_written_down(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store, 2 * RANGE, 0, 3 * RANGE)
    assert believed(tmp_path, store) == [0, 2 * RANGE, 3 * RANGE]


def test_what_has_no_ranges_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store)
    assert believed(tmp_path, store) is None


def test_what_was_given_its_name_already_is_looked_for_where_it_may_be(tmp_path: Path) -> None:
    """By a run that was killed between the rename and the manifest's line."""
    store = big()
    killed(tmp_path, store, *STARTS).rename(tmp_path / "big")
    each = transfer(tmp_path, store, NOW)
    partial = State(None, NOW).partial_download(each, published=True)
    assert partial is not None
    assert sorted(partial.marks) == [*STARTS]
    assert State(None, NOW).partial_download(each) is None


def _with(**changed: Any) -> Callable[[Transfer], Transfer]:
    return lambda each: replace(each, object=replace(each.object, **changed))


@pytest.mark.parametrize(
    "change",
    [
        _with(checksum=Checksum("md5", "0" * 32)),
        _with(checksum=None, etag="another"),
        _with(checksum=None, etag=None, version="7"),
        _with(variant="of another query"),
        _with(size=SIZE + 1),
        _with(key="other"),
        lambda each: replace(each, opener=FaultyOpener(big(), "faulty://elsewhere")),
        lambda each: replace(each, target=f"{each.target}2"),
        lambda each: replace(each, blob=f"{each.root}/blobs/etag"),
    ],
    ids=[
        "checksum",
        "etag",
        "nothing to compare",
        "query",
        "size",
        "key",
        "origin",
        "target",
        "placement",
    ],
)
def test_what_differs_in_anything_is_not_believed(
    tmp_path: Path, change: Callable[[Transfer], Transfer]
) -> None:
    store = big()
    killed(tmp_path, store, 0)
    assert believed(tmp_path, store) == [0]
    assert believed(tmp_path, store, change(transfer(tmp_path, store, NOW))) is None


@pytest.mark.parametrize(
    "change",
    [_with(etag="another"), _with(version="7"), _with(etag=None), _with(modified_ns=1)],
    ids=["etag", "version", "no etag", "date"],
)
def test_what_has_the_same_checksum_has_the_same_bytes(
    tmp_path: Path, change: Callable[[Transfer], Transfer]
) -> None:
    store = big()
    killed(tmp_path, store, 0)
    assert believed(tmp_path, store, change(transfer(tmp_path, store, NOW))) == [0]


@pytest.mark.parametrize("now_ns", [5_000_000_000, 6_000_000_000])
def test_what_only_a_date_identifies_is_believed_while_the_date_stays(
    tmp_path: Path, now_ns: int
) -> None:
    store = FaultyStore({"big": content(SIZE)}, None)
    bare = replace(store.remote("big"), etag=None, modified_ns=5_000_000_000)
    store.stated["big"] = bare
    killed(tmp_path, store, 0)
    store.stated["big"] = replace(bare, modified_ns=now_ns)
    same = now_ns == bare.modified_ns
    assert believed(tmp_path, store) == ([0] if same else None)


@pytest.mark.parametrize(
    "header",
    [
        {"kaiwo-journal": 2, "run": DEAD},
        {"kaiwo-journal": "1", "run": DEAD},
        {"kaiwo-journal": 1, "run": 7},
        {"kaiwo-manifest": 1},
        {"kaiwo-manifest": 1, "run": DEAD},
        [],
        None,
    ],
    ids=str,
)
def test_a_journal_of_another_kind_is_neither_believed_nor_touched(
    tmp_path: Path, header: Any
) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0)
    edited(tmp_path, lambda old: [header, *old[1:]])
    text = journal(tmp_path).read_bytes()
    assert believed(tmp_path, store) is None
    assert after(tmp_path, store).report.ok
    assert journal(tmp_path).read_bytes() == text
    assert temporary.exists()


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, RANGE + 1),
        (1, RANGE),
        (RANGE // 2, RANGE // 2),
        (3 * RANGE, RANGE),
        (3 * RANGE, 0),
        (4 * RANGE, 5 - RANGE),
        (8 * RANGE, RANGE),
        (-RANGE, RANGE),
        (10**30, RANGE),
        (0, -(10**30)),
    ],
)
def test_a_range_that_is_none_of_the_objects_is_not_believed(
    tmp_path: Path, start: int, length: int
) -> None:
    store = big()
    killed(tmp_path, store)
    edited(tmp_path, lambda old: [*old, {"part": [0, start, length], "crc64nvme": 1}])
    assert believed(tmp_path, store) is None


def test_a_range_counts_as_far_as_it_is_written(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store)
    edited(tmp_path, lambda old: [*old, {"part": [0, RANGE, 17], "crc64nvme": 1}])
    partial = State(None, NOW).partial_download(transfer(tmp_path, store, NOW))
    assert partial is not None
    assert partial.marks == {RANGE: Mark(RANGE + 17, Crc("crc64nvme", 1))}


@pytest.mark.parametrize("value", ["1", 1.5, None, [1]], ids=str)
@pytest.mark.parametrize("field", ["number", "start", "length", "crc64nvme"])
def test_a_part_with_a_field_of_another_type_says_nothing(
    tmp_path: Path, field: str, value: Any
) -> None:
    store = big()
    killed(tmp_path, store, RANGE)
    fields = {"number": 0, "start": 0, "length": RANGE, "crc64nvme": 1} | {field: value}
    part = {"part": [fields["number"], fields["start"], fields["length"]]}
    edited(tmp_path, lambda old: [*old, part | {"crc64nvme": fields["crc64nvme"]}])
    assert believed(tmp_path, store) == [RANGE]


def test_the_last_word_on_a_range_counts_and_what_is_ended_is_not_there(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store, 0)
    edited(tmp_path, lambda old: [*old, {"part": [0, 0, RANGE], "crc32c": 7}])
    partial = State(None, NOW).partial_download(transfer(tmp_path, store, NOW))
    assert partial is not None
    assert partial.marks == {0: Mark(RANGE, Crc("crc32c", 7))}
    edited(tmp_path, lambda old: [*old, {"end": 0}, {"part": [0, RANGE, RANGE], "crc32c": 7}])
    assert believed(tmp_path, store) is None


def test_torn_at_any_byte_the_whole_lines_count(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store, *STARTS)
    text = journal(tmp_path).read_bytes()
    ends = [number for number, byte in enumerate(text) if byte == ord("\n")]
    for cut in range(len(text)):
        journal(tmp_path).write_bytes(text[:cut])
        # A line is whole without its end, too.
        whole = sum(end <= cut for end in ends) - 3
        expected = list(STARTS[:whole]) if whole > 0 else None
        assert believed(tmp_path, store) == expected, cut


@pytest.mark.parametrize(
    "garbage",
    [b"\0\n", b"\xff\xfe\n", b"[" * 9_999 + b"\n", b"9" * 9_999 + b"\n", b'{"part": 1}\n'],
)
def test_lines_of_garbage_are_skipped(tmp_path: Path, garbage: bytes) -> None:
    store = big()
    killed(tmp_path, store, *STARTS)
    header, *rest = journal(tmp_path).read_bytes().splitlines(keepends=True)
    journal(tmp_path).write_bytes(header + b"".join(garbage + line for line in rest) + garbage)
    assert believed(tmp_path, store) == list(STARTS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", "/big"),
        ("target", "x/../big"),
        ("target", "big\0"),
        ("target", "\ud800"),
        ("target", 7),
        ("temporary", "/etc/passwd"),
        ("temporary", "../.kaiwo-dead01-0.part"),
        ("temporary", "sub/../.kaiwo-dead01-0.part"),
        ("temporary", "sub/.kaiwo-dead01-0.part"),
        ("temporary", ".kaiwo-other-0.part"),
        ("temporary", ".kaiwo-dead01-0.link"),
        ("temporary", ".kaiwo-dead01-\ud800.part"),
        ("temporary", ".kaiwo-dead01-\0.part"),
        ("temporary", "precious"),
        ("temporary", None),
        ("origin", None),
        ("source", 1),
        ("identity", ["e", None]),
        ("identity", ["e", None, str(SIZE)]),
        ("identity", "e"),
    ],
)
def test_an_entry_that_is_not_as_kaiwo_writes_them_is_not_believed(
    tmp_path: Path, field: str, value: Any
) -> None:
    store = big()
    killed(tmp_path, store, 0)
    (tmp_path / "precious").write_bytes(b"kept")
    edited(
        tmp_path, lambda old: [{**line, field: value} if field in line else line for line in old]
    )
    assert believed(tmp_path, store) is None
    assert after(tmp_path, store).report.ok
    assert in_place(tmp_path) == {**store.objects, "precious": b"kept"}


def test_a_journal_that_cannot_be_read_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal(tmp_path).mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert after(tmp_path, big()).report.ok
    assert "kaiwo ignores it" in caplog.text


def test_names_that_are_patterns_elsewhere_are_names(tmp_path: Path) -> None:
    root, store = tmp_path / "[a]*?", big()
    killed(root, store, 0)
    assert believed(root, store) == [0]


def test_leftovers_of_small_objects_are_removed_and_with_them_the_journal(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1", "sub/b": b"2"})
    plan = plan_of(FaultyOpener(store), tmp_path)
    memory = State(None, DEAD)
    memory.note_folders(plan.transfers)
    memory.close()
    names = (f".kaiwo-{DEAD}-0.part", f"sub/.kaiwo-{DEAD}-1f.part", f"sub/.kaiwo-{DEAD}-1.2.part")
    kept = (".kaiwo-ffff-0.part", f".kaiwo-{DEAD}0-0.part", f"kaiwo-{DEAD}-0.part", "sub/x.part")
    (tmp_path / "sub").mkdir()
    for name in (*names, *kept):
        (tmp_path / name).write_bytes(b"leftover")
    assert after(tmp_path, store).report.ok
    assert files(tmp_path) == {**store.objects, **dict.fromkeys(kept, b"leftover")}
    assert journals(tmp_path) == []


def test_what_belongs_to_a_run_that_is_alive_is_let_alone(tmp_path: Path) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0)
    small = tmp_path / f".kaiwo-{DEAD}-7.part"
    small.write_bytes(b"on its way")
    asked: list[tuple[str, str]] = []

    def dead(root: str, run: str) -> bool:
        asked.append((root, run))
        return False

    other = FaultyStore({"other": b"1"})
    assert after(tmp_path, other, dead=dead).report.ok
    assert set(asked) == {(str(tmp_path), DEAD)}
    assert temporary.exists()
    assert small.exists()
    assert journals(tmp_path) == [DEAD]


def test_targets_that_are_not_this_runs_affair_keep_their_files(tmp_path: Path) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0, RANGE)
    small = tmp_path / f".kaiwo-{DEAD}-7.part"
    small.write_bytes(b"of nobody")
    other = FaultyStore({"other": b"1"})
    assert after(tmp_path, other).report.ok
    assert (temporary.exists(), small.exists(), journals(tmp_path)) == (True, False, [DEAD])
    assert after(tmp_path, store).item("big").status == "resumed"
    assert (left(tmp_path), journals(tmp_path)) == ([], [])


def test_what_was_published_before_the_kill_leaves_only_a_journal_to_remove(tmp_path: Path) -> None:
    store = big()
    temporary = killed(tmp_path, store, *STARTS)
    temporary.rename(tmp_path / "big")
    other = FaultyStore({"other": b"1"})
    assert after(tmp_path, other).report.ok
    assert (journals(tmp_path), set(in_place(tmp_path))) == ([], {"big", "other"})


@pytest.mark.parametrize("text", ["", '{"kaiwo-jou', '{"kaiwo-journal": 1'])
def test_a_journal_that_was_torn_in_its_first_line_is_removed(tmp_path: Path, text: str) -> None:
    journal(tmp_path).parent.mkdir()
    journal(tmp_path).write_text(text)
    assert after(tmp_path, FaultyStore({"a": b"1"})).report.ok
    assert journals(tmp_path) == []


def test_a_link_in_the_folder_is_removed_and_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.write_bytes(b"somebody's")
    store = big()
    killed(root, store, 0)
    (root / f".kaiwo-{DEAD}-9.part").symlink_to(outside)
    assert after(root, store).report.ok
    assert left(root) == []
    assert outside.read_bytes() == b"somebody's"


def test_what_another_run_did_meanwhile_is_seen_when_it_is_looked_at_anew(tmp_path: Path) -> None:
    store = big()
    each, memory = transfer(tmp_path, store, NOW), State(None, NOW)
    assert memory.partial_download(each) is None
    killed(tmp_path, store, 0)
    put(each, b"")
    assert memory.partial_download(each) is None
    assert not memory.refresh()
    assert memory.partial_download(each) is not None
    memory.close()


_names = st.sampled_from(
    [
        "big",
        ".",
        "",
        "/",
        "..",
        "../outside",
        "../outside/.kaiwo-dead01-0.part",
        "a/../../outside",
        "sub",
        "sub/.kaiwo-dead01-0.part",
        "precious",
        ".kaiwo",
        ".kaiwo/manifest.jsonl",
        ".kaiwo-dead01-0.part",
        ".kaiwo-dead01-\udcff.part",
        ".kaiwo-dead01-\ud800.part",
        "\ud800",
        "\0",
        "x" * 300,
        "x/" * 3_000,
    ]
)


_numbers = st.sampled_from([0, 1, -1, RANGE, -RANGE, 5, SIZE, 2**63, 10**40, -(10**40)])


_values = st.none() | st.booleans() | _numbers | _names | st.floats() | st.text(max_size=9)


_anything = st.recursive(
    _values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)


_identities = st.tuples(_values, _values, _values) | st.just((big().remote("big").etag, None, SIZE))


_documents = st.one_of(
    _anything,
    st.fixed_dictionaries({"folder": _names | _anything}),
    st.fixed_dictionaries(
        {
            "begin": _numbers | _values,
            "target": _names | _values,
            "temporary": _names | _values,
            "origin": st.just("faulty://host") | _values,
            "source": st.just("faulty://bucket/big") | _values,
            "identity": _identities,
        }
    ),
    st.fixed_dictionaries(
        {"part": st.lists(_numbers | _values, min_size=2, max_size=4), "crc64nvme": _numbers}
    ),
    st.fixed_dictionaries({"end": _numbers | _values}),
)


def _begin(**fields: Any) -> Mapping[str, Any]:
    identity = [big().remote("big").etag, None, SIZE]
    where = {"origin": "faulty://host", "source": "faulty://bucket/big", "identity": identity}
    names = {"target": "big", "temporary": f".kaiwo-{DEAD}-0.part"}
    return {"begin": 0, **names, **where, **fields}


@given(st.lists(_documents, max_size=8))
@example([_begin(temporary=".kaiwo-dead01-\ud800.part"), {"part": [0, 0, RANGE], "crc32c": 1}])
@example([{"folder": "\ud800"}])
@example([{"folder": "x/" * 3_000}])
@example([_begin(target="other", temporary="../outside/.kaiwo-dead01-0.part")])
@example([_begin(), {"part": [0, -RANGE, RANGE], "crc64nvme": 1}])
@examples(60)
def test_whatever_a_journal_says_nothing_but_temporary_files_of_its_run_is_touched(
    documents: list[Any],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, outside = Path(folder, "root"), Path(folder, "outside")
        for place in (root, root / "sub", outside):
            place.mkdir()
            (place / "precious").write_bytes(b"kept")
            (place / f".kaiwo-{DEAD}-0.part").write_bytes(b"perhaps")
            (place / ".kaiwo-dead-1.part").write_bytes(b"kept")
        journal(root).parent.mkdir()
        text = [{"kaiwo-journal": 1}, *documents]
        journal(root).write_text("".join(json.dumps(each) + "\n" for each in text))
        before = _everything(Path(folder))
        assert after(root, big("crc32c")).report.ok
        assert (root / "big").read_bytes() == content(SIZE)
        gone = before - _everything(Path(folder))
    own = {f"root/.kaiwo-{DEAD}-0.part", f"root/sub/.kaiwo-{DEAD}-0.part"}
    assert gone <= own | {f"root/.kaiwo/journal-{DEAD}.jsonl"}


def _everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_an_object_that_nothing_tells_from_another_is_not_believed(tmp_path: Path) -> None:
    """Whoever has written it down."""
    store = big()
    killed(tmp_path, store, 0)
    bare = {"identity": [None, None, SIZE], "checksum": None}
    edited(tmp_path, lambda told: [each | bare if "begin" in each else each for each in told])
    assert (
        believed(tmp_path, store, _with(etag=None, checksum=None)(transfer(tmp_path, store, NOW)))
        is None
    )


@pytest.mark.parametrize("run", ["", "x", "DEAD", "0 1", "a" * 33, "[0-9]"])
def test_a_file_that_is_named_like_no_journal_of_a_run_is_let_alone(
    tmp_path: Path, run: str
) -> None:
    store = big()
    killed(tmp_path, store, 0)
    path = journal(tmp_path).rename(journal(tmp_path, run))
    state = State(None, NOW)
    assert state.partial_download(transfer(tmp_path, store, NOW)) is None
    state.sweep([transfer(tmp_path, store, NOW)], all_dead)
    assert path.exists()


def test_what_is_no_file_is_neither_read_as_a_journal_nor_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A device, or a pipe, at which a run would wait for ever."""
    path = journal(tmp_path)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    state, each = State(None, NOW), transfer(tmp_path, big(), NOW)
    with caplog.at_level(logging.WARNING):
        state.sweep([each], all_dead)
    assert f"{path} is not a regular file" in caplog.text
    assert path.is_symlink()
