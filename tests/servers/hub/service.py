"""The service: what each request gets, of the Hub, the LFS host and the Xet store."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from tests.servers import xet
from tests.servers.hub.answers import (
    EXPANDED_PAGE_SIZE,
    NO_ID,
    WAYS_TO_BYTES,
    XET_TOKEN,
    Fault,
    Query,
    Refusal,
    Reply,
    Wanted,
    is_true,
    storage_error,
)
from tests.servers.hub.repositories import DATE, KINDS, Commit, Content, Store
from tests.servers.hub.sending import pace, send


@dataclass(slots=True)
class Hub:
    """All hosts, their settings and what happened to them."""

    store: Store
    token: str
    page_size: int
    sign_seconds: float
    cas: xet.Cas | None = None
    rate: int = 0
    lfs_url: str = ""
    log: list[dict[str, object]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    sent: int = 0
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    # The hub

    async def answer_hub(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.startswith("/__"):
            return await self.control(request)
        as_json = request.raw_path.startswith("/api/")

        async def route() -> Reply:
            try:
                return await self.route(request)
            except Refusal as refusal:
                return refusal.reply(as_json=as_json)

        return await self.deliver(request, route)

    async def route(self, request: web.BaseRequest) -> Reply:
        """The answer to a request of the hub; only the raw path tells `/` from `%2F`."""
        path = request.raw_path.partition("?")[0]
        authorization = request.headers.get("Authorization")
        if authorization and (not self.token or authorization != f"Bearer {self.token}"):
            raise Refusal(401, "Invalid credentials in Authorization header")
        if path == "/api/whoami-v2":
            return whoami(is_known=bool(authorization))
        wanted = Wanted.of(path)
        settings = self.store.settings(wanted.kind, wanted.repo)
        is_known = bool(authorization)
        if settings is None or (
            settings.get("private") and not grants(settings, is_known=is_known)
        ):
            if is_known:
                raise Refusal(404, "Repository not found", "RepoNotFound")
            raise Refusal(401, "Invalid username or password.")
        if moved_to := settings.get("moved_to"):
            there = request.raw_path.replace(f"/{wanted.repo}/", f"/{moved_to}/", 1)
            return Reply.of("", {"Location": there}, 307)
        return await self.of_repository(request, wanted, settings, is_known=is_known)

    async def of_repository(
        self,
        request: web.BaseRequest,
        wanted: Wanted,
        settings: Mapping[str, Any],
        *,
        is_known: bool,
    ) -> Reply:
        """The answer to a request about a repository that may be known of."""
        path, _, query = request.raw_path.partition("?")
        is_gated = settings.get("gated") and not grants(settings, is_known=is_known)
        if wanted.verb in WAYS_TO_BYTES and is_gated:
            raise gate(wanted, is_known=is_known)
        commit = await asyncio.to_thread(
            self.store.commit, wanted.kind, wanted.repo, wanted.revision
        )
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {wanted.revision}", "RevisionNotFound")
        if wanted.verb in WAYS_TO_BYTES:
            is_file = wanted.verb == "resolve"
            return self.resolve(wanted, commit, request) if is_file else self.xet_token()
        if wanted.verb == "tree":
            return self.tree(wanted, commit, Query(query), f"http://{request.host}{path}")
        if wanted.verb == "paths-info":
            form = Query(await request.text())
            entries = (
                commit.entry(path, expand=is_true(form.one("expand"))) for path in form.all("paths")
            )
            return Reply.of_json([entry for entry in entries if entry])
        return Reply.of_json(information(wanted, commit, settings, Query(query)))

    def tree(self, wanted: Wanted, commit: Commit, query: Query, url: str) -> Reply:
        """One page of the entries below a folder, in the order of their paths."""
        headers = {"X-Repo-Commit": commit.sha}
        if wanted.path and wanted.path not in commit.folders:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers)
        expand, recursive = is_true(query.one("expand")), is_true(query.one("recursive"))
        below = f"{wanted.path}/" if wanted.path else ""
        cursor = base64.urlsafe_b64decode(query.one("cursor")).decode()
        paths = sorted(
            path
            for path in (*commit.files, *commit.folders)
            if path.startswith(below) and path > cursor
            if recursive or "/" not in path[len(below) :]
        )
        largest = min(self.page_size, EXPANDED_PAGE_SIZE) if expand else self.page_size
        limit = min(max(int(query.one("limit") or largest), 1), largest)
        if len(paths) > limit:
            paths = paths[:limit]
            more = {
                "expand": str(expand).lower(),
                "recursive": str(recursive).lower(),
                "limit": limit,
                "cursor": base64.urlsafe_b64encode(paths[-1].encode()).decode(),
            }
            headers["Link"] = f'<{url}?{urlencode(more)}>; rel="next"'
        return Reply.of_json([commit.entry(path, expand=expand) for path in paths], headers)

    def resolve(self, wanted: Wanted, commit: Commit, request: web.BaseRequest) -> Reply:
        """A file of git's, or the way to one of the LFS host's."""
        headers = {"X-Repo-Commit": commit.sha}
        file = commit.files.get(wanted.path)
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers)
        name = quote(wanted.path.rpartition("/")[2])
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{name}"
        if not file.is_lfs:
            headers["ETag"] = f'"{file.oid}"'
            return Reply.of_content(file.content, request.headers.get("Range"), headers)
        if file.xet_hash:
            route = f"/api/{wanted.kind}/{wanted.repo}/{XET_TOKEN}/{commit.sha}"
            headers["Link"] = f'<http://{request.host}{route}>; rel="xet-auth"'
            headers["X-Xet-Hash"] = file.xet_hash
        until = urlencode(
            {
                "response-content-disposition": headers.pop("Content-Disposition"),
                "Expires": f"{time.time() + self.sign_seconds:.3f}",
            }
        )
        signed = f"/lfs/{file.content.sha256}?{until}"
        headers["Location"] = f"{self.lfs_url}{signed}&Signature={self.sign(signed)}"
        headers["Accept-Ranges"] = "bytes"
        headers["X-Linked-Etag"] = f'"{file.content.sha256}"'
        headers["X-Linked-Size"] = str(file.content.size)
        return Reply.of(f"Found. Redirecting to {headers['Location']}", headers, 302)

    # The Xet host

    def xet_token(self) -> Reply:
        """Where the Xet host is, and what it asks for."""
        if self.cas is None:
            raise Refusal(404, "Sorry, we can't find the page you are looking for.")
        token, until = self.cas.token()
        headers = {"X-Xet-Cas-Url": self.cas.url, "X-Xet-Access-Token": token}
        headers["X-Xet-Token-Expiration"] = str(until)
        told = {"casUrl": self.cas.url, "accessToken": token, "exp": until}
        return Reply.of_json(told, headers)

    async def answer_xet(self, request: web.BaseRequest) -> web.StreamResponse:
        async def route() -> Reply:
            assert self.cas is not None
            asked, authorization = map(request.headers.get, ("Range", "Authorization"))
            status, told = self.cas.answer(request.raw_path, asked, authorization)
            if isinstance(told, Path):
                return Reply.of_content(Content(told.stat().st_size, "", "", told), asked, {})
            return Reply.of(json.dumps(told), {}, status, "application/json")

        return await self.deliver(request, route)

    # The LFS host

    def sign(self, path: str) -> str:
        return hmac.new(self.secret, path.encode(), hashlib.sha256).hexdigest()

    async def answer_lfs(self, request: web.BaseRequest) -> web.StreamResponse:
        async def route() -> Reply:
            return self.stored(request)

        return await self.deliver(request, route)

    def stored(self, request: web.BaseRequest) -> Reply:
        if "Authorization" in request.headers:
            return storage_error(400, "InvalidArgument", "Only one auth mechanism allowed")
        path, _, signature = request.raw_path.rpartition("&Signature=")
        if not hmac.compare_digest(signature.encode(), self.sign(path).encode()):
            return storage_error(403, "AccessDenied", "Access denied")
        address, _, query = path.partition("?")
        if time.time() >= float(Query(query).one("Expires")):
            return storage_error(403, "AccessDenied", "Request has expired")
        sha256 = address.removeprefix("/lfs/")
        headers = {
            "ETag": f'"{sha256}"',
            "Content-Disposition": Query(query).one("response-content-disposition"),
        }
        content = self.store.kept(sha256)
        return Reply.of_content(content, request.headers.get("Range"), headers)

    # Control

    async def control(self, request: web.BaseRequest) -> web.Response:
        what = (request.method, request.raw_path)
        if what == ("GET", "/__log"):
            return web.json_response(self.log)
        if what == ("GET", "/__stats"):
            names = ("in_flight", "max_in_flight", "sent")
            return web.json_response({name: getattr(self, name) for name in names})
        if what == ("POST", "/__reset"):
            self.log.clear()
            self.faults.clear()
            self.max_in_flight, self.sent = self.in_flight, 0
        elif what == ("POST", "/__expire"):
            self.secret = secrets.token_bytes(16)
            if self.cas:
                self.cas.expire()
        elif what == ("POST", "/__fault"):
            try:
                self.faults.append(Fault.of(await request.json()))
            except (KeyError, TypeError, ValueError, re.error) as error:
                return web.Response(status=400, text=f"{type(error).__name__}: {error}")
        else:
            return web.Response(status=404)
        return web.Response(status=204)

    def fault(self, request: web.BaseRequest) -> str:
        """The action of the first fault that this request meets, or nothing."""
        for fault in self.faults:
            if fault.meets(request) and fault.after:
                fault.after -= 1
            elif fault.meets(request):
                fault.times -= 1
                fault.until_s = min(fault.until_s, time.monotonic() + fault.seconds)
                return fault.action
        return ""

    # All hosts

    async def deliver(
        self, request: web.BaseRequest, route: Callable[[], Awaitable[Reply]]
    ) -> web.StreamResponse:
        """Sends the answer that `route` gives, or the fault that this request meets."""
        self.log.append(
            {
                "method": request.method,
                "path": request.raw_path,
                "range": request.headers.get("Range"),
                "authorization": "Authorization" in request.headers,
                "host": request.host,
            }
        )
        action = self.fault(request)
        if action == "expire":
            self.secret = secrets.token_bytes(16)
        if action.startswith("status:"):
            status, *named = action.split(":")[1:]
            headers = dict(header.split("=", 1) for header in named)
            reply = Reply.of("", headers, int(status))
        else:
            reply = await route()
        with contextlib.ExitStack() as flight:
            if request.method == "GET" and isinstance(reply.body, Path):
                self.in_flight += 1
                self.max_in_flight = max(self.max_in_flight, self.in_flight)
                flight.callback(self.land)
                if self.rate:
                    pace(request, self.rate)
            return await send(request, reply, action, flight, self.count)

    def count(self, size: int) -> None:
        self.sent += size

    def land(self) -> None:
        self.in_flight -= 1


def whoami(*, is_known: bool) -> Reply:
    if not is_known:
        raise Refusal(401, "Invalid username or password.")
    token = {"displayName": "tests", "role": "read"}
    auth = {"type": "access_token", "accessToken": token}
    return Reply.of_json({"type": "user", "id": NO_ID, "name": "tester", "orgs": [], "auth": auth})


def grants(settings: Mapping[str, Any], *, is_known: bool) -> bool:
    """Whether what is private or gated may be read."""
    return is_known and bool(settings.get("granted", not settings.get("gated")))


def gate(wanted: Wanted, *, is_known: bool) -> Refusal:
    access = f"Access to {KINDS[wanted.kind]} {wanted.repo} is restricted"
    if is_known:
        message = f"{access} and you are not in the authorized list. Visit its page to ask for it."
        return Refusal(403, message, "GatedRepo")
    message = f"{access}. You must have access to it and be authenticated to access it."
    return Refusal(401, f"{message} Please log in.", "GatedRepo")


def information(
    wanted: Wanted, commit: Commit, settings: Mapping[str, Any], query: Query
) -> dict[str, Any]:
    """What the Hub tells of a repository at a commit."""
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
    if is_true(query.one("blobs")):
        for sibling in siblings:
            file = commit.files[sibling["rfilename"]]
            sibling |= {"size": file.content.size, "blobId": file.oid}
            if file.is_lfs:
                sizes = {"size": file.content.size, "pointerSize": len(file.pointer)}
                sibling["lfs"] = {"sha256": file.content.sha256, **sizes}
    told = {
        "_id": NO_ID,
        "id": wanted.repo,
        "author": wanted.repo.rpartition("/")[0] or None,
        "sha": commit.sha,
        "lastModified": DATE,
        "createdAt": DATE,
        "private": bool(settings.get("private")),
        "gated": "manual" if settings.get("gated") else False,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": siblings,
    }
    if fields := query.all("expand"):
        return {name: value for name, value in told.items() if name in ("_id", "id", *fields)}
    return told
