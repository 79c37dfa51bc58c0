"""Stores that behave unusually, as data: what they answer, and what is to arrive.

Each behaviour is that of a plain S3 server behind a proxy that edits answers; the edits are those
of ``tests/support/quirks_*.py`` and can be combined. ``tests/scenarios/quirks/test_stores.py``
holds kaiwo to every one of them; those of `STORES` are tried on other tools too.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

from tests.faults.behaviour import LARGE, OBJECTS, Behaviour
from tests.support import quirks_objects as quirks
from tests.support.proxies import Spoil
from tests.support.quirks_listings import (
    Quirk,
    after_an_empty_line,
    dated,
    element,
    first_version_only,
    gzipped,
    in_listings,
    pages_of,
    without_tokens,
)
from tests.support.quirks_words import has_region, redirects_all, refuses_first

_MIB = 1 << 20
_PAST = 1_700_000_000
#: Three pages of ten.
_PAGES = {f"model/{number:02}": b"x" for number in range(25)}
#: As many parts as if all had the length of the first.
_PARTS = (5 * _MIB + 1, 5 * _MIB, 7)


def _answers(*spoils: Spoil) -> Callable[[], Spoil]:
    """These edits, one after the other; none of them remembers anything."""
    return lambda: quirks.combined(*spoils)


def _pages(name: str, title: str, *edits: Quirk) -> Behaviour:
    """A behaviour of listings in pages."""
    spoil = _answers(in_listings(*edits))
    return Behaviour(name, title, spoil, objects=_PAGES, asking=pages_of(10))


_EDITED = ("if-match",)


def _listing(name: str, title: str, *edits: Quirk) -> Behaviour:
    """A behaviour of listings on one page."""
    return Behaviour(name, title, _answers(in_listings(*edits)))


def _no_md5(name: str, header: str, value: str) -> Behaviour:
    """Etags look like md5, and a header says that they are none."""
    spoil = _answers(quirks.no_md5, quirks.with_headers({header: value}))
    return Behaviour(
        name, f"ETags that are no md5, with `{header}: {value}`", spoil, ignored=_EDITED
    )


_OTHER_ETAG = functools.partial(quirks.with_header, "ETag")

_OF_EMPTY = (
    Behaviour(
        "empty-etag",
        "HEAD of an empty object states another ETag than the listing",
        _answers(quirks.of_empty_objects(quirks.with_header("ETag", '"0"'))),
    ),
    Behaviour(
        "empty-no-etag",
        "HEAD of an empty object states no ETag",
        _answers(quirks.of_empty_objects(quirks.without_header("etag"))),
    ),
    Behaviour(
        "size-0", "the listing states size 0 for every object", _answers(quirks.listed_empty)
    ),
    Behaviour(
        "markers",
        "an empty object named as each folder, with the content type of a folder (SeaweedFS, "
        "s3fs-fuse)",
        markers=dict.fromkeys(("model", "model/deep"), "application/x-directory"),
    ),
    Behaviour(
        "placeholders",
        "an empty object for each folder, whose name ends in `/` (the console of Amazon S3)",
        markers=dict.fromkeys(("model/", "model/deep/"), "application/octet-stream"),
    ),
)
_OF_ETAGS = (
    Behaviour("no-listed-etags", "no ETags in the listing", _answers(quirks.no_listed_etags)),
    Behaviour(
        "no-etags",
        "no ETags at all; an object is replaced by another of the same size before a second run",
        _answers(quirks.dated(dict.fromkeys(OBJECTS.values(), _PAST), None), quirks.no_etags),
        replaced={"model/config": b"SMALL"},
    ),
    Behaviour(
        "no-etags-moving",
        "no ETags at all; a large object is replaced by another of the same size after its first "
        "GET",
        _answers(quirks.dated({LARGE[::-1]: _PAST + 1}, _PAST), quirks.no_etags),
        on_the_way={"model/deep/weights": LARGE[::-1]},
    ),
    Behaviour(
        "other-etags",
        "the listing states other ETags than HEAD and GET",
        _answers(quirks.dated({}, _PAST), quirks.other_listed_etags),
    ),
    Behaviour(
        "three-etags",
        "listing, HEAD and GET each state another ETag",
        _answers(
            quirks.dated({}, _PAST),
            quirks.other_listed_etags,
            _OTHER_ETAG(lambda etag: f'"h{etag[1:]}', "HEAD"),
            _OTHER_ETAG(lambda etag: f'"g{etag[1:]}', "GET"),
        ),
        ignored=_EDITED,
    ),
    Behaviour(
        "get-etag",
        "GET states another ETag than HEAD and the listing",
        _answers(_OTHER_ETAG(lambda etag: f'"g{etag[1:]}', "GET")),
        ignored=_EDITED,
    ),
    Behaviour("if-match", "`If-Match` never matches: 412", _answers(quirks.never_matching)),
    Behaviour(
        "upper",
        "ETags are md5 in upper case",
        _answers(quirks.upper_etags),
        ignored=_EDITED,
    ),
    Behaviour(
        "upper-flip",
        "ETags are md5 in upper case, and one byte of an object is always wrong",
        _answers(quirks.flipping("config"), quirks.upper_etags),
        ignored=_EDITED,
        code=7,
        damaged=["model/config"],
    ),
    Behaviour(
        "dashed", "`-1` at the end of every ETag", _answers(quirks.dashed_etags), ignored=_EDITED
    ),
    Behaviour(
        "parts",
        "an object that was uploaded in unequal parts (the fsspec driver s3fs)",
        objects={**OBJECTS, "model/streamed": random.Random(3).randbytes(sum(_PARTS))},
        parts={"model/streamed": _PARTS},
    ),
)
_OF_LISTINGS = (
    _pages("truncated-gone", "pages without `IsTruncated`", element("IsTruncated", None)),
    _pages("truncated-True", "pages with `IsTruncated` `True`", element("IsTruncated", "True")),
    _pages("truncated-1", "pages with `IsTruncated` `1`", element("IsTruncated", "1")),
    _pages(
        "truncated-false",
        "pages with `IsTruncated` `false` beside the token of the next one",
        element("IsTruncated", "false"),
    ),
    _pages(
        "no-token",
        "pages that are truncated, without the token of the next one",
        without_tokens,
    ),
    _pages(
        "first-version",
        "listings of the first version only: 501 for ListObjectsV2",
        first_version_only(501, "NotImplemented"),
    ),
)
_OF_HEADS = (
    Behaviour(
        "head-403", "HEAD is refused: 403", _answers(quirks.head_refused(403, "AccessDenied"))
    ),
    Behaviour("head-405", "HEAD is refused: 405", _answers(quirks.head_refused(405))),
    Behaviour(
        "head-501", "HEAD is refused: 501", _answers(quirks.head_refused(501, "NotImplemented"))
    ),
    Behaviour(
        "head-length", "HEAD states no `Content-Length`", _answers(quirks.head_without_length)
    ),
    Behaviour(
        "checksum-mode",
        "HEAD with `x-amz-checksum-mode` is refused: 501",
        _answers(quirks.refusing_question(501, "x-amz-checksum-mode")),
    ),
    Behaviour(
        "latin-1",
        "`Content-Disposition` in Latin-1, metadata in UTF-8 (uploads by browsers)",
        _answers(
            quirks.with_headers(
                {
                    "Content-Disposition": 'attachment; filename="Gr\xf6\xdfe"',
                    "x-amz-meta-name": "\xc3\xb6",
                }
            )
        ),
    ),
    Behaviour(
        "headers",
        "150 headers of metadata",
        _answers(quirks.with_headers({f"x-amz-meta-{n}": f"{n}" for n in range(150)})),
    ),
    Behaviour(
        "dates",
        "`Last-Modified` is no date",
        _answers(quirks.with_header("Last-Modified", "yesterday")),
    ),
)
_OF_SERVICES = (
    Behaviour(
        "throttling",
        "400 `ThrottlingException` for the first 3 requests",
        lambda: refuses_first(3, 400, "ThrottlingException"),
    ),
    Behaviour(
        "region",
        "another region than the client's, named in the error: 400 (Garage)",
        _answers(
            has_region("garage", 400, "AuthorizationHeaderMalformed", in_header=False, in_body=True)
        ),
    ),
    Behaviour(
        "region-301",
        "another region than the client's, named in the header of a 301 (Amazon S3)",
        _answers(has_region("eu-west-7", 301, "PermanentRedirect", in_header=True, in_body=True)),
    ),
    Behaviour(
        "redirect",
        "301 that names neither a region nor an address",
        _answers(redirects_all(301, "PermanentRedirect")),
        code=5,
    ),
    Behaviour(
        "colon",
        "a bucket named `tenant:bucket` (Ceph)",
        bucket="tenant:bucket",
    ),
)
STORES = (*_OF_EMPTY, *_OF_ETAGS, *_OF_LISTINGS, *_OF_HEADS, *_OF_SERVICES)
#: What is tried on kaiwo alone: other forms of the same.
MORE_STORES = (
    Behaviour(
        "checksum-mode-400",
        "HEAD with `x-amz-checksum-mode` is refused: 400",
        _answers(quirks.refusing_question(400, "x-amz-checksum-mode")),
    ),
    Behaviour(
        "part-numbers",
        "HEAD with `partNumber` is refused: 500",
        _answers(quirks.refusing_question(500, "partNumber")),
    ),
    Behaviour(
        "long-headers",
        "metadata of 8,000 bytes",
        _answers(quirks.with_headers({f"x-amz-meta-{n}": "x" * 2_000 for n in range(4)})),
    ),
    Behaviour(
        "empty-dates",
        "`Last-Modified` is empty",
        _answers(quirks.with_header("Last-Modified", "")),
    ),
    Behaviour(
        "other-dates",
        "`Expires` and `Date` are no dates",
        _answers(quirks.with_headers({"Expires": "never", "Date": "now"})),
    ),
    Behaviour(
        "numbers",
        "numbers in headers are none",
        _answers(
            quirks.with_headers({"x-amz-meta-size": "x", "x-amz-mp-parts-count": "many"}),
        ),
    ),
    _no_md5("kms", "x-amz-server-side-encryption", "aws:kms"),
    _no_md5("kms-cos", "x-cos-server-side-encryption", "cos/kms"),
    _no_md5("appendable", "x-oss-object-type", "Appendable"),
    _listing("milliseconds", "dates in listings are milliseconds", dated("1700000000000")),
    _listing("after-9999", "dates in listings are after 9999", dated("+10000-01-01T00:00:00.000Z")),
    _pages("no-number", "pages whose `KeyCount` is no number", element("KeyCount", "many")),
    _listing("gzip", "listings are gzip-encoded", gzipped),
    _listing("empty-line", "listings begin with an empty line", after_an_empty_line),
    Behaviour("206", "206 for a whole object, without `Content-Range`", _answers(quirks.all_206)),
    Behaviour("head-0", "HEAD states `Content-Length: 0`", _answers(quirks.head_of_no_bytes)),
    Behaviour("head-404", "HEAD is refused: 404", _answers(quirks.head_refused(404, "NoSuchKey"))),
    Behaviour(
        "totals",
        "`Content-Range` states the length of the range as that of the object",
        _answers(quirks.total_of_range),
    ),
)
