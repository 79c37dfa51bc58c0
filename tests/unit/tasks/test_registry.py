"""Task types of other packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.configs import (
    read,
    refusal,
    task_of,
)

PLUGIN = """\
from typing import Literal

from kaiwo.tasks.base import Task
from kaiwo.tasks.fields import Secret


class FtpTask(Task):
    type: Literal["other-ftp"] = "other-ftp"
    host: str
    password: Secret | None = None

    @property
    def origin(self): return self.host
    def url(self, container): return "ftp://"
    def source(self, container, network): raise NotImplementedError
    def wants(self, context): return iter(())


class NoTask:
    pass
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution that brings task types."""
    site = tmp_path / "site"
    info = site / "kaiwo_other-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "kaiwo_other_ftp.py").write_text(PLUGIN)
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
            """
        )
    )
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("kaiwo_other_ftp", None)


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


@pytest.mark.parametrize("type_", ["no-task", "no-class", "no-module"])
def test_a_broken_type_of_another_package_is_an_error_that_names_it(
    plugin: None, type_: str
) -> None:
    message = refusal(f"download_items: [{{type: {type_}}}]")
    assert message.startswith("c.yaml:1:19: download_items[0].type: ")
    assert type_ in message
