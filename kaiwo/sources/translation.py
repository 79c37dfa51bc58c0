"""Blocks whose errors become kaiwo errors, without an SDK's text."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeGuard

from kaiwo.errors import CredentialsError, KaiwoError, NotFoundError
from kaiwo.net.failures import chain
from kaiwo.net.statuses import as_anonymous

#: Who signs in where requests have no credentials.
NOBODY = "nobody"
logger = logging.getLogger(__name__)


class NotForObstoreError(Exception):
    """Why the fsspec source must take over from obstore, in words for the log."""


class Translation:
    """See ``StoreSource.translating``; not a generator, because every small object passes it.

    Args:
        convert: gives the kaiwo error for an error, the operation and the key.
        operation: see ``translating``.
        key: see ``translating``.
    """

    __slots__ = ("_convert", "_key", "_operation")

    def __init__(
        self, convert: Callable[[Any, str, str], KaiwoError], operation: str, key: str
    ) -> None:
        self._convert = convert
        self._operation = operation
        self._key = key

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KaiwoError | NotForObstoreError):
            return
        if isinstance(error, Exception) or is_panic(error):
            found = self._convert(error, self._operation, self._key)
            causes = " from ".join(type(each).__name__ for each in chain(error))
            logger.debug("%s (%s)", found, causes)
            # The SDK's text may quote a request, and a traceback shows the text of all causes.
            raise found from None


def is_panic(error: object) -> TypeGuard[BaseException]:
    """Whether native code failed on a request; no module has these types, one is no Exception."""
    return type(error).__name__ in ("PanicException", "RustPanic")


def with_signer(error: KaiwoError, signer: Callable[[], str]) -> KaiwoError:
    """The error; of a refused identity, it says which one was tried.

    Args:
        error: as it was mapped.
        signer: says who signs in and where that comes from; empty if there is nothing to say,
            ``NOBODY`` if requests have no credentials.
    """
    if not isinstance(error, CredentialsError | NotFoundError):
        return error
    named = signer()
    if named == NOBODY:
        return as_anonymous(error)
    if not isinstance(error, CredentialsError) or not named or named in error.message:
        return error
    return type(error)(f"{error.message}; signed in as {named}", *error.args[1:])
