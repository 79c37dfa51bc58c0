"""``kaiwo.fetch``: one URL, without a configuration file.

The URL becomes a configuration with one task, whose type says how: the fields, the want, and where
the file is afterwards. What a URL does not say is tried in turn: an object, then a folder of that
name; on the Hub, then a repository whose name has one word.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from kaiwo import environment
from kaiwo.api.download import plain
from kaiwo.api.run import carry_out, wanted
from kaiwo.config import fetch_url, variables
from kaiwo.config.document import Document
from kaiwo.config.loader import ITEMS, build
from kaiwo.errors import ConfigError, ContainerMissingError, NotFoundError
from kaiwo.files.placement import absolute
from kaiwo.net import proxies
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import notebook_sink
from kaiwo.tasks.base import Task
from kaiwo.tasks.fetch_request import FetchRequest, ObjectUrl
from kaiwo.tasks.items import file_name
from kaiwo.tasks.registry import task_class


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
    url = fetch_url.parse(url_spec)
    if target is not None:
        fetch_url.require_target(os.fspath(target))
    fields = {name: plain(value) for name, value in fields.items()}
    variables.warn_of_misspelled()
    sink = sink or notebook_sink()
    with environment.cleaned(proxies.canonical):
        return _fetched_in_either_way(url, target, sink, fields)


def _fetched_in_either_way(
    url: ObjectUrl,
    target: str | os.PathLike[str] | None,
    sink: Sink,
    fields: Mapping[str, Any],
) -> Path:
    """See ``fetch``; some URLs can be read in a second way."""
    try:
        return _fetched(url, target, sink, fields)
    except ContainerMissingError:
        other = url.other_reading()
        if other is None:
            raise
        with contextlib.suppress(ContainerMissingError):
            return _fetched(other, target, sink, fields)
        raise


def _fetched(
    url: ObjectUrl,
    target: str | os.PathLike[str] | None,
    sink: Sink,
    fields: Mapping[str, Any],
) -> Path:
    """See ``fetch``; the URL is parsed already."""
    type_ = _task_type(url)
    place = None if target is None else absolute(os.fspath(target))
    if place is None and not type_.has_cache:
        place = os.path.normpath(posixpath.join(absolute("."), url.own_name))
    if url.is_folder:
        return _fetch(type_, FetchRequest(url, place, is_file=False), sink, fields)
    file_place = place
    if place is not None and (str(target).endswith("/") or os.path.isdir(place)):
        # As cp does it: a file goes into a folder.
        file_place = posixpath.join(place, file_name(url.own_name))
    try:
        return _fetch(type_, FetchRequest(url, file_place, is_file=True), sink, fields)
    except NotFoundError as missing:
        folder = url.as_folder()
        if folder is None:
            raise
        try:
            return _fetch(type_, FetchRequest(folder, place, is_file=False), sink, fields)
        except NotFoundError:
            raise missing from None


def _task_type(url: ObjectUrl) -> type[Task]:
    type_ = task_class(url.type)
    if type_ is None:
        raise ConfigError(f"unknown task type {url.type!r}")
    return type_


def _fetch(type_: type[Task], request: FetchRequest, sink: Sink, fields: Mapping[str, Any]) -> Path:
    """Run a configuration with one task, which asks for the request's file or folder."""
    of_request = type_.fetch_fields(request)
    if taken := sorted(fields.keys() & {*of_request, "type"}):
        raise ConfigError(f"fetch: {taken[0]} follows from the URL and the target; leave it out")
    entry = {"type": request.url.type, **fields, **of_request}
    # The target is its own root: the folder .kaiwo/ is in it, or beside a file.
    root = request.target or absolute(".")
    if request.target is not None and request.is_file:
        root = posixpath.dirname(request.target)
    settings = {"download_root": root, "fail_fast": True}
    config = build(Document("fetch", {ITEMS: [entry]}), settings)
    config.check_secrets()
    ((task, (want,)),) = wanted(config)
    # Errors name the URL: there is no file with lines.
    want = replace(task.fetch_want(want, request), where="")
    report = carry_out(config, ((task, (want,)),), sink)
    first = next((item.error for item in report.items if item.error is not None), None)
    if first is not None:
        raise first
    return Path(task.fetched_path(request, report.items))
