"""``kaiwo ls``: what is at a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaiwo import environment
from kaiwo.api import run
from kaiwo.api.fetch_fields import OF_COMMAND
from kaiwo.api.fetch_order import Goal, order_of_urls
from kaiwo.cli import results
from kaiwo.cli.logs import early_format, early_level, log_to_stderr
from kaiwo.net import proxies
from kaiwo.reporting import object_list
from kaiwo.reporting.displays import QuietSink


def ls(url: str, fields: Mapping[str, Any], options: Mapping[str, Any], *, as_json: bool) -> int:
    """Print what is at a URL; no byte of any object is read.

    Args:
        url: of a file, a folder or a glob.
        fields: of the task type.
        options: of the run.
        as_json: for programs.
    """
    log_to_stderr(early_level(options["log_level"]), early_format(options["log_format"]))
    with results.errors_as_json(as_json):
        with environment.cleaned(proxies.canonical):
            # Nothing goes there, and what an earlier run was answered is not asked for.
            chosen = {**options, "force": True}
            asked = order_of_urls([url], Goal(folder="/"), fields, chosen, OF_COMMAND)
            log_to_stderr(asked.settings.log_level, asked.settings.log_format)
            listing = run.list_all(asked.order, QuietSink())
        results.show(object_list.as_json(listing) if as_json else object_list.lines(listing))
    return 0
