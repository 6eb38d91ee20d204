"""The proxy's own ports."""

import socket

import pytest

from tunnelctl.stream.listen import ListenAddress
from tunnelctl.stream.own_ports import OwnAddresses


def own(*listeners: tuple[str, int]) -> OwnAddresses:
    return OwnAddresses([ListenAddress(*listener) for listener in listeners])


def test_h2_a_name_is_refused_instead_of_looked_up() -> None:
    """bind(2) takes addresses; the C library would look a name up first, and block the whole program meanwhile."""
    with pytest.raises(ValueError, match="no IP address"):
        own(("0.0.0.0", 443)).contains("name.example", 443)


@pytest.mark.parametrize(
    ("listener", "host", "contained"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::ffff:0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::1", False),
        ("127.0.0.1", "192.0.2.1", False),
        ("::1", "::1", True),
        ("::1", "::", True),
        ("::1", "127.0.0.1", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "127.255.255.254", True),
        ("0.0.0.0", "::ffff:127.0.0.1", True),
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "192.0.2.1", False),
        ("0.0.0.0", "::1", False),  # none of our listeners is there
        ("::", "::1", True),
        ("::", "::", True),
        ("::", "2001:db8::1", False),
        ("::", "127.0.0.1", False),  # [::] is IPv6 only
    ],
)
def test_v2_addresses_that_lead_to_a_listener(listener: str, host: str, contained: bool) -> None:
    assert own((listener, 3128)).contains(host, 3128) is contained
    assert not own((listener, 3128)).contains(host, 3129)


@pytest.mark.parametrize(("host", "contained"), [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False)])
def test_v2_a_listener_for_both_families(host: str, contained: bool) -> None:
    assert OwnAddresses([ListenAddress("::", 3128, dual=True)]).contains(host, 3128) is contained


def test_addresses_of_several_listeners() -> None:
    ports = own(("127.0.0.1", 1), ("127.0.0.2", 1), ("::1", 2))
    for host, port in (("127.0.0.1", 1), ("127.0.0.2", 1), ("::1", 2)):
        assert ports.contains(host, port)
    assert not ports.contains("::1", 1)
    assert not ports.contains("127.0.0.1", 2)


def test_a_unix_socket_has_no_port() -> None:
    assert not OwnAddresses([ListenAddress("", 0, "/run/proxy")]).contains("127.0.0.1", 0)


def test_a_wildcard_covers_the_address_of_every_interface() -> None:
    """As the kernel reports it: the local address of a socket that connects to another machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    assert own(("0.0.0.0", 3128)).contains(address, 3128)


def test_own_addresses_fail_closed_if_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that uses up the descriptors must not get past the check."""

    def exhausted(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", exhausted)
    assert own(("0.0.0.0", 3128)).contains("198.51.100.7", 3128)
