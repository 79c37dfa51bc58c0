"""Models of KServe, fetched by the image as KServe's controller would have it.

The container is that of ``examples/kserve``; the controller adds the model's URI and folder, and
its variables. The model's folder is the only one that can be written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests import demo
from tests.image.engine import Ended
from tests.servers import ROOT, web
from tests.support import archives
from tests.support.initializing import everything, of_s3_secret
from tests.support.stores import Store

_EXAMPLE = ROOT / "examples/kserve/clusterstoragecontainer.yaml"
_MODEL = {"config.json": b"{}", "1/weights.bin": bytes(range(256)) * 40}
#: Each would write outside the folder, or make what is no file; and its exit code.
_HOSTILE = {
    "climbs": (archives.tar(("../climbed", b"x")), 2),
    "has a device": (archives.tar((archives.header("null", type=b"3", devmajor=1), b"")), 7),
    "has a link": (archives.tar((archives.header("x", type=b"2", linkname="/etc"), b"")), 7),
}


def check(
    folder: Path,
    running: Mapping[str, Store],
    run: Callable[..., Ended],
    report: Callable[[str, bool, object], bool],
) -> None:
    """Fetch a model from each kind of place, and refuse what is hostile.

    Args:
        folder: for the volumes.
        running: the demo's servers, filled.
        run: runs a container of the image: arguments, ``entry`` and ``flags``.
        report: takes what is checked, whether it holds, and what was found.
    """
    served = folder / "served"
    served.mkdir()
    (served / "model.tgz").write_bytes(archives.tar_of(_MODEL))
    of_s3 = demo.data()["s3"]["my-s3-bucket"]
    with web.folder(served) as at:
        wanted = {
            "s3://my-s3-bucket/data": {
                key.removeprefix("data/"): data
                for key, data in of_s3.items()
                if key.startswith("data/")
            },
            "hf://username/repo": demo.data()["hf"]["username/repo"],
            f"{at}/model.tgz": _MODEL,
        }
        for number, (uri, expected) in enumerate(wanted.items()):
            ended, message, found = _played(uri, folder / f"kserve-{number}", running, run)
            done = ended.code == 0 and message.get("exit_code") == 0 and found == expected
            report(
                f"KServe: {uri.partition('://')[0]}, nothing but the model", done, (ended, found)
            )
        for number, (what, (archive, code)) in enumerate(_HOSTILE.items()):
            (served / f"{number}.tgz").write_bytes(archive)
            place = folder / f"hostile-{number}"
            ended, message, found = _played(f"{at}/{number}.tgz", place, running, run)
            refused = ended.code == message.get("exit_code") == code and not found
            report(f"KServe: refuses an archive that {what}", refused, (ended, message, found))


def _played(
    uri: str, volume: Path, running: Mapping[str, Store], run: Callable[..., Ended]
) -> tuple[Ended, dict[str, Any], Mapping[str, bytes | str]]:
    """How the container ended, its termination message, and what is in the model's folder."""
    container = yaml.safe_load(_EXAMPLE.read_text(encoding="utf-8"))["spec"]["container"]
    volume.mkdir()
    volume.chmod(0o777)
    log = volume.with_suffix(".log")
    log.write_bytes(b"")
    log.chmod(0o666)
    variables = {
        **of_s3_secret(running["s3"]),
        "HF_ENDPOINT": running["hf"].settings["endpoint_url"],
        "HF_TOKEN": running["hf"].settings["token"],
        **{each["name"]: each["value"] for each in container["env"]},
    }
    flags = [
        f"--memory={container['resources']['limits']['memory'].lower()[:-1]}",
        f"--volume={log}:/dev/termination-log",
        f"--volume={volume}:/mnt/models",
        *(f"--env={name}={value}" for name, value in variables.items()),
    ]
    (entry,) = container["command"]
    ended = run(uri, "/mnt/models", entry=entry, flags=flags)
    text = log.read_text(encoding="utf-8")
    return ended, json.loads(text) if text else {}, everything(volume)
