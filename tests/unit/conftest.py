"""Certificates of servers that misbehave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only its own key has signed, and that key."""
    return _written(certificates.self_signed(), tmp_path_factory)


@pytest.fixture(scope="module")
def own_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, which calls itself an authority: OpenSSL takes it, obstore's TLS does not."""
    return _written(certificates.self_signed(is_authority=True), tmp_path_factory)


def _written(own: certificates.Certified, folders: pytest.TempPathFactory) -> Path:
    """Where a certificate and its key are."""
    path = folders.mktemp("tls") / "both.pem"
    path.write_bytes(own.key_pem + own.pem)
    return path
