"""Tests the values of -L and -D, and the listeners that they open."""

import os
import socket
import stat
from pathlib import Path

import pytest

from tunnelctl.cli.render.hints import hint_of, what_of
from tunnelctl.client.forward.listeners import ForwardSpec, open_listeners, parse_dynamic, parse_local
from tunnelctl.errors import AddressError, ListenError, UsageProblem
from tunnelctl.proto.address import Address

DB = Address("db.example.com", 5432)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("8022:db.example.com:5432", ForwardSpec("127.0.0.1:8022", DB)),
        ("0:db.example.com:5432", ForwardSpec("127.0.0.1:0", DB)),
        ("192.0.2.1:8022:db.example.com:5432", ForwardSpec("192.0.2.1:8022", DB)),
        ("*:8022:db.example.com:5432", ForwardSpec("0.0.0.0:8022", DB)),
        ("[::1]:8022:db.example.com:5432", ForwardSpec("[::1]:8022", DB)),
        ("8022:[db.example.com]:5432", ForwardSpec("127.0.0.1:8022", DB)),
        ("/run/db.sock:[db.example.com]:5432", ForwardSpec("unix:/run/db.sock", DB)),
        ("8022:[2001:db8::1]:22", ForwardSpec("127.0.0.1:8022", Address("2001:db8::1", 22))),
        ("[::1]:8022:[2001:db8::1]:22", ForwardSpec("[::1]:8022", Address("2001:db8::1", 22))),
        ("/run/db.sock:db.example.com:5432", ForwardSpec("unix:/run/db.sock", DB)),
        ("/run/a:b.sock:db.example.com:5432", ForwardSpec("unix:/run/a:b.sock", DB)),
        ("./db.sock:db.example.com:5432", ForwardSpec("unix:./db.sock", DB)),
        ("unix:db.sock:db.example.com:5432", ForwardSpec("unix:db.sock", DB)),
        ("fd:3:db.example.com:5432", ForwardSpec("fd:3", DB)),
        ("fd:web:[::1]:80", ForwardSpec("fd:web", Address("::1", 80))),
    ],
)
def test_local_values_are_parsed(text: str, local: ForwardSpec) -> None:
    assert parse_local(text) == local


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("8022", "the local port or the target is missing"),
        ("8022:host", "the local port or the target is missing"),
        (":host:22", "the local port or the target is missing"),
        ("8022:host:", "port"),
        ("8022:host:0", "port"),
        ("8022:host:70000", "port"),
        ("70000:host:22", "port"),
        ("x:host:22", "it is not ADDRESS:PORT"),
        ("localhost:8022:host:22", "it must be an address, not a name"),
        ("::1:8022:host:22", "an IPv6 address needs brackets"),
        ("8022:::1:22", "needs brackets"),
        ("8022:[::1:22", "needs brackets"),
        ("8022:bad host:22", "it contains a blank or a control character"),
        ("8022:2130706433:22", "an IPv4 address must be four decimal numbers"),
        ("unix::host:22", "the path is missing"),
        ("", "the local port or the target is missing"),
    ],
)
def test_malformed_local_values_are_rejected(text: str, cause: str) -> None:
    with pytest.raises(AddressError, match=cause) as raised:
        parse_local(text)
    assert what_of(raised.value).startswith("-L ")
    assert hint_of(raised.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("1080", "127.0.0.1:1080"),
        ("0", "127.0.0.1:0"),
        ("[::1]:1080", "[::1]:1080"),
        ("*:1080", "0.0.0.0:1080"),
        ("/run/socks", "unix:/run/socks"),
        ("fd:socks", "fd:socks"),
    ],
)
def test_dynamic_values_are_parsed(text: str, place: str) -> None:
    assert parse_dynamic(text) == ForwardSpec(place, None)


@pytest.mark.parametrize("text", ["", "x", "-1", "70000", "localhost:1080", "1080:host", "\N{ARABIC-INDIC DIGIT ONE}080"])
def test_malformed_dynamic_values_are_rejected(text: str) -> None:
    with pytest.raises(AddressError) as raised:
        parse_dynamic(text)
    assert what_of(raised.value).startswith("-D ")
    assert hint_of(raised.value)


def test_if_one_port_is_in_use_none_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        places = [ForwardSpec("127.0.0.1:0", None), ForwardSpec(f"127.0.0.1:{taken.getsockname()[1]}", None)]
        with pytest.raises(ListenError, match="address already in use"):
            open_listeners(places, 0, {})


def test_the_same_port_twice_is_a_usage_error() -> None:
    with pytest.raises(UsageProblem, match="named twice"):
        open_listeners([ForwardSpec("127.0.0.1:9", None), ForwardSpec("127.0.0.1:9", DB)], 0, {})


def test_a_unix_socket_is_private_and_removed_on_close(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (door,) = open_listeners([ForwardSpec(f"unix:{path}", DB)], 0, {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    door.close()
    assert not path.exists()
    door.close()  # harmless


def test_a_stale_unix_socket_is_replaced_but_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.fspath(path))
    (door,) = open_listeners([ForwardSpec(f"unix:{path}", DB)], 0, {})
    try:
        with pytest.raises(ListenError, match="in use"):
            open_listeners([ForwardSpec(f"unix:{path}", DB)], 0, {})
        assert path.exists()
    finally:
        door.close()


def test_a_file_that_is_not_a_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ListenError):
        open_listeners([ForwardSpec(f"unix:{path}", DB)], 0, {})
    assert path.read_text() == "precious"
