"""A question to a source: what keeps it from an answer comes back in the answer, classified."""

from __future__ import annotations

from collections.abc import Callable

from kaiwo.errors import BugError, KaiwoError
from kaiwo.net.failures import limit_error
from kaiwo.protocols import Opener, Source
from kaiwo.workers.source_cache import OutcomeT, open_source, with_fresh_secrets


def answered(
    opener: Opener, ask: Callable[[Source], OutcomeT], failed: Callable[[KaiwoError], OutcomeT]
) -> OutcomeT:
    """What a source answers; asked once more where its credentials were outdated.

    Args:
        opener: of the source.
        ask: asks it.
        failed: an answer that is an error.
    """
    try:
        return with_fresh_secrets(opener, lambda: _asked(open_source(opener), ask, failed))
    except KaiwoError as error:
        return failed(error)
    except Exception as error:
        text = f"opening the source failed: unforeseen {type(error).__name__}"
        return failed(limit_error(error, f"opening {opener.url('')}") or BugError(text))


def _asked(
    source: Source, ask: Callable[[Source], OutcomeT], failed: Callable[[KaiwoError], OutcomeT]
) -> OutcomeT:
    try:
        return ask(source)
    except KaiwoError as error:
        return failed(error)
    except Exception as error:
        return failed(_classified(error, source))


def _classified(error: Exception, source: Source) -> KaiwoError:
    try:
        return source.classify(error)
    except Exception as another:
        name, failure = type(error).__name__, type(another).__name__
        return BugError(f"{name} could not be classified: unforeseen {failure}")
