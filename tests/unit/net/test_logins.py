"""Logins in a file, for one host each."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from kaiwo.net.logins import authorization_for

BASIC = f"Basic {base64.b64encode(b'user:secret').decode()}"


@pytest.mark.parametrize(
    ("text", "address", "expected"),
    [
        ("machine a.invalid login user password secret", "https://a.invalid:8443/x", BASIC),
        ("machine a.invalid login user password secret", "https://b.invalid/x", None),
        ("default login user password secret", "https://a.invalid/x", None),
        ("machine a.invalid login", "https://a.invalid/x", None),
    ],
)
def test_a_login_is_for_its_host_alone(
    text: str,
    address: str,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    assert authorization_for(address) is None
    (tmp_path / ".netrc").write_text(text)
    (tmp_path / ".netrc").chmod(0o600)
    assert authorization_for(address) == expected
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert authorization_for(address) is None
