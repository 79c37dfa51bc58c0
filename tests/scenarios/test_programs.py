"""A program that calls kaiwo: several URLs, the report, and what a person sees."""

from __future__ import annotations

import doctest
import json
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.events import Ended, Event, Planned
from tests.servers import web
from tests.support.command import tree
from tests.support.proxies import Counting, counting
from tests.support.stores import Store
from tests.support.terminal import on_a_terminal

OBJECTS = {
    "data/a.csv": b"a,b\n",
    "data/deep/b.csv": b"c,d\n",
    "data/c.txt": b"text",
    "top": b"top",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate working directory and home, without the developer's settings."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def counted(s3: Store, hub: Store) -> Iterator[Counting]:
    """Both by way of a counting proxy."""
    with counting(s3, hub) as way:
        yield way


class Events:
    """Keeps the events of a run."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def emit(self, event: Event) -> None:
        self.seen.append(event)

    def runs(self) -> int:
        """How many runs there were."""
        return sum(isinstance(event, Ended) for event in self.seen)


def given(store: Store) -> dict[str, Any]:
    return {name: value for name, value in store.fields.items() if value is not None}


# --- several URLs -----------------------------------------------------------------------------


def test_several_urls_come_in_one_run_and_a_second_call_moves_nothing(
    counted: Counting, tmp_path: Path
) -> None:
    s3, here = counted.stores[0], tmp_path / "cwd"
    bucket = s3.new_bucket(OBJECTS)
    urls = [f"s3://{bucket}/{path}" for path in ("data/a.csv", "data", "data/deep/*.csv", "top")]
    for target, folder in (("models", here / "models"), (None, here)):
        for gets in (5, 0):
            counted.reset()
            events = Events()
            paths = kaiwo.fetch(urls, target, sink=events, **given(s3))
            assert paths == [folder / name for name in ("a.csv", "data", "deep", "top")]
            assert events.runs() == 1
            assert (counted.counts().gets > 0) == (gets > 0)
        found = tree(folder)
        assert found["a.csv"] == b"a,b\n"
        assert (found["data/deep/b.csv"], found["deep/b.csv"]) == (b"c,d\n", b"c,d\n")


def test_a_list_of_one_gives_a_list_and_none_gives_none(s3: Store, tmp_path: Path) -> None:
    url = f"s3://{s3.new_bucket({'a': b'1'})}/a"
    into = tmp_path / "new"
    assert kaiwo.fetch([url], into, **given(s3)) == [into / "a"]
    assert kaiwo.fetch((url, url), into, **given(s3)) == [into / "a"] * 2
    assert kaiwo.fetch([], into) == []


def test_urls_of_the_hub_share_a_commit_and_may_name_one_word(hub: Store, tmp_path: Path) -> None:
    hub.fill("one-word", {"config.json": b"{}", "d/x": b"x"})
    hub.fill("owner/two", {"model.bin": b"bytes"})
    fields = {"endpoint_url": hub.fields["endpoint_url"], "cache_dir": str(tmp_path / "hub")}
    first, second, third = kaiwo.fetch(
        ["hf://one-word/config.json", "hf://owner/two", "hf://one-word/d"], **fields
    )
    assert (first.read_bytes(), tree(second)) == (b"{}", {"model.bin": b"bytes"})
    assert tree(third) == {"x": b"x"}
    assert first.parent == third.parent
    with pytest.raises(kaiwo.ConfigError, match="several schemes"):
        kaiwo.fetch(["hf://owner/two", "s3://bucket/key"])


def test_a_page_in_place_of_a_file_is_refused_beside_a_file_that_is_a_page(tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
    html = {"Content-Type": "text/html", "ETag": '"1"'}
    with web.site() as site:
        site.pages["/page.html"] = site.pages["/model.bin"] = web.Page(page, html)
        site.pages["/other.bin"] = web.Page(b"bytes", {"ETag": '"2"'})
        with pytest.raises(kaiwo.IntegrityError, match=r"model\.bin"):
            kaiwo.fetch([f"{site.at}/page.html", f"{site.at}/model.bin"], tmp_path / "web")
        paths = kaiwo.fetch([f"{site.at}/other.bin", f"{site.at}/page.html"], tmp_path / "web")
    assert [path.read_bytes() for path in paths] == [b"bytes", page]


def test_two_urls_with_one_target_are_refused_before_the_first_byte(
    counted: Counting, tmp_path: Path
) -> None:
    s3 = counted.stores[0]
    bucket = s3.new_bucket({"one/a": b"1", "two/a": b"2"})
    counted.reset()
    with pytest.raises(kaiwo.UnsafeNameError, match=r"both .*one/a.* and .*two/a"):
        kaiwo.fetch([f"s3://{bucket}/one/a", f"s3://{bucket}/two/a"], tmp_path / "x", **given(s3))
    assert counted.counts().gets == 0


def test_one_of_several_that_is_missing_is_said_before_the_first_byte(
    counted: Counting, tmp_path: Path
) -> None:
    for store, there, none in (
        (counted.stores[0], f"s3://{counted.stores[0].new_bucket({'a': b'1'})}/a", "s3://{}/none"),
        (counted.stores[1], "hf://owner/there/a", "hf://owner/{}"),
    ):
        if store.type == "hf":
            store.fill("owner/there", {"a": b"1"})
        counted.reset()
        with pytest.raises(kaiwo.NotFoundError, match="none"):
            kaiwo.fetch([there, none.format("none-at-all")], tmp_path / "x", **given(store))
        assert counted.counts().gets == 0
    assert not (tmp_path / "x").exists()


def test_a_wrong_field_is_said_once(s3: Store) -> None:
    with pytest.raises(kaiwo.ConfigError, match="endpont_url") as caught:
        kaiwo.fetch(["s3://bucket/a", "s3://bucket/b"], endpont_url="http://localhost:1")
    assert str(caught.value).count("no such field") == 1


def test_a_url_whose_name_would_climb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(kaiwo.ConfigError, match="cannot name a file"):
        kaiwo.fetch(["s3://bucket/a/../"], tmp_path / "x")


def test_an_error_has_the_frames_of_the_program_and_none_of_kaiwos(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def download() -> None:
        kaiwo.download(str(tmp_path / "none.yaml"))

    def fetch() -> None:
        kaiwo.fetch(f"file://{tmp_path}/none", tmp_path / "x")

    for call in (download, fetch):
        with pytest.raises(kaiwo.KaiwoError) as caught:
            call()
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names[1:] == [call.__name__, call.__name__]
        text = "".join(traceback.format_exception(caught.value))
        assert text.count("Traceback") == 1
        with caplog.at_level("DEBUG", "kaiwo"), pytest.raises(kaiwo.KaiwoError) as caught:
            call()
        assert len(traceback.extract_tb(caught.value.__traceback__)) > len(names)


def test_with_fail_fast_too_a_report_names_what_failed(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"data")
    items = [
        {"file": f"file://{tmp_path}/{name}", "target_path": f"{tmp_path}/x/{name}"}
        for name in ("none", "there")
    ]
    config = {"download_items": [{"type": "url", "items": items}]}
    for fail_fast in (True, False):
        report = kaiwo.download(config, fail_fast=fail_fast)
        assert (report.ok, report.exit_code) == (False, 4)
        (failed,) = report.failed
        assert (failed.target, failed.source) == (f"{tmp_path}/x/none", items[0]["file"])
        with pytest.raises(kaiwo.NotFoundError, match="none"):
            report.raise_for_failures()
        assert (tmp_path / "x/there").exists() is not fail_fast
    with pytest.raises(kaiwo.NotFoundError, match="none"):
        kaiwo.fetch([each["file"] for each in items], tmp_path / "y")


# --- the report -------------------------------------------------------------------------------


def test_a_run_whose_objects_failed_gives_its_report(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket(OBJECTS)
    items = [{"folder": "data", "target_path": "x"}, {"file": "none", "target_path": "none"}]
    config = {"download_root": str(tmp_path / "out"), "download_items": [s3.task(bucket, items)]}
    report = kaiwo.download(config)
    assert isinstance(report, kaiwo.Report)
    assert (report.ok, report.exit_code, len(report.items)) == (False, 4, 4)
    assert [item.source for item in report.failed] == [f"s3://{bucket}/none"]
    assert repr(report).startswith("<Report: 1 failed (exit code 4); 3 files, 12 B in place")
    with pytest.raises(kaiwo.NotFoundError, match="none"):
        report.raise_for_failures()
    assert tree(tmp_path / "out/x")["a.csv"] == b"a,b\n"
    assert report.to_dict()["failed"] == 1


# --- help -------------------------------------------------------------------------------------


def test_the_examples_of_the_help_do_what_they_say(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket({"models/a.bin": b"123", "top.txt": b"4"})
    task = s3.task(bucket, [{"file": "models/a.bin", "target_path": "models/a.bin"}])
    Path("kaiwo.yaml").write_text(json.dumps({"download_items": [task]}), encoding="utf-8")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.settings["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.settings["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.settings["secret_key"])
    runner = doctest.DocTestRunner()
    for function in (kaiwo.download, kaiwo.fetch):
        text = str(function.__doc__).replace("my-bucket", bucket)
        text = text.replace("/data/", f"{tmp_path}/cwd/")
        names = {"kaiwo": kaiwo}
        runner.run(doctest.DocTestParser().get_doctest(text, names, function.__name__, None, 0))
    assert (runner.tries, runner.failures) == (5, 0)


@pytest.mark.parametrize("name", [name for name in kaiwo.__all__ if name != "__version__"])
def test_help_says_what_each_name_is(name: str) -> None:
    assert str(getattr(kaiwo, name).__doc__).strip()


# --- what a person sees -----------------------------------------------------------------------


def seen(code: str, tmp_path: Path) -> str:
    """What a program shows on a terminal, without what moves the cursor."""
    shown = on_a_terminal([sys.executable, "-c", code], tmp_path)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


def test_both_show_the_same_bar_on_a_terminal(s3: Store, tmp_path: Path) -> None:
    url = f"s3://{s3.new_bucket({'a': b'1' * 1000})}/a"
    item = {"file": "a", "target_path": str(tmp_path / "b")}
    config = {"download_items": [s3.task(url.split("/")[2], [item])]}
    calls = {
        "fetch": f"kaiwo.fetch({url!r}, {str(tmp_path / 'a')!r}, progress=HOW, **{given(s3)!r})",
        "download": f"kaiwo.download({config!r}, progress=HOW).raise_for_failures()",
    }
    for name, call in calls.items():
        shown = seen(f"import kaiwo\n{call.replace('HOW', repr('auto'))}", tmp_path)
        assert "done, 1 of 1 files, 1000 B of 1000 B" in shown, (name, shown)
        assert seen(f"import kaiwo\n{call.replace('HOW', repr('none'))}", tmp_path) == ""
        wrong = seen(f"import kaiwo\n{call.replace('HOW', repr('tqdm'))}", tmp_path)
        assert "ConfigError" in wrong, (name, wrong)
        assert "progress" in wrong, (name, wrong)


def test_a_folders_name_is_one_bar_without_a_word_of_failure(s3: Store, tmp_path: Path) -> None:
    url = f"s3://{s3.new_bucket(OBJECTS)}/data"
    events = Events()
    kaiwo.fetch(url, tmp_path / "x", sink=events, **given(s3))
    assert events.runs() == sum(isinstance(event, Planned) for event in events.seen) == 1
    code = f"import kaiwo\nkaiwo.fetch({url!r}, {str(tmp_path / 'y')!r}, **{given(s3)!r})"
    shown = seen(code, tmp_path)
    assert "failed" not in shown
    assert shown.count("done") == 1
