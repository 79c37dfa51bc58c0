"""HTTP statuses become kaiwo errors, and Retry-After is read."""

from __future__ import annotations

import email.utils
import time

import pytest

from kaiwo.errors import (
    BusyError,
    ChangedError,
    CredentialsError,
    KaiwoError,
    NotAcceptedError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.net.statuses import retry_after_s, status_error

WHAT = "reading s3://bucket/key"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, NotAcceptedError),
        (401, CredentialsError),
        (403, CredentialsError),
        (404, NotFoundError),
        (405, NotAcceptedError),
        (407, CredentialsError),
        (408, TransientError),
        (409, ChangedError),
        (410, NotFoundError),
        (412, ChangedError),
        (416, ChangedError),
        (425, TransientError),
        (429, BusyError),
        (451, ServiceError),
        (500, TransientError),
        (502, TransientError),
        (503, BusyError),
        (504, TransientError),
        (599, TransientError),
    ],
)
def test_each_status_is_its_kind_of_error(status: int, kind: type[KaiwoError]) -> None:
    error = status_error(status, WHAT, "TheirCode")
    assert type(error) is kind
    assert error.message.startswith(f"{WHAT}: {status} TheirCode")
    assert status_error(status, WHAT).message.startswith(f"{WHAT}: {status}")


@pytest.mark.parametrize("status", [429, 503])
def test_the_services_wish_to_wait_is_kept(status: int) -> None:
    error = status_error(status, WHAT, headers={"retry-after": "7"})
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("7", 7), (" 120 ", 120), ("-5", None), ("soon", None), ("", None)],
)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_retry_after_may_be_a_number(name: str, value: str, seconds: float | None) -> None:
    assert retry_after_s({"Other": "1", name: value}) == seconds


@pytest.mark.parametrize("value", ["inf", "infinity", "1e999", "nan"])
def test_retry_after_is_never_forever(value: str) -> None:
    # RFC 9110, 10.2.3: digits. float() takes more, and a delay without end hangs the run.
    assert retry_after_s({"Retry-After": value}) in (None, 0)


def test_retry_after_may_be_a_date() -> None:
    soon = email.utils.formatdate(time.time() + 60, usegmt=True)
    found = retry_after_s({"Retry-After": soon})
    assert found is not None
    assert 55 < found <= 60
    past = email.utils.formatdate(time.time() - 60, usegmt=True)
    assert retry_after_s({"Retry-After": past}) == 0


@pytest.mark.parametrize(
    "value", ["Mon, 99 Foo 2026 00:00:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT"]
)
def test_retry_after_as_a_broken_date_is_ignored(value: str) -> None:
    assert retry_after_s({"Retry-After": value}) is None


def test_without_retry_after_there_is_no_wish() -> None:
    assert retry_after_s({}) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ('"api";r=0;t=55', 55),
        ('"api"; r=0; t=7', 7),
        ('"api";r=12;t=55', None),
        ('"pages";r=12;t=200, "api";r=0;t=9, "resolvers";r=0;t=4', 9),
        ('"api";r=0;t=999999', 300),
        ('"api";r=0', None),
        ("nonsense", None),
    ],
)
def test_a_quota_that_is_used_up_names_its_end(value: str, seconds: float | None) -> None:
    assert retry_after_s({"RateLimit": value, "RateLimit-Policy": '"api";q=500;w=300'}) == seconds
    assert retry_after_s({"ratelimit": value, "retry-after": "3"}) == 3
