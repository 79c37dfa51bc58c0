"""The limit of a cgroup, the memory that it still gives, and which file systems take it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaiwo.files.memory_limit import is_in_memory, memory_left, memory_limit

STAT = "anon 5\ninactive_file 100\nactive_file 50\nshmem 7\n"
OLD_STAT = "cache 500\ninactive_file 1\ntotal_inactive_file 100\ntotal_active_file 50\n"
V1 = {"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "600", "memory.stat": OLD_STAT}


def control_groups(folder: Path, cgroup: str, files: dict[str, str]) -> tuple[str, str]:
    """The paths of the list of a process's cgroups, and of their root with these files."""
    root, of_process = folder / "fs", folder / "cgroup"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    of_process.write_text(f"{cgroup}\n" if cgroup else "")
    return str(of_process), str(root)


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/", {"memory.max": "1000"}, 1000),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/a/b", {"memory.max": "2000", "a/b/memory.max": "1000"}, 1000),
        ("4:memory:/a", {"memory/a/memory.limit_in_bytes": "1000"}, 1000),
        # A container sees its own limit at the root, and the path of the host.
        ("4:cpu,memory:/host", {"memory/memory.limit_in_bytes": "1000"}, 1000),
        ("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("4:cpu:/a", {"memory/a/memory.limit_in_bytes": "1000"}, None),
        ("", {}, None),
    ],
)
def test_the_limit_of_memory_is_that_of_the_cgroup_in_either_version(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int | None
) -> None:
    of_process, root = control_groups(tmp_path, cgroup, files)
    assert memory_limit(of_process, root) == expected
    assert memory_limit(str(tmp_path / "none"), str(tmp_path / "none")) is None


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
    of_process, root = control_groups(tmp_path, cgroup, files)
    assert memory_left(of_process, root) == expected


def test_which_file_systems_are_in_memory(tmp_path: Path) -> None:
    assert is_in_memory(os.stat("/dev/shm").st_dev)
    assert not is_in_memory(os.stat("/proc").st_dev)
    assert not is_in_memory(os.makedev(4000, 4000))
    assert not is_in_memory(0, str(tmp_path / "none"))
