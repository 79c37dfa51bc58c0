"""Trials of kills: a stage has servers, a folder and a configuration; runs on it are killed.

Two runs follow that nobody kills. A trial reports as wrong:

    after the first of them: bytes that differ from the store's, and anything left behind
    more bytes fetched again than each worker had in flight when a run died
    a range fetched again that a journal had recorded
    any byte that the second of them fetched
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kaiwo.jobs import RANGE
from kaiwo.tasks.base import Engine
from tests.servers.faulty_s3 import BUCKET, Plan, Span, faulty_s3
from tests.support.command import clean_environment, configured
from tests.support.crashing import Death, Order
from tests.support.faulty import MIB, content
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store

LIVES = Death()
#: Their etags are their md5.
PLAIN = {f"tiny-{number}": content(50 + number) for number in range(4)}
PLAIN |= {"empty": b"", "deep/er/tiny": content(9), "two": content(2 * MIB)}
PLAIN |= {"large": content(2 * RANGE + MIB)}
#: Uploaded in parts: no listing tells their checksums.
IN_PARTS = {"tiny": content(77), "two": content(2 * MIB + 1), "large": content(RANGE + MIB)}
OBJECTS = PLAIN | {f"parts/{key}": data for key, data in IN_PARTS.items()}
SIZE = sum(len(data) for data in OBJECTS.values())

#: What is in a folder: bytes of files, where links lead, None for folders.
Contents = Mapping[str, bytes | str | None]
EXPECTED: Contents = {**OBJECTS, **dict.fromkeys(("deep", "deep/er", "parts"))}
STATE = {".kaiwo", ".kaiwo/manifest.jsonl"}
Run = Callable[[Order], int]


@dataclass(frozen=True)
class Asked:
    """The requests that a server got so far.

    Attributes:
        spans: how often each range of bytes was requested, by target, start and end.
        looks: requests for an object without its bytes.
    """

    spans: Counter[Span]
    looks: int

    @property
    def size(self) -> int:
        """The bytes that were asked for."""
        return sum(many * (end - start) for (_, start, end), many in self.spans.items())


@dataclass(frozen=True)
class Stage:
    """A folder, and the servers of what is to come there.

    Attributes:
        home: holds all of it.
        arguments: of each run.
        workers: among them.
        root: of the targets; and where all that a run changes is.
        expected: what is to be in the root.
        count: of the objects.
        asked: so far.
    """

    home: Path
    arguments: tuple[str, ...]
    workers: int
    root: Path
    folder: Path
    expected: Contents
    count: int
    asked: Callable[[], Asked]

    def order(self, death: Death = LIVES) -> Order:
        """A run."""
        environment = clean_environment(self.home) | {"AWS_EC2_METADATA_DISABLED": "true"}
        return Order(self.arguments, environment, str(self.home), str(self.folder), death)

    @property
    def steps(self) -> list[str]:
        """Of the last run."""
        return (self.home / "steps").read_text().splitlines()

    @property
    def errors(self) -> str:
        """What the last run said."""
        return (self.home / "errors").read_text()

    def faults(self) -> Iterator[str]:
        """What is there and should not be, and what should be there and is not."""
        found = there(self.root)
        state = {name for name in found if ".kaiwo" in name.split("/")}
        if state != STATE:
            yield f"kaiwo's own folder holds {sorted(state - STATE)}"
        for name in sorted(found.keys() - self.expected.keys() - state):
            yield f"{name} is left behind"
        for name, data in self.expected.items():
            if name not in found:
                yield f"{name} is missing"
            elif found[name] != data:
                yield f"{name} is wrong"

    def unclean(self) -> Iterator[str]:
        """What no later run would remove or resume.

        A worker may start a small file while the process ends: its journal names the folder.
        """
        told = set()
        for path in self.root.glob(".kaiwo/journal-*.jsonl"):
            run = path.stem.removeprefix("journal-")
            documents = map(json.loads, path.read_text().splitlines())
            told |= {(run, each["folder"]) for each in documents if "folder" in each}
        for path in self.root.rglob(".kaiwo-*"):
            run = path.name.split("-")[1]
            if (run, str(path.parent.relative_to(self.root))) not in told:
                yield f"{path.name} is there, and no journal tells of it"

    def written_down(self) -> Iterator[Span]:
        """The ranges that journals record; a torn line records nothing."""
        for journal in self.root.glob(".kaiwo/journal-*.jsonl"):
            targets: dict[int, str] = {}
            for line in journal.read_text().splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    told = json.loads(line)
                    if "begin" in told:
                        targets[told["begin"]] = told["target"]
                    elif "part" in told:
                        number, start, length = told["part"]
                        yield targets[number], start, start + length


def there(root: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder."""

    def told(path: Path) -> bytes | str | None:
        if path.is_symlink():
            return str(path.readlink())
        return None if path.is_dir() else path.read_bytes()

    return {path.relative_to(root).as_posix(): told(path) for path in root.rglob("*")}


def without_checksums(_method: str, _path: str, answer: Answer) -> Answer:
    """The answer of a store that states no checksums."""
    kept = {k: v for k, v in answer.headers.items() if not k.lower().startswith("x-amz-checksum")}
    return replace(answer, headers=kept)


@contextlib.contextmanager
def in_s3(home: Path, engine: Engine, workers: int, *, proven: bool = True) -> Iterator[Stage]:
    """Objects with an md5, and objects without, from two servers.

    Args:
        home: to be made.
        engine: which.
        workers: how many.
        proven: a HEAD tells a checksum of those without an md5.
    """
    home.mkdir()
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(faulty_s3(PLAIN))
        multipart = stack.enter_context(faulty_s3(IN_PARTS, Plan(etags="parts")))
        places = ((plain, ""), (multipart, "parts/"))
        store = Store("s3", multipart.settings(), lambda *_: None, multipart.settings())
        if not proven:
            store = stack.enter_context(spoiling(store, without_checksums))

        def asked() -> Asked:
            counted = ((server.counts.ranges.items(), below) for server, below in places)
            spans = {
                (below + key, start, end): many
                for ranges, below in counted
                for (key, start, end), many in ranges
            }
            return Asked(Counter(spans), sum(server.counts.heads for server, _ in places))

        tasks = []
        for fields, below in ((plain.settings(), ""), (store.fields, "parts")):
            item = {"folder": "", "target_path": f"./{below}"}
            bucket = {"name": BUCKET, "items": [item]}
            tasks.append({"type": "s3", **fields, "buckets": [bucket]})
        path, out = configured(home, *tasks), home / "out"
        arguments = (path, "--engine", engine, "--max-workers", str(workers))
        yield Stage(home, arguments, workers, out, out, EXPECTED, len(OBJECTS), asked)


@contextlib.contextmanager
def in_hub(home: Path, hub: Store, expected: Contents) -> Iterator[Stage]:
    """The same objects in a repository, for the Hub's cache.

    Args:
        home: to be made.
        hub: what was asked of it before is forgotten.
        expected: in the repository's folder of the cache; nothing, where that is to be found out.
    """
    home.mkdir()
    (Path(hub.settings["root"]) / "models").mkdir(exist_ok=True)
    hub.fill("org/crashes", OBJECTS)
    url = hub.settings["endpoint_url"]
    with urllib.request.urlopen(urllib.request.Request(f"{url}/__reset", method="POST")):
        pass
    names = {hashlib.sha256(data).hexdigest(): key for key, data in OBJECTS.items()}
    snapshot = next((name for name in expected if name.startswith("snapshots/")), "")

    def asked() -> Asked:
        with urllib.request.urlopen(f"{url}/__log") as answer:
            log = json.load(answer)
        spans: Counter[Span] = Counter()
        for each in log:
            path = each["path"].partition("?")[0]
            key = names.get(path.rpartition("/lfs/")[2]) or path.rpartition("/resolve/")[2]
            key = key if "/lfs/" in path else key.partition("/")[2]
            is_lfs = len(OBJECTS.get(key, b"")) > MIB
            if each["method"] == "GET" and key in OBJECTS and is_lfs == ("/lfs/" in path):
                span = (each["range"] or f"bytes=0-{len(OBJECTS[key]) - 1}").removeprefix("bytes=")
                start, _, end = span.partition("-")
                spans[f"{snapshot}/{key}", int(start), int(end) + 1] += 1
        return Asked(spans, sum("/resolve/" in each["path"] for each in log))

    cache = home / "cache"
    task = hub.task("org/crashes", [], cache_dir=str(cache))
    arguments = (configured(home, task), "--max-workers", "1")
    root = cache / "models--org--crashes"
    yield Stage(home, arguments, 1, root, cache, expected, len(OBJECTS), asked)


@dataclass
class Trial:
    """Runs on a stage; ``of`` reports what is wrong."""

    stage: Stage
    run: Run
    killed: int = 0
    warned: bool = False
    story: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    #: The ranges that are recorded, and how often each had been requested by then.
    kept: dict[Span, int] = field(default_factory=dict)

    def of(self, deaths: Iterable[Death]) -> list[str]:
        """What is wrong, after the story."""
        for death in deaths:
            self.die(death)
        self.live()
        self.again()
        return [f"{'; '.join(self.story)}: {fault}" for fault in self.found]

    def die(self, death: Death) -> None:
        """Run to that step; one that is not reached is none."""
        code = self.run(self.stage.order(death))
        if code in (-signal.SIGKILL, 128 + signal.SIGTERM):
            self.killed += 1
            how = "half-way in" if death.half else "before"
            steps = self.stage.steps
            self.story.append(f"{how} {steps[min(death.step, len(steps)) - 1]!r}")
            spans = self.stage.asked().spans
            for span in self.stage.written_down():
                self.kept.setdefault(span, spans[span])
        if code == 128 + signal.SIGTERM:
            self.warned = True
            self.found += [f"right after the signal, {each}" for each in self.stage.unclean()]
        elif code != -signal.SIGKILL and (code or death.step <= len(self.stage.steps)):
            self.found.append(f"exit {code} at {death}: {self.stage.errors}")

    def live(self) -> None:
        """Run to the end."""
        code = self.run(self.stage.order())
        if code:
            self.found.append(f"exit {code}: {self.stage.errors}")
        self.found += self.stage.faults()
        asked, most = self.stage.asked(), self.killed * self.stage.workers
        if asked.size > SIZE + most * RANGE:
            self.found.append(f"{asked.size:,} bytes were asked for, of {SIZE:,}")
        # Each was in flight when a run died: one range or one batch for each worker, which has no
        # more bytes than a range. A run that ends after SIGTERM may start more.
        repeated = {span: many - 1 for span, many in asked.spans.items() if many > 1}
        small = {key for key, data in OBJECTS.items() if len(data) < MIB}
        # A file of the Hub's cache is below snapshots/<commit>/.
        small |= {span[0] for span in repeated if _in_snapshot(span[0]) in small}
        ranges = sum(many for span, many in repeated.items() if span[0] not in small)
        batches = sum(
            many * (end - start)
            for (key, start, end), many in repeated.items()
            if key in small and not self.warned
        )
        if ranges + -(-batches // RANGE) > most:
            self.found.append(f"asked for again: {repeated}")
        lost = [span for span, many in self.kept.items() if asked.spans[span] > many]
        if lost:
            self.found.append(f"written down, and asked for again: {lost}")

    def again(self) -> None:
        """One more run finds everything in place."""
        before = self.stage.asked()
        code = self.run(self.stage.order())
        done = f"(0 downloaded, {self.stage.count} unchanged)"
        if code or done not in self.stage.errors:
            self.found.append(f"the run after it, exit {code}: {self.stage.errors}")
        self.found += [f"still, {each}" for each in self.stage.faults()]
        after = self.stage.asked()
        if after.spans != before.spans:
            self.found.append(f"the run after it asked for {after.spans - before.spans}")
        if after.looks > before.looks:
            self.found.append("the run after it asked for objects one by one")


def _in_snapshot(key: str) -> str:
    """The name of a file of the Hub's cache in its repository."""
    return key.split("/", 2)[-1] if key.startswith("snapshots/") else ""
