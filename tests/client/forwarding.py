"""Runs `forward` inside this process, for tests that use its listeners over real sockets."""

import socket
import struct
import tempfile
from typing import Any

from tests.options import forward_options
from tests.peers.process import wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ScriptedServer
from tests.server.harness import Client, Proxy
from tunnelctl.client.forward import forwarder as forward
from tunnelctl.client.forward.setup import Check


class Forwarding(Proxy):
    """`run_forward` in a thread. Its options have the form typed on the command line; `ports` are in that order too."""

    def __init__(
        self,
        *local: str,
        dynamic: tuple[str, ...] = (),
        check: Check | None = None,
        environ: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.runtime = tempfile.TemporaryDirectory(prefix="tunnelctl-run-")
        self._check, self._environ = check, {"XDG_RUNTIME_DIR": self.runtime.name, **(environ or {})}
        self._given = forward_options(local=local, dynamic=dynamic, **{"drain": 0.0, **options})
        self._expected = len(local) + len(dynamic)

    def _serve(self) -> int:
        with self.runtime:
            return forward.run_forward(self._given, self._environ, self, self._check)

    @property
    def control(self) -> str:
        """The path of the control socket. The forward tells of it after its ports, so perhaps a moment after the start."""
        wait_until(lambda: self.events("control"), what="the control socket")
        (opened,) = self.events("control")
        return str(opened["address"]).removeprefix("unix:")

    @property
    def ports(self) -> list[int]:
        return [int(address.rpartition(":")[2]) for address in self.addresses]

    def open(self, place: int = 0) -> Client:
        """Opens a connection to one of the ports."""
        address = self.addresses[place]
        if address.startswith("unix:"):
            return Client(address.removeprefix("unix:"))
        host, _, port = address.rpartition(":")
        return Client((host.strip("[]"), int(port)))

    def failures(self, count: int = 1) -> list[dict[str, object]]:
        """Waits for `count` failed connections and returns them."""
        wait_until(lambda: len(self.events("failed")) >= count, what=f"{count} failed connections")
        return self.events("failed")

    def ended_tunnels(self, count: int = 1) -> list[dict[str, object]]:
        """Waits for `count` ended tunnels and returns them."""
        wait_until(lambda: len(self.events("closed")) >= count, what=f"{count} closed tunnels")
        return self.events("closed")


def spec(target: ScriptedServer, place: str = "0") -> str:
    return f"{place}:{target.authority}"


def via(proxy: Serve | ScriptedServer) -> tuple[str, ...]:
    return (proxy.url,)


def is_reset(client: Client) -> bool:
    """Whether the connection ends with a reset, and not with an EOF that could pass for an empty response."""
    try:
        client.sock.recv(1)
    except ConnectionResetError:
        return True
    return False


def is_turned_away(forwarding: Forwarding, place: int = 0) -> bool:
    """Whether a new connection is reset. The reset may arrive even before `connect` has returned."""
    try:
        client = forwarding.open(place)
    except ConnectionResetError:
        return True
    with client:
        return is_reset(client)


def socks5(client: Client, host: str, port: int) -> int:
    """Requests a tunnel over SOCKS5, by name; returns the reply code."""
    client.send(b"\x05\x01\x00")
    assert client.exactly(2) == b"\x05\x00"
    client.send(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + struct.pack(">H", port))
    reply = client.exactly(10)
    assert (reply[0], reply[3]) == (5, 1)
    return reply[1]


def socks4a(client: Client, host: str, port: int) -> int:
    """Requests a tunnel over SOCKS4a; returns the reply code."""
    client.send(b"\x04\x01" + struct.pack(">H", port) + b"\0\0\0\1" + b"user\0" + host.encode() + b"\0")
    reply = client.exactly(8)
    assert reply[0] == 0
    return reply[1]


def half_close(client: Client) -> None:
    client.sock.shutdown(socket.SHUT_WR)
