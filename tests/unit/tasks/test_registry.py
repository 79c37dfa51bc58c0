"""Task types of other packages."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from kaiwo.api.orders import wanted
from kaiwo.cli.doctor import doctor
from kaiwo.config import fetch_url
from kaiwo.config.schema import schema
from kaiwo.errors import BugError, ConfigError
from kaiwo.tasks.registry import BUILT_IN
from tests.support.configs import (
    read,
    refusal,
    task_of,
)

PLUGIN = """\
print("a package that talks")

from typing import Literal

from kaiwo.tasks.base import Task
from kaiwo.tasks.fields import Secret
from kaiwo.tasks.object_store import BucketTask


class FtpTask(Task):
    schemes = ("other", "s3", "sftp")
    type: Literal["other-ftp"] = "other-ftp"
    host: str
    password: Secret | None = None

    @property
    def origin(self): return self.host
    def url(self, container, key=""): return "ftp://"
    def source(self, container, network): raise NotImplementedError
    def wants(self, context): raise ZeroDivisionError


class Other(FtpTask):
    schemes = ("OTHER",)
    type: Literal["no-scheme"] = "no-scheme"


class Failing(FtpTask):
    schemes = ()
    type: Literal["failing"] = "failing"
    def contradictions(self): raise ZeroDivisionError


class Odd(FtpTask):
    schemes = ()
    type: Literal["odd"] = "odd"
    class Any:
        pass
    model_config = {"arbitrary_types_allowed": True}
    thing: Any = None


class Abstract(Task):
    type: Literal["abstract"] = "abstract"


class Holder(BucketTask):
    holder = "shelves"
    type: Literal["no-holder"] = "no-holder"
    @property
    def origin(self): return ""
    def url(self, container, key=""): return ""
    def source(self, container, network): return None


class NoTask:
    pass
"""
#: Modules that fail in their own ways.
BROKEN = {
    "kaiwo_at_import": "raise RuntimeError('the \x1b[31mreason')",
    "kaiwo_at_class": "from kaiwo.tasks.base import Task\nclass T(Task):\n    type: 'Nope['",
    "kaiwo_no_syntax": "def",
    "kaiwo_exits": "raise SystemExit(0)",
}
#: Types that cannot be used, and what is said of each.
FAULTS = {
    "no-task": "kaiwo_other_ftp:NoTask is not a kaiwo Task",
    "no-class": "kaiwo_other_ftp:Nothing cannot be imported (AttributeError",
    "no-module": "kaiwo_no_such_module:Task cannot be imported (ModuleNotFoundError",
    "at-import": r"cannot be imported (RuntimeError: the \x1b[31mreason)",
    "at-class": "cannot be imported (",
    "no-syntax": "cannot be imported (SyntaxError",
    "exits": "cannot be imported (SystemExit",
    "abstract": "Abstract does not define origin, source, url, wants",
    "renamed": "FtpTask needs the field type: Literal['renamed'] = 'renamed'",
    "no-holder": "Holder has no field 'shelves', which its 'holder' names",
    "no-scheme": "Other needs 'schemes' to be a tuple of names",
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution that brings task types."""
    site = tmp_path / "site"
    info = site / "kaiwo_other-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "kaiwo_other_ftp.py").write_text(PLUGIN)
    for name, text in BROKEN.items():
        (site / f"{name}.py").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kaiwo-other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        dedent(
            """\
            [kaiwo.tasks]
            other-ftp = kaiwo_other_ftp:FtpTask
            s3 = kaiwo_other_ftp:FtpTask
            no-task = kaiwo_other_ftp:NoTask
            no-class = kaiwo_other_ftp:Nothing
            no-module = kaiwo_no_such_module:Task
            at-import = kaiwo_at_import:Task
            at-class = kaiwo_at_class:T
            no-syntax = kaiwo_no_syntax:T
            exits = kaiwo_exits:T
            abstract = kaiwo_other_ftp:Abstract
            renamed = kaiwo_other_ftp:FtpTask
            no-holder = kaiwo_other_ftp:Holder
            no-scheme = kaiwo_other_ftp:Other
            failing = kaiwo_other_ftp:Failing
            odd = kaiwo_other_ftp:Odd
            """
        )
    )
    monkeypatch.syspath_prepend(site)
    yield
    for name in ("kaiwo_other_ftp", *BROKEN):
        sys.modules.pop(name, None)


def test_a_type_of_another_package_is_a_type_like_kaiwos_own(plugin: None) -> None:
    task = read("download_items: [{type: other-ftp, host: h, password: p}]").tasks[0]
    assert type(task).__name__ == "FtpTask"
    assert task.secret("password") == "p"
    message = refusal("download_items:\n- type: other-ftp\n  hots: h\n")
    assert "c.yaml:3:3: download_items[0].hots: unknown key 'hots'; did you mean 'host'?" in message
    # 'hots' stands for it.
    assert "is required" not in message


def test_a_type_of_another_package_is_suggested(plugin: None) -> None:
    message = refusal("download_items: [{type: otherftp}]")
    assert "did you mean 'other-ftp'?" in message


def test_no_other_package_can_take_the_name_of_a_type_of_kaiwos(plugin: None) -> None:
    assert type(task_of("s3")).__module__ == "kaiwo.tasks.s3"


@pytest.mark.parametrize("type_", FAULTS)
def test_a_broken_type_of_another_package_is_an_error_that_names_it(
    plugin: None, type_: str
) -> None:
    message = refusal(f"download_items: [{{type: {type_}}}]")
    assert message.startswith("c.yaml:1:19: download_items[0].type: ")
    assert f"task type '{type_}' cannot be used: " in message
    assert FAULTS[type_] in message
    assert "registered by the package kaiwo-other 1.0: update or remove that" in message


def test_a_type_that_fails_at_its_task_is_a_fault_of_that_task_alone(plugin: None) -> None:
    message = refusal("download_items:\n- {type: failing, host: h}\n- {type: s3, bukets: []}\n")
    assert "download_items[0]: its task type fails with ZeroDivisionError" in message
    assert "download_items[1].bukets: unknown key" in message


def test_a_type_that_fails_at_its_wants_is_said_to_be_that(plugin: None) -> None:
    config = read("download_items: [{type: other-ftp, host: h}]")
    with pytest.raises(BugError, match=r"download_items\[0\]: task type 'other-ftp' fails"):
        wanted(config)


def test_a_scheme_of_another_package_is_fetched_by_its_type(plugin: None) -> None:
    assert fetch_url.parse("other://bucket/k").type == "other-ftp"
    assert fetch_url.parse("OTHER://bucket/a/*").glob == "*"
    message = refusal(
        "download_items: [{type: url, items: [{file: 'other://b/k', target_path: t}]}]"
    )
    assert "other:// has a separate task type: other-ftp" in message


@pytest.mark.parametrize(("scheme", "type_"), [("s3", "s3"), ("sftp", "url"), ("https", "url")])
def test_no_other_package_can_take_a_scheme_of_kaiwos(
    plugin: None, scheme: str, type_: str
) -> None:
    assert fetch_url.parse(f"{scheme}://host/k").type == type_


def test_a_scheme_whose_package_is_broken_says_so(plugin: None) -> None:
    with pytest.raises(ConfigError, match=r"'at-import' cannot be used: .*kaiwo-other 1.0"):
        fetch_url.parse("at-import://bucket/k")
    with pytest.raises(ConfigError, match="unknown scheme nobodys://"):
        fetch_url.parse("nobodys://bucket/k")


def test_the_schema_leaves_out_what_is_broken_and_says_so(
    plugin: None, caplog: pytest.LogCaptureFixture
) -> None:
    types = schema()["$defs"]["Task"]["properties"]["type"]["anyOf"][0]["enum"]
    assert types == sorted([*BUILT_IN, "failing", "other-ftp"])
    assert {"odd", *FAULTS} == {record.getMessage().split("'")[1] for record in caplog.records}


def test_doctor_lists_what_is_there_and_what_is_wrong_with_it(
    plugin: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    plugins = {name.split()[0]: text for name, text in found["plugins"].items()}
    assert plugins["failing"] == "kaiwo_other_ftp:Failing"
    assert plugins["other-ftp"] == "s3:// is read by kaiwo itself"
    assert plugins["s3"] == "the name is that of a task type of kaiwo"
    for type_, fault in FAULTS.items():
        assert fault in plugins[type_]
    assert sum("kaiwo-other 1.0" in each for each in found["problems"]) == len(FAULTS) + 2


def test_a_configuration_without_such_a_type_imports_no_other_package(plugin: None) -> None:
    task_of("s3")
    fetch_url.parse("s3://bucket/k")
    assert not {"kaiwo_other_ftp", *BROKEN} & sys.modules.keys()
