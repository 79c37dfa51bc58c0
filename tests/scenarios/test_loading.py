"""Sources that are opened at the same time, in a program that has loaded none of their SDKs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import run_program

PROGRAM = """
import traceback
from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.registry import task_class

task = task_class(given["task"]["type"]).model_validate(given["task"])
begin, failures = threading.Barrier(8), []

def opens():
    begin.wait()
    try:
        task.open(given["container"], NetworkSettings(), given["engine"]).close()
    except Exception:
        failures.append(traceback.format_exc())

threads = [threading.Thread(target=opens) for _ in range(8)]
for each in threads:
    each.start()
for each in threads:
    each.join()
sys.exit("".join(failures) or 0)
"""
NOWHERE = "http://127.0.0.1:1"
ITEMS = [{"folder": "", "target_path": "x"}]
TASKS: dict[str, dict[str, Any]] = {
    "s3": {"endpoint_url": NOWHERE, "anonymous": True, "buckets": [{"name": "b", "items": ITEMS}]},
    "gcs": {"endpoint_url": NOWHERE, "anonymous": True, "buckets": [{"name": "b", "items": ITEMS}]},
    "azure-blob": {
        "endpoint_url": NOWHERE,
        "account_name": "a",
        "anonymous": True,
        "containers": [{"name": "b", "items": ITEMS}],
    },
}


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
@pytest.mark.parametrize("type_", TASKS)
def test_several_threads_open_sources_of_one_kind_at_once(
    type_: str, engine: str, tmp_path: Path
) -> None:
    task = {"type": type_, **TASKS[type_]}
    ended = run_program(PROGRAM, tmp_path, task=task, container="b", engine=engine)
    assert ended.code == 0, ended.stderr
