"""The etag of an upload in parts: a guess of their lengths proves only what it agrees with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import TransientError, WrongBytesError
from kaiwo.jobs import Plan
from kaiwo.objects import Checksum
from tests.support.faulty import (
    LARGE,
    MIB,
    FaultyOpener,
    FaultyStore,
    PromptPolicy,
    Ran,
    carry_out,
    content,
    files,
    run_store,
    transfer_of,
    wrong,
)

#: By the size of the object. Equal parts of the first length would be as many.
LENGTHS = {
    LARGE: (6 * MIB, 6 * MIB - 7, 5 * MIB + 7),
    3 * MIB: (MIB + 9, MIB - 7, MIB - 2),
    240_000: (80_009, 79_993, 79_998),
}


def uploaded(size: int) -> FaultyStore:
    """A store with one object, uploaded in parts that are not equally long."""
    data = content(size)
    digests, at = b"", 0
    for length in LENGTHS[size]:
        digests += hashlib.md5(data[at : at + length]).digest()
        at += length
    etag = f"{hashlib.md5(digests).hexdigest()}-3"
    store = FaultyStore({"a": data})
    guess = checksums.of_parts(etag, size, LENGTHS[size][0])
    assert guess is not None
    store.stated["a"] = replace(store.remote("a"), etag=etag, checksum=guess)
    store.parts["a"] = LENGTHS[size]
    return store


def run(store: FaultyStore, root: Path) -> Ran:
    return run_store(store, root, policy=PromptPolicy(3))


@pytest.mark.parametrize("size", LENGTHS)
def test_the_lengths_of_the_parts_prove_the_bytes(tmp_path: Path, size: int) -> None:
    store = uploaded(size)
    done = run(store, tmp_path)
    assert (done.report.ok, done.item("a").verified, files(tmp_path)) == (True, True, store.objects)
    name = "md5-" + "".join(f"{length}," for length in LENGTHS[size])
    assert done.item("a").checksum == Checksum(name, store.remote("a").etag or "")
    # Each range twice, and not once more: the file is read again from the page cache.
    assert max(store.reads_of("a").values()) == (2 if size > MIB else 3)


@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("lengths", [None, (1, 2, 3)], ids=["unknown", "of another object"])
def test_without_the_lengths_nothing_is_stated(
    tmp_path: Path, size: int, lengths: tuple[int, ...] | None
) -> None:
    store = uploaded(size)
    store.parts = {} if lengths is None else {"a": lengths}
    done = run(store, tmp_path)
    item = done.item("a")
    assert (done.report.ok, item.verified, item.checksum) == (True, False, None)
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("size", LENGTHS)
def test_a_flipped_byte_is_found_by_the_lengths(tmp_path: Path, size: int) -> None:
    store = uploaded(size)
    store.always(("a", 0), wrong)
    done = run(store, tmp_path)
    assert (done.report.exit_code, type(done.error("a"))) == (7, WrongBytesError)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("size", LENGTHS)
def test_a_byte_that_is_flipped_once_is_not_blamed_on_the_guess(tmp_path: Path, size: int) -> None:
    store = uploaded(size)
    store.script(("a", 0), wrong)
    done = run(store, tmp_path)
    assert (done.report.ok, done.item("a").verified, files(tmp_path)) == (True, True, store.objects)


def test_lengths_that_are_not_to_be_had_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = uploaded(LARGE)

    def fails(key: str, count: int) -> tuple[int, ...] | None:
        raise TransientError(f"503 for {key}, {count}")

    monkeypatch.setattr(store, "part_lengths", fails)
    done = run(store, tmp_path)
    assert (done.report.ok, done.item("a").verified, files(tmp_path)) == (
        True,
        False,
        store.objects,
    )


def test_a_guess_that_agrees_is_not_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FaultyStore({"a": content(LARGE)})
    guess = checksums.of_bytes(f"md5-{5 * MIB}", store.objects["a"])
    stated = replace(store.remote("a"), checksum=guess)
    monkeypatch.delattr(FaultyStore, "part_lengths")
    done = carry_out(Plan((transfer_of(FaultyOpener(store), stated, tmp_path),)), tmp_path)
    assert (done.report.ok, done.item("a").verified) == (True, True)
