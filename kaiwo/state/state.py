"""What is remembered of the roots of a run: what is in place, and what is unfinished.

The one door to the manifests and journals; claims have their own, ``claims.py``.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Iterable, Sequence

from kaiwo.errors import UnsafeNameError
from kaiwo.jobs import RANGE, Mark, Outcome, PartialDownload, Transfer, Want
from kaiwo.objects import Answer, Folder, Place, RemoteObject
from kaiwo.state.earlier_runs import EarlierRun, Entry, earlier_runs, entries_of
from kaiwo.state.folder import journal_path, shared_journal_path, shared_journal_paths
from kaiwo.state.journal import Journal
from kaiwo.state.manifest import Manifest


class State:
    """The manifests and journals of all roots of a run.

    Args:
        state_dir: where they are, instead of ``.kaiwo/`` in the roots.
        run: the token of this run, in the names of its temporary files and journals.
        checked: this run asks stores for checksums; see ``manifest.Record``.
    """

    def __init__(
        self, state_dir: str | None = None, run: str = "0", *, checked: bool = True
    ) -> None:
        self._checked = checked
        self.run = run
        self._state_dir = state_dir
        self._manifests: dict[str, Manifest] = {}
        self._journals: dict[str, Journal] = {}
        self._shared_journals: dict[str, Journal] = {}
        # By root: read when they are needed, forgotten by ``refresh``.
        self._earlier_runs: dict[str, tuple[EarlierRun, ...]] = {}
        self._unfinished: dict[str, dict[str, list[Entry]]] = {}
        #: The token of the temporary files that several runs share; empty: there are none.
        self._shared = ""
        self._shared_entries: dict[str, dict[str, list[Entry]]] = {}
        #: Is told which ranges are written, too.
        self.follower: Callable[[Sequence[tuple[Transfer, int, Mark]]], object] | None = None

    def share(self, plan: str) -> None:
        """Several runs carry out a plan; this is its token.

        They share the temporary files that have this token in their names: each notes what it has
        of them in a journal that it alone writes, and all of them read.
        """
        self._shared = plan

    def is_shared(self, transfer: Transfer) -> bool:
        """Whether several runs share the object's temporary file."""
        return bool(self._shared) and transfer.run == self._shared

    # --- what is in place

    def manifest(self, root: str) -> Manifest:
        """The manifest of that root, read when it is first asked for."""
        if root not in self._manifests:
            self._manifests[root] = Manifest(root, self._state_dir, checked=self._checked)
        return self._manifests[root]

    def remember(self, outcomes: Iterable[Outcome]) -> None:
        """Append what was published or adopted to the manifests of their roots."""
        by_root: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            by_root.setdefault(outcome.transfer.root, []).append(outcome)
        for root, own in by_root.items():
            self.manifest(root).remember(own)

    # --- what is no file

    def answers(self, want: Want) -> tuple[Answer, ...]:
        """What earlier runs were answered about the doubtful objects of a want."""
        if not isinstance(want.selection, Folder):
            return ()
        known = self.manifest(want.placement.root).answers(want.opener.origin, want.opener.url(""))
        prefix = want.selection.prefix
        return tuple(answer for answer in known if answer.object.key.startswith(prefix))

    def remember_answers(
        self, want: Want, answers: Iterable[Answer], roots: Collection[str]
    ) -> None:
        """Append answers about objects of a want.

        Args:
            want: what the item asks for.
            answers: of its store.
            roots: where this run has files.
        """
        for answer in answers:
            place = _place_of(want, answer.object.key)
            if place is not None and place.root in roots:
                self.manifest(place.root).remember_answer(place.target, want.opener, answer)

    def remember_placeholder(self, transfer: Transfer) -> None:
        """Append that this object is no file; it was found out when the object was read."""
        answer = Answer(transfer.object, is_placeholder=True)
        self.manifest(transfer.root).remember_answer(transfer.target, transfer.opener, answer)

    # --- what earlier runs left

    def partial_download(
        self, transfer: Transfer, *, published: bool = False
    ) -> PartialDownload | None:
        """What this run can resume of an object; the most, if several runs left some.

        Args:
            transfer: the object.
            published: it may be in place already, and its temporary file gone.
        """
        if self.is_shared(transfer):
            return self._shared_download(transfer)
        entries = self._unfinished_of(transfer.root).get(transfer.target)
        if not entries:
            return None
        found = (entry.partial_download(transfer, RANGE) for entry in entries)
        known = [partial for partial in found if partial is not None]
        # A run that was killed while it took over a file has named one that does not exist yet.
        existing = [partial for partial in known if os.path.lexists(partial.temporary)]
        usable = existing or (known if published else [])
        return max(usable, key=lambda each: each.bytes, default=None)

    def _shared_download(self, transfer: Transfer) -> PartialDownload | None:
        """What all runs have of the bytes that this one is to bring."""
        start, end = transfer.part or (0, transfer.object.size)
        marks: dict[int, Mark] = {}
        for entry in self._shared_entries_of(transfer.root).get(transfer.target, ()):
            found = entry.partial_download(transfer, RANGE)
            if found is None or found.temporary != transfer.temporary:
                continue
            for at, mark in found.marks.items():
                if start <= at < end and (at not in marks or marks[at].end < mark.end):
                    marks[at] = mark
        if not (marks and os.path.lexists(transfer.temporary)):
            return None
        return PartialDownload(transfer.temporary, marks)

    def _shared_entries_of(self, root: str) -> dict[str, list[Entry]]:
        """What the journals of all runs of the plan say, by target."""
        if root not in self._shared_entries:
            paths = shared_journal_paths(root, self._state_dir, self._shared)
            by_target: dict[str, list[Entry]] = {}
            for entry in entries_of(paths, root, self._shared):
                by_target.setdefault(entry.target, []).append(entry)
            self._shared_entries[root] = by_target
        return self._shared_entries[root]

    def _unfinished_of(self, root: str) -> dict[str, list[Entry]]:
        """What earlier runs did not finish, by target."""
        if root not in self._unfinished:
            unfinished: dict[str, list[Entry]] = {}
            for earlier in self._earlier_runs_of(root):
                for entry in earlier.entries:
                    unfinished.setdefault(entry.target, []).append(entry)
            self._unfinished[root] = unfinished
        return self._unfinished[root]

    def _earlier_runs_of(self, root: str) -> tuple[EarlierRun, ...]:
        if root not in self._earlier_runs:
            found = earlier_runs(root, self._state_dir)
            self._earlier_runs[root] = tuple(each for each in found if each.run != self.run)
        return self._earlier_runs[root]

    def sweep(self, transfers: Collection[Transfer], is_dead: Callable[[str, str], bool]) -> None:
        """Remove the temporary files of earlier runs that no run will resume.

        Args:
            transfers: of this run.
            is_dead: whether the run of that root and token has ended.
        """
        taken = {each.target for each in transfers}
        kept = {each.partial.temporary for each in transfers if each.partial is not None}
        for root in {each.root for each in transfers}:
            for earlier in self._earlier_runs_of(root):
                if is_dead(root, earlier.run):
                    earlier.sweep(taken.__contains__, kept.__contains__)

    # --- what this run has begun

    def note_folders(self, transfers: Iterable[Transfer]) -> None:
        """These transfers will have temporary files in their folders."""
        folders: dict[str, dict[str, None]] = {}
        for each in transfers:
            own = folders.setdefault(each.root, {})
            own[posixpath.dirname(each.target)] = None
            if each.blob is not None:
                own[posixpath.dirname(each.blob)] = None
        for root, names in folders.items():
            self._journal(root).note_folders(names)

    def begin(self, transfer: Transfer) -> None:
        """An object begins that a later run may resume."""
        self._journal_of(transfer).begin(transfer)

    def note_marks(self, marks: Iterable[tuple[Transfer, int, Mark]]) -> None:
        """Ranges of objects are in their temporary files, as far as the marks say.

        Args:
            marks: the object, the start of the range, and how far it is written.
        """
        by_journal: dict[Journal, list[tuple[Transfer, int, Mark]]] = {}
        marks = tuple(marks)
        if self.follower is not None:
            self.follower(marks)
        for each in marks:
            by_journal.setdefault(self._journal_of(each[0]), []).append(each)
        for journal, own in by_journal.items():
            journal.note_marks(own)

    def end(self, transfer: Transfer) -> None:
        """It is published or given up."""
        self._journal_of(transfer).end(transfer)

    def can_resume(self, transfer: Transfer) -> bool:
        """Whether a later run could resume it from its temporary file."""
        journals = self._shared_journals if self.is_shared(transfer) else self._journals
        journal = journals.get(transfer.root)
        return journal is not None and journal.can_resume(transfer)

    def _journal_of(self, transfer: Transfer) -> Journal:
        root = transfer.root
        if not self.is_shared(transfer):
            return self._journal(root)
        if root not in self._shared_journals:
            path = shared_journal_path(root, self._state_dir, self._shared, self.run)
            self._shared_journals[root] = Journal(path, root)
        return self._shared_journals[root]

    def _journal(self, root: str) -> Journal:
        if root not in self._journals:
            path = journal_path(root, self._state_dir, self.run)
            self._journals[root] = Journal(path, root)
        return self._journals[root]

    # --- other runs, and the end

    def refresh(self) -> bool:
        """Read what other runs wrote since then; says whether other things are in place now.

        Manifests are read from where they ended; the journals of earlier runs are read again when
        they are needed.
        """
        self._earlier_runs.clear()
        self._unfinished.clear()
        self._shared_entries.clear()
        changed = [manifest.refresh() for manifest in self._manifests.values()]
        return any(changed)

    def compact(self, is_alone: Callable[[str], bool]) -> None:
        """Remove the old lines of manifests.

        Args:
            is_alone: whether no other run is at work in that root.
        """
        for root, manifest in self._manifests.items():
            if is_alone(root):
                manifest.compact()

    def close(self, *, ended: bool = False) -> None:
        """Close all files.

        Args:
            ended: the run was not interrupted.
        """
        for manifest in self._manifests.values():
            manifest.close()
        for journal in self._journals.values():
            journal.close(ended=ended)
        for journal in self._shared_journals.values():
            journal.close(ended=False)  # other runs need it


def _place_of(want: Want, key: str) -> Place | None:
    """Where an object of a want goes; None if its key may not be a path."""
    try:
        return want.placement.place(RemoteObject(key, 0))
    except UnsafeNameError:
        return None
