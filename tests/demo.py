"""``make demo``: the example configuration against four local servers, from upload to tree.

It starts the servers, uploads sample data, writes the secrets into files as a pod would have them,
runs the command on ``tests/demo.kaiwo.yaml`` with progress shown, checks every byte, prints the
tree and stops the servers.
"""

from __future__ import annotations

import os
import random
import shutil
import string
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support import stores
from tests.support.stores import Store

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / ".demo"
SECRETS = (
    ("s3", ("access_key_id", "secret_key")),
    ("azure", ("connection_string",)),
)


def main() -> int:
    """Run the demo; 0 when every byte is right."""
    start_s = time.monotonic()
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "secrets").mkdir(parents=True)
    with ExitStack() as stack:
        say("starting four local servers: S3, Google Cloud Storage, Azure Blob Storage, a Hub")
        running = {
            "s3": stack.enter_context(stores.s3("--check-signatures")),
            "gcs": stack.enter_context(stores.gcs()),
            "azure": stack.enter_context(stores.azure()),
            "hf": stack.enter_context(stores.hub()),
        }
        say("uploading sample data")
        expected = upload(running)
        config = write_config(running)
        say(f"python -m kaiwo.downloader {config}")
        code = subprocess.run(
            [sys.executable, "-m", "kaiwo.downloader", config],
            cwd=WORK.parent,
            env=os.environ | {"HF_HOME": str(WORK / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"},
            check=False,
        ).returncode
    wrong = [path for path, data in expected.items() if read(path) != data]
    say("what arrived")
    print_tree(WORK / "download")
    print_tree(WORK / "hf")
    say(
        f"exit code {code}; {len(expected) - len(wrong)} of {len(expected)} files are right, byte "
        f"for byte; {time.monotonic() - start_s:.0f} s, servers stopped"
    )
    return 1 if code or wrong else 0


def upload(running: dict[str, Store]) -> dict[Path, bytes]:
    """Fill the servers; returns what has to be where afterwards."""
    noise = random.Random(0)
    rows = {f"data/2026/{month:02}.csv": noise.randbytes(40_000) for month in range(1, 13)}
    big = noise.randbytes(48 << 20)
    readme = b"Sample data of kaiwo's demo.\n"
    running["s3"].fill(
        "my-s3-bucket",
        {**rows, "data/notes.txt": b"no csv", "data2/x.csv": b"not asked for", "readme.txt": readme,
         "models/weights.bin": big},
    )  # fmt: skip
    running["gcs"].fill("my-gcs-bucket", {"readme.txt": readme})
    running["azure"].fill("my-azure-blob-container", {"readme.txt": readme})
    model = {"model.bin": noise.randbytes(9 << 20), "config.json": b"{}\n", "other.txt": b"no"}
    running["hf"].fill("username/repo", model)
    local = WORK / "download" / "local"
    expected = {local / key: data for key, data in rows.items()}
    expected |= {local / "models" / "weights.bin": big}
    expected |= {local / store / "readme.txt": readme for store in ("s3", "gcs", "azure")}
    repository = WORK / "hf" / "hub" / "models--username--repo"
    for name in ("model.bin", "config.json"):
        expected[repository / "snapshots" / "COMMIT" / name] = model[name]
    return expected


def write_config(running: dict[str, Store]) -> str:
    """Secrets into files, each with a trailing newline; their paths and the addresses into YAML."""
    for name, fields in SECRETS:
        for field in fields:
            secret = running[name].settings[field]
            (WORK / "secrets" / field).write_text(f"{secret}\n", encoding="utf-8")
    template = string.Template((HERE / "demo.kaiwo.yaml").read_text(encoding="utf-8"))
    text = template.safe_substitute(
        work=WORK.name,
        s3=running["s3"].settings["endpoint_url"],
        gcs=running["gcs"].settings["endpoint_url"],
        service_account=running["gcs"].settings["service_account_file"],
        hub=running["hf"].settings["endpoint_url"],
    )
    path = WORK / "kaiwo.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path.relative_to(WORK.parent))


def read(path: Path) -> bytes | None:
    """A file's content, or None; COMMIT stands for the one commit that there is."""
    found = sorted(WORK.glob(path.relative_to(WORK).as_posix().replace("COMMIT", "*")))
    return found[0].read_bytes() if len(found) == 1 else None


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
    sys.exit(main())
