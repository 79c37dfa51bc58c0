"""What servers send in place of a file is told from files."""

from __future__ import annotations

import pytest

from kaiwo.net.stand_ins import is_page, is_refusal, pointer_kind

DIGEST = b"b" * 64
LFS = b"version https://git-lfs.github.com/spec/v1"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%s\noid sha256:%%s\nsize 1\n" % LFS, "Git LFS"),
        (b"%s\r\next-0-x sha256:aa\r\noid sha256:%%s\r\nsize 1\r\n" % LFS, "Git LFS"),
        (b"version http://git-media.io/v/2\noid sha256:%s\nsize 1\n", "Git LFS"),
        (b"\nversion https://hawser.github.com/spec/v1 \noid sha256:%s \nsize 1", "Git LFS"),
        (b"# xet version 0\nfilesize = 1\nhash = '%s'\n", "Xet"),
        (b"/annex/objects/SHA256E-s1--%s.bin\n", "git-annex"),
        (b"../../.git/annex/objects/xx/yy/SHA256E-s1--%s/SHA256E-s1--b", "git-annex"),
        (b"a file\n%s\noid sha256:%%s\n" % LFS, None),
        (b"/annex/objects/ is a folder of git-annex %s", None),
    ],
)
def test_pointers_are_told_by_their_first_words(data: bytes, kind: str | None) -> None:
    assert pointer_kind(data.replace(b"%s", DIGEST)) == kind
    assert pointer_kind(data.replace(b"%s", DIGEST) + b" " * 2000) is None


PAGE = "<!DOCTYPE html>\n<html><body>Sign in</body></html>"


@pytest.mark.parametrize(
    "data",
    [
        PAGE.encode(),
        PAGE.encode("utf-8-sig"),
        PAGE.encode("utf-16"),
        PAGE.encode("utf-16-be"),
        PAGE.encode("utf-16-le"),
        b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x"><html></html>',
        b"\n<!-- a --> <!-- b\n --><HTML lang=en>",
        b"<head><title>404</title></head>",
        b'<meta http-equiv="refresh" content="0;url=/login">',
        b'<script>location="/login"</script>',
        b"<body onload=x>",
    ],
)
def test_pages_are_told_by_their_first_element(data: bytes) -> None:
    assert is_page(data)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"<\0\0\0\1\0", b"<model>", b"PK\3\4<html>"])
def test_other_bytes_are_no_page(data: bytes) -> None:
    assert not is_page(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"error":"unauthorized","message":"sign in"}',
        b'\xef\xbb\xbf {"title": "Forbidden", "status": 403}\n',
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
        b"<soap:Fault/>",
        b"404: Not Found",
        b"File not found.\n",
        b"Invalid username or password. Log in again.",
        b"Error 503",
    ],
)
def test_refusals_are_told_by_their_words(data: bytes) -> None:
    assert is_refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 5000,
        b"weights",
        b'{"weights": [1, 2]}',
        b'{"error": ',
        b"[" * 50_000,
        b"{" * 50_000,
        b"\0not found",
        b"\xff\xfenot found",
        b"<model/>",
        b"not found" + b" " * 2000 + b"x",
        b'{"error": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_other_bytes_are_no_refusal(data: bytes) -> None:
    assert not is_refusal(data)
