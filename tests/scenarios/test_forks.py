"""A program that has used kaiwo is forked, and its children use kaiwo too."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kaiwo.jobs import RANGE
from tests.servers import web
from tests.support import stores
from tests.support.command import tree
from tests.support.programs import run_program
from tests.support.stores import Store

#: The larger one comes in two ranges.
OBJECTS = {"d/small": b"small", "d/big": random.Random(2).randbytes(RANGE + 1_000)}
#: What a fetch is asked for: a URL that ends in a slash, and the fields.
Wanted = tuple[str, Mapping[str, Any]]

PROCESS = """
import multiprocessing
import kaiwo

def fetch(number):
    return str(kaiwo.fetch(given["url"], f"out/{number}", **given["fields"]))

fetch(0)
children = [multiprocessing.get_context("fork").Process(target=fetch, args=(n,)) for n in (1, 2)]
for child in children:
    child.start()
for child in children:
    child.join()
print([child.exitcode for child in children])
"""
POOL = """
import multiprocessing
import kaiwo

def fetch(number):
    kaiwo.fetch(given["url"], f"out/{number}", **given["fields"])
    return os.getpid()

fetch(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(fetch, range(1, 3), chunksize=1)
print(os.getpid() not in found)
"""
#: As a DataLoader does it: a worker is forked while the program fetches in a thread, and is given
#: numbers through a queue.
LOADER = """
import multiprocessing
import kaiwo

context = multiprocessing.get_context("fork")
asked, found = context.Queue(), context.Queue()

def fetch(number):
    kaiwo.fetch(given["url"], f"out/{number}", **given["fields"])

def work():
    while (number := asked.get()) is not None:
        try:
            fetch(number)
            found.put(number)
        except BaseException as error:
            found.put(repr(error))

fetch(0)
for epoch in range(2):
    prefetch = threading.Thread(target=fetch, args=(100 + epoch,))
    prefetch.start()
    workers = [context.Process(target=work, daemon=True) for _ in range(2)]
    for each in workers:
        each.start()
    for number in range(2):
        asked.put(10 * (epoch + 1) + number)
    print(sorted(found.get(timeout=60) for _ in range(2)))
    for each in workers:
        asked.put(None)
    for each in workers:
        each.join()
    prefetch.join()
"""


@pytest.fixture(scope="module")
def xet_hub() -> Iterator[Store]:
    with stores.hub("--xet") as store:
        yield store


@contextlib.contextmanager
def on_the_web(tmp_path: Path) -> Iterator[Wanted]:
    for name, content in OBJECTS.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with web.folder(tmp_path / "site") as address:
        yield f"{address}/d/", {}


@pytest.fixture
def wanted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wanted]:
    """The folder ``d`` on each kind of service."""
    kind: str = request.param
    if kind == "web":
        with on_the_web(tmp_path) as found:
            yield found
        return
    store: Store = request.getfixturevalue("xet_hub" if kind == "xet" else kind)
    fields = {name: value for name, value in store.fields.items() if value is not None}
    if kind in ("hub", "xet"):
        store.fill("owner/forked", OBJECTS)
        yield "hf://owner/forked/d/", fields | {"transport": "xet" if kind == "xet" else "http"}
    else:
        scheme = {"s3": "s3", "gcs": "gs", "azure": "az"}[kind]
        yield f"{scheme}://{store.new_bucket(OBJECTS)}/d/", fields


EXPECTED = {name.removeprefix("d/"): content for name, content in OBJECTS.items()}


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        *((kind, chosen) for kind in ("s3", "gcs", "azure") for chosen in ("auto", "fsspec")),
        *((kind, "auto") for kind in ("hub", "xet", "web")),  # which know no engine
    ],
    indirect=["wanted"],
)
def test_a_child_fetches_after_its_parent_did(wanted: Wanted, tmp_path: Path, chosen: str) -> None:
    url, fields = wanted
    done = run_program(PROCESS, tmp_path, env={"KAIWO_ENGINE": chosen}, url=url, fields=fields)
    assert (done.code, done.stdout) == (0, "[0, 0]\n"), done.stderr
    for number in range(3):
        assert tree(tmp_path / "out" / f"{number}") == EXPECTED


@pytest.fixture
def on_s3(s3: Store) -> Wanted:
    fields = {name: value for name, value in s3.fields.items() if value is not None}
    return f"s3://{s3.new_bucket(OBJECTS)}/d/", fields


def test_a_pool_fetches(on_s3: Wanted, tmp_path: Path) -> None:
    url, fields = on_s3
    done = run_program(POOL, tmp_path, url=url, fields=fields)
    assert (done.code, done.stdout) == (0, "True\n"), done.stderr
    assert [tree(tmp_path / "out" / f"{number}") for number in range(3)] == [EXPECTED] * 3


@pytest.mark.parametrize("chosen", ["auto", "fsspec"])
def test_workers_of_a_loader_fetch_though_they_were_forked_during_a_fetch(
    on_s3: Wanted, tmp_path: Path, chosen: str
) -> None:
    url, fields = on_s3
    done = run_program(LOADER, tmp_path, env={"KAIWO_ENGINE": chosen}, url=url, fields=fields)
    expected = "".join(f"{[10 * epoch + n for n in range(2)]}\n" for epoch in (1, 2))
    assert (done.code, done.stdout) == (0, expected), done.stderr


def test_obstore_by_name_in_a_child_says_at_once_what_to_do(on_s3: Wanted, tmp_path: Path) -> None:
    url, fields = on_s3
    env = {"KAIWO_ENGINE": "obstore"}
    done = run_program(PROCESS, tmp_path, env=env, url=url, fields=fields)
    assert done.stdout == "[1, 1]\n"
    assert "use engine auto or fsspec here, or start the process with spawn" in done.stderr


#: Its child is forked by a source that is being opened, so that every lock of that is held.
OPENING = """
import contextlib
from kaiwo import environment
from kaiwo.files import temporary_files
from kaiwo.workers.source_cache import open_source

class Opener:
    def __init__(self, does):
        self.does = does

    def secrets_digest(self):
        return b""

    def open(self):
        return self.does()

def fork():
    child = os.fork()
    if not child:
        with environment.cleaned():
            temporary_files.create("a")
            temporary_files.write_range("a", [b"x"], 0)
            open_source(Opener(object))
        os._exit(0)
    return os.waitpid(child, 0)[1]

with contextlib.ExitStack() as held:
    for each in (environment._cleaned.lock, *temporary_files._WRITE_LOCKS):
        held.enter_context(each)
    print(open_source(Opener(fork)))
"""


def test_a_child_does_not_wait_for_locks_of_its_parents_threads(tmp_path: Path) -> None:
    done = run_program(OPENING, tmp_path)
    assert (done.code, done.stdout) == (0, "0\n"), done.stderr


#: The child is forked while a thread makes the first use of kaiwo, which loads it and an SDK.
FIRST_USE = """
import time
import kaiwo

def fetch(number):
    kaiwo.fetch(given["url"], f"out/{number}", **given["fields"])

first = threading.Thread(target=fetch, args=(0,))
first.start()
children = []
for number in range(1, 5):
    child = os.fork()
    if not child:
        try:
            fetch(number)
            os._exit(0)
        finally:
            os._exit(1)
    children.append(child)
    time.sleep(0.05)
first.join()
print([os.waitpid(child, 0)[1] for child in children])
"""


def test_a_child_that_is_forked_while_modules_are_loaded_fetches(
    on_s3: Wanted, tmp_path: Path
) -> None:
    url, fields = on_s3
    done = run_program(FIRST_USE, tmp_path, url=url, fields=fields)
    assert (done.code, done.stdout) == (0, "[0, 0, 0, 0]\n"), done.stderr
    assert [tree(tmp_path / "out" / f"{number}") for number in range(5)] == [EXPECTED] * 5


#: A thread begins to load a module when a fork has already looked whether one does.
LOADING_AT_THE_LAST_MOMENT = """
from pathlib import Path
Path("slow.py").write_text("import __main__; __main__.inside.set(); __main__.may_end.wait(20)")
sys.path.insert(0, "")
begins, inside, may_end = threading.Event(), threading.Event(), threading.Event()

def load():
    begins.wait(20)
    import slow

def let_it_load():
    begins.set()
    inside.wait(20)

os.register_at_fork(before=let_it_load, after_in_child=may_end.set)
from kaiwo import loading  # what is registered last is called first
thread = threading.Thread(target=load)
thread.start()
child = os.fork()
if not child:
    import slow
    os._exit(0)
print(os.waitpid(child, 0)[1], begins.is_set())
may_end.set()
thread.join()
"""


def test_what_another_thread_begins_to_load_is_loaded_anew_in_a_child(tmp_path: Path) -> None:
    done = run_program(LOADING_AT_THE_LAST_MOMENT, tmp_path)
    assert (done.code, done.stdout) == (0, "0 True\n"), done.stderr


#: A thread configures logging, whose lock it holds while it loads handlers; plain Python can fork.
CONFIGURING = """
import logging.config
import time
import kaiwo
from pathlib import Path
HANDLERS = (
    "import __main__; __main__.inside.set(); __main__.may_end.wait(20)",
    "from logging import NullHandler as Handler",
)
Path("handlers.py").write_text(chr(10).join(HANDLERS))
sys.path.insert(0, "")
inside, may_end = threading.Event(), threading.Event()
thread = threading.Thread(target=logging.config.dictConfig, args=({
    "version": 1, "handlers": {"own": {"class": "handlers.Handler"}}, "root": {"handlers": ["own"]},
},))
thread.start()
inside.wait(20)
threading.Timer(0.2, may_end.set).start()
child = os.fork()
if not child:
    logging.getLogger("child").warning("goes on")
    os._exit(0)
print(os.waitpid(child, 0)[1])
thread.join()
print(type(logging.getLogger().handlers[0]).__name__)
"""


def test_a_fork_waits_for_no_lock_that_waits_for_it(tmp_path: Path) -> None:
    done = run_program(CONFIGURING, tmp_path)
    assert (done.code, done.stdout) == (0, "0\nNullHandler\n"), done.stderr


#: Two threads fork while a third one loads for longer than a fork waits.
TWO_FORKS = """
import kaiwo
from kaiwo import loading
loading._LONGEST_WAIT_S = 0.3
inside, may_end, results = threading.Event(), threading.Event(), []

def load():
    with loading.loading():
        inside.set()
        may_end.wait(20)

def fork():
    child = os.fork()
    if not child:
        with loading.loading():
            os._exit(0)
    results.append(os.waitpid(child, 0)[1])

loader = threading.Thread(target=load)
loader.start()
inside.wait(20)
forks = [threading.Thread(target=fork) for _ in range(2)]
forks[0].start()
threading.Timer(0.15, forks[1].start).start()
threading.Timer(0.4, may_end.set).start()
loader.join()
while len(results) < 2:
    forks[0].join(0.01)
after = threading.Thread(target=load)
after.start()
after.join(20)
print(results, after.is_alive())
"""


def test_two_threads_may_fork_at_once(tmp_path: Path) -> None:
    done = run_program(TWO_FORKS, tmp_path)
    assert (done.code, done.stdout) == (0, "[0, 0] False\n"), done.stderr


#: Garbage is collected at each moment, and what is collected lets other threads run, as with Dask.
COLLECTED = """
import gc
import kaiwo
from kaiwo import loading
may_end = threading.Event()

def begin_and_end():
    while not may_end.is_set():
        threading.Thread(target=int).start()

threads = [threading.Thread(target=begin_and_end, daemon=True) for _ in range(2)]
for each in threads:
    each.start()
gc.callbacks.append(lambda *_: os.sched_yield())
gc.set_threshold(1)
for _ in range(20):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
may_end.set()
print("forked")
"""


def test_a_fork_does_not_wait_for_garbage(tmp_path: Path) -> None:
    done = run_program(COLLECTED, tmp_path)
    assert (done.code, done.stdout) == (0, "forked\n"), done.stderr
