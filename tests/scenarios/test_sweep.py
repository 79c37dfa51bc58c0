"""Each field that kaiwo reads from an answer is spoilt: the right bytes, or an error that says so.

One to six changes in a run (see ``sweep_changes``), before each kind of server. Allowed are the
right bytes with exit code 0, or an error of a service or of its bytes; never exit code 0 with
anything else, and never exit code 1.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.engine import retry
from kaiwo.errors import KaiwoError, exit_code_of
from kaiwo.jobs import RANGE
from tests.servers import web
from tests.support.command import tree
from tests.support.faulty import content
from tests.support.proxies import base_of, by_way_of
from tests.support.stores import Store
from tests.support.sweep_changes import Change, drawn
from tests.support.sweep_relay import Relay, relay
from tests.support.trials_length import LONG

SMALL = {
    "a.bin": b"12345",
    "b.bin": b"7654321",
    "folder/empty": b"",
    "folder/more.txt": content(3000),
    "folder/z": content(70_000),
}
LARGE = {"large": content(RANGE + 1000)}
#: Codes of errors that say: the credentials, the object, the service, the bytes.
HONEST = {3, 4, 5, 7}
PATIENCE_S = 120 if LONG else 30
#: The part of the runs that reads the large object besides.
LARGE_ONES = 0.1
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
#: So many answers are spoilt for each server.
ANSWERS = 20_000 if LONG else 500


@dataclass(frozen=True)
class Swept:
    """A server behind a relay, and how it is read.

    Attributes:
        relay: what spoils its answers.
        tasks: makes the tasks of a run; with the large object if so asked.
        engines: those that can read it.
    """

    relay: Relay
    tasks: Callable[[bool], list[dict[str, Any]]]
    engines: tuple[str, ...] = ("fsspec", "obstore")


@pytest.fixture(autouse=True, scope="module")
def _fast() -> Iterator[None]:
    """No time between attempts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "FIRST_DELAY_S", 0.001)
        patch.setattr(retry, "LONGEST_DELAY_S", 0.002)
        yield


def _store(store: Store, words: str, asking: Callable[[str], str], stack: ExitStack) -> Swept:
    """A bucket with the small objects, and another with the large one besides."""
    found, address = stack.enter_context(relay(base_of(store), words, asking))
    by_way = by_way_of(store, address)
    small, large = store.new_bucket(SMALL), store.new_bucket(SMALL | LARGE)

    def tasks(is_large: bool) -> list[dict[str, Any]]:
        items = [{"folder": "", "target_path": "."}]
        return [by_way.task(large if is_large else small, items)]

    return Swept(found, tasks)


def _pages(target: str) -> str:
    """Ask for pages of two objects."""
    path, _, query = target.partition("?")
    if path.count("/") == 1 and query:
        return f"{target}&max-keys=2"
    return target.replace("maxResults=1000", "maxResults=2")


@contextmanager
def _swept(name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Swept]:
    with ExitStack() as stack:
        if name in ("s3", "gcs", "azure"):
            store = request.getfixturevalue(name)
            words = "json" if name == "gcs" else "xml"
            yield _store(store, words, _pages, stack)
        elif name == "hub":
            yield _hub(request.getfixturevalue("hub"), stack)
        else:
            yield _web(folder, stack)


def _hub(store: Store, stack: ExitStack) -> Swept:
    for name, stored in (("small", SMALL), ("large", SMALL | LARGE)):
        store.fill(f"swept/{name}", stored)
    found, address = stack.enter_context(
        relay(base_of(store), "json", second=store.settings["lfs_url"])
    )
    by_way = by_way_of(store, address)

    def tasks(is_large: bool) -> list[dict[str, Any]]:
        repository = "swept/large" if is_large else "swept/small"
        return [by_way.task(repository, (), target_path=".")]

    return Swept(found, tasks, ("auto",))


def _web(folder: Path, stack: ExitStack) -> Swept:
    """Files with an ETag, each named, and a folder as a page of links."""
    site = stack.enter_context(web.site())
    for name, data in (SMALL | LARGE).items():
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Last-Modified": DATE}
        headers["Content-Type"] = "application/octet-stream"
        site.pages[f"/{name}"] = web.Page(data, headers)
    for name in ("folder/more.txt", "folder/z"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(SMALL[name])
    pages = stack.enter_context(web.rclone(folder))
    found, address = stack.enter_context(relay(site.at, "xml", second=pages, is_only_witness=True))

    def tasks(is_large: bool) -> list[dict[str, Any]]:
        names = ["a.bin", "b.bin", "folder/empty", *(["large"] if is_large else [])]
        items = [{"file": f"{address}/{name}", "target_path": name} for name in names]
        items.append({"folder": f"{address}/second-server/folder/", "target_path": "folder"})
        return [{"type": "url", "items": items}]

    return Swept(found, tasks, ("auto",))


def _run(tasks: list[dict[str, Any]], engine: str, out: Path) -> tuple[int, str]:
    """The exit code of a run in this process, and the errors."""
    try:
        report = kaiwo.download(
            {
                "download_root": str(out),
                "download_items": tasks,
                "engine": engine,
                "retries": 2,
                "startup_wait": 0,
                "stall_timeout": 5,
            }
        )
    except KaiwoError as error:
        return exit_code_of(error), error.message
    errors = [each.error.message for each in report.items if each.error is not None]
    return report.exit_code, "\n".join(errors)


@pytest.mark.parametrize("name", ["s3", "gcs", "azure", "hub", "web"])
@pytest.mark.usefixtures("loopback_only")
def test_the_right_bytes_or_an_honest_error(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32) if LONG else 0
    with _swept(name, request, tmp_path) as swept:
        number = 0
        while swept.relay.spoilt < ANSWERS:
            rng = random.Random(f"{seed} {number}")
            changes = tuple(drawn(rng) for _ in range(rng.randint(1, 6)))
            engine, is_large = rng.choice(swept.engines), rng.random() < LARGE_ONES
            _try(swept, changes, engine, tmp_path / "out", is_large=is_large)
            number += 1
        print(f"{name}: seed {seed}: {number} runs, {swept.relay.spoilt} spoilt answers")


def _try(
    swept: Swept, changes: tuple[Change, ...], engine: str, out: Path, *, is_large: bool
) -> None:
    """One run with these changes, which ends well."""
    shutil.rmtree(out, ignore_errors=True)
    swept.relay.begin(changes)
    start_s = time.monotonic()
    code, errors = _run(swept.tasks(is_large), engine, out)
    seconds = time.monotonic() - start_s
    expected = SMALL | LARGE if is_large else SMALL
    is_well = code in HONEST or (code == 0 and tree(out) == expected)
    if not is_well or seconds > PATIENCE_S:
        lines = (f"exit code {code} after {seconds:.1f} s", errors, *swept.relay.log)
        pytest.fail(f"{engine}, is_large={is_large}, {changes}\n" + "\n".join(lines))
