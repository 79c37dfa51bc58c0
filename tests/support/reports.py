"""Is what a run says true? Its report and its plan, beside the disk, the store and the proxy."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.support.guarantees import COMPLETED, KILLED, Step
from tests.support.model import LARGE, Wanted, exit_code, is_right
from tests.support.snapshots import File
from tests.support.world import Ran

STATUSES = ("downloaded", "resumed", "unchanged", "failed")
Entry = Mapping[str, Any]


def report_faults(step: Step) -> Iterator[str]:
    """What is wrong with the reports of a step's runs."""
    for run, want in zip(step.runs, step.wants, strict=True):
        if run.report is not None:
            yield from _totals(step, run, run.report)
            yield from _items(step, run, want, run.report["items"])
        elif run.code != KILLED:
            yield f"there is no report, at exit code {run.code}"


def _totals(step: Step, run: Ran, report: Entry) -> Iterator[str]:
    items = report["items"]
    counts = Counter(item["status"] for item in items)
    expected = {
        "version": 1,
        "ok": run.code == 0,
        "exit_code": run.code,
        "files": len(items),
        "bytes": sum(item["bytes"] for item in items),
        **{status: counts[status] for status in STATUSES},
    }
    told = {name: report[name] for name in expected}
    if told != expected:
        yield f"the report says {told} and not {expected}"
    transferred, read = report["transferred_bytes"], run.read.total()
    # A range of an object that was replaced may come when its temporary file is gone already: then
    # it cannot be written, and is not counted. Nor is what comes after a signal.
    may_miss = run.code not in COMPLETED or step.had != step.has
    if transferred > read or (transferred < read and not may_miss):
        yield f"the report says {transferred} bytes were transferred, but {read} were"


def _items(step: Step, run: Ran, want: Wanted, items: Sequence[Entry]) -> Iterator[str]:
    if run.code in COMPLETED:
        places = Counter("" if _is_missing(item) else _place(step, item) for item in items)
        expected = Counter([*want.keys, *[""] * want.missing])
        if places != expected:
            yield f"of the items, {places - expected} are too many, {expected - places} are missing"
    for item in items:
        if (item["error"] is not None) != (item["status"] == "failed"):
            yield f"{item}: an error or success, not both"
        if item["status"] != "failed":
            key = want.keys[_place(step, item)]
            yield from (f"{item}: {fault}" for fault in _in_place(step, run, key, item))
            if len(step.runs) == 1 and list(want.keys.values()).count(key) == 1:
                yield from (f"{item}: {fault}" for fault in _way(step, run, key, item))


def _is_missing(item: Entry) -> bool:
    """Whether there was no such object when it was listed."""
    return item["attempts"] == 0 and (item["error"] or {}).get("kind") == "not_found"


def _in_place(step: Step, run: Ran, key: str, item: Entry) -> Iterator[str]:
    """Whether it is there, as the report says."""
    if not item["source"].endswith(f"/{key}"):
        yield f"it comes from {key}"
    found = step.after.get(_place(step, item))
    told = [each.data for each in step.versions(key) if each.etag == item["etag"]]
    if not told or item["bytes"] != len(told[0]):
        yield "no version of the object is so"
    elif not step.contested and (not isinstance(found, File) or found.data != told[0]):
        yield "something else is there"
    # The store states no other checksums than its etags.
    checksum = item["checksum"]
    if checksum is not None and checksum["value"] != item["etag"]:
        yield "the store states another checksum"
    if run.config.verify == "checksum" and not (checksum and checksum["verified"]):
        yield "it was not verified"


def _way(step: Step, run: Ran, key: str, item: Entry) -> Iterator[str]:
    """Whether its only copy came there in the way that the report says."""
    place, read, size = _place(step, item), run.read[key], item["bytes"]
    match item["status"]:
        case "unchanged":
            if read or step.before.get(place) != step.after.get(place):
                yield f"{read} bytes were read, or the file is another one"
            if run.config.force:
                yield "it was to be fetched in any case"
        case "downloaded" if read < size:
            yield f"only {read} bytes were read"
        case "resumed" if size < LARGE or (step.calm and read >= size):
            yield f"{read} bytes were read"


def _place(step: Step, item: Entry) -> str:
    """The target of an item, relative to the tree; empty, where nothing matches."""
    target: str = item["target"]
    return target and posixpath.relpath(target, step.tree)


# --- plans --------------------------------------------------------------------------------------


def plan_faults(step: Step) -> Iterator[str]:
    """What is wrong with a plan that was printed: it says what a run would do, and does nothing."""
    (run,), (want,) = step.runs, step.wants
    if step.after != step.before:
        yield "a plan has changed something"
    if run.read:
        yield f"a plan read {dict(run.read)}"
    expected = exit_code(want, step.before)
    if run.code != expected:
        yield f"a plan has exit code {run.code} instead of {expected}"
    elif run.code in COMPLETED:
        yield from _plan(step, run, want, json.loads(run.output))


def _plan(step: Step, run: Ran, want: Wanted, plan: Entry) -> Iterator[str]:
    told = plan["ok"], plan["exit_code"], plan["files"], plan["bytes"]
    size = sum(len(step.had[key].data) for key in want.keys.values())
    if told != (run.code == 0, run.code, len(want.keys), size):
        yield f"a plan says {told}"
    items = {_place(step, item): item for item in plan["items"] if "action" in item}
    if items.keys() != want.keys.keys():
        yield f"a plan has the targets {sorted(items)}"
        return
    for place, item in items.items():
        if item["action"] not in (actions := _actions(step, run, want, place)):
            yield f"a plan has {item}, instead of {actions}"


def _actions(step: Step, run: Ran, want: Wanted, place: str) -> tuple[str, ...]:
    """What may be planned for a target."""
    found, size = step.before.get(place), len(step.had[want.keys[place]].data)
    if run.config.force or not isinstance(found, File) or len(found.data) != size:
        return ("fetch", "resume")
    if not is_right(place, want, step.had, step.before):
        return ("check",)
    return ("unchanged",) if step.settled else ("unchanged", "check")
