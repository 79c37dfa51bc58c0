"""Certificates of servers that misbehave."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from tests.support.broken_servers import self_signed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only its own key has signed, and that key."""
    return self_signed(tmp_path_factory.mktemp("tls") / "both.pem")


@pytest.fixture(scope="module")
def own_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, which calls itself an authority: OpenSSL takes it, obstore's TLS does not."""
    authority = x509.BasicConstraints(ca=True, path_length=0)
    return self_signed(tmp_path_factory.mktemp("tls") / "authority.pem", authority)
