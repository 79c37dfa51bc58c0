"""Tasks with buckets, and the engine that reads each."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from kaiwo.errors import ConfigError
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Source
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.tasks.base import Engine
from kaiwo.tasks.fetch_request import FetchRequest, ObjectUrl
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.registry import BUILT_IN, SCHEMES

SLOW: Any = object()
FAST: Any = object()


class PlainTask(BucketTask):
    """A task type of another package, for a service without a fast engine."""

    type: Literal["plain"] = "plain"
    buckets: tuple[Bucket, ...] = ()

    @property
    def origin(self) -> str:
        return "plain"

    def url(self, container: str, key: str = "") -> str:
        return f"plain://{container}/{key}"

    def source(self, container: str, network: NetworkSettings) -> Source:  # noqa: ARG002
        return SLOW  # type: ignore[no-any-return]


class FastTask(PlainTask):
    """The same with a fast engine, which does not support every task."""

    supported: bool = True

    def fast_source(self, container: str, network: NetworkSettings) -> Source | None:  # noqa: ARG002
        if not self.supported:
            raise NotForObstoreError("it is too old")
        return FAST  # type: ignore[no-any-return]


@pytest.mark.parametrize("engine", ["auto", "fsspec"])
def test_a_task_without_a_fast_engine_needs_no_method_for_one(engine: Engine) -> None:
    assert PlainTask().open("b", NetworkSettings(), engine) is SLOW


@pytest.mark.parametrize(
    ("engine", "supported", "expected"),
    [("auto", True, FAST), ("auto", False, SLOW), ("fsspec", True, SLOW), ("obstore", True, FAST)],
)
def test_the_fast_engine_is_taken_where_it_supports_the_task(
    engine: Engine, supported: bool, expected: object
) -> None:
    assert FastTask(supported=supported).open("b", NetworkSettings(), engine) is expected


@pytest.mark.parametrize("task", [PlainTask(name="mine"), FastTask(name="mine", supported=False)])
def test_an_engine_that_is_asked_for_by_name_is_never_replaced(task: BucketTask) -> None:
    with pytest.raises(ConfigError, match="mine: plain://b/ cannot be read through obstore: "):
        task.open("b", NetworkSettings(), "obstore")


def test_a_url_becomes_a_bucket_with_one_item() -> None:
    url = ObjectUrl("plain", "b", "data/", "*.csv")
    fields = PlainTask.fetch_fields(FetchRequest(url, "/t", is_file=False))
    assert fields == {
        "buckets": [
            {"name": "b", "items": [{"folder": "data/", "glob": "*.csv", "target_path": "/t"}]}
        ]
    }


def test_every_scheme_belongs_to_a_task_type() -> None:
    assert set(SCHEMES.values()) <= set(BUILT_IN)
