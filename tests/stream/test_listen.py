"""From the text of --listen to a listener: refused addresses, bound sockets, and the fate of an existing socket file."""

import os
import socket
import stat
from pathlib import Path

import pytest

from tests.portable.removal import of_linux
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import AddressError, ListenError
from tunnelctl.stream.listen import ListenAddress, bound_address, ignore_new_clients, listen, parse_listen
from tunnelctl.stream.socket_stream import MAX_UNSENT


@pytest.fixture(autouse=True)
def poller() -> None:
    """Overrides the parametrised fixture: no poller takes part here, so one run is enough."""


# --- the text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:3128", ListenAddress("127.0.0.1", 3128)),
        ("0.0.0.0:0", ListenAddress("0.0.0.0", 0)),
        ("[::1]:3128", ListenAddress("::1", 3128)),
        ("[::]:65535", ListenAddress("::", 65535)),
        ("[0:0::1]:1", ListenAddress("::1", 1)),
        ("unix:/run/x", ListenAddress("", 0, "/run/x")),
        ("unix:relative", ListenAddress("", 0, "relative")),
        ("unix:with:colons", ListenAddress("", 0, "with:colons")),
    ],
)
def test_valid_listen_addresses(text: str, address: ListenAddress) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "3128",
        ":3128",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1:00",
        "127.0.0.1:+80",
        "127.0.0.1: 80",
        "127.0.0.1:80x",
        "127.0.0.1:٣",
        "127.1:80",
        "2130706433:80",
        "0x7f000001:80",
        "256.0.0.1:80",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[127.0.0.1]:80",
        "[fe80::1%lo]:80",
        "unix:",
        "*:80",
    ],
)
def test_invalid_listen_addresses(text: str) -> None:
    with pytest.raises(AddressError):
        parse_listen(text)


@pytest.mark.parametrize("text", ["::1:3128", "2001:db8::1:3128", "::3128"])
def test_ipv6_without_brackets_is_refused_as_ambiguous(text: str) -> None:
    with pytest.raises(AddressError):
        parse_listen(text)


@pytest.mark.parametrize("name", ["localhost", "example.com", "a", "localhost.", "1.example"])
def test_names_are_refused(name: str) -> None:
    """A name service decides what a name means, and tomorrow it could be another address."""
    with pytest.raises(AddressError, match="not a name") as raised:
        parse_listen(f"{name}:3128")
    assert "127.0.0.1:3128" in hint_of(raised.value)


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("unix:x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("[::ffff:127.0.0.1]:1", False),
    ],
)
def test_private_addresses_are_those_that_only_this_machine_reaches(text: str, private: bool) -> None:
    assert parse_listen(text).private is private


@pytest.mark.parametrize("text", ["127.0.0.1:3128", "[::1]:3128", "unix:/run/x"])
def test_the_text_of_an_address_parses_to_the_same_address(text: str) -> None:
    assert str(parse_listen(text)) == text


# --- TCP


def connects(listener: socket.socket) -> socket.socket:
    """Connects to a listener and returns the accepted end."""
    with socket.socket(listener.family) as client:
        client.settimeout(20)
        client.connect(listener.getsockname())
        listener.settimeout(20)
        accepted, _ = listener.accept()
        return accepted


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_port_0_binds_a_free_port(host: str) -> None:
    with listen(ListenAddress(host, 0), 0) as listener:
        bound = bound_address(listener)
        assert bound.host == host
        assert bound.port > 0
        assert not listener.getblocking()
        connects(listener).close()


def test_a_listener_on_ipv6_accepts_ipv6_only() -> None:
    """[::] must not accept IPv4 as well, whose addresses no rule takes into account."""
    try:
        listener = listen(ListenAddress("::", 0), 0)
    except ListenError:
        pytest.skip("this machine has no IPv6")
    with listener, socket.socket() as client:
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        assert client.connect_ex(("127.0.0.1", bound_address(listener).port)) != 0
        assert str(bound_address(listener)) == f"[::]:{bound_address(listener).port}"


@pytest.mark.linux("a packet filter on a listener")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_listener_that_ignores_new_clients_still_has_those_before(host: str) -> None:
    with listen(ListenAddress(host, 0), 0) as listener:
        with socket.create_connection(listener.getsockname()[:2]) as before, socket.socket(listener.family) as after:
            ignore_new_clients(listener)
            after.settimeout(0.2)
            with pytest.raises(TimeoutError):  # neither connected nor refused: its SYN was lost
                after.connect(listener.getsockname())
            accepted, _ = listener.accept()
            with accepted:
                before.sendall(b"here")
                accepted.setblocking(True)
                assert accepted.recv(4) == b"here"
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_a_unix_listener_does_not_ignore_new_clients(path: Path) -> None:
    with listen(ListenAddress("", 0, str(path)), 0) as listener, socket.socket(socket.AF_UNIX) as client:
        ignore_new_clients(listener)
        client.connect(str(path))


def test_a_port_in_use_is_an_error_with_a_hint() -> None:
    with listen(ListenAddress("127.0.0.1", 0), 0) as listener:
        address = bound_address(listener)
        with pytest.raises(ListenError) as raised:
            listen(address, 0)
    assert str(raised.value) == f"cannot listen on {address}: address already in use"
    assert hint_of(raised.value) == "port 0 picks a free port"
    assert raised.value.exit_status == 71


@pytest.mark.parametrize(
    ("host", "hint"),
    [("127.0.0.1", "--listen 127.0.0.1:0 picks a free port"), ("::1", "--admin [::1]:0 picks a free port")],
)
def test_the_hint_names_the_flag_and_can_be_followed_as_written(host: str, hint: str) -> None:
    with listen(ListenAddress(host, 0), 0) as listener, pytest.raises(ListenError) as raised:
        listen(bound_address(listener), 0, option=hint.split()[0].removeprefix("--"))
    assert hint_of(raised.value) == hint
    listen(parse_listen(hint.split()[1]), 0).close()


def test_a_unix_socket_in_use_is_an_error_with_a_hint(tmp_path: Path) -> None:
    address = ListenAddress("", 0, str(tmp_path / "proxy"))
    with listen(address, 0):
        for option, hint in (("", "choose another path"), ("listen", "--listen unix:PATH names another one")):
            with pytest.raises(ListenError) as raised:
                listen(address, 0, option=option)
            assert hint_of(raised.value) == hint


def test_a_port_can_be_shared_if_every_listener_agrees() -> None:
    with listen(ListenAddress("127.0.0.1", 0), 0, share=True) as first:
        listen(bound_address(first), 0, share=True).close()
        with pytest.raises(ListenError):
            listen(bound_address(first), 0)


def test_a_port_in_time_wait_can_be_bound_at_once() -> None:
    """The end that closes first keeps the port in TIME_WAIT; a restarted server must not have to wait for its end."""
    with listen(ListenAddress("127.0.0.1", 0), 0) as listener:
        address = bound_address(listener)
        with socket.create_connection(address[:2], 5) as client:
            listener.settimeout(20)
            accepted, _ = listener.accept()
            accepted.close()
            assert client.recv(1) == b""
    listen(address, 0).close()


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with pytest.raises(ListenError, match="cannot assign requested address"):
        listen(ListenAddress("192.0.2.1", 0), 0)


@pytest.mark.parametrize(
    ("keepalive", "on", "idle", "interval"), [(0, 0, None, None), (60, 1, 60, 15), (0.1, 1, 1, 1), (1e9, 1, 32767, 8191)]
)
def test_accepted_sockets_inherit_the_options_of_the_listener(
    keepalive: float, on: int, idle: int | None, interval: int | None
) -> None:
    """T7: keepalive on both legs; the accepted socket inherits it, as well as SO_OOBINLINE, which keeps urgent bytes in place."""
    with listen(ListenAddress("127.0.0.1", 0), keepalive) as listener, connects(listener) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == on
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == MAX_UNSENT
        if idle is not None and interval is not None:
            assert accepted.getsockopt(socket.IPPROTO_TCP, of_linux(socket, "TCP_KEEPIDLE")) == idle
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == interval
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 9
        # It would also cut off peers that are alive and do not read; see stream.vanished.
        assert accepted.getsockopt(socket.IPPROTO_TCP, of_linux(socket, "TCP_USER_TIMEOUT")) == 0


# --- unix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def on(path: Path) -> ListenAddress:
    return ListenAddress("", 0, str(path))


def test_a_unix_socket_is_accessible_only_to_its_owner(path: Path) -> None:
    mask = os.umask(0)
    try:
        with listen(on(path), 0) as listener:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert os.umask(0) == 0, "listen left the umask changed"
            assert bound_address(listener) == on(path)
            connects(listener).close()
    finally:
        os.umask(mask)


def test_a_stale_unix_socket_is_replaced(path: Path) -> None:
    listen(on(path), 0).close()
    assert path.is_socket()
    with listen(on(path), 0) as listener:
        connects(listener).close()


def test_a_unix_socket_in_use_is_not_replaced(path: Path) -> None:
    with listen(on(path), 0) as listener:
        with pytest.raises(ListenError, match="address already in use"):
            listen(on(path), 0)
        connects(listener).close()


def test_a_unix_socket_whose_backlog_is_full_is_in_use(path: Path) -> None:
    """A client that connects would wait there until the listener accepts it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        waiting = []
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        except BlockingIOError:
            pass
        with pytest.raises(ListenError, match="address already in use"):
            listen(on(path), 0)
        for client in waiting:
            client.close()
    assert path.is_socket()


def test_a_unix_socket_that_is_about_to_listen_is_in_use(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        with pytest.raises(ListenError, match="address already in use"):
            listen(on(path), 0)
        bound.listen()
        connects(bound).close()


def test_to_look_whether_a_unix_socket_is_in_use_makes_no_connection(path: Path) -> None:
    with listen(on(path), 0) as listener:
        with pytest.raises(ListenError):
            listen(on(path), 0)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("kind", ["file", "directory", "link to a file", "dangling link"])
def test_other_files_are_left_alone(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif "link" in kind:
        path.symlink_to(path.with_name("other"))
        if kind == "link to a file":
            path.with_name("other").write_text("precious")
    else:
        path.write_text("precious")
    with pytest.raises(ListenError):
        listen(on(path), 0)
    assert path.is_dir() if kind == "directory" else kind == "dangling link" or path.read_text() == "precious"


def test_a_socket_path_that_is_too_long_is_refused(path: Path) -> None:
    with pytest.raises(ListenError, match="too long"):
        listen(on(path.with_name("x" * 200)), 0)


def test_a_missing_directory_is_an_error(path: Path) -> None:
    with pytest.raises(ListenError, match="no such file or directory"):
        listen(on(path / "socket"), 0)


def test_the_hint_about_low_ports_is_not_given_for_paths(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    class Refusing(socket.socket):
        bind = refuse  # type: ignore[assignment]

    monkeypatch.setattr(socket, "socket", Refusing)
    for address, hint in ((on(path), False), (ListenAddress("127.0.0.1", 80), True)):
        with pytest.raises(ListenError) as raised:
            listen(address, 0)
        assert ("1024" in hint_of(raised.value)) is hint
