"""Claims: who takes targets, who waits, and how long a run that fell silent is believed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from kaiwo.errors import DeadlineError
from kaiwo.state import claims
from kaiwo.state.claims import Claim, Timing, is_claiming
from kaiwo.state.folder import claims_folder
from kaiwo.state.processes import this_process
from tests.support.command import clean_environment
from tests.unit.state.holders import (
    LARGE,
    MIDDLE,
    PATIENCE_S,
    PATIENT,
    QUICK,
    SMALL,
    Holding,
    eventually,
    files,
    in_thread,
    posted,
    seconds,
)


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
    with Claim(MIDDLE) as one, Claim(run, timing=PATIENT) as two:
        one.take({folder: {"a", "b"}})
        assert not two.take({folder: {"c"}})


@pytest.mark.parametrize("run", [SMALL, LARGE])
def test_of_two_in_one_process_the_second_waits(folder: str, run: str) -> None:
    looks: list[None] = []
    with Claim(MIDDLE) as one, Claim(run, lambda: looks.append(None), timing=QUICK) as two:
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
        Claim(run, lambda: looks.append(None), timing=QUICK) as own,
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
    with Claim(MIDDLE) as own, Claim(LARGE, timing=QUICK) as other:
        assert not own.take({str(tmp_path / "file" / "claims"): {"a"}, folder: {"a"}})
        assert len(files(folder)) == 1
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "file/claims" in record.getMessage()
        with in_thread(lambda: other.take({folder: {"a"}})) as taking:
            own.release()
            taking.result(PATIENCE_S)


def test_who_waits_says_for_whom_and_reminds(
    folder: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    timing = Timing(look_s=(0.01, 0.02), remind_s=0.2)
    with Claim(MIDDLE) as one, Claim(LARGE, timing=timing) as two:
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
    with (
        Claim(LARGE, timing=PATIENT) as own,
        in_thread(lambda: own.take({folder: {"a"}})) as taking,
    ):
        eventually(lambda: bool(caplog.records))
        path.unlink()
        taking.result(PATIENCE_S)
    assert "process 1 on evil\\x1b[31m\\n (since" in caplog.records[0].getMessage()


def test_waiting_ends_with_the_deadline(folder: str) -> None:
    with Claim(MIDDLE) as one, Claim(LARGE, until_s=time.monotonic() + 0.1, timing=QUICK) as two:
        one.take({folder: {"a"}})
        with pytest.raises(DeadlineError, match="waiting for the run of process"):
            two.take({folder: {"a"}})


@pytest.mark.parametrize("run", [SMALL, LARGE])
def test_a_claim_that_is_touched_for_ever_is_waited_for_within_bounds(
    folder: str, run: str
) -> None:
    """A run elsewhere that hangs, or anybody who can write there."""
    path = posted(folder, run=MIDDLE, boot="b")
    timing = Timing(**to_builtins(QUICK) | {"longest_s": 0.5})
    touching = threading.Event()

    def touch() -> bool:
        while not touching.wait(0.01):
            os.utime(path)
        return True

    with Claim(run, timing=timing) as own, in_thread(touch) as toucher:
        start_s = time.monotonic()
        with pytest.raises(DeadlineError) as caught:
            own.take({folder: {"a"}})
        assert 0.4 < time.monotonic() - start_s < PATIENCE_S
        touching.set()
        toucher.result(PATIENCE_S)
    assert caught.value.exit_code == 8
    assert "process 1 on" in caught.value.message
    assert f"end it, or remove {path}" in caught.value.message
    # It is not removed: its run may be at work.
    assert files(folder) == [path]


def test_by_default_others_are_waited_for_a_day() -> None:
    assert claims.USUAL.longest_s == 24 * 3600


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
    looks: list[None] = []
    with (
        Claim(SMALL) as one,
        Claim(MIDDLE, lambda: looks.append(None), timing=QUICK) as two,
        Claim(LARGE, timing=QUICK) as three,
    ):
        one.take({folder: {"a"}})
        with in_thread(lambda: two.take({folder: {"a", "b"}})) as taking:
            eventually(lambda: bool(looks) and len(files(folder)) == 1)
            three.take({folder: {"b"}})
            one.release()
            three.release()
            assert taking.result(PATIENCE_S)


@pytest.mark.parametrize("run", [SMALL, LARGE])
def test_a_killed_run_of_the_same_machine_is_taken_over_at_once(
    folder: str, holding: Holding, run: str
) -> None:
    first = holding({folder: {"a"}})
    assert first.says() == "taken"
    looks: list[None] = []
    with (
        Claim(run, lambda: looks.append(None), timing=PATIENT) as own,
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
    with Claim(LARGE, timing=PATIENT) as own:
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
    with Claim(LARGE, timing=PATIENT) as own:
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
        Claim(LARGE, lambda: looks.append(None), timing=QUICK) as own,
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
    with Claim(LARGE, timing=QUICK) as own:
        assert QUICK.silence_s <= seconds(lambda: own.take({folder: {"a"}})) < 5


def test_a_claim_of_days_ago_is_not_waited_for(folder: str) -> None:
    path = posted(folder)
    os.utime(path, (time.time() - 3 * 86_400,) * 2)
    with Claim(LARGE, timing=PATIENT) as own:
        assert not own.take({folder: {"a"}})
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"kaiwo-claim": "x"}'])
def test_a_claim_that_cannot_be_read_is_believed_while_it_is_touched(
    folder: str, content: str
) -> None:
    path = posted(folder)
    path.write_text(content)
    with Claim(LARGE, timing=QUICK) as own:
        assert QUICK.silence_s <= seconds(lambda: own.take({folder: {"b"}})) < 5
    assert not path.exists()


def test_a_claim_of_a_newer_version_is_waited_for_but_never_removed(folder: str) -> None:
    newer: dict[str, Any] = {"kaiwo-claim": 2, "targets": {"any": "shape"}}
    path = posted(folder, **newer)
    content = path.read_bytes()
    with Claim(LARGE, timing=QUICK) as own:
        assert QUICK.silence_s <= seconds(lambda: own.take({folder: {"b"}})) < 5
        assert seconds(lambda: own.take({folder: {"c"}})) < QUICK.silence_s, "it has been watched"
    assert path.read_bytes() == content


def test_a_claim_is_touched_while_it_is_held(folder: str) -> None:
    with Claim(MIDDLE, timing=QUICK) as own:
        own.take({folder: {"a"}})
        (path,) = files(folder)
        begun_ns = path.stat().st_mtime_ns
        eventually(lambda: path.stat().st_mtime_ns > begun_ns)


def test_who_was_taken_for_dead_says_so_once_and_goes_on(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Claim(MIDDLE, timing=QUICK) as own:
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
    assert Timing() == Timing(touch_s=5.0, silence_s=30.0, look_s=(0.2, 1.0), remind_s=30.0)


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


#: Takes random targets of two roots, round after round; no one else may have their marks then.
CONTENDER = """\
import json, os, random, sys
from kaiwo.state.claims import Claim, Timing
seed, rounds, marks, *folders = sys.argv[1:]
dice = random.Random(int(seed))
timing = Timing(look_s=(0.001, 0.01))
for number in range(int(rounds)):
    dice.shuffle(folders)
    wanted = {folder: set(dice.sample("abcdefgh", dice.randint(1, 3))) for folder in folders}
    with Claim(f"{dice.randrange(16**8):08x}", timing=timing) as claim:
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
