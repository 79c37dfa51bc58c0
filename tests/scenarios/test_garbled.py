"""Answers with status 200 that are invalid: what a gateway or a failing service sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaiwo.tasks.base import Engine
from tests.support.command import Kaiwo, tree
from tests.support.proxies import Answer, Spoil, spoiling
from tests.support.stores import Store
from tests.support.trials_length import spread_over_places

GARBLED = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"error": {"code": 503}}',
    b'{"items": null}',
    b'{"items": [{"size": "abc"}]}',
    b"<html><body>Sign in here.</body></html>",
    b"<Error><Code>InternalError</Code></Error>",
    None,  # half of it
)
STORED = {f"folder/{number:02}": f"{number}".encode() * 50 for number in range(12)}


def garbled(bodies: Iterator[bytes | None], is_meant: Callable[[str, str, Answer], bool]) -> Spoil:
    """What is meant is answered with these bodies instead, until there are no more."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if answer.status != 200 or not is_meant(method, path, answer):
            return answer
        for body in bodies:
            half = answer.body[: len(answer.body) // 2]
            return replace(answer, body=half if body is None else body)
        return answer

    return spoil


def is_listing(method: str, path: str, answer: Answer) -> bool:
    return method == "GET" and b"folder/07" in answer.body


def is_description(method: str, path: str, answer: Answer) -> bool:
    return path.endswith(("folder/07", "folder%2F07")) and b'"name"' in answer.body


def require_asked_again(
    kaiwo: Kaiwo,
    store: Store,
    is_meant: Callable[[str, str, Answer], bool],
    body: bytes | None,
    task_of: Callable[[Store], dict[str, Any]],
    *options: str,
) -> None:
    """A run recovers from two answers with that body."""
    bodies = iter([body, body])
    with spoiling(store, garbled(bodies, is_meant)) as by_way:
        done = kaiwo({"download_items": [task_of(by_way)]}, *options)
    assert done.code == 0, done.stderr
    assert next(bodies, "none left") == "none left"


def is_its_language(store: str, body: bytes | None) -> bool:
    """Whether a store that is well answers in this format: JSON, or else XML; or half of that."""
    return body is None or body.startswith(b"{" if store == "gcs" else b"<E")


@spread_over_places(("body",), [(body,) for body in GARBLED], is_needed=is_its_language)
def test_a_garbled_listing_is_asked_for_again(
    kaiwo: Kaiwo, tmp_path: Path, store: Store, engine: Engine, body: bytes | None
) -> None:
    bucket = store.new_bucket(STORED)

    def task_of(by_way: Store) -> dict[str, Any]:
        return by_way.task(bucket, [{"folder": "", "target_path": "."}])

    require_asked_again(kaiwo, store, is_listing, body, task_of, "--engine", engine)
    assert tree(tmp_path / "out") == STORED


@pytest.mark.parametrize(
    ("place", "body"),
    [
        (place, body)
        for place in ("revision", "tree")
        for body in GARBLED
        # A tree of which nothing is said is an empty one.
        if (place, body) != ("tree", b"[]")
    ],
    ids=lambda each: str(each)[:20],
)
def test_a_garbled_answer_of_the_hub_is_asked_for_again(
    kaiwo: Kaiwo, tmp_path: Path, hub: Store, place: str, body: bytes | None
) -> None:
    hub.fill("owner/garbled", STORED)

    def task_of(by_way: Store) -> dict[str, Any]:
        return by_way.task("owner/garbled", (), target_path=".")

    require_asked_again(kaiwo, hub, lambda _, path, __: f"/{place}/" in path, body, task_of)
    assert tree(tmp_path / "out") == STORED


def test_a_listing_that_is_always_garbled_is_a_failure_of_the_service(
    kaiwo: Kaiwo, store: Store, engine: Engine
) -> None:
    bucket = store.new_bucket(STORED)
    bodies = iter([b"<html>Sign in here.</html>"] * 99)
    with spoiling(store, garbled(bodies, is_listing)) as by_way:
        task = by_way.task(bucket, [{"folder": "", "target_path": "."}])
        done = kaiwo({"download_items": [task]}, "--engine", engine, "--retries", "1")
    assert done.code == 5, done.stderr


@pytest.mark.parametrize("body", GARBLED[1:7], ids=lambda body: str(body)[:20])
def test_a_garbled_description_is_asked_for_again(
    kaiwo: Kaiwo, tmp_path: Path, gcs: Store, engine: Engine, body: bytes | None
) -> None:
    bucket = gcs.new_bucket(STORED)

    def task_of(by_way: Store) -> dict[str, Any]:
        return by_way.task(bucket, [{"file": "folder/07", "target_path": "t"}])

    require_asked_again(kaiwo, gcs, is_description, body, task_of, "--engine", engine)
    assert tree(tmp_path / "out") == {"t": STORED["folder/07"]}


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
def test_what_is_stored_encoded_arrives_as_it_is_stored(
    kaiwo: Kaiwo, tmp_path: Path, azure: Store, engine: Engine, kind: str
) -> None:
    bucket = azure.new_bucket(STORED)

    def encoded(method: str, path: str, answer: Answer) -> Answer:
        if "folder/" not in path or method != "GET":
            return answer
        return replace(answer, headers={**answer.headers, "Content-Encoding": kind})

    with spoiling(azure, encoded) as by_way:
        task = by_way.task(bucket, [{"folder": "", "target_path": "."}])
        done = kaiwo({"download_items": [task]}, "--engine", engine)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == STORED


def test_an_archived_blob_is_told_as_that(kaiwo: Kaiwo, azure: Store, engine: Engine) -> None:
    bucket = azure.new_bucket(STORED)

    def archived(method: str, path: str, answer: Answer) -> Answer:
        if "folder/07" not in path or method != "GET":
            return answer
        text = b"<Error><Code>BlobArchived</Code><Message>as the test wants it</Message></Error>"
        headers = {"x-ms-error-code": "BlobArchived", "Content-Type": "application/xml"}
        return Answer(409, headers, text)

    with spoiling(azure, archived) as by_way:
        task = by_way.task(bucket, [{"folder": "", "target_path": "."}])
        done = kaiwo({"download_items": [task]}, "--engine", engine)
    assert done.code == 5
    assert "409 BlobArchived: the object is archived; restore it first" in done.stderr
