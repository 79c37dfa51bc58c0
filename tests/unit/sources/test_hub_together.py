"""Several files of a Hub are looked up together, and fail together."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from kaiwo.errors import TransientError
from tests.support.broken_servers import TIMEOUT_S, silent
from tests.support.spoiled_answers import source


def test_files_of_a_hub_that_does_not_answer_fail_together() -> None:
    # Who needs the commit waits for the request that is under way, and shares its failure.
    with silent() as address, source("hf", address) as opened:

        def look_up(number: int) -> BaseException | None:
            try:
                opened.stat(f"file{number}")
            except TransientError as error:
                return error
            return None

        start_s = time.monotonic()
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(look_up, range(6)))
        assert all("in time" in str(error) for error in found)
        assert time.monotonic() - start_s < 3 * TIMEOUT_S
