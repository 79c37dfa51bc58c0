"""However a run ends, the cursor is there again, and the error is below the bar."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store
from tests.support.terminal import on_a_terminal

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
PATIENCE_S = 20.0

PROGRAM = """
import json, os, signal, sys, threading, time
import kaiwo

given = json.loads(sys.argv[1])
fields, how = given["fields"], given["how"]

def fetch(key="held", **more):
    kaiwo.fetch(given["url"] + key, **{**fields, **more})

def once_asked(act):
    def wait():
        while not os.path.exists("asked"):
            time.sleep(0.01)
        time.sleep(1.0)
        act()
    threading.Thread(target=wait, daemon=True).start()

try:
    if how == "secret":
        fields.pop("secret_key")
        fetch(secret_key_file="nowhere")
    elif how == "field":
        fetch(no_such_field=1)
    elif how == "absent":
        fetch("no/such/key")
    elif how == "interrupt":
        once_asked(lambda: os.kill(os.getpid(), signal.SIGINT))
        fetch()
    else:
        threading.Thread(target=fetch, daemon=True).start()
        while not os.path.exists("asked"):
            time.sleep(0.01)
        time.sleep(1.0)
except BaseException as error:
    print("ended by", type(error).__name__, flush=True)
"""


@pytest.fixture
def held(s3: Store, tmp_path: Path) -> Iterator[Store]:
    ended = threading.Event()

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith("/held"):
            (tmp_path / "asked").touch()
            ended.wait(PATIENCE_S)
        return answer

    with spoiling(s3, hold) as store:
        yield store
        ended.set()


def shown_by(store: Store, tmp_path: Path, how: str) -> str:
    fields = {name: value for name, value in store.fields.items() if value is not None}
    url = f"s3://{store.new_bucket({'held': bytes(3 << 20)})}/"
    given = json.dumps({"url": url, "fields": fields, "how": how})
    return on_a_terminal([sys.executable, "-c", PROGRAM, given], tmp_path)


@pytest.mark.parametrize("how", ["secret", "field"])
def test_nothing_is_drawn_before_the_fields_are_checked(
    s3: Store, tmp_path: Path, how: str
) -> None:
    shown = shown_by(s3, tmp_path, how)
    assert "ended by InvalidConfigError" in shown
    assert "\x1b[" not in shown


@pytest.mark.parametrize("how", ["absent", "interrupt", "daemon thread"])
def test_the_cursor_is_there_again(held: Store, tmp_path: Path, how: str) -> None:
    start_s = time.monotonic()
    shown = shown_by(held, tmp_path, how)
    assert time.monotonic() - start_s < PATIENCE_S
    assert shown.count(HIDDEN) == 0 or shown.rindex(SHOWN) > shown.rindex(HIDDEN)
    if how != "absent":
        assert HIDDEN in shown
    if how != "daemon thread":
        error = shown.rindex("ended by ")
        assert shown.rfind("\x1b[", error) == -1
        assert re.fullmatch(r"[^\n]*\n?", shown[error:])
