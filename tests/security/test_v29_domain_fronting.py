"""V29: an allowed host is asked for, and another one is meant. Rules with `sni = "match"` let through what names the target.

What a ClientHello is, octet by octet: tests/proto/test_client_hello. How the tunnel is looked at: tests/server/test_inspection.
"""

from pathlib import Path

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.proto.client_hellos import CHROMIUM, extension, hello, named, records, server_name
from tests.server.inspecting import NAME, end_of, is_cut, names, proxy_with, silent  # noqa: F401  (an automatic fixture)
from tunnelctl.proto.client_hello import MALFORMED, NO_TLS

SAME = [named(NAME), named("WWW.EXAMPLE.COM."), CHROMIUM, named(NAME, size=3)]


@pytest.mark.parametrize("kind", ["tls", "sni", "deny", "report"])
@pytest.mark.parametrize("data", SAME, ids=["plain", "case", "chromium", "split"])
def test_what_names_the_target_passes_unmodified(tmp_path: Path, kind: str, data: bytes) -> None:
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
def test_what_is_not_tls_is_cut(tmp_path: Path, kind: str, data: bytes) -> None:
    with ScriptedServer(silent) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, data)
        end = end_of(proxy)
    rule = "deny *:* (web)" if kind == "deny" else "allow www.example.com:* (web)"
    assert (end["seen"], end["sni"], end["cut_by"], end["reports"]) == (NO_TLS, "", rule, [])
    assert (end["ended_by"], end["cause"], end["error"], end["sent"]) == ("proxy", "cut", "", 0)


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
def test_what_names_another_host_is_cut(tmp_path: Path, kind: str, data: bytes, seen: str, sni: str) -> None:
    with ScriptedServer(silent) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, data)
        end = end_of(proxy)
        assert "\x1b" not in proxy.log()
    assert end["seen"] == seen
    assert end["sni"] == sni
    assert str(end["cut_by"]).endswith("(web)")


def test_the_reverse_an_allowed_host_is_asked_for_and_another_named_on_its_address(tmp_path: Path) -> None:
    with ScriptedServer(silent) as target, proxy_with(tmp_path, "sni") as proxy, proxy.tunnel(target.authority) as client:
        assert is_cut(client, named(NAME))


