"""`serve` over TLS, used by clients of other makers: openssl, curl, proxytunnel."""

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers import certificates
from tests.peers.https import web_server
from tests.peers.process import end, path_of
from tests.peers.program import Serve, environment
from tests.peers.scripted import ScriptedServer, echo, sample
from tunnelctl.proto.tls.pin import pin_of

pytestmark = pytest.mark.peer("openssl", "curl", "proxytunnel")
DATA = sample(3_000_000)
SECONDS = 20
VERSIONS = ["-tls1_2", "-tls1_3"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def proxy(files: certificates.Certificates) -> Iterator[Serve]:
    with Serve("--tls-cert", str(files.chain), "--tls-key", str(files.key)) as serve:
        yield serve


@pytest.fixture(scope="module")
def guarded(files: certificates.Certificates) -> Iterator[Serve]:
    """A proxy that requires client certificates."""
    with Serve("--tls-cert", str(files.chain), "--tls-key", str(files.key), "--client-ca", str(files.authority)) as serve:
        yield serve


@pytest.fixture(scope="module")
def website(tmp_path_factory: pytest.TempPathFactory, files: certificates.Certificates) -> Iterator[str]:
    """The https URL at which a web server has DATA."""
    directory = tmp_path_factory.mktemp("website")
    (directory / "data").write_bytes(DATA)
    with web_server(directory, files.server) as port:
        yield f"https://127.0.0.1:{port}/data"


# --- openssl s_client


@contextmanager
def s_client(serve: Serve, files: certificates.Certificates, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [path_of("openssl"), "s_client", "-connect", f"127.0.0.1:{serve.ports[0]}", "-CAfile", str(files.authority)]
    checked = ["-verify_return_error", "-verify_hostname", certificates.HOST, *words]
    client = subprocess.Popen([*command, *checked], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield client
    finally:
        end(client)
        for pipe in (client.stdin, client.stdout):
            assert pipe is not None
            pipe.close()


def say(client: subprocess.Popen[bytes], text: str) -> None:
    assert client.stdin is not None
    client.stdin.write(text.encode())
    client.stdin.flush()


def await_line(client: subprocess.Popen[bytes], wanted: bytes) -> None:
    """Waits for a line; the suite's time limit for a test and the client's exit bound the wait."""
    assert client.stdout is not None
    seen = b""
    for line in client.stdout:
        seen += line
        if wanted in line:
            return
    raise AssertionError(f"{wanted!r} is missing in {seen!r}")


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_gets_a_tunnel(version: str, proxy: Serve, files: certificates.Certificates, echo_target: ScriptedServer) -> None:
    with s_client(proxy, files, version, "-quiet") as client:
        say(client, f"CONNECT {echo_target.authority} HTTP/1.1\r\nHost: {echo_target.authority}\r\n\r\n")
        await_line(client, b"200 Connection established")
        say(client, "there and back\n")
        await_line(client, b"there and back")


def test_openssl_updates_its_keys_and_requests_an_update_of_ours(
    proxy: Serve, files: certificates.Certificates, echo_target: ScriptedServer
) -> None:
    """RFC 8446 section 4.6.3; K is the command of s_client that does it."""
    with s_client(proxy, files, "-tls1_3") as client:
        say(client, f"CONNECT {echo_target.authority} HTTP/1.1\r\nHost: {echo_target.authority}\r\n\r\n")
        await_line(client, b"200 Connection established")
        for number in range(3):
            say(client, "K\n")
            await_line(client, b"KEYUPDATE")
            say(client, f"after change {number}\n")
            await_line(client, b"after change %d" % number)


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_without_a_certificate_gets_the_matching_alert(
    version: str, guarded: Serve, files: certificates.Certificates
) -> None:
    with s_client(guarded, files, version) as client:
        say(client, "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
        await_line(client, b"certificate required" if version == "-tls1_3" else b"handshake failure")


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_with_a_certificate_gets_a_tunnel(
    version: str, guarded: Serve, files: certificates.Certificates, echo_target: ScriptedServer
) -> None:
    own = ["-cert", str(files.client_chain), "-key", str(files.client_key)]
    with s_client(guarded, files, version, "-quiet", *own) as client:
        say(client, f"CONNECT {echo_target.authority} HTTP/1.1\r\nHost: {echo_target.authority}\r\n\r\n")
        await_line(client, b"200 Connection established")


# --- curl


def curl(serve: Serve, url: str, files: certificates.Certificates, *words: str) -> subprocess.CompletedProcess[bytes]:
    through = ["-x", f"https://localhost:{serve.ports[0]}", "--proxy-cacert", str(files.authority), "--noproxy", ""]
    command = [path_of("curl"), "-sS", "--cacert", str(files.authority), *through, *words, url]
    return subprocess.run(command, capture_output=True, timeout=SECONDS, env=environment())


@pytest.mark.parametrize("newest", ["1.2", "1.3"])
def test_curl_downloads(newest: str, proxy: Serve, website: str, files: certificates.Certificates) -> None:
    """TLS inside TLS: that of the website within that of the proxy."""
    done = curl(proxy, website, files, "--tls-max", newest)
    assert done.stderr == b""
    assert done.stdout == DATA


def test_curl_uploads(proxy: Serve, website: str, files: certificates.Certificates, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(DATA)
    assert curl(proxy, website, files, "--data-binary", f"@{file}", "-H", "Expect:").stdout == DATA


def test_curl_accepts_our_form_of_a_pin(proxy: Serve, website: str, files: certificates.Certificates) -> None:
    """For the website: for proxies, curl 7.88 accepts any pin."""
    end_of_first = "-----END CERTIFICATE-----\n"
    pin = pin_of(ssl.PEM_cert_to_DER_cert(files.chain.read_text().partition(end_of_first)[0] + end_of_first))
    assert curl(proxy, website, files, "--pinnedpubkey", pin).stdout == DATA
    assert b"public key" in curl(proxy, website, files, "--pinnedpubkey", "sha256//" + "A" * 43 + "=").stderr


def test_curl_with_and_without_a_client_certificate(guarded: Serve, website: str, files: certificates.Certificates) -> None:
    own = ["--proxy-cert", str(files.client_chain), "--proxy-key", str(files.client_key)]
    assert curl(guarded, website, files, *own).stdout == DATA
    assert curl(guarded, website, files).returncode == 56  # failure in receiving: the alert arrives after curl's handshake


def test_curl_over_plain_http_gets_400(proxy: Serve, website: str) -> None:
    command = [path_of("curl"), "-sSv", "-x", f"http://127.0.0.1:{proxy.ports[0]}", "--noproxy", "", website]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, env=environment())
    assert b"400 Bad Request" in done.stderr


# --- proxytunnel


def test_proxytunnel_over_tls(proxy: Serve, files: certificates.Certificates) -> None:
    """-E encrypts the connection to the proxy. Without -o, the Host field would then name the proxy."""
    with ScriptedServer(echo) as target:
        way = ["-p", f"localhost:{proxy.ports[0]}", "-C", str(files.authority), "-d", target.authority, "-o", target.authority]
        command = [path_of("proxytunnel"), "-E", "-q", *way]
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            say(client, "there and back\n")
            await_line(client, b"there and back")
        finally:
            end(client)
            for pipe in (client.stdin, client.stdout, client.stderr):
                assert pipe is not None
                pipe.close()
