"""A scheduler's address, and who is there instead: nobody waits for ever, or without a word."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from kaiwo.errors import ConfigError, DeadlineError, ServiceError
from kaiwo.remote.reaching import connect
from tests.servers import serving


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections, and says nothing."""
    with socket.create_server((serving.HOST, 0)) as server:
        yield f"tcp://{serving.HOST}:{server.getsockname()[1]}"


def test_what_takes_a_connection_and_says_nothing_is_not_waited_for_for_ever(
    silent: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kaiwo")
    with pytest.raises(ServiceError, match=r"no answer as one of a Dask scheduler in time"):
        connect(silent, 2.2)
    assert f"no answer of the Dask scheduler at {silent} yet" in caplog.text


def test_a_deadline_ends_the_wait(silent: str) -> None:
    with pytest.raises(DeadlineError, match="before the Dask scheduler at tcp://"):
        connect(silent, 60, time.monotonic() + 0.3)


@pytest.mark.parametrize("address", ["xyz://localhost:1", "tcp://localhost:many", "tcp://"])
def test_what_is_no_address_is_a_mistake_of_the_configuration(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^--dask"):
        connect(address, 60)
