"""Where the jobs of a plan run: in this process, by an executor of the program, or on Dask."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from msgspec import Struct

from kaiwo import redact
from kaiwo.api.orders import Order
from kaiwo.api.tools import Tools
from kaiwo.engine.machines import Machines
from kaiwo.errors import ConfigError
from kaiwo.jobs import Plan, Transfer
from kaiwo.state.claims import is_claiming
from kaiwo.state.folder import meeting_folders
from kaiwo.tasks.base import Task, TaskOpener

if TYPE_CHECKING:
    from kaiwo.remote.cluster import Cluster
    from kaiwo.remote.meeting import Meeting
    from kaiwo.remote.places import Places


class Carrying(Struct, frozen=True):
    """Where jobs run.

    Attributes:
        executor: that runs them.
        machines: that it has; None: it is of this process.
    """

    executor: Executor
    machines: Machines | None = None


@contextlib.contextmanager
def carrying(tools: Tools, closed: Plan, executor: Executor | None) -> Iterator[Carrying]:
    """Where the jobs of a plan run; afterwards, none of them goes on.

    Args:
        tools: of the run.
        closed: what is to be fetched; where that is nothing, nobody else is asked.
        executor: of the program, if it gives one.

    Raises:
        ConfigError: workers cannot be used as they are, or may not be told a secret.
        DiskError: the run and its workers do not have the same download root.
        ServiceError: the cluster does not answer.
    """
    order = tools.order
    _end_dead(tools, closed)
    if not closed.transfers or (executor is None and order.settings.dask is None):
        yield Carrying(tools.executor)
        return
    from kaiwo.remote.carrier import Carrier  # noqa: PLC0415 - few runs have one
    from kaiwo.remote.meeting import Meeting  # noqa: PLC0415
    from kaiwo.remote.places import OneExecutor  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        meeting = Meeting(tools.state.run, _roots(closed.transfers))
        stack.callback(meeting.close)
        if executor is not None:
            places: Places = OneExecutor(executor)
        else:
            places = stack.enter_context(_cluster(tools, meeting))
        carrier = Carrier(tools.state.run, places, meeting, tools.executor)
        stack.enter_context(carrier.opened())
        yield Carrying(carrier, Machines(lambda: places.machines, places.are_ahead))


def _end_dead(tools: Tools, closed: Plan) -> None:
    """Workers of a run that was killed must not publish beside this one, wherever its jobs run."""
    roots = dict.fromkeys(each.root for each in (*closed.transfers, *closed.unchanged))
    if not any(map(meeting_folders, roots)):
        return
    from kaiwo.remote.meeting import end_dead  # noqa: PLC0415 - few runs find one

    def is_dead(root: str, run: str) -> bool:
        return not is_claiming(root, tools.order.settings.state_dir, run)

    end_dead(roots, tools.state.run, is_dead)


def require_one(order: Order, executor: Executor | None) -> None:
    """Refuse an order that cannot be carried out on its cluster, before anything is done.

    Raises:
        ConfigError: Dask is not installed, is not all that moves bytes, or would carry secrets
            where others can read them; the run is a shard.
    """
    address = order.settings.dask
    if order.settings.replicate:
        _require_replicable(order, executor)
    if order.shard is not None and (executor is not None or address is not None):
        name = "dask" if executor is None else "executor"
        raise ConfigError(f"{name} and shard exclude each other: each divides the plan by itself")
    if address is None:
        return
    if executor is not None:
        raise ConfigError("executor and dask exclude each other: use one of them")
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError("dask needs the extra kaiwo[dask]: pip install 'kaiwo[dask]'")
    from kaiwo.remote.probing import is_encrypted  # noqa: PLC0415 - few runs have a cluster

    if (told := told_secret(order)) is not None and not is_encrypted(address):
        raise ConfigError(
            f"{told} holds a secret, and would travel to the workers of Dask as plain text: use a "
            "field ..._file, which each worker reads itself, or a scheduler at tls://"
        )


def _require_replicable(order: Order, executor: Executor | None) -> None:
    """Refuse what does not go together with a copy on each node.

    Raises:
        ConfigError: something does not.
    """
    settings = order.settings
    if executor is not None:
        raise ConfigError("replicate and executor exclude each other: it needs dask")
    if settings.dask is None:
        raise ConfigError("replicate needs dask, the address of a scheduler: --dask ADDRESS")
    if order.again is None:
        raise ConfigError("replicate is for configurations and for URLs, and this is neither")
    if order.shard is not None:
        raise ConfigError("replicate and shard exclude each other: each node gets everything")
    for name, instead in (
        ("write_lock", "write the lock with `kaiwo lock`"),
        ("max_bandwidth", "several nodes read from the store, and none knows the rate of all"),
    ):
        if getattr(settings, name):
            raise ConfigError(f"replicate and {name} exclude each other: {instead}")


def secret_files(order: Order) -> tuple[str, ...]:
    """The files with secrets that each worker must be able to read."""
    return tuple(dict.fromkeys(path for task in _tasks(order) for path in task.secret_paths()))


def told_secret(order: Order) -> str | None:
    """A field that holds a secret, which would travel to the workers; None: there is none."""
    found = (f"{task.label}: {name}" for task in _tasks(order) for name in _told_secrets(task))
    return next(found, None)


@contextlib.contextmanager
def _cluster(tools: Tools, meeting: Meeting) -> Iterator[Cluster]:
    """The workers of the cluster that the order names."""
    from kaiwo.remote.cluster import Cluster  # noqa: PLC0415 - few runs have one
    from kaiwo.remote.reaching import connect  # noqa: PLC0415

    order, until_s = tools.order, tools.rules.until_s
    settings = order.settings
    with connect(settings.dask or "", settings.startup_wait, until_s) as client:
        found = Cluster(
            client,
            meeting.folders,
            secret_files(order),
            settings.startup_wait,
            until_s=until_s,
            only_encrypted=told_secret(order) is not None,
        )
        try:
            found.begin()
            yield found
        finally:
            found.end()


def _tasks(order: Order) -> Iterator[Task]:
    """The tasks whose credentials workers need."""
    for task, wants in order.tasks:
        if isinstance(task, Task):
            yield task
        for want in wants:
            if isinstance(want.opener, TaskOpener):
                yield want.opener.task


def _told_secrets(task: Task) -> Iterator[str]:
    """The fields of a task that hold a secret themselves."""
    for name in sorted(task.secret_names()):
        if getattr(task, name) is not None:
            yield name
    for name, value in task:
        # Of items, the addresses may have a password or a signature, which none of them shows.
        if name not in task.secret_names() and redact.HIDDEN in redact.text(repr(value)):
            yield name


def _roots(transfers: Iterable[Transfer]) -> list[str]:
    """The roots of these, one for each file system: who sees one folder of it sees it."""
    found: dict[int, str] = {}
    for root in dict.fromkeys(each.root for each in transfers):
        there = root
        while not os.path.exists(there):
            there = os.path.dirname(there)
        found.setdefault(os.stat(there).st_dev, root)
    return list(found.values())
