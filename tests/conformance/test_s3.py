"""S3, by two servers, is a source."""

from __future__ import annotations

import pytest

from kaiwo.tasks.base import Engine
from kaiwo.testing import SourceSuite, TestBucket
from tests.support.stores import Store


class TestMoto(SourceSuite):
    checksums = ("md5",)

    @pytest.fixture
    def bucket(self, s3: Store, engine: Engine) -> TestBucket:
        return s3.test_bucket(engine)


class TestRclone(SourceSuite):
    checksums = ("md5",)

    @pytest.fixture
    def bucket(self, rclone: Store, engine: Engine) -> TestBucket:
        return rclone.test_bucket(engine)
