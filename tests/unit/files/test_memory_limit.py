"""The memory that a cgroup still gives, and which file systems take it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaiwo.files.memory_limit import is_in_memory, memory_left

STAT = "anon 5\ninactive_file 100\nactive_file 50\nshmem 7\n"
OLD_STAT = "cache 500\ninactive_file 1\ntotal_inactive_file 100\ntotal_active_file 50\n"
V1 = {"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "600", "memory.stat": OLD_STAT}


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/", {"memory.max": "1000", "memory.current": "600", "memory.stat": STAT}, 550),
        ("0::/", {"memory.max": "1000", "memory.current": "600"}, 400),
        ("0::/", {"memory.max": "max", "memory.current": "600"}, None),
        ("0::/", {"memory.max": "100", "memory.current": "600"}, 0),
        (
            "0::/a/b",
            {
                "memory.max": "max",
                "a/memory.max": "1000",
                "a/memory.current": "900",
                "a/b/memory.max": "800",
                "a/b/memory.current": "1",
            },
            100,
        ),
        ("4:memory:/host", {f"memory/{name}": text for name, text in V1.items()}, 550),
        ("4:cpu,memory:/a", {f"memory/a/{name}": text for name, text in V1.items()}, 550),
        ("", {}, None),
    ],
)
def test_what_the_cgroup_still_gives(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int | None
) -> None:
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (tmp_path / "cgroup").write_text(f"{cgroup}\n" if cgroup else "")
    assert memory_left(str(tmp_path / "cgroup"), str(tmp_path / "fs")) == expected


def test_which_file_systems_are_in_memory(tmp_path: Path) -> None:
    assert is_in_memory(os.stat("/dev/shm").st_dev)
    assert not is_in_memory(os.stat("/proc").st_dev)
    assert not is_in_memory(os.makedev(4000, 4000))
    assert not is_in_memory(0, str(tmp_path / "none"))
