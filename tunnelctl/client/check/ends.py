"""Tests whether the proxy passes on a half-close and a reset. The target is a port that `check` itself opens.

Most proxies refuse to reach this machine, by a rule on ports or on internal addresses; then nothing is known.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from tunnelctl.client.check.events import Ends
from tunnelctl.client.check.probe import Open
from tunnelctl.client.route.route import Route
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import TooSlowError, fail_after
from tunnelctl.engine.resolver import resolve
from tunnelctl.errors import TunnelctlError
from tunnelctl.proto.address import Address
from tunnelctl.stream.base import Stream
from tunnelctl.stream.socket_stream import SocketStream

SECONDS = 3.0  # for a tunnel and its end
_WORD = b"after the end of the other direction"


async def try_ends(route: Route, open_tunnel: Open) -> Ends:
    """Opens two tunnels to this machine, and ends each in another way. open_tunnel: raises TunnelctlError"""
    try:
        with fail_after(SECONDS):
            listener = await _listener(route.hops[0].address)
    except (OSError, UnicodeError, TooSlowError) as error:
        return Ends(None, None, str(error))
    with listener:
        host, port = listener.getsockname()[:2]
        own = route._replace(target=Address(host, port), tls=None, timeout=min(route.timeout, SECONDS), no_readahead=False)
        half_close = None
        try:
            half_close = await _observe(own, listener, open_tunnel, _half_closes)
            reset = await _observe(own, listener, open_tunnel, _resets)
        except TunnelctlError as error:
            return Ends(half_close, None, f"the proxy does not reach this machine: {error.cause}")
    return Ends(half_close, reset, "")


async def _listener(proxy: Address) -> socket.socket:
    """Opens a port on the address by which this machine reaches the proxy."""
    first = (await resolve(proxy.host, proxy.port))[0]
    with socket.socket(first.family, socket.SOCK_DGRAM) as route:
        route.connect((first.host, first.port))  # sends nothing
        own = route.getsockname()[0]
    listener = socket.create_server((own, 0), family=first.family)
    listener.setblocking(False)
    return listener


async def _observe(
    route: Route, listener: socket.socket, open_tunnel: Open, observe: Callable[[Stream, SocketStream], Awaitable[bool]]
) -> bool:
    """Opens a tunnel to the listener, and runs `observe` on both of its ends. False if that takes too long."""
    tunnel = await open_tunnel(route)
    try:
        with fail_after(SECONDS):
            target = await _accept(listener)
            try:
                return await observe(tunnel.stream, target)
            finally:
                target.abort()
    except (OSError, TooSlowError):
        return False
    finally:
        tunnel.stream.abort()


async def _accept(listener: socket.socket) -> SocketStream:
    descriptor = Descriptor(listener.fileno())
    try:
        while True:
            await descriptor.wait_readable()
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                descriptor.readable = False
                continue
            accepted.setblocking(False)
            return SocketStream(accepted)
    finally:
        descriptor.forget(shared=True)


async def _half_closes(tunnel: Stream, target: SocketStream) -> bool:
    """Whether our end of one direction arrives, and what the target sends after it comes back."""
    tunnel.send_eof()
    await tunnel.flush_eof()
    while await target.receive_some():
        pass
    await target.send_all(_WORD)
    target.send_eof()
    answer = b""
    while data := await tunnel.receive_some():
        answer += data
    return answer == _WORD


async def _resets(tunnel: Stream, target: SocketStream) -> bool:
    """Whether a reset by the target is an error here, and no clean end."""
    target.abort()
    try:
        while await tunnel.receive_some():
            pass
    except OSError:
        return True
    return False
