"""Helm without its binary: lint and render a chart, each with several sets of values.

``python -m tests.support.helm CHART`` reads a JSON list of values and prints what came of each. It
is a process apart, because Helm is written in Go: its threads and signal handlers would stay in the
process of the tests.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT

#: helm lint's severities.
WARNING = 2


@dataclass(frozen=True)
class Rendered:
    """What Helm made of a chart with some values.

    Attributes:
        error: why nothing could be rendered, or empty.
        findings: warnings and errors of ``helm lint``.
        files: the text of each template.
    """

    error: str
    findings: Sequence[str]
    files: Mapping[str, str]


def render(chart: Path, values: Sequence[Mapping[str, Any]]) -> list[Rendered]:
    """Lint and render a chart with each of these values, as the first revision of ``models``."""
    if importlib.util.find_spec("helm_python") is None and "CI" not in os.environ:
        pytest.skip("there is no wheel of helm-python-sdk for this machine")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.helm", str(chart)],
        input=json.dumps(values),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Rendered(**each) for each in json.loads(done.stdout)]


def main() -> None:
    """Answer one order."""
    import helm_python  # noqa: PLC0415 - see above

    path = sys.argv[1]
    chart = helm_python.Chart.load(path)
    answers = []
    for values in json.load(sys.stdin):
        linted = helm_python.lint(path, values, strict=True)
        findings = [each["error"] for each in linted["messages"] if each["severity"] >= WARNING]
        error, files = "", {}
        try:
            chart.validate_schema(values)
            files = chart.render(values, name="models", namespace="ml", revision=1)
        except helm_python.HelmError as failure:
            error = str(failure)
        answers.append({"error": error, "findings": findings, "files": files})
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
