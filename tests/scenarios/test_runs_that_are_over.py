"""A run in somebody's program that is over: nothing of it goes on, and nothing of it is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import tree
from tests.support.programs import Ended, run_program
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store

PATIENCE_S = 60.0
#: A second more than kaiwo waits for its threads.
SOON_S = 5.0
SIZE = 3 << 20

#: Fetches until the store holds its answers; then it is interrupted, or fails, or its time is over.
PROGRAM = """
import contextlib, signal, time
import kaiwo

def interrupt():
    # The store says so when it holds answers back.
    while not os.path.exists("held"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

if given["how"] == "interrupt":
    threading.Thread(target=interrupt, daemon=True).start()
options = {"deadline": 6} if given["how"] == "deadline" else {}
class Failing:
    def emit(self, event):
        if os.path.exists("held"):
            raise ValueError("of the program")

if given["how"] == "error":
    options["sink"] = Failing()
try:
    report = kaiwo.download({"download_root": "out", "download_items": [given["task"]]}, **options)
    print("report", report.exit_code)
except KeyboardInterrupt:
    print("interrupted")
except ValueError as error:
    print(error)
# While the store still holds its answers. On a busy machine, a thread needs a moment to end.
end_s = time.monotonic() + 4
while own_threads() and time.monotonic() < end_s:
    time.sleep(0.01)
left = own_threads()
from kaiwo.workers import source_cache
print("left", left, len(source_cache._entries), flush=True)
# The store sends what it has held.
open("go", "w").close()
while os.path.exists("held") and not os.path.exists("sent"):
    time.sleep(0.01)
time.sleep(0.5)
print("files", sorted(os.listdir("out")) if os.path.exists("out") else [])
print("then", own_threads(), len(source_cache._entries))
"""


@dataclass(frozen=True)
class Gate:
    """A store that holds the bytes of all objects but one back until the program says ``go``."""

    store: Store
    folder: Path


@pytest.fixture(params=["s3", "gcs", "azure", "hub"])
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gate]:
    store: Store = request.getfixturevalue(request.param)
    ended = threading.Event()
    held, go, sent = (tmp_path / name for name in ("held", "go", "sent"))

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and "/big" in path and not go.exists():
            held.touch()
            deadline_s = time.monotonic() + PATIENCE_S
            while not (go.exists() or ended.is_set()) and time.monotonic() < deadline_s:
                time.sleep(0.01)
            sent.touch()
        return answer

    with spoiling(store, hold) as slow:
        yield Gate(slow, tmp_path)
        ended.set()


@pytest.mark.parametrize("how", ["interrupt", "error", "deadline"])
def test_nothing_of_it_goes_on(gate: Gate, engine: str, how: str) -> None:
    store = gate.store
    if store.type == "hf" and engine == "obstore":
        pytest.skip("one way only")
    objects = {f"big{number}": bytes(SIZE) for number in range(4)}
    name = "owner/over" if store.type == "hf" else store.new_bucket()
    store.fill(name, objects)
    more = {"target_path": str(gate.folder / "out")} if store.type == "hf" else {}
    task = store.task(name, [{"folder": "", "target_path": "."}], **more)
    start_s = time.monotonic()
    env = {} if store.type == "hf" else {"KAIWO_ENGINE": engine}
    done = run_program(PROGRAM, gate.folder, env=env, task=task, how=how)
    assert time.monotonic() - start_s < 30.0
    lines = done.stdout.splitlines()
    first = {"interrupt": "interrupted", "deadline": "report 8", "error": "of the program"}[how]
    assert lines[:2] == [first, "left [] 0"], done
    assert not any("big" in line for line in lines[2:]), done
    assert lines[-1] == "then [] 0"


TWELVE = """
import logging
import kaiwo

logging.basicConfig(level=logging.WARNING)

def fetch(number):
    kaiwo.fetch(given["url"] + str(number), f"out/{number}", **given["fields"])

threads = [threading.Thread(target=fetch, args=(number,)) for number in range(12)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print(own_threads())
"""


def run_with_objects(
    text: str,
    s3: Store,
    objects: Mapping[str, bytes],
    engine: str,
    home: Path,
    timeout_s: float = 40.0,
) -> Ended:
    """Run a program that fetches these objects: it is given their URL and the fields for it."""
    url = f"s3://{s3.new_bucket(objects)}/"
    fields = {name: value for name, value in s3.fields.items() if value is not None}
    env = {"KAIWO_ENGINE": engine}
    return run_program(text, home, timeout_s, env=env, url=url, fields=fields)


def test_twelve_threads_fetch_into_one_folder_and_none_has_anything_to_say(
    s3: Store, engine: str, tmp_path: Path
) -> None:
    objects = {str(number): b"x" * number for number in range(12)}
    done = run_with_objects(TWELVE, s3, objects, engine, tmp_path, 90.0)
    assert (done.code, done.stdout, done.stderr) == (0, "[]\n", "")
    assert tree(tmp_path / "out") == objects


#: A host with a handler that collects exceptions, as error collectors do, and its own event loop.
HOST = """
import asyncio, logging
import kaiwo

class Collector(logging.Handler):
    def emit(self, record):
        if record.name == "asyncio" and record.exc_info:
            collected.append(record.exc_info[1].args[0])

collected = []
logging.getLogger().addHandler(Collector())

async def main():
    def lose(name):
        # asyncio logs an exception that nobody asks for.
        asyncio.get_running_loop().call_exception_handler(
            {"message": name, "exception": ValueError(name)}
        )

    fetched = asyncio.create_task(
        asyncio.to_thread(kaiwo.fetch, given["url"], "out", **given["fields"])
    )
    while not fetched.done():
        lose("during")
        await asyncio.sleep(0.01)
    await fetched
    lose("after")

asyncio.run(main())
print(sorted(set(collected)), collected.count("during") > 0)
print(logging.getLogRecordFactory() is logging.LogRecord, own_threads())
"""


def test_exceptions_that_the_program_logs_reach_its_collector(
    s3: Store, engine: str, tmp_path: Path
) -> None:
    objects = {str(number): b"x" * number for number in range(5)}
    done = run_with_objects(HOST, s3, objects, engine, tmp_path)
    assert done.stdout == "['after', 'during'] True\nTrue []\n", done.stderr
