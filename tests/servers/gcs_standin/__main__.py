"""A Google Cloud Storage for tests; serves until SIGTERM."""

import argparse
import contextlib
import json
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.servers import serving
from tests.servers.event_loop import in_event_loop, listening
from tests.servers.gcs_standin.storage import EMAIL, PROJECT, Storage


def service_account(key: rsa.RSAPrivateKey, url: str) -> dict[str, str]:
    """Of a client whose tokens come from here."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "100000000000000000001",
        "token_uri": f"{url}/token",
    }


@contextlib.contextmanager
def gcs_standin(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Serve from an event loop in a thread; yields the settings of a client."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with tempfile.TemporaryDirectory(prefix="kaiwo-gcs-") as folder:
        storage = Storage(Path(folder), options.token, options.page_size, key)
        # What is sent packed is stored packed.
        host = listening(storage.answer, options.port, auto_decompress=False)
        with in_event_loop(host) as storage.url:
            file = Path(folder, "service-account.json")
            file.touch(mode=0o600)
            file.write_text(json.dumps(service_account(key, storage.url), indent=2))
            yield {
                "endpoint_url": storage.url,
                "project": PROJECT,
                "service_account_file": str(file),
                "token": storage.token,
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--token", default="", help="the one valid token; default: none is needed")
    parser.add_argument(
        "--page-size", type=int, default=1000, help="entries in a page of a listing"
    )
    serving.run(gcs_standin(parser.parse_args()))
