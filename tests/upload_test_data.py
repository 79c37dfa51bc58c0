"""Fill the services of ``docker-compose.test.yaml`` with the data of ``test_download_task.yaml``.

    python tests/upload_test_data.py [--s3 URL] [--gcs URL] [--azure CONNECTION_STRING]

Without options, the compose file's three services; with options, those that are named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# A script beside the package of tests, started from anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.servers import upload

#: The well-known account of the emulator, no secret.
AZURITE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
)
#: Where the compose file's services listen.
DEFAULTS = {"s3": "http://localhost:9000", "gcs": "http://localhost:9023", "azure": AZURITE}
#: What each service holds: the wanted and some that must not come.
OBJECTS = {
    "data/first.csv": b"a,b\n1,2\n",
    "data/deep/second.csv": b"c,d\n3,4\n",
    "data/notes.txt": b"no csv\n",
    "data/empty.csv": b"",
    "data2/other.csv": b"another folder\n",
    "readme.txt": b"Read me.\n",
}


def main() -> None:
    """Upload everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--s3", metavar="URL")
    parser.add_argument("--gcs", metavar="URL")
    parser.add_argument("--azure", metavar="CONNECTION_STRING")
    named = {name: value for name, value in vars(parser.parse_args()).items() if value}
    for name, address in (named or DEFAULTS).items():
        fill(name, address)
        print(f"{name}: {len(OBJECTS)} objects")


def fill(name: str, address: str) -> None:
    """Upload everything to one service."""
    if name == "s3":
        keys = {"access_key_id": "kaiwo-test-key", "secret_key": "kaiwo-test-secret"}
        settings = {"endpoint_url": address, "region": "us-east-1", **keys}
        upload.upload_s3(settings, "kaiwo-test-bucket", OBJECTS)
    elif name == "gcs":
        settings = {"endpoint_url": address, "project": "kaiwo-test"}
        upload.upload_gcs(settings, "kaiwo-test-bucket", OBJECTS)
    else:
        settings = {"connection_string": address}
        upload.upload_azure(settings, "kaiwo-test-container", OBJECTS)


if __name__ == "__main__":
    main()
