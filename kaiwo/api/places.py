"""Before the first byte, and until the last: targets are claimed, and there is a place for all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

from kaiwo.api.orders import Wanted
from kaiwo.api.tools import Tools
from kaiwo.events import Ticked
from kaiwo.jobs import Plan
from kaiwo.planning import free_space, plan
from kaiwo.planning.plan import Draft
from kaiwo.protocols import Sink
from kaiwo.state.claims import Claim, Claimable, is_alone, is_claiming, targets_of
from kaiwo.state.folder import claims_folder
from kaiwo.tasks.base import Task

#: Removes what is not needed, to make room for what a plan will fetch; may refuse it.
MakeRoom = Callable[[Plan], None]


@contextlib.contextmanager
def claimed(
    tools: Tools,
    tasks: Iterable[Wanted],
    drafted: Draft,
    sink: Sink,
    make_room: MakeRoom,
    also: Iterable[Claimable] = (),
) -> Iterator[Plan]:
    """The closed plan, once no other run is at its targets; until the end, none will be.

    What another run put in place meanwhile need not be fetched; what it left unfinished is resumed
    or removed. Only then is it known how much space is needed.

    Args:
        tools: of the run.
        tasks: with what they want.
        drafted: the plan before it is closed.
        sink: gets an event now and then while this waits.
        make_room: is called with the plan before it is checked that there is room for it.
        also: what else is claimed: stale files, and links that may be switched.

    Raises:
        DiskError: see ``_require_place``.
        DeadlineError: other runs are still at the targets.
    """
    state, state_dir, until_s = tools.state, tools.order.settings.state_dir, tools.rules.until_s

    def is_dead(root: str, run: str) -> bool:
        return not is_claiming(root, state_dir, run)

    with Claim(state.run, lambda: sink.emit(Ticked()), until_s) as claim:
        # Others bring parts of the same object; who finishes it has all of it.
        missing = (each for each, _ in drafted.missing if each.part is None)
        waited = claim.take(targets_of((*missing, *also), state_dir))
        # Another run may have ended right before its claim could be seen.
        others_worked = state.refresh() or waited
        closed = plan.close(drafted, state, tools.comparison, recheck=others_worked)
        transfers = (*closed.transfers, *closed.unchanged)
        claim.tidy(claims_folder(root, state_dir) for root in {each.root for each in transfers})
        state.sweep(transfers, is_dead)
        make_room(closed)
        _require_place(tasks, closed)
        try:
            yield closed
        finally:
            # Before another run may take these targets.
            tools.end()
        state.sweep(transfers, is_dead)
        state.compact(lambda root: is_alone(root, state_dir, state.run))
        # After a deadline, a worker may still be in a call that nothing ends.
        state.close(ended=until_s is None or time.monotonic() < until_s)


def _require_place(tasks: Iterable[Wanted], closed: Plan) -> None:
    """Return if everything that is to be fetched has a place, as far as that is known.

    Raises:
        DiskError: it cannot be written there, or there is not enough space.
    """
    require_writable(tasks, closed)
    free_space.require(closed.transfers)


def require_writable(tasks: Iterable[Wanted], closed: Plan) -> None:
    """Return if no task refuses a target of what is to be fetched.

    Raises:
        DiskError: one does.
    """
    to_fetch = [each for each in closed.transfers if not each.present]
    for task, wants in tasks:
        if type(task).require_writable is Task.require_writable:
            continue
        openers = {want.opener for want in wants}
        task.require_writable([each for each in to_fetch if each.opener in openers])
