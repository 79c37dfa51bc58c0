"""Build the container image, and run it as a pod would: any UID, read-only root, no HOME.

    python -m tests.image [--base IMAGE] [--stand-in] [--offline] [--pip-config FILE]

podman or docker, whichever works, builds the image; the containers share the host's network, so
that they reach the local servers. KAIWO_ENGINE_FLAGS holds more global flags for the engine. Where
no image can be pulled, --stand-in makes the base from Debian packages; where a container reaches
no package index, --offline fetches the wheels of the lock outside, and builds without a network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.image import standin
from tests.image.checks import Checks
from tests.image.engine import CannotTest, Engine
from tests.servers import ROOT

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
    parser.add_argument("--base", default=_BASE, help=f"the base image [default: {_BASE}]")
    parser.add_argument("--stand-in", action="store_true", help="make the base image, of Debian")
    parser.add_argument("--offline", action="store_true", help="build without a network")
    parser.add_argument("--pip-config", metavar="FILE", help="pip's configuration for the build")
    options = parser.parse_args()
    try:
        engine = Engine.find()
        start_s = time.monotonic()
        if options.stand_in:
            say(f"making a stand-in for {options.base}")
            standin.make(engine, options.base)
            say(f"made in {time.monotonic() - start_s:.0f} s")
            start_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="kaiwo-wheels-") as folder:
            flags = build_flags(engine, options.base, options.pip_config, options.offline, folder)
            say(f"building {_TAG} with {engine.name}")
            engine.build(str(ROOT), _TAG, options.base, flags)
        say(f"built in {time.monotonic() - start_s:.0f} s")
        failed = Checks(engine, _TAG).run()
    except CannotTest as error:
        print(f"\ncannot test the image: {error}", file=sys.stderr)
        return 2
    say(f"{failed} checks failed" if failed else "everything holds")
    return 1 if failed else 0


def build_flags(
    engine: Engine, base: str, pip_config: str | None, offline: bool, folder: str
) -> Sequence[str]:
    """How this build reaches the packages."""
    if not offline:
        secret = [f"--secret=id=pip.conf,src={pip_config}"] if pip_config else []
        return ["--network=host", *secret]
    if engine.name != "podman":
        raise CannotTest("--offline needs podman: docker mounts no folder while it builds")
    say("fetching the wheels of the locks")
    fetch_wheels(engine, base, folder)
    config = Path(folder, "pip.conf")
    config.write_text("[global]\nno-index = true\nfind-links = /wheels\n", encoding="utf-8")
    return ["--network=none", f"--secret=id=pip.conf,src={config}", f"--volume={folder}:/wheels:ro"]


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
