"""S3, by two servers, is a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo.tasks.base import Engine
from kaiwo.testing import SourceSuite, TestBucket
from tests.support.conformance import bucket_of
from tests.support.stores import Store


class TestMoto(SourceSuite):
    checksums = ("md5",)

    @pytest.fixture
    def bucket(self, s3_signed: Store, engine: Engine, tmp_path: Path) -> TestBucket:
        return bucket_of(s3_signed, tmp_path, engine)


class TestRclone(SourceSuite):
    checksums = ("md5",)
    #: Keys are files, and no bucket has a folder without one.
    has_placeholders = False

    @pytest.fixture
    def bucket(self, rclone: Store, engine: Engine, tmp_path: Path) -> TestBucket:
        return bucket_of(rclone, tmp_path, engine)
