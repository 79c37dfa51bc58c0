"""SIGTERM and SIGINT: the command ends in time and with one line, even when it waits."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.servers import ROOT, free_port
from tests.support.command import clean_environment, configured, tree
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store
from tests.support.waiting import wait_until

#: The promise, and how long a test waits for what has to happen before.
PROMISED_S = 5.0
PATIENCE_S = 30.0
#: What a pipe holds that nobody reads (pipe(7)).
PIPE = 65_536
DOWNLOADER = ("-m", "kaiwo.downloader")
AS_PID_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
MIB = 1 << 20


@dataclass
class Child:
    """The command, running.

    Attributes:
        process: what was started: the command, or what made it PID 1.
        pid: the command's own.
        stderr: what was read of it so far.
    """

    process: subprocess.Popen[bytes]
    pid: int
    stderr: str = ""

    def send(self, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill(self.pid, number)

    def line_with(self, word: str) -> None:
        """Read stderr up to that word."""
        assert self.process.stderr is not None
        descriptor = self.process.stderr.fileno()
        deadline_s = time.monotonic() + PATIENCE_S
        while word not in self.stderr:
            ready = select.select([descriptor], [], [], max(deadline_s - time.monotonic(), 0))[0]
            piece = os.read(descriptor, 65_536) if ready else b""
            assert piece, f"no {word!r} in {self.stderr}"
            self.stderr += piece.decode()

    def end(self, within_s: float = PROMISED_S) -> int:
        """The exit code; fails when it takes longer."""
        _, rest = self.process.communicate(timeout=within_s)
        self.stderr += rest.decode() if rest else ""
        assert "Traceback" not in self.stderr
        return self.process.returncode


@contextlib.contextmanager
def started(
    tmp_path: Path,
    words: Sequence[str],
    *,
    pid_1: bool = False,
    env: dict[str, str] | None = None,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> Iterator[Child]:
    """Python with these arguments; killed when the block is left before it has ended."""
    process = subprocess.Popen(
        [*(AS_PID_1 if pid_1 else ()), sys.executable, *words],
        cwd=tmp_path,
        env=clean_environment(tmp_path) | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    with process:
        try:
            yield Child(process, child_of(process) if pid_1 else process.pid)
        finally:
            process.kill()


def child_of(process: subprocess.Popen[bytes]) -> int:
    """The process that ``unshare`` has made PID 1."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: process.poll() is not None or children.read_text().split() != [])
    assert process.poll() is None
    return int(children.read_text().split()[0])


@pytest.fixture(params=[False, True], ids=["process", "PID 1"])
def pid_1(request: pytest.FixtureRequest) -> bool:
    """An ordinary process, and one that is PID 1, where the kernel allows us to make one."""
    if request.param and subprocess.run([*AS_PID_1, "true"], capture_output=True).returncode:  # noqa: PLW1510
        pytest.skip("no PID namespace may be made here")
    found: bool = request.param
    return found


@dataclass
class Stalled:
    """A server that accepts every connection and never answers."""

    port: int
    connections: list[socket.socket]


@pytest.fixture
def stalled() -> Iterator[Stalled]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Stalled(listener.getsockname()[1], [])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.connections.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in server.connections:
        connection.close()


def s3_task(port: int, **fields: Any) -> dict[str, Any]:
    """A folder of a bucket at that port."""
    items = [{"folder": "", "target_path": "."}]
    return {
        "type": "s3",
        "endpoint_url": f"http://127.0.0.1:{port}",
        "access_key_id": "a",
        "secret_key": "b",
        "region": "us-east-1",
        "buckets": [{"name": "bucket", "items": items}],
    } | fields


def error_lines(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if " ERROR " in line]


# --- before anything is loaded ----------------------------------------------------------------

#: As the console script that an installation makes does it.
SCRIPT = ("-c", "import sys; from kaiwo.__main__ import main; sys.exit(main())")


@pytest.fixture
def endless_import(tmp_path: Path) -> dict[str, str]:
    """An environment in which the first package that kaiwo loads never comes to an end."""
    place = tmp_path / "packages"
    place.mkdir()
    text = "import sys, time\nsys.stderr.write('loading')\nsys.stderr.flush()\ntime.sleep(3600)\n"
    (place / "typer.py").write_text(text)
    environment = clean_environment(tmp_path)
    return {"PYTHONPATH": f"{place}{os.pathsep}{environment['PYTHONPATH']}"}


@pytest.mark.parametrize(
    "words", [DOWNLOADER, ("-m", "kaiwo"), SCRIPT], ids=["downloader", "kaiwo", "script"]
)
def test_a_signal_ends_it_while_its_packages_are_loaded(
    tmp_path: Path, endless_import: dict[str, str], words: Sequence[str], *, pid_1: bool
) -> None:
    with started(tmp_path, [*words, "config.yaml"], pid_1=pid_1, env=endless_import) as child:
        child.line_with("loading")
        child.send()
        assert child.end() == 143
    (line,) = child.stderr.removeprefix("loading").splitlines()
    assert line.endswith("ERROR stopped by SIGTERM; nothing was downloaded")


def test_the_console_script_is_the_one_that_listens_first() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"kaiwo": "kaiwo.__main__:main"}


@pytest.mark.parametrize(
    ("option", "env"),
    [
        (["--log-format", "json"], {}),
        (["--log-format=JSON"], {}),
        ([], {"KAIWO_LOG_FORMAT": "json"}),
    ],
    ids=["option", "option with =", "environment"],
)
def test_the_first_line_is_json_where_json_is_asked_for(
    tmp_path: Path, endless_import: dict[str, str], option: list[str], env: dict[str, str]
) -> None:
    words = [*DOWNLOADER, "config.yaml", *option]
    with started(tmp_path, words, env=endless_import | env) as child:
        child.line_with("loading")
        child.send(signal.SIGINT)
        assert child.end() == 130
    document = json.loads(child.stderr.removeprefix("loading"))
    assert (document["level"], document["logger"]) == ("ERROR", "kaiwo")
    assert document["message"] == "stopped by SIGINT; nothing was downloaded"


def test_as_soon_as_it_listens_a_signal_ends_it(tmp_path: Path, *, pid_1: bool) -> None:
    config = configured(tmp_path, s3_task(free_port()))
    with started(tmp_path, [*DOWNLOADER, config], pid_1=pid_1) as child:
        wait_until(lambda: catches(child.pid, signal.SIGTERM))
        child.send()
        assert child.end() == 143
    assert len(error_lines(child.stderr)) == 1


def catches(pid: int, number: int) -> bool:
    """Whether that process, once it is Python, has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = status.partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (number - 1) & 1)


# --- what it waits for -------------------------------------------------------------------------


def test_a_signal_ends_a_listing_that_never_comes(
    tmp_path: Path, stalled: Stalled, engine: str, *, pid_1: bool
) -> None:
    config = configured(tmp_path, s3_task(stalled.port))
    words = [*DOWNLOADER, config, "--engine", engine]
    with started(tmp_path, words, pid_1=pid_1) as child:
        wait_until(lambda: stalled.connections)
        child.send()
        assert child.end() == 143
    (line,) = error_lines(child.stderr)
    assert "stopped by SIGTERM; complete files are in place" in line


def test_a_signal_ends_the_reading_of_a_secret(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    os.mkfifo(secret)
    task = s3_task(free_port(), secret_key_file=str(secret))
    del task["secret_key"]
    with started(tmp_path, [*DOWNLOADER, configured(tmp_path, task)]) as child:
        writers: list[int] = []
        wait_until(lambda: child.process.poll() is not None or opened(secret, writers))
        assert writers, child.process.communicate()
        child.send()
        assert child.end() == 143
    os.close(writers[0])


def opened(pipe: Path, writers: list[int]) -> bool:
    """Whether the other side of the pipe is there; ours is added to the writers."""
    with contextlib.suppress(OSError):
        writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    return bool(writers)


@pytest.fixture
def small_files(tmp_path: Path) -> dict[str, Any]:
    """A task whose report is longer than a pipe holds."""
    folder = tmp_path / "from"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number}").write_text("x")
    return {"type": "url", "items": [{"folder": f"file://{folder}", "target_path": "."}]}


def test_a_signal_ends_the_writing_of_the_report(
    tmp_path: Path, small_files: dict[str, Any]
) -> None:
    pipe = tmp_path / "report"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    words = [*DOWNLOADER, configured(tmp_path, small_files), "--report", str(pipe)]
    with started(tmp_path, words) as child:
        wait_until(lambda: waiting(reader) > PIPE // 2)
        child.send()
        assert child.end() == 143
    os.close(reader)
    assert len(tree(tmp_path / "out")) == 400
    assert "stopped by SIGTERM" in child.stderr


def waiting(pipe: int) -> int:
    """Bytes that wait in a pipe for their reader."""
    answer = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def test_a_signal_ends_it_though_nobody_reads_what_it_says(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    capacity = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    # Each failure is a line.
    items = [{"file": f"k{number}", "target_path": f"k{number}"} for number in range(90)]
    task = s3_task(free_port(), buckets=[{"name": "bucket", "items": items}])
    words = [*DOWNLOADER, configured(tmp_path, task), "--startup-wait", "0", "--retries", "0"]
    with started(tmp_path, words, stderr=writer) as child:
        wait_until(lambda: waiting(reader) > capacity // 2)
        child.send()
        assert child.end() == 143
    os.close(reader)
    os.close(writer)


def test_a_signal_ends_the_wait_for_another_run_which_goes_on(
    tmp_path: Path, s3: Store, *, pid_1: bool
) -> None:
    objects = {"k": b"data"}
    bucket = s3.new_bucket(objects)
    go_on = threading.Event()
    items = [{"file": "k", "target_path": "k"}]
    asked = threading.Event()

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith("/k"):
            asked.set()
            go_on.wait(PATIENCE_S)
        return answer

    with spoiling(s3, spoil) as way:
        words = [*DOWNLOADER, configured(tmp_path, way.task(bucket, items))]
        with started(tmp_path, words) as first:
            assert asked.wait(PATIENCE_S)
            with started(tmp_path, words, pid_1=pid_1) as second:
                second.line_with("waiting for")
                second.send()
                assert second.end() == 143
            go_on.set()
            assert first.end(within_s=PATIENCE_S) == 0
    assert tree(tmp_path / "out") == objects


# --- cleaning up that hangs -------------------------------------------------------------------


@pytest.fixture
def full(tmp_path: Path) -> Iterator[str]:
    """A full pipe: a process that writes a report there waits for ever."""
    path = tmp_path / "full"
    os.mkfifo(path)
    both = os.open(path, os.O_RDWR)
    os.write(both, bytes(PIPE))
    yield str(path)
    os.close(both)


def has_open(pid: int, path: str) -> bool:
    """Whether a process has that file open."""
    links = (Path(f"/proc/{pid}/fd") / each for each in os.listdir(f"/proc/{pid}/fd"))
    with contextlib.suppress(OSError):  # it has closed one meanwhile
        return any(os.readlink(link) == path for link in links)
    return False


def test_cleaning_up_that_hangs_is_ended_in_time(
    tmp_path: Path, stalled: Stalled, full: str, *, pid_1: bool
) -> None:
    words = [*DOWNLOADER, configured(tmp_path, s3_task(stalled.port)), "--report", full]
    with started(tmp_path, words, pid_1=pid_1) as child:
        wait_until(lambda: stalled.connections)
        child.send()
        assert child.end() == 143
    assert "stopped by SIGTERM at once: cleaning up took more than 3.5 s" in child.stderr


def test_a_second_signal_ends_cleaning_up_at_once(
    tmp_path: Path, stalled: Stalled, full: str, *, pid_1: bool
) -> None:
    words = [*DOWNLOADER, configured(tmp_path, s3_task(stalled.port)), "--report", full]
    with started(tmp_path, words, pid_1=pid_1) as child:
        wait_until(lambda: stalled.connections)
        child.send(signal.SIGINT)
        wait_until(lambda: has_open(child.pid, full))
        child.send(signal.SIGTERM)
        assert child.end(within_s=2.0) == 130
    (line,) = error_lines(child.stderr)
    assert line.endswith("stopped by SIGINT at once: a second signal")


# --- what is told, and what is left -----------------------------------------------------------


def test_what_was_done_before_a_signal_is_told_and_the_next_run_does_the_rest(
    tmp_path: Path, s3: Store, *, pid_1: bool
) -> None:
    objects = {"a": b"1", "b": b"22", "stuck": bytes(20 * MIB)}
    bucket = s3.new_bucket(objects)
    go_on = threading.Event()

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith("/stuck"):
            go_on.wait(PATIENCE_S)
        return answer

    items = [{"folder": "", "target_path": "."}]
    told = {name: tmp_path / name for name in ("report.json", "termination", "metrics.prom")}
    options = ("--report", str(told["report.json"]), "--metrics-file", str(told["metrics.prom"]))
    env = {"KAIWO_TERMINATION_LOG": str(told["termination"])}
    with spoiling(s3, spoil) as way:
        words = [*DOWNLOADER, configured(tmp_path, way.task(bucket, items)), *options]
        debug = [*words, "--log-level", "DEBUG"]
        with started(tmp_path, debug, pid_1=pid_1, env=env) as child:
            child.line_with("/a -> ")
            child.line_with("/b -> ")
            child.send()
            assert child.end() == 143
        go_on.set()
    told_last = "2 files, 3 B in place (2 downloaded, 0 unchanged) in"
    assert told_last in child.stderr, child.stderr
    report = json.loads(told["report.json"].read_text())
    assert (report["exit_code"], report["ok"], report["downloaded"]) == (143, False, 2)
    assert report["error"]["kind"] == "stopped"
    fates = {item["source"][-1]: item["status"] for item in report["items"]}
    assert fates == {"a": "downloaded", "b": "downloaded", "k": "failed"}
    assert [item["error"]["kind"] for item in report["items"] if item["error"]] == ["unfinished"]
    message = json.loads(told["termination"].read_text())
    assert (message["exit_code"], message["downloaded"]) == (143, 2)
    metrics = told["metrics.prom"].read_text()
    assert 'kaiwo_files{status="downloaded"} 2\n' in metrics
    assert "kaiwo_exit_code 143\n" in metrics

    configured(tmp_path, s3.task(bucket, items))
    with started(tmp_path, words, env=env) as child:
        assert child.end(within_s=PATIENCE_S) == 0
    assert tree(tmp_path / "out") == objects
    assert json.loads(told["report.json"].read_text())["unchanged"] == 2
