"""Refuses what servers send in place of a file, with status 200.

    pointer    of Git LFS, Xet or git-annex: refused for every object of every source
    page       of HTML: refused for names of formats that no page can have (weights, arrays,
               archives), unless the store states a checksum: then that decides
    refusal    an error in JSON, in XML or in words: the same

Other names may be pages. A web server that says ``text/html`` is refused for more names, see
``kaiwo/net/pages.py`` and docs/decisions/0042.
"""

from __future__ import annotations

import posixpath

from kaiwo.errors import StandInError
from kaiwo.jobs import Transfer
from kaiwo.net.stand_ins import is_page, is_refusal, pointer_kind
from kaiwo.protocols import Buffer

#: Formats that begin with other bytes than a page or a text does, and that no crawl brings.
_FORMATS = frozenset(
    (
        *("safetensors", "bin", "pt", "pth", "ckpt", "gguf", "ggml", "onnx", "tflite", "pb"),
        *("h5", "hdf5", "msgpack", "npy", "npz", "pkl", "pickle", "joblib", "model", "nc", "mat"),
        *("parquet", "arrow", "feather", "orc", "avro", "tfrecord", "sqlite", "sqlite3", "duckdb"),
        *("zip", "gz", "tgz", "bz2", "xz", "lz4", "zst", "7z", "rar", "tar", "whl", "jar"),
        *("deb", "rpm", "iso", "dmg"),
    )
)
_SIGN_IN = (
    "the server may ask to sign in: open the address in a browser, and check the address and the "
    "credentials"
)


def require_file(transfer: Transfer, data: Buffer) -> None:
    """Refuse a small object that stands in for the file.

    Args:
        transfer: the object.
        data: all bytes of it, or the first ``MOST_DOCUMENT``.

    Raises:
        StandInError: they are a pointer, a page or a refusal.
    """
    if (kind := pointer_kind(data)) is not None:
        raise StandInError(
            f"{transfer.source}: a {kind} pointer of {len(data)} bytes came, not the file; the "
            f"server has the Git repository without its {kind} files: use an address of the file "
            "itself (of the Hub: /resolve/, not /raw/), or store the file there"
        )
    if transfer.object.checksum is not None:
        return
    extension = posixpath.splitext(transfer.target)[1].removeprefix(".").lower()
    if extension not in _FORMATS:
        return
    if is_page(data):
        raise StandInError(
            f"{transfer.source}: a page of HTML came, not a .{extension} file; {_SIGN_IN}"
        )
    if is_refusal(data):
        raise StandInError(
            f"{transfer.source}: an error message of {len(data)} bytes came, not a .{extension} "
            f"file; {_SIGN_IN}"
        )
