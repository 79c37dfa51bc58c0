"""Two runs at once: one transfers, the other waits for it and finds everything there."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import kaiwo
from tests.support.command import begun, clean_environment, have_ready, tree
from tests.support.fork_server import Running as Forked
from tests.support.proxies import Answer, Counting, counting, refused, spoiling
from tests.support.stores import Store
from tests.support.volumes import volume
from tests.support.waiting import wait_until

PATIENCE_S = 60.0
MIB = 1 << 20
#: Words before a command that is no fork: a few real starts cost less than as many fork servers.
REALLY = ("env",)
OBJECTS = {f"d/{number:02}": b"small" * number for number in range(1, 21)}
OBJECTS |= {"d/large": random.Random(7).randbytes(20 * MIB)}
#: Requests for object bytes of one run: the large one is read in three ranges.
GETS = 20 + 3


@pytest.fixture(scope="module")
def slow(s3: Store, hub: Store) -> Iterator[Counting]:
    """S3 and the Hub by way of a proxy that counts, and holds every answer with bytes back."""
    with counting(s3, hub, delay_s=0.15) as way:
        yield way


@dataclass
class Gate:
    """A store whose answers about keys with ``held`` in their names wait to be let through."""

    store: Store
    opened: threading.Event
    reached: threading.Event


@pytest.fixture
def gate(s3: Store) -> Iterator[Gate]:
    opened, reached = threading.Event(), threading.Event()

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if "held" in path and method == "GET":
            reached.set()
            opened.wait(PATIENCE_S)
        return answer

    with spoiling(s3, hold) as store:
        yield Gate(store, opened, reached)
        opened.set()


@dataclass(frozen=True)
class Running:
    """A command at work; what it logs goes to a file."""

    process: subprocess.Popen[bytes] | Forked
    errors: Path
    report_path: Path

    @property
    def log(self) -> str:
        return self.errors.read_text()

    @property
    def statuses(self) -> set[str]:
        """Of all objects of its report."""
        return {item["status"] for item in json.loads(self.report_path.read_text())["items"]}

    def waits_for(self, other: Running) -> bool:
        """Whether it has said so."""
        return f"waiting for the run of process {other.process.pid} on " in self.log

    def end(self) -> int:
        return self.process.wait(PATIENCE_S)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``python -m kaiwo.downloader`` on a task, below ``tmp_path / "out"``."""
    runs: list[Running] = []
    forks = contextlib.ExitStack()
    have_ready(2)

    def run(task: Mapping[str, Any], *options: str, prefix: Sequence[str] = ()) -> Running:
        base = tmp_path / f"run{len(runs)}"
        config, report, errors = (base.with_suffix(each) for each in (".yaml", ".json", ".log"))
        root = str(tmp_path / "out")
        config.write_text(yaml.safe_dump({"download_root": root, "download_items": [task]}))
        words = [str(config), "--report", str(report), *options]
        variables = {"HF_HOME": str(tmp_path / "hf")}
        process: subprocess.Popen[bytes] | Forked
        if prefix:
            command = [*prefix, sys.executable, "-m", "kaiwo.downloader", *words]
            environment = clean_environment(tmp_path) | variables
            with errors.open("wb") as file:
                process = subprocess.Popen(
                    command,
                    cwd=tmp_path,
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=file,
                )
        else:
            process = forks.enter_context(begun(words, tmp_path, variables, errors=errors))
        runs.append(Running(process, errors, report))
        return runs[-1]

    with forks:
        yield run
        for each in runs:
            with contextlib.suppress(OSError):
                each.process.kill()
            each.process.wait()


def folder(store: Store, bucket: str, prefix: str = "d", target: str = "x") -> dict[str, Any]:
    return store.task(bucket, [{"folder": prefix, "target_path": target}])


def claims(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "out" / ".kaiwo" / "claims").glob("*"))


# --- the same targets -------------------------------------------------------------------------


def test_one_of_two_transfers_and_the_other_finds_everything_there(
    slow: Counting, start: Start, tmp_path: Path
) -> None:
    s3 = slow.stores[0]
    task = folder(s3, s3.new_bucket(OBJECTS))
    slow.reset()
    one, two = (start(task, "--max-workers", "2") for _ in range(2))
    assert (one.end(), two.end()) == (0, 0), one.log + two.log
    assert slow.counts().gets == GETS
    assert sorted([*one.statuses, *two.statuses]) == ["downloaded", "unchanged"]
    assert not (one.waits_for(two) and two.waits_for(one))
    assert {f"d/{name[2:]}": data for name, data in tree(tmp_path / "out").items()} == OBJECTS
    assert claims(tmp_path) == []


def test_five_at_once_transfer_everything_once(slow: Counting, start: Start) -> None:
    s3 = slow.stores[0]
    objects = {f"d/{number}": b"some" for number in range(12)}
    task = folder(s3, s3.new_bucket(objects))
    slow.reset()
    runs = [start(task, "--max-workers", "2", prefix=REALLY) for _ in range(5)]
    assert [run.end() for run in runs] == [0] * 5
    assert slow.counts().gets == 12
    assert [status for run in runs for status in run.statuses].count("downloaded") == 1


def test_a_cache_of_the_hub_is_filled_once(slow: Counting, start: Start, tmp_path: Path) -> None:
    hub = slow.stores[1]
    hub.fill("two/runs", {f"{number}.bin": bytes([number]) * 9 for number in range(10)})
    slow.reset()
    one, two = (start(hub.task("two/runs", []), "--max-workers", "2") for _ in range(2))
    assert (one.end(), two.end()) == (0, 0), one.log + two.log
    assert slow.counts().gets == 10
    assert not list((tmp_path / "hf").rglob(".kaiwo-*")), "nothing but the state folder"


def test_two_threads_of_one_program_fetch_a_url_once(slow: Counting, tmp_path: Path) -> None:
    s3 = slow.stores[0]
    url = f"s3://{s3.new_bucket(OBJECTS)}/d/"
    slow.reset()
    barrier = threading.Barrier(2)

    def fetch() -> Path:
        barrier.wait(PATIENCE_S)
        return kaiwo.fetch(url, tmp_path / "out", **s3.fields)

    with ThreadPoolExecutor(2) as executor:
        paths = {future.result() for future in [executor.submit(fetch) for _ in range(2)]}
    assert paths == {tmp_path / "out"}
    assert slow.counts().gets == GETS
    assert {f"d/{name}": data for name, data in tree(tmp_path / "out").items()} == OBJECTS


def test_with_a_state_folder_elsewhere_the_claims_are_there(
    gate: Gate, start: Start, tmp_path: Path
) -> None:
    task = folder(gate.store, gate.store.new_bucket({"d/held": b"x"}))
    state = tmp_path / "state"
    one = start(task, "--state-dir", str(state))
    assert gate.reached.wait(PATIENCE_S)
    two = start(task, "--state-dir", str(state))
    wait_until(lambda: two.waits_for(one), most_s=PATIENCE_S)
    assert not (tmp_path / "out" / ".kaiwo").exists()
    gate.opened.set()
    assert (one.end(), two.end(), two.statuses) == (0, 0, {"unchanged"})


def test_two_containers_on_one_volume_transfer_everything_once(
    slow: Counting, start: Start, container: Sequence[str]
) -> None:
    s3 = slow.stores[0]
    task = folder(s3, s3.new_bucket(OBJECTS))
    slow.reset()
    one, two = (start(task, "--max-workers", "2", prefix=container) for _ in range(2))
    assert (one.end(), two.end()) == (0, 0), one.log + two.log
    assert slow.counts().gets == GETS
    assert (one.log + two.log).count("waiting for the run of process 1 on ") == 1


@pytest.fixture
def container() -> Sequence[str]:
    """The words that start a command as process 1 of a separate namespace."""
    words = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no pid namespaces here: {done.stderr.strip()}")
    return words


# --- other targets ----------------------------------------------------------------------------


def test_other_targets_of_the_same_root_do_not_wait(
    gate: Gate, start: Start, tmp_path: Path
) -> None:
    bucket = gate.store.new_bucket({"one/held": b"1", "two/b": b"2"})
    one = start(folder(gate.store, bucket, "one", "x"))
    assert gate.reached.wait(PATIENCE_S)
    two = start(folder(gate.store, bucket, "two", "x"))
    assert two.end() == 0, two.log
    assert one.process.poll() is None
    assert "waiting" not in two.log
    gate.opened.set()
    assert one.end() == 0
    assert tree(tmp_path / "out") == {"x/held": b"1", "x/b": b"2"}


def test_a_plan_claims_nothing_and_does_not_wait(gate: Gate, start: Start, tmp_path: Path) -> None:
    task = folder(gate.store, gate.store.new_bucket({"d/held": b"x"}))
    one = start(task)
    assert gate.reached.wait(PATIENCE_S)
    before = claims(tmp_path)
    config = tmp_path / "run0.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "kaiwo", "plan", str(config)],
        env=clean_environment(tmp_path),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, len(before)) == (0, 1), done.stderr
    assert claims(tmp_path) == before
    gate.opened.set()
    assert one.end() == 0


def test_a_run_with_nothing_to_do_claims_nothing(s3: Store, start: Start, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"d/a": b"1"})
    assert start(folder(s3, bucket)).end() == 0
    # What it could not write, it would complain of.
    (tmp_path / "out" / ".kaiwo" / "claims").touch()
    second = start(folder(s3, bucket))
    assert (second.end(), second.statuses) == (0, {"unchanged"})
    assert "WARNING" not in second.log
    s3.fill(bucket, {"d/b": b"2"})
    third = start(folder(s3, bucket))
    assert third.end() == 0
    assert third.log.count("WARNING") == 1
    assert "two runs at the same time may download the same objects" in third.log
    assert tree(tmp_path / "out") == {"x/a": b"1", "x/b": b"2"}


# --- one of them ends early -------------------------------------------------------------------


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_when_the_first_is_ended_the_second_goes_on_at_once(
    gate: Gate, start: Start, tmp_path: Path, end: signal.Signals
) -> None:
    task = folder(gate.store, gate.store.new_bucket({**OBJECTS, "d/held": b"x"}))
    one = start(task)
    assert gate.reached.wait(PATIENCE_S)
    two = start(task)
    wait_until(lambda: two.waits_for(one), most_s=PATIENCE_S)
    one.process.send_signal(end)
    assert one.end() in (-signal.SIGKILL, 128 + signal.SIGTERM)
    began_s = time.monotonic()
    gate.opened.set()
    assert two.end() == 0, two.log
    assert time.monotonic() - began_s < 15, "half of the time that silence is believed"
    found = {f"d/{name[2:]}": data for name, data in tree(tmp_path / "out").items()}
    assert {name: found.get(name) for name in OBJECTS} == OBJECTS
    assert found["d/held"] == b"x"
    assert claims(tmp_path) == []


@pytest.mark.parametrize(("end", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_waits_can_be_stopped(
    gate: Gate, start: Start, tmp_path: Path, end: signal.Signals, code: int
) -> None:
    task = folder(gate.store, gate.store.new_bucket({"d/held": b"x"}))
    one = start(task)
    assert gate.reached.wait(PATIENCE_S)
    two = start(task)
    wait_until(lambda: two.waits_for(one), most_s=PATIENCE_S)
    began_s = time.monotonic()
    two.process.send_signal(end)
    assert two.end() == code
    assert time.monotonic() - began_s < 5
    assert len(claims(tmp_path)) == 1
    gate.opened.set()
    assert (one.end(), one.statuses) == (0, {"downloaded"})


def test_what_the_first_could_not_fetch_the_second_tries_again(
    s3: Store, start: Start, tmp_path: Path
) -> None:
    reached, opened, mended = (threading.Event() for _ in range(3))

    def refuse(method: str, path: str, answer: Answer) -> Answer:
        if "bad" not in path or method != "GET" or mended.is_set():
            return answer
        reached.set()
        opened.wait(PATIENCE_S)
        return refused(404, "NoSuchKey")

    with spoiling(s3, refuse) as store:
        task = folder(store, store.new_bucket({"d/good": b"1", "d/bad": b"2"}))
        one = start(task)
        assert reached.wait(PATIENCE_S)
        two = start(task)
        wait_until(lambda: two.waits_for(one), most_s=PATIENCE_S)
        two.process.send_signal(signal.SIGSTOP)
        opened.set()
        assert one.end() == 4
        mended.set()
        two.process.send_signal(signal.SIGCONT)
        assert two.end() == 0, two.log
    assert one.statuses == {"downloaded", "failed"}
    assert two.statuses == {"downloaded", "unchanged"}
    assert tree(tmp_path / "out") == {"x/good": b"1", "x/bad": b"2"}


def test_what_the_first_has_read_so_far_is_room_enough_for_the_second(
    s3: Store, start: Start, tmp_path: Path
) -> None:
    reached, opened = threading.Event(), threading.Event()
    reads: list[str] = []

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if path.endswith("/large") and method == "GET":
            reads.append(path)
            if len(reads) > 1:
                reached.set()
                opened.wait(PATIENCE_S)
        return answer

    # Beside what the first has read of it already, there is no room for a second one.
    with volume(tmp_path / "out", "size=25m") as small, spoiling(s3, hold) as store:
        bucket = store.new_bucket({"d/large": random.Random(8).randbytes(20 * MIB)})
        task = folder(store, bucket)
        one = start(task, "--max-workers", "1", prefix=small.inside)
        assert reached.wait(PATIENCE_S)
        two = start(task, "--max-workers", "1", prefix=small.inside)
        wait_until(lambda: two.waits_for(one) or two.process.poll() is not None, most_s=PATIENCE_S)
        opened.set()
        assert (one.end(), two.end()) == (0, 0), one.log + two.log
    assert (one.statuses, two.statuses) == ({"downloaded"}, {"unchanged"})
