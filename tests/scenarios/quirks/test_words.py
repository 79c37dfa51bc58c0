"""Refusals in other words than AWS's: what passes is retried, what does not says what helps."""

from __future__ import annotations

import contextlib
import http.server
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from kaiwo.errors import (
    BusyError,
    CredentialsError,
    KaiwoError,
    NotAllowedYetError,
    ServiceError,
    TransientError,
)
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Source
from kaiwo.sources.obstore.source import ObstoreSource
from kaiwo.tasks.base import Engine
from tests.servers import serving
from tests.support import certificates
from tests.support.azure import signature
from tests.support.command import Kaiwo, tree
from tests.support.engines import ALL, OBJECTS, blob_endpoint, everything, opened
from tests.support.faulty import content
from tests.support.proxies import Answer, Spoil, spoiling
from tests.support.quirks_words import (
    THEIR_WORDS,
    Seen,
    has_region,
    redirects_all,
    refusal,
    refuses_all,
    refuses_first,
    refuses_in_json,
    seen_by,
)
from tests.support.recorded import recorded
from tests.support.stores import Store
from tests.support.trials_length import LONG, spread_over_places

pytestmark = pytest.mark.usefixtures("loopback_only")
Ask = Callable[[Source, RemoteObject], object]
ASKS: dict[str, Ask] = {
    "list": lambda source, _: list(source.list("")),
    "look up": lambda source, remote: source.stat(remote.key),
    "read": lambda source, remote: source.read(remote, 0, remote.size),
    "read a range": lambda source, remote: source.read(remote, 1, remote.size),
    "stream": lambda source, remote: list(source.stream(remote)),
}


@contextlib.contextmanager
def errors(
    store: Store, engine: Engine, spoil: Spoil, **fields: str
) -> Iterator[dict[str, KaiwoError]]:
    """How each way to ask ends; no message quotes the service."""
    bucket = store.new_bucket(OBJECTS)
    with opened(store, bucket, "fsspec") as honest:
        remote = next(each for each in honest.list("") if each.key == "k")
    found = {}
    with spoiling(store, spoil) as by_way:
        for name, ask in ASKS.items():
            with opened(by_way, bucket, engine, **fields) as source:
                with pytest.raises(KaiwoError) as caught:
                    ask(source, remote)
                assert THEIR_WORDS not in caught.value.message
                found[name] = caught.value
    yield found


@spread_over_places(
    ("status", "code", "kind"),
    [
        (400, "ThrottlingException", BusyError),
        (400, "Throttling.User", BusyError),
        (403, "userRateLimitExceeded", BusyError),
        (400, "RequestTimeoutException", TransientError),
    ],
)
def test_patience_is_asked_for_by_many_codes(
    store: Store, engine: Engine, status: int, code: str, kind: type[KaiwoError]
) -> None:
    with errors(store, engine, refuses_all(status, code)) as found:
        assert {type(error) for error in found.values()} == {kind}
        assert all(f"{status} {code}" in error.message for error in found.values()), found


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, {"Code": "Throttling.Api", "Message": THEIR_WORDS}, BusyError),
        (403, {"error": {"code": "InvalidObjectState"}, "message": THEIR_WORDS}, ServiceError),
    ],
)
def test_a_gateway_of_s3_may_say_its_code_in_json(
    s3: Store, engine: Engine, status: int, content: object, kind: type[KaiwoError]
) -> None:
    with errors(s3, engine, refuses_in_json(status, content)) as found:
        # The answer to a HEAD has no body.
        kinds = {type(error) for name, error in found.items() if name != "look up"}
    assert kinds == {kind}


def test_a_run_is_patient_with_any_code(
    kaiwo: Kaiwo, tmp_path: Path, store: Store, engine: Engine
) -> None:
    bucket = store.new_bucket(OBJECTS)
    with spoiling(store, refuses_first(3, 400, "RequestLimitExceeded.IPLimit")) as by_way:
        done = kaiwo({"download_items": [by_way.task(bucket, ALL)]}, "--engine", engine)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == OBJECTS


@spread_over_places(
    ("status", "code", "kind", "words"),
    [
        (403, "RequestTimeTooSkewed", CredentialsError, "set this machine's clock"),
        (403, "SecondLevelDomainForbidden", CredentialsError, "addressing_style: virtual"),
        (400, "ExpiredToken", CredentialsError, "have expired"),
        (403, "AuthFailure.TokenFailure", NotAllowedYetError, "refuses these credentials"),
        (403, "quotaExceeded", ServiceError, "quota"),
    ],
)
def test_a_refusal_names_the_code_and_what_helps(
    store: Store, engine: Engine, status: int, code: str, kind: type[KaiwoError], words: str
) -> None:
    with errors(store, engine, refuses_all(status, code)) as found:
        assert {type(error) for error in found.values()} == {kind}
        for error in found.values():
            assert f"{status} {code}" in error.message
            assert words in error.message


#: Bytes that are no text, and words as obstore describes an error.
NO_WORDS = {
    "an object": content(1 << 20),
    "a description": b"\n\nDebug source:\nGeneric {\n    status: 503,\n    kind: Timeout,\n}",
}


@spread_over_places(
    ("status", "kind"), [(status, kind) for status in (300, 302, 418) for kind in NO_WORDS]
)
def test_a_refusal_is_told_by_its_status_whatever_comes_with_it(
    store: Store, engine: Engine, status: int, kind: str
) -> None:
    body = NO_WORDS[kind]

    def spoil(_method: str, _path: str, _answer: Answer) -> Answer:
        return Answer(status, {"Content-Type": "application/xml"}, body)

    with errors(store, engine, spoil) as found:
        assert {error.exit_code for error in found.values()} <= {3, 5}, found
        # The SDK of Azure reads the words of a refused listing before its status.
        told = (f": {status}", "not a valid Azure response")
        assert all(any(each in error.message for each in told) for error in found.values()), found


def test_501_is_final_at_once(kaiwo: Kaiwo, store: Store, engine: Engine) -> None:
    bucket, seen = store.new_bucket({"k": b"data"}), Seen()
    spoil = seen_by(refuses_all(501, "NotImplemented"), seen)
    with spoiling(store, spoil) as by_way:
        task = by_way.task(bucket, [{"folder": "", "target_path": "."}])
        done = kaiwo({"download_items": [task]}, "--engine", engine)
    assert done.code == 5, done.stderr
    assert "501 NotImplemented: the service does not support this request" in done.stderr
    assert "attempt" not in done.stderr
    assert seen.count() <= 4


# --- regions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "in_header", "in_body"),
    [
        (400, "AuthorizationHeaderMalformed", False, True),
        (400, "AuthorizationHeaderMalformed", True, False),
        (403, "SignatureDoesNotMatch", True, False),
        (301, "PermanentRedirect", True, True),
    ],
)
def test_a_service_that_names_its_region_is_asked_again_for_it(
    s3: Store, engine: Engine, status: int, code: str, *, in_header: bool, in_body: bool
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    spoil = has_region("garage", status, code, in_header=in_header, in_body=in_body)
    with spoiling(s3, spoil) as by_way, opened(by_way, bucket, engine) as source:
        if in_header:
            assert everything(source) == OBJECTS
        else:
            # The answer to a HEAD says nothing; the listing comes first.
            assert {remote.key for remote in source.list("")} == set(OBJECTS)
            assert everything(source) == OBJECTS


def test_a_run_needs_no_region_that_the_service_names(
    kaiwo: Kaiwo, tmp_path: Path, s3: Store, engine: Engine
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    spoil = has_region("garage", 400, "AuthorizationHeaderMalformed", in_header=False, in_body=True)
    with spoiling(s3, spoil) as by_way:
        items = [*ALL, {"file": "k", "target_path": "file"}]
        done = kaiwo({"download_items": [by_way.task(bucket, items)]}, "--engine", engine)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {**OBJECTS, "file": OBJECTS["k"]}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "in another region or at another address; give its region"),
        ({"x_amz_bucket_region": "eu-west-7"}, "give region: eu-west-7"),
        ({"x_amz_bucket_region": ""}, "give its region"),
        ({"x_amz_bucket_region": f"{THEIR_WORDS}, x"}, "give its region"),
        ({"Location": "http://127.0.0.1:1/"}, "connection refused"),
        ({"Location": f"/{THEIR_WORDS}"}, "give its region"),
        ({"Location": "ftp://x/"}, "give its region"),
    ],
)
@pytest.mark.parametrize("code", ["PermanentRedirect", ""] if LONG else [""])
def test_a_redirect_that_nobody_can_follow_says_what_to_give(
    s3: Store, engine: Engine, headers: dict[str, str], words: str, code: str
) -> None:
    with errors(s3, engine, redirects_all(301, code, **headers)) as found:
        for error in found.values():
            assert isinstance(error, ServiceError)
            assert words in error.message
            assert "301" in error.message or "refused" in words


@pytest.mark.parametrize("headers", [{}, {"x_amz_bucket_region": "eu-west-7"}])
def test_a_redirect_that_nobody_can_follow_costs_a_few_requests(
    kaiwo: Kaiwo, s3: Store, engine: Engine, headers: dict[str, str]
) -> None:
    bucket, seen = s3.new_bucket(OBJECTS), Seen()
    with spoiling(s3, seen_by(redirects_all(301, "", **headers), seen)) as by_way:
        task = by_way.task(bucket, [{"file": "k", "target_path": "k"}])
        done = kaiwo({"download_items": [task]}, "--engine", engine)
    assert done.code == 5, done.stderr
    assert "region" in done.stderr
    assert seen.count() <= 6


# --- from http to https -----------------------------------------------------------------------


@contextlib.contextmanager
def secured(store: Store, tmp_path: Path, seen: list[dict[str, str]]) -> Iterator[Store]:
    """The store at http, which redirects to https, where nothing without a signature is given."""

    class Guarded(serving.Quiet, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(dict(self.headers.items()))
            answer = refusal(self.path, 403, "AccessDenied")
            self.send_response(403)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815 - the library's name

    authority = certificates.authority()
    listener = http.server.ThreadingHTTPServer((serving.HOST, 0), Guarded)
    context = certificates.server(authority).tls(tmp_path)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(authority.pem)
    at = f"https://{serving.HOST}:{listener.server_port}"
    with (
        serving.in_thread(listener),
        spoiling(store, redirects_all(301, "", Location=f"{at}/somewhere")) as by_way,
    ):
        yield replace(by_way, fields={**by_way.fields, "ca_bundle": str(bundle)})


def test_a_redirect_to_https_that_drops_the_signature_says_so(
    store: Store, engine: Engine, tmp_path: Path
) -> None:
    seen: list[dict[str, str]] = []
    bucket = store.new_bucket(OBJECTS)
    with opened(store, bucket, "fsspec") as honest:
        remote = next(each for each in honest.list("") if each.key == "k")
    with secured(store, tmp_path, seen) as by_way, opened(by_way, bucket, engine) as source:
        for name, ask in ASKS.items():
            with pytest.raises(CredentialsError) as caught:
                ask(source, remote)
            assert "the service redirects from http to https" in caught.value.message, name
            assert "endpoint_url" in caught.value.message
            assert THEIR_WORDS not in caught.value.message
    # The SDK of Azure would sign for the other address: it follows no redirect. Nor does GCS.
    assert seen or (store.type != "s3" and engine == "fsspec")
    assert all("Authorization" not in headers for headers in seen)


def test_no_part_of_a_signature_goes_to_another_host(s3: Store, tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []
    bucket = s3.new_bucket(OBJECTS)
    with (
        secured(s3, tmp_path, seen) as by_way,
        opened(by_way, bucket, "fsspec", session_token="Kanarienvogel8") as source,
        pytest.raises(CredentialsError),
    ):
        source.read(RemoteObject("k", len(OBJECTS["k"]), "e"), 1, 2)
    (headers,) = seen
    assert {name.lower() for name in headers} <= {
        "host", "accept", "accept-encoding", "user-agent", "range", "if-match"
    }  # fmt: skip
    assert headers["Range"] == "bytes=1-1"


def test_a_gateway_that_redirects_to_a_signed_address_is_read(
    s3: Store, engine: Engine, tmp_path: Path
) -> None:
    """So does lakeFS: the address needs no other signature."""
    bucket = s3.new_bucket(OBJECTS)
    at = s3.settings["endpoint_url"]

    def elsewhere(method: str, path: str, answer: Answer) -> Answer:
        if method != "GET" or path.rstrip("/") == f"/{bucket}":
            return answer
        signed = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Signature=s"
        return Answer(307, {"Location": f"{at}{quote(path)}?{signed}"}, b"")

    with spoiling(s3, elsewhere) as by_way, opened(by_way, bucket, engine) as source:
        assert everything(source) == OBJECTS


def test_no_credentials_go_to_the_host_that_a_gateway_redirects_to(
    s3: Store, azure: Store, engine: Engine
) -> None:
    """A session token is a header that clients of HTTP keep; a signed address becomes a Referer."""
    bucket, container = s3.new_bucket(OBJECTS), azure.new_bucket(OBJECTS)
    signed = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Signature=s"
    with recorded(s3) as (other, asked):
        at = str(other.fields["endpoint_url"]).replace(serving.HOST, "localhost")

        def elsewhere(method: str, path: str, answer: Answer) -> Answer:
            if method != "GET" or path.rstrip("/").count("/") < 2:
                return answer
            return Answer(307, {"Location": f"{at}{quote(path)}?{signed}"}, b"")

        with (
            spoiling(s3, elsewhere) as by_way,
            opened(by_way, bucket, engine, session_token="Kanarienvogel8") as source,
        ):
            assert everything(source) == OBJECTS
        assert asked
        sas = {"connection_string": None, "sas_token": signature(azure, container)}
        with spoiling(azure, elsewhere) as by_way:
            fields = {**sas, "endpoint_url": blob_endpoint(by_way)}
            with opened(by_way, container, engine, **fields) as source, pytest.raises(KaiwoError):
                source.read(RemoteObject("k", len(OBJECTS["k"]), "e"), 1, 2)
    sent = {name.lower() for each in asked for name in each.headers}
    assert not sent & {"x-amz-security-token", "authorization", "referer"}
    assert "sig=" not in str([(each.target, dict(each.headers)) for each in asked])


def test_a_forbidden_object_does_not_slow_the_others_down(s3: Store) -> None:
    bucket, seen = s3.new_bucket({**OBJECTS, "secret": b"x"}), Seen()

    def forbids(method: str, path: str, answer: Answer) -> Answer:
        return refusal(path, 403, "AccessDenied") if path.endswith("/secret") else answer

    with (
        spoiling(s3, seen_by(forbids, seen)) as by_way,
        opened(by_way, bucket, "obstore") as source,
    ):
        remotes = {remote.key: remote for remote in source.list("")}
        seen.count()
        for requests in (2, 1):  # the second time, the code is known
            with pytest.raises(CredentialsError, match="403 AccessDenied"):
                source.read(remotes["secret"], 0, 1)
            assert seen.count() == requests
        assert bytes(source.read(remotes["k"], 0, 4)) == OBJECTS["k"]
        assert isinstance(source, ObstoreSource)
        assert not source.is_bypassed


# --- signed addresses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "words"),
    [
        (403, "AccessDenied", 3, "check the URL and its signature"),
        (403, "RequestExpired", 3, "set this machine's clock"),
        (400, "ExpiredToken", 3, "have expired"),
        (400, "ThrottlingException", 5, "attempt 2"),
        (501, "NotImplemented", 5, "does not support this request"),
    ],
)
def test_a_signed_address_that_is_refused_names_the_code(
    kaiwo: Kaiwo, s3: Store, status: int, code: str, exit_code: int, words: str
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    with spoiling(s3, refuses_all(status, code)) as by_way:
        url = f"{by_way.fields['endpoint_url']}/{bucket}/k?X-Amz-Signature=s"
        task = {"type": "url", "items": [{"file": url, "target_path": "k"}]}
        done = kaiwo({"download_items": [task]}, "--retries", "1")
    assert done.code == exit_code, done.stderr
    assert f"{status} {code}" in done.stderr
    assert words in done.stderr
    assert THEIR_WORDS not in done.stderr
