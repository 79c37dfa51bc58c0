"""A little AWS on loopback that checks what it is given: STS, metadata services, SSO, and an S3.

Every identity service hands out temporary keys, for the right proof only. The S3 passes on what is
signed with keys that it knows, by recomputing the signature; what is expired, unknown, or signed
with another secret is refused as AWS does.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers import serving
from tests.support.proxies import base_of, by_way_of
from tests.support.stores import Store

REGION = "us-east-1"
ROLE, OTHER_ROLE = (f"arn:aws:iam::123456789012:role/{name}" for name in ("reader", "other"))
LASTING_S = 3600.0
_NO_KEY = "The object was stored using a form of Server Side Encryption."
_ETAG = re.compile(rb"[0-9a-f]{32}")


def _other(etag: re.Match[bytes]) -> bytes:
    """Another etag, of the same form."""
    return hashlib.md5(b"encrypted" + etag[0]).hexdigest().encode()


@dataclass
class Keys:
    """Keys that a service handed out, or that a user has."""

    access_key: str = field(default_factory=lambda: f"ASIA{secrets.token_hex(8).upper()}")
    secret: str = field(default_factory=lambda: f"secret-{secrets.token_hex(16)}")
    token: str | None = field(default_factory=lambda: f"token-{secrets.token_hex(16)}")
    until: datetime | None = None
    #: Of whom: what the S3 lets in.
    role: str = ROLE
    #: No service takes them any more.
    has_expired: bool = False

    def document(self) -> dict[str, Any]:
        """As the metadata services and programs write them."""
        until = (self.until or datetime.now(UTC) + timedelta(hours=1)).isoformat()
        return {
            "Version": 1,
            "Code": "Success",
            "AccessKeyId": self.access_key,
            "SecretAccessKey": self.secret,
            "Token": self.token,
            "SessionToken": self.token,
            "Expiration": until.replace("+00:00", "Z"),
        }


@dataclass
class Aws:
    """What this AWS knows, and what it was asked.

    Attributes:
        address: of the identity services.
        s3: the store, by way of the S3 that checks signatures.
        lives_s: how long the keys live that are handed out.
        not_yet: how many requests of S3 are refused at first, as those of a role that is new.
        failing: how many requests for an identity fail at first.
        has_role: the instance has a role.
        fails_after: after so many keys, every request for an identity fails.
        on_expiry: called when these keys have expired.
        customer_key: all objects are encrypted with this key of the customer.
        leads_to: an address to which all requests for an identity are redirected.
        seen_by_s3: addresses and headers of all requests to S3.
        expires: the keys of the first answer with an object expire before it is sent.
        asked: the requests for an identity: which service, and the parameters.
        user: who may assume the role, for the external ID.
    """

    address: str = ""
    s3: Store = None  # type: ignore[assignment]
    lives_s: float = LASTING_S
    not_yet: int = 0
    failing: int = 0
    expires: bool = False
    has_role: bool = True
    fails_after: int = 1 << 30
    on_expiry: Callable[[], None] = lambda: None
    customer_key: bytes | None = None
    leads_to: str = ""
    seen_by_s3: list[str] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    signed_by: list[str] = field(default_factory=list)
    user: Keys = field(default_factory=lambda: Keys(token=None, role="user"))
    web_token: str = field(default_factory=lambda: f"jwt-{secrets.token_hex(16)}")
    container_token: str = field(default_factory=lambda: f"auth-{secrets.token_hex(16)}")
    sso_token: str = field(default_factory=lambda: f"sso-{secrets.token_hex(16)}")
    external_id: str = "the-external-id"
    issued: list[Keys] = field(default_factory=list)
    metadata_tokens: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self, role: str = ROLE) -> Keys:
        """New keys of a role."""
        until = datetime.now(UTC) + timedelta(seconds=self.lives_s)
        keys = Keys(until=until, role=role)
        with self.lock:
            self.issued.append(keys)
        return keys

    def known(self, access_key: str) -> Keys | None:
        """The keys of that name."""
        with self.lock:
            every = (self.user, *self.issued)
        return next((keys for keys in every if keys.access_key == access_key), None)

    def secrets(self) -> list[str]:
        """All that no output may show."""
        named = [self.web_token, self.container_token, self.sso_token, *self.metadata_tokens]
        every = (self.user, *self.issued)
        return named + [text for keys in every for text in (keys.secret, keys.token) if text]

    def fault(self, auth: type[SigV4Auth], service: str, request: _Request) -> str:
        """The code of what is wrong with a signature; empty if it is right."""
        authorization = request.headers.get("authorization", "")
        if not authorization.startswith("AWS4-HMAC-SHA256 "):
            return "AccessDenied"
        parts = dict(
            each.strip().partition("=")[::2] for each in authorization.split(" ", 1)[1].split(",")
        )
        access_key, _, region, named, _ = parts["Credential"].split("/")
        keys = self.known(access_key)
        if keys is None or named != service:
            return "InvalidAccessKeyId"
        if request.headers.get("x-amz-security-token") != keys.token:
            return "InvalidToken"
        signed = {name: request.headers[name] for name in parts["SignedHeaders"].split(";")}
        if keys.token and "x-amz-security-token" not in signed:
            return "AccessDenied"
        again = AWSRequest(request.method, request.url, signed, request.body)
        again.context["timestamp"] = signed["x-amz-date"]
        signer = auth(Credentials(keys.access_key, keys.secret, keys.token), service, region)
        canonical = signer.canonical_request(again)
        found = signer.signature(signer.string_to_sign(again, canonical), again)
        if found != parts["Signature"]:
            return "SignatureDoesNotMatch"
        self.signed_by.append(access_key)
        return "ExpiredToken" if keys.has_expired else ""


@dataclass(frozen=True)
class _Request:
    """A request as it came; names of headers are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class _Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    aws: Aws

    def request_of(self) -> _Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        return _Request(self.command, f"http://{headers['host']}{self.path}", headers, body)

    def reply(self, status: int, body: str | bytes = "", **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class Identities(_Handler):
    """STS, the container's and the instance's metadata, the portal of SSO."""

    def answer(self) -> None:
        request = self.request_of()
        path = urlsplit(self.path).path
        with self.aws.lock:
            fails = self.aws.failing > 0 or len(self.aws.issued) >= self.aws.fails_after
            self.aws.failing -= self.aws.failing > 0
        if fails:
            self.note("failed")
            self.reply(503, "not yet")
        elif self.aws.leads_to:
            self.note("redirected")
            self.reply(307, Location=self.aws.leads_to + self.path)
        elif path.startswith("/latest/"):
            self.instance(request, path)
        elif path == "/container":
            self.container(request)
        elif path == "/federation/credentials":
            self.portal(request)
        else:
            self.sts(request)

    do_GET = do_PUT = do_POST = answer  # noqa: N815 - the library's names

    def note(self, service: str, **parameters: str) -> None:
        self.aws.asked.append((service, parameters))

    def sts(self, request: _Request) -> None:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        action, role = form.get("Action", ""), form.get("RoleArn", "")
        self.note(action, host=request.headers["host"], **form)
        if action == "AssumeRoleWithWebIdentity":
            if "authorization" in request.headers:
                self.refuse(403, "AccessDenied")
            elif form.get("WebIdentityToken") != self.aws.web_token:
                self.refuse(400, "InvalidIdentityToken")
            elif role not in (ROLE, OTHER_ROLE):
                self.refuse(403, "AccessDenied")
            else:
                self.grant(action, role)
            return
        fault = self.aws.fault(SigV4Auth, "sts", request)
        if fault:
            self.refuse(403, fault)
        elif role != ROLE or form.get("ExternalId") != self.aws.external_id:
            self.refuse(403, "AccessDenied")
        else:
            self.grant(action, role)

    def grant(self, action: str, role: str) -> None:
        keys = self.aws.issue(role).document()
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
        text = "".join(f"<{name}>{keys[name]}</{name}>" for name in names)
        self.reply(
            200,
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>'
            f"<Credentials>{text}</Credentials></{action}Result></{action}Response>",
            Content_Type="text/xml",
        )

    def refuse(self, status: int, code: str) -> None:
        text = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error>"
        self.reply(status, f"{text}</ErrorResponse>", Content_Type="text/xml")

    def container(self, request: _Request) -> None:
        self.note("container")
        if request.headers.get("authorization") != self.aws.container_token:
            self.reply(401, "no")
        else:
            self.reply(200, json.dumps(self.aws.issue().document()))

    def instance(self, request: _Request, path: str) -> None:
        self.note("instance", method=request.method)
        if path == "/latest/api/token":
            if request.method != "PUT":
                self.reply(405)
                return
            token = f"imds-{secrets.token_hex(16)}"
            self.aws.metadata_tokens.add(token)
            self.reply(200, token)
        elif request.headers.get("x-aws-ec2-metadata-token") not in self.aws.metadata_tokens:
            self.reply(401)
        elif not self.aws.has_role:
            self.reply(404)
        elif path.endswith("/security-credentials/"):
            self.reply(200, "reader")
        else:
            self.reply(200, json.dumps(self.aws.issue().document()))

    def portal(self, request: _Request) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        self.note("portal", account=asked["account_id"][0], role=asked["role_name"][0])
        if request.headers.get("x-amz-sso_bearer_token") != self.aws.sso_token:
            self.reply(401, '{"message":"no"}', x_amzn_ErrorType="UnauthorizedException")
            return
        keys = self.aws.issue()
        found = {
            "accessKeyId": keys.access_key,
            "secretAccessKey": keys.secret,
            "sessionToken": keys.token,
            "expiration": int(keys.until.timestamp() * 1000) if keys.until else 0,
        }
        self.reply(200, json.dumps({"roleCredentials": found}), Content_Type="application/json")


class S3(_Handler):
    """Passes on what is signed right, by keys of the role."""

    upstream = ""

    def answer(self) -> None:
        request = self.request_of()
        self.aws.seen_by_s3.append(f"{self.path} {self.headers}")
        fault = self.aws.fault(S3SigV4Auth, "s3", request)
        with self.aws.lock:
            if not fault and self.aws.not_yet > 0:
                self.aws.not_yet -= 1
                fault = "AccessDenied"
        keys = None
        if not fault:
            keys = self.aws.known(self.aws.signed_by[-1])
            fault = "AccessDenied" if keys is None or keys.role == OTHER_ROLE else ""
        if fault:
            status = 400 if fault == "ExpiredToken" else 403
            body = f"<Error><Code>{fault}</Code><Message>no</Message></Error>"
            self.reply(status, body, Content_Type="application/xml")
            return
        if self.aws.customer_key and self.is_of_object() and (code := self.key_fault(request)):
            status, body = (403, "no") if code == "AccessDenied" else (400, _NO_KEY)
            text = f"<Error><Code>{code}</Code><Message>{body}</Message></Error>"
            self.reply(status, text, Content_Type="application/xml")
            return
        if self.aws.expires and self.command == "GET" and "list-type" not in self.path and keys:
            self.aws.expires = False
            assert keys.until is not None
            left_s = (keys.until - datetime.now(UTC)).total_seconds()
            threading.Event().wait(max(left_s, 0))
            keys.has_expired = True
            self.aws.on_expiry()
        self.pass_on(request)

    do_GET = do_HEAD = answer  # noqa: N815 - the library's names

    def is_of_object(self) -> bool:
        """Whether a request is for an object, and not for a listing."""
        return urlsplit(self.path).path.count("/") > 1 and "list-type" not in self.path

    def key_fault(self, request: _Request) -> str:
        """The code of what is wrong with the customer's key; empty if it is the right one."""
        named = "x-amz-server-side-encryption-customer-"
        given = [request.headers.get(named + each) for each in ("algorithm", "key", "key-md5")]
        if given == [None] * 3:
            return "InvalidRequest"
        key = self.aws.customer_key or b""
        right = ["AES256", base64.b64encode(key).decode()]
        right.append(base64.b64encode(hashlib.md5(key).digest()).decode())
        signed = request.headers["authorization"]
        return "" if given == right and f"{named}key;" in signed else "AccessDenied"

    def pass_on(self, request: _Request) -> None:
        connection = HTTPConnection(self.upstream, timeout=30)
        with contextlib.closing(connection):
            headers = dict(request.headers)
            if self.aws.customer_key:
                headers.pop("if-match", None)
            connection.request(self.command, self.path, request.body, headers)
            got = connection.getresponse()
            body, answered = got.read(), got.getheaders()
            if self.aws.customer_key:
                # The etag of such an object is no md5 of its bytes.
                body = _ETAG.sub(_other, body) if b"<ListBucketResult" in body else body
                answered = [
                    (name, _ETAG.sub(_other, value.encode()).decode() if name == "ETag" else value)
                    for name, value in answered
                ]
                if self.is_of_object():
                    answered.append(("x-amz-server-side-encryption-customer-algorithm", "AES256"))
            self.send_response(got.status)
            for name, value in answered:
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = got.headers.get("Content-Length") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length or 0))
            self.end_headers()
            self.wfile.write(body)


@contextlib.contextmanager
def aws(store: Store) -> Iterator[Aws]:
    """An AWS whose S3 has the buckets of a store that takes any signature."""
    made = Aws()
    of_made: dict[str, Any] = {"aws": made, "upstream": urlsplit(base_of(store)).netloc}
    with (
        serving.listening(type("Identities", (Identities,), of_made)) as identities,
        serving.listening(type("S3", (S3,), of_made)) as s3,
    ):
        made.address, made.s3 = identities, by_way_of(store, s3)
        yield made
