"""``make demo``: the example configuration against four local servers, from upload to tree.

It starts the servers, uploads sample data, writes the secrets into files as a pod would have them,
runs the command on ``tests/demo.kaiwo.yaml`` with progress shown, checks every byte, prints the
tree and stops the servers.

``make serve`` (``python -m tests.demo --serve``) keeps the servers up instead, at the addresses
that README.md and docs/start.md have.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import shutil
import signal
import string
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import ServerFailed
from tests.support import stores
from tests.support.stores import Store

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / ".demo"
SECRETS = (
    ("s3", ("access_key_id", "secret_key")),
    ("azure", ("connection_string",)),
)
#: Where ``make serve`` listens: the addresses of the docs.
S3_PORT, HUB_PORT = 9000, 9001
README = b"Sample data of kaiwo's demo.\n"


@functools.cache
def data() -> dict[str, dict[str, dict[str, bytes]]]:
    """What each server has: by task type, by bucket, by key."""
    noise = random.Random(0)
    tables = {f"data/2026/{month:02}.csv": noise.randbytes(40_000) for month in range(1, 13)}
    others = {"data/notes.txt": b"no csv", "data2/x.csv": b"not asked for", "readme.txt": README}
    weights = {"models/weights.bin": noise.randbytes(48 << 20)}
    model = {"model.bin": noise.randbytes(9 << 20), "config.json": b"{}\n", "other.txt": b"no"}
    return {
        "s3": {"my-s3-bucket": tables | others | weights},
        "gcs": {"my-gcs-bucket": {"readme.txt": README}},
        "azure-blob": {"my-azure-blob-container": {"readme.txt": README}},
        "hf": {"username/repo": model},
    }


def main() -> int:
    """Run the demo; 0 when every byte is right."""
    start_s = time.monotonic()
    with ExitStack() as stack:
        running = prepared(stack, s3=("--check-signatures",))
        say("uploading sample data")
        upload(running)
        config = write_config(running)
        say(f"python -m kaiwo.downloader {config}")
        code = subprocess.run(
            [sys.executable, "-m", "kaiwo.downloader", config],
            cwd=WORK.parent,
            env=os.environ | {"HF_HOME": str(WORK / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"},
            check=False,
        ).returncode
    wanted = expected(WORK)
    wrong = [path for path, content in wanted.items() if read(path) != content]
    say("what arrived")
    print_tree(WORK / "download")
    print_tree(WORK / "hf")
    say(
        f"exit code {code}; {len(wanted) - len(wrong)} of {len(wanted)} files are right, byte "
        f"for byte; {time.monotonic() - start_s:.0f} s, servers stopped"
    )
    return 1 if code or wrong else 0


def serve() -> int:
    """Keep the servers up until Ctrl-C; 1 when one cannot start."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), ExitStack() as stack:
        try:
            running = prepared(stack, s3=(f"--port={S3_PORT}",), hub=(f"--port={HUB_PORT}",))
        except (ServerFailed, pytest.skip.Exception) as error:
            say(f"{error}\nDoes something else listen at port {S3_PORT} or {HUB_PORT}?")
            return 1
        say("uploading sample data")
        upload(running)
        config = write_config(running)
        say(
            f"S3 at http://localhost:{S3_PORT}, a Hub at http://localhost:{HUB_PORT}; all four are "
            f"in {config}. docs/start.md says what to try. Ctrl-C ends them."
        )
        threading.Event().wait()
    return 0


def prepared(stack: ExitStack, s3: Sequence[str] = (), hub: Sequence[str] = ()) -> dict[str, Store]:
    """The four servers, which end with the stack, and an empty folder to work in."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "secrets").mkdir(parents=True)
    say("starting four local servers: S3, Google Cloud Storage, Azure Blob Storage, a Hub")
    return {
        "s3": stack.enter_context(stores.s3(*s3)),
        "gcs": stack.enter_context(stores.gcs()),
        "azure": stack.enter_context(stores.azure()),
        "hf": stack.enter_context(stores.hub(*hub)),
    }


def upload(running: Mapping[str, Store]) -> None:
    """Fill the servers."""
    for store in running.values():
        for bucket, objects in data()[store.type].items():
            store.fill(bucket, objects)


def expected(work: Path) -> dict[Path, bytes]:
    """What has to be where after a run."""
    objects = data()["s3"]["my-s3-bucket"]
    local = work / "download" / "local"
    found = {local / key: objects[key] for key in objects if key.endswith(".csv") and key[4] == "/"}
    found[local / "models" / "weights.bin"] = objects["models/weights.bin"]
    found |= {local / name / "readme.txt": README for name in ("s3", "gcs", "azure")}
    model = work / "hf" / "hub" / "models--username--repo" / "snapshots" / "COMMIT"
    for name in ("model.bin", "config.json"):
        found[model / name] = data()["hf"]["username/repo"][name]
    return found


def write_config(running: Mapping[str, Store], work: Path = WORK) -> str:
    """Secrets into files, each with a trailing newline; their paths and the addresses into YAML.

    Returns the path of the YAML, relative to the folder that ``work`` is in.
    """
    for name, fields in SECRETS:
        for field in fields:
            secret = running[name].settings[field]
            (work / "secrets" / field).write_text(f"{secret}\n", encoding="utf-8")
    template = string.Template((HERE / "demo.kaiwo.yaml").read_text(encoding="utf-8"))
    text = template.safe_substitute(
        work=work.name,
        s3=running["s3"].settings["endpoint_url"],
        gcs=running["gcs"].settings["endpoint_url"],
        service_account=running["gcs"].settings["service_account_file"],
        hub=running["hf"].settings["endpoint_url"],
    )
    path = work / "kaiwo.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path.relative_to(work.parent))


def read(path: Path) -> bytes | None:
    """A file's content, or None; COMMIT stands for the one commit that there is."""
    folder, _, name = str(path).partition("/COMMIT/")
    found = sorted(Path(folder).glob(f"*/{name}")) if name else [path]
    return found[0].read_bytes() if len(found) == 1 and found[0].exists() else None


def print_tree(folder: Path) -> None:
    """The files below a folder, with their sizes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(WORK.parent).as_posix()
            arrow = f" -> {os.readlink(path)}" if path.is_symlink() else ""
            print(f"{path.stat().st_size:>12,}  {name}{arrow}", flush=True)


def say(text: str) -> None:
    """A line of the demo's own."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help="keep the servers up until Ctrl-C")
    sys.exit(serve() if parser.parse_args().serve else main())
