"""What a web server states of a file, in the headers of an answer and in its address."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from urllib3 import HTTPHeaderDict

from kaiwo import checksums
from kaiwo.errors import WrongRangeError
from kaiwo.net import encodings
from kaiwo.objects import Checksum

#: Statuses of a whole file; 203 is one that a proxy may have changed.
WHOLE = frozenset({200, 203})
#: What is to be said of a server whose answers do not show where they end, see ``has_end``.
NO_END = (
    "states no length, and ends its answers by closing the connection: only a checksum could show "
    "that a file is complete"
)
#: What is to be said of a server that encodes answers although it was asked for none.
ENCODED = (
    "encodes its answers although identity was requested: a file is stored as it arrives if it "
    "has the stated size then, else decoded"
)
#: Parameters of a signed address, which change while the file stays the same.
_SIGNING = re.compile(
    r"(?:x-(?:amz|goog|oss)|q)-.+|(?:aws|oss)accesskeyid|googleaccessid|signature|sig|key-pair-id|"
    r"(?:\w+_)?token|hmac|jwt|api_?key|hdn[et]a?s?"
)
#: Parameters that say until when an address is valid.
_EXPIRING = re.compile(r"expir(?:es?|y|ation)|exp|se|e|ttl|x-(?:amz|goog|oss)-.+")
#: Parameters that sign only beside those that say until when.
_SIGNING_BESIDE = re.compile(
    r"md5|hash|policy|verify|s[iprstv]|s[ir]p|srt|spr|sk(?:oid|tid|[tesv])"
)
#: Of an answer with a part of the file, or with none of it; ``*`` is an unknown size.
_WHOLE_SIZE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d{1,18})")
#: No file is larger than such a number; some servers state the length twice.
_LENGTH = re.compile(r"(\d{1,18})(?:\s*,\s*\1)*", re.ASCII)
#: The checksums that headers state.
_ALGORITHMS = {"md5", "sha1", "sha256", "crc32c"}


def stated_size(headers: Mapping[str, str]) -> int | None:
    """Bytes of the whole file, if an answer states them."""
    content_range = headers.get("Content-Range")
    if content_range is not None:
        stated = _WHOLE_SIZE.fullmatch(content_range)
        return int(stated[1]) if stated else None
    length = _LENGTH.fullmatch(headers.get("Content-Length", "").strip())
    return int(length[1]) if length else None


def is_in_chunks(headers: Mapping[str, str]) -> bool:
    """Whether the last chunk ends the body; a length that is stated besides does not count."""
    return headers.get("Transfer-Encoding", "").lower().endswith("chunked")


def is_encoded(headers: HTTPHeaderDict) -> bool:
    """Whether the body is encoded on its way."""
    return bool(encodings.stated(headers.getlist("Content-Encoding")))


def has_end(status: int, headers: Mapping[str, str], named: str) -> bool:
    """Whether an answer of unknown length shows where it ends, other than by being closed.

    Raises:
        WrongRangeError: it is a part of the file.
    """
    if status not in WHOLE:
        raise WrongRangeError(f"{named}: the answer is a part of the file")
    return is_in_chunks(headers) or stated_size(headers) is not None


def query_digest(key: str) -> str | None:
    """A digest of the part of a query that identifies the file; the query may hold a secret."""
    query = urlsplit(key).query
    if not query:
        return None
    pairs = parse_qsl(query, keep_blank_values=True)
    names = {name.lower() for name, _ in pairs}
    signing = {name for name in names if _SIGNING.fullmatch(name)}
    expiring = {name for name in names if _EXPIRING.fullmatch(name)}
    beside = {name for name in names if _SIGNING_BESIDE.fullmatch(name)}
    if expiring and (signing or beside):
        signing |= expiring | beside
    left = [f"{name}={value}" for name, value in pairs if name.lower() not in signing]
    return hashlib.sha256("&".join(left).encode()).hexdigest()[:16] if left else None


def stated_checksum(headers: HTTPHeaderDict, *, decodes: bool) -> Checksum | None:
    """The best checksum of the whole file that these headers state.

    Args:
        headers: of an answer.
        decodes: the file is the decoded body; most headers are of the encoded one.
    """
    # Of servers that keep artifacts: Artifactory, Nexus.
    entries = [
        f"{name}={headers.get(f'X-Checksum-{name}', '')}" for name in ("md5", "sha1", "sha256")
    ]
    if not (decodes and is_encoded(headers)):
        entries.append(f"md5={headers.get('Content-MD5', '')}")
        for name in ("Digest", "Repr-Digest"):
            entries += headers.get(name, "").split(",")
        # GCS decodes what it keeps encoded, and states the checksum of what it keeps.
        kept_as = encodings.stated(headers.getlist("X-Goog-Stored-Content-Encoding"))
        if is_encoded(headers) or not kept_as:
            entries += headers.get("X-Goog-Hash", "").split(",")
    stated: dict[str, str | None] = {}
    for entry in entries:
        name, _, value = entry.strip().partition("=")
        algorithm = name.lower().replace("sha-", "sha")
        if algorithm in _ALGORITHMS and checksums.stated(algorithm, value.strip(":")):
            stated[algorithm] = value.strip(":")
    return checksums.best(stated)
