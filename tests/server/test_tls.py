"""A listener that speaks TLS, and its handling of clients without TLS and clients without an accepted certificate."""

import select
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.peers import certificates
from tests.peers.process import wait_until
from tests.peers.program import Serve
from tests.peers.scripted import Conversation, ScriptedServer, echo
from tests.server.harness import SECONDS, Client, Proxy, connect_request, parse, users_file
from tunnelctl.errors import SettingsError, UsageProblem
from tunnelctl.server.tls import describe_certificate, name_of

BRIEF = 0.3  # seconds: a limit meant to expire
BIG = 5_000_000
SUBJECT = f"trustme v{trustme.__version__}"  # type: ignore[attr-defined]  # whom our certificates are for


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def speaking_tls(files: certificates.Certificates, client_ca: Path | None = None, **options: Any) -> Proxy:
    own = {"tls_cert": str(files.chain), "tls_key": str(files.key), "client_ca": str(client_ca) if client_ca else None}
    return Proxy(**own, **options)


@contextmanager
def client_of(
    proxy: Proxy, files: certificates.Certificates, own: tuple[Path, Path] | None = None, where: tuple[str, int] | str = ""
) -> Iterator[Client]:
    """Yields a client that verifies the proxy's certificate; `own` is the client's certificate, if any."""
    context = ssl.create_default_context(cafile=files.authority)
    if own is not None:
        context.load_cert_chain(*own)
    with Client(where or ("127.0.0.1", proxy.port)) as client:
        client.sock = context.wrap_socket(client.sock, server_hostname=certificates.HOST, suppress_ragged_eofs=False)
        yield client


# --- cipher suites


@pytest.mark.parametrize("alpn", [["h2"], ["http/1.1"]])
def test_a_client_with_nothing_but_suites_that_http_2_forbids_is_refused(alpn: list[str], files: certificates.Certificates) -> None:
    """R28. `serve` offers them in HTTP/1.1 no more than in HTTP/2."""
    context = ssl.create_default_context(cafile=files.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    context.set_alpn_protocols(alpn)
    with speaking_tls(files) as proxy:
        with Client(("127.0.0.1", proxy.port)) as client, pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            context.wrap_socket(client.sock, server_hostname=certificates.HOST)
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        with Client(("127.0.0.1", proxy.port)) as client:
            client.sock = secured = context.wrap_socket(client.sock, server_hostname=certificates.HOST)
            assert secured.selected_alpn_protocol() == alpn[0]


# --- tunnels


def test_tunnels_over_tls_on_tcp_and_unix_sockets(files: certificates.Certificates, tmp_path: Path) -> None:
    path = str(tmp_path / "proxy")
    with ScriptedServer(echo) as target, speaking_tls(files, listen=("127.0.0.1:0", f"unix:{path}")) as proxy:
        for where in (("127.0.0.1", proxy.port), path):
            with client_of(proxy, files, where=where) as client:
                assert client.tunnel(target.authority).echoes()
        records = proxy.wait_for_records(2)
        assert all(next(iter(record["phases"])) == "tls" for record in records if record["event"] in ("opened", "refused"))


def test_early_data_reaches_the_target(files: certificates.Certificates) -> None:
    with ScriptedServer(echo) as target, speaking_tls(files) as proxy, client_of(proxy, files) as client:
        client.send(connect_request(target.authority) + b"early")
        assert client.head().startswith(b"HTTP/1.1 200")
        assert client.exactly(5) == b"early"


def test_bulk_data_in_both_directions(files: certificates.Certificates) -> None:
    with ScriptedServer(echo) as target, speaking_tls(files) as proxy, client_of(proxy, files) as client:
        client.tunnel(target.authority)
        sent, got = bytes(range(256)) * (BIG // 256), bytearray()
        client.sock.setblocking(False)
        rest, poll = memoryview(sent), select.poll()
        poll.register(client.sock, select.POLLIN | select.POLLOUT)
        while len(got) < len(sent):
            assert poll.poll(SECONDS * 1000)
            try:
                got += client.sock.recv(65536)
            except ssl.SSLWantReadError:
                pass
            try:
                rest = rest[client.sock.send(rest[:65536]) :] if rest else rest
            except ssl.SSLWantWriteError:
                pass
            if not rest:
                poll.modify(client.sock, select.POLLIN)
        assert bytes(got) == sent


def test_a_refusal_arrives_whole_and_ends_with_close_notify(files: certificates.Certificates) -> None:
    with speaking_tls(files) as proxy, client_of(proxy, files) as client:
        client.send(connect_request("192.0.2.1:22"))
        assert parse(client.rest()).status == 403


def test_eof_of_the_target_becomes_close_notify(files: certificates.Certificates) -> None:
    def speak(peer: Conversation) -> None:
        peer.sock.sendall(b"banner")

    with ScriptedServer(speak) as target, speaking_tls(files) as proxy, client_of(proxy, files) as client:
        assert client.tunnel(target.authority).rest() == b"banner"


def test_a_reset_of_the_target_is_not_a_clean_end_for_the_client(files: certificates.Certificates) -> None:
    """It never looks like a clean end."""

    def leave(peer: Conversation) -> None:
        peer.sock.recv(1)
        peer.reset()

    with ScriptedServer(leave) as target, speaking_tls(files) as proxy, client_of(proxy, files) as client:
        client.tunnel(target.authority).send(b"x")
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            client.rest()


def test_a_client_fin_without_close_notify_is_a_reset(files: certificates.Certificates) -> None:
    """The target must not take truncated data for complete data."""
    with ScriptedServer(echo) as target, speaking_tls(files) as proxy, client_of(proxy, files) as client:
        client.tunnel(target.authority)
        assert client.echoes()
        socket.socket.shutdown(client.sock, socket.SHUT_WR)
        end = proxy.wait_for_records(2)[1]
        assert (end["closed_by"], end["cause"], end["error"]) == ("client", "reset", "ECONNRESET")


# --- client certificates


def test_the_user_is_the_name_in_the_client_certificate(files: certificates.Certificates) -> None:
    with ScriptedServer(echo) as target, speaking_tls(files, files.authority) as proxy:
        with client_of(proxy, files, files.client) as client:
            assert client.tunnel(target.authority).echoes()
        assert proxy.wait_for_records(1)[0]["user"] == f"email={certificates.USER}"


def refused_by(proxy: Proxy, files: certificates.Certificates, own: tuple[Path, Path] | None) -> dict[str, Any]:
    """Returns the log record of the client with that certificate, which the proxy must refuse."""
    with pytest.raises(ssl.SSLError, match="alert"), client_of(proxy, files, own) as client:
        client.send(connect_request("127.0.0.1:1"))
        client.rest()
    return proxy.wait_for_records(1)[0]


def test_a_client_without_a_certificate_is_refused(files: certificates.Certificates) -> None:
    with speaking_tls(files, files.authority) as proxy:
        record = refused_by(proxy, files, None)
    assert (record["status"], record["error"], record["phase"]) == (400, "tls_protocol_error", "tls")
    assert record["rule"] == "the peer gave no certificate"


def test_a_client_certificate_of_another_authority_is_refused(files: certificates.Certificates, tmp_path: Path) -> None:
    with speaking_tls(files, certificates.another_authority(tmp_path)[0]) as proxy:
        record = refused_by(proxy, files, files.client)
    assert "issued by an authority that is not" in record["rule"]


def test_an_expired_client_certificate_is_refused(files: certificates.Certificates, tmp_path: Path) -> None:
    old = certificates.issue(tmp_path, "old", certificates.USER, expired=True)
    with speaking_tls(files, files.authority) as proxy:
        assert "expired" in refused_by(proxy, files, old)["rule"]


def test_a_client_that_rejects_the_certificate_of_the_proxy_is_recorded(files: certificates.Certificates, tmp_path: Path) -> None:
    """Its alert is about the certificate of the server, as that of a server is about the certificate of its client."""
    context = ssl.create_default_context(cafile=certificates.another_authority(tmp_path)[0])
    with speaking_tls(files) as proxy, proxy.client() as client:
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(client.sock, server_hostname=certificates.HOST)
        assert proxy.wait_for_records(1)[0]["rule"] == "it does not know the issuer of the server certificate"


@pytest.mark.usefixtures("cheap_hashes")
def test_with_users_and_a_client_ca_clients_need_both(files: certificates.Certificates, tmp_path: Path) -> None:
    with speaking_tls(files, files.authority, users=users_file(tmp_path, alice="secret")) as proxy:
        with client_of(proxy, files, files.client) as client:
            client.send(connect_request("127.0.0.1:1"))
            assert parse(client.rest()).status == 407
        assert refused_by(proxy, files, None)["user"] == f"email={certificates.USER}"


def test_client_certificates_are_enough_beyond_loopback(files: certificates.Certificates) -> None:
    with speaking_tls(files, files.authority, listen=("0.0.0.0:0",)) as proxy:
        assert proxy.authority.startswith("0.0.0.0:")


def test_tls_alone_is_an_open_proxy_beyond_loopback(files: certificates.Certificates) -> None:
    with pytest.raises(UsageProblem, match="open proxy"), speaking_tls(files, listen=("0.0.0.0:0",)):
        raise AssertionError("it started")


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, ""),
        ({}, ""),
        ({"subject": ((("organizationName", "Firm"),), (("commonName", "anna"),))}, "CN=anna"),
        ({"subject": ((("organizationName", "Firm"),),), "subjectAltName": (("DNS", "a.test"), ("DNS", "b.test"))}, "DNS=a.test"),
        ({"subject": ((("organizationName", "Firm"),),)}, ""),
    ],
)
def test_name_of_takes_the_common_name_or_an_alternative_name(certificate: dict[str, object] | None, name: str) -> None:
    assert name_of(certificate) == name


# --- no TLS, or too slow


@pytest.mark.parametrize("request_line", [connect_request("a.test:443"), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_plain_http_gets_a_400_that_names_tls(request_line: bytes, files: certificates.Certificates) -> None:
    with speaking_tls(files) as proxy:
        answer = proxy.ask(request_line)
        assert answer.status == 400
        assert b"this port speaks TLS" in answer.body
        assert proxy.wait_for_records(1)[0]["error"] == "http_request_error"


def test_any_other_plain_protocol_is_closed_with_an_alert_at_most(files: certificates.Certificates) -> None:
    with speaking_tls(files) as proxy, proxy.client() as client:
        client.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        assert client.rest()[:1] in (b"", b"\x15")
        assert proxy.wait_for_records(1)[0]["rule"] == "the peer does not speak TLS"


def test_a_handshake_in_too_many_records_is_closed(files: certificates.Certificates) -> None:
    with speaking_tls(files) as proxy, proxy.client() as client:
        client.send(b"\x16\x03\x01\x00\x04\x01\x00\x10\x00" + b"\x16\x03\x01\x00\x01\x00" * 300)
        assert client.rest() == b""
        assert proxy.wait_for_records(1)[0]["rule"] == "its handshake is split into too many records"


def test_a_port_scan_leaves_no_record_and_no_warning(files: certificates.Certificates) -> None:
    with speaking_tls(files) as proxy:
        assert proxy.ask_nothing() == b""
        with client_of(proxy, files) as client:
            client.send(connect_request("192.0.2.1:22"))
            client.rest()
        assert len(proxy.wait_for_records(1)) == 1
        assert not proxy.warnings


def test_the_head_timeout_covers_a_handshake_that_never_begins(files: certificates.Certificates) -> None:
    """There is no response: a client that waits for TLS could not read it."""
    with speaking_tls(files, head_timeout=BRIEF) as proxy, proxy.client() as client:
        assert client.rest() == b""
        record = proxy.wait_for_records(1)[0]
        assert (record["status"], record["phase"]) == (408, "tls")


def test_the_handshake_and_the_head_share_one_timeout(files: certificates.Certificates) -> None:
    with speaking_tls(files, head_timeout=2.0) as proxy, client_of(proxy, files) as client:
        client.send(b"CONNECT ")
        assert parse(client.rest()).status == 408


# --- settings


@pytest.mark.parametrize("flag", ["tls_key", "client_ca"])
def test_tls_flags_without_a_certificate_are_usage_errors(flag: str, files: certificates.Certificates) -> None:
    with pytest.raises(UsageProblem, match=f"^{flag}: "), Proxy(**{flag: str(files.key)}):
        raise AssertionError("it started")


def test_a_missing_certificate_file_is_reported_before_listening(files: certificates.Certificates) -> None:
    with pytest.raises(SettingsError, match="tls_cert /nowhere"), Proxy(tls_cert="/nowhere.pem"):
        raise AssertionError("it started")


def test_workers_serve_tls(files: certificates.Certificates) -> None:
    with (
        ScriptedServer(echo) as target,
        Serve("--workers", "2", "--tls-cert", str(files.chain), "--tls-key", str(files.key)) as serve,
    ):
        with Client(("127.0.0.1", serve.ports[0])) as client:
            client.sock = ssl.create_default_context(cafile=files.authority).wrap_socket(
                client.sock, server_hostname=certificates.HOST
            )
            assert client.tunnel(target.authority).echoes()


def test_without_tls_the_ssl_module_is_not_loaded() -> None:
    code = "import sys, tunnelctl.server.serve as s; print('ssl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20).stdout == "False\n"


# --- validity periods of certificates


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def issued(directory: Path, begins: datetime | None, ends: datetime) -> dict[str, str]:
    chain, key = certificates.issue(directory, "dated", *certificates.NAMES, begins=begins, ends=ends)
    return {"tls_cert": str(chain), "tls_key": str(key)}


def shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def test_an_expired_certificate_is_warned_of_at_start_and_reload(tmp_path: Path, now: datetime) -> None:
    """Every client refuses it, and the client's message may not say whose certificate it is, or why."""
    ends = now - timedelta(days=1)
    files = issued(tmp_path, None, ends)
    expected = f"certificate file {files['tls_cert']}: the certificate of {SUBJECT} has expired: it was valid until {shown(ends)}"
    with Proxy(**files) as proxy:  # type: ignore[arg-type]
        assert proxy.warnings == [expected]
        proxy.hang_up()
        wait_until(lambda: len(proxy.warnings) == 2, SECONDS, "the warning after the reload")
    assert proxy.warnings == [expected] * 2
    assert proxy.events("reloaded")[0]["now"] == f"expired at {shown(ends)}"


def test_a_certificate_not_yet_valid_is_warned_of(tmp_path: Path, now: datetime) -> None:
    begins = now + timedelta(days=2)
    files = issued(tmp_path, begins, now + timedelta(days=90))
    with Proxy(**files) as proxy:  # type: ignore[arg-type]
        pass
    expected = f"certificate file {files['tls_cert']}: the certificate of {SUBJECT} is not valid before {shown(begins)}"
    assert proxy.warnings == [expected]


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (timedelta(hours=5), ", 0 days left"),
        (timedelta(days=1, hours=1), ", 1 day left"),
        (timedelta(days=13, hours=23), ", 13 days left"),
        (timedelta(days=14, hours=1), ""),
    ],
)
def test_a_certificate_that_expires_soon_is_reported_without_a_warning(
    tmp_path: Path, now: datetime, left: timedelta, text: str
) -> None:
    files = issued(tmp_path, None, now + left)
    with Proxy(**files) as proxy:  # type: ignore[arg-type]
        pass
    assert proxy.warnings == []
    assert describe_certificate(files["tls_cert"]) == f"valid until {shown(now + left)}{text}"


def test_an_expired_authority_in_the_chain_is_warned_of(tmp_path: Path, now: datetime) -> None:
    """The proxy sends the whole chain, and clients refuse an expired authority as they refuse an expired certificate."""
    files = issued(tmp_path, None, now + timedelta(days=90))
    ends = now - timedelta(days=3)
    old = certificates.issue(tmp_path, "old", "old.example", ends=ends)[0]
    with Path(files["tls_cert"]).open("ab") as chain:
        chain.write(old.read_bytes())
    with Proxy(**files) as proxy:  # type: ignore[arg-type]
        pass
    assert [warning for warning in proxy.warnings if shown(ends) in warning] == proxy.warnings != []


def test_an_expired_authority_of_clients_is_warned_of(tmp_path: Path, now: datetime) -> None:
    ends = now - timedelta(days=3)
    authority = certificates.issue(tmp_path, "old", "old.example", ends=ends)[0]
    files = issued(tmp_path, None, now + timedelta(days=90))
    with Proxy(**files, client_ca=str(authority)) as proxy:  # type: ignore[arg-type]
        pass
    expected = f"file of client authorities {authority}: the certificate of {SUBJECT} has expired: it was valid until {shown(ends)}"
    assert proxy.warnings == [expected]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_only_one_process_warns_of_an_expired_certificate(tmp_path: Path, now: datetime, workers: str) -> None:
    files = issued(tmp_path, None, now - timedelta(days=1))
    with Serve("--workers", workers, "--tls-cert", files["tls_cert"], "--tls-key", files["tls_key"]) as serve:
        pass
    assert serve.log().count("has expired") == 1
    assert serve.log().startswith("tunnelctl: warning: "), "the warning must come before the listening line"
