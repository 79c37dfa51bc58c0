"""What is published: built, looked through, installed and started.

    python -m tests.dist [--tag v1.2.3] [--venv FOLDER]

Builds the source archive and the wheel into ``dist/``, and the wheel once more from the source
archive: it must be the same, byte for byte, or the archive lacks something, or a build depends on
more than its source. Then the wheel goes into a fresh environment, with the locked dependencies,
and runs. SOURCE_DATE_EPOCH is the time of the last commit.
"""

from __future__ import annotations

import argparse
import email
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Mapping, Sequence
from email.message import Message
from pathlib import Path, PurePosixPath

from kaiwo._version import __version__
from tests.servers import ROOT

DIST = ROOT / "dist"
#: Of the source archive, besides the package.
BESIDE = {"PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
FILE = b"download_items:\n  - {type: hf, repo_id: openai-community/gpt2, target_path: gpt2}\n"


class Unfit(Exception):  # noqa: N818 - reads as what was found
    """What must not be published, and why."""


def main() -> int:
    """Build, check, install, run; 0 when all of it is right."""
    parser = argparse.ArgumentParser(prog="python -m tests.dist", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tag", help="the release's; it must name the version")
    parser.add_argument("--venv", default=".venv-dist", help="the fresh environment [%(default)s]")
    options = parser.parse_args()
    try:
        is_right = options.tag in (None, "", f"v{__version__}")
        require(is_right, "the tag", f"{options.tag}, and the version is {__version__}")
        sdist, wheel = build()
        tracked = package_files()
        require(wheel_files(wheel) == tracked, "the wheel", wheel_files(wheel) ^ tracked)
        found = sdist_files(sdist)
        require(found == tracked | BESIDE, "the source archive", found ^ (tracked | BESIDE))
        require_metadata(metadata(wheel))
        require_same(sdist, wheel)
        start(wheel, ROOT / options.venv)
    except Unfit as error:
        print(f"not fit to be published: {error}", file=sys.stderr)
        return 1
    print(f"{sdist.name} and {wheel.name} are fit to be published")
    return 0


def require(holds: bool, what: str, found: object) -> None:
    """Raise unless it holds."""
    if not holds:
        raise Unfit(f"{what}: {found}")


def run(command: Sequence[str], cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    require(done.returncode == 0, " ".join(command), done.stderr.strip())
    return done.stdout


def build() -> tuple[Path, Path]:
    """The source archive and the wheel, alone in ``dist/``."""
    shutil.rmtree(DIST, ignore_errors=True)
    hatch(ROOT, "sdist", DIST)
    hatch(ROOT, "wheel", DIST)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    return sdist, wheel


def hatch(source: Path, target: str, into: Path) -> None:
    """Build one of both, with the build backend of this environment."""
    epoch = run(["git", "log", "-1", "--format=%ct"]).strip()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    hatchling = [sys.executable, "-m", "hatchling", "build"]
    command = [*hatchling, "--target", target, "--directory", str(into)]
    run(command, cwd=source, env=environment)


def package_files() -> set[str]:
    """The files of the package that git knows: nothing else belongs into a wheel."""
    return set(run(["git", "ls-files", "kaiwo"]).split())


def wheel_files(wheel: Path) -> set[str]:
    """The files of a wheel, but for what describes it."""
    with zipfile.ZipFile(wheel) as archive:
        return {each for each in archive.namelist() if ".dist-info/" not in each}


def sdist_files(sdist: Path) -> set[str]:
    """The files of a source archive, without the folder around them."""
    with tarfile.open(sdist) as archive:
        names = [PurePosixPath(each.name) for each in archive if not each.isdir()]
    return {str(PurePosixPath(*name.parts[1:])) for name in names}


def metadata(wheel: Path) -> Message:
    """What a wheel says about itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def require_metadata(said: Message) -> None:
    """The fields without which PyPI shows nothing, or refuses the upload."""
    for field in ("Metadata-Version", "Name", "Version", "Summary", "Requires-Python"):
        require(bool(said[field]), "a field is missing", field)
    require(said["Version"] == __version__, "another version", said["Version"])
    require(said["Description-Content-Type"] == "text/markdown", "no Markdown", said.keys())
    described = said.get_payload(decode=True)
    require(described == (ROOT / "README.md").read_bytes(), "the description", "is not the README")


def require_same(sdist: Path, wheel: Path) -> None:
    """The wheel of the source archive must be this one, byte for byte."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (source,) = folder.iterdir()
        hatch(source, "wheel", folder / "again")
        again = (folder / "again" / wheel.name).read_bytes()
    require(again == wheel.read_bytes(), "not reproducible", f"{wheel.name} from {sdist.name}")


def start(wheel: Path, folder: Path) -> None:
    """Install the wheel into a fresh environment, with the locked dependencies, and run it."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder)  # without pip: what is in it afterwards is an installation, see `make sbom`
    python, kaiwo = str(folder / "bin/python"), str(folder / "bin/kaiwo")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    locked = ["--only-binary=:all:", "--require-hashes", "-r", "requirements/image.lock"]
    run([*pip, "install", "--quiet", *locked])
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)])
    run([*pip, "check"])
    with tempfile.TemporaryDirectory() as name:
        elsewhere = Path(name)
        config = elsewhere / "kaiwo.yaml"
        config.write_bytes(FILE)
        require("download" in run([kaiwo, "--help"], elsewhere), "--help", kaiwo)
        said = run([kaiwo, "--version"], elsewhere)
        require(__version__ in said, "--version", said)
        run([kaiwo, "validate", str(config)], elsewhere)
        run([python, "-m", "kaiwo.downloader", "--help"], elsewhere)
        where = run([python, "-c", "import kaiwo; print(kaiwo.__file__)"], elsewhere)
        require(str(folder) in where, "another kaiwo", where)


if __name__ == "__main__":
    sys.exit(main())
