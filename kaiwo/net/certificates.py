"""Which certificates are trusted: those of a task, else those of the environment."""

from __future__ import annotations

import os
import ssl

from kaiwo import environment
from kaiwo.errors import ConfigError


def context(
    ca_bundle: str | None, client_certificate: str | None = None, client_key: str | None = None
) -> ssl.SSLContext:
    """How TLS is spoken: with the given certificates, else ``SSL_CERT_FILE``, ``SSL_CERT_DIR``.

    Args:
        ca_bundle: path of the certificates to trust, or None for the environment's.
        client_certificate: path of the certificate that the client shows, or None.
        client_key: path of its key; None if the file of the certificate has it.

    Raises:
        ConfigError: they cannot be used.
    """
    # OpenSSL ignores missing files.
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if ca_bundle or file:
            found = ssl.create_default_context(cafile=ca_bundle or file)
        else:
            found = ssl.create_default_context(capath=folder or None)
        if client_certificate is not None:
            found.load_cert_chain(client_certificate, client_key)
    except OSError as error:
        if named := environment.missing_file(("SSL_CERT_FILE",), ca_bundle or file):
            raise ConfigError(named) from None
        raise ConfigError(
            "the environment's certificates (SSL_CERT_FILE, SSL_CERT_DIR) or ca_bundle cannot be "
            f"read: {error.strerror or type(error).__name__}"
        ) from None
    return found
