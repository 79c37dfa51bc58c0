"""A relay on localhost between a client and a server, with TLS on the client's side if asked."""

import contextlib
import socket
import ssl
import threading


class Pipe:
    """Passes connections on to a server as they are, or out of TLS; counts those that came."""

    def __init__(self, upstream: str, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        host, _, upstream_port = upstream.partition("://")[2].partition("/")[0].partition(":")
        self._upstream = host, int(upstream_port)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept nothing more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError))
            if self._tls is not None:
                connection = _shaken(connection, self._tls)
            stack.enter_context(connection)
            upstream = stack.enter_context(socket.create_connection(self._upstream))
            back = threading.Thread(target=copy, args=(upstream, connection), daemon=True)
            back.start()
            copy(connection, upstream)
            back.join()


def _shaken(connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
    """The connection after the handshake; if that fails, the client gets to read the alert."""
    secured = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    try:
        secured.do_handshake()
    except OSError:
        with contextlib.suppress(OSError), secured:
            # What was sent already and nobody reads would reset the connection.
            socket.socket.shutdown(secured, socket.SHUT_WR)
            while socket.socket.recv(secured, 65536):
                pass
        raise
    return secured


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Everything that comes, until one side is gone."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
