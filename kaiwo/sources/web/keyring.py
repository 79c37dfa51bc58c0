"""What each server of the web gets besides the request: headers, cookies, a password of netrc.

the server of the URL    the user's headers and credentials; the user info of the URL
every server             its own cookies, as browsers keep them while they are open
                         its own entry of netrc (``~/.netrc``, ``NETRC``), if nothing else is
                         given for it
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from email.message import Message
from typing import TYPE_CHECKING, Any

from kaiwo.net.answers import Answer
from kaiwo.net.headers import basic, basic_authorization
from kaiwo.net.redirects import Credentials, origin_of

if TYPE_CHECKING:
    from http.cookiejar import CookieJar


class WebKeyring:
    """See the module's docstring. Called from many threads at once.

    Args:
        url: of the source; it may hold user info.
        headers: for its server only.
        has_netrc: netrc counts.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, has_netrc: bool) -> None:
        of_url = basic_authorization(url)
        named = {name.lower() for name in headers}
        if of_url is not None and "authorization" not in named:
            headers = {**headers, "Authorization": of_url}
        self._own = Credentials(origin_of(url), headers)
        self._netrc = _read_netrc() if has_netrc else None
        self._cookies: CookieJar | None = None
        self._lock = threading.Lock()

    def for_address(self, address: str) -> Mapping[str, str]:
        """The headers for a request to an address."""
        found = dict(self._own.for_address(address))
        names = {name.lower() for name in found}
        if "authorization" not in names and (of_host := self._of_netrc(address)) is not None:
            found["Authorization"] = of_host
        if self._cookies is not None and (cookies := self._cookies_for(address)):
            name = next((each for each in found if each.lower() == "cookie"), "Cookie")
            found[name] = f"{found[name]}; {cookies}" if name in found else cookies
        return found

    def keep_cookies(self, answer: Answer) -> None:
        """Remember the cookies that an answer sets."""
        stated = answer.headers.getlist("Set-Cookie")
        if not stated:
            return
        from http.cookiejar import CookieJar  # noqa: PLC0415 - few servers set one
        from urllib.request import Request  # noqa: PLC0415

        with self._lock:
            if self._cookies is None:
                self._cookies = CookieJar()
        request = Request(answer.address)  # noqa: S310 - opens nothing
        self._cookies.extract_cookies(_Stated(stated), request)  # type: ignore[arg-type]

    def _cookies_for(self, address: str) -> str | None:
        from urllib.request import Request  # noqa: PLC0415

        request = Request(address)  # noqa: S310 - opens nothing
        if self._cookies is not None:
            self._cookies.add_cookie_header(request)
        return request.get_header("Cookie")

    def _of_netrc(self, address: str) -> str | None:
        if self._netrc is None:
            return None
        host, is_own = origin_of(address).host or "", self._own.is_for(address)
        # The entry for all other hosts is not for those that a redirect names.
        entry = self._netrc.authenticators(host) if is_own else self._netrc.hosts.get(host)
        if entry is None:
            return None
        user, account, password = entry
        return basic(user or account or "", password or "")


class _Stated:
    """What a jar wants to know of an answer."""

    def __init__(self, cookies: list[str]) -> None:
        self._headers = Message()
        for each in cookies:
            self._headers["Set-Cookie"] = each

    def info(self) -> Message:
        """The headers."""
        return self._headers


def _read_netrc() -> Any:
    """The user's netrc; None if there is none that can be read."""
    named = os.environ.get("NETRC")
    path = named or next(
        (each for name in (".netrc", "_netrc") if os.path.exists(each := _home(name))), None
    )
    if not path:
        return None
    import netrc  # noqa: PLC0415 - few users have one

    try:
        return netrc.netrc(path)
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError):
        return None


def _home(name: str) -> str:
    return os.path.join(os.path.expanduser("~"), name)
