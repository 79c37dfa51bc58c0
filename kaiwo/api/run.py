"""The two things that users do, from a program: ``download`` a file's tasks, ``fetch`` a URL.

This is where the floors are wired together; the command line is one more user of it.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.config import fetch_url
from kaiwo.config.document import Document
from kaiwo.config.loader import ITEMS, Config, build, load
from kaiwo.config.settings import Settings
from kaiwo.engine import scheduler
from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.scheduler import Rules
from kaiwo.errors import ConfigError, ContainerMissingError, KaiwoError, NotFoundError, exit_code_of
from kaiwo.events import Ended, Ticked
from kaiwo.files.names import At, Under, expanded
from kaiwo.jobs import Plan, Want
from kaiwo.net.failures import NetworkSettings
from kaiwo.objects import Folder, Named, Report
from kaiwo.planning import free_space, plan
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import QuietSink, Sinks, notebook_sink
from kaiwo.reporting.outputs import Delivery
from kaiwo.state.claims import Claim, claims_folder, is_claiming, places
from kaiwo.state.state import State
from kaiwo.tasks.base import Context, Task
from kaiwo.tasks.items import file_name
from kaiwo.workers import source_cache

#: A task, and what it wants.
Wanted = tuple[Task, tuple[Want, ...]]


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
    options = {name: _plain(value) for name, value in options.items()}
    if isinstance(config, Mapping):
        loaded = build(Document("config", dict(config)), options)
    else:
        loaded = load(config, options)
    delivery = Delivery(loaded.settings.report, loaded.settings.metrics_file)
    delivery.require_folder()
    try:
        done = run(loaded, Sinks(*delivery.sinks, sink or QuietSink()))
    except BaseException as error:
        delivery.deliver(delivery.until(error))
        raise
    delivery.deliver(done)
    return done


def _plain(value: Any) -> Any:
    """A path as text, which is what a file would have in its place."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def run(config: Config, sink: Sink) -> Report:
    """Carry out a validated configuration; see ``download``."""
    config.check_secrets()
    return _carry_out(config, wanted(config), sink)


def wanted(config: Config) -> tuple[Wanted, ...]:
    """What each task of a configuration wants.

    Raises:
        ConfigError: an item cannot be placed.
    """
    network = NetworkSettings(
        config.settings.stall_timeout, connections=max(64, config.settings.workers)
    )
    result = []
    for number, task in enumerate(config.tasks):
        named = f" ({task.name})" if task.name else ""

        def where(location: Sequence[str | int], number: int = number, named: str = named) -> str:
            return config.where(number, location) + named

        context = Context(config.download_root, network, config.settings.engine, where)
        try:
            result.append((task, tuple(task.wants(context))))
        except ConfigError as error:
            raise ConfigError(f"{where(())}: {error.message}") from error
    return tuple(result)


def decide(config: Config, sink: Sink) -> Plan:
    """What ``run`` would do, decided and checked; no byte of any object is read.

    Raises:
        KaiwoError: nothing would be begun: the configuration is wrong, or names are unsafe.
    """
    config.check_secrets()
    with _workshop(config, wanted(config)) as workshop:
        closed, _ = _planned(workshop, sink)
        free_space.require(closed.transfers)
        return closed


class _Workshop(Struct, frozen=True):
    """What a run works with."""

    settings: Settings
    wants: Sequence[Want]
    rules: Rules
    state: State
    executor: Executor


@contextlib.contextmanager
def _workshop(config: Config, tasks: Iterable[Wanted]) -> Iterator[_Workshop]:
    """An executor and the memory; afterwards all that was opened is let go of."""
    settings = config.settings
    policy = RetryPolicy(settings.retries, settings.startup_wait)
    rules = Rules(
        settings.workers,
        policy,
        settings.verify == "checksum",
        settings.fail_fast,
        settings.small_requests,
        None if settings.deadline is None else time.monotonic() + settings.deadline,
    )
    wants = [want for _, wants in tasks for want in wants]
    state = State(settings.state_dir, secrets.token_hex(4))
    threads = settings.workers + (settings.small_requests or 0)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="kaiwo")
    try:
        yield _Workshop(settings, wants, rules, state, executor)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        state.close()
        for want in wants:
            source_cache.close_source(want.opener)


def _planned(workshop: _Workshop, sink: Sink) -> tuple[Plan, plan.Listing]:
    rules, executor = workshop.rules, workshop.executor
    listing = plan.gather(
        workshop.wants, executor, rules.workers, rules.policy, sink, rules.until_s
    )
    if listing.failed and rules.fail_fast:
        raise listing.failed[0][1]
    return _closed(workshop, listing), listing


def _closed(workshop: _Workshop, listing: plan.Listing) -> Plan:
    """The plan of that listing; see ``plan.close``."""
    settings, state = workshop.settings, workshop.state
    return plan.close(
        listing,
        state.run,
        state,
        force=settings.force,
        verify=workshop.rules.verify,
        durable=settings.fsync,
    )


@contextlib.contextmanager
def _alone(workshop: _Workshop, closed: Plan, listing: plan.Listing, sink: Sink) -> Iterator[Plan]:
    """The plan, once no other run is at its targets; until the end, none will be.

    What another run has put in place meanwhile is remembered, and need not be fetched; what it has
    left behind is gone on with, or removed. Only then is it known how much room is needed.

    Raises:
        DiskError: there is not so much room.
    """
    state, state_dir = workshop.state, workshop.settings.state_dir
    until_s = workshop.rules.until_s

    def dead(root: str, run: str) -> bool:
        return not is_claiming(root, state_dir, run)

    with Claim(state.run, lambda: sink.emit(Ticked()), until_s) as claim:
        waited = True
        while waited:
            waited = claim.take(places(closed.transfers, state_dir))
            # Perhaps it ended right before it could be seen.
            if waited or not state.is_current():
                state.forget()
                closed = _closed(workshop, listing)
        all_ = (*closed.transfers, *closed.unchanged)
        claim.tidy(claims_folder(root, state_dir) for root in {each.root for each in all_})
        state.sweep(all_, dead)
        free_space.require(closed.transfers)
        yield closed
        state.sweep(all_, dead)
        # After a deadline, workers may still be at it.
        state.close(ended=until_s is None or time.monotonic() < until_s)


def _carry_out(config: Config, tasks: Iterable[Wanted], sink: Sink) -> Report:
    """List, plan, schedule, settle."""
    start_s = time.monotonic()
    tasks = tuple(tasks)
    report = Report(1, 0.0)
    with _workshop(config, tasks) as workshop:
        try:
            closed, listing = _planned(workshop, sink)
            with _alone(workshop, closed, listing, sink) as closed:
                report = scheduler.run(
                    closed, workshop.executor, workshop.rules, workshop.state, sink
                )
                _settle(tasks, closed, listing, report)
            report = replace(report, seconds=time.monotonic() - start_s)
        except BaseException as error:
            # A signal's exception carries the error that it is.
            cause = getattr(error, "error", error)
            code = exit_code_of(cause) if isinstance(cause, KaiwoError) else 1
            report = Report(code, time.monotonic() - start_s)
            raise
        finally:
            # A display has to end, whatever ended the run.
            sink.emit(Ended(report))
    return report


def _settle(tasks: Iterable[Wanted], closed: Plan, listing: plan.Listing, report: Report) -> None:
    """Let each task of which everything is in place do what remains."""
    failed = {item.target for item in report.items if item.status == "failed"}
    missed = {want.opener for want, _ in listing.failed}
    for task, wants in tasks:
        openers = {want.opener for want in wants}
        if type(task).settle is Task.settle or openers & missed:
            continue
        # By their places: what several tasks ask for alike is in the plan once.
        targets = {
            want.placement.place(remote).target
            for want, objects in listing.found
            if want.opener in openers
            for remote in objects
        }
        if not targets & failed:
            transfers = (*closed.transfers, *closed.unchanged)
            task.settle([each for each in transfers if each.target in targets])


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
    fields = {name: _plain(value) for name, value in fields.items()}
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
    report = _carry_out(config, ((task, (want,)),), sink)
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
