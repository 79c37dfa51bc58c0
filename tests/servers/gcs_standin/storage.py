"""The service: what each request does, by JSON and by XML."""

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.servers import google_account
from tests.servers.gcs_standin.answers import (
    CONTENT_RANGE,
    Query,
    Refusal,
    answer_xml,
    check_preconditions,
    described,
    invalid,
    no_bucket,
    not_allowed,
    parts,
    read,
    selected,
)
from tests.servers.gcs_standin.objects import Bucket, Content, Incoming, Stored
from tests.servers.gcs_standin.sending import PIECE, identity_headers, send

JSON_PATH = re.compile(r"/(?:(upload|download)/)?storage/v1/b(?:/([^/]+)(?:/(o)(?:/(.+))?)?)?")


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
        url = f"{self.url}/token"
        asked = form["grant_type"], form["assertion"]
        status, answer = google_account.grant(*asked, self.key.public_key(), url, self.token)
        return web.json_response(answer, status=status)

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
        prefix, delimiter, start = query["prefix"], query["delimiter"], query["startOffset"]
        objects, folders, last = bucket.page(prefix, delimiter, after, limit, start)
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
