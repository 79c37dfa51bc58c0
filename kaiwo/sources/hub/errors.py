"""Maps the Hub's refusals to kaiwo errors."""

from __future__ import annotations

from kaiwo import redact
from kaiwo.errors import (
    ContainerMissingError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    TransientError,
)
from kaiwo.net.statuses import RefusedError, status_error
from kaiwo.sources.hub.repository import Repository

#: The Hub's message when it refuses the token itself, and not what the token asks for.
_BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 - a message
#: The Hub's message when it has taken the repository away.
_DISABLED = "Access to this resource is disabled."
#: What the Hub's error codes mean.
_CODES: dict[str, tuple[type[KaiwoError], str]] = {
    "GatedRepo": (
        CredentialsError,
        "{repository} is gated; ask for access at {page} and give a token that has it",
    ),
    "RepoNotFound": (
        ContainerMissingError,
        (
            "{repository} does not exist, or is private and needs a token with the right to read "
            "it (for a dataset or a space, set repo_type)"
        ),
    ),
    "RevisionNotFound": (ContainerMissingError, "{repository} has no revision {revision}"),
    "EntryNotFound": (NotFoundError, "{repository} has no such file"),
    _DISABLED: (ContainerMissingError, "{repository} is disabled by the Hub"),
}


def map_refusal(
    refused: RefusedError, what: str, repository: Repository, revision: str, *, at_endpoint: bool
) -> KaiwoError:
    """The kaiwo error for a refusal.

    Args:
        refused: the answer; the names of its headers are in lower case.
        what: the operation and its object; the message begins with it.
        repository: that the request named.
        revision: that the task names.
        at_endpoint: the endpoint itself refused, not a host that it redirected to.
    """
    status, code = refused.status, refused.code
    message = refused.headers.get("x-error-message")
    if at_endpoint:  # the body says the same in words that are no codes
        code = refused.headers.get("x-error-code", "")
    if not at_endpoint and status in (401, 403):
        # A signed address that has expired; the next attempt gets a new one.
        return TransientError(f"{what}: the signed address is refused ({status})")
    if message == _DISABLED:
        code = message
    elif not code and status == 401 and message != _BAD_TOKEN:  # noqa: PLR2004
        # The Hub does not tell a missing repository from a private one.
        code = "RepoNotFound"
    if code not in _CODES:
        return status_error(status, what, code, refused.headers)
    kind, text = _CODES[code]
    why = text.format(
        repository=f"{repository.type} {repository.id}",
        page=redact.url(repository.page),
        revision=revision,
    )
    return kind(f"{what}: {why}")
