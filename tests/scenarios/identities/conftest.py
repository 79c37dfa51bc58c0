"""What the tests of identities share."""

from __future__ import annotations

import pytest

from tests.support import certificates
from tests.support.through import TLS


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    """TLS of localhost by an authority that only ``ca_bundle`` names."""
    folder, own = tmp_path_factory.mktemp("tls"), certificates.authority()
    (folder / "ca.pem").write_bytes(own.pem)
    return TLS(str(folder / "ca.pem"), certificates.server(own).tls(folder))
