"""The tree of errors."""

from __future__ import annotations

import copy
import importlib
import itertools
import pickle
import pkgutil
import re
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import kaiwo
from kaiwo import errors
from kaiwo.engine.retry import RetryPolicy
from kaiwo.errors import (
    EXIT_CODE_ORDER,
    BugError,
    KaiwoError,
    NotFoundError,
    PassingDiskError,
    StoppedError,
    TransientError,
    cause_of,
    exit_code_of,
    first_exit_code,
)

MESSAGE = "reading s3://bucket/ñ/日本: what failed, and what to do"


def kinds(base: type[KaiwoError] = KaiwoError) -> Iterator[type[KaiwoError]]:
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == "kaiwo.errors":
            yield from kinds(kind)


KINDS = list(kinds())


def made(kind: type[KaiwoError], message: str = MESSAGE) -> KaiwoError:
    if issubclass(kind, StoppedError):
        return kind(message, 15)
    if issubclass(kind, TransientError):
        return kind(message, 2.5)
    return kind(message)


def boom(kind: type[KaiwoError]) -> None:
    raise made(kind) from ValueError("the cause")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_pickling(kind: type[KaiwoError], protocol: int) -> None:
    error = made(kind)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is kind
    assert again.args == error.args
    assert again.message == str(again) == MESSAGE
    assert vars(again) == vars(error)
    assert (again.exit_code, again.kind) == (error.exit_code, error.kind)


def others() -> Iterator[BaseException]:
    """One of each exception of kaiwo outside the tree."""
    for module in pkgutil.walk_packages(kaiwo.__path__, "kaiwo."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    arguments: dict[str, tuple[object, ...]] = {
        "Interrupted": (StoppedError(MESSAGE, 15),),
        "RefusalHiddenError": (TransientError(MESSAGE), "AccessDenied"),
        "RefusedError": (503, "SlowDown", {"Retry-After": "1"}, "http://localhost"),
        "RetryAfterHiddenError": (TransientError(MESSAGE, 2.5),),
    }
    found, bases = set[type[BaseException]](), [BaseException]
    while bases:
        kinds_below = bases.pop().__subclasses__()
        bases += kinds_below
        found |= {each for each in kinds_below if each.__module__.startswith("kaiwo.")}
    for kind in found - set(KINDS):
        yield kind(*arguments.get(kind.__name__, (MESSAGE,)))


def test_every_other_exception_survives_pickling_and_copying() -> None:
    made_of = list(others())
    assert len(made_of) > 5
    for error in made_of:
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(again) is type(error)
            assert str(again) == str(error)
            assert vars(again).keys() == vars(error).keys()


@pytest.mark.parametrize("kind", KINDS)
def test_notes_survive_pickling(kind: type[KaiwoError]) -> None:
    error = made(kind)
    error.add_note("while training")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while training"]


def caught(code: str, name: str = "__main__", file: str = "/tmp/cell.py") -> KaiwoError:
    """What a program of the user raises by calling kaiwo."""
    names = {"__name__": name, "kaiwo": kaiwo}
    with pytest.raises(KaiwoError) as raised:
        exec(compile(code, file, "exec"), names)
    error = raised.value
    # A kernel's traceback begins at the cell; here it begins at the test.
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next
    while error.__traceback__ is not None and error.__traceback__.tb_frame.f_globals is not names:
        error.__traceback__ = error.__traceback__.tb_next
    return error


def test_in_a_notebook_an_error_is_one_line_and_the_calls_of_the_user() -> None:
    (line,) = caught("kaiwo.fetch('nonsense')")._render_traceback_()
    assert line.startswith("ConfigError: 'nonsense' is not a URL: give s3://")
    lines = caught("def load():\n    kaiwo.fetch('x')\nload()")._render_traceback_()
    assert lines[0] == "in load, /tmp/cell.py:2"
    assert len(lines) == 2


def test_plain_python_shows_the_call_of_the_user_and_no_more_below_it() -> None:
    error = caught("kaiwo.fetch('nonsense')")
    frames = traceback.extract_tb(error.__traceback__)
    assert [Path(frame.filename).name for frame in frames] == ["cell.py", "fetch.py"]


def test_control_characters_of_an_error_do_not_reach_a_notebook() -> None:
    assert NotFoundError("a\x1b[31m\rb\nc")._render_traceback_() == [
        "NotFoundError: a\\x1b[31m\\rb\nc"
    ]


def test_an_interrupt_in_a_program_is_no_bug() -> None:
    assert exit_code_of(cause_of(KeyboardInterrupt())) == 130


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_can_be_copied(kind: type[KaiwoError]) -> None:
    error = made(kind)
    assert copy.copy(error).args == copy.deepcopy(error).args == error.args


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_can_be_told_again_with_more_words(kind: type[KaiwoError]) -> None:
    # As the plan does, to say whose listing failed.
    error = made(kind)
    longer = type(error)(f"there: {error.message}", *error.args[1:])
    assert longer.message == f"there: {MESSAGE}"
    assert vars(longer) == vars(error)


def test_errors_come_back_from_worker_processes() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future = pool.submit(boom, TransientError)
        error = future.exception(timeout=60)
    assert isinstance(error, TransientError)
    assert (error.message, error.retry_after_s) == (MESSAGE, 2.5)


def test_the_exit_codes_are_those_of_the_contract() -> None:
    codes = {kind.__name__: exit_code_of(made(kind)) for kind in KINDS}
    assert (
        codes.items()
        >= {
            "BugError": 1,
            "ConfigError": 2,
            "UnsafeNameError": 2,
            "CredentialsError": 3,
            "NotFoundError": 4,
            "ServiceError": 5,
            "CertificateError": 3,
            "TransientError": 5,
            "UnreachableError": 5,
            "RangeIgnoredError": 5,
            "DiskError": 6,
            "IntegrityError": 7,
            "ChangedError": 7,
            "StoppedError": 143,
        }.items()
    )


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_signal_is_128_and_its_number(number: int, code: int) -> None:
    assert exit_code_of(StoppedError("stopped", number)) == code


def test_only_what_passes_is_retried() -> None:
    retried = {kind for kind in KINDS if RetryPolicy().delay_s(made(kind), 0, 0.0) is not None}
    assert retried == {
        kind for kind in KINDS if issubclass(kind, TransientError | PassingDiskError)
    }


def test_every_kind_has_a_name_for_reports() -> None:
    assert all(kind.kind != "error" for kind in KINDS if kind is not KaiwoError)
    # Programs compare it, and Prometheus has it as a label.
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", kind.kind) for kind in KINDS)


def test_several_kinds_in_one_run_the_first_of_3_4_6_7_8_5_counts() -> None:
    order = (3, 4, 6, 7, 8, 5)
    assert order == EXIT_CODE_ORDER
    for count in range(1, len(order) + 1):
        for codes in itertools.permutations(order, count):
            assert first_exit_code(codes) == min(codes, key=order.index)


def test_a_defect_beside_a_failure_does_not_hide_it() -> None:
    assert first_exit_code([1, 5]) == 5
    assert first_exit_code([1]) == BugError.exit_code


def test_no_failure_is_0() -> None:
    assert first_exit_code([]) == 0


def test_an_error_without_words_still_says_its_kind() -> None:
    assert str(errors.NotFoundError()) == "not found"
