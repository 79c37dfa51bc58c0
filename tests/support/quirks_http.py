"""What proxies and servers do to HTTP, below what they state of objects: spoilt answers."""

from __future__ import annotations

import gzip
from dataclasses import replace

from tests.support.proxies import Answer


def gzipped(method: str, path: str, answer: Answer) -> Answer:
    """Each whole answer comes gzip-encoded, although identity was asked for."""
    if method == "HEAD" or answer.status != 200:
        return answer
    headers = {**answer.headers, "Content-Encoding": "gzip"}
    return replace(answer, headers=headers, body=gzip.compress(answer.body))


def called_gzipped(method: str, path: str, answer: Answer) -> Answer:
    """Each answer says that it is gzip-encoded, and is not."""
    return replace(answer, headers={**answer.headers, "Content-Encoding": "gzip"})


def called_nothing(method: str, path: str, answer: Answer) -> Answer:
    """Each answer names an encoding that is none."""
    return replace(answer, headers={**answer.headers, "Content-Encoding": "none"})
