"""``kaiwo lock``, ``kaiwo download --locked`` and ``kaiwo verify`` as commands."""

from __future__ import annotations

import json
from pathlib import Path

from tests.scenarios.test_plan_command import command
from tests.support.command import configured, tree
from tests.support.stores import Store

ITEMS = [{"folder": "", "target_path": "x"}]


def test_from_a_lock_to_a_verified_folder(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one", "b/c": b"three"})
    path = configured(tmp_path, s3.task(bucket, ITEMS))
    lock = tmp_path / "config.lock"
    missing = command(tmp_path, "download", path, "--locked")
    assert missing.returncode == 2
    assert f"there is no lock file {lock}" in missing.stderr
    done = command(tmp_path, "lock", path)
    assert (done.returncode, done.stdout) == (0, f"{lock}: 2 objects, 8 B\n")
    secrets = [s3.settings["access_key_id"], s3.settings["secret_key"]]
    assert not any(each in lock.read_text() for each in secrets)
    done = command(tmp_path, "lock", path, "--check")
    assert (done.returncode, done.stdout) == (0, "2 objects as in the lock\n")
    assert command(tmp_path, "download", path, "--locked").returncode == 0
    done = command(tmp_path, "verify", path)
    assert (done.returncode, done.stdout) == (0, f"2 files, 8 B as in {lock}\n")

    s3.fill(bucket, {"a": b"other", "d": b"new"})
    done = command(tmp_path, "lock", path, "--check")
    assert (done.returncode, done.stdout.splitlines()) == (
        7,
        [
            f"~ s3://{bucket}/a  (3 B -> 5 B)",
            f"+ s3://{bucket}/d  (3 B)",
            "1 added, 1 changed",
        ],
    )
    done = command(tmp_path, "lock", path, "--check", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["exit_code"], found["objects"]) == (7, 7, 2)
    assert [(each["change"], each["bytes_now"]) for each in found["changes"]] == [
        ("changed", 5),
        ("added", 3),
    ]
    done = command(tmp_path, "download", path, "--locked", "--force")
    assert done.returncode == 7
    assert f"s3://{bucket}/a: " in done.stderr
    assert tree(tmp_path / "out") == {"x/a": b"one", "x/b/c": b"three"}

    out = tmp_path / "out" / "x"
    (out / "a").write_bytes(b"two")
    (out / "e").write_bytes(b"")
    done = command(tmp_path, "verify", path)
    assert done.returncode == 7
    assert f"{out}/a: md5 is " in done.stderr
    assert done.stdout.splitlines() == [
        f"extra: {out}/e",
        f"1 file, 5 B as in {lock}",
        "1 missing or different",
        "1 extra",
    ]
    done = command(tmp_path, "verify", path, "--json")
    found = json.loads(done.stdout)
    assert (found["exit_code"], found["extra"]) == (7, [f"{out}/e"])
    assert [each["target"] for each in found["failed"]] == [f"{out}/a"]
