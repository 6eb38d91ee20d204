"""What `check` shows of a proxy over HTTP/2."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from h2.settings import SettingCodes

from tests.client.check.findings import all_of, check, only, tls_server
from tests.peers import certificates
from tests.peers.http2_server import Http2Server, grant_echo, refuse
from tests.peers.program import Serve, patched
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo
from tunnelctl.client.check.check import NOWHERE

TARGET = ("target.test", "443")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def trusting(made: certificates.Certificates) -> tuple[str, str]:
    return "--proxy-cacert", str(made.authority)


def test_the_settings_of_the_proxy_and_the_speed_that_its_window_allows() -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 7, SettingCodes.INITIAL_WINDOW_SIZE: 30_000}
    with Http2Server(grant_echo, settings=settings) as proxy:
        status, found = check("--http", "2", "-x", proxy.url, target=TARGET)
    seen = only("http2", found)
    assert status == 0
    assert (seen["offered"], seen["connects"], seen["streams"], seen["window"], seen["frame"]) == (True, True, 7, 30_000, 16_384)
    assert 0 < seen["round_trip"] < 5
    assert seen["limit"] == pytest.approx(30_000 * 8 / 1e6 / seen["round_trip"], rel=0.01)


def test_a_proxy_behind_tls_is_asked_even_if_http2_is_not_to_be_used(made: certificates.Certificates) -> None:
    with (
        ScriptedServer(echo) as target,
        Serve("--allow", "127.0.0.1:*", "--tls-cert", str(made.server[0]), "--tls-key", str(made.server[1])) as proxy,
    ):
        url = f"https://{certificates.HOST}:{proxy.port}"
        status, found = check(*trusting(made), "-x", url, target=("127.0.0.1", str(target.port)))
    seen = only("http2", found)
    assert status == 0
    assert [detail for detail in all_of("phase", "detail", found) if detail.startswith("HTTP/")] == [
        "HTTP/1.1 200 Connection established"
    ]
    assert (seen["offered"], seen["connects"], seen["streams"]) == (True, True, 100)


def test_a_proxy_that_chooses_http1(made: certificates.Certificates) -> None:
    with Http2Server(grant_echo, made, alpn=("http/1.1",), http1=_grant) as proxy:
        _, found = check(*trusting(made), "-x", proxy.url, target=TARGET)
    assert only("http2", found)["offered"] is False


def test_a_proxy_that_chooses_it_with_a_forbidden_suite(made: certificates.Certificates) -> None:
    """R28. In HTTP/1.1, such a proxy is in order."""
    suite = "ECDHE-ECDSA-AES128-SHA256"
    with Http2Server(grant_echo, made, suites=suite, http1=_grant) as proxy:
        _, found = check(*trusting(made), "-x", proxy.url, target=TARGET)
    seen = only("http2", found)
    assert (seen["offered"], seen["cause"]) == (False, f"the proxy chose it with {suite}, which HTTP/2 forbids")


def test_a_proxy_that_refuses_the_tunnel_there(made: certificates.Certificates) -> None:
    with Http2Server(refuse(403), made, http1=_grant) as proxy:
        _, found = check(*trusting(made), "-x", proxy.url, target=TARGET)
    seen = only("http2", found)
    assert (seen["offered"], seen["connects"]) == (True, False)
    assert seen["cause"].startswith("403")


def test_a_proxy_in_the_clear_is_not_asked() -> None:
    with ScriptedServer(echo) as target, Serve("--allow", "127.0.0.1:*") as proxy:
        _, found = check("-x", proxy.url, target=("127.0.0.1", str(target.port)))
    assert all_of("http2", "offered", found) == []


def _grant(peer: Conversation) -> None:
    """Grants a tunnel in HTTP/1.1. The connection on which HTTP/2 is tried ends without a request."""
    with suppress(AssertionError):
        peer.read_head()
        peer.send(ESTABLISHED)
    with suppress(OSError):
        peer.wait_gone()


# A serve that refuses every request in HTTP/1.1, which its access log then tells from those in HTTP/2.
ONLY_HTTP2 = patched(
    """
from tunnelctl.proto import refusal
from tunnelctl.proto.http1.connect_server import ConnectServer
ConnectServer.feed = lambda machine, data: refusal.version_unsupported()
"""
)


@pytest.mark.parametrize(("http", "tls"), [("2", False), ("2", True), ("auto", True)], ids=["in the clear", "TLS", "TLS, auto"])
def test_every_tunnel_of_the_check_is_one_of_http2(http: str, tls: bool, made: certificates.Certificates, tmp_path: Path) -> None:
    log, served = tmp_path / "log", ("--tls-cert", str(made.server[0]), "--tls-key", str(made.server[1])) if tls else ()
    to_target = ("--tls", "--tls-cacert", str(certificates.authority(tmp_path)), "--get", "/")
    with (
        tls_server(certificates.issue(tmp_path, "target", "127.0.0.1")) as target,
        Serve("--access-log", str(log), *served, program=ONLY_HTTP2) as proxy,
    ):
        url = f"https://{certificates.HOST}:{proxy.port}" if tls else proxy.url
        status, found = check("--http", http, *trusting(made), *to_target, "-x", url, target=(target.authority,))
    assert (status, only("reply", found)["status"], only("certificate", found)["direct"]) == (0, 200, "same")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    to_the_target = [record["event"] for record in records if record["target"] == target.authority and record["event"] != "closed"]
    # connect's own, that of the look at HTTP/2, one for the certificate, one for its issuer, and that of the GET
    assert to_the_target == ["opened"] * 5
    refused = [record["target"].partition(":")[0] for record in records if record["event"] == "refused"]
    assert refused == [NOWHERE], "HTTP/1.1 was spoken"
