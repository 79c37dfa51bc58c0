"""A Xet store: files that hf_xet has cut into chunks, served as hf_xet asks for them.

The Hub hosts it (`python -m tests.servers.hub --root DIR --xet`), as its third host, `xet_url`:

    GET /v2/reconstructions/FILE    Authorization: Bearer TOKEN, of the Hub's xet-read-token
        [Range: bytes=A-B]          of the file, B included; 416 where it begins behind the file

    {"offset_into_first_range": N,      what to skip, since a range may begin within a chunk
     "terms": [{"hash": XORB, "unpacked_length": N, "range": {"start": C, "end": C}}, …],
     "xorbs": {XORB: [{"url": URL, "ranges": [{"chunks": {"start": C, "end": C},
                                               "bytes": {"start": A, "end": B}}]}, …]}}

    GET /xorbs/XORB?until=…-SIGNATURE    400 to an Authorization header, 403 when expired or
        Range: bytes=A-B                 signed otherwise
    POST /v1/telemetry                   forgotten

A file is its terms, one after the other; a term is the chunks C of a xorb from `start` to before
`end`; A to B, B included, is where they are in the xorb's file. /v1/reconstructions, which hf_xet
asks for where there is no /v2, is 404.

    python -m tests.servers.xet FOLDER <<< '["FILE", …]'    stores files, prints their hashes

is how files come in: with the endpoint `local://FOLDER`, hf_xet writes a store itself. That takes
a separate process, because its native threads stay. Below FOLDER there are then

    …/shards/*.mdb          which files are which chunks of which xorbs; little endian
        header (48)
        { HASH (32) flags (4) terms (4) 0 (8)
          { XORB (32) flags (4) bytes (4) first chunk (4) end of chunks (4) } of each term
          48 bytes of each term, if bit 31 of the file's flags is set
          48 bytes, if bit 30 is                                            } of each file
        ff (32) …           what follows is about xorbs
    …/xorbs/default.XORB    chunks
        { 0 (1) packed size (3) compression (1) unpacked size (3) packed bytes } of each chunk
        XETBLOB …           where the chunks end

and a hash is written as the hexadecimal numbers of its four words of 64 bits.
"""

import hmac
import json
import os
import re
import secrets
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from tests.servers import ROOT

TELEMETRY, RECONSTRUCTION, XORB = "/v1/telemetry", "/v2/reconstructions/", "/xorbs/"
RANGE = re.compile(r"bytes=(\d+)-(\d+)")
ENTRY = 48
"""The size of each entry of a shard, and of its header."""
FILES_END = b"\xff" * 32
HAS_VERIFICATION, HAS_METADATA = 1 << 31, 1 << 30
CHUNK_HEADER = 8
CHUNK_VERSION = 0


# --- what is stored ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks of a xorb, from `start` to before `end`."""

    xorb: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Xorb:
    """Where each chunk begins, in the file and unpacked; and where the last one ends."""

    path: Path
    packed: tuple[int, ...]
    unpacked: tuple[int, ...]

    @classmethod
    def of(cls, path: Path) -> "Xorb":
        packed, sizes = [0], [0]
        with path.open("rb") as file:
            while (header := file.read(CHUNK_HEADER))[0] == CHUNK_VERSION:
                size = int.from_bytes(header[1:4], "little")
                packed.append(file.seek(size, os.SEEK_CUR))
                sizes.append(int.from_bytes(header[5:8], "little"))
        return cls(path, tuple(packed), tuple(accumulate(sizes)))


class Store:
    """A folder that hf_xet writes to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hashes: dict[Path, str] = {}
        self._files: dict[str, tuple[Run, ...]] = {}
        self._xorbs: dict[str, Xorb] = {}

    def add(self, paths: Iterable[Path]) -> Mapping[Path, str]:
        """The hashes of all files stored so far, now these among them; empty ones are left out."""
        new = [path for path in paths if path not in self._hashes and path.stat().st_size]
        if new:
            child = subprocess.run(
                [sys.executable, "-m", __name__, self._folder],
                cwd=ROOT,
                env=os.environ | {"HF_HOME": str(self._folder)},
                input=json.dumps([str(path) for path in new]).encode(),
                stdout=subprocess.PIPE,
                check=True,
            )
            for path in self._folder.rglob(f"xorbs/default.{'?' * 64}"):
                if (name := path.suffix[1:]) not in self._xorbs:
                    self._xorbs[name] = Xorb.of(path)
            for path in self._folder.rglob("shards/*.mdb"):
                self._files |= files_of(path.read_bytes())
            self._hashes |= zip(new, json.loads(child.stdout), strict=True)
        return self._hashes

    def file(self, name: str) -> tuple[Run, ...] | None:
        return self._files.get(name)

    def xorb(self, name: str) -> Xorb:
        return self._xorbs[name]


def files_of(shard: bytes) -> dict[str, tuple[Run, ...]]:
    """The files that a shard describes."""
    files = {}
    at = ENTRY
    while not shard.startswith(FILES_END, at):
        file, flags, count = struct.unpack_from("<32sII8x", shard, at)
        terms = struct.iter_unpack("<32s8xII", shard[at + ENTRY : at + ENTRY * (1 + count)])
        files[hexadecimal(file)] = tuple(
            Run(hexadecimal(xorb), start, end) for xorb, start, end in terms
        )
        verification = count * bool(flags & HAS_VERIFICATION)
        at += ENTRY * (1 + count + verification + bool(flags & HAS_METADATA))
    return files


def hexadecimal(hashed: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", hashed))


def upload(folder: str, paths: list[str]) -> list[str]:
    """Has hf_xet store these files below a folder; their hashes."""
    import hf_xet  # noqa: PLC0415 - for the child process alone

    with hf_xet.XetSession().new_upload_commit(endpoint=f"local://{folder}") as commit:
        uploads = [commit.start_upload_file(path, sha256=hf_xet.SKIP_SHA256) for path in paths]
    return [upload.result().xet_info.hash for upload in uploads]


# --- what is answered -------------------------------------------------------------------------


@dataclass(slots=True)
class Cas:
    """The Xet host ("content-addressable storage"), which answers whom the Hub gave a token."""

    store: Store
    sign_seconds: float
    url: str = ""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def token(self) -> tuple[str, int]:
        """A token, and when it expires."""
        return self.sign("xet_"), int(time.time() + self.sign_seconds)

    def expire(self) -> None:
        """Every token and URL given so far is refused from now on."""
        self.secret = secrets.token_bytes(16)

    def sign(self, text: str) -> str:
        """The text with the time until which it is valid, and a signature of both."""
        text = f"{text}{time.time() + self.sign_seconds:.3f}"
        return f"{text}-{self._signature(text)}"

    def is_valid(self, signed: str) -> bool:
        text, _, signature = signed.rpartition("-")
        is_ours = hmac.compare_digest(signature.encode(), self._signature(text).encode())
        return is_ours and time.time() < float(re.split("[_=]", text)[-1])

    def _signature(self, text: str) -> str:
        return hmac.digest(self.secret, text.encode(), "sha256").hex()

    def answer(
        self, target: str, asked: str | None, authorization: str | None
    ) -> tuple[int, Mapping[str, Any] | Path]:
        """The status, and JSON, or the file from which the range in `asked` is sent."""
        path = target.partition("?")[0]
        if path.startswith(XORB):
            return self.xorb(target, authorization)
        if not self.is_valid((authorization or "").removeprefix("Bearer ")):
            return 401, {"error": "Unauthorized"}
        if path == TELEMETRY:
            return 200, {}
        runs = self.store.file(path.removeprefix(RECONSTRUCTION))
        if runs is None:
            return 404, {"error": "Not found"}
        return self.reconstruction(runs, asked)

    def xorb(self, target: str, authorization: str | None) -> tuple[int, Mapping[str, Any] | Path]:
        if authorization is not None:
            return 400, {"error": "Only one auth mechanism allowed"}
        if not self.is_valid(target):
            return 403, {"error": "Access denied"}
        return 200, self.store.xorb(target.removeprefix(XORB).partition("?")[0]).path

    def reconstruction(
        self, runs: Iterable[Run], asked: str | None
    ) -> tuple[int, Mapping[str, Any]]:
        """Of which chunks a file, or a range of it, is made, and where they are."""
        match = RANGE.fullmatch(asked or "")
        start, end = (int(match[1]), int(match[2]) + 1) if match else (0, sys.maxsize)
        skipped, held = cut(runs, self.store, start, end)
        if not held:
            return 416, {"error": "Range not satisfiable"}
        terms, xorbs = [], dict[str, dict[Run, Mapping[str, Any]]]()
        for run in held:
            xorb = self.store.xorb(run.xorb)
            chunks = {"start": run.start, "end": run.end}
            size = xorb.unpacked[run.end] - xorb.unpacked[run.start]
            terms.append({"hash": run.xorb, "unpacked_length": size, "range": chunks})
            span = {"start": xorb.packed[run.start], "end": xorb.packed[run.end] - 1}
            url = self.url + self.sign(f"{XORB}{run.xorb}?until=")
            fetch = {"url": url, "ranges": [{"chunks": chunks, "bytes": span}]}
            xorbs.setdefault(run.xorb, {})[run] = fetch
        fetches = {name: list(of_xorb.values()) for name, of_xorb in xorbs.items()}
        return 200, {"offset_into_first_range": skipped, "terms": terms, "xorbs": fetches}


def cut(runs: Iterable[Run], store: Store, start: int, end: int) -> tuple[int, list[Run]]:
    """The chunks that hold these bytes of a file, and where in the first of them they begin."""
    skipped, held, at = 0, list[Run](), 0
    for run in runs:
        offsets = store.xorb(run.xorb).unpacked[run.start : run.end + 1]
        begins = [at + offset - offsets[0] for offset in offsets]
        chunks = [
            chunk
            for chunk, (first, last) in enumerate(pairwise(begins), run.start)
            if first < end and start < last
        ]
        if chunks:
            if not held:
                skipped = max(start - begins[chunks[0] - run.start], 0)
            held.append(Run(run.xorb, chunks[0], chunks[-1] + 1))
        at = begins[-1]
    return skipped, held


if __name__ == "__main__":
    print(json.dumps(upload(sys.argv[1], json.load(sys.stdin))))
