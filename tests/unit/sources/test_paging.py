"""A listing that is cut goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kaiwo.engine.retry import RetryPolicy
from kaiwo.errors import BusyError, ServiceError, TransientError
from kaiwo.jobs import ListJob, Want
from kaiwo.objects import RemoteObject
from kaiwo.sources.paging import Page, PagedListing

PAGES = {"": ("ab", "2"), "2": ("c", "3"), "3": ("", "4"), "4": ("de", "")}


class Listing:
    """Pages by their places, and the errors that some of them meet first."""

    def __init__(self, **faults: list[Exception]) -> None:
        self.faults = {name.lstrip("p"): errors for name, errors in faults.items()}
        self.asked: list[str] = []

    def __call__(self, place: str) -> Iterator[Page]:
        while True:
            self.asked.append(place)
            if self.faults.get(place):
                raise self.faults[place].pop(0)
            keys, place = PAGES[place]
            yield [RemoteObject(key, 1) for key in keys], place
            if not place:
                return


def keys(paged: PagedListing, listing: Listing) -> str:
    return "".join(remote.key for remote in paged.list_all("", listing, "s3://bucket/"))


def test_pages_come_one_after_the_other() -> None:
    listing = Listing()
    assert keys(PagedListing(), listing) == "abcde"
    assert listing.asked == list(PAGES)


def test_what_passes_costs_the_page_that_it_hit() -> None:
    paged = PagedListing()
    listing = Listing(p2=[TransientError("cut")], p4=[BusyError("503", 2.0)] * 2)
    reached = []
    for _ in range(3):
        with pytest.raises(TransientError) as caught:
            keys(paged, listing)
        reached.append((type(caught.value), caught.value.retry_after_s, caught.value.reached))
    assert reached == [(TransientError, None, 2), (BusyError, 2.0, 3), (BusyError, 2.0, 3)]
    assert keys(paged, listing) == "abcde"
    assert listing.asked == ["", "2", "2", "3", "4", "4", "4"]
    assert keys(paged, Listing()) == "abcde", "something was left of the listing before"


def test_an_object_without_a_name_is_a_fault_of_its_page() -> None:
    def pages(token: str) -> Iterator[Page]:
        if not token:
            yield [RemoteObject("a", 1)], "2"
        yield [RemoteObject("", 1)], ""

    paged = PagedListing()
    for _ in range(2):
        with pytest.raises(TransientError, match="has no name") as caught:
            paged.list_all("", pages, "s3://bucket/")
        assert caught.value.reached == 1


def test_what_is_for_good_is_no_reason_to_go_on() -> None:
    paged, listing = PagedListing(), Listing(p3=[ServiceError("refused")])
    with pytest.raises(ServiceError):
        keys(paged, listing)
    assert keys(paged, listing) == "abcde"
    assert listing.asked == ["", "2", "3", *PAGES]


def test_a_page_that_leads_back_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAGES, "4", ("d", "2"))
    with pytest.raises(TransientError, match="s3://bucket/: a page leads back"):
        keys(PagedListing(), Listing())


def test_a_failure_further_on_has_repeats_of_its_own() -> None:
    policy = RetryPolicy(retries=1)
    job = ListJob(0, Want("task", "", None, None, None))  # type: ignore[arg-type]
    for reached in (10, 20, 30):
        again = policy.again(job, TransientError("cut", None, reached))
        assert again is not None
        job = again[0]
    assert policy.again(job, TransientError("cut", None, 30)) is None
