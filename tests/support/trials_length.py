"""How much the trials try: little in each test run, much in ``make trials``.

A trial is a test with many cases: the steps at which a run can be killed, the examples of a
property, the stories of a state machine. ``KAIWO_TRIALS=long`` tries all
cases, or many more of them, from a new seed each time. Otherwise a few are tried, always the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_VALUE = os.environ.get("KAIWO_TRIALS", "short")
if _VALUE not in ("short", "long"):
    raise ValueError(f"KAIWO_TRIALS is {_VALUE!r}; it can be 'short' or 'long'")

#: Whether all cases are to be tried.
LONG = _VALUE == "long"
#: A property is tried with this many times as many examples when trials are long.
MORE = 20


def examples(count: int, **others: Any) -> settings:
    """Settings of hypothesis for this many examples.

    Args:
        count: of examples in a short trial.
        others: settings that the test needs besides.
    """
    return settings(
        max_examples=count * MORE if LONG else count,
        derandomize=not LONG,
        print_blob=True,
        deadline=None,  # how long one takes is the machine's affair
        database=None,
        suppress_health_check=list(HealthCheck),
        **others,
    )


#: The object stores, each by either engine: what speaks to a service, and reads its answers.
PLACES = [(store, engine) for store in ("s3", "gcs", "azure") for engine in ("fsspec", "obstore")]


def spread_over_places(
    names: Sequence[str],
    cases: Sequence[Sequence[Any]],
    *,
    is_needed: Callable[..., bool] = lambda *_: False,
) -> pytest.MarkDecorator:
    """Parametrize a test by the fixtures ``store`` and ``engine``, and by cases.

    For cases that all places treat by the same code. A short trial has each case by both engines of
    a store, and each store with some of the cases; a long one has all combinations.

    Args:
        names: of the arguments of a case.
        cases: their values.
        is_needed: whether a store, given by its name, has code for a case: then it is always tried.
    """
    few = max(2 * len(cases), len(PLACES))
    chosen = {(number % len(PLACES), number // 2 % len(cases)) for number in range(few)}
    rows = [
        (*place, *case)
        for at, place in enumerate(PLACES)
        for number, case in enumerate(cases)
        if LONG or (at, number) in chosen or is_needed(place[0], *case)
    ]
    return pytest.mark.parametrize(("store", "engine", *names), rows, indirect=["store"])
