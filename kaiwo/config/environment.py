"""The options of a run that the environment gives, as pydantic-settings reads them."""

from __future__ import annotations

from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource

from kaiwo.config.settings import Settings


class _Environment(Settings, BaseSettings):  # type: ignore[misc]
    """What the library wants to read for; the configurations of both are joined."""


def options(prefix: str) -> dict[str, Any]:
    """By their names, not validated: the other layers are put over them.

    Args:
        prefix: of the variables; these may be of any case.
    """
    return EnvSettingsSource(_Environment, env_prefix=prefix)()
