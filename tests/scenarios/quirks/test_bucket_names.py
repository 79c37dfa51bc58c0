"""Names of buckets that are none by AWS's rules."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

import kaiwo
from kaiwo.config.document import Document
from kaiwo.config.fetch_url import parse
from kaiwo.config.loader import build
from kaiwo.errors import ConfigError
from kaiwo.sources.obstore.source import ObstoreSource
from kaiwo.tasks.base import Engine
from tests.support.engines import OBJECTS, everything, opened
from tests.support.proxies import spoiling
from tests.support.stores import Store

ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/shared"
OUTPOST = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-1/accesspoint/shared"


@pytest.mark.parametrize("style", ["auto", "path", "virtual"])
@pytest.mark.parametrize("name", ["tenant:bucket", "b", "_b_", "-b-", "Ünder score", "a" * 300])
def test_a_compatible_service_may_name_its_buckets_as_it_likes(
    s3: Store, engine: Engine, name: str, style: str
) -> None:
    behind = s3.new_bucket(OBJECTS)

    def asking(target: str) -> str:
        path, separator, query = target.partition("?")
        bucket, slash, key = path.removeprefix("/").partition("/")
        asked.add(bucket)
        return f"/{behind}{slash}{key}{separator}{query}"

    asked: set[str] = set()
    with (
        spoiling(s3, lambda _, __, answer: answer, asking) as by_way,
        opened(by_way, name, engine, addressing_style=style) as source,
    ):
        assert everything(source) == OBJECTS
        assert source.fetch_checksum("big").size == len(OBJECTS["big"])
        if isinstance(source, ObstoreSource):
            assert not source.is_bypassed
    # Services sign what they decode and encode again, so all clients must encode the same way.
    assert asked == {quote(name, safe="")}


def test_a_name_with_a_colon_is_fetched_by_its_url(s3: Store, tmp_path: Path) -> None:
    behind = s3.new_bucket(OBJECTS)

    def asking(target: str) -> str:
        return target.replace("/tenant%3Abucket", f"/{behind}")

    with spoiling(s3, lambda _, __, answer: answer, asking) as by_way:
        found = kaiwo.fetch("s3://tenant:bucket/k", tmp_path / "k", **by_way.fields)
    assert found.read_bytes() == OBJECTS["k"]


@pytest.mark.parametrize("arn", [ACCESS_POINT, OUTPOST, ACCESS_POINT.replace("/", ":")])
def test_an_access_point_stands_for_a_bucket(arn: str) -> None:
    for path in ("", "folder/key", "folder/"):
        url = parse(f"s3://{arn}/{path}")
        assert (url.container, url.path) == (arn, path)
    assert parse(f"s3://{arn}").container == arn
    keys = {"access_key_id": "a", "secret_key": "b", "region": "eu-west-1"}
    items = [{"folder": "", "target_path": "x"}]
    task = {"type": "s3", **keys, "buckets": [{"name": arn, "items": items}]}
    config = build(Document("test", {"download_items": [task]}), {})
    assert config.tasks[0].url(arn, "key") == f"s3://{arn}/key"


def test_a_bucket_at_aws_has_a_name_by_its_rules(engine: Engine) -> None:
    store = Store("s3", {"anonymous": True, "region": "eu-west-1"}, lambda _, __: None)
    opener = store.opener("tenant:bucket", engine)
    with pytest.raises(ConfigError):
        list(opener.open().list(""))


@pytest.mark.parametrize("name", ["bucket/folder", "arn:aws:s3:::bucket/folder"])
def test_a_folder_is_no_part_of_a_bucket(name: str) -> None:
    items = [{"folder": "", "target_path": "x"}]
    task = {"type": "s3", "buckets": [{"name": name, "items": items}]}
    with pytest.raises(ConfigError, match="without '/'"):
        build(Document("test", {"download_items": [task]}), {})
