"""Why a container ended, in the file that Kubernetes shows as its termination message.

    KAIWO_TERMINATION_LOG     the file, if it is set; empty for none
    /dev/termination-log      the file, if it exists: kubelet mounts it into every container

It holds the report's counts and the first failures.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

from kaiwo.files import documents
from kaiwo.objects import Report
from kaiwo.reporting.json_report import error_as_json, summary

#: Kubernetes cuts a message after this many bytes.
MOST_BYTES = 4096
PATH = "/dev/termination-log"
PATH_VARIABLE = "KAIWO_TERMINATION_LOG"
logger = logging.getLogger(__name__)


def write(report: Report) -> None:
    """In a pod, write the message; elsewhere do nothing. A failure is a warning."""
    path = os.environ.get(PATH_VARIABLE) or None
    if path is None and os.path.exists(PATH):
        path = PATH
    if not path:
        return
    try:
        # The file is a mount in a pod, and a mount cannot be replaced.
        documents.write_in_place(path, [text(report)])
    except OSError as error:
        logger.warning("cannot write the termination message: %s", error.strerror)


def text(report: Report) -> str:
    """The message: JSON in ASCII, so that characters are bytes."""
    document = summary(report)
    document["failures"] = []
    for failure in _failures(report):
        document["failures"].append(failure)
        if len(json.dumps(document)) <= MOST_BYTES:
            continue
        document["failures"].pop()
        if not document["failures"]:
            budget = MOST_BYTES - len(json.dumps(document))
            document["failures"].append(_shortened(failure, budget))
        break
    return json.dumps(document)


def _failures(report: Report) -> Iterator[dict[str, str]]:
    """What ended the run, then the objects that failed."""
    if report.error is not None:
        yield error_as_json(report.error)
    for item in report.items:
        if item.error is not None and item.error is not report.error:
            yield {"source": item.source, **error_as_json(item.error)}


def _shortened(failure: dict[str, str], budget: int) -> dict[str, str]:
    """The failure with its longest text shortened until its JSON has at most ``budget`` bytes."""
    failure = dict(failure)
    while len(json.dumps(failure)) > budget:
        longest = max(failure, key=lambda name: len(failure[name]))
        failure[longest] = failure[longest][: len(failure[longest]) * 3 // 4]
    return failure
