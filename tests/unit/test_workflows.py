"""The workflows are what a maintainer may switch on: they parse, and what they name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import ROOT

FOLDER = ROOT / ".github/workflows"
WORKFLOWS = {path.name: path for path in sorted(FOLDER.glob("*.y*ml"))}
#: A major version, a branch that its owner keeps for one, or a commit.
PINNED = re.compile(r"[\w.-]+/[\w./-]+@(v\d+|release/v\d+|[0-9a-f]{40})")
TARGETS = set(
    re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)
#: Rights beyond reading, and the jobs that need them.
RIGHTS = {
    ("release.yaml", "build"): {"id-token", "attestations"},
    ("release.yaml", "pypi"): {"id-token"},
    ("release.yaml", "image"): {"packages", "id-token", "attestations"},
}


def read(name: str) -> dict[str, Any]:
    """A workflow; its key ``on`` is YAML 1.1's word for true."""
    parsed: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in parsed.items()}


def steps(workflow: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_runs_what_there_is(name: str) -> None:
    workflow = read(name)
    jobs = workflow["jobs"]
    named = [word for step in steps(workflow) for word in made(step.get("run", ""))]
    assert named
    assert set(named) <= TARGETS
    for job in jobs.values():
        assert ("steps" in job) != ("uses" in job)
        assert set(job.get("needs", ())) <= set(jobs)
        if "uses" in job:
            called = Path(job["uses"]).name
            assert "workflow_call" in read(called)["on"]
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step), step
        if "uses" in step:
            assert PINNED.fullmatch(step["uses"]), step["uses"]


def made(script: str) -> list[str]:
    """The targets that a script makes."""
    return re.findall(r"\bmake ([a-z-]+)", script)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_what_it_needs_and_no_more(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job_name, job in workflow["jobs"].items():
        granted = job.get("permissions", {})
        beyond = {right for right, level in granted.items() if level != "read"}
        assert beyond == RIGHTS.get((name, job_name), set())
    assert not {"pull_request_target", "workflow_run"} & set(workflow["on"])
    # What others may choose, such as a branch's name, comes by variables: a script would run it.
    for step in steps(workflow):
        assert "${{" not in step.get("run", ""), step


def test_nothing_is_released_unless_it_is_switched_on() -> None:
    workflow = read("release.yaml")
    for name, job in workflow["jobs"].items():
        conditions = job["if"].split(" && ")
        assert "vars.KAIWO_RELEASE == 'true'" in conditions, name
        if name in ("pypi", "image"):
            assert "github.ref_type == 'tag'" in conditions, name
            assert set(job["needs"]) == {"check", "build"}
    assert set(workflow["on"]) == {"push", "workflow_dispatch"}
    assert set(workflow["on"]["push"]) == {"tags"}


def test_the_image_is_told_all_that_it_can_say() -> None:
    (build,) = [
        step
        for step in steps(read("release.yaml"))
        if step.get("uses", "").startswith("docker/build-push-action@")
    ]
    given = {line.partition("=")[0] for line in build["with"]["build-args"].splitlines()}
    wanted = set(
        re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert given == wanted
    assert set(build["with"]["platforms"].split(",")) == {"linux/amd64", "linux/arm64"}


def test_secrets_of_the_repository_reach_the_login_only() -> None:
    for name in WORKFLOWS:
        for step in steps(read(name)):
            if "secrets." in str(step):
                assert step["uses"].startswith("docker/login-action@")
