"""The Hub of a module: started once as the module says, and as at first for each test."""

import pytest

from tests.support.hubs import Hub


@pytest.fixture
def hub(one_hub: Hub) -> Hub:
    """The Hub of the module, as at first; ``one_hub`` says how it was started."""
    one_hub.ask("reset")
    return one_hub
