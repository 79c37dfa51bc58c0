"""Whose certificates are trusted, by the task and by the environment."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from kaiwo.errors import ConfigError
from kaiwo.net import certificates
from tests.support.certificates import Certified, authority, server

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*VARIABLES, "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture(scope="module")
def authorities() -> list[Certified]:
    return [authority() for _ in range(3)]


def trusted(context: ssl.SSLContext) -> set[bytes]:
    return set(context.get_ca_certs(binary_form=True))


def der(certified: Certified) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certified.pem.decode())


@pytest.fixture
def folder(tmp_path: Path, authorities: list[Certified]) -> Path:
    """Certificates by any names, beside what holds none; a volume of a pod has links."""
    found = tmp_path / "folder"
    (found / "..data").mkdir(parents=True)
    (found / "..data" / "corp.crt").write_bytes(authorities[0].pem + authorities[0].pem)
    (found / "corp.crt").symlink_to("..data/corp.crt")
    (found / "other").write_bytes(b"# our other authority\n" + authorities[1].pem)
    (found / "README").write_text("certificates")
    (found / "key.pem").write_bytes(authorities[2].key_pem)
    (found / "gone").symlink_to("nowhere")
    return found


def bundle(tmp_path: Path, name: str, *held: Certified) -> str:
    path = tmp_path / name
    path.write_bytes(b"".join(each.pem for each in held))
    return str(path)


def test_all_certificates_of_a_file_are_trusted_and_the_systems_are_not(
    tmp_path: Path, authorities: list[Certified]
) -> None:
    path = bundle(tmp_path, "ca.pem", *authorities)
    context = certificates.context(path)
    assert trusted(context) == set(map(der, authorities))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert certificates.file(path) == path


def test_all_certificates_of_a_folder_are_trusted_whatever_their_names(
    folder: Path, authorities: list[Certified]
) -> None:
    expected = set(map(der, authorities[:2]))
    assert trusted(certificates.context(str(folder))) == expected
    merged = certificates.file(str(folder))
    assert merged == certificates.file(str(folder))
    assert trusted(ssl.create_default_context(cafile=merged)) == expected
    pem = certificates.pem(str(folder))
    assert pem is not None
    assert pem.count(b"BEGIN") == 2


def test_the_tasks_are_first_then_the_environments_in_a_fixed_order(
    tmp_path: Path, authorities: list[Certified], environment: pytest.MonkeyPatch
) -> None:
    left = {name: authority() for name in VARIABLES}
    for name, held in left.items():
        (tmp_path / name).mkdir()
        path = bundle(tmp_path / name, "ca.pem", held)
        environment.setenv(name, str(tmp_path / name) if name == "SSL_CERT_DIR" else path)
    task = bundle(tmp_path, "task.pem", authorities[0])
    assert trusted(certificates.context(task)) == {der(authorities[0])}
    for name in VARIABLES[:2]:
        assert trusted(certificates.context(None)) == {der(left[name])}
        environment.setenv(name, "")
    # OpenSSL reads both.
    assert trusted(certificates.context(None)) == {der(left[name]) for name in VARIABLES[2:]}
    environment.setenv("SSL_CERT_FILE", "")
    assert der(left["SSL_CERT_DIR"]) in trusted(certificates.context(None))
    environment.setenv("SSL_CERT_DIR", f"/nowhere{os.pathsep}{tmp_path / 'SSL_CERT_DIR'}")
    assert der(left["SSL_CERT_DIR"]) in trusted(certificates.context(None))


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_is_none_and_verification_goes_on(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    environment.setenv(name, "")
    environment.setenv("PYTHONHTTPSVERIFY", "0")
    assert certificates.chosen(None) is None
    assert certificates.pem(None) is None
    context = certificates.context(None)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_names_nothing_is_a_fault_of_the_configuration(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    environment.setenv(name, "/nowhere/ca")
    for ask in (certificates.context, certificates.file, certificates.pem):
        with pytest.raises(ConfigError, match=f"^{name} names /nowhere/ca, which does not exist"):
            ask(None)


@pytest.mark.parametrize(
    "content",
    ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"],
)
def test_a_file_without_certificates_is_a_fault_of_the_configuration(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"ca\.pem holds (no|a damaged) certificate"):
        certificates.context(str(path))


def test_hosts_that_give_tokens_are_verified_by_the_systems_certificates_too(
    tmp_path: Path, authorities: list[Certified], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, own = (bundle(tmp_path, f"{n}.pem", authorities[n]) for n in (0, 1))
    monkeypatch.setattr(certificates, "_SYSTEM_FILES", ("/nowhere/ca", system))
    assert certificates.file(None) == system
    both = certificates.file(own, and_system=True)
    assert trusted(ssl.create_default_context(cafile=both)) == set(map(der, authorities[:2]))


def test_a_file_that_was_made_is_gone_with_the_process(folder: Path) -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    code = "import os, sys; from kaiwo.net import certificates as c; path = c.file(sys.argv[1])\n"
    code += "if os.fork():\n    os.wait(); assert os.path.exists(path); print(path)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith(".pem")
    assert not Path(done.stdout.strip()).exists()


@pytest.fixture
def pair(tmp_path: Path, authorities: list[Certified]) -> tuple[Path, Path, Path]:
    """A certificate, its key, and both in one file."""
    own = server(authorities[0])
    paths = tmp_path / "client.pem", tmp_path / "key.pem", tmp_path / "both.pem"
    for path, content in zip(paths, (own.pem, own.key_pem, own.key_pem + own.pem), strict=True):
        path.write_bytes(content)
    return paths


def test_a_client_shows_a_certificate_whose_key_is_beside_it_or_inside(
    pair: tuple[Path, Path, Path],
) -> None:
    certificate, key, both = map(str, pair)
    certificates.context(None, certificate, key)
    certificates.context(None, both)
    assert certificates.chosen(None, both) is not None


def test_a_client_certificate_that_cannot_be_used_is_a_fault_of_the_configuration(
    pair: tuple[Path, Path, Path], tmp_path: Path, authorities: list[Certified]
) -> None:
    certificate, key, _ = map(str, pair)
    other, none, locked = tmp_path / "other.pem", tmp_path / "none.pem", tmp_path / "locked.pem"
    other.write_bytes(authorities[1].key_pem)
    none.write_text("nothing")
    locked.write_bytes(authorities[1].locked_key_pem)
    for given, words in (
        ((certificate,), "does not hold a certificate and its key; give client_key"),
        ((certificate, str(other)), "does not belong to the certificate"),
        ((certificate, str(none)), "do not hold a certificate and its key in PEM form"),
        ((certificate, str(locked)), "is encrypted"),
        ((certificate, "/nowhere/key"), "cannot read /nowhere/key"),
        (("/nowhere/client", key), "cannot read /nowhere/client"),
    ):
        with pytest.raises(ConfigError, match=words):
            certificates.context(None, *given)


def test_where_no_folder_can_be_written_the_file_is_in_memory(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """As in a container with a read-only root."""
    new = [authority(), authority()]  # for others, there is a file already
    both = tmp_path / "both"
    both.mkdir()
    for number, each in enumerate(new):
        bundle(both, f"{number}.pem", each)
    environment.setattr("tempfile.tempdir", "/proc/self")
    path = certificates.file(str(both))
    assert path is not None
    assert path.startswith("/proc/self/fd/")
    assert trusted(ssl.create_default_context(cafile=path)) == {der(each) for each in new}
