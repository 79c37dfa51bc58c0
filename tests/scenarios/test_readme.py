"""README.md and CONTRIBUTING.md are right: their YAML, commands, Python and promises."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from kaiwo.config import document, loader
from tests.servers import ROOT
from tests.support.command import clean_environment, succeeding, tree
from tests.support.stores import Store

PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
}
PLACE = "http://localhost:9000"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of that language."""
    tokens = MarkdownIt().parse(PAGES[page])
    return [each.content for each in tokens if each.type == "fence" and each.info == language]


def commands(page: str) -> list[list[str]]:
    """The words of every command in a page."""
    lines = "".join(blocks(page, "bash")).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def credentials(s3: Store) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": s3.settings["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": s3.settings["secret_key"],
    }


def test_every_file_is_valid() -> None:
    files = [text for text in blocks("README.md", "yaml") if "download_items" in text]
    assert len(files) == 3
    for text in files:
        assert loader.build(document.parse(text, "README.md"), None, {}).tasks


def test_the_pod_starts_the_command_that_there_is(tmp_path: Path) -> None:
    (text,) = [text for text in blocks("README.md", "yaml") if "initContainers" in text]
    (container,) = yaml.safe_load(text)["initContainers"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/config", "/models", "/secrets"} == mounts
    (tmp_path / "kaiwo.yaml").write_text("download_items: []\n", encoding="utf-8")
    args = [each.replace("/config/", f"{tmp_path}/") for each in container["args"]]
    done = subprocess.run(
        [sys.executable, "-m", "kaiwo.downloader", *args],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    # The arguments are understood: what is refused is the empty list.
    assert (done.returncode, "kaiwo.yaml:1:1: download_items" in done.stderr) == (2, True)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = {words[1] for words in commands(page) if words[0] == "make" and len(words) > 1}
    named |= set(re.findall(r"`make ([a-z-]+)`", PAGES[page]))
    assert named
    assert named <= targets


def test_the_commands_do_what_they_say(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"models/weights.bin": b"weights"})
    task = s3.task(bucket, [{"folder": "models", "target_path": "out"}])
    text = yaml.safe_dump({"download_items": [task]})
    (tmp_path / "kaiwo.yaml").write_text(text, encoding="utf-8")
    ran = []
    for words in commands("README.md"):
        if words[0] in ("make", "pip"):
            continue
        real = [word.replace("my-bucket", bucket) for word in words]
        real = [word.replace(PLACE, s3.settings["endpoint_url"]) for word in real]
        ran.append(" ".join(real[:3]))
        succeeding(real, tmp_path, credentials(s3))
    assert ran == [
        "kaiwo --version",
        "kaiwo validate kaiwo.yaml",
        "kaiwo plan kaiwo.yaml",
        "python -m kaiwo.downloader",
        f"kaiwo fetch s3://{bucket}/models/weights.bin",
    ]
    got = tree(tmp_path)
    assert got["out/weights.bin"] == got["models/weights.bin"] == b"weights"
    assert '"ok": true' in got["report.json"].decode()


def test_the_python_does_what_it_says(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"data/a.csv": b"a", "data/b/c.csv": b"c", "data/d.txt": b"d"})
    task = s3.task(bucket, [{"file": "data/d.txt", "target_path": "d.txt"}])
    text = yaml.safe_dump({"download_items": [task]})
    (tmp_path / "kaiwo.yaml").write_text(text, encoding="utf-8")
    own, of_fsspec = (
        code.replace("my-bucket", bucket).replace(PLACE, s3.settings["endpoint_url"])
        for code in blocks("README.md", "python")
    )

    def printed(code: str) -> list[str]:
        return succeeding([sys.executable, "-c", code], tmp_path, credentials(s3)).split()

    paths = printed(f"{own}\nprint(path, one, two, report.count('downloaded'))")
    assert paths == [str(tmp_path / name) for name in ("data", "both/a.csv", "both/b")] + ["1"]
    assert tree(tmp_path / "data") == {"a.csv": b"a", "b/c.csv": b"c"}
    assert tree(tmp_path / "both") == {"a.csv": b"a", "b/c.csv": b"c"}
    # An environment that was installed before knows no entry point that is new.
    found = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    found += "from tests.support.fsspec_plugin import register; register()\n"
    assert printed(f"{found}{of_fsspec}\nprint(header)") == ["a"]
    assert (tmp_path / ".cache/kaiwo").is_dir()


def test_every_promise_is_shown_by_a_test_that_exists() -> None:
    shown = re.findall(r"`(?:(test_\w+\.py)|SourceSuite)::(test_\w+)`", PAGES["README.md"])
    assert len(shown) >= 10
    for file, name in shown:
        paths = (ROOT / "tests").rglob(file) if file else [ROOT / "kaiwo" / "testing.py"]
        texts = [path.read_text(encoding="utf-8") for path in paths]
        found = [re.search(rf"^ *def {name}\(", text, flags=re.MULTILINE) for text in texts]
        assert any(found), f"{file}::{name}"
