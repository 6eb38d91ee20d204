"""The SOCKS client against microsocks, Dante and OpenSSH: the state machine of proto.socks.client on a plain socket."""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.peers.openssh import Sshd
from tests.peers.process import free_port
from tests.peers.proxies import PASSWORD, USER, Proxy, Rules
from tests.peers.scripted import Conversation, ScriptedServer, refusing_port, sample
from tests.peers.socks_proxies import dante, microsocks, openssh
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, Refused
from tunnelctl.proto.address import Address
from tunnelctl.proto.socks.client import SOCKS4A, SOCKS5, Granted, SocksClient

Start = Callable[[Rules], AbstractContextManager[Proxy]]

SECONDS = 20
CONTENT = sample(1 << 20)
both = pytest.mark.parametrize("start", [microsocks, dante], ids=lambda start: start.__name__)
pytestmark = pytest.mark.peer("microsocks", "danted", "openssl", "unshare", "ssh", "sshd", "ssh-keygen")


def speak(peer: Conversation) -> None:
    """A target that speaks first."""
    peer.send(CONTENT)


def ask(proxy: Proxy, machine: SocksClient) -> bytes:
    """Reads the tunnel to its end; reads no octet beyond the reply before that."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=SECONDS) as sock:
        sock.sendall(machine.request())
        outcome = None
        while outcome is None:
            data = sock.recv(machine.wanted)
            if not data:
                raise machine.eof()
            outcome = machine.feed(data)
            sock.sendall(machine.take_output())
        assert outcome == Granted(b"")
        received = b""
        while piece := sock.recv(1 << 16):
            received += piece
        return received


@both
@pytest.mark.parametrize("password", [False, True], ids=["open", "password"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_each_proxy_grants_a_tunnel(start: Start, password: bool, host: str) -> None:
    with start(Rules(password=password)) as proxy, ScriptedServer(speak) as target:
        machine = SocksClient(Address(host, target.port), SOCKS5, (USER, PASSWORD) if password else None)
        assert ask(proxy, machine) == CONTENT


@both
@pytest.mark.parametrize(
    "credentials", [(USER, "wrong"), ("nobody-of-that-name", PASSWORD), None], ids=["password", "user", "none"]
)
def test_each_proxy_refuses_a_wrong_login(start: Start, credentials: tuple[str, str] | None) -> None:
    with start(Rules(password=True)) as proxy, pytest.raises(AuthenticationFailed) as caught:
        ask(proxy, SocksClient(Address("localhost", free_port()), SOCKS5, credentials))
    assert PASSWORD not in f"{caught.value!r} {hint_of(caught.value)}"


@both
def test_a_refusing_target_is_reported_as_such(start: Start) -> None:
    held, port = refusing_port()
    with held, start(Rules()) as proxy, pytest.raises(Refused) as caught:
        ask(proxy, SocksClient(Address("127.0.0.1", port)))
    assert caught.value.detail == {"code": 5, "error": "connection_refused"}


@both
def test_an_unknown_name_is_refused(start: Start) -> None:
    with start(Rules()) as proxy, pytest.raises(Refused):
        ask(proxy, SocksClient(Address("nobody.invalid", 22)))


def test_a_target_forbidden_by_rules_is_refused() -> None:
    with dante(Rules(ports=(22,))) as proxy, pytest.raises(Refused) as caught:
        ask(proxy, SocksClient(Address("127.0.0.1", 23)))
    assert caught.value.detail["error"] == "http_request_denied"


def test_version_4_with_dante() -> None:
    """Dante does not support 4a, only addresses."""
    held, port = refusing_port()
    with held, dante() as proxy, ScriptedServer(speak) as target:
        assert ask(proxy, SocksClient(Address("127.0.0.1", target.port), SOCKS4A, (USER, ""))) == CONTENT
        with pytest.raises(Refused) as caught:
            ask(proxy, SocksClient(Address("127.0.0.1", port), SOCKS4A))
        assert caught.value.detail == {"code": 91}


@pytest.mark.parametrize("version", [SOCKS5, SOCKS4A])
def test_openssh_grants_tunnels_and_closes_without_a_reply(version: str, sshd: Sshd) -> None:
    """OpenSSH closes the connection if it cannot reach the target."""
    held, port = refusing_port()
    with held, openssh(sshd) as proxy, ScriptedServer(speak) as target:
        for host in ("127.0.0.1", "localhost"):
            assert ask(proxy, SocksClient(Address(host, target.port), version)) == CONTENT
        with pytest.raises(MalformedAnswer) as caught:
            ask(proxy, SocksClient(Address("127.0.0.1", port), version))
        assert "ssh -D" in hint_of(caught.value)
