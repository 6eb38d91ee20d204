"""The files that TLS needs, and the errors about unusable ones."""

import _ssl
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.peers import certificates
from tests.peers.process import path_of
from tunnelctl.cli.render.hints import hint_of, what_of
from tunnelctl.errors import SettingsError
from tunnelctl.stream.tls import settings as settings_module
from tunnelctl.stream.tls.openssl import Context, session_of
from tunnelctl.stream.tls.settings import MAX_CONTEXTS, TLSClient, _contexts, client_context, server_context, stands_for


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def refused(settings: TLSClient) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        client_context(settings)
    return caught.value


def test_defaults_of_a_client_context() -> None:
    context = client_context(TLSClient("p.test"))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.fixture
def hashed(files: certificates.Certificates, tmp_path: Path) -> Path:
    """Returns a directory with the authority, in the form that OpenSSL requires."""
    shutil.copy(files.authority, tmp_path / "authority.pem")
    subprocess.run([path_of("openssl"), "rehash", str(tmp_path)], check=True, timeout=20)
    return tmp_path


def trusts(context: Context, files: certificates.Certificates) -> bool:
    """Whether the context accepts the certificate of the tests' proxy, which only a handshake can show."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(str(files.server[0]), str(files.server[1]), None).wrap_bio(to_server, to_client, server_side=True)
    client = session_of(context, to_client, to_server, certificates.HOST)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return client.version() is not None


@pytest.fixture(autouse=True)
def no_context_stays() -> Iterator[None]:
    """Empties the cache: other tests must not get a context with the authorities of these."""
    yield
    _contexts.clear()


def system_has(monkeypatch: pytest.MonkeyPatch, file: Path, directory: Path) -> None:
    """Replaces the default locations that Python reports. OpenSSL's own are compiled in and stay."""
    places = "SSL_CERT_FILE", str(file), "SSL_CERT_DIR", str(directory)
    monkeypatch.setattr(_ssl, "get_default_verify_paths", lambda: places)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    _contexts.clear()


@pytest.mark.peer("openssl")
@pytest.mark.parametrize(("variable", "of_file"), [("SSL_CERT_FILE", True), ("SSL_CERT_DIR", False)])
def test_a_client_trusts_the_authorities_that_the_environment_names(
    variable: str, of_file: bool, files: certificates.Certificates, hashed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system_has(monkeypatch, hashed / "none.pem", hashed / "none")
    assert not trusts(client_context(TLSClient(certificates.HOST)), files)
    monkeypatch.setenv(variable, str(files.authority if of_file else hashed))
    _contexts.clear()
    assert trusts(client_context(TLSClient(certificates.HOST)), files)


@pytest.mark.peer("openssl")
def test_a_client_trusts_the_hashed_directory_without_the_bundle(
    files: certificates.Certificates, hashed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system_has(monkeypatch, files.authority, hashed)
    context = client_context(TLSClient(certificates.HOST))
    assert not context.get_ca_certs()
    assert trusts(context, files)


@pytest.mark.peer("openssl")
def test_a_client_reads_a_bundle_with_more_than_the_hashed_directory(
    files: certificates.Certificates, hashed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert stands_for(str(hashed), str(files.authority))
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(files.authority.read_bytes() * 2)
    assert not stands_for(str(hashed), str(bundle))
    assert not stands_for(str(hashed / "none"), str(bundle))
    assert not stands_for(str(hashed), str(hashed / "none.pem"))
    system_has(monkeypatch, bundle, hashed)
    asked: list[Context] = []

    class Asked(Context):
        def set_default_verify_paths(self) -> None:
            asked.append(self)

    monkeypatch.setattr(settings_module, "Context", Asked)
    context = client_context(TLSClient(certificates.HOST))
    assert asked == [context]


def test_a_context_is_created_once_for_all_names(files: certificates.Certificates) -> None:
    one = client_context(TLSClient("one.test", str(files.authority)))
    assert one is client_context(TLSClient("other.test", str(files.authority)))
    assert one is not client_context(TLSClient("one.test", str(files.authority), insecure=True))


def test_the_newest_contexts_are_kept() -> None:
    """Each reading of the files makes new ones."""
    first = client_context(TLSClient("p.test", insecure=True))
    for reading in range(1, MAX_CONTEXTS):
        client_context(TLSClient("p.test", insecure=True, reading=reading))
    assert client_context(TLSClient("p.test", insecure=True)) is first
    newest = client_context(TLSClient("p.test", insecure=True, reading=MAX_CONTEXTS))
    assert client_context(TLSClient("p.test", insecure=True)) is not first
    assert client_context(TLSClient("p.test", insecure=True, reading=MAX_CONTEXTS)) is newest
    assert len(_contexts) == MAX_CONTEXTS


@pytest.mark.parametrize("field", ["cacert", "cert"])
def test_a_missing_file_is_reported_with_its_flag(field: str) -> None:
    error = refused(TLSClient("p.test", options="tls")._replace(**{field: "/nowhere.pem"}))  # type: ignore[arg-type]
    assert (what_of(error), error.cause) == (f"--tls-{field} /nowhere.pem", "no such file or directory")


def test_a_missing_key_is_reported_with_its_flag(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cert=str(files.client_chain), key="/nowhere.key"))
    assert what_of(error) == "--proxy-key /nowhere.key"


def test_an_authority_file_without_a_certificate(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cacert=str(files.key)))
    assert (what_of(error), error.cause) == (f"--proxy-cacert {files.key}", "it contains no certificate")


def test_a_certificate_file_without_a_certificate(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cert=str(files.key), key=str(files.key)))
    assert (what_of(error), error.cause) == (f"--proxy-cert {files.key}", "it contains no certificate")


def test_a_certificate_file_without_a_key(files: certificates.Certificates) -> None:
    """The error names the flag that the user gave."""
    error = refused(TLSClient("p.test", cert=str(files.client_chain)))
    assert (what_of(error), error.cause) == (f"--proxy-cert {files.client_chain}", "it contains no private key")
    assert hint_of(error) == "--proxy-key FILE names its key"
    error = refused(TLSClient("p.test", cert=str(files.client_chain), key=str(files.authority)))
    assert (what_of(error), error.cause) == (f"--proxy-key {files.authority}", "it contains no private key")
    assert hint_of(error) == "it must be in PEM format"
    with pytest.raises(SettingsError, match="it contains no private key") as caught:
        server_context(str(files.client_chain), None, None)
    assert (what_of(caught.value), hint_of(caught.value)) == (f"--tls-cert {files.client_chain}", "--tls-key FILE names its key")


def test_the_key_of_another_certificate(files: certificates.Certificates) -> None:
    error = refused(TLSClient("p.test", cert=str(files.client_chain), key=str(files.key)))
    assert what_of(error) == f"--proxy-key {files.key}"
    assert "does not match" in error.cause


def test_a_file_with_a_certificate_and_the_key_of_another(files: certificates.Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.client_chain.read_bytes())
    error = refused(TLSClient("p.test", cert=str(both)))
    assert (what_of(error), error.cause) == (f"--proxy-cert {both}", "the key in it does not match its certificate")


def test_an_encrypted_key_is_refused_without_a_prompt(files: certificates.Certificates, tmp_path: Path) -> None:
    key = load_pem_private_key(files.client_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    error = refused(TLSClient("p.test", cert=str(files.client_chain), key=str(locked)))
    assert what_of(error) == f"--proxy-key {locked}"
    assert "encrypted" in error.cause


def test_certificate_and_key_in_one_file(files: certificates.Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(files.client_key.read_bytes() + files.client_chain.read_bytes())
    client_context(TLSClient("p.test", cert=str(both)))


def test_a_server_requires_client_certificates_only_if_configured(files: certificates.Certificates) -> None:
    chain, key = map(str, files.server)
    assert server_context(chain, key, None).verify_mode == ssl.CERT_NONE
    assert server_context(chain, key, str(files.authority)).verify_mode == ssl.CERT_REQUIRED


def test_errors_of_a_server_context_name_its_flags(files: certificates.Certificates) -> None:
    with pytest.raises(SettingsError, match="client_ca /nowhere"):
        server_context(str(files.server[0]), str(files.server[1]), "/nowhere")
    with pytest.raises(SettingsError, match="tls_cert /nowhere"):
        server_context("/nowhere", None, None)
