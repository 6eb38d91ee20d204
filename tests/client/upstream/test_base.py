"""Tests a connection to a proxy: its places, and when an idle one becomes unusable."""

import socket
import struct
from collections.abc import Callable

import pytest

from tests.client.harness import TARGET
from tunnelctl.client.route.route import Hop, Tunnel
from tunnelctl.client.upstream import PROTOCOLS, protocol_of
from tunnelctl.client.upstream.base import ProxyConnection, SingleTunnelConnection, TunnelRequest
from tunnelctl.engine.kernel import fail_after, move_on_after, run, sleep
from tunnelctl.engine.sync import Deadline
from tunnelctl.errors import Refused
from tunnelctl.events import silent
from tunnelctl.proto.address import Address
from tunnelctl.proto.proxy_url import DEFAULT_PORTS
from tunnelctl.stream.socket_stream import SocketStream

HOPS = (Hop(Address("proxy.test", 3128)),)
LEAVES = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close sends RST


def request() -> TunnelRequest:
    return TunnelRequest(TARGET, f"proxy proxy.test:3128, asked for a tunnel to {TARGET}", Deadline(10.0), silent)


def pair() -> tuple[SocketStream, socket.socket]:
    """A connected pair over TCP, because a TCP connection can be reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    return SocketStream(ours), theirs


class Many(ProxyConnection):
    multiplexed, limit = True, 2
    refusing = False

    async def _open(self, request: TunnelRequest) -> Tunnel:
        await sleep(0)
        if self.refusing:
            raise Refused(request.what, "no", "refused")
        return Tunnel(self.stream, b"")


class Single(SingleTunnelConnection):
    refusing = False
    _open = Many._open


def test_a_place_is_taken_when_reserved_and_freed_once() -> None:
    async def main() -> None:
        stream, theirs = pair()
        with theirs:
            connection = Many(HOPS, stream)
            assert connection.capacity == 2
            connection.reserve()
            assert connection.capacity == 1
            await connection.open(request())
            assert connection.capacity == 1, "the tunnel uses the place that was reserved for it"
            connection.release()
            assert connection.capacity == 2
            connection.close()

    run(main)


def test_a_failed_or_cancelled_opening_frees_its_place() -> None:
    async def main() -> None:
        stream, theirs = pair()
        with theirs:
            connection = Many(HOPS, stream)
            connection.reserve()
            with move_on_after(0) as scope:
                await connection.open(request())
            assert scope.cancelled_caught
            assert connection.capacity == 2
            connection.refusing = True
            connection.reserve()
            with pytest.raises(Refused):
                await connection.open(request())
            assert connection.capacity == 2
            assert not stream.descriptor.closed, "the stream may carry other tunnels"
            connection.close()

    run(main)


def test_a_limit_lowered_below_the_open_tunnels_leaves_no_place() -> None:
    async def main() -> None:
        stream, theirs = pair()
        with theirs:
            connection = Many(HOPS, stream)
            connection.reserve()
            connection.reserve()
            connection.limit = 1
            assert connection.capacity == 0
            connection.close()

    run(main)


@pytest.mark.parametrize("fails", [True, False])
def test_a_single_tunnel_connection_has_one_place_once(fails: bool) -> None:
    async def main() -> None:
        stream, theirs = pair()
        with theirs:
            connection = Single(HOPS, stream)
            assert connection.capacity == 1
            connection.reserve()
            assert connection.capacity == 0
            connection.refusing = fails
            if fails:
                with pytest.raises(Refused):
                    await connection.open(request())
            else:
                assert (await connection.open(request())).stream is stream
            assert connection.capacity == 0
            assert stream.descriptor.closed == fails
            stream.close()

    run(main)


def say(theirs: socket.socket) -> None:
    theirs.send(b"x")


def end(theirs: socket.socket) -> None:
    theirs.shutdown(socket.SHUT_WR)


def reset(theirs: socket.socket) -> None:
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEAVES)
    theirs.close()


@pytest.mark.parametrize("what", [say, end, reset])
def test_data_eof_or_a_reset_makes_an_idle_connection_unusable(what: Callable[[socket.socket], None]) -> None:
    async def main() -> None:
        stream, theirs = pair()
        with theirs:
            connection = Single(HOPS, stream)
            with move_on_after(0.05) as scope:
                await connection.wait_until_unusable()
            assert scope.cancelled_caught
            what(theirs)
            with fail_after(10.0):
                await connection.wait_until_unusable()
            connection.close()

    run(main)


def test_every_url_scheme_and_every_alternative_has_a_protocol() -> None:
    assert {protocol_of(scheme) for scheme in DEFAULT_PORTS} == set(PROTOCOLS)
    assert {protocol.other for protocol in PROTOCOLS.values()} <= set(PROTOCOLS)
