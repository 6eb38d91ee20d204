"""HTTP/2 proxies of other makers on loopback: in the clear by prior knowledge (h2c), or over TLS by ALPN.

Envoy, Apache and node have proxies of their own. nghttpx and HAProxy pass each CONNECT to an HTTP/1.1 proxy behind them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from h2.errors import ErrorCodes

from tests.peers import certificates, proxies, tls_proxies
from tests.peers.http2 import END_STREAM, reset_with
from tests.peers.process import Daemon, path_of, scratch_directory
from tests.peers.program import Serve
from tests.peers.proxies import Proxy, Tls

# Starts a proxy. The first argument is the HTTP/1.1 proxy for those that need one.
Start = Callable[[Proxy, Tls | None], AbstractContextManager[Proxy]]

_NODE = Path(__file__).parents[1] / "data/http2_proxy.js"
_HAPROXY = """\
global
    maxconn 2000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend clients
    bind 127.0.0.1:{port} {protocol}
    default_backend proxy
backend proxy
    server proxy {behind.host}:{behind.port}
"""


def envoy(behind: Proxy, tls: Tls | None = None) -> AbstractContextManager[Proxy]:
    return tls_proxies.envoy(tls, http2=True)


def apache(behind: Proxy, tls: Tls | None = None) -> AbstractContextManager[Proxy]:
    return proxies.apache(tls=tls, http2=True)


def nghttpx(behind: Proxy, tls: Tls | None = None) -> AbstractContextManager[Proxy]:
    return tls_proxies.nghttpx_before(behind, tls)


@contextmanager
def haproxy(behind: Proxy, tls: Tls | None = None) -> Iterator[Proxy]:
    with scratch_directory() as directory:
        protocol = "proto h2" if tls is None else f"ssl crt {_in_one_file(tls, directory)} alpn h2,http/1.1"

        def settings(port: int) -> str:
            return _HAPROXY.format(port=port, protocol=protocol, behind=behind)

        with proxies.running(directory, settings, lambda file: [path_of("haproxy"), "-db", "-f", str(file)], tls=tls) as proxy:
            yield proxy


def _in_one_file(tls: Tls, directory: Path) -> Path:
    """Writes chain and key as HAProxy reads them."""
    file = directory / "both.pem"
    file.write_bytes(b"".join(part.read_bytes() for part in tls.certificates.server))
    return file


@contextmanager
def node(behind: Proxy, tls: Tls | None = None) -> Iterator[Proxy]:
    """A page of JavaScript on node's own HTTP/2."""
    with scratch_directory() as directory:

        def command(port: int) -> list[str]:
            return [path_of("node"), str(_NODE), str(port), *(map(str, tls.certificates.server) if tls else ())]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port) if tls is None else Proxy(daemon.port, "https", certificates.HOST)


@contextmanager
def ours(behind: Proxy, tls: Tls | None = None) -> Iterator[Proxy]:
    """`serve`, which is held against the same table."""
    words = ("--tls-cert", str(tls.certificates.chain), "--tls-key", str(tls.certificates.key)) if tls else ()
    with Serve(*words) as serve:
        yield Proxy(serve.port) if tls is None else Proxy(serve.port, "https", certificates.HOST)


# By the name of the program, for the mark `peer`.
STARTERS: dict[str, Start] = {
    "tunnelctl": ours,
    "envoy": envoy,
    "node": node,
    "haproxy": haproxy,
    "apache2": apache,
    "nghttpx": nghttpx,
}


class Known(NamedTuple):
    """What a proxy does. The defaults are what RFC 9113 requires."""

    passes_end_stream: bool = True  # of the client, on to the target
    passes_eof: bool = True  # of the target, while the client has not ended its side
    cancels_after_eof: bool = False  # then it takes no more from the client: RST_STREAM with NO_ERROR
    truncates: bool = False  # after the target's EOF: drops what exceeds the client's window, RST_STREAM with INTERNAL_ERROR
    reset: str = reset_with(ErrorCodes.CONNECT_ERROR)  # how the stream ends when the target resets
    code_after: tuple[int | None, ...] = (ErrorCodes.CONNECT_ERROR,)  # of the RST_STREAM, which may follow an END_STREAM
    refused: str = "502"  # the response when the target refuses the connection
    # What the target sees when the client resets the stream, closes the connection, or resets the connection:
    left: tuple[str, str, str] = ("reset", "reset", "reset")
    max_streams: int | None = 100  # announced
    extended: bool = False  # whether it announces extended CONNECT


# tests/interop/test_http2_peers.py holds that they are so.
KNOWN = {
    "tunnelctl": Known(),
    "envoy": Known(
        cancels_after_eof=True,
        truncates=True,
        refused="503",
        left=("EOF", "EOF", "EOF"),
        max_streams=100_000,
        extended=True,
    ),
    # It sends the RST_STREAM that its page asks for, but ends the stream before.
    "node": Known(reset=END_STREAM, max_streams=None),
    "haproxy": Known(reset=END_STREAM, code_after=(ErrorCodes.CANCEL,), left=("reset", "EOF", "reset"), extended=True),
    "apache2": Known(
        passes_eof=False,
        reset=END_STREAM,
        code_after=(None, ErrorCodes.NO_ERROR),
        refused="503",
        left=("EOF", "EOF", "EOF"),
    ),
    "nghttpx": Known(
        passes_end_stream=False,
        cancels_after_eof=True,
        reset=END_STREAM,
        code_after=(ErrorCodes.NO_ERROR,),
        left=("EOF", "EOF", "EOF"),
    ),
}
