"""What the fsspec source does instead of obstore: once, for all ranges, or for everything.

obstore does not show why a service refuses a request. The fsspec source asks again: it may succeed,
because the SDK signs for the region that the answer names, and then does everything from now on.
Else its error says why. If it says the same, the code is believed from then on.

obstore does not show ``Retry-After``. At most once a second, a request that a busy service refused
is sent by the fsspec source, whose error tells how long to wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from kaiwo.errors import CredentialsError, KaiwoError, TransientError, UnfinishedError
from kaiwo.net.patience import Patience
from kaiwo.protocols import Source
from kaiwo.sources.identity import Identity
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.workers.shared_calls import SharedCalls

#: A service that does not say how long to wait is asked for it at most once in this time.
ASK_EVERY_S = 1.0
T = TypeVar("T")
logger = logging.getLogger(__name__)


class RetryAfterHiddenError(NotForObstoreError):
    """The service is in trouble and may say how long to wait, which obstore does not show.

    Args:
        error: what the request ends with if the service does not say it.
    """

    def __init__(self, error: TransientError) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return self.error.message


class RefusalHiddenError(NotForObstoreError):
    """The service refuses access, and obstore does not show all that it says.

    Args:
        error: what obstore's request ended with.
        code: that the service gave; may be empty.
        is_unauthorized: it refuses the token itself.
    """

    def __init__(self, error: KaiwoError, code: str, is_unauthorized: bool = False) -> None:
        super().__init__(error, code, is_unauthorized)
        self.error = error
        self.code = code
        self.is_unauthorized = is_unauthorized

    def __str__(self) -> str:
        return "the service refuses the request"


def with_another_token(identity: Identity, send: Callable[[], T]) -> T:
    """What a request brings; sent again if its token was refused and there is another one.

    Args:
        identity: whose tokens obstore sends.
        send: sends the request.

    Raises:
        TokenError: none is given.
    """
    sent = identity.token().value
    try:
        return send()
    except RefusalHiddenError as refused:
        if not refused.is_unauthorized or not identity.replace(sent):
            raise
        return send()


class Fallback:
    """The fsspec source of a bucket, opened when it is first needed. Thread-safe.

    Args:
        open_source: opens it.
        url: of the bucket, for log lines.

    Attributes:
        is_for_all: the fsspec source does everything from now on.
        is_for_ranges: it reads all ranges from now on.
    """

    def __init__(self, open_source: Callable[[], Source], url: str) -> None:
        self._open_source = open_source
        self._url = url
        self._openings = SharedCalls[str, Source]()
        self._asking = threading.Lock()
        self._patience = Patience()
        self._ask_again_s = 0.0
        #: The fsspec source, if it is open.
        self.opened: Source | None = None
        self.is_for_all = False
        self.is_for_ranges = False
        self._believed: set[str] = set()
        self._is_closed = False

    def source(self) -> Source:
        """The fsspec source.

        Raises:
            UnfinishedError: it was closed.
        """
        self._require_open()
        return self.opened or self._openings.make("", self._open_once)

    def _open_once(self) -> Source:
        if self.opened is None:
            self.opened = self._open_source()
            if self._is_closed:  # meanwhile
                self.opened.close()
        self._require_open()
        return self.opened

    def close(self) -> None:
        """Close the fsspec source if it is open; does not wait for a thread that opens it."""
        self._is_closed = True
        if self.opened is not None:
            self.opened.close()

    def _require_open(self) -> None:
        if self._is_closed:
            raise UnfinishedError("the source is closed")

    def take_all(self, reason: str) -> None:
        """The fsspec source does everything from now on."""
        if not self.is_for_all:
            self.is_for_all = True
            logger.info("%s is read through fsspec: %s", self._url, reason)

    def take_ranges(self) -> None:
        """The fsspec source reads all ranges from now on."""
        if not self.is_for_ranges:
            self.is_for_ranges = True
            logger.info("%s: ranges are read through fsspec: the service answers oddly", self._url)

    def believes(self, code: str) -> bool:
        """Whether the fsspec source had no more to say about this code."""
        return code in self._believed

    def instead(self, ask: Callable[[], T], reason: NotForObstoreError) -> T:
        """Send a request through the fsspec source that obstore cannot carry out.

        Args:
            ask: sends the request.
            reason: why obstore cannot carry it out.
        """
        match reason:
            case RetryAfterHiddenError():
                return self.ask_how_long(ask, reason.error)
            case RefusalHiddenError():
                return self._ask_why(ask, reason)
            case _:
                return ask()

    def _ask_why(self, ask: Callable[[], T], refused: RefusalHiddenError) -> T:
        """Send the refused request through the fsspec source; see the module's docstring."""
        try:
            answer = ask()
        except CredentialsError as error:
            if refused.code and error.message == refused.error.message:
                self._believed.add(refused.code)
            raise
        self.take_all("the service refuses obstore's request only; is another region meant?")
        return answer

    def ask_how_long(self, ask: Callable[[], T], error: TransientError) -> T:
        """Send the refused request through the fsspec source, whose errors say how long to wait.

        One thread asks. The others wait for it, and take over what it learned.

        Args:
            ask: sends the request.
            error: what obstore's request ended with.

        Returns:
            The answer, if the request succeeds this time.

        Raises:
            TransientError: ``error``, with the seconds that are left of the wait.
        """
        with self._asking:
            left_s = self._patience.left_s(self._url)
            if left_s > 0:
                raise type(error)(error.message, left_s)
            if time.monotonic() < self._ask_again_s:
                raise type(error)(error.message, None)
            # From the end of the request, which may take as long as a stall.
            again_in_s = ASK_EVERY_S
            try:
                return ask()
            except TransientError as answer:
                if answer.retry_after_s is not None:
                    self._patience.asked(self._url, answer.retry_after_s)
                    again_in_s = 0.0
                raise
            finally:
                self._ask_again_s = time.monotonic() + again_in_s
