"""``kaiwo.download``: everything that a configuration asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kaiwo.api.run import run
from kaiwo.config.document import Document
from kaiwo.config.loader import build, load
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import QuietSink, Sinks
from kaiwo.reporting.outputs import Outputs


def plain(value: Any) -> Any:
    """A path as text, which is what a file would have in its place."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def download(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    sink: Sink | None = None,
    **options: Any,
) -> Report:
    """Plan, transfer, verify and publish everything that a configuration asks for.

    When it returns and ``report.ok``, every object is in place and verified; objects that failed
    are named in ``report.items``, and the others are in place nevertheless.

    Args:
        config: path of a YAML file, or what such a file holds.
        sink: is told what happens; by default, problems are logged.
        options: the command's options, such as ``max_workers=4``.

    Raises:
        KaiwoError: nothing was begun: the configuration is wrong, or names are unsafe; or the
            report that was asked for cannot be written.
    """
    options = {name: plain(value) for name, value in options.items()}
    if isinstance(config, Mapping):
        loaded = build(Document("config", dict(config)), options)
    else:
        loaded = load(config, options)
    outputs = Outputs(loaded.settings.report, loaded.settings.metrics_file)
    outputs.require_folder()
    try:
        done = run(loaded, Sinks(outputs, sink or QuietSink()))
    except BaseException as error:
        outputs.write(outputs.report(error))
        raise
    outputs.write(done)
    return done
