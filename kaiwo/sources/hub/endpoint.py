"""Requests to the endpoint of a Hub, and to the hosts that it redirects to.

The token goes to the endpoint only. A renamed repository is found at the endpoint itself and needs
the token. The host of the bytes has its own signature in the address.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from kaiwo.net import certificates, redirects
from kaiwo.net.answers import Answer
from kaiwo.net.certificates import ClientFiles
from kaiwo.net.client import Client
from kaiwo.net.headers import basic_authorization, header_token
from kaiwo.net.redirects import Credentials
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.hub import tokens


class Endpoint:
    """An endpoint and the credentials for it. Called from many threads at once.

    Args:
        address: of the endpoint.
        token: None: look for one as the library does (``HF_TOKEN``, its login), if the endpoint
            may have that.
        network: timeouts.
        ca_bundle: path of the certificates to trust, or None for the environment's.
        client: files of the client's certificate and key.

    Attributes:
        authorization: the header that only the endpoint gets; empty without credentials.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        network: NetworkSettings,
        ca_bundle: str | None,
        client: ClientFiles = (None, None),
    ) -> None:
        self._origin = redirects.origin_of(address)
        of_address = basic_authorization(address)
        self.authorization = {"Authorization": of_address} if of_address else {}
        if token is None and tokens.may_go_to(address):
            token = tokens.find()
        if token and not self.authorization:
            self.authorization = {"Authorization": f"Bearer {header_token(token, 'token')}"}
        credentials = Credentials(self._origin, self.authorization)
        trust = certificates.context(ca_bundle, *client)
        self._client = Client(network, lambda: trust, credentials)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def owns(self, address: str) -> bool:
        """Whether an address has the endpoint's origin."""
        return redirects.origin_of(address) == self._origin

    def request(
        self,
        method: str,
        address: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        check: Callable[[Answer], None] = lambda _: None,
        stay: bool = False,
    ) -> contextlib.AbstractContextManager[Answer]:
        """The answer at the end of all redirects; see ``Client.request``.

        Args:
            method: of HTTP.
            address: at the endpoint, or one that the endpoint redirected to before.
            headers: besides the token.
            body: of the request.
            check: is called with every answer on the way.
            stay: do not follow a redirect to another origin; the redirect is the answer.
        """
        follows = self.owns if stay else _always
        return self._client.request(method, address, headers, body, check=check, follows=follows)


def _always(_: str) -> bool:
    return True
