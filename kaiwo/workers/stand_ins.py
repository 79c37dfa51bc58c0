"""Refuses what servers send in place of a file, with status 200.

    pointer    of Git LFS: refused for every object of every source
    page       of HTML: refused for names of formats that no page can have (weights, arrays,
               archives), unless the store states a checksum: then that decides

Other names may be pages. A web server that says ``text/html`` is refused for more names, see
``kaiwo/sources/web/pages.py`` and docs/decisions/0042.
"""

from __future__ import annotations

import posixpath

from kaiwo.errors import StandInError
from kaiwo.jobs import Transfer
from kaiwo.net.stand_ins import is_page, is_pointer
from kaiwo.protocols import Buffer

#: Formats that begin with other bytes than a page does.
_FORMATS = frozenset(
    (
        *("safetensors", "bin", "pt", "pth", "ckpt", "gguf", "ggml", "onnx", "tflite", "pb"),
        *("h5", "hdf5", "msgpack", "npy", "npz", "pkl", "pickle", "model"),
        *("parquet", "arrow", "feather", "orc", "avro"),
        *("zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "tar", "whl"),
    )
)


def require_file(transfer: Transfer, data: Buffer) -> None:
    """Refuse all bytes of a small object if they stand in for the file.

    Raises:
        StandInError: they are a pointer or a page.
    """
    if is_pointer(data):
        raise StandInError(
            f"{transfer.source}: a Git LFS pointer of {len(data)} bytes came, not the file; the "
            "server has the Git repository without its LFS files: use an address of the file "
            "itself (of the Hub: /resolve/, not /raw/), or store the file there"
        )
    extension = posixpath.splitext(transfer.target)[1].removeprefix(".").lower()
    if transfer.object.checksum is None and extension in _FORMATS and is_page(data):
        raise StandInError(
            f"{transfer.source}: a page of HTML came, not a .{extension} file; the server may ask "
            "to sign in: open the address in a browser, and check the address and the credentials"
        )
