"""``kaiwo.fetch``: one URL, without a configuration file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kaiwo import environment
from kaiwo.api.download import plain
from kaiwo.api.fetch_order import Goal, order_of_urls
from kaiwo.api.run import carry_out
from kaiwo.errors import KaiwoError
from kaiwo.net import proxies
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import notebook_sink


def fetch(
    url_spec: str,
    target: str | os.PathLike[str] | None = None,
    *,
    sink: Sink | None = None,
    **fields: Any,
) -> Path:
    """Download one URL, and return where it is.

    ``s3://bucket/key``, ``gs://bucket/key``, ``az://container/key``,
    ``hf://[datasets/]owner/repo[@revision][/path]``, or a file of another fsspec protocol. A glob
    or a ``/`` at the end makes it a folder; otherwise kaiwo asks for the object first, then for a
    folder of that name. A second call transfers nothing.

    Args:
        url_spec: what to fetch.
        target: path of the file or folder. Default: its own name in the working directory (for
            ``hf://``: the Hugging Face cache).
        sink: gets the events of the run; by default a progress bar, where a person can see it.
        fields: fields of the task type, such as ``endpoint_url`` or ``secret_key_file``.

    Returns:
        The file; the folder for a folder, a glob or a snapshot.

    Raises:
        KaiwoError: the download failed; the error says why.
    """
    fields = {name: plain(value) for name, value in fields.items()}
    with environment.cleaned(proxies.canonical):
        goal = Goal(None if target is None else os.fspath(target))
        asked = order_of_urls([url_spec], goal, fields, {"fail_fast": True})
        done = carry_out(asked.order, sink or notebook_sink())
    (outcome,) = asked.outcomes(done)
    if isinstance(outcome, KaiwoError):
        raise outcome
    return outcome
