"""Fill the services of ``docker-compose.test.yaml`` with the data of ``test_download_task.yaml``.

    python tests/upload_test_data.py [--s3 URL] [--gcs URL] [--azure CONNECTION_STRING]

The defaults are the compose file's; the tests run the same script against servers of their own.
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
    parser.add_argument("--s3", default="http://localhost:9000", metavar="URL")
    parser.add_argument("--gcs", default="http://localhost:9023", metavar="URL")
    parser.add_argument("--azure", default=AZURITE, metavar="CONNECTION_STRING")
    options = parser.parse_args()
    s3 = {
        "endpoint_url": options.s3,
        "access_key_id": "kaiwo-test-key",
        "secret_key": "kaiwo-test-secret",
        "region": "us-east-1",
    }
    upload.upload_s3(s3, "kaiwo-test-bucket", OBJECTS)
    gcs = {"endpoint_url": options.gcs, "project": "kaiwo-test"}
    upload.upload_gcs(gcs, "kaiwo-test-bucket", OBJECTS)
    upload.upload_azure({"connection_string": options.azure}, "kaiwo-test-container", OBJECTS)
    print(f"{len(OBJECTS)} objects in each of three services")


if __name__ == "__main__":
    main()
