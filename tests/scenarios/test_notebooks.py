"""A notebook, run by a real kernel: what it stores of a run, and of an error, is short."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT
from tests.support.command import clean_environment
from tests.support.stores import Store

#: Runs the cells of a file, and writes their outputs into it. In a child, since the packages of
#: notebooks warn of much.
EXECUTE = """
import json, sys
import nbformat
from nbclient import NotebookClient
path = sys.argv[1]
with open(path) as file:
    cells = [nbformat.v4.new_code_cell(text) for text in json.load(file)]
notebook = nbformat.v4.new_notebook(cells=cells)
NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
with open(path, "w") as file:
    json.dump([cell.outputs for cell in notebook.cells], file)
"""
Outputs = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _with_kernels() -> None:
    """Notebooks need packages that not every environment has."""
    missing = [name for name in ("ipykernel", "nbclient") if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def executed(cells: list[str], folder: Path) -> list[Outputs]:
    """What a stored notebook has below each cell."""
    path = folder / "cells.json"
    path.write_text(json.dumps(cells), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(path)],
        cwd=folder,
        env=clean_environment(folder) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outputs: list[Outputs] = json.loads(path.read_text(encoding="utf-8"))
    return outputs


def test_one_bar_leaves_one_line_and_an_error_is_one_line(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({f"d/{number}": b"1" * 100_000 for number in range(40)})
    fields = {name: value for name, value in s3.fields.items() if value is not None}
    cells = [
        f"import kaiwo\nfields = {fields!r}",
        f"path = kaiwo.fetch('s3://{bucket}/d', **fields)",
        f"path = kaiwo.fetch('s3://{bucket}/d', **fields)",
        f"kaiwo.fetch('s3://{bucket}/none', **fields)",
        "def load(url):\n    return kaiwo.fetch(url, progress='none', **fields)",
        f"load('s3://{bucket}/none')",
    ]
    _, first, second, failed, _, called = executed(cells, tmp_path)
    (line,) = first
    assert line["output_type"] == "display_data"
    assert line["data"]["text/plain"].startswith("done, 40 of 40 files, ")
    (line,) = second
    assert line["data"]["text/plain"] == "done, 40 files in place already"
    display, error = failed
    assert display["data"]["text/plain"] == "failed"
    assert (error["ename"], len(error["traceback"])) == ("NotFoundError", 1)
    (error,) = called
    assert [text.partition(",")[0] for text in error["traceback"][:1]] == ["in load"]
    assert len(error["traceback"]) == 2
