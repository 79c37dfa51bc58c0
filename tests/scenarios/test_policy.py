"""``allow``, ``deny`` and ``check_format``: what a task lets arrive."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api import locking
from kaiwo.api.orders import lock_path, order_of
from kaiwo.api.run import decide
from kaiwo.config.loader import load
from kaiwo.errors import UnsafeNameError
from kaiwo.reporting.displays import QuietSink
from tests.servers import web
from tests.servers.web import Page
from tests.support.command import configured, tree
from tests.support.proxies import counting
from tests.support.stores import Store

FOLDER = [{"folder": "", "target_path": "."}]


@pytest.fixture(autouse=True)
def _elsewhere(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def weights(size: int, described: int | None = None) -> bytes:
    """A safetensors file with that many bytes of tensors."""
    shape = size if described is None else described
    tensor = {"dtype": "U8", "shape": [shape], "data_offsets": [0, shape]}
    header = json.dumps({"t": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def offenders(path: str, **options: Any) -> str:
    with pytest.raises(UnsafeNameError) as raised:
        kaiwo.download(path, progress="none", **options)
    assert raised.value.exit_code == 2
    return raised.value.message


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        ({"allow": ["*.safetensors", "*.json"]}, ["model.pkl", "old/config.bin"]),
        ({"deny": "*.pkl"}, ["model.pkl"]),
        ({"allow": "*", "deny": ["old/**"]}, ["old/config.bin"]),
        ({"deny": "**/*.bin"}, ["old/config.bin"]),
        ({"allow": ["*.json"]}, ["a.safetensors", "model.pkl", "old/config.bin"]),
    ],
)
def test_all_that_is_not_allowed_is_named_and_nothing_is_read(
    s3: Store, tmp_path: Path, policy: dict[str, Any], refused: list[str]
) -> None:
    names = ("a.safetensors", "b.json", "model.pkl", "old/config.bin")
    bucket = s3.new_bucket({f"m/{name}": b"x" for name in names})
    with counting(s3) as proxy:
        items = [{"folder": "m", "target_path": "."}]
        path = configured(tmp_path, proxy.stores[0].task(bucket, items, **policy))
        message = offenders(path)
        assert [name for name in names if f"m/{name}:" in message] == refused
        decision = decide(order_of(load(path, {})), QuietSink())
        assert isinstance(decision.error, UnsafeNameError)
        assert len(decision.error.offenders) == len(refused)
        assert (decision.exit_code, proxy.counts().gets) == (2, 0)
    assert not (tmp_path / "out").exists()


def test_a_named_file_counts_by_the_name_that_it_gets_and_by_its_own(
    s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"a/x.pkl": b"x"})

    def asked(target: str, **policy: Any) -> str:
        items = [{"file": "a/x.pkl", "target_path": target}]
        return configured(tmp_path, s3.task(bucket, items, **policy))

    assert "x.pkl" in offenders(asked("x.bin", deny="*.pkl"))
    assert "deny has '*.bin'" in offenders(asked("x.bin", deny="*.bin"))
    assert "matches 'x.bin'" in offenders(asked("x.bin", allow="*.pkl"))
    kaiwo.download(asked("x.bin", allow="*.bin", deny="*.txt")).raise_for_failures()
    assert tree(tmp_path / "out") == {"x.bin": b"x"}


def test_a_lock_does_not_lead_around_it(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a.json": b"{}", "b.pkl": b"x"})
    path = configured(tmp_path, s3.task(bucket, FOLDER))
    config = load(path, {})
    order = order_of(config)
    locking.lock(type(order)(order.settings, order.tasks, order.asked, lock_path(config),
                             order.download_root), QuietSink())  # fmt: skip
    path = configured(tmp_path, s3.task(bucket, FOLDER, allow=["*.json"]))
    assert "b.pkl" in offenders(path, locked=True)
    assert not (tmp_path / "out" / "a.json").exists()


def test_the_hub_has_a_selection_and_a_policy(hub: Store, tmp_path: Path) -> None:
    hub.fill("policy/some", {"a.json": b"{}", "b.pkl": b"x"})
    task = hub.task("policy/some", [], target_path="m", allow=["*.json"])
    assert "b.pkl" in offenders(configured(tmp_path, task))
    selected = configured(tmp_path, task | {"ignore_patterns": ["*.pkl"]})
    kaiwo.download(selected).raise_for_failures()
    assert tree(tmp_path / "out" / "m") == {"a.json": b"{}"}


SMALL, LARGE = 100, (8 << 20) + 100


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_file_without_its_header_is_not_published(s3: Store, tmp_path: Path, size: int) -> None:
    wrong, right = weights(size, size + 1), weights(size)
    bucket = s3.new_bucket({"wrong.safetensors": wrong, "right.safetensors": right})
    out = tmp_path / "out"
    with counting(s3) as proxy:
        task = proxy.stores[0].task(bucket, FOLDER, check_format=True)
        path = configured(tmp_path, task)
        report = kaiwo.download(path, progress="none")
        (failed,) = report.failed
        assert failed.error is not None
        assert (report.exit_code, failed.error.kind) == (7, "format")
        assert tree(out) == {"right.safetensors": right}
        assert report.transferred_bytes == len(wrong) + len(right)  # it is not read twice
        # What another tool or an earlier run put there is checked as well, without being read.
        del task["check_format"]
        kaiwo.download(configured(tmp_path, task)).raise_for_failures()
        path = configured(tmp_path, task | {"check_format": True})
        for _ in "known", "unknown":
            proxy.reset()
            report = kaiwo.download(path, progress="none")
            assert (report.exit_code, len(report.failed), proxy.counts().gets) == (7, 1, 0)
            for state in (out / ".kaiwo").glob("*"):
                state.unlink()
    assert tree(out) == {"right.safetensors": right, "wrong.safetensors": wrong}


def test_a_stream_is_checked_too(tmp_path: Path) -> None:
    with web.site() as site:
        site.pages["/a.gguf"] = Page(b"GGUF" + bytes(LARGE), ranges=False)
        site.pages["/b.gguf"] = Page(b"GGUF\3" + bytes(LARGE), sized=False, ranges=False)
        items = [{"file": f"{site.at}/{n}.gguf", "target_path": f"{n}.gguf"} for n in "ab"]
        task = {"type": "url", "items": items, "check_format": True}
        report = kaiwo.download(configured(tmp_path, task), progress="none")
        assert report.exit_code == 7
        assert [Path(item.target).name for item in report.failed] == ["a.gguf"]
        assert list(tree(tmp_path / "out")) == ["b.gguf"]
