"""`check --get PATH`: one HTTP request over a tunnel of ours. A redirect is not followed: it is the result."""

import ssl
import string
from time import monotonic
from urllib.parse import quote

import h11

from tunnelctl import __version__
from tunnelctl.client.check.events import Reply
from tunnelctl.client.check.probe import Open
from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.engine.kernel import TooSlowError, checkpoint, fail_after, move_on_after
from tunnelctl.errors import TunnelctlError, reason
from tunnelctl.proto.address import without_scope
from tunnelctl.proto.http1.messages import MessageError, Messages
from tunnelctl.stream.tls.failure import cause_of
from tunnelctl.stream.tls.settings import TLSClient
from tunnelctl.stream.tls.stream import start_tls

SECONDS = 10.0  # for TLS, and for each wait for the response
WHOLE_SECONDS = 60.0  # for the whole request: a server that sends a byte now and then would keep it waiting forever
MOST = 64 << 20  # bytes of the response that are read

HTTP, HTTPS = 80, 443
ALPN = ("http/1.1",)


async def fetch(route: Route, path: str, open_tunnel: Open) -> Reply:
    """Sends a GET for a path of the target. Returns status and size of the response, or the cause of the failure.

    open_tunnel: raises TunnelctlError
    """
    begun = monotonic()
    try:
        tunnel = await open_tunnel(route._replace(tls=None))
    except TunnelctlError as error:
        return Reply(False, cause=str(error), seconds=monotonic() - begun)
    reply = Reply(False, cause=f"not done within {WHOLE_SECONDS:g} s")
    try:
        with move_on_after(WHOLE_SECONDS):
            reply = await _get(tunnel, route, path)
    except TooSlowError:
        reply = Reply(False, cause="no answer in time")
    except MessageError as error:
        reply = Reply(False, cause=error.cause)
    except OSError as error:
        reply = Reply(False, cause=cause_of(error) if isinstance(error, ssl.SSLError) else reason(error))
    finally:
        tunnel.stream.close()
    return Reply(**{**reply.facts(), "seconds": monotonic() - begun})


async def _get(tunnel: Tunnel, route: Route, path: str) -> Reply:
    """Sends the request and reads the response. Raises MessageError, OSError or TooSlowError."""
    stream, early = tunnel
    settings = _tls(route)
    if settings is not None:
        with fail_after(SECONDS):
            stream, early = await start_tls(stream, settings, early), b""
    server, head, size = Messages(h11.CLIENT), None, 0
    await stream.send_all(server.send(_request(route, path)) + server.send(h11.EndOfMessage()))
    if early:
        server.receive(early)
    while size <= MOST and not isinstance(event := server.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            with fail_after(SECONDS):
                server.receive(await stream.receive_some())
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            await checkpoint()  # so that the time limits hold for a server that always has something to read
    assert head is not None  # no end and no data come before it
    version, words = head.http_version.decode("ascii"), head.reason.decode("ascii", "ignore")
    return Reply(True, head.status_code, f"HTTP/{version} {head.status_code} {words}".strip(), size)


def _tls(route: Route) -> TLSClient | None:
    """The settings for TLS with the target: those of --tls, without a client certificate; the usual ones on the port of https."""
    if route.tls is not None:
        return TLSClient(route.tls.server_name, route.tls.cacert, alpn=ALPN)
    return TLSClient(route.target.host, alpn=ALPN) if route.target.port == HTTPS else None


def _request(route: Route, path: str) -> h11.Request:
    usual = HTTPS if _tls(route) is not None else HTTP
    target = route.target._replace(host=without_scope(route.target.host))
    host = str(target).removesuffix(f":{usual}")
    headers = [("Host", host), ("User-Agent", f"tunnelctl/{__version__}"), ("Accept", "*/*"), ("Connection", "close")]
    # Characters that a request line cannot have are percent-encoded, as browsers do; a fragment is never sent.
    return h11.Request(method="GET", target=quote(path.partition("#")[0], safe=string.punctuation), headers=headers)
