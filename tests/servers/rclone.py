"""S3 by `rclone serve s3` over a temporary folder.

    python -m tests.servers.rclone

Fast, keeps connections alive and checks signatures. Objects are files, so the keys `a` and `a/b`
cannot both exist. ETags are the files' MD5, which rclone computes again for every listing and
request: leave huge objects to other servers.

What differs from S3 (rclone 1.75): a range is answered with status 200 (and a right Content-Range
and body), `If-Match` is ignored, a listing gives ETags without quotes, and the ETag of a multipart
upload becomes the MD5 of the whole. No versions; no keys with `//`, `.`, `..` or a leading `/`.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import serving

_KEYS = {"access_key_id": "kaiwo-access-key", "secret_key": "kaiwo-secret-key"}
_SERVES = re.compile(rf"(http://{re.escape(serving.HOST)}:\d+)")


@contextlib.contextmanager
def rclone() -> Iterator[dict[str, str]]:
    """Serve S3 from an empty folder; yields the settings of a client."""
    program = Path(sys.executable).with_name("rclone")
    with tempfile.TemporaryDirectory(prefix="kaiwo-rclone-") as folder:
        root = Path(folder, "buckets")
        root.mkdir()
        command = [
            str(program),
            "serve",
            "s3",
            str(root),
            f"--addr={serving.HOST}:0",
            f"--auth-key={_KEYS['access_key_id']},{_KEYS['secret_key']}",
            "--etag-hash=MD5",
        ]
        # Neither the user's configuration nor RCLONE_ variables may change this server.
        env = {name: value for name, value in os.environ.items() if "RCLONE" not in name}
        env |= {"RCLONE_CONFIG": os.devnull, "RCLONE_CACHE_DIR": str(Path(folder, "cache"))}
        with serving.child(command, _SERVES, cwd=root, env=env) as match:
            yield {"endpoint_url": match[1], "region": "us-east-1", **_KEYS}


if __name__ == "__main__":
    serving.run(rclone())
