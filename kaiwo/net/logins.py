"""User and password for a host in the file of logins, ``NETRC`` or ``~/.netrc``, as wget reads it.

Its entry ``default`` is for any host, so it is not used: a redirect could lead anywhere.
"""

from __future__ import annotations

import base64
import os
from urllib.parse import urlsplit


def authorization_for(address: str) -> str | None:
    """The value of ``Authorization`` for a web address; None without a login for its host."""
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    host = urlsplit(address).hostname
    if not host or not os.path.isfile(path):
        return None
    import netrc  # noqa: PLC0415 - few have such a file

    try:
        login = netrc.netrc(path).hosts.get(host)
    except (OSError, ValueError, netrc.NetrcParseError):
        return None
    if login is None or not login[0]:
        return None
    return f"Basic {base64.b64encode(f'{login[0]}:{login[2]}'.encode()).decode()}"
