"""``kaiwo.fetch``: URLs, without a configuration file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, overload

from kaiwo import environment
from kaiwo.api.download import plain
from kaiwo.api.fetch_order import Goal, order_of_urls, paths_of
from kaiwo.api.run import carry_out
from kaiwo.api.shown_errors import is_whole
from kaiwo.errors import KaiwoError
from kaiwo.net import proxies
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import program_sink


@overload
def fetch(
    url_spec: str,
    target: str | os.PathLike[str] | None = None,
    *,
    executor: Executor | None = None,
    progress: str = "auto",
    sink: Sink | None = None,
    locked: str | os.PathLike[str] | None = None,
    write_lock: str | os.PathLike[str] | None = None,
    dask: str | None = None,
    replicate: bool = False,
    **fields: Any,
) -> Path: ...


@overload
def fetch(
    url_spec: list[str] | tuple[str, ...],
    target: str | os.PathLike[str] | None = None,
    *,
    executor: Executor | None = None,
    progress: str = "auto",
    sink: Sink | None = None,
    locked: str | os.PathLike[str] | None = None,
    write_lock: str | os.PathLike[str] | None = None,
    dask: str | None = None,
    replicate: bool = False,
    **fields: Any,
) -> list[Path]: ...


def fetch(
    url_spec: str | Iterable[str],
    target: str | os.PathLike[str] | None = None,
    *,
    executor: Executor | None = None,
    progress: str = "auto",
    sink: Sink | None = None,
    locked: str | os.PathLike[str] | None = None,
    write_lock: str | os.PathLike[str] | None = None,
    dask: str | None = None,
    replicate: bool = False,
    **fields: Any,
) -> Path | list[Path]:
    """Download URLs, and return where their files are.

    When it returns, every file is in place, complete and checked against the checksum that its
    store states. A second call transfers nothing that is unchanged. It works from several threads
    and in a running event loop, which waits for it.

        s3://bucket/key                         one object; else the folder of that name
        gs://bucket/folder/                     a folder, with all that is below it
        az://container/folder/**/*.csv          what matches a glob, below its folder
        hf://[datasets/|spaces/]owner/repo[@revision][/path]
        https://host/path                       and any other protocol of fsspec

    Args:
        url_spec: a URL, or a list of URLs. All URLs of a list are fetched in one run.
        target: path of the file or folder; one that ends in ``/``, or is a folder, is where to put
            a file. Of a list: the folder for all, each under its own name (a glob under that of
            the folder before it). ``~`` is the home folder. Default: the own name in the working
            directory (of ``hf://``: the Hugging Face cache).
        executor: any ``concurrent.futures.Executor``, whose workers move the bytes. It is not shut
            down. See docs/executors.md.
        progress: ``auto`` shows a bar in a notebook and on a terminal; ``bar``, ``log`` (a log line
            every 10 s), ``json`` (JSON lines on stderr) or ``none``.
        sink: gets the events of the run, instead of a display.
        locked: path of a lock file: exactly what it has is fetched.
        write_lock: path of a lock file, which is written when all is in place.
        dask: the scheduler of a Dask cluster, whose workers move the bytes. See docs/executors.md.
        replicate: each of its workers gets all files on its own disk; what is returned is below
            this machine's working directory, as there below theirs. See docs/replicate.md.
        fields: fields of the task type, as in a file: ``endpoint_url``, ``region``,
            ``access_key_id``, ``secret_key_file``, ``token``, ``anonymous=True`` and others; and
            of an item: ``exclude``, ``checksum``. The environment sets options of the run:
            ``KAIWO_MAX_WORKERS=16``.

    Returns:
        The absolute path of the file; of the folder for a folder, a glob or a snapshot. For a list
        of URLs, the list of their paths, in its order.

    Raises:
        ConfigError: no URL, an unknown field, or two URLs with one target; nothing was downloaded.
        NotFoundError: there is no such object or folder, or nothing matches.
        CredentialsError: access is refused.
        ServiceError: the service or the network still fails after the retries.
        DiskError: no room, or no permission to write.
        IntegrityError: the bytes are not those that the store states.
        KaiwoError: the base of all of them. Files that were complete before an error stay.

    Example:
        >>> kaiwo.fetch("s3://my-bucket/models/a.bin", "models/", region="us-east-1")
        PosixPath('/data/models/a.bin')
        >>> kaiwo.fetch(["s3://my-bucket/models/", "s3://my-bucket/top.txt"], "both")
        [PosixPath('/data/both/models'), PosixPath('/data/both/top.txt')]
    """
    try:
        options = _options(locked, write_lock)
        options |= {"dask": dask} if dask is not None else {}
        options |= {"replicate": True} if replicate else {}
        return _fetch(url_spec, target, executor, sink or program_sink(progress), fields, options)
    except KaiwoError as error:
        if is_whole(error):
            raise
        raise error.with_traceback(None) from None


def _options(
    locked: str | os.PathLike[str] | None, write_lock: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """The options of the run."""
    options: dict[str, Any] = {"fail_fast": True}
    for name, lock_file in (("locked", locked), ("write_lock", write_lock)):
        if lock_file is not None:
            options |= {name: True, "lock_file": os.fspath(lock_file)}
    return options


def _fetch(
    url_spec: str | Iterable[str],
    target: str | os.PathLike[str] | None,
    executor: Executor | None,
    sink: Sink,
    fields: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Path | list[Path]:
    several = isinstance(url_spec, Iterable) and not isinstance(url_spec, str)
    urls = list(url_spec) if several else [str(url_spec)]
    fields = {name: plain(value) for name, value in fields.items()}
    if not urls:
        return []
    place = None if target is None else os.fspath(target)
    goal = Goal(None, place, True) if several and place is not None else Goal(place)
    with environment.cleaned(proxies.canonical):
        asked = order_of_urls(urls, goal, fields, options)
        if asked.settings.replicate:
            from kaiwo.api.again import repeatable  # noqa: PLC0415 - few runs have other nodes

            asked = repeatable(asked, urls, goal, fields)
        done = carry_out(asked.order, sink, raises=True, executor=executor)
    paths = paths_of(asked.outcomes(done))
    return paths if several else paths[0]
