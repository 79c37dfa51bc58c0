"""A Google Cloud Storage of our own: one store of objects, served by JSON and by XML.

    python -m tests.servers.gcs_standin [--port N] [--token T] [--page-size N]

The settings are `endpoint_url`, `project`, `service_account_file` and `token`. With T, a request
has to carry `Authorization: Bearer T`; without it, everything is open. The service account's
file names `POST /token` here, which grants T (or some token) for an assertion signed with its key.

JSON (gcsfs, google-cloud-storage):

    POST    /storage/v1/b                    makes a bucket; `versioning` keeps generations
    GET     /storage/v1/b/B
    GET     /storage/v1/b/B/o                prefix, delimiter, maxResults, pageToken, fields
    GET     [/download]/storage/v1/b/B/o/K   generation, fields, alt=media; Range
    POST    /upload/storage/v1/b/B/o         uploadType=media, multipart, resumable
    POST    /storage/v1/b/B/o/K/compose      a composite object, which has no md5
    DELETE  /storage/v1/b/B/o/K

XML (obstore):

    GET     /B?list-type=2                   prefix, delimiter, max-keys, start-after, …
    GET     /B/K                             generation; Range
    HEAD, PUT, DELETE  /B/K

Both know `generation`, the preconditions (`If-Match`, `If-None-Match`, `ifGenerationMatch`,
`x-goog-if-generation-match`) and decompressive transcoding: what is stored with `Content-Encoding:
gzip` is unpacked, without a length and as a whole, for whoever does not accept gzip.

As in Cloud Storage, whoever sends no token is refused with 401 by JSON and with 403 by XML, an
error of `alt=media` is plain text, and the etag of JSON is not that of XML, which is the md5 where
there is one. Not here: rights, retention, metadata of one's own. Objects above 1 MiB are kept in
files; what was replaced stays there until the end.
"""

import argparse
import asyncio
import base64
import bisect
import contextlib
import email.parser
import email.utils
import gzip
import hashlib
import io
import json
import re
import secrets
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

import awscrt.checksums
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from multidict import CIMultiDict

from tests.servers import serving

PROJECT = "kaiwo-test"
EMAIL = f"kaiwo@{PROJECT}.iam.gserviceaccount.com"
# google-auth addresses every assertion to Google, whatever the account's `token_uri` says.
GOOGLE = "https://oauth2.googleapis.com/token"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
IN_MEMORY = 1 << 20
PIECE = 256 << 10
JSON_PATH = re.compile(r"/(?:(upload|download)/)?storage/v1/b(?:/([^/]+)(?:/(o)(?:/(.+))?)?)?")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
CONTENT_RANGE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+|\*)")
FIELD = re.compile(r"(\w+)(?:\(([^)]*)\)|/(\w+))?")


# --- what is stored ---------------------------------------------------------------------------


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def varint(number: int) -> bytes:
    """As in protocol buffers, which etags are made of."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups[-1] |= 0x80
        groups.append(number & 0x7F)
    return bytes(groups)


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, in memory or in a file of their own."""

    kept: bytes | Path
    size: int
    md5: bytes
    crc32c: bytes

    def open(self) -> IO[bytes]:
        return self.kept.open("rb") if isinstance(self.kept, Path) else io.BytesIO(self.kept)


class Incoming:
    """Bytes that arrive; many of them go to a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sink: IO[bytes] = io.BytesIO()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0
        self.size = 0

    def write(self, piece: bytes) -> None:
        self.size += len(piece)
        self._md5.update(piece)
        self._crc32c = awscrt.checksums.crc32c(piece, self._crc32c)
        if self.size > IN_MEMORY and isinstance(self._sink, io.BytesIO):
            begun = self._sink.getvalue()
            self._sink = (self._folder / secrets.token_hex(16)).open("wb")
            self._sink.write(begun)
        self._sink.write(piece)

    def content(self) -> Content:
        sink = self._sink
        kept = sink.getvalue() if isinstance(sink, io.BytesIO) else Path(sink.name)
        sink.close()
        return Content(kept, self.size, self._md5.digest(), self._crc32c.to_bytes(4, "big"))


@dataclass(frozen=True, slots=True)
class Stored:
    """One generation of an object."""

    bucket: str
    name: str
    generation: int
    content: Content
    type: str
    encoding: str
    components: int
    """Of a composite object; 0 for one that was uploaded."""

    @property
    def etag(self) -> str:
        """Of the JSON interface: generation and metageneration."""
        return base64_of(b"\x08" + varint(self.generation) + b"\x10" + varint(1))

    @property
    def xml_etag(self) -> str:
        return f'"-{self.etag}"' if self.components else f'"{self.content.md5.hex()}"'

    @property
    def hashes(self) -> dict[str, str]:
        told = {"crc32c": base64_of(self.content.crc32c)}
        return told if self.components else told | {"md5": base64_of(self.content.md5)}

    @property
    def updated(self) -> datetime:
        return datetime.fromtimestamp(self.generation / 1e6, UTC)

    @property
    def date(self) -> str:
        return self.updated.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def resource(self, host: str) -> dict[str, Any]:
        """What the JSON interface tells."""
        at = f"storage/v1/b/{quote(self.bucket, safe='')}/o/{quote(self.name, safe='')}"
        told: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"http://{host}/{at}",
            "mediaLink": f"http://{host}/download/{at}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": self.type,
            "storageClass": "STANDARD",
            "size": str(self.content.size),
            "crc32c": self.hashes["crc32c"],
            "etag": self.etag,
            "timeCreated": self.date,
            "updated": self.date,
        }
        if self.components:
            told["componentCount"] = self.components
        else:
            told["md5Hash"] = self.hashes["md5"]
        if self.encoding:
            told["contentEncoding"] = self.encoding
        return told

    def entry(self) -> str:
        """What a listing of the XML interface tells."""
        return (
            f"<Contents><Key>{escape(self.name)}</Key><Generation>{self.generation}</Generation>"
            f"<MetaGeneration>1</MetaGeneration><LastModified>{self.date}</LastModified>"
            f"<ETag>{escape(self.xml_etag)}</ETag><Size>{self.content.size}</Size></Contents>"
        )


@dataclass(slots=True)
class Bucket:
    name: str
    versioning: bool
    live: dict[str, Stored] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    """Of `live`, in order."""
    noncurrent: dict[tuple[str, int], Stored] = field(default_factory=dict)

    def put(self, stored: Stored) -> None:
        self.remove(stored.name)
        bisect.insort(self.names, stored.name)
        self.live[stored.name] = stored

    def remove(self, name: str) -> None:
        if old := self.live.pop(name, None):
            del self.names[bisect.bisect_left(self.names, name)]
            if self.versioning:
                self.noncurrent[name, old.generation] = old

    def page(
        self, prefix: str, delimiter: str, after: str, limit: int
    ) -> tuple[list[Stored], list[str], str]:
        """Objects and common prefixes that follow `after`, and the last of them if more do."""
        objects: list[Stored] = []
        folders: list[str] = []
        last = after
        for at in range(bisect.bisect_left(self.names, max(prefix, after)), len(self.names)):
            name = self.names[at]
            if not name.startswith(prefix):
                break
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            entry = name if cut < 0 else name[: cut + len(delimiter)]
            if entry <= last:
                continue
            if len(objects) + len(folders) == limit:
                return objects, folders, last
            if cut < 0:
                objects.append(self.live[name])
            else:
                folders.append(entry)
            last = entry
        return objects, folders, ""


# --- what is answered -------------------------------------------------------------------------


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An error answer: `reason` is JSON's word for it, `code` XML's."""

    def __init__(self, status: int, reason: str, code: str, message: str) -> None:
        super().__init__(status, reason, code, message)
        self.status, self.reason, self.code, self.message = status, reason, code, message

    def response(self, *, as_xml: bool, as_text: bool) -> web.Response:
        challenge = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'}
        headers = challenge if self.status == 401 else {}
        if self.status == 304:
            return web.Response(status=304)
        if as_xml:
            text = (
                f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
            )
            return answer_xml(text, self.status, headers)
        if as_text:
            return web.Response(status=self.status, text=self.message, headers=headers)
        what = {"message": self.message, "domain": "global", "reason": self.reason}
        error = {"code": self.status, "message": self.message, "errors": [what]}
        return web.json_response({"error": error}, status=self.status, headers=headers)


def answer_xml(
    text: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status,
        text=f"<?xml version='1.0' encoding='UTF-8'?>{text}",
        content_type="application/xml",
        headers=headers,
    )


def no_bucket() -> Refusal:
    return Refusal(404, "notFound", "NoSuchBucket", "The specified bucket does not exist.")


def invalid(message: str) -> Refusal:
    return Refusal(400, "invalid", "InvalidArgument", message)


def not_allowed() -> Refusal:
    message = "The specified method is not allowed against this resource."
    return Refusal(405, "methodNotAllowed", "MethodNotAllowed", message)


def described(bucket: Bucket) -> dict[str, Any]:
    """A bucket as the JSON interface tells it."""
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "metageneration": "1",
        "location": "US",
        "storageClass": "STANDARD",
        "versioning": {"enabled": bucket.versioning},
    }


class Query:
    """The query of a URL, or a form; a name that is missing is empty."""

    def __init__(self, text: str) -> None:
        self._values = dict(parse_qsl(text, keep_blank_values=True))

    def __getitem__(self, name: str) -> str:
        return self._values.get(name, "")

    def number(self, name: str) -> int | None:
        if not self[name]:
            return None
        if not self[name].isdecimal():
            raise invalid(f"Invalid argument: {name}")
        return int(self[name])


def selected(told: Mapping[str, Any], fields: str) -> dict[str, Any]:
    """The fields that were asked for: `name,items(name,size)`, `items/name`; all by default."""
    found: dict[str, Any] = {}
    for name, inner, one in FIELD.findall(fields):
        if name in told:
            value, below = told[name], (inner or one).split(",")
            if isinstance(value, list) and below != [""]:
                value = [{key: each[key] for key in below if key in each} for each in value]
            found[name] = value
    return found if fields else dict(told)


def check_preconditions(request: web.BaseRequest, query: Query, generation: int, etag: str) -> None:
    """Refuses with 412, or 304; `generation` is 0 and `etag` empty where there is no object."""
    matches = query["ifGenerationMatch"] or request.headers.get("x-goog-if-generation-match")
    if matches and matches != str(generation):
        raise failed_precondition()
    if "If-Match" in request.headers and not names(request.headers["If-Match"], etag):
        raise failed_precondition()
    if names(request.headers.get("If-None-Match", ""), etag):
        raise Refusal(304, "notModified", "NotModified", "Not Modified")


def names(condition: str, etag: str) -> bool:
    """Whether the value of a conditional header names this etag."""
    listed = [each.strip().removeprefix("W/").strip('"') for each in condition.split(",")]
    return bool(etag) and ("*" in listed or etag.strip('"') in listed)


def failed_precondition() -> Refusal:
    message = "At least one of the pre-conditions you specified did not hold."
    return Refusal(412, "conditionNotMet", "PreconditionFailed", message)


def span(asked: str, size: int) -> tuple[int, int] | None:
    """The half-open range that a Range header asks for; None for a malformed one or none."""
    match = RANGE.fullmatch(asked)
    first, last = match.groups() if match else ("", "")
    if first and last and int(last) < int(first):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    elif last:
        start, end = max(size - int(last), 0), size
    else:
        return None
    if start >= size or start == end:
        message = "The requested range cannot be satisfied."
        raise Refusal(416, "requestedRangeNotSatisfiable", "InvalidRange", message)
    return start, end


@dataclass(slots=True)
class Storage:
    """The buckets, and both interfaces to them."""

    folder: Path
    token: str
    page_size: int
    key: rsa.RSAPrivateKey
    url: str = ""
    buckets: dict[str, Bucket] = field(default_factory=dict)
    uploads: dict[str, tuple[Bucket, Mapping[str, Any], Incoming]] = field(default_factory=dict)
    latest: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Only the raw path tells `/` from `%2F`."""
        path, _, text = request.raw_path.partition("?")
        if (request.method, path) == ("POST", "/token"):
            return self.grant(Query(await request.text()))
        match, query = JSON_PATH.fullmatch(path), Query(text)
        try:
            self.check_token(request, as_xml=match is None)
            if match is None:
                return await self.route_xml(request, path, query)
            return await self.route_json(request, match, query)
        except Refusal as refusal:
            return refusal.response(as_xml=match is None, as_text=query["alt"] == "media")

    # Tokens

    def grant(self, form: Query) -> web.Response:
        """A token for an assertion that the service account signed for this endpoint."""
        if form["grant_type"] != GRANT:
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        try:
            jwt.decode(
                form["assertion"],
                self.key.public_key(),
                algorithms=["RS256"],
                audience=[f"{self.url}/token", GOOGLE],
                issuer=EMAIL,
                options={"require": ["exp", "iat", "aud", "iss"]},
            )
        except jwt.PyJWTError as error:
            refusal = {"error": "invalid_grant", "error_description": f"Invalid JWT: {error}"}
            return web.json_response(refusal, status=400)
        token = self.token or f"ya29.{secrets.token_urlsafe(32)}"
        return web.json_response(
            {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
        )

    def check_token(self, request: web.BaseRequest, *, as_xml: bool) -> None:
        given = request.headers.get("Authorization")
        if not self.token or given == f"Bearer {self.token}":
            return
        if given is not None:
            message = "Authentication required." if as_xml else "Invalid Credentials"
            raise Refusal(401, "authError", "AuthenticationRequired", message)
        message = "Anonymous caller does not have access to the Google Cloud Storage resource."
        raise Refusal(403 if as_xml else 401, "required", "AccessDenied", message)

    # Objects

    def bucket(self, encoded: str) -> Bucket:
        try:
            return self.buckets[unquote(encoded)]
        except KeyError:
            raise no_bucket() from None

    def stored(self, bucket: Bucket, name: str, generation: int | None) -> Stored:
        """An object, or that generation of it."""
        found = bucket.live.get(name)
        if generation is not None and (found is None or found.generation != generation):
            found = bucket.noncurrent.get((name, generation))
        if found is None:
            version = "" if generation is None else f"#{generation}"
            message = f"No such object: {bucket.name}/{name}{version}"
            raise Refusal(404, "notFound", "NoSuchKey", message)
        return found

    def put(
        self, bucket: Bucket, metadata: Mapping[str, Any], content: Content, components: int = 0
    ) -> Stored:
        if not metadata.get("name"):
            raise invalid("Required parameter: name")
        self.latest = max(time.time_ns() // 1_000, self.latest + 1)
        stored = Stored(
            bucket.name,
            metadata["name"],
            self.latest,
            content,
            metadata.get("contentType") or "application/octet-stream",
            metadata.get("contentEncoding") or "",
            components,
        )
        bucket.put(stored)
        return stored

    def delete(self, bucket: Bucket, name: str) -> web.Response:
        self.stored(bucket, name, None)
        bucket.remove(name)
        return web.Response(status=204)

    async def receive(self, request: web.BaseRequest, incoming: Incoming | None = None) -> Incoming:
        incoming = incoming or Incoming(self.folder)
        async for piece in request.content.iter_any():
            incoming.write(piece)
        return incoming

    def check_upload(
        self, request: web.BaseRequest, query: Query, bucket: Bucket, name: str
    ) -> None:
        """The preconditions of an upload."""
        old = bucket.live.get(name)
        check_preconditions(request, query, old.generation if old else 0, old.etag if old else "")

    # JSON

    async def route_json(
        self, request: web.BaseRequest, match: re.Match[str], query: Query
    ) -> web.StreamResponse:
        side, encoded, objects, encoded_key = match.groups()
        key = encoded_key or ""
        if not encoded:
            return await self.create(request)
        bucket = self.bucket(encoded)
        if side == "upload":
            return await self.route_upload(request, bucket, query)
        if request.method == "POST" and key.endswith("/compose"):
            return await self.compose(request, bucket, unquote(key.removesuffix("/compose")))
        if request.method == "DELETE" and key:
            return self.delete(bucket, unquote(key))
        if request.method not in ("GET", "HEAD"):
            raise not_allowed()
        if key:
            return await self.get_json(request, bucket, unquote(key), query)
        told = self.page_json(request, bucket, query) if objects else described(bucket)
        return web.json_response(told)

    async def get_json(
        self, request: web.BaseRequest, bucket: Bucket, key: str, query: Query
    ) -> web.StreamResponse:
        stored = self.stored(bucket, key, query.number("generation"))
        check_preconditions(request, query, stored.generation, stored.etag)
        if query["alt"] == "media":
            return await send(request, stored, as_xml=False)
        return web.json_response(selected(stored.resource(request.host), query["fields"]))

    async def create(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST":
            raise not_allowed()
        told = json.loads(await read(request))
        if told["name"] in self.buckets:
            message = "Your previous request to create the named bucket succeeded."
            raise Refusal(409, "conflict", "BucketAlreadyOwnedByYou", message)
        bucket = Bucket(told["name"], bool(told.get("versioning", {}).get("enabled")))
        self.buckets[bucket.name] = bucket
        return web.json_response(described(bucket))

    def page_json(self, request: web.BaseRequest, bucket: Bucket, query: Query) -> dict[str, Any]:
        limit = min(query.number("maxResults") or self.page_size, self.page_size)
        after = base64.urlsafe_b64decode(query["pageToken"]).decode()
        objects, folders, last = bucket.page(query["prefix"], query["delimiter"], after, limit)
        told: dict[str, Any] = {"kind": "storage#objects"}
        if last:
            told["nextPageToken"] = base64.urlsafe_b64encode(last.encode()).decode()
        if folders:
            told["prefixes"] = folders
        if objects:
            told["items"] = [stored.resource(request.host) for stored in objects]
        return selected(told, query["fields"])

    async def route_upload(
        self, request: web.BaseRequest, bucket: Bucket, query: Query
    ) -> web.StreamResponse:
        if request.method == "POST":
            return await self.upload(request, bucket, query)
        if request.method == "PUT":
            return await self.resume(request, query["upload_id"])
        raise not_allowed()

    async def upload(
        self, request: web.BaseRequest, bucket: Bucket, query: Query
    ) -> web.StreamResponse:
        metadata: dict[str, Any] = {
            "name": query["name"],
            "contentType": request.headers.get("Content-Type"),
            "contentEncoding": query["contentEncoding"],
        }
        match query["uploadType"]:
            case "media":
                content = (await self.receive(request)).content()
            case "multipart":
                told, data = parts(request.headers["Content-Type"], await read(request))
                metadata |= told
                incoming = Incoming(self.folder)
                incoming.write(data)
                content = incoming.content()
            case "resumable":
                metadata["contentType"] = request.headers.get("X-Upload-Content-Type")
                metadata |= json.loads(await read(request) or b"{}")
                self.check_upload(request, query, bucket, metadata["name"])
                identity = secrets.token_urlsafe(16)
                self.uploads[identity] = (bucket, metadata, Incoming(self.folder))
                path = request.raw_path.partition("?")[0]
                at = f"http://{request.host}{path}?uploadType=resumable&upload_id={identity}"
                return web.Response(headers={"Location": at, "X-GUploader-UploadID": identity})
            case _:
                raise invalid("Invalid argument: uploadType")
        self.check_upload(request, query, bucket, metadata["name"])
        stored = self.put(bucket, metadata, content)
        return web.json_response(stored.resource(request.host))

    async def resume(self, request: web.BaseRequest, identity: str) -> web.Response:
        """A piece of a resumable upload; the last one names the size of the whole."""
        if identity not in self.uploads:
            raise Refusal(404, "notFound", "NoSuchUpload", "No such upload.")
        bucket, metadata, incoming = self.uploads[identity]
        await self.receive(request, incoming)
        match = CONTENT_RANGE.fullmatch(request.headers.get("Content-Range", ""))
        if match and match[1] != str(incoming.size):
            have = {"Range": f"bytes=0-{incoming.size - 1}"} if incoming.size else {}
            return web.Response(status=308, headers=have)
        del self.uploads[identity]
        stored = self.put(bucket, metadata, incoming.content())
        return web.json_response(stored.resource(request.host))

    async def compose(self, request: web.BaseRequest, bucket: Bucket, name: str) -> web.Response:
        told = json.loads(await read(request))
        incoming = Incoming(self.folder)
        for source in told["sourceObjects"]:
            number = source.get("generation")
            stored = self.stored(bucket, source["name"], int(number) if number else None)
            with stored.content.open() as body:
                while piece := body.read(PIECE):
                    incoming.write(piece)
        metadata = {**told.get("destination", {}), "name": name}
        made = self.put(bucket, metadata, incoming.content(), len(told["sourceObjects"]))
        return web.json_response(made.resource(request.host))

    # XML

    async def route_xml(
        self, request: web.BaseRequest, path: str, query: Query
    ) -> web.StreamResponse:
        encoded, _, encoded_key = path.removeprefix("/").partition("/")
        bucket, key = self.bucket(encoded), unquote(encoded_key)
        match request.method:
            case "GET" | "HEAD" if not key:
                return self.list_xml(bucket, query)
            case "GET" | "HEAD":
                stored = self.stored(bucket, key, query.number("generation"))
                check_preconditions(request, query, stored.generation, stored.xml_etag)
                return await send(request, stored, as_xml=True)
            case "PUT" if key:
                self.check_upload(request, query, bucket, key)
                metadata = {
                    "name": key,
                    "contentType": request.headers.get("Content-Type"),
                    "contentEncoding": request.headers.get("Content-Encoding"),
                }
                stored = self.put(bucket, metadata, (await self.receive(request)).content())
                return web.Response(headers=identity_headers(stored, as_xml=True))
            case "DELETE" if key:
                return self.delete(bucket, key)
        raise not_allowed()

    def list_xml(self, bucket: Bucket, query: Query) -> web.Response:
        limit = min(query.number("max-keys") or self.page_size, self.page_size)
        token = query["continuation-token"]
        after = base64.urlsafe_b64decode(token).decode() if token else query["start-after"]
        prefix, delimiter = query["prefix"], query["delimiter"]
        objects, folders, last = bucket.page(prefix, delimiter, after, limit)
        text = (
            "<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
            f"<Name>{escape(bucket.name)}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(objects) + len(folders)}</KeyCount><MaxKeys>{limit}</MaxKeys>"
            f"<IsTruncated>{str(bool(last)).lower()}</IsTruncated>"
        )
        if last:
            following = base64.urlsafe_b64encode(last.encode()).decode()
            text += f"<NextContinuationToken>{following}</NextContinuationToken>"
        text += "".join(stored.entry() for stored in objects)
        for folder in folders:
            text += f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
        return answer_xml(f"{text}</ListBucketResult>")


async def read(request: web.BaseRequest) -> bytes:
    """A whole body, of any size; `request.read` has a limit."""
    return b"".join([piece async for piece in request.content.iter_any()])


def parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The metadata and the bytes of a multipart/related body."""
    head = email.parser.HeaderParser().parsestr(f"Content-Type: {content_type}\r\n\r\n")
    boundary = b"--" + str(head.get_param("boundary")).encode()
    first, _, rest = body.removeprefix(boundary).partition(b"\r\n" + boundary)
    second = rest[: rest.rfind(b"\r\n" + boundary)]
    metadata = json.loads(first.partition(b"\r\n\r\n")[2])
    named, _, data = second.partition(b"\r\n\r\n")
    media = email.parser.BytesHeaderParser().parsebytes(named.lstrip(b"\r\n"))
    return {"contentType": media["Content-Type"], **metadata}, data


# --- how it is sent ---------------------------------------------------------------------------


def identity_headers(stored: Stored, *, as_xml: bool) -> CIMultiDict[str]:
    """XML sends each hash in a header of its own."""
    hashes = [f"{name}={value}" for name, value in stored.hashes.items()]
    headers = CIMultiDict(
        {
            "ETag": stored.xml_etag if as_xml else stored.etag,
            "X-Goog-Generation": str(stored.generation),
            "X-Goog-Metageneration": "1",
            "X-Goog-Stored-Content-Encoding": stored.encoding or "identity",
            "X-Goog-Stored-Content-Length": str(stored.content.size),
            "X-Goog-Storage-Class": "STANDARD",
        }
    )
    headers.extend([("X-Goog-Hash", each) for each in (hashes if as_xml else [",".join(hashes)])])
    return headers


async def send(request: web.BaseRequest, stored: Stored, *, as_xml: bool) -> web.StreamResponse:
    """The bytes of an object, or those asked for; unpacked for whoever cannot unpack them."""
    headers = identity_headers(stored, as_xml=as_xml)
    headers["Content-Type"] = stored.type
    headers["Last-Modified"] = email.utils.format_datetime(stored.updated, usegmt=True)
    if stored.encoding == "gzip":
        headers["Vary"] = "Accept-Encoding"
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return await send_unpacked(request, stored, headers)
    if stored.encoding:
        headers["Content-Encoding"] = stored.encoding
    headers["Accept-Ranges"] = "bytes"
    size = stored.content.size
    asked = span(request.headers.get("Range", ""), size)
    start, end = asked or (0, size)
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response = web.StreamResponse(status=206 if asked else 200, headers=headers)
    response.content_length = end - start
    await response.prepare(request)
    if request.method == "HEAD" or start == end:
        return response
    if isinstance(stored.content.kept, bytes):
        await response.write(stored.content.kept[start:end])
    elif request.transport is not None:
        loop = asyncio.get_running_loop()
        with stored.content.open() as body:
            await loop.sendfile(request.transport, body, start, end - start)
    return response


async def send_unpacked(
    request: web.BaseRequest, stored: Stored, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """Decompressive transcoding: ranges are ignored, and the length is not known."""
    headers["Warning"] = "214 UploadServer gunzipped"
    headers["X-GUploader-Response-Body-Transformations"] = "gunzipped"
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    if request.method != "HEAD":
        with stored.content.open() as packed, gzip.open(packed) as body:
            while piece := body.read(PIECE):
                await response.write(piece)
    return response


@contextlib.asynccontextmanager
async def listening(storage: Storage, port: int) -> AsyncIterator[str]:
    """Serves on a port, 0 for a free one; yields the URL. No router: paths stay as they came."""
    # What is sent packed is stored packed.
    server = web.Server(
        storage.answer, access_log=None, auto_decompress=False, handler_cancellation=True
    )
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, serving.HOST, port, backlog=512).start()
        yield f"http://{serving.HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def service_account(key: rsa.RSAPrivateKey, url: str) -> dict[str, str]:
    """Of a client whose tokens come from here."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "100000000000000000001",
        "token_uri": f"{url}/token",
    }


@contextlib.contextmanager
def gcs_standin(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Serve from an event loop in a thread; yields the settings of a client."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with (
        tempfile.TemporaryDirectory(prefix="kaiwo-gcs-") as folder,
        asyncio.Runner() as runner,
    ):
        storage = Storage(Path(folder), options.token, options.page_size, key)
        host = listening(storage, options.port)
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            storage.url = asyncio.run_coroutine_threadsafe(host.__aenter__(), loop).result()
            file = Path(folder, "service-account.json")
            file.touch(mode=0o600)
            file.write_text(json.dumps(service_account(key, storage.url), indent=2))
            yield {
                "endpoint_url": storage.url,
                "project": PROJECT,
                "service_account_file": str(file),
                "token": storage.token,
            }
        finally:
            asyncio.run_coroutine_threadsafe(host.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--token", default="", help="the one valid token; default: none is needed")
    parser.add_argument(
        "--page-size", type=int, default=1000, help="entries in a page of a listing"
    )
    serving.run(gcs_standin(parser.parse_args()))
