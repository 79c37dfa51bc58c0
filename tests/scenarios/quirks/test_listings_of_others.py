"""Listings of GCS, Azure and the Hub that do not say as they should whether more follows."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from kaiwo.errors import ServiceError, TransientError
from kaiwo.tasks.base import Engine
from tests.support import stores
from tests.support.engines import opened
from tests.support.proxies import Answer, spoiling
from tests.support.quirks_listings import (
    Quirk,
    element,
    gzipped,
    header,
    in_every_listing,
    without_json_field,
)
from tests.support.stores import Store

FILES = {f"d/{number:02}": b"x" for number in range(25)}


@pytest.fixture(scope="module")
def gcs_in_pages() -> Iterator[Store]:
    with stores.gcs("--page-size=10") as store:
        yield store


@pytest.fixture(scope="module")
def hub_in_pages() -> Iterator[Store]:
    with stores.hub("--page-size=10") as store:
        store.fill("owner/repo", FILES)
        yield store


def keys(store: Store, bucket: str, engine: Engine, *quirks: Quirk) -> list[str]:
    with contextlib.ExitStack() as stack:
        by_way = stack.enter_context(spoiling(store, in_every_listing(*quirks)))
        source = stack.enter_context(opened(by_way, bucket, engine))
        return [remote.key for remote in source.list("d/")]


def counting(answers: list[Answer]) -> Quirk:
    def quirk(answer: Answer) -> Answer:
        answers.append(answer)
        return answer

    return quirk


def test_a_listing_of_gcs_without_tokens_is_whole(gcs_in_pages: Store, engine: Engine) -> None:
    bucket = gcs_in_pages.new_bucket(FILES)
    assert keys(gcs_in_pages, bucket, engine, without_json_field("nextPageToken")) == sorted(FILES)
    answers: list[Answer] = []
    assert keys(gcs_in_pages, bucket, engine, counting(answers)) == sorted(FILES)
    pages = 3
    assert len(answers) == pages + 1


def test_the_last_page_of_gcs_must_have_its_entries(gcs_in_pages: Store, engine: Engine) -> None:
    """Page and check lose them alike: the check must show the object that was listed last."""
    bucket = gcs_in_pages.new_bucket(FILES)

    def short(answer: Answer) -> Answer:
        items = json.loads(answer.body).get("items", [])
        return answer if len(items) == 10 else without_json_field("items")(answer)

    with pytest.raises(TransientError, match="lacks the object that was listed last"):
        keys(gcs_in_pages, bucket, engine, short)


def test_members_of_a_listing_of_gcs_may_be_spelled_in_another_case(
    gcs_in_pages: Store, engine: Engine
) -> None:
    def shouted(answer: Answer) -> Answer:
        content = {name.upper(): value for name, value in json.loads(answer.body).items()}
        return replace(answer, body=json.dumps(content).encode())

    bucket = gcs_in_pages.new_bucket(FILES)
    assert keys(gcs_in_pages, bucket, engine, shouted) == sorted(FILES)


def test_a_page_of_gcs_that_lost_its_entries_is_asked_for_again(
    gcs_in_pages: Store, engine: Engine
) -> None:
    bucket = gcs_in_pages.new_bucket(FILES)
    answers: list[Answer] = []

    def emptied_once(answer: Answer) -> Answer:
        answers.append(answer)
        return without_json_field("items")(answer) if len(answers) == 2 else answer

    assert keys(gcs_in_pages, bucket, engine, emptied_once) == sorted(FILES)


def test_a_listing_of_an_emulator_that_lists_everything_again_is_believed(
    gcs_emulator: Store, engine: Engine
) -> None:
    bucket = gcs_emulator.new_bucket(FILES)
    assert keys(gcs_emulator, bucket, engine) == sorted(FILES)


def test_a_listing_of_azure_needs_its_markers(azure: Store, engine: Engine) -> None:
    bucket = azure.new_bucket(FILES)
    answers: list[Answer] = []
    assert keys(azure, bucket, engine, counting(answers)) == sorted(FILES)
    assert len(answers) == 1 + 1
    with pytest.raises(ServiceError, match="where the next page begins"):
        keys(azure, bucket, engine, element("NextMarker", ""))

    def without_marker(answer: Answer) -> Answer:
        return element("NextMarker", None)(element("NextMarker", "")(empty_marker(answer)))

    with pytest.raises(TransientError, match="not a valid Azure response"):
        keys(azure, bucket, engine, without_marker)


def empty_marker(answer: Answer) -> Answer:
    """Azure's empty marker in the long form, which ``element`` finds."""
    body = answer.body.replace(b"<NextMarker/>", b"<NextMarker></NextMarker>")
    return Answer(answer.status, answer.headers, body, answer.asked, query=answer.query)


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link.replace('rel="next"', "REL=NEXT"),
        lambda link: link.replace('rel="next"', "rel='next'"),
        lambda link: link.replace('rel="next"', 'title="a, b"; rel="last next"'),
        lambda link: f'<https://elsewhere/?first=1>; rel="first", {link}',
    ],
)
def test_a_link_of_the_hub_may_be_written_in_other_ways(
    hub_in_pages: Store, change: Callable[[str], str]
) -> None:
    found = keys(hub_in_pages, "owner/repo", "fsspec", header("Link", change))
    assert sorted(found) == sorted(FILES)


@pytest.mark.parametrize(
    "change", [lambda _: None, lambda _: "", lambda _: "<https://elsewhere>", lambda _: "next"]
)
def test_a_listing_of_the_hub_that_lacks_files_of_the_repository_is_refused(
    hub_in_pages: Store, change: Callable[[str], str | None]
) -> None:
    with pytest.raises(TransientError, match="lacks"):
        keys(hub_in_pages, "owner/repo", "fsspec", header("Link", change))


def test_a_link_of_the_hub_without_a_query_is_refused(hub_in_pages: Store) -> None:
    def change(_: str) -> str:
        return '<https://elsewhere/path>; rel="next"'

    with pytest.raises(TransientError, match="not a valid Hub response"):
        keys(hub_in_pages, "owner/repo", "fsspec", header("Link", change))


def kind_of_one(kind: str) -> Quirk:
    """The first entry of each page of a tree is of that kind."""

    def quirk(answer: Answer) -> Answer:
        entries = json.loads(answer.body)
        return replace(
            answer, body=json.dumps([entries[0] | {"type": kind}, *entries[1:]]).encode()
        )

    return quirk


def test_a_file_of_the_hub_may_be_called_so_in_capitals(hub_in_pages: Store) -> None:
    found = keys(hub_in_pages, "owner/repo", "fsspec", kind_of_one("File"))
    assert sorted(found) == sorted(FILES)


def test_an_entry_of_the_hub_of_a_kind_that_is_not_known_is_not_left_out(
    hub_in_pages: Store,
) -> None:
    with pytest.raises(TransientError, match="not a valid Hub response"):
        keys(hub_in_pages, "owner/repo", "fsspec", kind_of_one("blob"))


SIZE = re.compile(rb"<(Size|Content-Length)>1</\1>|\"size\": \"1\"")


@pytest.mark.parametrize("new", [b"", b"<Size></Size>", b"<Size>?</Size>"])
def test_a_size_that_is_not_stated_is_no_number(store: Store, engine: Engine, new: bytes) -> None:
    def spoil(_method: str, _path: str, answer: Answer) -> Answer:
        body = SIZE.sub(new if b"<" in answer.body else b'"other": "1"', answer.body)
        return replace(answer, body=body)

    bucket = store.new_bucket({"d/k": b"x"})
    with (
        spoiling(store, spoil) as by_way,
        opened(by_way, bucket, engine) as source,
        pytest.raises(TransientError, match="the answer is not"),
    ):
        list(source.list(""))


AZURE: dict[str, list[Quirk]] = {
    "dates in ISO 8601": [element("Last-Modified", "2023-11-14T22:13:20Z")],
    "dates that are none": [element("Last-Modified", "yesterday"), element("Creation-Time", "-")],
    "a tier that is new": [element("AccessTier", "Smart")],
    "a type that is new": [element("BlobType", "FileBlob")],
    "an md5 that is none": [element("Content-MD5", "AAA")],
    "gzip": [gzipped],
}


@pytest.mark.parametrize("quirks", AZURE.values(), ids=AZURE)
def test_a_listing_of_azure_is_read_as_far_as_it_is_needed(
    azure: Store, engine: Engine, quirks: list[Quirk]
) -> None:
    bucket = azure.new_bucket(FILES)
    assert keys(azure, bucket, engine, *quirks) == sorted(FILES)


def test_a_folder_of_azure_may_be_marked_by_its_type(azure: Store, engine: Engine) -> None:
    bucket = azure.new_bucket({"d/a": b"x", "d/folder": b""})

    def only_empty(answer: Answer) -> Answer:
        marked = b"<Content-Length>0</Content-Length><ResourceType>directory</ResourceType>"
        body = answer.body.replace(b"<Content-Length>0</Content-Length>", marked)
        return replace(answer, body=body)

    assert keys(azure, bucket, engine, only_empty) == ["d/a"]


def test_a_listing_of_gcs_may_come_gzip_encoded(gcs_in_pages: Store, engine: Engine) -> None:
    bucket = gcs_in_pages.new_bucket(FILES)
    assert keys(gcs_in_pages, bucket, engine, gzipped) == sorted(FILES)


def with_folder(answer: Answer) -> Answer:
    """A folder in place of what is in it, though no delimiter was given."""
    if answer.body.startswith(b"{"):
        content = json.loads(answer.body)
        return replace(answer, body=json.dumps(content | {"prefixes": ["d/deep/"]}).encode())
    folder = b"<BlobPrefix><Name>d/deep/</Name></BlobPrefix></Blobs>"
    return replace(answer, body=answer.body.replace(b"</Blobs>", folder))


def test_a_listing_of_folders_is_refused(gcs_in_pages: Store, azure: Store, engine: Engine) -> None:
    for store in (gcs_in_pages, azure):
        bucket = store.new_bucket(FILES)
        with pytest.raises((ServiceError, TransientError)):
            keys(store, bucket, engine, with_folder)
