"""A stand-in for the base image, made from Debian packages, where no image can be pulled.

It has what the Dockerfile relies on: `python` of 3.11 or newer with venv, pip and ensurepip on the
PATH, and as little else as Debian's smallest system has. What differs from the real base: Python
is Debian's own, so the standard library comes with bytecode, and its size is another.

It needs a Debian host (its release is the one that is installed), root, and debootstrap.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.image.engine import CannotTest, Engine

_PACKAGES = "ca-certificates,python3,python3-venv"
# As in slim images: what nobody reads in a container.
_DROP = (
    "usr/lib/python3*/EXTERNALLY-MANAGED",
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/share/python-wheels",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)


def make(engine: Engine, base: str) -> None:
    """Import a small Debian with Python as the image `base`."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise CannotTest("a stand-in for the base image needs root, and debootstrap of Debian")
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
    with tempfile.TemporaryDirectory(prefix="kaiwo-base-") as folder:
        tree = Path(folder, "tree")
        log = Path(folder, "log")
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", release, str(tree)]
        with log.open("wb") as output:
            if subprocess.run(command, stdout=output, stderr=output, check=False).returncode:
                tail = log.read_text(encoding="utf-8", errors="replace")[-2_000:]
                raise CannotTest(f"debootstrap failed; its output ends:\n{tail}")
        _finish(tree)
        archive = Path(folder, "tree.tar")
        exclude = ["--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*"]
        subprocess.run(["tar", "-C", tree, *exclude, "-cf", archive, "."], check=True)
        path = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
        engine.call("import", "--change", path, str(archive), base)


def _finish(tree: Path) -> None:
    """Put pip and the names of Python where the real base has them, and drop what it has not."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    (wheel,) = tree.glob("usr/share/python-wheels/pip-*.whl")
    inside = f"/{wheel.relative_to(tree)}"
    for marker in tree.glob(_DROP[0]):
        marker.unlink()
    pip = ["chroot", str(tree), "python3", f"{inside}/pip", "install", "--quiet", "--no-index"]
    pip.append("--no-warn-script-location")
    subprocess.run([*pip, inside], env=environment, check=True)
    (tree / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for pattern in _DROP:
        for path in tree.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
