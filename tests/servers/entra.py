"""Where Azure's clients get tokens: everything that is sent there is checked.

    GET  /TENANT/v2.0/.well-known/openid-configuration
    POST /TENANT/oauth2/v2.0/token   client credentials: by secret, by an assertion signed with the
                                     certificate's key, or by a pod's federated token
    GET  /msi/token                  a managed identity, for who sends the right X-IDENTITY-HEADER
    GET  /metadata/identity/oauth2/token    the same of a machine, only with `Metadata: true`
    GET  /az                         what the Azure CLI would get

All give tokens for storage accounts only. In the process of the test, behind TLS.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt

from tests.servers import serving
from tests.support.token_relay import Tokens

TENANT, CLIENT = "tenant-of-test", "client-of-test"
SECRET = "secret-Kanarienvogel"
RESOURCE = "https://storage.azure.com"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
Answer = tuple[HTTPStatus, Any]


@dataclass
class Entra:
    """The services, and what they know.

    Attributes:
        at: their address by plain HTTP.
        authority: their address by TLS.
        tokens: that were given.
        secret: of the service principal.
        key: the public key of its certificate, in PEM.
        federated: the token of a pod that is exchanged.
        header: what proves to be a container of the managed identity.
        identities: client IDs of managed identities; empty for the system's.
        asked: method and path of each request.
        gives_jwt: the tokens are signed, and say for whom they are, as Entra's.
    """

    at: str = ""
    authority: str = ""
    tokens: Tokens = field(default_factory=Tokens)
    secret: str = SECRET
    key: bytes = b""
    federated: str = "pod-token-Kanarienvogel"
    header: str = "header-Kanarienvogel"
    identities: set[str] = field(default_factory=lambda: {"", CLIENT})
    asked: list[str] = field(default_factory=list)
    gives_jwt: bool = False

    def grant(self) -> dict[str, Any]:
        """A token that is good for an hour."""
        ends = {"expires_in": 3600, "expires_on": str(int(time.time()) + 3600)}
        token = self.tokens.give()
        if self.gives_jwt:
            now = int(time.time())
            issuer = "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/"
            told = {"aud": RESOURCE, "iss": issuer, "iat": now, "nbf": now - 60, "exp": now + 3600}
            token = jwt.encode({**told, "jti": token}, "a key of this server's alone, unverified")
        return {"access_token": token, "token_type": "Bearer", **ends}

    def post(self, path: str, form: Mapping[str, str]) -> Answer:
        """The answer to a POST."""
        if path != f"/{TENANT}/oauth2/v2.0/token":
            return HTTPStatus.NOT_FOUND, {"error": "invalid_tenant"}
        is_client = form.get("grant_type") == "client_credentials"
        is_client = is_client and form.get("client_id") == CLIENT
        if not is_client or form.get("scope") != f"{RESOURCE}/.default":
            return _refused("AADSTS700016: no such application or resource")
        if "client_secret" in form:
            right = form["client_secret"] == self.secret
            return (HTTPStatus.OK, self.grant()) if right else _refused("AADSTS7000215: secret")
        if form.get("client_assertion_type") != _ASSERTION:
            return _refused("AADSTS7000216: no proof")
        assertion = form["client_assertion"]
        if assertion == self.federated or self.is_signed(assertion):
            return HTTPStatus.OK, self.grant()
        return _refused("AADSTS700027: the assertion is not valid")

    def is_signed(self, assertion: str) -> bool:
        """Whether the certificate's key has signed an assertion for this endpoint."""
        with contextlib.suppress(jwt.PyJWTError, ValueError):
            told = jwt.decode(
                assertion,
                self.key,
                algorithms=["RS256", "PS256"],
                audience=f"{self.authority}/{TENANT}/oauth2/v2.0/token",
                issuer=CLIENT,
                options={"require": ["exp", "aud", "iss", "sub", "jti"]},
            )
            return bool(told["sub"] == CLIENT)
        return False

    def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """The answer to a GET."""
        if path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            base = f"{self.authority}/{TENANT}"
            ends = {"token": "oauth2/v2.0/token", "authorization": "oauth2/v2.0/authorize"}
            found = {f"{name}_endpoint": f"{base}/{end}" for name, end in ends.items()}
            return HTTPStatus.OK, {**found, "issuer": f"{base}/v2.0"}
        if query.get("resource", "").rstrip("/") != RESOURCE:
            return _refused("AADSTS500011: another resource")
        if path == "/msi/token" and headers.get("x-identity-header") != self.header:
            return HTTPStatus.UNAUTHORIZED, {"error": "unauthorized"}
        if path.startswith("/metadata") and headers.get("metadata") != "true":
            return HTTPStatus.BAD_REQUEST, {"error": "bad_request"}
        if query.get("client_id", "") not in self.identities:
            told = {"error": "invalid_request", "error_description": "Identity not found"}
            return HTTPStatus.BAD_REQUEST, told
        return HTTPStatus.OK, {**self.grant(), "resource": RESOURCE}


def _refused(reason: str) -> Answer:
    return HTTPStatus.UNAUTHORIZED, {"error": "invalid_client", "error_description": reason}


@contextlib.contextmanager
def entra() -> Iterator[Entra]:
    """The services while the block runs."""
    found = Entra()

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found.asked.append(f"GET {parts.path}")
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.answer(*found.get(parts.path, dict(parse_qsl(parts.query)), headers))

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            found.asked.append(f"POST {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(*found.post(path, dict(parse_qsl(body.decode()))))

        def answer(self, status: HTTPStatus, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving.listening(Handler) as found.at:
        yield found
