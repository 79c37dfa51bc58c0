"""Build the container image, and run it as a pod would: any UID, read-only root, no HOME.

    python -m tests.image [--engine podman|docker] [--base IMAGE] [--stand-in] [--offline]
        [--pip-config FILE]

podman or docker, whichever works, builds the image; the containers share the host's network, so
that they reach the local servers. KAIWO_ENGINE_FLAGS holds more global flags for the engine. Where
no image can be pulled, --stand-in makes the base from Debian packages; where a container reaches
no package index, --offline fetches the wheels of the locks outside, and builds from these alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.image import standin
from tests.image.checks import BUILT, Checks
from tests.image.engine import NAMES, CannotTest, Engine
from tests.servers import ROOT, serving

_TAG = "localhost/kaiwo-downloader:test"
_BASE = "python:3.12-slim"
_ASK_PIP = (
    "import json, sys; from pip._internal.utils.compatibility_tags import get_supported;"
    "tags = [tag.platform for tag in get_supported()];"
    "print(json.dumps(['.'.join(map(str, sys.version_info[:2])), *dict.fromkeys(tags)]))"
)


def main() -> int:
    """Build and check; 0 when everything holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--engine", choices=NAMES, help="which one [default: the first that works]")
    parser.add_argument("--base", default=_BASE, help=f"the base image [default: {_BASE}]")
    parser.add_argument("--stand-in", action="store_true", help="make the base image, of Debian")
    parser.add_argument("--offline", action="store_true", help="build from wheels fetched outside")
    parser.add_argument("--pip-config", metavar="FILE", help="pip's configuration for the build")
    options = parser.parse_args()
    try:
        engine = Engine.find(options.engine)
        start_s = time.monotonic()
        if options.stand_in:
            say(f"making a stand-in for {options.base}")
            standin.make(engine, options.base)
            say(f"made in {time.monotonic() - start_s:.0f} s")
            start_s = time.monotonic()
        with reachable_packages(
            engine, options.base, options.pip_config, offline=options.offline
        ) as flags:
            say(f"building {_TAG} with {engine.name}")
            built = [f"--build-arg={name.upper()}={text}" for name, text in BUILT.items()]
            engine.build(str(ROOT), _TAG, options.base, [*flags, *built])
        say(f"built in {time.monotonic() - start_s:.0f} s")
        failed = Checks(engine, _TAG).run()
    except CannotTest as error:
        print(f"\ncannot test the image: {error}", file=sys.stderr)
        return 2
    say(f"{failed} checks failed" if failed else "everything holds")
    return 1 if failed else 0


@contextmanager
def reachable_packages(
    engine: Engine, base: str, pip_config: str | None, *, offline: bool
) -> Iterator[Sequence[str]]:
    """The engine's options with which the build reaches the packages, while the block runs."""
    with ExitStack() as stack:
        if offline:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kaiwo-wheels-"))
            pip_config = str(Path(folder, "pip.conf"))
            say("fetching the wheels of the locks")
            fetch_wheels(engine, base, folder)
            handler = functools.partial(QuietHandler, directory=folder)
            server = stack.enter_context(ThreadingHTTPServer((serving.HOST, 0), handler))
            stack.enter_context(serving.in_thread(server))
            index = f"no-index = true\nfind-links = http://{serving.HOST}:{server.server_port}/\n"
            text = f"[global]\n{index}"
            Path(pip_config).write_text(text, encoding="utf-8")
        yield [
            "--network=host",
            *([f"--secret=id=pip.conf,src={pip_config}"] if pip_config else []),
        ]


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing about it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
        """Not a word."""


def fetch_wheels(engine: Engine, base: str, folder: str) -> None:
    """Everything that the build installs, for the base's Python, with this machine's pip."""
    ask = engine.call("run", "--rm", "--network=none", base, "python", "-c", _ASK_PIP)
    version, *platforms = json.loads(ask)
    for lock in ("image", "build"):
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download"),
                *("-qq", "--only-binary=:all:", "--require-hashes", f"--dest={folder}"),
                *(f"--requirement={ROOT / 'requirements' / lock}.lock", "--no-deps"),
                *(f"--python-version={version}", "--implementation=cp"),
                *(f"--platform={platform}" for platform in platforms),
            ],
            env=os.environ | {"PIP_ROOT_USER_ACTION": "ignore"},
            check=True,
        )


def say(text: str) -> None:
    """A line of this script's own."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
