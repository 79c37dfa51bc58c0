"""Secrets in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo.errors import ConfigError
from tests.support.configs import (
    LEAST,
    of,
    task_of,
)


def test_no_secret_file_is_opened_by_reading_the_configuration() -> None:
    task = task_of("s3", access_key_id_file="/no/such/a", secret_key_file="/no/such/b")
    assert [name for name, _ in task.check()] == ["access_key_id_file", "secret_key_file"]


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret", "s3cret"),
        (b" two words \n", " two words "),
        (b"\xef\xbb\xbfs3cret\n", "s3cret"),
        (b"line\nline\n", "line\nline"),
    ],
)
def test_a_secret_is_its_files_content_without_the_trailing_newline(
    tmp_path: Path, content: bytes, secret: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    task = task_of("hf", token_file=str(path))
    assert list(task.check()) == []
    assert task.secret("token") == secret


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n", b" \n", b"\xff\xfe\x00"])
def test_a_secret_file_without_a_text_is_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    ((name, fault),) = task_of("hf", token_file=str(path)).check()
    assert name == "token_file"
    assert str(path) in fault


def test_all_secret_files_that_cannot_be_read_are_named_in_one_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    config = of(
        LEAST["s3"] | {"access_key_id_file": "/no/a", "secret_key_file": str(tmp_path)},
        LEAST["hf"] | {"token_file": str(tmp_path / "empty"), "ca_bundle": "/no/ca"},
    )
    with pytest.raises(ConfigError) as caught:
        config.check_secrets()
    lines = caught.value.message.splitlines()
    fields = ("[0].access_key_id_file", "[0].secret_key_file", "[1].token_file", "[1].ca_bundle")
    assert len(lines) == 4
    assert all(any(f"download_items{field}" in line for line in lines) for field in fields)
