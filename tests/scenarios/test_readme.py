"""README.md and the pages for beginners do what they say, typed as they are.

The servers of the tests stand for those of ``make serve``, with its data, at other ports. What the
other pages show is looked at by ``test_examples.py``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import demo
from tests.servers import ROOT
from tests.support.command import succeeding, tree
from tests.support.markdown import fences, read
from tests.support.stores import Store

#: What is done before the servers are up, or takes the network.
SETTING_UP = re.compile(r"(make|pip|\.) .*")


@dataclass(frozen=True)
class Place:
    """A folder like a clone in which ``make serve`` is running.

    Attributes:
        folder: the working directory, and the home.
        addresses: of the docs, and where the servers of the tests are.
    """

    folder: Path
    addresses: Mapping[str, str]

    def here(self, text: str) -> str:
        """The text with the addresses of this place."""
        for stated, real in self.addresses.items():
            text = text.replace(stated, real)
        return text

    def save(self, name: str, text: str) -> None:
        (self.folder / name).write_text(self.here(text), encoding="utf-8")

    def type(self, text: str) -> str:
        """Run the lines of a block, but those that set up; returns what they show."""
        lines = [line for line in text.splitlines() if not SETTING_UP.fullmatch(line)]
        return succeeding(["bash", "-eu", "-c", self.here("\n".join(lines))], self.folder, {})

    def program(self, text: str) -> list[str]:
        """Run a program; returns the words that it prints."""
        # An environment that was installed before knows no entry point that is new.
        found = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        found += "from tests.support.fsspec_plugin import register; register()\n"
        return succeeding([sys.executable, "-c", found + self.here(text)], self.folder, {}).split()


@pytest.fixture(scope="module")
def _filled(s3: Store, hub: Store) -> None:
    demo.upload({"s3": s3, "hf": hub})


@pytest.fixture
def place(_filled: None, s3: Store, hub: Store, tmp_path: Path) -> Place:
    return Place(
        tmp_path,
        {
            f"http://localhost:{demo.S3_PORT}": s3.settings["endpoint_url"],
            f"http://localhost:{demo.HUB_PORT}": hub.settings["endpoint_url"],
        },
    )


def blocks(page: str, *languages: str, to: str = "\0") -> Iterator[tuple[str, str]]:
    """The blocks of a page in these languages, up to a heading."""
    text = read(ROOT / page).partition(to)[0]
    return ((language, block) for language, block in fences(text) if language in languages)


# --- README.md --------------------------------------------------------------------------------


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= 150


def test_what_the_readme_shows_can_be_typed_as_it_is(place: Place) -> None:
    texts = list(blocks("README.md", "bash", "yaml"))
    (config,) = [
        text for language, text in texts if language == "yaml" and "download_items" in text
    ]
    place.save("kaiwo.yaml", config)
    shown = [place.type(text) for language, text in texts if language == "bash"]
    assert "kaiwo 0." in "".join(shown)
    got = tree(place.folder)
    model = demo.data()["hf"]["username/repo"]
    for folder, names in {
        "model": model.keys(),
        "models/demo": ("config.json", "model.bin"),
    }.items():
        assert {name: got[f"{folder}/{name}"] for name in names} == {n: model[n] for n in names}
    assert got["data/2026/01.csv"] == demo.data()["s3"]["my-s3-bucket"]["data/2026/01.csv"]
    assert json.loads(got["report.json"])["downloaded"] == 14
    assert json.loads(got["kaiwo.schema.json"])["properties"]["download_items"]
    # The program finds what the commands have put there.
    ((_, text),) = blocks("README.md", "python")
    printed = place.program(f"{text}\nprint(path, report.ok, report.count('unchanged'))")
    assert printed == [str(place.folder / "model"), "True", "14"]


# --- docs/start.md ----------------------------------------------------------------------------


def test_the_first_five_minutes_can_be_typed_as_they_are(
    place: Place, s3: Store, gcs: Store, azure: Store, hub: Store
) -> None:
    (place.folder / ".demo/secrets").mkdir(parents=True)
    demo.upload({"gcs": gcs, "azure": azure})
    running = {"s3": s3, "gcs": gcs, "azure": azure, "hf": hub}
    config = demo.write_config(running, place.folder / ".demo")
    assert config == ".demo/kaiwo.yaml"
    for language, text in blocks("docs/start.md", "bash", "yaml", to="## With the internet"):
        if language == "yaml":
            place.save("first.kaiwo.yaml", text)
        else:
            place.type(text)
    expected = demo.expected(place.folder / ".demo")
    assert [path for path, data in expected.items() if demo.read(path) != data] == []
    report = json.loads((place.folder / "report.json").read_text(encoding="utf-8"))
    assert (report["files"], report["unchanged"], report["transferred_bytes"]) == (15, 15, 0)
    model = demo.data()["hf"]["username/repo"]
    # The file that was overwritten is there again.
    assert tree(place.folder / "my-model") == model


# --- docs/kserve.md ---------------------------------------------------------------------------


def test_the_command_of_kserve_can_be_typed_as_it_is(place: Place) -> None:
    for _, text in blocks("docs/kserve.md", "bash"):
        place.type(text)
    # Nothing of kaiwo's own is beside the model.
    found = {path.name: path.read_bytes() for path in (place.folder / "model-for-kserve").iterdir()}
    assert found == demo.data()["hf"]["username/repo"]


# --- programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "shown", "printed"),
    [
        (
            "docs/notebooks.md",
            "folder, weights, readme, model, report.ok, report.items[0].target, len(first)",
            (
                "{0}/tables {0}/both/weights.bin {0}/both/readme.txt {0}/my-model True "
                "{0}/texts/readme.txt 10"
            ),
        ),
        (
            "docs/reference/python.md",
            "path, one, two, report.count('downloaded'), header",
            "{0}/data {0}/both/a.csv {0}/both/b 1 a",
        ),
    ],
)
def test_programs_do_what_they_say(
    place: Place, s3: Store, page: str, shown: str, printed: str
) -> None:
    s3.fill("my-bucket", {"data/a.csv": b"a", "data/b/c.csv": b"c", "data/d.txt": b"d"})
    item = {"file": "data/d.txt", "target_path": "d.txt"}
    task = s3.task("my-bucket", [item])
    (place.folder / "kaiwo.yaml").write_text(json.dumps({"download_items": [task]}))
    keys = {"AWS_ACCESS_KEY_ID": "access_key_id", "AWS_SECRET_ACCESS_KEY": "secret_key"}
    found = {name: s3.settings[field] for name, field in keys.items()}
    text = f"import os; os.environ |= {found!r}\n"
    text += "".join(block for _, block in blocks(page, "python"))
    words = place.program(f"{text}\nprint({shown})")
    assert words[-len(printed.split()) :] == printed.format(place.folder).split()


# --- what a run shows, and promises -----------------------------------------------------------


def test_every_field_and_metric_of_a_run_is_in_the_page(place: Place, s3: Store) -> None:
    items = [{"file": "readme.txt", "target_path": "t"}, {"file": "none", "target_path": "n"}]
    task = s3.task("my-s3-bucket", items)
    (place.folder / "kaiwo.yaml").write_text(json.dumps({"download_items": [task]}))
    command = "kaiwo download kaiwo.yaml --report report.json --metrics-file kaiwo.prom || true"
    place.type(command)
    report = json.loads((place.folder / "report.json").read_text(encoding="utf-8"))
    metrics = re.findall(r"^# HELP (\w+)", (place.folder / "kaiwo.prom").read_text(), re.MULTILINE)
    page = read(ROOT / "docs/watching.md")
    rows = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    shown = {*report, *metrics, *(key for item in report["items"] for key in item)}
    assert shown <= named
    assert named - shown <= {"error", "nodes", "shard", "kaiwo_shard_info"}  # of other runs


def test_every_promise_is_shown_by_a_test_that_exists() -> None:
    shown = re.findall(r"`(test_\w+\.py)::(test_\w+)`", read(ROOT / "docs/guarantees.md"))
    assert len(shown) >= 10
    for file, name in shown:
        texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
        found = [re.search(rf"^ *def {name}\(", text, flags=re.MULTILINE) for text in texts]
        assert any(found), f"{file}::{name}"
