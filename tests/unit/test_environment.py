"""Variables that are empty or end with a line break, while kaiwo works and afterwards."""

from __future__ import annotations

import os

import pytest

from kaiwo.environment import cleaned


@pytest.mark.parametrize(
    "name", ["AWS_PROFILE", "HF_HOME", "AZURE_CLIENT_ID", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
)
def test_an_empty_variable_is_none_inside_and_is_back_afterwards(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for empty in ("", "\n", "\r\n"):
        monkeypatch.setenv(name, empty)
        with cleaned():
            assert name not in os.environ
        assert os.environ[name] == empty


def test_a_line_break_at_the_end_is_no_part_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a b\r\n")
    with cleaned():
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == "a b"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "a b\r\n"


def test_variables_of_others_and_proxies_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("MY_AWS_PROFILE", "http_proxy", "NO_PROXY", "LINES_", "AWS")
    for name in names:
        monkeypatch.setenv(name, "")
    with cleaned():
        assert [os.environ.get(name) for name in names] == [""] * len(names)


def test_what_the_program_sets_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "")
    monkeypatch.setenv("HF_TOKEN", "a\n")
    with cleaned():
        os.environ["AWS_PROFILE"] = "new"
        os.environ["HF_TOKEN"] = "b"
    assert (os.environ["AWS_PROFILE"], os.environ["HF_TOKEN"]) == ("new", "b")


def test_it_lasts_until_the_last_run_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "")
    first, second = cleaned(), cleaned()
    with first:
        second.__enter__()
    assert "AWS_PROFILE" not in os.environ
    second.__exit__(None, None, None)
    assert os.environ["AWS_PROFILE"] == ""


@pytest.mark.parametrize("value", ["somebody@project", "", "a\n"])
def test_what_only_obstore_reads_is_not_there_inside(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    names = ("GOOGLE_SERVICE_ACCOUNT", "SERVICE_ACCOUNT_PATH")
    for name in names:
        monkeypatch.setenv(name, value)
    with cleaned():
        assert not set(names) & os.environ.keys()
    assert [os.environ[name] for name in names] == [value, value]
