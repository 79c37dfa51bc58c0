"""One repository of a Hub: its addresses."""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct


class Repository(Struct, frozen=True):
    """One repository of a Hub.

    Attributes:
        endpoint: address of the Hub, without a slash at its end.
        id: ``owner/repo``, or a canonical one-word name.
        type: ``model``, ``dataset`` or ``space``.
    """

    endpoint: str
    id: str
    type: str

    @property
    def api(self) -> str:
        """The address that the API's calls begin with."""
        return f"{self.endpoint}/api/{self.type}s/{self.id}"

    @property
    def page(self) -> str:
        """The address of its page; those of its files begin with it."""
        kind = "" if self.type == "model" else f"{self.type}s/"
        return f"{self.endpoint}/{kind}{self.id}"

    def resolve_address(self, key: str, commit: str) -> str:
        """Where the endpoint answers with a file, or with a redirect to it."""
        return f"{self.page}/resolve/{quote(commit, safe='')}/{quote(key)}"

    def token_address(self, commit: str) -> str:
        """Where the endpoint gives a token for the store of Xet."""
        return f"{self.api}/xet-read-token/{quote(commit, safe='')}"
