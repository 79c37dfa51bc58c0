"""Which files of a folder are wanted: ``glob`` and ``exclude``, in the file and in a fetch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.errors import ConfigError, NotFoundError
from kaiwo.tasks.base import Engine
from tests.servers import web
from tests.servers.web import Page
from tests.support.command import Kaiwo, clean_environment, configured, tree
from tests.support.engines import each_engine
from tests.support.stores import Store

OBJECTS = {
    "d/a.csv": b"1",
    "d/b.txt": b"2",
    "d/c.log": b"3",
    "d/tmp/a.csv": b"4",
    "d/deep/tmp/b.txt": b"5",
    "tmp/a.csv": b"6",
}
#: What is wanted of ``d``, and what is found by it.
SELECTIONS: list[tuple[dict[str, Any], set[str]]] = [
    ({"glob": ["*.csv", "*.txt"]}, {"a.csv", "b.txt"}),
    ({"glob": ["**/*.csv", "*.csv"], "exclude": "tmp/**"}, {"a.csv"}),
    ({"exclude": ["**/tmp/**", "*.log"]}, {"a.csv", "b.txt"}),
    ({"exclude": "tmp"}, {"a.csv", "b.txt", "c.log", "tmp/a.csv", "deep/tmp/b.txt"}),
    # Relative to the folder, never to the bucket.
    ({"exclude": "d/*"}, {"a.csv", "b.txt", "c.log", "tmp/a.csv", "deep/tmp/b.txt"}),
    ({"exclude": []}, {"a.csv", "b.txt", "c.log", "tmp/a.csv", "deep/tmp/b.txt"}),
]


@pytest.fixture(autouse=True)
def _elsewhere(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def given(store: Store) -> dict[str, Any]:
    return {name: value for name, value in store.fields.items() if value is not None}


@each_engine
def test_several_globs_are_wanted_and_others_are_left_out(
    s3: Store, kaiwo: Kaiwo, tmp_path: Path, engine: Engine
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    items = [
        {"folder": "d", "target_path": f"{number}", **selection}
        for number, (selection, _) in enumerate(SELECTIONS)
    ]
    done = kaiwo({"download_items": [s3.task(bucket, items)]}, "--engine", engine)
    assert done.code == 0, done.stderr
    for number, (selection, expected) in enumerate(SELECTIONS):
        assert set(tree(tmp_path / "out" / f"{number}")) == expected, selection


def test_a_plan_lacks_what_is_left_out(s3: Store, tmp_path: Path) -> None:
    items = [{"folder": "d", "target_path": "x", "exclude": ["**/tmp/**", "*.log"]}]
    path = configured(tmp_path, s3.task(s3.new_bucket(OBJECTS), items))
    done = subprocess.run(
        [sys.executable, "-m", "kaiwo", "plan", path, "--json"],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = {Path(item["target"]).name for item in json.loads(done.stdout)["items"]}
    assert found == {"a.csv", "b.txt"}


def test_where_nothing_is_left_the_error_names_what_is_left_out(s3: Store, kaiwo: Kaiwo) -> None:
    item = {"folder": "d", "target_path": "x", "glob": "*.csv", "exclude": ["a.*", "b.*"]}
    done = kaiwo({"download_items": [s3.task(s3.new_bucket(OBJECTS), [item])]})
    assert done.code == 4
    assert "d/*.csv without a.* and b.*: nothing matches" in done.stderr


@pytest.mark.parametrize("store", ["s3", "hub"])
@pytest.mark.parametrize("path", ["d/", "d"])
def test_a_fetch_takes_the_fields_of_an_item(
    store: str, path: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    of: Store = request.getfixturevalue(store)
    if of.type == "hf":
        of.fill("select/some", OBJECTS)
        url = "hf://select/some/"
    else:
        url = f"s3://{of.new_bucket(OBJECTS)}/"
    for number, (selection, expected) in enumerate(SELECTIONS):
        target = tmp_path / f"{number}"
        assert kaiwo.fetch(url + path, target, **given(of), **selection) == target
        assert set(tree(target)) == expected, selection
    target = tmp_path / "glob"
    kaiwo.fetch(f"{url}d/**/*.csv", target, exclude=["tmp/*"], **given(of))
    assert set(tree(target)) == {"a.csv"}


def test_the_whole_of_a_repository_but_some(hub: Store, tmp_path: Path) -> None:
    hub.fill("select/whole", OBJECTS)
    kaiwo.fetch("hf://select/whole", tmp_path / "x", exclude="d/**", **given(hub))
    assert set(tree(tmp_path / "x")) == {"tmp/a.csv"}
    fields: dict[str, Any] = given(hub) | {"cache_dir": tmp_path / "cache", "exclude": ["d/**"]}
    snapshot = kaiwo.fetch("hf://select/whole", **fields)
    assert set(tree(snapshot)) == {"tmp/a.csv"}


@pytest.mark.parametrize("field", ["allow_patterns", "ignore_patterns"])
def test_patterns_of_a_repository_are_not_ignored_in_silence(hub: Store, field: str) -> None:
    fields = {**given(hub), field: ["*.csv"]}
    asked: list[tuple[str, dict[str, Any]]]
    asked = [("d/", {}), ("*.csv", {}), ("", {"exclude": "d/**"})]
    for path, more in asked:
        with pytest.raises(ConfigError, match=r"for a whole repository; give a glob .* exclude"):
            kaiwo.fetch(f"hf://select/some/{path}", **fields, **more)


def test_the_command_takes_them_too(s3: Store, tmp_path: Path) -> None:
    url, target = f"s3://{s3.new_bucket(OBJECTS)}/d", str(tmp_path / "x")
    options = [part for name, value in given(s3).items() for part in ("-o", f"{name}={value}")]
    options += ["-o", 'exclude=["**/tmp/**", "*.log"]', "-o", "glob=*.*"]
    done = subprocess.run(
        [sys.executable, "-m", "kaiwo", "fetch", url, target, *options],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{target}\n"), done.stderr
    assert set(tree(tmp_path / "x")) == {"a.csv", "b.txt"}


@pytest.mark.parametrize(
    ("url", "fields", "says"),
    [
        ("s3://b/d/*.csv", {"glob": "*"}, "glob follows from the URL"),
        ("https://h/k?x=1", {"exclude": "*"}, "exclude is for a folder"),
        ("s3://b/d/", {"exclude": "d/"}, r"exclude: ends in '/'"),
        ("hf://o/r/d/", {"exclude": "d/"}, r"exclude: ends in '/'"),
        ("hf://o/r/d/", {"glob": ["a**"]}, r"glob: \[0\]: '\*\*'"),
        ("s3://b/d/", {"target_path": "x"}, "target_path"),
    ],
)
def test_what_a_fetch_cannot_express_is_refused(
    url: str, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        kaiwo.fetch(url, **fields)


def test_of_a_page_of_links_a_query_hides_nothing_from_an_exclude(tmp_path: Path) -> None:
    with web.site() as site:
        links = ["a.csv", "b.csv?v=1", "c.txt?v=2"]
        body = "".join(f'<a href="{link}">x</a>' for link in links).encode()
        site.pages["/d/"] = Page(body, {"Content-Type": "text/html"})
        for link in links:
            site.pages[f"/d/{link}"] = Page(link.encode(), {"ETag": f'"{link}"'})
        assert kaiwo.fetch(f"{site.at}/d/", tmp_path / "x", exclude=["b.*", "*.txt"])
        assert set(tree(tmp_path / "x")) == {"a.csv"}
        with pytest.raises(NotFoundError, match=r"without \*.csv and \*.txt"):
            kaiwo.fetch(f"{site.at}/d/", tmp_path / "y", exclude=["*.csv", "*.txt"])


def test_patterns_choose_files_of_a_whole_repository(hub: Store, tmp_path: Path) -> None:
    """As ``hf download --include`` does; another reading of the URL, a file, takes none."""
    hub.fill("select/patterns", OBJECTS)
    fields = {**given(hub), "allow_patterns": ["*.csv"], "ignore_patterns": ["tmp/*"]}
    kaiwo.fetch("hf://select/patterns", tmp_path / "x", **fields)
    expected = {key for key in OBJECTS if key.endswith(".csv") and not key.startswith("tmp/")}
    assert set(tree(tmp_path / "x")) == expected
