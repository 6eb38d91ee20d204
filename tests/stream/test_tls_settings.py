"""The files that TLS is given, and what is said of those that will not do."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.peers import certificates
from tunnelctl.errors import SettingsError
from tunnelctl.stream.tls_settings import TLSClient, client_context, server_context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def refused(settings: TLSClient) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        client_context(settings)
    return caught.value


def test_defaults() -> None:
    context = client_context(TLSClient("p.test"))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_made_once_for_all_names(files: certificates.Certificates) -> None:
    one = client_context(TLSClient("one.test", str(files.authority)))
    assert one is client_context(TLSClient("other.test", str(files.authority)))
    assert one is not client_context(TLSClient("one.test", str(files.authority), insecure=True))


@pytest.mark.parametrize("field", ["cacert", "cert"])
def test_a_missing_file_is_named_with_its_flag(field: str) -> None:
    error = refused(TLSClient("p.test", flags="--tls", **{field: "/nowhere.pem"}))
    assert (error.what, error.cause) == (f"--tls-{field} /nowhere.pem", "no such file or directory")


def test_a_missing_key(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cert=str(files.client_chain), key="/nowhere.key"))
    assert error.what == "--proxy-key /nowhere.key"


def test_a_file_without_an_authority(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cacert=str(files.key)))
    assert (error.what, error.cause) == (f"--proxy-cacert {files.key}", "no certificate in it")


def test_a_file_without_a_certificate(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cert=str(files.key), key=str(files.key)))
    assert (error.what, error.cause) == (f"--proxy-cert {files.key}", "no certificate in it")


def test_a_file_without_a_key(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cert=str(files.client_chain)))
    assert (error.what, error.cause) == (f"--proxy-key {files.client_chain}", "no private key in it")


def test_the_key_of_another_certificate(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cert=str(files.client_chain), key=str(files.key)))
    assert error.what == f"--proxy-key {files.key}"
    assert "not the key" in error.cause


def test_an_encrypted_key_asks_nobody(files: certificates.Certificates, tmp_path: Path) -> None:
    key = load_pem_private_key(files.client_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    error = refused(TLSClient("p.test", cert=str(files.client_chain), key=str(locked)))
    assert error.what == f"--proxy-key {locked}"
    assert "encrypted" in error.cause


def test_certificate_and_key_in_one_file(files: certificates.Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(files.client_key.read_bytes() + files.client_chain.read_bytes())
    client_context(TLSClient("p.test", cert=str(both)))


def test_a_server_wants_client_certificates_only_if_told_so(files: certificates.Certificates) -> None:
    chain, key = map(str, files.server)
    assert server_context(chain, key, None).verify_mode == ssl.CERT_NONE
    assert server_context(chain, key, str(files.authority)).verify_mode == ssl.CERT_REQUIRED


def test_flags_of_a_server(files: certificates.Certificates) -> None:
    with pytest.raises(SettingsError, match="--client-ca /nowhere"):
        server_context(*map(str, files.server), "/nowhere")
    with pytest.raises(SettingsError, match="--tls-cert /nowhere"):
        server_context("/nowhere", None, None)
