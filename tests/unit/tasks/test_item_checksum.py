"""The checksum of a file item, as people have it."""

from __future__ import annotations

import base64

import pytest

from kaiwo import checksums
from kaiwo.objects import Checksum, Named
from kaiwo.tasks.fields import ALGORITHMS
from kaiwo.tasks.items import FileItem, FolderItem, selected
from tests.support.configs import CANARY, items_of, refusal_of, task_of

DATA = b"kaiwo"


def item_of(text: str) -> FolderItem | FileItem:
    item = {"file": "k", "target_path": "t", "checksum": text}
    (found,) = items_of(task_of("s3", buckets=[{"name": "b", "items": [item]}]))
    return found


def refused(text: object) -> str:
    item = {"file": "k", "target_path": "t", "checksum": text}
    message = refusal_of("s3", buckets=[{"name": "b", "items": [item]}])
    where, _, reason = message.partition("items[0].checksum: ")
    assert where.startswith("c.yaml:")
    return reason


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digits_and_base64_are_one_checksum(algorithm: str) -> None:
    found = checksums.of_bytes(algorithm, DATA)
    assert found is not None
    raw = bytes.fromhex(found.value)
    encoded = base64.b64encode(raw).decode()
    spelled = [
        f"{algorithm}:{found.value}",
        f"{algorithm.upper()}:{found.value.upper()}",
        f"{algorithm}: {found.value}",
        f"{algorithm}:{encoded}",
        f"{algorithm}:{encoded.rstrip('=')}",
        f"{algorithm}:{base64.urlsafe_b64encode(raw).decode()}",
    ]
    for text in spelled:
        selection, _ = selected(item_of(text), "/root")
        assert selection == Named(("k",), Checksum(algorithm, found.value)), text


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_length_is_refused(algorithm: str) -> None:
    digits = ALGORITHMS[algorithm]
    lengths = {*range(digits - 2, digits + 3), digits * 2, 43, 22, 24, 11, 6, 1, 0} - {digits}
    for length in lengths:
        says = f"a {algorithm} has {digits} hexadecimal digits, or "
        assert refused(f"{algorithm}:{'a' * length}").startswith(says), length
    encoded = base64.b64encode(bytes(digits // 2 - 1)).decode()
    assert "hexadecimal digits" in refused(f"{algorithm}:{encoded}")
    assert f"{len(base64.b64encode(bytes(digits // 2)))} characters" in refused(f"{algorithm}:")


@pytest.mark.parametrize(
    "text", ["", "a" * 64, "sha1:" + "a" * 40, "sha-256:" + "a" * 64, "git-sha1:" + "a" * 40]
)
def test_what_names_no_algorithm_is_refused(text: str) -> None:
    says = "must be sha256:…, md5:…, crc32c:… or crc64nvme:…" if text else "is empty"
    assert refused(text) == says


@pytest.mark.parametrize("text", [f"md5:{CANARY}", CANARY, f"sha256:{'x' * 64}", "md5:ä"])
def test_a_wrong_checksum_is_not_shown(text: str) -> None:
    assert CANARY not in refused(text)


def test_numbers_and_folders_have_none() -> None:
    assert "put it in quotes" in refused(12)
    item = {"folder": "f", "target_path": "t", "checksum": "md5:" + "a" * 32}
    message = refusal_of("s3", buckets=[{"name": "b", "items": [item]}])
    assert "unknown key 'checksum'" in message
