"""Small configurations, as YAML, and why they are refused."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from textwrap import dedent
from typing import Any

import jsonschema
import pytest
import yaml
from jsonschema.exceptions import best_match

from kaiwo.config.document import parse
from kaiwo.config.loader import Config, build
from kaiwo.config.schema import schema
from kaiwo.errors import ConfigError
from kaiwo.tasks.base import Task
from kaiwo.tasks.items import FileItem, FolderItem
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.registry import BUILT_IN

CANARY = "CANARYxyzzy"


ITEM = {"file": "k", "target_path": "t"}


BUCKETS = [{"name": "b", "items": [ITEM]}]


#: The least that a task of each type needs.
LEAST: dict[str, dict[str, Any]] = {
    "s3": {"type": "s3", "buckets": BUCKETS},
    "gcs": {"type": "gcs", "buckets": BUCKETS},
    "azure-blob": {"type": "azure-blob", "containers": BUCKETS},
    "hf": {"type": "hf", "repo_id": "owner/repo"},
    "url": {"type": "url", "items": [{"file": "https://host/k", "target_path": "t"}]},
}


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    """Checks a file by its schema."""
    return jsonschema.Draft202012Validator(schema(BUILT_IN))


def faults(data: Any) -> list[tuple[str, str]]:
    """What the schema has against the data of a file: where, and what."""
    found = (best_match([each]) for each in validator().iter_errors(data))
    return sorted(("/".join(map(str, each.absolute_path)), each.message) for each in found)


def read(text: str, **options: Any) -> Config:
    """The configuration that a YAML text stands for; the schema accepts it, too."""
    document = parse(dedent(text), "c.yaml")
    config = build(document, options)
    if all(task.type in BUILT_IN for task in config.tasks):
        assert faults(document.data) == []
    return config


def of(*tasks: Mapping[str, Any], **settings: Any) -> Config:
    """The configuration with these tasks, by way of YAML."""
    return read(yaml.safe_dump({"download_items": [dict(task) for task in tasks], **settings}))


def task_of(type_: str, **fields: Any) -> Task:
    """A task with the least it needs and these fields."""
    (task,) = of(LEAST[type_] | fields).tasks
    return task


def refusal(text: str, **options: Any) -> str:
    """Why a YAML text is refused: a line for each fault."""
    with pytest.raises(ConfigError) as caught:
        build(parse(dedent(text), "c.yaml"), options)
    return caught.value.message


def refusal_of(type_: str, **fields: Any) -> str:
    """Why a task with these fields is refused; fields that are None are left out."""
    task = {name: value for name, value in (LEAST[type_] | fields).items() if value is not None}
    return refusal(yaml.safe_dump({"download_items": [task]}, sort_keys=False))


def items_of(task: Task) -> list[FolderItem | FileItem]:
    """All items of a task of an object store."""
    assert isinstance(task, BucketTask)
    return [item for bucket in getattr(task, task.holder) for item in bucket.items]
