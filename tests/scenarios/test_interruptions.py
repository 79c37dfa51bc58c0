"""Signals and deadlines: a run ends soon, and what it says and leaves is right."""

import functools
import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.support.children import started
from tests.support.command_errors import CANARY, ITEMS, absent, errors_of
from tests.support.stores import Store
from tests.support.waiting import wait_until


@pytest.fixture(scope="session")
def slow(s3: Store) -> Iterator[servers.Server]:
    """S3 that holds every answer with object bytes back for a minute."""
    upstream = f"s3={s3.settings['endpoint_url']}"
    with servers.start("counting", "--upstream", upstream, "--delay-s=60") as server:
        yield server


@pytest.mark.parametrize(
    ("number", "code", "size"),
    [(signal.SIGTERM, 143, 4), (signal.SIGTERM, 143, 20 << 20), (signal.SIGINT, 130, 20 << 20)],
    ids=["SIGTERM, small", "SIGTERM, large", "SIGINT, large"],
)
def test_a_signal_ends_a_download_soon_and_leaves_no_target(
    s3: Store, slow: servers.Server, tmp_path: Path, number: signal.Signals, code: int, size: int
) -> None:
    bucket = s3.new_bucket({"k": bytes(size)})
    task = s3.task(bucket, ITEMS, endpoint_url=slow.settings["s3"], secret_key=CANARY)
    with started(tmp_path, task) as child:
        wait_until(functools.partial(_has_asked_for, slow.settings["stats"], bucket))
        child.process.send_signal(number)
        ended, stdout, stderr = child.end(timeout_s=5.0)
    assert (ended, stdout) == (code, "")
    assert not (tmp_path / "out" / "k").exists()
    assert [number.name in message for message in errors_of(stderr)] == [True]
    termination = (tmp_path / "termination-log").read_text()
    assert json.loads(termination)["exit_code"] == code
    report = (tmp_path / "report.json").read_text()
    assert json.loads(report)["exit_code"] == code
    assert CANARY not in stderr + termination + report
    assert "Traceback" not in stderr


# Many lines, and more than once: a signal that comes in the middle of one must not get lost there.
@pytest.mark.parametrize("attempt", range(5))
def test_a_signal_ends_the_wait_for_a_service(tmp_path: Path, attempt: int) -> None:
    task = absent("s3", f"http://127.0.0.1:{servers.free_port()}")
    items = [{"file": f"k{number}", "target_path": f"t{number}"} for number in range(200)]
    task["buckets"] = [{"name": "b", "items": items}]
    with started(tmp_path, task, options=("--startup-wait", "600")) as child:
        child.line_with("WARNING")
        child.process.terminate()
        code, stdout, stderr = child.end(timeout_s=5.0)
    assert (code, stdout) == (143, "")
    assert CANARY not in stderr
    assert "Traceback" not in stderr


def test_a_deadline_ends_a_download_and_keeps_what_is_in_place(
    s3: Store, slow: servers.Server, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    fine = s3.task(bucket, [{"file": "k", "target_path": "fine"}])
    never = s3.task(bucket, ITEMS, endpoint_url=slow.settings["s3"], secret_key=CANARY)
    with started(tmp_path, fine, never, options=("--deadline", "2", "--fsync")) as child:
        code, stdout, stderr = child.end(timeout_s=10.0)
    assert (code, stdout) == (8, ""), stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["exit_code"], report["downloaded"], report["failed"]) == (8, 1, 1)
    (failed,) = (item for item in report["items"] if item["error"])
    assert failed["error"]["kind"] == "deadline"
    assert (tmp_path / "out" / "fine").read_bytes() == b"data"
    assert not (tmp_path / "out" / "k").exists()


def _has_asked_for(stats: str, bucket: str) -> bool:
    """Whether a request for bytes of that bucket is in flight."""
    with urllib.request.urlopen(stats) as answer:
        counts = json.load(answer)
    asked = any(f"GET /{bucket}/k" in request["line"] for request in counts["log"])
    return asked and counts["in_flight"] > 0
