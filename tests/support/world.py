"""One bucket, one tree to download into, and the command between them.

    tree/out, tree/other    the target roots
    tree/...                files of others, which no run may touch
    home-N/                 the working directory of a run: its configuration and its report
    aside/                  what a test has put away for a while

The command reaches the bucket by way of a proxy. Each run has an access key with its own number, so
that the proxy knows which run a request is of, however late it comes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support import crashing
from tests.support.bucket import Bucket
from tests.support.command import clean_environment
from tests.support.crashing import Death, Order
from tests.support.model import ITEMS, SIZES, Config
from tests.support.proxies import Answer, spoiling
from tests.support.snapshots import Snapshot, snapshot
from tests.support.stores import Store

LIVES = Death()
#: Files around the target roots; their names are like those of targets.
AROUND = {"note": b"not kaiwo's", "beside/a.txt": b"nor this", "output/all/b.bin": b"nor that"}
#: What a run may leave in its working directory.
OWN_FILES = {"config.yaml", "report.json", "steps", "errors", "output"}
_ACCESS_KEY = re.compile(r"Credential=([^/]+)/")

#: The number of an answer with bytes of an object, and what happens right before it is passed on:
#: returns the answer that is passed on. Where there are fewer answers, it happens after the run.
Meanwhile = tuple[int, Callable[[Answer], Answer]]


@dataclass(frozen=True)
class Ran:
    """A run that is over.

    Attributes:
        config: what it was asked to do.
        death: which death was meant for it.
        code: its exit code; that of a signal, negative.
        report: its JSON report, if it wrote one.
        output: what it wrote to stdout.
        errors: what it wrote to stderr.
        read: how many bytes it got of each object.
        looked_at: the objects that it asked for without their bytes.
    """

    config: Config
    death: Death
    code: int
    report: Mapping[str, Any] | None
    output: str
    errors: str
    read: Counter[str]
    looked_at: frozenset[str]


@dataclass
class _Traffic:
    """What a run asked for so far; the other fields are those of ``Ran``.

    Attributes:
        answers: how many had bytes of an object.
    """

    meanwhile: Meanwhile | None
    read: Counter[str] = field(default_factory=Counter)
    looked_at: set[str] = field(default_factory=set)
    answers: int = 0


class World:
    """See above.

    Args:
        base: the folder that holds all of it; to be made.
        store: as the command reaches it.
        commands: carry out orders, each one at a time.
    """

    def __init__(
        self, base: Path, store: Store, commands: Sequence[Callable[[Order], int]]
    ) -> None:
        self.base, self.tree = base, base / "tree"
        self.bucket = Bucket(store)
        self._store = store
        self._commands = commands
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._traffic: dict[str, _Traffic] = {}

    def begin(self) -> None:
        """A new tree, and a bucket as it was at first."""
        shutil.rmtree(self.base, ignore_errors=True)
        for name, data in AROUND.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.bucket.begin(SIZES)

    # --- the command

    def run(
        self,
        config: Config,
        death: Death = LIVES,
        *,
        plan: bool = False,
        lane: int = 0,
        meanwhile: Meanwhile | None = None,
    ) -> Ran:
        """Carry out a configuration; returns when the process is gone.

        Args:
            config: what to do.
            death: how the process dies, if it does.
            plan: only print what is to be done.
            lane: which working directory; of two runs at once, each has another.
            meanwhile: what happens during the run.
        """
        home = self.base / f"home-{lane}"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        access_key = f"run-{next(self._numbers)}"
        traffic = self._traffic[access_key] = _Traffic(meanwhile)
        path, report = home / "config.yaml", home / "report.json"
        path.write_text(yaml.safe_dump(self._document(config, access_key)))
        arguments = ("plan", str(path), "--json") if plan else (str(path), "--report", str(report))
        module = "kaiwo" if plan else "kaiwo.downloader"
        environment = clean_environment(home) | {"AWS_EC2_METADATA_DISABLED": "true"}
        order = Order(arguments, environment, str(home), str(self.tree), death, module)
        code = self._commands[lane](order)
        with self._lock:
            if traffic.meanwhile is not None:
                traffic.meanwhile[1](Answer(0, {}, b""))
                traffic.meanwhile = None
            read, looked_at = Counter(traffic.read), frozenset(traffic.looked_at)
        document = json.loads(report.read_text()) if report.exists() else None
        output, errors = ((home / each).read_text() for each in ("output", "errors"))
        return Ran(config, death, code, document, output, errors, read, looked_at)

    def run_both(self, one: Config, death: Death, other: Config) -> tuple[Ran, Ran]:
        """Two runs at once; the first may die."""
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(self.run, one, death)
            second = pool.submit(self.run, other, lane=1)
            return first.result(), second.result()

    def _document(self, config: Config, access_key: str) -> dict[str, Any]:
        """A configuration as the file has it."""
        items = [dict(ITEMS[name].fields) for name in config.items]
        for item in items:
            root, _, rest = item["target_path"].partition("/")
            item["target_path"] = rest if root == "out" else str(self.tree / root)
        return {
            "download_root": str(self.tree / "out"),
            "download_items": [self._store.task(self.bucket.name, items, access_key_id=access_key)],
            "force": config.force,
            "verify": config.verify,
            "max_workers": config.workers,
            "engine": config.engine,
        }

    # --- the proxy

    def see(self, method: str, path: str, answer: Answer) -> Answer:
        """Take note of an answer that is about to be passed on."""
        key = path.removeprefix(f"/{self.bucket.name}").removeprefix("/")
        headers = {name.lower(): value for name, value in answer.asked.items()}
        access_key = _ACCESS_KEY.search(headers.get("authorization", ""))
        if not key or access_key is None:
            return answer
        with self._lock:
            traffic = self._traffic[access_key[1]]
            if method == "HEAD":
                traffic.looked_at.add(key)
            elif answer.status in (200, 206):
                traffic.read[key] += len(answer.body)
                traffic.answers += 1
                if traffic.meanwhile is not None and traffic.meanwhile[0] == traffic.answers:
                    answer = traffic.meanwhile[1](answer)
                    traffic.meanwhile = None
        return answer

    # --- the disk

    def disk(self) -> Snapshot:
        """All of the tree."""
        return snapshot(self.tree)

    def strangers(self) -> list[str]:
        """What runs left beside the tree and should not have."""
        homes = [f"home-{lane}" for lane in range(len(self._commands))]
        own = {"tree", *homes, *(f"{home}/{name}" for home in homes for name in OWN_FILES)}
        names = (path.relative_to(self.base).as_posix() for path in self.base.rglob("*"))
        others = ("tree/", "aside")
        return [name for name in names if name not in own and not name.startswith(others)]


@contextlib.contextmanager
def worlds(base: Path, store: Store) -> Iterator[World]:
    """A world that can begin again and again."""
    world: World | None = None

    def see(method: str, path: str, answer: Answer) -> Answer:
        return answer if world is None else world.see(method, path, answer)

    with contextlib.ExitStack() as stack:
        by_proxy = stack.enter_context(spoiling(store, see))
        environment = clean_environment(base)
        commands = [stack.enter_context(crashing.commands(environment)) for _ in range(2)]
        world = World(base / "world", by_proxy, commands)
        yield world
