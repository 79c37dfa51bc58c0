"""Tokens of Microsoft Entra: azure-identity asks for them, by the run's proxies and timeouts.

The SDK's own way would repeat and wait by itself, and follow what a 401 says about the tenant and
the resource to ask for: a server must not choose these. So the blob service's client gets a policy
that only puts the token of the moment into each request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.pipeline.transport import RequestsTransport

from kaiwo import environment
from kaiwo.errors import CredentialsError, KaiwoError, NoAnswerError, NotAllowedYetError
from kaiwo.net.failures import connection_error
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.identity import Identity, Token, TokenError, is_of_this_machine, proxy_for_token

#: The audience of a token for storage accounts, the same in all clouds.
SCOPE = "https://storage.azure.com/.default"
#: An address of this machine answers at once, or there is nobody.
_LOCAL_CONNECT_S = 2.0
#: The code of an error of Entra; the text around it may quote what was sent.
_CODE = re.compile(r"\bAADSTS\d{2,10}\b")

#: What the SDK says where it has looked everywhere, and no metadata service answers.
_NOBODY = "no response from the IMDS endpoint"


class TokenTransport(RequestsTransport):  # type: ignore[misc]  # it is not typed
    """Sends the requests of azure-identity.

    Args:
        network: timeouts.
        trust: path of the certificates to trust, or None for those that the SDK brings along.
    """

    def __init__(self, network: NetworkSettings, trust: str | None) -> None:
        super().__init__(use_env_settings=False)
        self._network = network
        self._trust = {} if trust is None else {"connection_verify": trust}

    def send(self, request: Any, **options: Any) -> Any:
        """One request; its host gets no other proxy, no other certificates, and no more time."""
        proxy, network = proxy_for_token(request.url), self._network
        longest_s = _LOCAL_CONNECT_S if is_of_this_machine(request.url) else None
        longest_s = min(longest_s or network.connect_timeout_s, network.connect_timeout_s)
        options["connection_timeout"] = min(options.get("connection_timeout") or 300.0, longest_s)
        options["read_timeout"] = network.stall_timeout_s
        options["proxies"] = None if proxy is None else {"http": proxy, "https": proxy}
        return super().send(request, **{**options, **self._trust})

    def close(self) -> None:
        """Keep the session: credentials of one identity share it, one after another."""


class BearerPolicy(AsyncHTTPPolicy[Any, Any]):
    """Puts the token of the moment into each request.

    Args:
        identity: whose tokens are sent.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def send(self, request: PipelineRequest[Any]) -> Any:
        """Send a request; once more if its token was refused, and there is another one."""
        token = self._identity.kept()
        if token is None:
            token = await asyncio.to_thread(self._identity.token)
        answer = await self._send_as(token, request)
        if answer.http_response.status_code != HTTPStatus.UNAUTHORIZED:
            return answer
        if not await asyncio.to_thread(self._identity.replace, token.value):
            return answer
        await answer.http_response.close()
        return await self._send_as(self._identity.token(), request)

    async def _send_as(self, token: Token, request: PipelineRequest[Any]) -> Any:
        request.http_request.headers["Authorization"] = f"Bearer {token.value}"
        return await self.next.send(request)


def asking(make: Callable[[], Any]) -> Callable[[bool], Token]:
    """A function that asks for a token, see ``Identity``.

    Args:
        make: makes a credential of azure-identity, which remembers its tokens.

    Raises:
        ValueError: a credential cannot be made of what is given.
    """
    made = [make()]

    def ask(is_refused: bool) -> Token:
        if is_refused:
            made[:] = [make()]
        given = made[0].get_token(SCOPE)
        return Token.until(given.token, given.expires_on)

    return ask


def map_token_error(error: TokenError, what: str) -> KaiwoError:
    """The kaiwo error for a token that was not given."""
    cause, what = error.__cause__, f"{what}: asking for a token of {error}"
    if isinstance(cause, KaiwoError):
        return cause
    if isinstance(cause, FileNotFoundError):  # of a pod's token: it may come yet
        named = environment.missing_file(environment.CREDENTIALS_OF_AZURE)
        return NotAllowedYetError(f"{what}: {named or 'its file does not exist'}")
    if isinstance(cause, Exception) and (found := connection_error(cause, what)) is not None:
        return found
    status = getattr(cause, "status_code", None) or 0
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return NoAnswerError(f"{what}: the token service fails ({status})")
    code = _CODE.search(str(cause))
    said = f" ({code[0]})" if code else ""
    # Where nothing names an identity and no metadata service answers, there is nothing to wait for.
    kind = CredentialsError if _NOBODY in str(cause) else NotAllowedYetError
    return kind(
        f"{what}: no usable credentials, none was issued{said}; check this identity, or give "
        "account_key or sas_token, or anonymous: true for a public container"
    )
