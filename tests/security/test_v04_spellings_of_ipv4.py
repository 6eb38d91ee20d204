"""V4: of the forms that inet_aton, and so getaddrinfo, accepts as an address, only the plain dotted quad is a valid host."""

import _socket
import socket

import pytest

from tests.server.harness import Proxy, Trap

# All of these resolve to loopback, to the unspecified address or to a metadata service, as measured with getaddrinfo.
SPELLINGS = [
    "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0177.1", "017700000001", "0", "00", "0x0", "0.0.0",
    "127.0.0.01", "127.0.0.0x1", "0x7F.0.0.1", "127.00.00.01", "00000177.0.0.1", "127.0.0.1..", "0X7f000001", "0x7f000001.",
    "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.16689662", "1.0x", "256.256.256.256", "127.0.0.256", "127.0.0.1.1",
    "4294967295", "4294967296", "99999999999999999999", "0x", "0x7f000001ffffffff",
]  # fmt: skip
NON_ASCII = [
    "１２７.０.０.１".encode(), "①②⑦.⓪.⓪.①".encode(), "127。0。0。1".encode(), "127．0．0．1".encode(), "²130706433".encode(),
    "१२७.०.०.१".encode(), "𝟏𝟐𝟕.𝟎.𝟎.𝟏".encode(),
]  # fmt: skip
WITH_CONTROLS = [
    b"127.0.0.1\0.example.com",
    b"127.0.0.1%00.example.com",
    b"127.0.0.1\t",
    b"127.0.0.1%31",
    b"%3127.0.0.1",
    b"127.0.0.1,",
]


@pytest.mark.parametrize("host", [*(text.encode() for text in SPELLINGS), *NON_ASCII, *WITH_CONTROLS])
@pytest.mark.parametrize("rule", ["*:*", "127.0.0.2:*"])
def test_other_ipv4_spellings_are_malformed_and_not_looked_up(host: bytes, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy contacts neither the name service nor the trap, and a rule on loopback does not make it an address."""

    def unasked(*_: object) -> None:
        raise AssertionError("the proxy looked up a name")

    monkeypatch.setattr(_socket, "getaddrinfo", unasked)
    with Trap() as trap, Proxy(rule) as proxy:
        target = host + b":%d" % trap.port
        assert proxy.ask(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n").status == 400


def test_a_dotted_quad_with_a_trailing_dot_is_refused() -> None:
    with Trap() as trap, Proxy("*:*") as proxy:
        assert proxy.refusal(f"127.0.0.1.:{trap.port}").status in (400, 403)


@pytest.mark.parametrize("name", ["1e100.test", "0x.test", "127.0.0.1.nip.test", "0x7f.test", "1.2.3.4.5.test", "0xcafe.beef.test"])
def test_names_resembling_numbers_are_looked_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are judged by the address that they resolve to."""
    monkeypatch.setattr(_socket, "getaddrinfo", lambda host, port, *_: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))])
    with Trap() as trap, Proxy("*:*") as proxy:
        assert proxy.refusal(f"{name}:{trap.port}").error == "destination_ip_prohibited"
