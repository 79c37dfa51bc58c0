"""Why S3's SDK has no keys to sign with, as kaiwo errors; its own text may hold any secret.

the service refuses it                    NotAllowedYetError: exit 3, waited for if it is new
a token's file is missing or empty        the same
the service fails or is not there         NoAnswerError: exit 5, repeated at any time
a login has ended, a program fails        CredentialsError: exit 3
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kaiwo import environment
from kaiwo.errors import (
    BusyError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    NotAllowedYetError,
    TransientError,
    UnavailableError,
)
from kaiwo.loading import loading
from kaiwo.net.failures import chain, connection_error
from kaiwo.net.statuses import garbled, status_error
from kaiwo.tasks import s3_identity_words

#: How the SDK says the status of a container's endpoint.
_STATUS = re.compile(r"non 200 response (\d{3}) ")


def to_kaiwo_error(error: Exception, what: str, method: str) -> KaiwoError:
    """The kaiwo error for a failure to have keys.

    Args:
        error: the SDK's.
        what: who signs in; the message begins with it.
        method: the SDK's name of the way.
    """
    found = _of_answer(error, what) or _of_file(error, what, method)
    found = found or connection_error(error, what) or _of_chain(error, what, method)
    if found is not None:
        return found
    hint = s3_identity_words.hint(method)
    return CredentialsError(f"{what}: no usable credentials ({type(error).__name__}){hint}")


def _of_answer(error: Exception, what: str) -> KaiwoError | None:
    """The error for an answer of an identity service."""
    with loading():
        from botocore.exceptions import ClientError, CredentialRetrievalError  # noqa: PLC0415
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

    if isinstance(error, ClientError):
        metadata = error.response.get("ResponseMetadata", {})
        status, code = metadata.get("HTTPStatusCode"), error.response.get("Error", {}).get("Code")
        return _refusal(int(status or 500), str(code), what, metadata.get("HTTPHeaders", {}))
    if isinstance(error, ResponseParserError):
        return NoAnswerError(garbled(what, "identity").message)
    if isinstance(error, CredentialRetrievalError) and (said := _STATUS.search(str(error))):
        return _refusal(int(said[1]), "", what, {})
    return None


def _refusal(status: int, code: str, what: str, headers: Mapping[str, str]) -> KaiwoError:
    found = status_error(status, what, code, headers)
    if isinstance(found, BusyError) and not isinstance(found, UnavailableError):
        return found
    if isinstance(found, TransientError):
        return NoAnswerError(found.message, found.retry_after_s)  # it may not be up yet
    if isinstance(found, CredentialsError):
        return found
    # Such as InvalidIdentityToken: another status than of a refusal, and one all the same.
    answer = found.message.rpartition(": ")[0]
    return NotAllowedYetError(f"{answer}: the service refuses this identity; check it and its role")


def _of_file(error: Exception, what: str, method: str) -> KaiwoError | None:
    """The error for a file with a token that is not there yet, or not written yet."""
    with loading():
        from botocore.exceptions import ParamValidationError  # noqa: PLC0415

    if method == "custom-process":
        return None
    for each in chain(error):
        if isinstance(each, FileNotFoundError):
            if environment.missing_file(environment.TRUST, each.filename):
                return None
            named = environment.missing_file(environment.CREDENTIALS, each.filename)
            return NotAllowedYetError(f"{what}: {named or f'{each.filename} does not exist'}")
    if isinstance(error, ParamValidationError) and "web-identity" in method:
        return NotAllowedYetError(f"{what}: the token's file is empty, or holds no token")
    return None


def _of_chain(error: Exception, what: str, method: str) -> KaiwoError | None:
    """The error for a link of the chain that gives nothing, or nothing that is valid."""
    with loading():
        from botocore import exceptions as boto  # noqa: PLC0415

    if isinstance(error, RuntimeError):
        return CredentialsError(f"{what}: the credentials that it gives have expired")
    if isinstance(error, boto.MetadataRetrievalError | boto.CredentialRetrievalError):
        # An instance that had a role has one a moment later.
        kind = NoAnswerError if method == "iam-role" else NotAllowedYetError
        return kind(f"{what}: it gives no credentials")
    return None
