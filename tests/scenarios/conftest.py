"""Fixtures that several scenarios share."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import stores
from tests.support.command import Kaiwo, Run
from tests.support.command_errors import CANARY
from tests.support.engines import NOWHERE, OF_PROVIDERS
from tests.support.stores import Store


@pytest.fixture
def failing(kaiwo: Kaiwo, tmp_path: Path) -> Kaiwo:
    """The command; the test fails when it shows a stack trace or the canary anywhere."""

    def run(
        config: Mapping[str, Any] | str, *options: str, env: Mapping[str, str] | None = None
    ) -> Run:
        termination = tmp_path / "termination-log"
        variables = {"KAIWO_TERMINATION_LOG": str(termination)} | dict(env or {})
        done = kaiwo(config, *options, env=variables)
        written = json.dumps(dict(done.report))
        written += termination.read_text() if termination.exists() else ""
        assert "Traceback" not in done.stderr
        for shown in (done.stdout, done.stderr, written):
            assert CANARY not in shown
        return done

    return run


@pytest.fixture(scope="session")
def guarded_hub() -> Iterator[Store]:
    """A Hub that knows one token, with a gated repository and a private one."""
    with stores.hub("--token=hf_right") as store:
        for name, settings in (("gated", {"gated": True}), ("private", {"private": True})):
            store.fill(f"acme/{name}", {"k": b"hidden"})
            path = Path(store.settings["root"], "models", f"acme--{name}", ".kaiwo-hub.json")
            path.write_text(json.dumps(settings))
        store.fill("acme/open", {"k": b"data"})
        yield store


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No home, no proxy, no metadata service: for sources that this process opens."""
    for name in os.environ:
        theirs = name.startswith(tuple(OF_PROVIDERS.values()))
        if theirs or name.upper().endswith(("_BUNDLE", "_PROXY")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory apart."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where configurations of tests have their targets."""
    return tmp_path / "out"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder that is a source."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"
