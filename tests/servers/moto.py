"""S3 by moto: every shape of key, versions and checksums, in memory.

    python -m tests.servers.moto [--port N] [--check-signatures]

A thread for each request. werkzeug closes every connection after its answer, so this server is
never reached over a connection that was kept alive (`rclone` and `azure` are). Without
--check-signatures any credentials do; with it, requests must be signed by the user that is
created here, who may do everything in S3; a presigned URL then is a 500, by a defect of moto.
"""

import argparse
import contextlib
import json
import os
from collections.abc import Iterator

from tests.servers import serving

REGION = "us-east-1"
_ANY_KEYS = {"access_key_id": "kaiwo-access-key", "secret_key": "kaiwo-secret-key"}


@contextlib.contextmanager
def moto(port: int, *, check_signatures: bool) -> Iterator[dict[str, str]]:
    """Serve S3 on `port` (0: any free one); yields the settings of a client."""
    # moto reads this once, when it is imported: the number of requests before it checks any.
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0" if check_signatures else "inf"
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    class Quiet(MotoRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Requests are not logged; errors are."""

    server = make_server(
        serving.HOST,
        port,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=Quiet,
    )
    keys = _user() if check_signatures else _ANY_KEYS
    with serving.in_thread(server):
        yield {
            "endpoint_url": f"http://{serving.HOST}:{server.server_port}",
            "region": REGION,
            **keys,
        }


def _user() -> dict[str, str]:
    """Create a user who may do everything in S3, and return the keys to sign with."""
    from moto.core.models import DEFAULT_ACCOUNT_ID  # noqa: PLC0415
    from moto.iam.models import iam_backends  # noqa: PLC0415

    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    iam.create_user("us-east-1", "kaiwo")
    iam.put_user_policy("kaiwo", "all-of-s3", policy)
    key = iam.create_access_key("kaiwo")
    return {"access_key_id": key.access_key_id, "secret_key": key.secret_access_key}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--check-signatures", action="store_true")
    options = parser.parse_args()
    serving.run(moto(options.port, check_signatures=options.check_signatures))
