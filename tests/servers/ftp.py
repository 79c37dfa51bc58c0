"""FTP by pyftpdlib over a folder, in a thread of this process; one user, one password."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.servers import serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its asyncore leaves the standard library
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

USER, PASSWORD = "me", "right-password"
_PATIENCE_S = 20.0


@contextlib.contextmanager
def ftp(root: Path) -> Iterator[str]:
    """Host and port of a server of a folder's files while the block runs."""
    logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)
    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(root), perm="elr")
    attributes = {"authorizer": authorizer, "auth_failed_timeout": 0, "timeout": None}
    handler = type("Handler", (FTPHandler,), attributes)
    server = ThreadedFTPServer((serving.HOST, 0), handler)
    server.max_cons_per_ip = server.max_cons = 256
    ending = threading.Event()

    def serve() -> None:
        while not ending.is_set():
            server.serve_forever(timeout=0.05, blocking=False)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"{serving.HOST}:{server.address[1]}"
    finally:
        ending.set()
        thread.join(_PATIENCE_S)
        server.close_all()
