"""Words for each way in which S3's SDK finds an identity, for errors and logs; no secret in any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

#: By the SDK's name of the way; ``{profile}`` and ``{role}`` are put in.
_WORDS = {
    "explicit": "access_key_id of the task",
    "env": "AWS_ACCESS_KEY_ID of the environment",
    "assume-role": "the role {role} of the profile {profile}",
    "assume-role-with-web-identity": "the role {role} with the web identity of {token}",
    "sso": "the SSO login of the profile {profile}",
    "login": "the login of the profile {profile}",
    "shared-credentials-file": "the profile {profile} of AWS_SHARED_CREDENTIALS_FILE",
    "config-file": "the profile {profile} of AWS_CONFIG_FILE",
    "custom-process": "credential_process of the profile {profile}",
    "container-role": "the container's role, by {container}",
    "iam-role": "the instance's role, by its metadata service",
}
_HINTS = {"sso": "; sign in again: aws sso login", "login": "; sign in again: aws login"}


def described(method: str, session: Any) -> str:
    """Who signs in, and where that comes from; empty for no method.

    Args:
        method: the SDK's name of the way.
        session: of the SDK.
    """
    if not method:
        return ""
    profile = str(session.get_config_variable("profile") or "default")
    return _WORDS.get(method, "{method}").format(
        method=method, profile=profile, container=_container(), **_web_identity(session, profile)
    )


def hint(method: str) -> str:
    """What helps where an identity cannot be had."""
    return _HINTS.get(method, "")


def _container() -> str:
    names = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    return next((name for name in names if name in os.environ), names[0])


def _web_identity(session: Any, profile: str) -> Mapping[str, str]:
    """The role and the token's place: of the environment, else of the profile."""
    scoped = session.full_config.get("profiles", {}).get(profile, {})
    is_named = session.instance_variables().get("profile") is not None
    token, role = "AWS_WEB_IDENTITY_TOKEN_FILE", ""
    if token in os.environ and not is_named:
        role = os.environ.get("AWS_ROLE_ARN", "")
    else:
        token = f"the profile {profile}"
    return {"token": token, "role": role or str(scoped.get("role_arn", ""))}
