"""A relay before a real server, which changes the answers as a run of the sweep wants it.

The same request gets the same honest answer for as long as the relay lives, so that the real server
is asked once: a sweep asks a hundred thousand times.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from email.message import Message
from urllib.parse import urlsplit

from tests.servers import serving
from tests.support.sweep_changes import OTHERS, Change, Sent, Values, changed, kind_of

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}
#: Headers of a request that the answer depends on.
_COUNTS = ("range", "if-", "x-ms-range", "x-ms-if", "x-amz-checksum-mode", "x-amz-request-payer")
_WITHOUT_BODY = {204, 304}
#: Where a second server is, behind the relay.
_SECOND = "/second-server"
#: How a service says that something failed, for each content type.
_ERRORS = {
    "xml": b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>no</Message></Error>",
    "json": b'{"error": {"code": 503, "message": "no"}}',
}


class Relay:
    """See above.

    Args:
        upstream: the server's address.
        words: the content type of its errors: xml or json.
        asking: path and query to ask for instead of those that were asked for.
        second: the address of a server to which the first one redirects.
        is_only_witness: nothing but its answers to GET says how long a file is for certain, so
            that these do not all state the same wrong length.
    """

    def __init__(
        self,
        upstream: str,
        words: str,
        asking: Callable[[str], str],
        second: str,
        *,
        is_only_witness: bool,
    ) -> None:
        self._upstream, self._words, self._asking = upstream, words, asking
        self._second = second
        self._is_only_witness = is_only_witness
        self._honest: dict[tuple[object, ...], Sent] = {}
        self._values = Values()
        self._lock = threading.Lock()
        self._begun: Counter[str] = Counter()
        self._changes: tuple[Change, ...] = ()
        #: Answers that were changed, since the relay began; and what was asked in this run.
        self.spoilt = 0
        self.log: list[str] = []

    def begin(self, changes: tuple[Change, ...]) -> None:
        """Begin a run, in which this is done."""
        with self._lock:
            self._begun.clear()
            self._changes = changes
            self.log = []

    def answer(self, method: str, target: str, headers: Message, form: bytes = b"") -> Sent:
        """The answer to a request, with this run's changes."""
        sent = self._ask(method, target, headers, form)
        kind = kind_of(method, sent)
        with self._lock:
            number = self._begun[kind]
            self._begun[kind] += 1
            due = [c for c in self._changes if c.kind == kind and c.nth in (None, number)]
            honest = sent
            for change in due:
                if change.place == "order":
                    sent = self._instead(sent, target, OTHERS[change.pick % len(OTHERS)])
                else:
                    spoilt = changed(sent, change, self._values)
                    is_unseen = self._is_only_witness and change.nth is None and _ends_early(spoilt)
                    sent = sent if is_unseen else spoilt
            self.spoilt += sent != honest
            self.log.append(f"{method} {target} {headers.get('Range', '')} -> {sent.status}")
        return sent

    def _instead(self, sent: Sent, target: str, other: str) -> Sent:
        kind = ("Content-Type", f"application/{self._words}")
        refused = _ERRORS[self._words]
        length = ("Content-Length", str(len(refused)))
        return {
            "busy": Sent(503, (kind, length, ("Retry-After", "0")), refused),
            "broken": Sent(500, (kind, length), refused),
            "error in 200": Sent(200, (kind, length), refused),
            "cut": Sent(sent.status, sent.headers, sent.body[: len(sent.body) // 2], is_cut=True),
            "same place": Sent(307, (("Location", target), ("Content-Length", "0")), b""),
            "no place": Sent(301, (("Content-Length", "0"),), b""),
            "nowhere": Sent(
                302, (("Location", "http://127.0.0.1:1/x"), ("Content-Length", "0")), b""
            ),
            "nothing": Sent(200, (("Content-Length", "0"),), b""),
        }[other]

    def _ask(self, method: str, target: str, headers: Message, form: bytes) -> Sent:
        """The honest answer."""
        counting = tuple(
            sorted((k.lower(), v) for k, v in headers.items() if k.lower().startswith(_COUNTS))
        )
        key = (method, target, counting, form)
        if key not in self._honest:
            upstream, asked_for = self._upstream, self._asking(target)
            if target.startswith(_SECOND):
                upstream, asked_for = self._second, target.removeprefix(_SECOND)
            by_way = f"http://{headers['Host']}{_SECOND}"
            place = urlsplit(upstream).netloc
            with contextlib.closing(http.client.HTTPConnection(place, timeout=30)) as server:
                server.request(method, asked_for, form, dict(headers.items()))
                got = server.getresponse()
                body = got.read()
                kept = [
                    (k, v.replace(self._second, by_way) if self._second else v)
                    for k, v in got.getheaders()
                    if k.lower() not in _HOP_BY_HOP
                ]
            if not any(name.lower() == "content-length" for name, _ in kept):
                kept.append(("Content-Length", str(len(body))))
            found = Sent(got.status, tuple(kept), body)
            with self._lock:
                self._honest[key] = found
                self._values.learn(found)
        return self._honest[key]


def _ends_early(sent: Sent) -> bool:
    """Whether it states fewer bytes than there are."""
    stated = [value for name, value in sent.headers if name.lower() == "content-length"]
    return all(each.isdecimal() for each in stated) and min(
        map(int, stated), default=len(sent.body)
    ) < len(sent.body)


@contextlib.contextmanager
def relay(
    address: str,
    words: str,
    asking: Callable[[str], str] = lambda target: target,
    second: str = "",
    *,
    is_only_witness: bool = False,
) -> Iterator[tuple[Relay, str]]:
    """A relay before the server at an address; and the relay's address."""
    found = Relay(address, words, asking, second, is_only_witness=is_only_witness)

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = found.answer(self.command, self.path, self.headers, form)
            self.send_response_only(sent.status)
            body = b"" if self.command == "HEAD" or sent.status in _WITHOUT_BODY else sent.body
            stated = [value for name, value in sent.headers if name.lower() == "content-length"]
            # What is sent is not what is stated: the next answer would begin in this one.
            self.close_connection = sent.is_cut or (
                self.command != "HEAD" and stated != [str(len(body))]
            )
            for name, value in sent.headers:
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_POST = pass_on  # noqa: N815 - the library's names

    with serving.listening(Handler) as own:
        yield found, own
