"""An identity that no task names may be new: it is tried again until it has succeeded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.errors import CredentialsError, KaiwoError, NotAllowedYetError
from kaiwo.jobs import Want
from kaiwo.objects import Folder
from kaiwo.planning.gather import gather
from tests.support.faulty import (
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PromptPolicy,
    RecordingSink,
    carry_out,
    fails,
    plan_of,
)

REFUSED = NotAllowedYetError("403")


def test_a_new_identity_is_tried_until_the_wait_is_over() -> None:
    policy = RetryPolicy(retries=0, startup_wait_s=30)
    assert policy.delay_s(REFUSED, 40, 29.9, is_new=True) is not None
    assert policy.delay_s(REFUSED, 40, 30, is_new=True) is None
    assert policy.waits_s(REFUSED, has_answered=True, is_new=True) == 30
    assert max(policy.delay_s(REFUSED, n, 0, is_new=True) or 9 for n in range(20)) <= 2


@pytest.mark.parametrize(
    ("error", "is_new"), [(REFUSED, False), (CredentialsError("wrong signature"), True)]
)
def test_an_identity_that_is_known_and_what_cannot_pass_fail_at_once(
    error: KaiwoError, *, is_new: bool
) -> None:
    policy = RetryPolicy(startup_wait_s=30)
    assert policy.delay_s(error, 0, 0, is_new=is_new) is None
    assert policy.waits_s(error, has_answered=True, is_new=is_new) == 0


def test_an_identity_is_new_until_it_has_succeeded_and_a_named_one_never() -> None:
    health = ServiceHealth(3)
    pod, same, other, named = (opener(each) for each in ("s3 at a", "s3 at a", "gcs at a", ""))
    assert (health.is_new(pod), health.is_new(named)) == (True, False)
    health.allowed(pod)
    health.allowed(named)
    assert (health.is_new(same), health.is_new(other), health.is_new(named)) == (False, True, False)


def opener(ambient: str) -> FaultyOpener:
    return FaultyOpener(FaultyStore({}), ambient=ambient)


def listed(
    ambient: str, health: ServiceHealth, *errors: KaiwoError
) -> tuple[FaultyStore, KaiwoError | None]:
    """Lists a bucket of an identity whose first listings fail; the store, and the last error."""
    store = FaultyStore({"k": b"data"})
    store.list_faults = list(errors)
    opener = FaultyOpener(store, ambient=ambient)
    want = Want("task", "", opener, Folder("", ("**/*",)), None)  # type: ignore[arg-type]
    policy, sink = PromptPolicy(retries=1), RecordingSink()
    found = gather([want], InlineExecutor(), 1, policy, health, sink)
    return store, found.failed[0][1] if found.failed else None


@pytest.mark.parametrize("ambient", ["pod", ""])
def test_a_listing_waits_for_an_identity_of_the_environment_only(ambient: str) -> None:
    health = ServiceHealth(3)
    store, error = listed(ambient, health, *[REFUSED] * 4)
    if ambient:
        assert (error, len(store.listings)) == (None, 5)
        assert not health.is_new(opener("pod"))
        # It has succeeded: now a refusal is the last word.
        store, error = listed(ambient, health, REFUSED)
    assert (type(error), len(store.listings)) == (NotAllowedYetError, 1)


def test_an_object_waits_as_a_listing_does(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1", "b": b"2"})
    store.script(("a", 0), *[fails(REFUSED)] * 3, lambda data: data)
    plan = plan_of(FaultyOpener(store, ambient="pod"), tmp_path)
    run = carry_out(plan, tmp_path, policy=PromptPolicy(retries=1), workers=1)
    assert run.report.ok
    assert sum(item.attempts for item in run.report.items) == 5
