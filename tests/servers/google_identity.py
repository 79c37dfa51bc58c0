"""Where Google's clients get tokens: everything that is sent there is checked.

    POST /token                      an assertion signed with the account's key, or a refresh token
    POST /v1/token                   a federation's subject token is exchanged (RFC 8693)
    POST /v1/projects/-/serviceAccounts/EMAIL:generateAccessToken
                                     for a caller's token only
    GET  /subject                    the subject token, for who sends the header `X-Subject: yes`
    GET  /, /computeMetadata/v1/...  a metadata server: only with `Metadata-Flavor: Google`

In the process of the test; what is given out can be taken back there.
"""

from __future__ import annotations

import contextlib
import http.server
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt

from tests.servers import google_account, serving
from tests.support.token_relay import Tokens

AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
SUBJECT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
TARGET = f"target@{google_account.PROJECT}.iam.gserviceaccount.com"
USER = {"client_id": "client", "client_secret": "secret-Kanarienvogel", "refresh_token": "refresh"}
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_STORAGE = "https://www.googleapis.com/auth/devstorage.read_only"
_METADATA = "/computeMetadata/v1/instance/service-accounts/"
Answer = tuple[HTTPStatus, Any]
_DENIED: Answer = HTTPStatus.FORBIDDEN, {"error": {"status": "PERMISSION_DENIED", "code": 403}}


@dataclass
class Google:
    """The services, and what they know.

    Attributes:
        at: their address.
        tokens: that were given.
        subject: the subject token that is exchanged.
        handed: the one that `/subject` gives.
        asked: method and path of each request.
        user: whose refresh token is good.
        has_metadata: the metadata server has an account.
    """

    at: str = ""
    tokens: Tokens = field(default_factory=Tokens)
    key: Any = field(default_factory=google_account.new_key)
    subject: str = "subject-Kanarienvogel"
    handed: str = subject
    asked: list[str] = field(default_factory=list)
    user: dict[str, str] = field(default_factory=lambda: dict(USER))
    has_metadata: bool = True

    def post(self, path: str, body: bytes, authorization: str | None) -> Answer:
        """The answer to a POST."""
        if path.endswith(f"/serviceAccounts/{TARGET}:generateAccessToken"):
            return self.impersonate(json.loads(body), authorization)
        form = dict(parse_qsl(body.decode()))
        if path == "/v1/token":
            return self.exchange(form)
        return self.sign_in(form) if path == "/token" else (HTTPStatus.NOT_FOUND, {})

    def sign_in(self, form: dict[str, str]) -> Answer:
        """A token for a user or for an account."""
        if form.get("grant_type") == "refresh_token":
            if any(form.get(name) != value for name, value in self.user.items()) or "scope" in form:
                return HTTPStatus.BAD_REQUEST, {"error": "invalid_grant"}
            return self.grant("storage")
        asked = form.get("grant_type", ""), form.get("assertion", "")
        status, answer = google_account.grant(*asked, self.key.public_key(), f"{self.at}/token")
        if status != HTTPStatus.OK:
            return status, answer
        scope = jwt.decode(asked[1], options={"verify_signature": False}).get("scope")
        return self.grant("storage" if scope == _STORAGE else "caller")

    def grant(self, purpose: str) -> Answer:
        """A token, as RFC 6749 has it."""
        said = {"access_token": self.tokens.give(purpose), "expires_in": 3600}
        return HTTPStatus.OK, {**said, "token_type": "Bearer"}

    def exchange(self, form: dict[str, str]) -> Answer:
        """A federation's token for a subject token."""
        expected = {"grant_type": _EXCHANGE, "audience": AUDIENCE, "subject_token": self.subject}
        expected |= {"subject_token_type": SUBJECT_TYPE}
        if any(form.get(name) != value for name, value in expected.items()):
            return HTTPStatus.BAD_REQUEST, {"error": "invalid_grant"}
        status, said = self.grant("storage" if form.get("scope") == _STORAGE else "caller")
        said["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
        return status, said

    def impersonate(self, body: dict[str, Any], authorization: str | None) -> Answer:
        """A token of another account, for a caller that may have it."""
        if not self.tokens.is_good(authorization, "caller") or body.get("scope") != [_STORAGE]:
            return _DENIED
        ends = datetime.now(UTC) + timedelta(hours=1)
        given = {"accessToken": self.tokens.give(), "expireTime": ends.strftime("%Y-%m-%dT%XZ")}
        return HTTPStatus.OK, given

    def get(self, path: str, headers: dict[str, str]) -> Answer:
        """The answer to a GET."""
        if path == "/subject":
            good = headers.get("x-subject") == "yes"
            return (HTTPStatus.OK, {"id": self.handed}) if good else _DENIED
        if headers.get("metadata-flavor") != "Google":
            return _DENIED
        if path == "/" or not path.startswith(_METADATA):
            return HTTPStatus.OK if path == "/" else HTTPStatus.NOT_FOUND, {}
        if not self.has_metadata:
            return HTTPStatus.NOT_FOUND, {}
        if path.endswith("/token"):
            status, said = self.grant("storage")
            last = [each for each in self.tokens.given[:-1] if each in self.tokens.valid]
            if last:  # it keeps what it has
                said["access_token"] = last[-1]
            return status, said
        return HTTPStatus.OK, {"email": google_account.EMAIL, "aliases": ["default"]}


@contextlib.contextmanager
def google() -> Iterator[Google]:
    """The services while the block runs."""
    found = Google()

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            found.asked.append(f"GET {path}")
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.answer(*found.get(path, headers))

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            found.asked.append(f"POST {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(*found.post(path, body, self.headers.get("Authorization")))

        def answer(self, status: HTTPStatus, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving.listening(Handler) as found.at:
        yield found
