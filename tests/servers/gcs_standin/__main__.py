"""A Google Cloud Storage for tests; serves until SIGTERM."""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import google_account, serving
from tests.servers.event_loop import in_event_loop, listening
from tests.servers.gcs_standin.storage import Storage


@contextlib.contextmanager
def gcs_standin(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Serve from an event loop in a thread; yields the settings of a client."""
    key = google_account.new_key()
    with tempfile.TemporaryDirectory(prefix="kaiwo-gcs-") as folder:
        storage = Storage(Path(folder), options.token, options.page_size, key)
        # What is sent packed is stored packed.
        host = listening(storage.answer, options.port, auto_decompress=False)
        with in_event_loop(host) as storage.url:
            yield {
                "endpoint_url": storage.url,
                "project": google_account.PROJECT,
                "service_account_file": google_account.write(
                    Path(folder), key, f"{storage.url}/token"
                ),
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
