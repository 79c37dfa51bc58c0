"""A Hugging Face Hub of our own: a folder, served as huggingface_hub expects it.

    python -m tests.servers.hub --root DIR [--port N] [--token T] [--page-size N] [--sign-seconds S]
                                [--xet]

The settings are `endpoint_url`, `lfs_url` and `token`: T is the only valid token, and empty where
none is valid. With --xet there is `xet_url` too: LFS files that are not empty can also be had from
a Xet store (see `xet`), and trees and HEADs tell of it.

DIR, read again at each request that names a branch or a tag:

    DIR/{models,datasets,spaces}/OWNER--REPO/REVISION/…files…     OWNER/REPO
    DIR/{models,datasets,spaces}/REPO/REVISION/…files…            a canonical, one-word REPO
    DIR/{models,datasets,spaces}/OWNER--REPO/.kaiwo-hub.json      optional:

    {"private": true,            hidden from whoever has no valid token
     "gated": true,              listed for all, its files are refused
     "granted": true,            whether T may read it; default: private yes, gated no
     "moved_to": "OWNER/NEW",    it was renamed: 307 to the same path of the other
     "lfs": ["*.bin"]}           these alone are LFS; default: *.bin, *.safetensors, all above 1 MiB

REVISION is a branch, tag or ref, percent-encoded (`main`, `v1.0`, `refs%2Fpr%2F1`). Object ids are
git's own (blobs, LFS pointers, trees); a commit is a function of the repository's name and tree,
so a changed file moves its branch, and two revisions with the same files share a commit. The bytes
of every commit once seen are kept, beside DIR's repositories, and served until the end.

Hub (`endpoint_url`):

    GET        /api/KIND/R[/revision/REV][?blobs=true][&expand=FIELD…]     sha, siblings, private, …
    GET        /api/KIND/R/tree/REV[/FOLDER]?recursive&expand&limit&cursor     pages, by `Link`
    POST       /api/KIND/R/paths-info/REV           paths=…&expand=…
    GET        /api/KIND/R/xet-read-token/REV       with --xet: as JSON, and as headers
    GET        /api/whoami-v2
    GET, HEAD  [/datasets|/spaces]/R/resolve/REV/F  the bytes, or 302 to the LFS host

LFS host (`lfs_url`): GET, HEAD /lfs/SHA256?…&Expires=…&Signature=…   400 to an Authorization
header, 403 when expired or signed otherwise.

Control (on the hub, not logged):

    GET   /__log      [{"method", "path", "range", "authorization": bool, "host"}], of all hosts
    GET   /__stats    {"in_flight", "max_in_flight"} of GETs that serve file bytes
    POST  /__reset    forgets the log, the maximum and the faults
    POST  /__expire   every URL and Xet token signed so far is refused from now on
    POST  /__fault    {"match": regex on the raw path and query, "action": A, "times": 1,
                       "after": 0, "seconds": any, "method": any}: not the first so many that
                       match, and only so long after the first that is met

A: `status:503`, `status:429:retry-after=1`, `expire` (as above, and then as always), or what
happens to the body: `truncate` (half of it, then the end of the connection), `reset` (half of it,
then RST), `stall` (half of it, then nothing), `flip` (the last byte is wrong). Answers without a
body fail before their headers.

As on the real Hub, an anonymous 401 carries no `X-Error-Code`. huggingface_hub takes it for a
missing repository at `https` addresses only; here, at `http`, it is a plain HfHubHTTPError.
"""

import argparse
import asyncio
import base64
import contextlib
import fnmatch
import hashlib
import hmac
import io
import json
import math
import re
import secrets
import socket
import struct
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from aiohttp import web

from tests.servers import serving, xet

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
XET_TOKEN = "xet-read-token"
VERBS = {"revision", "tree", "paths-info", XET_TOKEN}
WAYS_TO_BYTES = {"resolve", XET_TOKEN}
REPO_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
LFS_PATTERNS = ("*.bin", "*.safetensors")
LFS_SIZE = 1 << 20
EXPANDED_PAGE_SIZE = 50
NO_HEADERS: Mapping[str, str] = {}
NO_ID = "0" * 24
DATE = "2024-01-01T00:00:00.000Z"


# --- what is stored ---------------------------------------------------------------------------


def git_oid(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes as they were when they were first seen, kept in a file of their own."""

    size: int
    git_oid: str
    sha256: str
    kept: Path


@dataclass(frozen=True, slots=True)
class File:
    content: Content
    is_lfs: bool
    xet_hash: str = ""

    @property
    def pointer(self) -> bytes:
        """What git holds in place of an LFS file."""
        return (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.content.sha256}\nsize {self.content.size}\n"
        ).encode()

    @property
    def oid(self) -> str:
        return git_oid("blob", self.pointer) if self.is_lfs else self.content.git_oid


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    files: Mapping[str, File]
    folders: Mapping[str, str]
    """Path of each folder below the root, and the oid of its tree."""

    @classmethod
    def of(cls, name: str, files: Mapping[str, File]) -> "Commit":
        """The commit of these files; equal names and files give equal commits."""
        children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
        for path, file in files.items():
            folder, _, leaf = path.rpartition("/")
            children.setdefault(folder, {})[leaf] = ("100644", file.oid)
            while folder:
                folder = folder.rpartition("/")[0]
                children.setdefault(folder, {})
        folders: dict[str, str] = {}
        for folder in sorted(children, key=lambda path: path.count("/") + bool(path), reverse=True):
            # git sorts a folder as if its name ended with a slash.
            rows = sorted(
                children[folder].items(),
                key=lambda row: (row[0] + "/" * (row[1][0] == "40000")).encode(),
            )
            tree = b"".join(
                f"{mode} {leaf}\0".encode() + bytes.fromhex(oid) for leaf, (mode, oid) in rows
            )
            folders[folder] = git_oid("tree", tree)
            if folder:
                parent, _, leaf = folder.rpartition("/")
                children[parent][leaf] = ("40000", folders[folder])
        sha = git_oid("commit", f"tree {folders.pop('')}\n\n{name}\n".encode())
        return cls(sha, files, folders)

    def entry(self, path: str, *, expand: bool) -> dict[str, Any] | None:
        """What the Hub tells of a file or folder, or None where there is none."""
        if file := self.files.get(path):
            size = file.content.size
            told: dict[str, Any] = {"type": "file", "oid": file.oid, "size": size, "path": path}
            if file.is_lfs:
                lfs = {"oid": file.content.sha256, "size": size, "pointerSize": len(file.pointer)}
                told["lfs"] = lfs
            if file.xet_hash:
                told["xetHash"] = file.xet_hash
            if expand:
                scans = {"status": "safe", "avScan": None, "pickleImportScan": None}
                told["securityFileStatus"] = scans
        elif oid := self.folders.get(path):
            told = {"type": "directory", "oid": oid, "size": 0, "path": path}
        else:
            return None
        if expand:
            told["lastCommit"] = {"id": self.sha, "title": "Add files", "date": DATE}
        return told


class Store:
    """The repositories of a folder, and every commit of theirs that was ever seen."""

    def __init__(self, root: Path, keep: Path, xet_store: xet.Store | None) -> None:
        self._root = root
        self._keep = keep
        self._xet = xet_store
        self._hashed: dict[tuple[Path, int, int, int], Content] = {}
        self._kept: dict[str, Content] = {}
        self._commits: dict[tuple[str, str, str], Commit] = {}
        self._lock = threading.Lock()

    def settings(self, kind: str, repo: str) -> dict[str, Any] | None:
        """The settings of a repository, empty by default; None where there is no repository."""
        folder = self._folder(kind, repo)
        if not REPO_ID.fullmatch(repo) or "--" in repo or ".." in repo or not folder.is_dir():
            return None
        try:
            settings: dict[str, Any] = json.loads((folder / ".kaiwo-hub.json").read_bytes())
        except FileNotFoundError:
            return {}
        return settings

    def commit(self, kind: str, repo: str, revision: str) -> Commit | None:
        with self._lock:
            if COMMIT.fullmatch(revision):
                if (kind, repo, revision) not in self._commits:
                    for folder in self._folder(kind, repo).iterdir():
                        if folder.is_dir():
                            self._scan(kind, repo, folder)
                return self._commits.get((kind, repo, revision))
            folder = self._folder(kind, repo) / quote(revision, safe="")
            is_one = revision.strip(".") != "" and folder.is_dir()
            return self._scan(kind, repo, folder) if is_one else None

    def kept(self, sha256: str) -> Content:
        """The content of an LFS file that was seen."""
        return self._kept[sha256]

    def _folder(self, kind: str, repo: str) -> Path:
        return self._root / kind / repo.replace("/", "--")

    def _scan(self, kind: str, repo: str, folder: Path) -> Commit:
        patterns = (self.settings(kind, repo) or {}).get("lfs")
        files = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = self._content(path)
            name = path.relative_to(folder).as_posix()
            is_lfs = any(
                fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(path.name, pattern)
                for pattern in (LFS_PATTERNS if patterns is None else patterns)
            )
            files[name] = File(content, is_lfs or (patterns is None and content.size > LFS_SIZE))
        if self._xet:
            hashes = self._xet.add(file.content.kept for file in files.values() if file.is_lfs)
            for name, file in files.items():
                files[name] = replace(file, xet_hash=hashes.get(file.content.kept, ""))
        commit = Commit.of(f"{kind}/{repo}", files)
        return self._commits.setdefault((kind, repo, commit.sha), commit)

    def _content(self, path: Path) -> Content:
        while True:
            before = self._state(path)
            if before in self._hashed:
                return self._hashed[before]
            content = self._read(path, before[1])
            if self._state(path) == before:
                return self._hashed.setdefault(before, content)

    @staticmethod
    def _state(path: Path) -> tuple[Path, int, int, int]:
        stat = path.stat()
        return path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

    def _read(self, path: Path, size: int) -> Content:
        sha1 = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        sha256 = hashlib.sha256()
        copy = self._keep / "incoming"
        with path.open("rb") as source, copy.open("wb") as sink:
            while chunk := source.read(1 << 20):
                sha1.update(chunk)
                sha256.update(chunk)
                sink.write(chunk)
        kept = copy.rename(self._keep / sha256.hexdigest())
        content = Content(kept.stat().st_size, sha1.hexdigest(), sha256.hexdigest(), kept)
        self._kept[content.sha256] = content
        return content


# --- what is answered -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: all of `body`, or the part of it in the half-open range `span`."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Path
    span: tuple[int, int]

    @classmethod
    def of(
        cls, body: str, headers: Mapping[str, str], status: int = 200, media: str = "text/plain"
    ) -> "Reply":
        named = {"Content-Type": f"{media}; charset=utf-8", **headers}
        return cls(status, named, body.encode(), (0, len(body.encode())))

    @classmethod
    def of_json(cls, told: object, headers: Mapping[str, str] = NO_HEADERS) -> "Reply":
        return cls.of(json.dumps(told), headers, media="application/json")

    @classmethod
    def of_content(cls, content: Content, asked: str | None, headers: Mapping[str, str]) -> "Reply":
        """The bytes asked for by a Range header; a malformed one is ignored (RFC 9110, 14.2)."""
        size = content.size
        named = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        match = RANGE.fullmatch(asked or "")
        first, last = match.groups() if match else ("", "")
        if not first and not last:
            return cls(200, named, content.kept, (0, size))
        if first:
            start, end = int(first), min(int(last) + 1, size) if last else size
            if last and int(last) < start:
                return cls(200, named, content.kept, (0, size))
        else:
            start, end = max(size - int(last), 0), size
        if start >= size:
            return cls.of("", {"Content-Range": f"bytes */{size}"}, 416)
        named["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return cls(206, named, content.kept, (start, end))


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An error answer, with the two headers that huggingface_hub tells errors by."""

    def __init__(
        self, status: int, message: str, code: str = "", headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        super().__init__(status, message, code)
        self.status, self.message = status, " ".join(message.split())
        self.headers = {"X-Error-Message": self.message, **headers}
        if code:
            self.headers["X-Error-Code"] = code
        if status == 401:
            realm = 'Bearer realm="Authentication required", charset="UTF-8"'
            self.headers["WWW-Authenticate"] = realm

    def reply(self, *, as_json: bool) -> Reply:
        if as_json:
            body = json.dumps({"error": self.message})
            return Reply.of(body, self.headers, self.status, "application/json")
        return Reply.of(self.message, self.headers, self.status)


def storage_error(status: int, code: str, message: str) -> Reply:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply.of(text, {}, status, "application/xml")


def is_true(value: str) -> bool:
    return value.lower() in {"true", "1"}


class Query:
    """The query of a URL or the fields of a form."""

    def __init__(self, text: str) -> None:
        self._values = parse_qs(text)

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def one(self, name: str) -> str:
        return self._values.get(name, [""])[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a path of the hub asks for: `path` is the file, or the folder of a tree."""

    kind: str
    repo: str
    verb: str
    revision: str
    path: str

    @classmethod
    def of(cls, raw_path: str) -> "Wanted":
        """Reads a path that is still percent-encoded; Refusal 404 where it means nothing."""
        segments = raw_path.strip("/").split("/")
        if segments[0] == "api" and len(segments) > 2 and segments[1] in KINDS:
            kind, rest = segments[1], segments[2:]
            is_one_word = len(rest) > 2 and rest[1] in VERBS and rest[2] not in VERBS
            words = 1 if is_one_word else 2
            verb, revision, *path = [*rest[words:], "revision", "main"][: max(len(rest) - words, 2)]
        else:
            kind = segments.pop(0) if segments[0] in ("datasets", "spaces") else "models"
            words = next((at for at in (1, 2) if segments[at : at + 1] == ["resolve"]), 0)
            if not words or len(segments) < words + 3:
                raise Refusal(404, "Sorry, we can't find the page you are looking for.")
            rest = segments
            verb, revision, *path = segments[words:]
        if verb not in (*VERBS, "resolve"):
            raise Refusal(404, "Sorry, we can't find the page you are looking for.")
        repo = "/".join(rest[:words])
        return cls(kind, repo, verb, unquote(revision), unquote("/".join(path)))


@dataclass(slots=True)
class Fault:
    """What becomes of the next `times` requests that match, after the first `after` of them."""

    match: re.Pattern[str]
    action: str
    times: int
    after: int
    seconds: float
    method: str | None
    until_s: float = math.inf

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Fault":
        action = told["action"]
        if not re.fullmatch(
            r"status:\d{3}(:[\w-]+=[^:]*)*|expire|truncate|reset|stall|flip", action
        ):
            raise ValueError(action)
        times, after = told.get("times", 1), told.get("after", 0)
        seconds, method = told.get("seconds", math.inf), told.get("method")
        return cls(re.compile(told["match"]), action, times, after, seconds, method)

    def meets(self, request: web.BaseRequest) -> bool:
        is_for_it = (
            self.times > 0
            and time.monotonic() < self.until_s
            and self.method in (None, request.method)
        )
        return is_for_it and self.match.search(request.raw_path) is not None


@dataclass(slots=True)
class Hub:
    """All hosts, their settings and what happened to them."""

    store: Store
    token: str
    page_size: int
    sign_seconds: float
    cas: xet.Cas | None = None
    lfs_url: str = ""
    log: list[dict[str, object]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
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
            stats = {"in_flight": self.in_flight, "max_in_flight": self.max_in_flight}
            return web.json_response(stats)
        if what == ("POST", "/__reset"):
            self.log.clear()
            self.faults.clear()
            self.max_in_flight = self.in_flight
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
            return await send(request, reply, action, flight)

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


# --- how it is sent ---------------------------------------------------------------------------


async def send(
    request: web.BaseRequest, reply: Reply, action: str, flight: contextlib.ExitStack
) -> web.StreamResponse:
    """Sends an answer and breaks it as `action` says; closes `flight` before its last byte.

    After that byte, the client's next request could be counted against the one that it has just
    seen complete.
    """
    start, end = reply.span
    breaks = action in ("truncate", "reset", "stall")
    is_empty = request.method == "HEAD" or start == end
    if breaks and is_empty:
        await break_off(request, action)
        return web.Response(status=502)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = end - start
    await response.prepare(request)
    if is_empty:
        return response
    with reply.body.open("rb") if isinstance(reply.body, Path) else io.BytesIO(reply.body) as body:
        if breaks:
            await send_range(request, response, body, start, (start + end) // 2)
            await break_off(request, action)
            return response
        await send_range(request, response, body, start, end - 1)
        body.seek(end - 1)
        last = body.read(1)[0]
        flight.close()
        await response.write(bytes([last ^ 0xFF if action == "flip" else last]))
    return response


async def send_range(
    request: web.BaseRequest, response: web.StreamResponse, body: IO[bytes], start: int, end: int
) -> None:
    if isinstance(body, io.BytesIO):
        await response.write(body.getvalue()[start:end])
    elif start < end:
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        await asyncio.get_running_loop().sendfile(request.transport, body, start, end - start)


async def break_off(request: web.BaseRequest, action: str) -> None:
    """Ends the connection (`truncate`), aborts it (`reset`), or leaves the client waiting."""
    if action == "stall":
        await asyncio.Event().wait()  # cancelled when the client goes, or the server ends
    if request.transport is not None:
        if action == "reset":
            connection = request.transport.get_extra_info("socket")
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            request.transport.abort()
        request.transport.close()


@contextlib.asynccontextmanager
async def listening(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], port: int
) -> AsyncIterator[str]:
    """Serves on a port, 0 for a free one; yields the URL. No router: paths stay as they came."""
    server = web.Server(answer, access_log=None, handler_cancellation=True)
    # Not 0, which aiohttp takes for no limit: a stalled request would keep the server alive.
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, serving.HOST, port, backlog=512).start()
        yield f"http://{serving.HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def all_hosts(hub: Hub, port: int) -> AsyncIterator[dict[str, str]]:
    async with contextlib.AsyncExitStack() as hosts:
        endpoint_url = await hosts.enter_async_context(listening(hub.answer_hub, port))
        hub.lfs_url = await hosts.enter_async_context(listening(hub.answer_lfs, 0))
        settings = {"endpoint_url": endpoint_url, "lfs_url": hub.lfs_url, "token": hub.token}
        if hub.cas:
            hub.cas.url = await hosts.enter_async_context(listening(hub.answer_xet, 0))
            settings["xet_url"] = hub.cas.url
        yield settings


@contextlib.contextmanager
def hub(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Serve from an event loop in a thread; yields the settings."""
    with (
        tempfile.TemporaryDirectory(prefix=".seen-", dir=options.root) as keep,
        asyncio.Runner() as runner,
    ):
        xet_store = xet.Store(Path(keep) / "xet") if options.xet else None
        cas = xet.Cas(xet_store, options.sign_seconds) if xet_store else None
        store = Store(options.root, Path(keep), xet_store)
        hosts = all_hosts(
            Hub(store, options.token, options.page_size, options.sign_seconds, cas), options.port
        )
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield asyncio.run_coroutine_threadsafe(hosts.__aenter__(), loop).result()
        finally:
            asyncio.run_coroutine_threadsafe(hosts.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="the folder to serve")
    parser.add_argument("--port", type=int, default=0, help="of the hub; default: a free one")
    parser.add_argument("--token", default="", help="the one valid token; default: none is valid")
    parser.add_argument("--page-size", type=int, default=1000, help="entries in a page of a tree")
    parser.add_argument("--sign-seconds", type=float, default=3600.0, help="how long a URL lives")
    parser.add_argument("--xet", action="store_true", help="LFS files in a Xet store, too")
    serving.run(hub(parser.parse_args()))
