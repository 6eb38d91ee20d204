"""`check --get PATH`: one HTTP request by httpx over a tunnel of ours.

httpx requires a socket, and the tunnel may be any stream: so httpx gets a unix socket that a relay joins to the tunnel.
"""

import os
import socket
from math import inf
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import Nursery, move_on_after
from tunnelctl.engine.outside import to_thread
from tunnelctl.errors import TunnelctlError
from tunnelctl.stream.relay import Relay, TimeLimits
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.trace import silent

SECONDS = 10.0  # for each wait of httpx
WHOLE_SECONDS = 60.0  # for the whole request: a server that sends a byte now and then would keep it waiting forever
MOST = 64 << 20  # bytes of the response that are read


class Reply(NamedTuple):
    """The result of the request."""

    ok: bool
    status: int = 0
    line: str = ""
    size: int = 0
    seconds: float = 0.0
    cause: str = ""


async def fetch(route: Route, path: str) -> Reply:
    """Sends a GET for a path of the target. Returns status and size of the response, or the cause of the failure."""
    begun = monotonic()
    try:
        # httpx does its own TLS, so that the request is like that of other programs.
        tunnel = await open_tunnel(route._replace(tls=None), silent)
    except TunnelctlError as error:
        return Reply(False, cause=str(error), seconds=monotonic() - begun)
    scheme = "https" if route.tls is not None or route.target.port == 443 else "http"
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(directory, "tunnel"))
        listener.listen(1)
        listener.setblocking(False)
        url = f"{scheme}://{route.target}{path}"
        name, authorities = (route.tls.server_name, route.tls.cacert) if route.tls is not None else (route.target.host, None)
        async with Nursery() as nursery:
            nursery.start_soon(_join, listener, tunnel)
            reply = Reply(False, cause=f"not done within {WHOLE_SECONDS:g} s")
            with move_on_after(WHOLE_SECONDS):
                reply = await to_thread(_get, url, os.path.join(directory, "tunnel"), name, authorities)
            nursery.cancel_scope.cancel()
    return reply._replace(seconds=monotonic() - begun)


def _get(url: str, path: str, name: str, authorities: str | None) -> Reply:
    """Sends the request with httpx. Blocks, so it runs in a thread."""
    import ssl

    import httpx

    context = ssl.create_default_context(cafile=authorities)
    try:
        transport = httpx.HTTPTransport(uds=path, verify=context)
        names = {"sni_hostname": name}
        with httpx.Client(transport=transport, timeout=SECONDS) as client, client.stream("GET", url, extensions=names) as answer:
            size = 0
            for piece in answer.iter_raw():
                size += len(piece)
                if size > MOST:
                    break
    except httpx.HTTPError as error:
        from tunnelctl.client.check.httpx_failure import cause_of

        return Reply(False, cause=cause_of(error))
    line = f"{answer.http_version} {answer.status_code} {answer.reason_phrase}".strip()
    return Reply(True, answer.status_code, line, size)


async def _join(listener: socket.socket, tunnel: Tunnel) -> None:
    """Relays between the tunnel and the one client of the listener."""
    try:
        client = await _accept(listener)
    except BaseException:
        tunnel.stream.close()
        raise
    await Relay(client, tunnel.stream, b"", tunnel.early, TimeLimits(inf)).run()


async def _accept(listener: socket.socket) -> SocketStream:
    descriptor = Descriptor(listener.fileno())
    try:
        while True:
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                descriptor.readable = False
                await descriptor.wait_readable()
            else:
                accepted.setblocking(False)
                return SocketStream(accepted)
    finally:
        descriptor.forget()
