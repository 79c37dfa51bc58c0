"""What an object costs before the first byte, without any network: processor time and memory.

    python -m tests.bench.scale [COUNT]...

Each count runs in a fresh process. Objects are named as those of S3 are, with an etag and a
checksum, all in one folder that is empty on the disk. It prints microseconds of processor time for
each object: of the plan of a run; of the plan of shards, written, read and split; then the size of
that file, and the memory of the process with the listing and the plan.
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec.structs import asdict

from kaiwo.files.placement import Under
from kaiwo.jobs import Want
from kaiwo.objects import Checksum, Folder, RemoteObject
from kaiwo.planning.gather import Listing
from kaiwo.planning.plan import Comparison, close, draft
from kaiwo.shards import plan_file
from kaiwo.shards.plan_file import Planned
from kaiwo.state.state import State
from tests.support.faulty import FaultyOpener, FaultyStore

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
DATA = b"x" * 1000
ResultT = TypeVar("ResultT")


def main() -> None:
    """Print a line for each count."""
    if sys.argv[1:2] == ["-"]:
        measure(int(sys.argv[2]))
        return
    print("  objects   plan us  write us   read us  split us   file MB  memory MiB")
    for count in map(int, sys.argv[1:] or map(str, COUNTS)):
        command = [sys.executable, "-m", "tests.bench.scale", "-", str(count)]
        print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="")


def timed(step: Callable[[], ResultT]) -> tuple[float, ResultT]:
    """The processor time of a step in seconds, and what it gives."""
    start_s = time.process_time()
    result = step()
    return time.process_time() - start_s, result


def measure(count: int) -> None:
    """Print the figures for that many objects."""
    checksum = Checksum("md5", hashlib.md5(DATA).hexdigest())
    objects = tuple(
        RemoteObject(f"d/{number:08}", len(DATA), f"{number:032x}", None, checksum, 1)
        for number in range(count)
    )
    opener = FaultyOpener(FaultyStore({}))
    with tempfile.TemporaryDirectory() as folder:
        root = str(Path(folder, "root"))
        want = Want("bench", "", opener, Folder("d/"), Under(root, root, "d/"))
        state, how = State(None, "1"), Comparison(force=False, verify=True)
        listing = Listing(((want, objects),))
        plan_s, _ = timed(lambda: close(draft(listing, state, how), state, how))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        path = f"{root}/.kaiwo/plan-x.jsonl"
        planned = [Planned(**asdict(each)) for each in objects]
        head = plan_file.new_head(100, "x", None, 0.0, shares_files=True)
        write_s, _ = timed(lambda: plan_file.write(path, head, [(want, planned)]))
        read_s, found = timed(lambda: plan_file.read(path))
        if found is None:
            raise RuntimeError("the plan cannot be read")
        split_s, _ = timed(found.split)
        size = Path(path).stat().st_size / 1e6
        figures = [plan_s, write_s, read_s, split_s]
        each = "".join(f"{seconds / count * 1e6:10.1f}" for seconds in figures)
        print(f"{count:9}{each}{size:10.1f}{memory:12}")


if __name__ == "__main__":
    main()
