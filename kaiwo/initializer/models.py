"""Pairs of a URI and a folder, as one run: all models of all services, each in its folder.

Each model becomes an order, as if ``kaiwo fetch`` were given its URI, and the orders are joined.
What KServe does otherwise than ``fetch`` is added here: its patterns, archives, and anonymous
requests to Google where there are no credentials.

State is in the model's folder while something is left to do there, because a pod has no other place
that outlives its container. Then it goes, so that a server finds nothing but its model.
"""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import units
from kaiwo.api import run
from kaiwo.api.fetch_fields import Spelling
from kaiwo.api.fetch_order import FetchOrder, Goal, order_of_requests, requests_of
from kaiwo.api.orders import Order
from kaiwo.config import fetch_url
from kaiwo.config.diagnostics import invalid
from kaiwo.config.settings import Settings, layered
from kaiwo.config.variables import wrong
from kaiwo.errors import ConfigError, CredentialsError, IntegrityError, NotFoundError
from kaiwo.files.placement import absolute
from kaiwo.initializer import uris, variables
from kaiwo.initializer.links import Linked
from kaiwo.initializer.places import Places
from kaiwo.initializer.selection import Patterns, patterns_of
from kaiwo.initializer.unpacking import ending_of, unpack
from kaiwo.initializer.uris import Remote
from kaiwo.initializer.variables import Variables
from kaiwo.jobs import Transfer, Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import Folder, Report
from kaiwo.protocols import Sink
from kaiwo.state.leftovers import forget
from kaiwo.tasks.base import Task, TaskOpener
from kaiwo.tasks.gcs import GcsTask
from kaiwo.tasks.gcs_identity import ambient_file

#: KServe's own then decrypts what it has fetched.
_CONFIDENTIAL = "CONFIDENTIAL_ENABLED"
#: KServe's own leaves out empty objects of these.
_BUCKETS = ("s3", "gcs", "azure-blob")
_SPELLING = Spelling(lambda name: variables.NAMES.get(name, name), "set KAIWO_{}".format)
logger = logging.getLogger(__name__)


class Model(Struct, frozen=True):
    """What remains once the objects of a model are in place: see ``orders.Settled``.

    Attributes:
        task: the model's.
        folder: absolute path.
        places: of all models of the run.
        query: of a URL of the web: as with KServe's own, it may name an archive.
    """

    task: Task
    folder: str
    places: Places
    query: str = ""

    @property
    def label(self) -> str:
        """See ``Task``."""
        return self.task.label

    def require_writable(self, transfers: Sequence[Transfer]) -> None:
        """See ``Task``."""
        self.task.require_writable(transfers)

    def settle(self, transfers: Sequence[Transfer]) -> None:
        """Unpack an archive that is the whole model, while no other run is in its folder.

        Raises:
            NotFoundError: all objects of a bucket are empty.
            KaiwoError: see ``unpacking.unpack``.
        """
        self.task.settle(transfers)
        is_empty = not any(each.object.size for each in transfers)
        if self.task.type in _BUCKETS and transfers and is_empty:
            # Some tools mark a folder by such an object, and the folder was meant.
            only = units.printable(transfers[0].opener.url(transfers[0].object.key))
            raise NotFoundError(
                f"{only} is empty, and nothing else is there: that is no model; the URI of a "
                "folder may end in '/'"
            )
        targets = [each.target for each in transfers]
        # KServe leaves repositories as they are.
        ending = self._ending(targets[0]) if len(targets) == 1 and self.task.type != "hf" else None
        if ending is None:
            self.places.take(targets, self.folder)
        else:
            unpack(targets[0], self.folder, ending, is_own=True, places=self.places)

    def _ending(self, target: str) -> str | None:
        if self.query and mimetypes.guess_type(target)[0] is None:
            return ending_of(self.query)
        return ending_of(target)


class Prepared(Struct, frozen=True):
    """What the command is to do.

    Attributes:
        settings: options of the run.
        order: for what services have; None if there is none.
        links: to what volumes have.
        places: of all models.
    """

    settings: Settings
    order: Order | None
    links: tuple[Linked, ...]
    places: Places

    def carry_out(self, sink: Sink) -> Report:
        """Fetch, unpack, link.

        Raises:
            KaiwoError: something ended the run.
        """
        report = Report(0, 0.0) if self.order is None else self._fetched(self.order, sink)
        if report.ok:
            for each in self.links:
                each.carry_out(self.places)
                forget(each.folder)
        return report

    def _fetched(self, order: Order, sink: Sink) -> Report:
        folders = [task.folder for task, _ in order.tasks if isinstance(task, Model)]
        try:
            report = run.carry_out(order, sink).report
        except (ConfigError, IntegrityError):
            # An archive was refused, and leaves nothing that another run could use.
            for folder in folders:
                forget(folder)
            raise
        for folder in folders if report.ok else ():
            forget(folder)
        return report


def prepared(
    pairs: Sequence[tuple[str, str]], options: Mapping[str, Any], environment: Mapping[str, str]
) -> Prepared:
    """What the pairs ask for.

    Args:
        pairs: URI and folder of each model.
        options: of the run.
        environment: its variables.

    Raises:
        ConfigError: a URI, a folder or a variable is wrong, or kaiwo does not fetch it.
    """
    given, patterns = Variables(environment), patterns_of(environment)
    if given.get(_CONFIDENTIAL).lower() == "true":
        raise ConfigError(
            f"{_CONFIDENTIAL}: kaiwo decrypts nothing; leave such models to KServe's own "
            "initializer"
        )
    orders: list[Order] = []
    links: list[Linked] = []
    places = Places()
    for uri, place in dict.fromkeys(pairs):
        if not place:
            raise ConfigError("each URI is followed by the folder that its model goes to")
        fetch_url.require_target(place)
        folder, found = absolute(place), uris.parse(uri, given)
        if isinstance(found, str):
            if found != folder:
                links.append(Linked(found, folder, patterns))
        else:
            made, task = _order(found, folder, patterns, options, verifies=given.verifies_s3)
            query = urlsplit(found.url.path).query if found.url.type == "url" else ""
            model = Model(task, folder, places, query)
            orders.append(replace(made, tasks=((model, (*made.asked[0].readings(),)),)))
    if not orders:
        if faults := wrong():
            raise invalid(faults)
        chosen = {name: value for name, value in options.items() if value is not None}
        return Prepared(layered({}, chosen), None, tuple(links), places)
    tasks = tuple(each for order in orders for each in order.tasks)
    asked = tuple(each for order in orders for each in order.asked)
    order = replace(orders[0], tasks=tasks, asked=asked)
    return Prepared(order.settings, order, tuple(links), places)


def _order(
    model: Remote, folder: str, patterns: Patterns, options: Mapping[str, Any], *, verifies: bool
) -> tuple[Order, Task]:
    """What is asked for one model, and its task."""
    is_s3 = model.url.type == "s3"
    fetched = _fetch_order(model, folder, patterns, options)
    if model.url.type == "gcs" and _is_nobody(fetched):
        logger.info("no Google credentials were found: public objects are asked for")
        nobody = {**model.fields, "anonymous": True}
        fetched = _fetch_order(Remote(model.url, nobody), folder, patterns, options)
    (first,) = fetched.order.asked
    if model.url.type != "hf":
        first = _selected(first, patterns)
    if is_s3 and not verifies:
        from kaiwo.initializer import unverified  # noqa: PLC0415 - few ask for that

        unverified.warn()
        first = _opened_by(first, unverified.unverified(first.opener))
    return replace(fetched.order, asked=(first,)), fetched.readings[0][0].task


def _fetch_order(
    model: Remote, folder: str, patterns: Patterns, options: Mapping[str, Any]
) -> FetchOrder:
    fields = dict(model.fields)
    if model.url.type == "hf" and model.url.is_folder and not model.url.path:
        fields |= {"allow_patterns": patterns.allow, "ignore_patterns": patterns.ignore}
    requests = [*requests_of(model.url, Goal(f"{folder}/"), {})]
    if model.url.type == "url" and not model.url.path.startswith("file:"):
        requests = requests[:1]  # of the web, one file
    return order_of_requests([requests], fields, options, _SPELLING)


def _is_nobody(fetched: FetchOrder) -> bool:
    """Whether there is nobody to sign in to Google: then KServe asks for public objects."""
    opener = fetched.order.asked[0].opener
    if not isinstance(opener, TaskOpener) or not isinstance(opener.task, GcsTask):
        return False
    if ambient_file() is not None:
        return False
    try:
        opener.task.identity(NetworkSettings())
    except CredentialsError:
        return True
    return False


def _selected(want: Want, patterns: Patterns) -> Want:
    """The want, whose folders have what the patterns let through."""
    if not patterns:
        return want
    other = None if want.otherwise is None else _selected(want.otherwise, patterns)
    selection = want.selection
    if isinstance(selection, Folder):
        selection = patterns.folder(selection.prefix)
    return replace(want, selection=selection, otherwise=other)


def _opened_by(want: Want, opener: Any) -> Want:
    """The want and its other readings, with another opener."""
    other = None if want.otherwise is None else _opened_by(want.otherwise, opener)
    return replace(want, opener=opener, otherwise=other)
