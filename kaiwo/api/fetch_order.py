"""URLs without a file, as one order.

Each URL becomes a configuration with one task, whose type says how: the fields, the want, and where
the file is afterwards. What a URL does not say is tried in turn: an object, then a folder of that
name; on the Hub, then a repository whose name has one word. Wants of one container share one
opener, so that it is connected to once.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from pydantic import ValidationError

from kaiwo.api.fetch_fields import OF_PROGRAM, FetchDocument, Spelling, require_known
from kaiwo.api.orders import Order, Wanted, used_lock, wanted
from kaiwo.api.run import Done
from kaiwo.config import fetch_url, variables
from kaiwo.config.diagnostics import Diagnostic, invalid
from kaiwo.config.loader import Config, build
from kaiwo.config.settings import ITEMS, Settings
from kaiwo.config.validation import findings
from kaiwo.errors import ConfigError, KaiwoError, UnfinishedError
from kaiwo.files.placement import absolute
from kaiwo.jobs import Want
from kaiwo.protocols import Opener
from kaiwo.tasks.base import Task
from kaiwo.tasks.fetch_request import FetchRequest, ObjectUrl
from kaiwo.tasks.items import as_asked, divided, file_name
from kaiwo.tasks.registry import task_class


class Goal(Struct, frozen=True):
    """Where URLs go.

    Attributes:
        target: path of the file or folder; None: its own name in the folder below.
        folder: of relative targets and own names.
        is_given: the folder was named for this, and has the state of all that comes there: a task
            that has a cache does not use that.
    """

    target: str | None = None
    folder: str = "."
    is_given: bool = False


class Asked(Struct, frozen=True):
    """One reading of a URL, its task and its want."""

    request: FetchRequest
    task: Task
    want: Want


class FetchOrder(Struct, frozen=True):
    """The order, and the readings of each URL, the likeliest first."""

    order: Order
    readings: tuple[tuple[Asked, ...], ...]

    @property
    def settings(self) -> Settings:
        """Options of the run."""
        return self.order.settings

    def outcomes(self, done: Done) -> Iterator[Path | KaiwoError]:
        """For each URL the path of its file or folder, or why it is not in place."""
        found = {id(want): objects for want, objects in done.listing.found}
        failed = {id(want): error for want, error in done.listing.failed}
        items = {item.target: item for item in done.report.items if item.target}
        for readings in self.readings:
            asked = next((each for each in readings if id(each.want) in found), None)
            if asked is None:
                yield next(failed[id(each.want)] for each in readings if id(each.want) in failed)
                continue
            placement = asked.want.placement
            places = (placement.place(remote).target for remote in found[id(asked.want)])
            own = [items[target] for target in places if target in items]
            error = next((item.error for item in own if item.error is not None), None)
            if not own and done.listing.failed and self.settings.fail_fast:
                error = UnfinishedError("not attempted: another object failed")
            yield error or Path(asked.task.fetched_path(asked.request, own))


def order_of_urls(
    urls: Sequence[str],
    goal: Goal,
    fields: Mapping[str, Any],
    options: Mapping[str, Any],
    spelling: Spelling = OF_PROGRAM,
) -> FetchOrder:
    """An order for what the URLs ask for.

    Args:
        urls: at least one; all of one task type.
        goal: where they go.
        fields: of the task type, and of an item.
        options: of the run.
        spelling: how the user gave the fields.

    Raises:
        ConfigError: a URL, a field or an option is wrong, or a secret file cannot be read.
    """
    parsed = [fetch_url.parse(url) for url in urls]
    for place in (goal.folder, goal.target):
        if place is not None:
            fetch_url.require_target(place)
    variables.warn_of_misspelled()
    if len({url.type for url in parsed}) > 1:
        raise ConfigError(
            "fetch: the URLs have several schemes; fetch those of one scheme at a time, because "
            "the fields (-o) are those of one task type"
        )
    type_ = _task_type(parsed[0])
    fields, of_item = divided(fields, type_.model_fields)
    require_known(fields, type_, spelling)
    if "checksum" in of_item and len(parsed) > 1:
        raise ConfigError("fetch: checksum is for one file: give one URL with it")
    requests = [[*requests_of(url, goal, of_item)] for url in parsed]
    return order_of_requests(requests, fields, options, spelling)


def order_of_requests(
    urls: Sequence[Sequence[FetchRequest]],
    fields: Mapping[str, Any],
    options: Mapping[str, Any],
    spelling: Spelling,
) -> FetchOrder:
    """An order for requests.

    Args:
        urls: at least one; what each may ask for, the likeliest first.
        fields: of the task type.
        options: of the run.
        spelling: see ``order_of_urls``.

    Raises:
        ConfigError: see ``order_of_urls``.
    """
    openers: dict[ObjectUrl, Opener] = {}
    configs = _Configs(fields, options, urls[0][0], spelling)
    readings = [_chained(_all_asked(each, configs, openers)) for each in urls]
    tasks: list[Wanted] = [(each.task, (each.want,)) for all_ in readings for each in all_]
    first, asked = configs.first, tuple(all_[0].want for all_ in readings)
    root = first.download_root
    order = Order(first.settings, tuple(tasks), asked, used_lock(first), download_root=root)
    return FetchOrder(order, tuple(readings))


def paths_of(outcomes: Iterable[Path | KaiwoError]) -> list[Path]:
    """The paths of all URLs.

    Raises:
        KaiwoError: some failed. The error is that of the first, rather than of one that was only
            not finished.
    """
    found = list(outcomes)
    if errors := [each for each in found if isinstance(each, KaiwoError)]:
        raise min(errors, key=lambda each: isinstance(each, UnfinishedError))
    return [each for each in found if isinstance(each, Path)]


def _chained(readings: Iterable[Asked]) -> tuple[Asked, ...]:
    """The readings of one URL; each want says which comes next."""
    chained: list[Asked] = []
    for each in reversed([*readings]):
        following = chained[0].want if chained else None
        chained.insert(0, replace(each, want=replace(each.want, otherwise=following)))
    return tuple(chained)


def requests_of(url: ObjectUrl, goal: Goal, of_item: Mapping[str, Any]) -> Iterator[FetchRequest]:
    """What a URL may ask for, the likeliest first."""
    type_ = _task_type(url)
    named = url
    url = as_asked(url, of_item)
    place = None if goal.target is None else _below(goal.folder, goal.target)
    within = absolute(goal.folder) if goal.is_given else None
    if within is not None and place is None:
        place = posixpath.join(within, file_name(url.own_name))
    elif place is None and not type_.has_cache:
        place = os.path.normpath(posixpath.join(absolute(goal.folder), url.own_name))
    if url.is_folder:
        yield FetchRequest(url, place, False, within, of_item)
    else:
        file_place = place
        into = goal.target is not None and goal.target.endswith("/")
        if place is not None and (into or os.path.isdir(place)):
            # As cp does it: a file goes into a folder.
            file_place = posixpath.join(place, file_name(url.own_name))
        yield FetchRequest(url, file_place, True, within, of_item)
        folder = None if "checksum" in of_item else url.as_folder()
        if folder is not None:
            yield FetchRequest(folder, place, False, within, of_item)
    if (other := named.other_reading()) is not None:
        yield from requests_of(other, goal, of_item)


def _below(folder: str, target: str) -> str:
    return absolute(target if target.startswith("~") else posixpath.join(folder, target))


def _task_type(url: ObjectUrl) -> type[Task]:
    type_ = task_class(url.type)
    if type_ is None:
        raise ConfigError(f"unknown task type {url.type!r}")
    return type_


class _Configs:
    """The configurations of requests, each with one task, which asks for a file or folder.

    Only the first is checked with all layers of settings and with its secret files: fields and
    options are the same for all.

    Args:
        fields: of the task type.
        options: of the run.
        request: the first.
        spelling: see ``order_of_urls``.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        options: Mapping[str, Any],
        request: FetchRequest,
        spelling: Spelling,
    ) -> None:
        self._fields = fields
        self._options = options
        self._spelling = spelling
        self.first = self._built(request)
        self.first.check_secrets()

    def of(self, request: FetchRequest) -> Config:
        """The configuration of a request.

        Raises:
            ConfigError: what it asks for, or its target, is wrong.
        """
        try:
            task = _task_type(request.url).model_validate(self._entry(request))
        except ValidationError:
            return self._built(request)  # has the words for what is wrong
        settings = self.first.settings.model_copy(update={"download_root": _root(request)})
        return Config(settings, (task,), self.first.document, self.first.numbers)

    def _built(self, request: FetchRequest) -> Config:
        given = frozenset({*self._fields, *request.of_item})
        data = {ITEMS: [self._entry(request)]}
        document = FetchDocument("fetch", data, given=given, spelling=self._spelling)
        return build(document, {**self._options, "download_root": _root(request)})

    def _entry(self, request: FetchRequest) -> dict[str, Any]:
        of_request = _task_type(request.url).fetch_fields(request)
        if taken := sorted(self._fields.keys() & {*of_request, "type"}):
            text = f"fetch: {taken[0]} follows from the URL and the target; leave it out"
            raise ConfigError(text)
        return {"type": request.url.type, **self._fields, **of_request}


def _root(request: FetchRequest) -> str:
    return request.root or absolute(".")


def _all_asked(
    requests: Iterable[FetchRequest], configs: _Configs, openers: dict[ObjectUrl, Opener]
) -> Iterator[Asked]:
    """The readings of one URL that the fields allow; they have to allow the likeliest."""
    for number, request in enumerate(requests):
        try:
            yield _asked(request, configs, openers)
        except ConfigError:
            if not number:
                raise


def _asked(request: FetchRequest, configs: _Configs, openers: dict[ObjectUrl, Opener]) -> Asked:
    config = configs.of(request)
    ((task, (want,)),) = wanted(config)
    opener = want.opener
    shared = request.url.store
    try:
        want = task.fetch_want(want, request)
    except ValidationError as error:
        raise invalid(
            Diagnostic(config.document.place(each.location), each.problem, each.hint)
            for each in findings(error, request.item())
        ) from None
    # Errors name the URL: there is no file with lines.
    want = task.signed(replace(want, where=""))
    return Asked(request, task, replace(want, opener=openers.setdefault(shared, opener)))
