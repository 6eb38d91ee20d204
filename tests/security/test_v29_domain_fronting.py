"""V29: a client requests an allowed host and means another. Rules with `sni = "match"` pass only a ClientHello naming the target.

The octets of a ClientHello: tests/proto/tls/test_client_hello. Inspection of the tunnel: tests/server/policy/test_inspection.
"""

from pathlib import Path

import pytest

from tests.peers import certificates
from tests.peers.scripted import Conversation, ScriptedServer, echo
from tests.proto.client_hellos import (
    CHANGE_CIPHER_SPEC,
    CHROMIUM,
    application_data,
    extension,
    hello,
    named,
    records,
    server_name,
)
from tests.server.harness import Client
from tests.server.inspecting import (
    NAME,
    Retrying,
    client_tls,
    end_of,
    is_cut,
    proxy_with,
    silent,
)
from tunnelctl.proto.tls.client_hello import MALFORMED, NO_TLS

pytestmark = pytest.mark.usefixtures("loopback_names", "http_version")

SAME = [named(NAME), named("WWW.EXAMPLE.COM."), CHROMIUM, named(NAME, size=3)]


@pytest.mark.parametrize("kind", ["tls", "sni", "deny", "report"])
@pytest.mark.parametrize("data", SAME, ids=["plain", "case", "chromium", "split"])
def test_a_hello_naming_the_target_passes_unmodified(tmp_path: Path, kind: str, data: bytes) -> None:
    with ScriptedServer(echo) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert client.echoes(data + b"and more")
            assert client.echoes()
        end = end_of(proxy)
    seen = "TLS with ECH" if data == CHROMIUM else "TLS"
    assert (end["seen"], end["sni"], end["cut_by"], end["reports"]) == (seen, NAME, "", [])
    assert (end["cause"], end["sent"]) == ("eof", len(data) + 19)


NOT_TLS = [b"SSH-2.0-OpenSSH_9.2\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10", b"\x17\x03\x03\0\1x"]


@pytest.mark.parametrize("kind", ["tls", "sni", "deny"])
@pytest.mark.parametrize("data", NOT_TLS)
def test_data_other_than_tls_is_cut(tmp_path: Path, kind: str, data: bytes) -> None:
    with ScriptedServer(silent) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, data)
        end = end_of(proxy)
    rule = "deny *:* (web)" if kind == "deny" else "allow www.example.com:* (web)"
    assert (end["seen"], end["sni"], end["cut_by"], end["reports"]) == (NO_TLS, "", rule, [])
    assert (end["closed_by"], end["cause"], end["error"], end["sent"]) == ("tunnelctl", "cut", "", 0)


FRONTED = [
    (named("bad.example.org"), "TLS", "bad.example.org"),
    (named("example.com"), "TLS", "example.com"),
    (named("xwww.example.com"), "TLS", "xwww.example.com"),
    (named("www.example.com.bad.example.org"), "TLS", "www.example.com.bad.example.org"),
    (named("127.0.0.1"), "TLS", "127.0.0.1"),
    (hello(), "TLS", ""),
    (named('x","event":"end'), "TLS", 'x","event":"end'),
    (named("a\x1b[31m"), "TLS", "a\x1b[31m"),
    (named("cloudflare-ech.com", extension(0xFE0D, bytes(100))), "TLS with ECH", "cloudflare-ech.com"),
    (named("www.example.com\0.bad"), "TLS", "www.example.com\0.bad"),
    (hello(server_name(NAME.encode(), b"bad.example.org")), MALFORMED, ""),
    (hello(server_name(NAME.encode()), server_name(b"bad.example.org")), MALFORMED, ""),
    (records(b"\2" + bytes(50)), MALFORMED, ""),
]


@pytest.mark.parametrize("kind", ["sni", "deny"])
@pytest.mark.parametrize(("data", "seen", "sni"), FRONTED)
def test_a_hello_naming_another_host_is_cut(tmp_path: Path, kind: str, data: bytes, seen: str, sni: str) -> None:
    with ScriptedServer(silent) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, data)
        end = end_of(proxy)
        assert "\x1b" not in proxy.log()
    assert end["seen"] == seen
    assert end["sni"] == sni
    assert str(end["cut_by"]).endswith("(web)")


def test_a_hello_naming_a_host_is_cut_if_the_target_is_an_address(tmp_path: Path) -> None:
    with ScriptedServer(silent) as target, proxy_with(tmp_path, "sni") as proxy, proxy.tunnel(target.authority) as client:
        assert is_cut(client, named(NAME))


# --- a second hello (RFC 8446 section 4.1.4): the server requests it and uses its name

OTHER = "bad.example.org"  # as long as NAME, so that it can replace NAME in a hello without changing a length
assert len(OTHER) == len(NAME)


@pytest.fixture
def retrying(tmp_path: Path) -> Retrying:
    return Retrying(certificates.make(tmp_path).server)


def two_hellos(client: Client) -> tuple[bytes, bytes]:
    """Sends the first hello to a server that requests another; returns both, the second preceded by ChangeCipherSpec."""
    sent: list[bytes] = []
    tls = client_tls(sent.append)
    tls.take(b"")
    client.send(sent[0])
    while len(sent) == 1:
        tls.take(client.sock.recv(65536))
    return sent[0], sent[1]


def test_the_server_uses_the_name_of_the_second_hello(retrying: Retrying) -> None:
    """Without a proxy: shows the attack that the proxy must prevent."""
    with ScriptedServer(retrying) as target, Client(("127.0.0.1", target.port)) as client:
        _, second = two_hellos(client)
        client.send(second.replace(NAME.encode(), OTHER.encode()))
        assert client.sock.recv(1)
    assert retrying.names == [NAME, OTHER]


@pytest.mark.parametrize("kind", ["sni", "deny"])
@pytest.mark.parametrize("size", [1, 5, 6, 100, 10_000])
def test_a_second_hello_with_another_name_is_cut(tmp_path: Path, retrying: Retrying, kind: str, size: int) -> None:
    with ScriptedServer(retrying) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            first, second = two_hellos(client)
            second = second.replace(NAME.encode(), OTHER.encode())
            with pytest.raises(ConnectionError):
                for at in range(0, len(second), size):
                    client.send(second[at : at + size])
                while client.sock.recv(65536):
                    pass
        end = end_of(proxy)
    assert retrying.names == [NAME], "the second hello must not reach the server"
    assert (end["seen"], end["sni"], end["cause"], end["closed_by"]) == ("TLS", OTHER, "cut", "tunnelctl")
    assert str(end["cut_by"]).endswith("(web)")
    assert len(first) <= int(str(end["sent"])) <= len(first + CHANGE_CIPHER_SPEC)


@pytest.mark.parametrize("between", [b"", CHANGE_CIPHER_SPEC, application_data(), records(b"\1\x5a", kind=21)])
@pytest.mark.parametrize("kind", ["sni", "deny"])
def test_an_unrequested_second_hello_with_another_name_is_cut(tmp_path: Path, kind: str, between: bytes) -> None:
    """The client anticipates the server's request; records that a server skips may come between the two hellos."""
    first = named(NAME)

    def first_only(peer: Conversation) -> None:
        assert (first + between).startswith(peer.wait_gone())

    with ScriptedServer(first_only) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, first + between + named(OTHER))
        end = end_of(proxy)
    assert (end["seen"], end["sni"], end["cause"]) == ("TLS", OTHER, "cut")


def test_a_second_hello_without_a_name_is_cut(tmp_path: Path) -> None:
    with ScriptedServer(lambda peer: peer.wait_gone()) as target, proxy_with(tmp_path, "sni") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, named(NAME) + hello())
        assert (end_of(proxy)["seen"], end_of(proxy)["sni"]) == ("TLS", "")


@pytest.mark.parametrize("kind", ["tls", "sni", "deny", "report"])
def test_a_second_hello_with_the_same_name_passes(tmp_path: Path, retrying: Retrying, kind: str) -> None:
    with ScriptedServer(retrying) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            tls = client_tls(client.send)
            tls.take(b"")
            while not tls.is_open:
                tls.take(client.sock.recv(65536))
            tls.write(b"hello" * 50_000)
            while len(tls.plaintext) < 250_000:
                tls.take(client.sock.recv(65536))
            assert tls.plaintext == b"hello" * 50_000
        end = end_of(proxy)
    assert retrying.names == [NAME, NAME]
    assert (end["seen"], end["sni"], end["cut_by"], end["reports"]) == ("TLS", NAME, "", [])


def test_a_report_rule_reports_the_second_hello(tmp_path: Path, retrying: Retrying) -> None:
    with ScriptedServer(retrying) as target, proxy_with(tmp_path, "report") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            _, second = two_hellos(client)
            client.send(second.replace(NAME.encode(), OTHER.encode()))
            assert client.sock.recv(1), "a report rule must not cut"
        end = end_of(proxy)
    assert retrying.names == [NAME, OTHER]
    assert (end["sni"], end["cut_by"], end["reports"]) == (OTHER, "", ["report *:* (soon)"])


def test_a_rule_requiring_tls_accepts_any_name_in_a_second_hello(tmp_path: Path, retrying: Retrying) -> None:
    with ScriptedServer(retrying) as target, proxy_with(tmp_path, "tls") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            _, second = two_hellos(client)
            client.send(second.replace(NAME.encode(), OTHER.encode()))
            assert client.sock.recv(1)
        assert (end_of(proxy)["sni"], end_of(proxy)["cut_by"]) == (OTHER, "")


def test_a_malformed_second_hello_is_cut(tmp_path: Path) -> None:
    with ScriptedServer(lambda peer: peer.wait_gone()) as target, proxy_with(tmp_path, "tls") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, named(NAME) + records(b"\1\0\0\4junk"))
        assert end_of(proxy)["seen"] == MALFORMED
