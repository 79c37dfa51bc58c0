"""The token that a task does not name: what the Hub's library would find, and who may get it."""

from __future__ import annotations

import os
import sys

from huggingface_hub import constants

from kaiwo.errors import CredentialsError
from kaiwo.loading import loading
from kaiwo.net import redirects

#: Hosts of the Hub itself.
_HOSTS = {"huggingface.co", "hf.co"}
_BELOW = (".huggingface.co", ".hf.co")


def may_go_to(address: str) -> bool:
    """Whether an endpoint may have a token that the task does not name.

    It must be the Hub, or what the environment names (``HF_ENDPOINT``).
    """
    origin = redirects.origin_of(address)
    host = origin.host or ""
    if origin.scheme == "https" and (host in _HOSTS or host.endswith(_BELOW)):
        return True
    try:
        return origin == redirects.origin_of(constants.ENDPOINT)
    except ValueError:
        return False  # it is no address


def find() -> str | None:
    """The token that the library would find; the library is loaded only if there may be one."""
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    # The library looks at its variables first; then at the file of a login, and at Colab.
    if "HF_OIDC_RESOURCE" not in os.environ:
        token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
        if token and token.strip():
            return token.strip()
        if not os.path.exists(constants.HF_TOKEN_PATH) and "google.colab" not in sys.modules:
            return None
    # Not build_hf_headers: it sends a request to the Hub first.
    with loading():
        from huggingface_hub import get_token  # noqa: PLC0415 - 0.3 s

    try:
        return get_token()
    except Exception as error:
        raise CredentialsError(
            f"the Hub's library finds no token ({type(error).__name__}), but HF_OIDC_RESOURCE "
            "or a login says that there is one; give it as token or token_file"
        ) from None
