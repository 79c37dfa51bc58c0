"""``kaiwo clean``: says what runs that are over left behind, and removes it with ``--yes``."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.test_plan_command import command
from tests.support.command import configured, tree
from tests.support.stores import Store
from tests.unit.state.killed_runs import DEAD, big, killed

NO_FOLDER = "{}\n  nothing: there is no such folder\nnothing to remove\n"


def test_it_names_what_it_would_remove_and_removes_it_with_yes(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one", "b": b"two"})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "x"}]))
    out = tmp_path / "out"
    assert command(tmp_path, "download", path).returncode == 0
    done = command(tmp_path, "clean", path)
    assert (done.returncode, done.stdout) == (0, f"{out}\n  nothing\nnothing to remove\n")
    part = killed(out, big(), 0)
    useless = out / f".kaiwo-{DEAD}-7.part"
    useless.write_bytes(bytes(4096))
    (out / "x/b").unlink()
    done = command(tmp_path, "clean", path)
    assert done.stdout.splitlines() == [
        f"{out}",
        "  1 temporary file: 4.0 KiB",
        f"     4.0 KiB  {useless}",
        "  1 file that a run can resume; kept, --partial removes them: 8.0 MiB",
        f"     8.0 MiB  {part}",
        "  1 manifest line of files that are gone",
        f"              {out}/x/b",
        "nothing was removed; --yes removes it",
    ]
    assert useless.exists()
    assert command(tmp_path, "clean", path, "--yes").returncode == 0
    assert (useless.exists(), part.exists()) == (False, True)
    assert command(tmp_path, "clean", path, "--yes", "--partial").returncode == 0
    assert command(tmp_path, "clean", path, "--partial").stdout.endswith("nothing to remove\n")
    assert tree(out) == {"x/a": b"one"}
    assert sorted(each.name for each in (out / ".kaiwo").iterdir()) == ["manifest.jsonl"]


def test_it_uses_no_network_and_touches_nothing_where_nothing_is(tmp_path: Path) -> None:
    task = {
        "type": "s3",
        "endpoint_url": "http://127.0.0.1:1",
        "buckets": [{"name": "b", "items": [{"folder": "", "target_path": "x"}]}],
    }
    path = configured(tmp_path, task)
    done = command(tmp_path, "clean", path, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == NO_FOLDER.format(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_it_needs_no_secrets(tmp_path: Path) -> None:
    task = {
        "type": "s3",
        "access_key_id": "id",
        "secret_key_file": "/nowhere/secret",
        "buckets": [{"name": "b", "items": [{"folder": "", "target_path": "x"}]}],
    }
    path = configured(tmp_path, task)
    done = command(tmp_path, "clean", path, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == NO_FOLDER.format(tmp_path / "out")


def test_it_takes_the_folder_that_a_killed_fetch_has_left(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "a").write_bytes(b"bytes")
    fetched = command(tmp_path, "fetch", f"file://{tmp_path}/a", "data/x/a")
    assert fetched.returncode == 0
    part = killed(data / "x", big(), 0)
    useless = part.with_name(f".kaiwo-{DEAD}-7.part")
    useless.write_bytes(bytes(4096))
    above = command(tmp_path, "clean", "data")
    nothing = "nothing: there is no state of kaiwo"
    assert above.stdout == f"{data}\n  {nothing}\nnothing to remove\n"
    below = data / "x/y"
    below.mkdir()
    shown = command(tmp_path, "clean", "data/x/y").stdout
    assert shown == f"{below}\n  {nothing}; {data}/x has some\nnothing to remove\n"
    done = command(tmp_path, "clean", "data/x/", "--yes")
    assert done.stdout.splitlines()[:2] == [f"{data}/x", "  1 temporary file: 4.0 KiB"]
    assert (useless.exists(), part.exists(), (data / "x/a").exists()) == (False, True, True)
    refused = command(tmp_path, "clean", "data/x", "--download-root", "data")
    assert (refused.returncode, "--download-root is for" in refused.stderr) == (2, True)
