"""What a batch refuses in place of a file is refused of an object that came in ranges, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import StandInError
from kaiwo.files import temporary_files
from kaiwo.jobs import Finish
from kaiwo.workers.jobs import run
from tests.support.faulty import FaultyOpener, FaultyStore, content, transfer_of

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head>" + b" " * 300_000


@pytest.mark.parametrize(("data", "is_refused"), [(PAGE, True), (content(300_000), False)])
def test_a_page_of_any_size_is_refused(tmp_path: Path, data: bytes, is_refused: bool) -> None:
    store = FaultyStore({"model.bin": data}, None)
    each = transfer_of(FaultyOpener(store), store.remote("model.bin"), tmp_path)
    temporary_files.create(each.temporary)
    temporary_files.write_range(each.temporary, [data], 0)
    (outcome,) = run(Finish(replace(each, object=replace(each.object, checksum=None))))
    assert isinstance(outcome.error, StandInError) is is_refused
    assert Path(each.target).exists() is not is_refused
