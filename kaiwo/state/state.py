"""All that is remembered of the roots of a run: what is in place, and what is unfinished."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Iterable

from kaiwo.jobs import RANGE, Crc, Outcome, PartialDownload, Transfer
from kaiwo.state.earlier_runs import EarlierRun, Entry, earlier_runs
from kaiwo.state.folder import journal_path
from kaiwo.state.journal import Journal
from kaiwo.state.manifest import Manifest


class State:
    """The manifests and journals of all roots of a run.

    Args:
        state_dir: where they lie, instead of ``.kaiwo/`` in the roots.
        run: a token of this run, in the names of its temporary files and journals.
    """

    def __init__(self, state_dir: str | None = None, run: str = "0") -> None:
        self.run = run
        self._state_dir = state_dir
        self._manifests: dict[str, Manifest] = {}
        self._journals: dict[str, Journal] = {}
        self._earlier: dict[str, tuple[EarlierRun, ...]] = {}
        self._left: dict[str, dict[str, list[Entry]]] = {}

    # --- what is in place

    def of(self, root: str) -> Manifest:
        """The manifest of that root, read when it is first asked for."""
        if root not in self._manifests:
            self._manifests[root] = Manifest(root, self._state_dir)
        return self._manifests[root]

    def remember(self, outcomes: Iterable[Outcome]) -> None:
        """Append what was published or adopted to the manifests of their roots."""
        by_root: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            by_root.setdefault(outcome.transfer.root, []).append(outcome)
        for root, own in by_root.items():
            self.of(root).remember(own)

    # --- what is unfinished

    def partial_download(
        self, transfer: Transfer, *, published: bool = False
    ) -> PartialDownload | None:
        """What an earlier run left of a large object: the most of it, if several did.

        Args:
            transfer: its object.
            published: it may have been given its name already; then the temporary file is gone.
        """
        root = transfer.root
        if root not in self._left:
            left: dict[str, list[Entry]] = {}
            for found in self._of_earlier(root):
                for entry in found.entries:
                    left.setdefault(entry.target, []).append(entry)
            self._left[root] = left
        entries = self._left[root].get(transfer.target, ())
        told = (entry.partial_download(transfer, RANGE) for entry in entries)
        known = [each for each in told if each is not None]
        # A run that was killed while it took this over has named a file that is not there yet.
        there = [each for each in known if os.path.lexists(each.temporary)]
        usable = there or (known if published else [])
        return max(usable, key=lambda each: len(each.crcs), default=None)

    def _of_earlier(self, root: str) -> tuple[EarlierRun, ...]:
        if root not in self._earlier:
            found = earlier_runs(root, self._state_dir)
            self._earlier[root] = tuple(each for each in found if each.run != self.run)
        return self._earlier[root]

    def sweep(self, transfers: Collection[Transfer], dead: Callable[[str, str], bool]) -> None:
        """Remove the temporary files of earlier runs that nobody will go on with.

        Args:
            transfers: what this run has to do with.
            dead: whether the run of that root and token has ended.
        """
        taken = {each.target for each in transfers}
        kept = {each.partial.temporary for each in transfers if each.partial is not None}
        for root in {each.root for each in transfers}:
            for found in self._of_earlier(root):
                if dead(root, found.run):
                    found.sweep(taken.__contains__, kept.__contains__)

    def open(self, transfers: Iterable[Transfer]) -> None:
        """These transfers are going to have temporary files in their folders."""
        folders: dict[str, dict[str, None]] = {}
        for each in transfers:
            own = folders.setdefault(each.root, {})
            own[posixpath.dirname(each.target)] = None
            if each.blob is not None:
                own[posixpath.dirname(each.blob)] = None
        for root, names in folders.items():
            self._journal(root).note_folders(names)

    def _journal(self, root: str) -> Journal:
        if root not in self._journals:
            path = journal_path(root, self._state_dir, self.run)
            self._journals[root] = Journal(path, root)
        return self._journals[root]

    def begin(self, transfer: Transfer) -> None:
        """A large object begins."""
        self._journal(transfer.root).begin(transfer, RANGE)

    def part(self, transfer: Transfer, start: int, length: int, crc: Crc) -> None:
        """A range of it is in its temporary file."""
        self._journal(transfer.root).note_range(transfer, start, length, crc)

    def end(self, transfer: Transfer) -> None:
        """It is published, or given up."""
        self._journal(transfer.root).end(transfer)

    def holds(self, transfer: Transfer) -> bool:
        """A later run can go on with what there is of it."""
        return transfer.root in self._journals and self._journals[transfer.root].can_resume(
            transfer
        )

    def refresh(self) -> bool:
        """Read what other runs wrote since then; says whether other things are in place now.

        The manifests are read from where they ended; the journals of earlier runs are read again
        when they are needed.
        """
        self._earlier.clear()
        self._left.clear()
        changed = [manifest.refresh() for manifest in self._manifests.values()]
        return any(changed)

    def is_current(self) -> bool:
        """No other run has put anything in place since it was read."""
        return all(manifest.is_current() for manifest in self._manifests.values())

    def forget(self) -> None:
        """Another run may have changed what there is: read it anew."""
        for manifest in self._manifests.values():
            manifest.close()
        self._manifests.clear()
        self._earlier.clear()
        self._left.clear()

    def close(self, *, ended: bool = False) -> None:
        """Give all files back.

        Args:
            ended: the run came to its end, and was not stopped on its way.
        """
        for manifest in self._manifests.values():
            manifest.close()
        for journal in self._journals.values():
            journal.close(ended=ended)
