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
    NoAnswerError,
    NotAcceptedError,
    NotAllowedYetError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.net.statuses import as_anonymous, redirect_error, retry_after_s, status_error

WHAT = "reading s3://bucket/key"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, NotAcceptedError),
        (401, NotAllowedYetError),
        (403, NotAllowedYetError),
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
        (451, NotAcceptedError),
        (500, TransientError),
        (501, NotAcceptedError),
        (502, NoAnswerError),
        (503, BusyError),
        (504, NoAnswerError),
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


@pytest.mark.parametrize("skew_s", [-7200, 0, 7200])
@pytest.mark.parametrize("age_s", [0, 30])
def test_retry_after_as_a_date_is_read_by_the_clock_of_the_answer(skew_s: int, age_s: int) -> None:
    now_s = time.time() + skew_s
    headers = {
        "date": email.utils.formatdate(now_s - age_s, usegmt=True),
        "Retry-After": email.utils.formatdate(now_s + 60, usegmt=True),
    }
    if age_s:
        headers["Age"] = f"{age_s}"
    assert retry_after_s(headers) == 60


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


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (400, "ThrottlingException", BusyError, ""),
        (403, "userRateLimitExceeded", BusyError, ""),
        (400, "RequestTimeoutException", TransientError, ""),
        (501, "InternalError", TransientError, ""),
        (500, "NotImplemented", NotAcceptedError, "does not support this request"),
        (403, "quotaExceeded", ServiceError, "quota"),
        (403, "RequestTimeTooSkewed", CredentialsError, "set this machine's clock"),
        (400, "ExpiredToken", CredentialsError, "expired"),
        (403, "SecondLevelDomainForbidden", CredentialsError, "addressing_style: virtual"),
        (400, "AuthorizationHeaderMalformed", CredentialsError, "region"),
        (400, "InvalidAccessKeyId", NotAllowedYetError, "refuses these credentials"),
        (403, "TheirCode", NotAllowedYetError, "refuses these credentials"),
        (403, "SignatureDoesNotMatch", CredentialsError, "refuses these credentials"),
    ],
)
def test_the_code_decides_before_the_status_and_both_are_shown(
    status: int, code: str, kind: type[KaiwoError], words: str
) -> None:
    error = status_error(status, WHAT, code)
    assert type(error) is kind
    assert error.message.startswith(f"{WHAT}: {status} {code}")
    assert words in error.message


def test_to_anonymous_requests_a_refusal_speaks_of_no_credentials() -> None:
    refused = as_anonymous(status_error(403, WHAT, "AccessDenied"))
    assert type(refused) is NotAllowedYetError
    assert refused.message == (
        f"{WHAT}: 403 AccessDenied: the service refuses anonymous requests; give credentials that "
        "may read this"
    )
    # Azure does not say whether there is such a container.
    hidden = as_anonymous(status_error(404, WHAT, "ResourceNotFound"))
    assert hidden.message.endswith("; what is private looks missing to anonymous requests")
    for error in (status_error(404, WHAT, "NoSuchKey"), status_error(403, WHAT, "ExpiredToken")):
        assert as_anonymous(error) is error


def test_a_text_in_the_place_of_the_code_is_not_shown() -> None:
    assert status_error(400, WHAT, "their own words").message.startswith(f"{WHAT}: 400: ")
    shown = status_error(400, WHAT, "A" * 9_999).message
    assert len(shown) < 200


def test_a_refusal_says_by_how_much_the_clocks_differ() -> None:
    def refused(away_s: float, **others: str) -> str:
        date = email.utils.formatdate(time.time() + away_s, usegmt=True)
        return status_error(403, WHAT, headers={"Date": date, **others}).message

    assert "differ by 20 minutes" in refused(1200)
    assert "differ by 20 minutes" in refused(-1200)
    assert "differ" not in refused(100)
    assert "differ" not in refused(-1200, Age="1200")
    assert "differ" not in status_error(403, WHAT, headers={"Date": "soon"}).message


@pytest.mark.parametrize(
    ("headers", "region", "kind", "words"),
    [
        ({}, None, ServiceError, "give its region, or its endpoint_url"),
        ({"x-amz-bucket-region": "eu-west-1"}, None, ServiceError, "give region: eu-west-1"),
        ({"x-amz-bucket-region": "their words"}, "x1", ServiceError, "give region: x1"),
        ({"Location": "http://other/"}, None, ServiceError, "give its region"),
        ({"Location": "HTTPS://host/"}, None, CredentialsError, "begins with https://"),
    ],
)
def test_a_redirect_says_what_to_give(
    headers: dict[str, str], region: str | None, kind: type[KaiwoError], words: str
) -> None:
    error = redirect_error(301, f"{WHAT} at http://host", "PermanentRedirect", headers, region)
    assert type(error) is kind
    assert "301 PermanentRedirect: " in error.message
    assert words in error.message
    assert "their" not in error.message
    assert "other" not in error.message.replace("another", "")
