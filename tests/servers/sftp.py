"""SFTP by asyncssh over a folder, in a thread of this process; one user, one password.

What differs from OpenSSH's server, which was tried by hand: nothing that the tests look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh

from tests.servers import serving

USER, PASSWORD = "me", "right-password"
_PATIENCE_S = 20.0


class _Server(asyncssh.SSHServer):
    """Signs in one user.

    Args:
        open_: the connections of the server, which does not close them by itself.
    """

    def __init__(self, open_: set[asyncssh.SSHServerConnection]) -> None:
        self._open = open_

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._open.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's
        self._open.discard(self._connection)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


@contextlib.contextmanager
def sftp(root: Path) -> Iterator[str]:
    """Host and port of a server of a folder's files while the block runs."""
    loop, connections = asyncio.new_event_loop(), set[asyncssh.SSHServerConnection]()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncssh.SSHAcceptor:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return await asyncssh.listen(
            serving.HOST,
            0,
            server_factory=lambda: _Server(connections),
            server_host_keys=[key],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=bytes(root)),
            allow_scp=False,
        )

    async def stop(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        for connection in [*connections]:
            connection.abort()
            await connection.wait_closed()
        await server.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(_PATIENCE_S)
    try:
        yield f"{serving.HOST}:{server.get_port()}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(_PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE_S)
        loop.close()
