"""``kaiwo.fetch``: one URL, without a file."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from kaiwo.api.download import plain
from kaiwo.api.run import carry_out, wanted
from kaiwo.config import fetch_url
from kaiwo.config.document import Document
from kaiwo.config.loader import ITEMS, build
from kaiwo.errors import ConfigError, ContainerMissingError, NotFoundError
from kaiwo.files.placement import At, Under, expanded
from kaiwo.jobs import Want
from kaiwo.objects import Folder, Named, Report
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import notebook_sink
from kaiwo.tasks.items import file_name


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
    or a trailing ``/`` makes it a folder; otherwise the object is asked for first, then a folder
    of that name. A second call transfers nothing.

    Args:
        url_spec: what to fetch.
        target: path of the file or folder; its own name in the working directory when it is left
            out (for ``hf://``: the Hub's cache).
        sink: is told what happens; by default a bar, where there is someone to see it.
        fields: of the task type, such as ``endpoint_url`` or ``secret_key_file``.

    Returns:
        The file; the folder for a folder, a glob or a snapshot.

    Raises:
        KaiwoError: it is not in place; the error says why.
    """
    url = fetch_url.parse(url_spec)
    fields = {name: plain(value) for name, value in fields.items()}
    sink = sink or notebook_sink()
    try:
        return _fetched(url, target, sink, fields)
    except ContainerMissingError:
        other = url.of_one_word()
        if other is None:
            raise
        with contextlib.suppress(ContainerMissingError):
            return _fetched(other, target, sink, fields)
        raise


def _fetched(
    url: fetch_url.ObjectUrl,
    target: str | os.PathLike[str] | None,
    sink: Sink,
    fields: Mapping[str, Any],
) -> Path:
    """See ``fetch``; the URL is read already."""
    place = None if target is None else os.path.abspath(expanded(os.fspath(target)))
    if place is None and url.type != "hf":
        place = os.path.abspath(url.own_name)
    if url.is_folder:
        return _fetch(url, place, sink, fields, is_file=False)
    file_place = place
    if place is not None and (str(target).endswith("/") or os.path.isdir(place)):
        # As cp does it: a file goes into a folder.
        file_place = posixpath.join(place, file_name(url.own_name))
    try:
        return _fetch(url, file_place, sink, fields, is_file=True)
    except NotFoundError as missing:
        if url.type == "url" and "?" in url.path:
            raise
        folder = replace(url, path=f"{url.path}/")
        try:
            return _fetch(folder, place, sink, fields, is_file=False)
        except NotFoundError:
            raise missing from None


def _fetch(
    url: fetch_url.ObjectUrl,
    place: str | None,
    sink: Sink,
    fields: Mapping[str, Any],
    *,
    is_file: bool,
) -> Path:
    """Fetch a file or a folder; ``place`` may be None for the Hub's cache."""
    item = _item(url, place, is_file=is_file)
    if taken := sorted(fields.keys() & {*item, "type", *(("files",) if url.type == "hf" else ())}):
        raise ConfigError(f"fetch: the URL and the target say already what {taken[0]} is")
    document = Document("fetch", {ITEMS: [{"type": url.type, **fields, **item}]})
    # The target is its own root: kaiwo's memory of it lives there, or beside it.
    root = os.getcwd() if place is None else posixpath.dirname(place) if is_file else place
    config = build(document, {"download_root": root, "fail_fast": True})
    config.check_secrets()
    ((task, (want,)),) = wanted(config)
    if url.type == "hf":
        want = _narrowed(want, url, place, is_file=is_file)
    # There is no file to name a line of; the URL says it all.
    want = replace(want, where="")
    report = carry_out(config, ((task, (want,)),), sink)
    first = next((item.error for item in report.items if item.error is not None), None)
    if first is not None:
        raise first
    if place is not None:
        return Path(place)
    return _home(url, report, is_file=is_file)


def _home(url: fetch_url.ObjectUrl, report: Report, *, is_file: bool) -> Path:
    """Where things are that the task itself found a place for: the file, or the URL's folder."""
    if not report.items:
        raise NotFoundError("nothing matches, so there is no folder")
    item = report.items[0]
    if is_file:
        return Path(item.target)
    # hf://owner/repo@commit/key
    key = item.source.partition("@")[2].partition("/")[2].removeprefix(url.path)
    return Path(item.target.removesuffix(key))


def _item(url: fetch_url.ObjectUrl, place: str | None, *, is_file: bool) -> dict[str, Any]:
    """The fields of a task that say what is wanted."""
    if url.type == "hf":
        revision = {} if url.revision is None else {"revision": url.revision}
        target = {} if place is None else {"target_path": place}
        kind = {} if url.repo_type == "model" else {"repo_type": url.repo_type}
        return {"repo_id": url.container, **kind, **revision, **target}
    item = {"file": url.path} if is_file else {"folder": url.path, "glob": url.glob or "**/*"}
    entry = {**item, "target_path": place}
    if url.type == "url":
        return {"items": [entry]}
    holder = "containers" if url.type == "azure-blob" else "buckets"
    return {holder: [{"name": url.container, "items": [entry]}]}


def _narrowed(want: Want, url: fetch_url.ObjectUrl, place: str | None, *, is_file: bool) -> Want:
    """A repository's want, cut down to what the URL names."""
    if is_file:
        want = replace(want, selection=Named((url.path,)))
    elif url.path or url.glob:
        want = replace(want, selection=Folder(url.path, (url.glob or "**/*",)))
    if place is None:
        return want
    if is_file:
        return replace(want, placement=At(place, posixpath.dirname(place)))
    return replace(want, placement=Under(place, place, url.path))
