"""The service account of the tests' Google: its file, and the tokens that its key gets."""

import json
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PROJECT = "kaiwo-test"
EMAIL = f"kaiwo@{PROJECT}.iam.gserviceaccount.com"
# google-auth addresses every assertion to Google, for any `token_uri` of the account.
_GOOGLE = "https://oauth2.googleapis.com/token"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def new_key() -> rsa.RSAPrivateKey:
    """A key of a service account."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write(folder: Path, key: rsa.RSAPrivateKey, token_url: str) -> str:
    """Write the account's file into a folder; returns its path."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "100000000000000000001",
        "token_uri": token_url,
    }
    file = folder / "service-account.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(account, indent=2))
    return str(file)


def grant(
    grant_type: str, assertion: str, key: rsa.RSAPublicKey, token_url: str, token: str = ""
) -> tuple[HTTPStatus, dict[str, Any]]:
    """Answer `POST /token` as Google does: a token, or an error with its reason.

    Args:
        grant_type: from the form.
        assertion: from the form; it must be signed with the account's key for this endpoint.
        key: the account's.
        token_url: of this endpoint.
        token: to grant; empty for a random one.
    """
    if grant_type != _GRANT:
        return HTTPStatus.BAD_REQUEST, {"error": "unsupported_grant_type"}
    audience: Sequence[str] = [token_url, _GOOGLE]
    try:
        jwt.decode(
            assertion,
            key,
            algorithms=["RS256"],
            audience=audience,
            issuer=EMAIL,
            options={"require": ["exp", "iat", "aud", "iss"]},
        )
    except jwt.PyJWTError as error:
        reason = f"Invalid JWT: {error}"
        return HTTPStatus.BAD_REQUEST, {"error": "invalid_grant", "error_description": reason}
    granted = token or f"ya29.{secrets.token_urlsafe(32)}"
    return HTTPStatus.OK, {"access_token": granted, "expires_in": 3600, "token_type": "Bearer"}
