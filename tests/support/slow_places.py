"""Files of every source behind a slow line, and runs of the command that fetch them.

with behind("gcs", files, line, request) as task:
    ...  a task of a configuration that fetches the files to ``out``
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.servers import web
from tests.support.command import clean_environment
from tests.support.slow_lines import Line
from tests.support.stores import Store

SOURCES = ("s3", "gcs", "azure", "hub", "web")
_OWNERS = iter(range(1_000_000))


def files_of(count: int, size: int) -> dict[str, bytes]:
    """Files whose bytes differ."""
    return {f"file-{number:02}": random.Random(number).randbytes(size) for number in range(count)}


@contextlib.contextmanager
def behind(
    source: str, files: Mapping[str, bytes], line: Line, request: pytest.FixtureRequest
) -> Iterator[dict[str, Any]]:
    """A task that fetches these files by way of the line to the download root."""
    if source == "web":
        folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("www")
        for name, data in files.items():
            (folder / name).write_bytes(data)
        with web.rclone(folder) as server, line.before_server(server) as address:
            items = [{"file": f"{address}/{name}", "target_path": name} for name in files]
            yield {"type": "url", "items": items}
        return
    store: Store = request.getfixturevalue(source)
    bucket = f"owner/slow{next(_OWNERS)}" if source == "hub" else store.new_bucket()
    store.fill(bucket, files)
    fields = {"target_path": "./"} if source == "hub" else {}
    with line.before(store) as slow:
        yield slow.task(bucket, [{"folder": "", "target_path": "./"}], **fields)


def started(config: str, home: Path, *options: str, stderr: Any) -> subprocess.Popen[bytes]:
    """The command on a configuration.

    Args:
        config: the file's path.
        home: also the working directory.
        options: of the command.
        stderr: as ``subprocess`` takes it.
    """
    words: Sequence[str] = (sys.executable, "-m", "kaiwo.downloader", config, *options)
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "TERM": "xterm", "COLUMNS": "120"}
    environment = clean_environment(home) | nowhere
    return subprocess.Popen(
        words, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
    )
