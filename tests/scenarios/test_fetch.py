"""``kaiwo.fetch``, ``kaiwo.download`` and the commands of the same names."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api.fetch_order import Goal, order_of_urls
from tests.servers import web
from tests.support.command import clean_environment, tree
from tests.support.proxies import Counting, counting
from tests.support.stores import Store

SCHEMES = {"s3": "s3", "gcs": "gs", "azure-blob": "az", "hf": "hf"}
OBJECTS = {
    "data/a.csv": b"a,b\n",
    "data/deep/b.csv": b"c,d\n",
    "data/c.txt": b"text",
    "data2/d.csv": b"other",
    "top.txt": b"top",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate working directory and home, without the developer's settings."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for name in ("HF_TOKEN", "HF_ENDPOINT", "STORAGE_EMULATOR_HOST", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def counted(s3: Store, gcs: Store, azure: Store, hub: Store) -> Iterator[Counting]:
    """All four by way of a counting proxy."""
    with counting(s3, gcs, azure, hub) as way:
        yield way


@pytest.fixture(params=range(4), ids=["s3", "gs", "az", "hf"])
def each(request: pytest.FixtureRequest, counted: Counting) -> Store:
    """Each provider in turn."""
    number: int = request.param
    return counted.stores[number]


def given(store: Store) -> dict[str, Any]:
    """The fields of a task, those left out that have no value."""
    return {name: value for name, value in store.fields.items() if value is not None}


def filled(store: Store, name: str, objects: dict[str, bytes]) -> str:
    """The URL of a new bucket or repository with these objects, ending in a slash."""
    if store.type != "hf":
        return f"{SCHEMES[store.type]}://{store.new_bucket(objects)}/"
    store.fill(f"owner/{name}", objects)
    return f"hf://owner/{name}/"


def run(command: Sequence[str], home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=clean_environment(home) | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- what comes back --------------------------------------------------------------------------


def test_a_file_comes_back_as_its_path_and_a_second_call_moves_nothing(
    each: Store, counted: Counting, tmp_path: Path
) -> None:
    url = filled(each, "file", OBJECTS) + "data/a.csv"
    for gets in (1, 0):
        counted.reset()
        path = kaiwo.fetch(url, tmp_path / "x" / "mine.csv", **given(each))
        assert path == tmp_path / "x" / "mine.csv"
        assert path.read_bytes() == b"a,b\n"
        assert counted.counts().gets == gets
    into = kaiwo.fetch(url, f"{tmp_path}/into/", **given(each))
    assert into == tmp_path / "into" / "a.csv"
    assert into.read_bytes() == b"a,b\n"


def test_a_glob_a_slash_and_a_folders_name_come_back_as_the_folder(
    each: Store, tmp_path: Path
) -> None:
    url, fields = filled(each, "folder", OBJECTS), given(each)
    everything = {"a.csv": b"a,b\n", "deep/b.csv": b"c,d\n", "c.txt": b"text"}
    tables = {"a.csv": b"a,b\n", "deep/b.csv": b"c,d\n"}
    wanted = {"data/**/*.csv": tables, "data/": everything, "data": everything, "": OBJECTS}
    for number, (path, expected) in enumerate(wanted.items()):
        target = tmp_path / f"{number}"
        assert kaiwo.fetch(url + path, target, **fields) == target
        assert tree(target) == expected, path


def test_the_default_target_is_its_own_name_in_the_working_directory(
    s3: Store, tmp_path: Path
) -> None:
    url, fields, here = filled(s3, "", OBJECTS), given(s3), tmp_path / "cwd"
    bucket = url.split("/")[2]
    wanted = {
        "data/a.csv": "a.csv",
        "data/deep/*.csv": "deep",
        "data/": "data",
        "data2": "data2",
        "": bucket,
        "*.txt": bucket,
    }
    for path, name in wanted.items():
        assert kaiwo.fetch(url + path, **fields) == here / name, path
    assert tree(here / "data") == {
        "a.csv": b"a,b\n",
        "deep/b.csv": b"c,d\n",
        "c.txt": b"text",
    }
    names = {path.name for path in here.iterdir()} - {".kaiwo"}
    assert names == set(wanted.values())


def test_a_target_is_relative_to_the_working_directory_and_to_home(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    url, fields = filled(s3, "", OBJECTS) + "top.txt", given(s3)
    assert kaiwo.fetch(url, "x/y", **fields) == tmp_path / "cwd/x/y"
    assert kaiwo.fetch(url, "~/y", **fields) == tmp_path / "home/y"


def test_without_a_target_a_repository_goes_into_the_hubs_cache(hub: Store, tmp_path: Path) -> None:
    url, fields = filled(hub, "cached", OBJECTS).rstrip("/"), given(hub)
    fields["cache_dir"] = str(tmp_path / "cache")
    storage = tmp_path / "cache" / "models--owner--cached"
    file = kaiwo.fetch(f"{url}/data/a.csv", **fields)
    commit = (storage / "refs" / "main").read_text()
    snapshot = storage / "snapshots" / commit
    assert file == snapshot / "data" / "a.csv"
    assert kaiwo.fetch(url, **fields) == snapshot
    assert tree(snapshot) == OBJECTS
    assert list((tmp_path / "cwd").iterdir()) == []


def test_of_a_new_revision_the_cache_lacks_only_what_is_new(
    counted: Counting, tmp_path: Path
) -> None:
    hub = next(store for store in counted.stores if store.type == "hf")
    fields = given(hub) | {"cache_dir": str(tmp_path / "cache")}
    url = filled(hub, "revised", OBJECTS).rstrip("/")
    before = kaiwo.fetch(url, **fields)
    changed = OBJECTS | {"top.txt": b"another"}
    filled(hub, "revised", changed)
    counted.reset()
    after = kaiwo.fetch(url, **fields)
    assert (tree(before), tree(after)) == (OBJECTS, changed)
    assert after != before
    assert counted.counts().gets == 1


@pytest.mark.parametrize("path", ["data/", "data", "data/*.csv", "data/**/*.csv"])
def test_a_folder_of_a_repository_comes_back_as_that_folder_of_the_snapshot(
    hub: Store, tmp_path: Path, path: str
) -> None:
    url, fields = filled(hub, "folder", OBJECTS), given(hub)
    fields["cache_dir"] = str(tmp_path / "cache")
    found = kaiwo.fetch(url + path, **fields)
    snapshots = tmp_path / "cache" / "models--owner--folder" / "snapshots"
    assert [snapshot / "data" for snapshot in snapshots.iterdir()] == [found]
    assert (found / "a.csv").read_bytes() == b"a,b\n"


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
def test_an_object_that_is_a_folders_own_is_skipped_even_if_it_has_bytes(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setenv("KAIWO_ENGINE", engine)
    url = filled(s3, "", {"f/": b"own", "f/y": b"y", "f-": b"other"})
    assert tree(kaiwo.fetch(url, tmp_path / "out", **given(s3))) == {"f/y": b"y", "f-": b"other"}


def test_keys_are_taken_as_they_are_written(each: Store, tmp_path: Path) -> None:
    keys = ("a b", "per%20cent", "plus+", "hash#tag", "quote'd", "\u65e5\u672c", "{brace}")
    url = filled(each, "odd", {f"odd/{key}": key.encode() for key in keys})
    for key in keys:
        path = kaiwo.fetch(f"{url}odd/{key}", f"{tmp_path}/out/", **given(each))
        assert path == tmp_path / "out" / key
        assert path.read_bytes() == key.encode()


def test_a_bracket_of_a_key_is_written_as_a_class_of_its_own(s3: Store, tmp_path: Path) -> None:
    url = filled(s3, "", {"list[1].txt": b"1", "list1.txt": b"2"})
    assert tree(kaiwo.fetch(f"{url}list[[]1].txt", tmp_path / "x", **given(s3))) == {
        "list[1].txt": b"1"
    }


def test_a_file_of_a_web_server_comes_back(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/a.bin").write_bytes(b"some bytes")
    with web.folder(tmp_path / "served") as at:
        path = kaiwo.fetch(f"{at}/a.bin")
    assert path == tmp_path / "cwd" / "a.bin"
    assert path.read_bytes() == b"some bytes"


# --- what is raised ---------------------------------------------------------------------------


def test_what_is_missing_is_not_found(each: Store, tmp_path: Path) -> None:
    url, fields = filled(each, "missing", {"a": b"1"}), given(each)
    other = "hf://owner/nobody/" if each.type == "hf" else f"{SCHEMES[each.type]}://nobodys-own/"
    for path in (f"{url}b", f"{url}b/", f"{url}*.csv", f"{other}a", other):
        with pytest.raises(kaiwo.NotFoundError):
            kaiwo.fetch(path, tmp_path / "x", **fields)
    assert not (tmp_path / "x").exists()


def test_wrong_credentials_are_told_as_such(s3_signed: Store, tmp_path: Path) -> None:
    url = filled(s3_signed, "", {"a": b"1"})
    fields = given(s3_signed) | {"secret_key": "not-the-right-secret"}
    for path in ("a", "", "*.csv"):
        with pytest.raises(kaiwo.CredentialsError) as caught:
            kaiwo.fetch(url + path, tmp_path / "x", **fields)
        assert "not-the-right-secret" not in str(caught.value)


def test_an_unknown_field_is_told_with_the_nearest(s3: Store) -> None:
    with pytest.raises(kaiwo.ConfigError, match=r"endpont_url.*did you mean 'endpoint_url'"):
        kaiwo.fetch("s3://bucket/key", endpont_url="http://localhost:1")


@pytest.mark.parametrize(
    "url", ["", "bucket/key", "s3://", "s3:///key", "ftps3://a/b", "s3://me:secret@bucket/key"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(kaiwo.ConfigError) as caught:
        kaiwo.fetch(url)
    assert "secret" not in str(caught.value)


def test_a_secret_file_that_cannot_be_read_is_refused(s3: Store, tmp_path: Path) -> None:
    fields = given(s3)
    del fields["secret_key"]
    with pytest.raises(kaiwo.ConfigError, match=r"secret_key_file: .*nowhere"):
        kaiwo.fetch("s3://bucket/key", **fields, secret_key_file=str(tmp_path / "nowhere"))


def test_a_hostile_key_is_refused(s3: Store, tmp_path: Path) -> None:
    url = filled(s3, "", {"a/../../x": b"1"})
    with pytest.raises(kaiwo.UnsafeNameError):
        kaiwo.fetch(url, tmp_path / "x" / "y", **given(s3))
    assert list(tmp_path.rglob("*")) == [tmp_path / "cwd"]


# --- where it is called -----------------------------------------------------------------------


def test_it_works_in_a_running_event_loop(each: Store, tmp_path: Path) -> None:
    url, fields = filled(each, "loop", OBJECTS), given(each)

    async def main() -> Path:
        return kaiwo.fetch(f"{url}data/", tmp_path / "x", **fields)

    assert (asyncio.run(main()) / "c.txt").read_bytes() == b"text"


def test_a_mapping_is_a_configuration_and_a_report_comes_back(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket(OBJECTS)
    config = {
        "download_root": str(tmp_path / "out"),
        "download_items": [s3.task(bucket, [{"folder": "data", "target_path": "x"}])],
    }
    report = kaiwo.download(config, max_workers=2)
    assert isinstance(report, kaiwo.Report)
    assert (report.ok, report.exit_code, len(report.items)) == (True, 0, 3)
    assert report.transferred_bytes == sum(item.bytes for item in report.items) == 12
    assert tree(tmp_path / "out/x") == {"a.csv": b"a,b\n", "deep/b.csv": b"c,d\n", "c.txt": b"text"}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    assert kaiwo.download(path).count("unchanged") == 3
    assert kaiwo.download(str(path), force=True).count("downloaded") == 3


def test_a_program_gets_the_report_and_the_metrics_that_it_asks_for(
    s3: Store, tmp_path: Path
) -> None:
    task = s3.task(s3.new_bucket(OBJECTS), [{"folder": "data", "target_path": "x"}])
    config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
    path, metrics = tmp_path / "report.json", tmp_path / "kaiwo.prom"
    report = kaiwo.download(config, report=path, metrics_file=metrics)
    assert json.loads(path.read_text())["files"] == len(report.items) == 3
    assert 'kaiwo_files{status="downloaded"} 3' in metrics.read_text()
    with pytest.raises(kaiwo.DiskError, match="nowhere does not exist"):
        kaiwo.download(config, report=tmp_path / "nowhere/report.json")


def test_fields_may_be_paths(s3: Store, tmp_path: Path) -> None:
    url, fields = filled(s3, "", {"a": b"1"}), given(s3)
    secret = tmp_path / "secret"
    secret.write_text(fields.pop("secret_key"))
    assert kaiwo.fetch(f"{url}a", tmp_path / "a", **fields, secret_key_file=secret).exists()


def test_a_mapping_with_an_unknown_option_is_refused(s3: Store) -> None:
    config = {"download_items": [s3.task("bucket", [{"file": "a", "target_path": "a"}])]}
    with pytest.raises(kaiwo.ConfigError, match="max_worker"):
        kaiwo.download(config, max_worker=2)


SDKS = {
    *("adlfs", "aiobotocore", "azure", "boto3", "botocore", "fsspec", "gcsfs", "google"),
    *("huggingface_hub", "pydantic", "rich", "s3fs", "typer", "yaml", "aiohttp", "httpx"),
}


def loaded(code: str, home: Path) -> set[str]:
    """The packages that a program has loaded at its end."""
    program = f"{code}\nimport sys; print(*sys.modules)"
    done = run(["-c", program], home)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_import_loads_no_sdk(tmp_path: Path) -> None:
    found = loaded("import kaiwo; assert kaiwo.__version__ and 'fetch' in dir(kaiwo)", tmp_path)
    assert not found & SDKS


def test_a_run_loads_the_sdks_of_its_own_tasks_only(s3: Store, tmp_path: Path) -> None:
    url = filled(s3, "", {"a": b"1"})
    code = f"import kaiwo; kaiwo.fetch({url + 'a'!r}, {str(tmp_path / 'a')!r}, **{given(s3)!r})"
    found = loaded(code, tmp_path)
    assert "obstore" in found
    assert not found & {"adlfs", "azure", "gcsfs", "huggingface_hub", "s3fs"}


# --- the commands -----------------------------------------------------------------------------


def test_the_command_prints_where_it_is(s3: Store, tmp_path: Path) -> None:
    url = filled(s3, "", OBJECTS)
    options = [part for name, value in given(s3).items() for part in ("-o", f"{name}={value}")]
    target = str(tmp_path / "x")
    for path in ("data/a.csv", "data/"):
        done = run(["-m", "kaiwo", "fetch", url + path, target + path, *options], tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{os.path.normpath(target + path)}\n"
    done = run(["-m", "kaiwo", "fetch", f"{url}none", target, *options], tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert "none" in done.stderr


def test_in_a_pod_the_command_says_how_it_ended(s3: Store, tmp_path: Path) -> None:
    url = filled(s3, "", OBJECTS)
    options = [part for name, value in given(s3).items() for part in ("-o", f"{name}={value}")]
    log = tmp_path / "termination-log"

    def said(path: str) -> dict[str, Any]:
        command = ["-m", "kaiwo", "fetch", url + path, str(tmp_path / "x"), *options]
        done = run(command, tmp_path, KAIWO_TERMINATION_LOG=str(log))
        message: dict[str, Any] = json.loads(log.read_text())
        assert done.returncode == message["exit_code"]
        return message

    for status, other in (("downloaded", "unchanged"), ("unchanged", "downloaded")):
        message = said("data")
        assert (message["ok"], message[status], message[other]) == (True, 3, 0)
        assert message["failures"] == []
    message = said("none")
    assert (message["ok"], message["exit_code"]) == (False, 4)
    (failure,) = message["failures"]
    assert failure["kind"] == "not_found"
    assert "none" in failure["message"]


def as_words(fields: dict[str, Any]) -> list[str]:
    return [word for name, value in fields.items() for word in ("-o", f"{name}={value}")]


def test_several_urls_go_into_one_folder_in_one_run(s3: Store, tmp_path: Path) -> None:
    url, words = filled(s3, "", OBJECTS), as_words(given(s3))
    urls = [f"{url}top.txt", f"{url}data", f"{url}data2/*.csv"]
    command = ["-m", "kaiwo", "fetch", *urls, "-t", str(tmp_path / "x"), *words]
    report = tmp_path / "report.json"
    done = run([*command, "--report", str(report)], tmp_path)
    assert done.returncode == 0, done.stderr
    names = ["top.txt", "data", "data2"]
    assert done.stdout.splitlines() == [str(tmp_path / "x" / name) for name in names]
    assert set(tree(tmp_path / "x")) >= {"top.txt", "data/a.csv", "data/deep/b.csv", "data2/d.csv"}
    document = json.loads(report.read_text())
    assert (document["ok"], document["downloaded"]) == (True, 5)
    assert json.loads(run([*command, "--report", "-"], tmp_path).stdout)["unchanged"] == 5


def test_urls_of_one_bucket_share_its_connections_and_those_of_the_web_do_not() -> None:
    def openers(*urls: str) -> set[object]:
        found = order_of_urls(urls, Goal(), {}, {})
        return {want.opener for _, wants in found.order.tasks for want in wants}

    assert len(openers("s3://a/x", "s3://a/y/", "s3://b/x")) == 2
    # A repository may have a name of one word, too.
    assert len(openers("hf://o/r/x", "hf://o/r@v1/x", "hf://datasets/o/r/x")) == 5
    # Each knows the name of its file, by which a page in its place is found out.
    assert len(openers("https://h/a.bin?x", "https://h/b.bin?x")) == 2


def test_of_several_urls_one_that_fails_does_not_stop_the_others(s3: Store, tmp_path: Path) -> None:
    url, words = filled(s3, "", OBJECTS), as_words(given(s3))
    urls = [f"{url}none", f"{url}top.txt", "s3://no-such-bucket-here/x"]
    done = run(["-m", "kaiwo", "fetch", *urls, "-t", str(tmp_path / "x"), *words], tmp_path)
    assert (done.returncode, done.stdout) == (4, f"{tmp_path / 'x' / 'top.txt'}\n"), done.stderr
    assert [line.count("failed: ") for line in done.stderr.splitlines() if "failed:" in line] == [
        1,
        1,
    ]
    assert f"{url}none" in done.stderr
    assert "no-such-bucket-here" in done.stderr


def test_a_fetch_has_the_options_of_a_download(s3: Store, tmp_path: Path) -> None:
    url, words = filled(s3, "", OBJECTS), as_words(given(s3))
    command = ["-m", "kaiwo", "fetch", f"{url}data", "x", *words]
    root = ["--download-root", str(tmp_path / "root")]
    planned = run([*command, *root, "--dry-run"], tmp_path)
    assert (planned.returncode, (tmp_path / "root").exists()) == (0, False), planned.stderr
    state, metrics = tmp_path / "state", tmp_path / "kaiwo.prom"
    more = ["--state-dir", str(state), "--metrics-file", str(metrics), "--max-workers", "2"]
    done = run([*command, *root, *more, "--log-format", "json"], tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'root' / 'x'}\n"), done.stderr
    assert tree(tmp_path / "root/x").keys() == {"a.csv", "deep/b.csv", "c.txt"}
    assert not list((tmp_path / "root").rglob(".kaiwo"))
    assert state.exists()
    assert 'kaiwo_files{status="downloaded"} 3' in metrics.read_text()
    assert all(json.loads(line) for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["s3://a/x", "s3://b/"], "-t DIR"),
        (["s3://a/x", "s3://a/y", "s3://a/z"], "-t DIR"),
        (["s3://a/x", "gs://b/y", "-t", "d"], "one scheme at a time"),
    ],
)
def test_what_several_urls_cannot_be_is_said(tmp_path: Path, words: list[str], says: str) -> None:
    done = run(["-m", "kaiwo", "fetch", *words], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())
    assert list((tmp_path / "cwd").iterdir()) == []


def test_a_folders_name_is_fetched_without_a_word_of_failure(s3: Store, tmp_path: Path) -> None:
    url = filled(s3, "", OBJECTS)
    options = [part for name, value in given(s3).items() for part in ("-o", f"{name}={value}")]
    done = run(["-m", "kaiwo", "fetch", f"{url}data", str(tmp_path / "x"), *options], tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'x'}\n")
    assert "ERROR" not in done.stderr


def test_a_field_of_the_command_may_name_a_secret_file(s3_signed: Store, tmp_path: Path) -> None:
    url, fields = filled(s3_signed, "", {"a": b"1"}), given(s3_signed)
    (tmp_path / "key").write_text(fields.pop("secret_key") + "\n")
    fields["secret_key_file"] = str(tmp_path / "key")
    options = [part for name, value in fields.items() for part in ("-o", f"{name}={value}")]
    done = run(["-m", "kaiwo", "fetch", f"{url}a", str(tmp_path / "a"), *options], tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'a'}\n"), done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [(["-o", "endpoint_url"], "FIELD=VALUE"), (["-o", "secret_kye=x"], "secret_key")],
)
def test_a_wrong_field_of_the_command_is_told(
    tmp_path: Path, options: list[str], says: str
) -> None:
    done = run(["-m", "kaiwo", "fetch", "s3://bucket/key", *options], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = run(["-m", "kaiwo", "--version"], tmp_path)
    assert (done.returncode, done.stdout) == (0, f"kaiwo {kaiwo.__version__}\n")


def test_validate_opens_neither_secrets_nor_connections(tmp_path: Path) -> None:
    bucket = {"name": "b", "items": [{"file": "a", "target_path": "a"}]}
    task = {
        "type": "s3",
        "endpoint_url": "http://127.0.0.1:1",
        "access_key_id_file": "/nowhere/id",
        "secret_key_file": "/nowhere/key",
        "buckets": [bucket],
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"download_items": [task]}))
    done = run(["-m", "kaiwo", "validate", str(path)], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(path) in done.stdout
    path.write_text(json.dumps({"download_items": [task | {"bukets": []}]}))
    done = run(["-m", "kaiwo", "validate", str(path)], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'buckets'" in done.stderr


def test_a_working_directory_that_was_removed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    words = "the working directory does not exist any more"
    item = {"file": "http://127.0.0.1:1/a", "target_path": "a"}
    with pytest.raises(kaiwo.ConfigError, match=words):
        kaiwo.download({"download_items": [{"type": "url", "items": [item]}]})
    for target in ("a", None):
        with pytest.raises(kaiwo.ConfigError, match=words):
            kaiwo.fetch("http://127.0.0.1:1/a", target)
    for url in ("file:///etc/hostname", "s3://bucket/key"):
        with pytest.raises(kaiwo.ConfigError, match=words):
            kaiwo.fetch(url, "a")
    (tmp_path / "there").write_bytes(b"bytes")
    found = kaiwo.fetch(f"file://{tmp_path}/there", tmp_path / "out")
    assert found.read_bytes() == b"bytes"
