"""Claims: who takes targets, who waits, and how long a run that fell silent is believed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kaiwo.errors import DeadlineError
from kaiwo.jobs import Transfer
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Opener
from kaiwo.state import claims
from kaiwo.state.claim_files import Places
from kaiwo.state.claims import Claim, Pace, is_claiming, places
from kaiwo.state.folder import claims_folder
from kaiwo.state.processes import is_running, this_process
from tests.support.command import clean_environment
from tests.support.faulty import FaultyOpener, FaultyStore

#: How long a test waits for what has to happen before it fails.
PATIENCE_S = 30.0
QUICK = Pace(touch_s=0.05, silence_s=0.8, look_s=(0.01, 0.05))
#: One that believes silent claims for longer than any test lasts.
PATIENT = Pace(silence_s=3600.0)
SMALL, MIDDLE, LARGE = "0" * 8, "8" * 8, "f" * 8

#: Takes the places that its first argument names, says so, and holds them until its input ends.
#: When it has to wait for that, it says so once.
HOLDER = """\
import json, sys
from kaiwo.state.claims import Claim, Pace
told = json.loads(sys.argv[1])
wanted = {folder: set(own) for folder, own in told["places"].items()}
words = iter(["waits"])
def idle():
    for word in words:
        print(word, flush=True)
print("began", flush=True)
with Claim(told["run"], idle, pace=Pace(**told["pace"])) as claim:
    claim.take(wanted)
    print("taken", flush=True)
    sys.stdin.read()
"""


@dataclass
class Child:
    """A run in a process of its own."""

    process: subprocess.Popen[str]

    def says(self) -> str:
        """Its next line, or nothing when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it without a chance to tidy up; it stays a zombie."""
        self.process.kill()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)


Holding = Callable[..., Child]


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Holding]:
    """Starts children that take places; they end with the test."""
    children: list[Child] = []

    def start(
        wanted: Places, run: str = MIDDLE, touch_s: float = 0.05, prefix: Sequence[str] = ()
    ) -> Child:
        told = {
            "places": {folder: sorted(own) for folder, own in wanted.items()},
            "run": run,
            "pace": {"touch_s": touch_s, "silence_s": 0.8, "look_s": [0.01, 0.05]},
        }
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", HOLDER, json.dumps(told)],
            env=clean_environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(Child(process))
        assert children[-1].says() == "began"
        return children[-1]

    yield start
    for child in children:
        with contextlib.suppress(OSError):
            child.process.kill()
        with child.process:
            pass


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder of claims that is not there yet."""
    return str(tmp_path / "root" / ".kaiwo" / "claims")


@contextlib.contextmanager
def in_thread(work: Callable[[], bool]) -> Iterator[Future[bool]]:
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(work)


def eventually(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline_s, "it never came to be"
        pause.wait(0.01)


def files(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*")) if Path(folder).exists() else []


def posted(folder: str, run: str = MIDDLE, **fields: Any) -> Path:
    """A claim of another machine's run on target ``a``, as it would lie there."""
    document = {
        "kaiwo-claim": 1,
        "host": "elsewhere",
        "boot": "another",
        "namespace": "pid:[1]",
        "pid": 1,
        "start": 1,
        "since": "2025-03-01T12:00:00Z",
        "targets": ["a"],
    }
    path = Path(folder, f"{run}-1-0.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document | fields))
    return path


def seconds(work: Callable[[], object]) -> float:
    start_s = time.monotonic()
    work()
    return time.monotonic() - start_s


# --- taking and letting go --------------------------------------------------------------------


def test_free_targets_are_taken_at_once_and_shown_in_a_file(folder: str) -> None:
    with Claim(MIDDLE) as own:
        assert not own.take({folder: {"a", "b"}})
        (path,) = files(folder)
        told = json.loads(path.read_text())
        assert (path.name, told["kaiwo-claim"]) == (f"{MIDDLE}-1-0.json", 1)
        assert sorted(told.pop("targets")) == ["a", "b"]
        assert (told["pid"], told["boot"]) == (os.getpid(), this_process().boot)
    assert files(folder) == []


def test_nothing_of_a_claim_is_left_where_nothing_was(folder: str, tmp_path: Path) -> None:
    with Claim(MIDDLE) as own:
        own.take({folder: {"a"}})
    assert list(tmp_path.iterdir()) == []


def test_what_else_is_in_the_state_folder_stays(folder: str) -> None:
    with Claim(MIDDLE) as own:
        own.take({folder: {"a"}})
        Path(folder).with_name("manifest.jsonl").touch()
    assert [path.name for path in Path(folder).parent.iterdir()] == ["manifest.jsonl"]


def test_no_targets_need_no_claim(folder: str, tmp_path: Path) -> None:
    with Claim(MIDDLE) as own:
        assert not own.take({})
        assert not own.take({folder: frozenset()})
        assert list(tmp_path.iterdir()) == []


def test_an_error_lets_go(folder: str) -> None:
    with pytest.raises(ZeroDivisionError), Claim(MIDDLE) as own:
        print(1 / int(own.take({folder: {"a"}})))
    assert files(folder) == []


def test_fewer_targets_are_covered_and_others_are_taken_anew(folder: str) -> None:
    with Claim(MIDDLE) as own:
        own.take({folder: {"a", "b"}})
        before = files(folder)
        assert not own.take({folder: {"b"}})
        assert files(folder) == before
        assert not own.take({folder: {"b", "c"}})
        (path,) = files(folder)
        assert sorted(json.loads(path.read_text())["targets"]) == ["b", "c"]


@pytest.mark.parametrize("run", [SMALL, LARGE])
def test_other_targets_of_the_same_root_do_not_wait(folder: str, run: str) -> None:
    with Claim(MIDDLE) as one, Claim(run, pace=PATIENT) as two:
        one.take({folder: {"a", "b"}})
        assert not two.take({folder: {"c"}})


@pytest.mark.parametrize("run", [SMALL, LARGE])
def test_of_two_in_one_process_the_second_waits(folder: str, run: str) -> None:
    looks: list[None] = []
    with Claim(MIDDLE) as one, Claim(run, lambda: looks.append(None), pace=QUICK) as two:
        one.take({folder: {"a", "b"}})
        with in_thread(lambda: two.take({folder: {"b", "c"}})) as taking:
            eventually(lambda: len(looks) > 5)
            assert not taking.done()
            one.release()
            assert taking.result(PATIENCE_S)


@pytest.mark.parametrize("run", [SMALL, LARGE])
def test_of_two_processes_the_second_waits(folder: str, holding: Holding, run: str) -> None:
    first = holding({folder: {"a"}})
    assert first.says() == "taken"
    looks: list[None] = []
    with (
        Claim(run, lambda: looks.append(None), pace=QUICK) as own,
        in_thread(lambda: own.take({folder: {"a"}})) as taking,
    ):
        eventually(lambda: len(looks) > 5)
        assert not taking.done()
        assert first.end() == 0
        assert taking.result(PATIENCE_S)


def test_a_folder_that_cannot_be_written_is_left_out_with_one_warning(
    folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with Claim(MIDDLE) as own, Claim(LARGE, pace=QUICK) as other:
        assert not own.take({str(tmp_path / "file" / "claims"): {"a"}, folder: {"a"}})
        assert len(files(folder)) == 1
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "file/claims" in record.getMessage()
        with in_thread(lambda: other.take({folder: {"a"}})) as taking:
            own.release()
            taking.result(PATIENCE_S)


# --- waiting ----------------------------------------------------------------------------------


def test_who_waits_says_for_whom_and_reminds(
    folder: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    pace = Pace(look_s=(0.01, 0.02), remind_s=0.2)
    with Claim(MIDDLE) as one, Claim(LARGE, pace=pace) as two:
        one.take({folder: {"a"}})
        with in_thread(lambda: two.take({folder: {"a"}})) as taking:
            eventually(lambda: len(caplog.records) >= 2)
            one.release()
            taking.result(PATIENCE_S)
    first, second = (record.getMessage() for record in caplog.records[:2])
    assert first.startswith(f"waiting for the run of process {os.getpid()} on ")
    assert "(since 20" in first
    assert second == f"still {first}"
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_a_name_in_a_foreign_claim_cannot_garble_the_log(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = posted(folder, host="evil\x1b[31m\n")
    with Claim(LARGE, pace=PATIENT) as own, in_thread(lambda: own.take({folder: {"a"}})) as taking:
        eventually(lambda: bool(caplog.records))
        path.unlink()
        taking.result(PATIENCE_S)
    assert "process 1 on evil?[31m? (since" in caplog.records[0].getMessage()


def test_waiting_ends_with_the_deadline(folder: str) -> None:
    with Claim(MIDDLE) as one, Claim(LARGE, until_s=time.monotonic() + 0.1, pace=QUICK) as two:
        one.take({folder: {"a"}})
        with pytest.raises(DeadlineError, match="waiting for the run of process"):
            two.take({folder: {"a"}})


def test_a_signal_ends_the_wait(folder: str, holding: Holding) -> None:
    with Claim(MIDDLE) as own:
        own.take({folder: {"a"}})
        waiting = holding({folder: {"a"}}, run=SMALL)
        assert waiting.says() == "waits"
        assert len(files(folder)) == 2, "it keeps its claim"
        waiting.process.send_signal(signal.SIGINT)
        assert waiting.process.wait(PATIENCE_S) == -signal.SIGINT
        assert len(files(folder)) == 1


def test_a_run_that_waits_does_not_hold_up_one_at_other_targets(folder: str) -> None:
    with Claim(SMALL) as one, Claim(MIDDLE, pace=QUICK) as two, Claim(LARGE, pace=QUICK) as three:
        one.take({folder: {"a"}})
        with in_thread(lambda: two.take({folder: {"a", "b"}})) as taking:
            eventually(lambda: len(files(folder)) == 1)
            three.take({folder: {"b"}})
            one.release()
            three.release()
            assert taking.result(PATIENCE_S)


# --- the holder is gone -----------------------------------------------------------------------


@pytest.mark.parametrize("run", [SMALL, LARGE])
def test_a_killed_run_of_the_same_machine_is_taken_over_at_once(
    folder: str, holding: Holding, run: str
) -> None:
    first = holding({folder: {"a"}})
    assert first.says() == "taken"
    looks: list[None] = []
    with (
        Claim(run, lambda: looks.append(None), pace=PATIENT) as own,
        in_thread(lambda: own.take({folder: {"a"}})) as taking,
    ):
        eventually(lambda: bool(looks))
        first.kill()
        assert taking.result(3)
        assert len(files(folder)) == 1


def test_a_run_that_was_killed_before_is_not_waited_for(folder: str, holding: Holding) -> None:
    first = holding({folder: {"a"}})
    assert first.says() == "taken"
    first.kill()
    with Claim(LARGE, pace=PATIENT) as own:
        assert not own.take({folder: {"a"}})


def test_a_killed_run_at_other_targets_is_tidied_up(folder: str, holding: Holding) -> None:
    first = holding({folder: {"a"}})
    assert first.says() == "taken"
    first.kill()
    with Claim(LARGE) as own:
        own.take({folder: {"b"}})
        assert [path.name for path in files(folder)] == [f"{LARGE}-1-0.json"]


def test_a_number_that_another_process_has_now_is_not_the_holder(folder: str) -> None:
    here = this_process()
    fields: dict[str, Any] = {"boot": here.boot, "namespace": here.namespace, "pid": here.pid}
    posted(folder, **fields, start=here.start - 1)
    with Claim(LARGE, pace=PATIENT) as own:
        assert not own.take({folder: {"a"}})


@pytest.mark.parametrize("fields", [{"boot": "b"}, {"namespace": "pid:[2]"}])
def test_a_claim_from_elsewhere_is_believed_while_it_is_touched(
    folder: str, fields: dict[str, str]
) -> None:
    here = this_process()
    named: dict[str, Any] = {"pid": here.pid, "start": here.start}
    path = posted(folder, **named | {"boot": here.boot, "namespace": here.namespace} | fields)
    looks: list[None] = []
    start_s = time.monotonic()

    def touched() -> bool:
        os.utime(path)
        return time.monotonic() - start_s > 2 * QUICK.silence_s

    with (
        Claim(LARGE, lambda: looks.append(None), pace=QUICK) as own,
        in_thread(lambda: own.take({folder: {"a"}})) as taking,
    ):
        eventually(touched)
        assert not taking.done()
        last_s = time.monotonic()
        assert taking.result(PATIENCE_S)
        assert QUICK.silence_s * 0.9 < time.monotonic() - last_s < QUICK.silence_s + 2
    assert len(looks) > 5
    assert not path.exists()


@pytest.mark.parametrize("hours", [-20, 20])
def test_a_clock_that_is_wrong_elsewhere_changes_nothing(folder: str, hours: int) -> None:
    path = posted(folder)
    then = time.time() + hours * 3600
    os.utime(path, (then, then))
    with Claim(LARGE, pace=QUICK) as own:
        assert QUICK.silence_s <= seconds(lambda: own.take({folder: {"a"}})) < 5


def test_a_claim_of_days_ago_is_not_waited_for(folder: str) -> None:
    path = posted(folder)
    os.utime(path, (time.time() - 3 * 86_400,) * 2)
    with Claim(LARGE, pace=PATIENT) as own:
        assert not own.take({folder: {"a"}})
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"kaiwo-claim": "x"}'])
def test_a_claim_that_cannot_be_read_is_believed_while_it_is_touched(
    folder: str, content: str
) -> None:
    path = posted(folder)
    path.write_text(content)
    with Claim(LARGE, pace=QUICK) as own:
        assert QUICK.silence_s <= seconds(lambda: own.take({folder: {"b"}})) < 5
    assert not path.exists()


def test_a_claim_of_a_newer_version_is_waited_for_but_never_removed(folder: str) -> None:
    newer: dict[str, Any] = {"kaiwo-claim": 2, "targets": {"any": "shape"}}
    path = posted(folder, **newer)
    content = path.read_bytes()
    with Claim(LARGE, pace=QUICK) as own:
        assert QUICK.silence_s <= seconds(lambda: own.take({folder: {"b"}})) < 5
        assert seconds(lambda: own.take({folder: {"c"}})) < QUICK.silence_s, "it has been watched"
    assert path.read_bytes() == content


def test_a_claim_is_touched_while_it_is_held(folder: str) -> None:
    with Claim(MIDDLE, pace=QUICK) as own:
        own.take({folder: {"a"}})
        (path,) = files(folder)
        begun_ns = path.stat().st_mtime_ns
        eventually(lambda: path.stat().st_mtime_ns > begun_ns)


def test_who_was_taken_for_dead_says_so_once_and_goes_on(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Claim(MIDDLE, pace=QUICK) as own:
        own.take({folder: {"a"}})
        (path,) = files(folder)
        Path(folder, "of-another").touch()
        path.unlink()
        eventually(lambda: bool(caplog.records))
        assert not own.take({folder: {"a"}})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(path) in record.getMessage()


def test_by_default_silence_is_believed_for_half_a_minute() -> None:
    assert Pace() == Pace(touch_s=5.0, silence_s=30.0, look_s=(0.2, 1.0), remind_s=30.0)


def test_a_run_is_claiming_until_it_is_found_to_be_dead(tmp_path: Path, holding: Holding) -> None:
    root = str(tmp_path / "root")
    folder = claims_folder(root)
    first = holding({folder: {"a"}})
    assert first.says() == "taken"
    with Claim(LARGE) as own:
        own.take({folder: {"b"}})
        assert is_claiming(root, None, MIDDLE)
        assert not is_claiming(root, None, MIDDLE[:-1])
        first.kill()
        own.take({folder: {"c"}})
        assert not is_claiming(root, None, MIDDLE)
        assert is_claiming(root, None, LARGE)
        assert not is_claiming(root, str(tmp_path), LARGE)


# --- other pid namespaces ---------------------------------------------------------------------

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture
def container() -> Sequence[str]:
    """What a command is begun with to be process 1 of a namespace of its own."""
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no pid namespaces here: {done.stderr.strip()}")
    return UNSHARE


def test_process_1_of_a_restarted_container_is_not_the_one_before(
    folder: str, holding: Holding, container: Sequence[str]
) -> None:
    first = holding({folder: {"a"}}, prefix=container)
    assert first.says() == "taken"
    (path,) = files(folder)
    assert json.loads(path.read_text())["pid"] == 1
    second = holding({folder: {"a"}}, run=LARGE, prefix=container)
    # It is process 1, too, and on the same host; yet it does not take itself for both.
    assert second.says() == "waits"
    first.kill()
    start_s = time.monotonic()
    assert second.says() == "taken"
    assert time.monotonic() - start_s > 0.3, "nobody can know so soon"
    assert not path.exists()


def test_a_proc_of_another_namespace_says_nothing(tmp_path: Path, container: Sequence[str]) -> None:
    code = (
        "from kaiwo.state.processes import *\n"
        "print(this_process().boot == '', is_running(this_process()))"
    )
    done = subprocess.run(
        [*container[:-1], sys.executable, "-c", code],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "None"]


def test_this_process_is_running_and_one_of_another_boot_is_unknown() -> None:
    here = this_process()
    assert is_running(here) is True
    assert is_running(type(here)("another", here.namespace, here.pid, here.start)) is None
    assert is_running(type(here)(here.boot, here.namespace, 2**70, 1)) is False


# --- many at once -----------------------------------------------------------------------------

#: Takes random targets of two roots, round after round; no one else may have their marks then.
CONTENDER = """\
import json, os, random, sys
from kaiwo.state.claims import Claim, Pace
seed, rounds, marks, *folders = sys.argv[1:]
dice = random.Random(int(seed))
pace = Pace(look_s=(0.001, 0.01))
for number in range(int(rounds)):
    dice.shuffle(folders)
    wanted = {folder: set(dice.sample("abcdefgh", dice.randint(1, 3))) for folder in folders}
    with Claim(f"{dice.randrange(16**8):08x}", pace=pace) as claim:
        claim.take(wanted)
        paths = [f"{marks}/{os.path.basename(os.path.dirname(os.path.dirname(folder)))}-{each}"
                 for folder, own in wanted.items() for each in own]
        for path in paths:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.sched_yield()
        for path in paths:
            os.unlink(path)
"""


@pytest.mark.slow
def test_no_two_of_many_ever_have_the_same_target_and_none_is_stuck(tmp_path: Path) -> None:
    folders = [str(tmp_path / root / ".kaiwo" / "claims") for root in ("one", "two")]
    (tmp_path / "marks").mkdir()
    contenders = [
        subprocess.Popen(
            [sys.executable, "-c", CONTENDER, f"{seed}", "60", str(tmp_path / "marks"), *folders],
            env=clean_environment(tmp_path),
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(6)
    ]
    for contender in contenders:
        _, errors = contender.communicate(timeout=90)
        assert contender.returncode == 0, errors
    assert [files(folder) for folder in folders] == [[], []]


# --- which targets ----------------------------------------------------------------------------


def transfer(target: str, root: str, blob: str | None = None) -> Transfer:
    opener: Opener = FaultyOpener(FaultyStore())
    return Transfer(0, "run", "task", opener, RemoteObject("key", 1), target, root, blob)


def hashes(*transfers: Transfer) -> frozenset[str]:
    """What is claimed, all folders together."""
    found: Mapping[str, Any] = places(transfers)
    return frozenset(each for own in found.values() for each in own)


def test_claims_lie_in_the_state_folder_of_the_root_or_in_the_one_that_was_named() -> None:
    assert list(places([transfer("/r/a", "/r")])) == ["/r/.kaiwo/claims"]
    (folder,) = places([transfer("/r/a", "/r")], "/state")
    assert folder == claims_folder("/r", "/state")
    assert Path(folder).parent == Path("/state")
    assert folder != claims_folder("/q", "/state")


def test_a_target_is_the_same_wherever_its_root_is_mounted(tmp_path: Path) -> None:
    assert hashes(transfer("/r/x/a", "/r")) == hashes(transfer("/q/s/x/a", "/q/s"))
    assert hashes(transfer("/r/a", "/r")) != hashes(transfer("/r/b", "/r"))
    assert hashes(transfer("/a", "/")) == hashes(transfer("/r/a", "/r"))
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to("root")
    link, root = (str(tmp_path / name) for name in ("link", "root"))
    assert hashes(transfer(f"{link}/a", link)) == hashes(transfer(f"{root}/a", root))


def test_a_target_behind_a_link_inside_its_root_is_the_one_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    root = str(tmp_path)
    assert hashes(transfer(f"{root}/link/a", root)) == hashes(transfer(f"{root}/folder/a", root))


def test_a_blob_is_claimed_beside_the_link_to_it() -> None:
    own = hashes(transfer("/r/snapshots/1/a", "/r", "/r/blobs/x"))
    other = hashes(transfer("/r/snapshots/2/a", "/r", "/r/blobs/x"))
    assert (len(own), len(own & other)) == (2, 1)


def test_a_hundred_thousand_targets_are_claimed_quickly_in_a_small_file(tmp_path: Path) -> None:
    dice = random.Random(5)
    root = str(tmp_path / "root")
    transfers = [
        transfer(f"{root}/folder{number % 100}/{dice.randrange(10**9)}-{number}", root)
        for number in range(100_000)
    ]
    best_s = float("inf")
    for run in ("1", "2", "3"):
        with Claim(run) as own:
            best_s = min(best_s, seconds(lambda own=own: own.take(places(transfers))))  # type: ignore[misc]
            (path,) = files(claims_folder(root))
            assert path.stat().st_size < 3_000_000
    assert best_s < 1.0
    print(f"{best_s:.3f} s")


def test_the_constants_leave_others_the_time_to_withdraw() -> None:
    assert claims.FIRST_LOOK_S < claims.SAY_AFTER_S <= 1.0


def test_a_relative_folder_that_is_not_there_yet_is_made_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Claim("ab") as claim:
        assert claim.take({"not/there": {"0011223344556677"}}) is False
        assert len(list((tmp_path / "not/there").iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
