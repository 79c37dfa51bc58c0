"""Objects that S3 encrypts with a key of the customer (SSE-C)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api.report import Report
from tests.support import aws as little_aws
from tests.support.aws import Aws
from tests.support.command import tree
from tests.support.engines import ALL
from tests.support.stores import Store

pytestmark = pytest.mark.usefixtures("loopback_only")

KEY = b"\xffk\n" + bytes(range(29))
OBJECTS = {"k": b"data", "d/b c": b"more", "big": bytes(9 << 20)}


@pytest.fixture
def aws(s3: Store) -> Iterator[Aws]:
    """An S3 whose objects are encrypted with the key."""
    with little_aws.aws(s3) as made:
        made.customer_key = KEY
        yield made


def download(aws: Aws, folder: Path, **fields: Any) -> Report:
    """Fetch a bucket with the user's keys and these fields."""
    named = {"access_key_id": aws.user.access_key, "secret_key": aws.user.secret}
    task = aws.s3.task(aws.s3.new_bucket(OBJECTS), ALL, **named, **fields)
    config = {"download_root": str(folder / "out"), "download_items": [task], "retries": 0}
    return kaiwo.download(config, progress="none")


@pytest.mark.parametrize("form", ["base64", "file with base64", "file with bytes"])
def test_the_key_is_sent_for_each_object_and_its_etag_is_no_md5(
    aws: Aws, tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kaiwo")
    encoded = base64.b64encode(KEY).decode()
    fields: dict[str, str] = {"customer_key": encoded}
    if form != "base64":
        file = tmp_path / "key"
        file.write_bytes(f"{encoded}\n".encode() if "base64" in form else KEY)
        fields = {"customer_key_file": str(file)}
    report = download(aws, tmp_path, **fields)
    report.raise_for_failures()
    assert tree(tmp_path / "out") == OBJECTS
    assert {item.attempts for item in report.items} == {1}
    assert not [each for each in caplog.messages if encoded in each]


@pytest.mark.parametrize("wrong", ["another key", "no key"])
def test_a_wrong_key_is_refused_by_its_name(aws: Aws, tmp_path: Path, wrong: str) -> None:
    encoded = base64.b64encode(bytes(32)).decode()
    report = download(aws, tmp_path, **({"customer_key": encoded} if "another" in wrong else {}))
    assert report.exit_code == 3
    for item in report.items:
        assert "customer_key" in str(item.error)
        assert encoded not in str(item.error)


@pytest.mark.parametrize("key", ["short", base64.b64encode(bytes(31)).decode(), "é" * 32])
def test_what_is_no_such_key_is_a_fault_of_the_configuration(
    aws: Aws, tmp_path: Path, key: str
) -> None:
    with pytest.raises(kaiwo.ConfigError, match="32 bytes") as caught:
        download(aws, tmp_path, customer_key=key)
    assert key not in str(caught.value)
    file = tmp_path / "key"
    file.write_text(key)
    with pytest.raises(kaiwo.ConfigError, match="32 bytes"):
        download(aws, tmp_path, customer_key_file=str(file))
