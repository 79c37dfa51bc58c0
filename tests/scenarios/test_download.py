"""From a YAML file to files: what arrives, under which names, and what a second run does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest

from kaiwo.testing import ODD_NAMES
from tests.support import stores
from tests.support.command import Kaiwo, Run, clean_environment, tree
from tests.support.proxies import Counting, counting
from tests.support.stores import Store

MODEL = random.Random(11).randbytes(3_000_000)


@pytest.fixture(scope="module")
def private_hub() -> Iterator[Store]:
    """A Hub that knows one token."""
    with stores.hub("--token=hf_right") as store:
        yield store


@pytest.fixture(scope="module")
def counted(s3: Store, gcs: Store, azure: Store, hub: Store) -> Iterator[Counting]:
    """All four by way of one counting proxy."""
    with counting(s3, gcs, azure, hub) as way:
        yield way


def statuses(run: Run, root: Path) -> dict[str, str]:
    """The status of each object, by its target's name below the root."""
    return {os.path.relpath(item["target"], root): item["status"] for item in run.report["items"]}


def flat(kind: str, **fields: str) -> dict[str, Any]:
    """An item as the document's example writes it."""
    assert kind in fields
    return fields


def nested(kind: str, **fields: str) -> dict[str, Any]:
    """An item as the document's last section writes it."""
    return {kind: fields}


# --- the document's example -------------------------------------------------------------------


@dataclass(frozen=True)
class Four:
    """A server of each provider; those of S3 and the Hub refuse wrong credentials."""

    s3: Store
    gcs: Store
    azure: Store
    hub: Store


@pytest.fixture
def four(s3_signed: Store, gcs: Store, azure: Store, private_hub: Store) -> Four:
    return Four(s3_signed, gcs, azure, private_hub)


@pytest.mark.parametrize(("item", "newline"), [(flat, b"\n"), (nested, b"\r\n")])
def test_the_documents_example_fills_its_targets_from_all_four_at_once(
    kaiwo: Kaiwo,
    four: Four,
    tmp_path: Path,
    item: Callable[..., dict[str, Any]],
    newline: bytes,
) -> None:
    s3_bucket = four.s3.new_bucket(
        {
            "data/a.csv": b"a,b\n",
            "data/deep/er/b.csv": b"c,d\n",
            "data/notes.md": b"not asked for",
            "data2/c.csv": b"another folder",
            "readme.txt": b"of s3",
        }
    )
    gcs_bucket = four.gcs.new_bucket({"readme.txt": b"of gcs", "other": b"x"})
    azure_bucket = four.azure.new_bucket({"readme.txt": b"of azure", "other": b"x"})
    repo = "username/repo"
    four.hub.fill(repo, {"model.bin": MODEL, "config.json": b"{}", "unasked.txt": b"x"})
    settings = Path(four.hub.settings["root"], "models", "username--repo", ".kaiwo-hub.json")
    settings.write_text('{"private": true}')

    def secret(name: str, value: str) -> str:
        path = tmp_path / name
        path.write_bytes(value.encode() + newline)
        return str(path)

    account = Path(four.gcs.settings["service_account_file"]).read_text()
    readme = {"file": "readme.txt"}
    data = {"folder": "data", "target_path": "local/data", "glob": "**/*.csv"}
    config = {
        "download_root": str(tmp_path / "root"),
        "download_items": [
            {
                "type": "s3",
                "name": "MyS3Download",
                "endpoint_url_file": secret("endpoint", four.s3.settings["endpoint_url"]),
                "access_key_id_file": secret("id", four.s3.settings["access_key_id"]),
                "secret_key_file": secret("key", four.s3.settings["secret_key"]),
                "buckets": [
                    {
                        "name": s3_bucket,
                        "items": [
                            item("folder", **data),
                            item("file", **readme, target_path="local/readme.txt"),
                        ],
                    }
                ],
            },
            {
                "type": "gcs",
                "name": "Google Cloud Storage",
                "application_credentials_file": secret("account.json", account),
                "project": four.gcs.settings["project"],
                "endpoint_url": four.gcs.settings["endpoint_url"],
                "buckets": [
                    {
                        "name": gcs_bucket,
                        "items": [item("file", **readme, target_path="gcs/readme.txt")],
                    }
                ],
            },
            {
                "type": "azure-blob",
                "connection_string_file": secret("azure", four.azure.settings["connection_string"]),
                "containers": [
                    {
                        "name": azure_bucket,
                        "items": [item("file", **readme, target_path="azure/readme.txt")],
                    }
                ],
            },
            {
                "type": "hf",
                "name": "MyHFDownload",
                "endpoint_url": four.hub.settings["endpoint_url"],
                "token_file": secret("token", "hf_right"),
                "repo_id": repo,
                "files": ["model.bin", "config.json"],
            },
        ],
    }
    home = tmp_path / "hf"
    done = kaiwo(config, env={"HF_HOME": str(home)})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "root") == {
        "local/data/a.csv": b"a,b\n",
        "local/data/deep/er/b.csv": b"c,d\n",
        "local/readme.txt": b"of s3",
        "gcs/readme.txt": b"of gcs",
        "azure/readme.txt": b"of azure",
    }
    assert done.stdout == ""
    check_hub_cache(home, repo, {"model.bin": MODEL, "config.json": b"{}"}, tmp_path)


def check_hub_cache(home: Path, repo: str, files: Mapping[str, bytes], cwd: Path) -> None:
    """The cache holds these files as the Hub's own library lays them out, and it finds them."""
    storage = home / "hub" / f"models--{repo.replace('/', '--')}"
    commit = (storage / "refs" / "main").read_text()
    snapshot = storage / "snapshots" / commit
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == files
    assert [path.name for path in (storage / "snapshots").iterdir()] == [commit]
    blobs = {path.name for path in (storage / "blobs").iterdir()}
    for name in files:
        link = snapshot / name
        assert link.is_symlink()
        assert not os.path.isabs(os.readlink(link))
        assert link.resolve().parent == (storage / "blobs").resolve()
        blobs.discard(link.resolve().name)
    assert not blobs, "blobs that no file needs"
    asks = (
        "import sys; from huggingface_hub import hf_hub_download as ask\n"
        "for name in sys.argv[2:]: print(ask(sys.argv[1], name, local_files_only=True))"
    )
    found = subprocess.run(
        [sys.executable, "-c", asks, repo, *files],
        env=clean_environment(cwd) | {"HF_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [Path(path).read_bytes() for path in found] == list(files.values())


def test_a_snapshot_into_a_folder_leaves_plain_files_and_nothing_of_the_librarys(
    kaiwo: Kaiwo, hub: Store, tmp_path: Path
) -> None:
    hub.fill("plain/files", {"model.bin": MODEL, "sub/config.json": b"{}"})
    task = hub.task("plain/files", [], target_path="model")
    home = tmp_path / "hf"
    done = kaiwo({"download_items": [task]}, env={"HF_HOME": str(home)})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"model/model.bin": MODEL, "model/sub/config.json": b"{}"}
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert not any(home.rglob("models--*"))


# --- a second run -----------------------------------------------------------------------------


def test_a_second_run_reads_no_bytes_and_asks_for_no_object_and_force_fetches_again(
    kaiwo: Kaiwo, counted: Counting, tmp_path: Path
) -> None:
    objects = {f"data/{number}": b"x" * number for number in range(1, 21)}
    tasks = []
    expected: dict[str, bytes] = {}
    for store in counted.stores:
        if store.type == "hf":
            store.fill("second/run", objects)
            tasks.append(store.task("second/run", [], target_path="hf"))
        else:
            bucket = store.new_bucket(objects)
            folder = {"folder": "data", "target_path": f"{store.type}/data"}
            tasks.append(store.task(bucket, [folder]))
        expected |= {f"{store.type}/{key}": data for key, data in objects.items()}
    config = {"download_items": tasks}
    size = sum(map(len, expected.values()))

    first = kaiwo(config)
    assert first.code == 0, first.stderr
    assert tree(tmp_path / "out") == expected
    assert (first.report["downloaded"], first.report["transferred_bytes"]) == (80, size)

    counted.reset()
    second = kaiwo(config)
    assert (second.code, second.report["unchanged"], second.report["files"]) == (0, 80, 80)
    assert (second.report["transferred_bytes"], second.report["bytes"]) == (0, size)
    counts = counted.counts()
    assert counts.gets == 0
    # S3, GCS and Azure are asked once more whether more follows.
    assert len(counts.lines) <= 4 + 3 + 1, "a listing each, its end, and the Hub's revision"

    counted.reset()
    third = kaiwo(config, "--force")
    assert (third.code, third.report["downloaded"]) == (0, 80)
    assert third.report["transferred_bytes"] == size
    assert counted.counts().gets == 80
    assert tree(tmp_path / "out") == expected


def damage(path: Path) -> None:
    path.write_bytes(b"!" + path.read_bytes()[1:])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


def delete(path: Path) -> None:
    path.unlink()


DISTURBED = {
    damage: "downloaded",
    truncate: "downloaded",
    delete: "downloaded",
    touch: "unchanged",
}


def test_local_files_that_changed_are_right_after_the_next_run(
    kaiwo: Kaiwo, counted: Counting, tmp_path: Path
) -> None:
    store = counted.stores[0]
    large = random.Random(5).randbytes(9_000_000)
    names = [disturb.__name__ for disturb in DISTURBED]
    objects = {f"small/{name}": b"some bytes" for name in names} | {"same": b"same"}
    objects |= {f"large/{name}": large for name in names}
    bucket = store.new_bucket(objects)
    config = {"download_items": [store.task(bucket, [{"folder": "", "target_path": "."}])]}
    assert kaiwo(config).code == 0
    expected = {"same": "unchanged"}
    for disturb, status in DISTURBED.items():
        for size in ("small", "large"):
            name = f"{size}/{disturb.__name__}"
            disturb(tmp_path / "out" / name)
            expected[name] = status
    counted.reset()
    again = kaiwo(config)
    assert again.code == 0, again.stderr
    assert tree(tmp_path / "out") == objects
    assert statuses(again, tmp_path / "out") == expected
    assert again.report["transferred_bytes"] == 3 * (len(large) + 10)
    assert counted.counts().gets == 3 * (2 + 1), "two ranges, one small"
    counted.reset()
    assert kaiwo(config).report["unchanged"] == 9
    assert counted.counts().gets == 0


@pytest.mark.parametrize("number", range(3), ids=["s3", "gcs", "azure"])
def test_a_right_file_of_another_tool_is_adopted_without_a_request_for_its_bytes(
    kaiwo: Kaiwo, counted: Counting, tmp_path: Path, number: int
) -> None:
    store = counted.stores[number]
    bucket = store.new_bucket({"a/right": b"right bytes", "a/wrong": b"right bytes"})
    there = tmp_path / "out" / "a"
    there.mkdir(parents=True)
    (there / "right").write_bytes(b"right bytes")
    (there / "wrong").write_bytes(b"wrong bytes")
    config = {"download_items": [store.task(bucket, [{"folder": "a", "target_path": "a"}])]}
    counted.reset()
    done = kaiwo(config)
    assert done.code == 0, done.stderr
    assert statuses(done, there) == {"right": "unchanged", "wrong": "downloaded"}
    assert tree(there) == {"right": b"right bytes", "wrong": b"right bytes"}
    assert counted.counts().gets == 1
    counted.reset()
    assert kaiwo(config).report["unchanged"] == 2
    assert counted.counts().gets == 0


def test_an_object_that_was_replaced_is_fetched_again(
    kaiwo: Kaiwo, store: Store, tmp_path: Path
) -> None:
    bucket = store.new_bucket({"a": b"old bytes", "b": b"same"})
    config = {"download_items": [store.task(bucket, [{"folder": "", "target_path": "."}])]}
    assert kaiwo(config).code == 0
    store.fill(bucket, {"a": b"new bytes"})
    again = kaiwo(config)
    assert statuses(again, tmp_path / "out") == {"a": "downloaded", "b": "unchanged"}
    assert tree(tmp_path / "out") == {"a": b"new bytes", "b": b"same"}


# --- what is selected -------------------------------------------------------------------------


def test_empty_objects_arrive(kaiwo: Kaiwo, store: Store, tmp_path: Path) -> None:
    bucket = store.new_bucket({"data/empty": b"", "data/full": b"x"})
    items = [
        {"folder": "data", "target_path": "folder"},
        {"file": "data/empty", "target_path": "file"},
    ]
    done = kaiwo({"download_items": [store.task(bucket, items)]})
    assert done.code == 0, done.stderr
    expected = {"folder/empty": b"", "folder/full": b"x", "file": b""}
    assert tree(tmp_path / "out") == expected


@pytest.mark.parametrize("name", ["s3", "azure"])
def test_placeholders_of_folders_are_skipped(
    kaiwo: Kaiwo, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    store: Store = request.getfixturevalue(name)
    bucket = store.new_bucket({"data/": b"", "data/dir/": b"", "data/full": b"x"})
    task = store.task(bucket, [{"folder": "data", "target_path": "data"}])
    done = kaiwo({"download_items": [task]})
    assert (done.code, done.report["files"]) == (0, 1)
    assert tree(tmp_path / "out") == {"data/full": b"x"}
    assert not (tmp_path / "out/data/dir").exists()


@pytest.mark.parametrize("folder", ["data", "data/"])
def test_a_folder_takes_nothing_of_one_whose_name_begins_alike(
    kaiwo: Kaiwo, store: Store, tmp_path: Path, folder: str
) -> None:
    bucket = store.new_bucket({"data/a": b"1", "data2/b": b"2", "data.txt": b"3", "dat": b"4"})
    task = store.task(bucket, [{"folder": folder, "target_path": "data"}])
    assert kaiwo({"download_items": [task]}).code == 0
    assert tree(tmp_path / "out") == {"data/a": b"1"}


def test_an_empty_folder_a_dot_and_a_slash_are_the_whole_bucket(
    kaiwo: Kaiwo, store: Store, tmp_path: Path
) -> None:
    bucket = store.new_bucket({"a": b"1", "b/c/d": b"2"})
    names = {"": "empty", ".": "dot", "/": "slash"}
    items = [{"folder": folder, "target_path": name} for folder, name in names.items()]
    assert kaiwo({"download_items": [store.task(bucket, items)]}).code == 0
    expected = {f"{name}/a": b"1" for name in names.values()}
    expected |= {f"{name}/b/c/d": b"2" for name in names.values()}
    assert tree(tmp_path / "out") == expected


GLOBS = {
    "*.csv": {"a.csv", ".hidden.csv"},
    "**/*.csv": {"a.csv", ".hidden.csv", "sub/b.csv", "sub/deep/c.csv", "other/d.csv"},
    "sub/**": {"sub/b.csv", "sub/e.txt", "sub/deep/c.csv"},
    "sub/*": {"sub/b.csv", "sub/e.txt"},
    "*/*.csv": {"sub/b.csv", "other/d.csv"},
    "**/deep/*": {"sub/deep/c.csv"},
    "[ab]?.txt": {"a1.txt", "b2.txt"},
    "[!ab]?.txt": {"c3.txt"},
    "{sub,other}/*.csv": set(),
    "a.csv": {"a.csv"},
    "**": set(),
    "**/*": set(),
    "*": {"a.csv", ".hidden.csv", "a1.txt", "b2.txt", "c3.txt", "ab.txt.gz"},
}


def test_globs_match_as_fsspec_documents_them(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    keys = set[str]().union(*GLOBS.values())
    everything = {"**": keys, "**/*": keys}
    filesystem = fsspec.filesystem("memory", skip_instance_cache=True)
    for key in keys:
        filesystem.pipe_file(f"/globs/{key}", b"x")
    for glob, expected in (GLOBS | everything).items():
        found = filesystem.glob(f"/globs/{glob}", detail=True)
        files = {name for name, info in found.items() if info["type"] == "file"}
        assert {name.removeprefix("/globs/") for name in files} == expected, glob

    bucket = s3.new_bucket({f"root/{key}": key.encode() for key in keys})
    items = [
        {"folder": "root", "target_path": f"{number}", "glob": glob, "allow_empty": True}
        for number, glob in enumerate(GLOBS)
    ]
    done = kaiwo({"download_items": [s3.task(bucket, items)]})
    assert done.code == 0, done.stderr
    for number, (glob, expected) in enumerate((GLOBS | everything).items()):
        found = set(tree(tmp_path / "out" / f"{number}"))
        assert found == expected, glob


# --- where it goes ----------------------------------------------------------------------------


def test_targets_may_be_folders_and_absolute(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a/b.txt": b"1", "c/d.txt": b"2"})
    elsewhere = tmp_path / "else where"
    items = [
        {"file": "a/b.txt", "target_path": "into/"},
        {"file": "a/b.txt", "target_path": f"{elsewhere}/file/renamed"},
        {"file": "a/b.txt", "target_path": f"{elsewhere}/kept/"},
        {"folder": "c", "target_path": f"{elsewhere}/folder"},
        {"folder": "c", "target_path": "./x//y/"},
    ]
    done = kaiwo({"download_items": [s3.task(bucket, items)]})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"into/b.txt": b"1", "x/y/d.txt": b"2"}
    found = {name: data for name, data in tree(elsewhere).items() if "/.kaiwo/" not in name}
    assert found == {"file/renamed": b"1", "kept/b.txt": b"1", "folder/d.txt": b"2"}
    states = {path.parent for path in tmp_path.rglob(".kaiwo")}
    assert states == {tmp_path / "out", *(elsewhere / name for name in ("file", "kept", "folder"))}
    again = kaiwo({"download_items": [s3.task(bucket, items)]})
    assert (again.code, again.report["unchanged"]) == (0, 5)


def test_without_a_root_the_working_directory_is_it(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"a": b"1"})
    task = s3.task(bucket, [{"file": "a", "target_path": "deep/a"}])
    assert kaiwo(json.dumps({"download_items": [task]})).code == 0
    assert (tmp_path / "deep/a").read_bytes() == b"1"
    assert kaiwo({"download_items": [task]}, "--download-root", str(tmp_path / "opt")).code == 0
    assert tree(tmp_path / "opt") == {"deep/a": b"1"}


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o027, 0o002])
def test_modes_follow_the_umask(kaiwo: Kaiwo, s3: Store, tmp_path: Path, mask: int) -> None:
    bucket = s3.new_bucket({"deep/er/small": b"1", "deep/large": bytes(9_000_000)})
    task = s3.task(bucket, [{"folder": "deep", "target_path": "deep"}])
    with umask(mask):
        assert kaiwo({"download_items": [task]}).code == 0
    modes = {
        path.relative_to(tmp_path / "out").as_posix(): path.stat().st_mode & 0o777
        for path in (tmp_path / "out/deep").rglob("*")
    }
    assert modes == {
        "deep/er": 0o777 & ~mask,
        "deep/er/small": 0o666 & ~mask,
        "deep/large": 0o666 & ~mask,
    }


MORE_NAMES = (
    "-dash",
    " space before",
    "space behind ",
    "per%2Fcent/%2e%2e/x",
    "semi;colon",
    "back\\slash",
    "two  spaces\u00a0",
    "e\u0301 decomposed",
    "\u00e9 composed",
    "$(touch x) `y` & z",
    "a.csv*",
    "-o/ProxyCommand",
)
UNNAMEABLE = {"gcs": {"semi;colon"}, "azure": {"back\\slash"}, "s3": set[str]()}


@pytest.mark.parametrize("name", ["s3", "gcs", "azure"])
def test_odd_keys_arrive_under_their_own_names(
    kaiwo: Kaiwo, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    store: Store = request.getfixturevalue(name)
    keys = [key for key in (*ODD_NAMES, *MORE_NAMES) if key not in UNNAMEABLE[name]]
    bucket = store.new_bucket({f"odd [x]/{key}": key.encode() for key in keys})
    items = [
        {"folder": "odd [x]", "target_path": "folder"},
        *({"file": f"odd [x]/{key}", "target_path": f"file/{key}"} for key in keys),
    ]
    done = kaiwo({"download_items": [store.task(bucket, items)]}, "--log-level", "DEBUG")
    assert done.code == 0, done.stderr
    expected = {f"{way}/{key}": key.encode() for way in ("folder", "file") for key in keys}
    assert tree(tmp_path / "out") == expected
    assert "[red]markup[/wrong].txt" in done.stderr, "as it is, not as markup"
    assert kaiwo({"download_items": [store.task(bucket, items)]}).report["transferred_bytes"] == 0


def test_empty_segments_of_a_key_are_one_slash(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a//b///c": b"1"})
    task = s3.task(bucket, [{"folder": "", "target_path": "."}])
    done = kaiwo({"download_items": [task]})
    assert tree(tmp_path / "out") == {"a/b/c": b"1"}, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("rclone", 3_000), ("azure", 600)])
def test_thousands_of_objects_of_one_folder_arrive(
    kaiwo: Kaiwo, request: pytest.FixtureRequest, tmp_path: Path, name: str, count: int
) -> None:
    # azurite takes 20 ms to store one; a page of it has 5,000.
    store: Store = request.getfixturevalue(name)
    objects = {f"many/{number:05}": f"{number}".encode() for number in range(count)}
    bucket = store.new_bucket(objects)
    task = store.task(bucket, [{"folder": "many", "target_path": "many"}])
    done = kaiwo({"download_items": [task]})
    assert (done.code, done.report["files"], done.report["downloaded"]) == (0, count, count)
    assert tree(tmp_path / "out") == objects
