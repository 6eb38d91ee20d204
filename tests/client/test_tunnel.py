"""Tests opening a tunnel: lookup, dial, CONNECT hop by hop, and every error of these phases."""

import _socket
import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.client.harness import (
    AMPLE,
    BRIEF,
    CANARY,
    TARGET,
    TraceLog,
    answers,
    failed,
    holds,
    next_head,
    opened,
    route_through,
    to_the_end,
)
from tests.peers.process import opening
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, black_hole_port, refusing_port, sample
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.cli.spec.messages.model import WITHOUT_TLS
from tunnelctl.client import tunnel as under_test
from tunnelctl.client.auth.credentials import Secret
from tunnelctl.client.auth.exchange import ProxyAuth
from tunnelctl.client.route.route import Hop, Route, Tunnel
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.client.upstream.http1 import HTTP1Connection
from tunnelctl.engine.kernel import Nursery, run, sleep
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.errors import (
    MalformedAnswer,
    NameNotFound,
    Refused,
    SettingsError,
    TimedOut,
    TunnelctlError,
    Unanswered,
    Unreachable,
)
from tunnelctl.proto.address import Address
from tunnelctl.status import ExitStatus
from tunnelctl.stream.dial import DialError
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.tls.settings import TLSClient

# --- chains


@pytest.mark.parametrize("length", [1, 2, 3])
def test_each_hop_of_a_chain_receives_connect_for_the_next(length: int) -> None:
    heads: list[bytes] = []

    def script(peer: Conversation) -> None:
        for _ in range(length):
            heads.append(next_head(peer))
            peer.send(ESTABLISHED)
        peer.send(b"hello")
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as first:
        others = [f"hop{number}.test:8080" for number in range(2, length + 1)]
        assert opened(route_through(first.authority, *others), to_the_end) == b"hello"
    wanted = [*others, str(TARGET)]
    assert [head.split(b"\r\n")[0].decode() for head in heads] == [f"CONNECT {stop} HTTP/1.1" for stop in wanted]
    assert [head.split(b"\r\n")[1].decode() for head in heads] == [f"Host: {stop}" for stop in wanted]


def test_no_hop_sees_the_header_fields_of_another() -> None:
    """C15, on the wire: each request carries the secret of its own hop and no other."""
    heads: list[bytes] = []

    def script(peer: Conversation) -> None:
        for _ in range(3):
            heads.append(next_head(peer))
            peer.send(ESTABLISHED)
        peer.wait_gone()

    with ScriptedServer(script) as first:
        hosts = (Address("127.0.0.1", first.port), Address("b.test", 1), Address("c.test", 2))
        hops = tuple(Hop(host, (("Proxy-Authorization", f"{CANARY}{place}"),)) for place, host in enumerate(hosts))
        opened(Route(TARGET, hops))
    for place, head in enumerate(heads):
        assert head.count(CANARY.encode()) == 1
        assert f"{CANARY}{place}".encode() in head


def test_a_response_sent_ahead_of_its_request_is_accepted() -> None:
    """One segment holds the first hop's response, the second hop's, and the first bytes of the tunnel."""

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(ESTABLISHED + b"HTTP/1.0 200\r\n\r\n" + b"SSH-2.0-early\r\n")
        next_head(peer)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as first:
        assert opened(route_through(first.authority, "b.test:1")) == b"SSH-2.0-early\r\n"


def test_leftover_between_hops_split_at_every_position() -> None:
    """V13: the second response and the banner, split at every position between the segment of the first response and a later
    one.
    """
    rest = b"HTTP/1.1 200 OK\r\n\r\nbanner"
    for border in range(len(rest) + 1):

        def script(peer: Conversation, border: int = border) -> None:
            peer.read_head()
            peer.send(ESTABLISHED + rest[:border])
            next_head(peer)
            peer.send(rest[border:])
            peer.end_output()
            peer.wait_gone()

        with ScriptedServer(script) as first:
            assert opened(route_through(first.authority, "b.test:1"), to_the_end) == b"banner"


def test_responses_may_arrive_byte_by_byte() -> None:
    def script(peer: Conversation) -> None:
        for _ in range(2):
            next_head(peer)
            peer.dribble(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n")
        peer.dribble(b"banner")
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as first:
        assert opened(route_through(first.authority, "b.test:1"), to_the_end) == b"banner"


def test_no_readahead_reads_nothing_beyond_the_last_head() -> None:
    """Bytes already read could not be passed on with the descriptor."""
    data = sample(100_000)
    with ScriptedServer(answers(ESTABLISHED, ESTABLISHED + data)) as first:
        wanted = route_through(first.authority, "b.test:1", no_readahead=True)

        async def rest(tunnel: Tunnel) -> bytes:
            assert tunnel.early == b""
            return await to_the_end(tunnel)

        assert opened(wanted, rest) == data


def test_a_route_without_hops_connects_to_the_target() -> None:
    def script(peer: Conversation) -> None:
        peer.send(b"direct")
        peer.end_output()
        peer.wait_gone()

    trace = TraceLog()
    with ScriptedServer(script) as target:
        assert opened(Route(Address(target.host, target.port), ()), to_the_end, trace) == b"direct"
    assert trace.names == ["lookup", "dial", "connected"]


def test_every_phase_is_traced_without_secrets() -> None:
    trace = TraceLog()
    with ScriptedServer(answers(ESTABLISHED, b"HTTP/1.1 204 Fine\r\nA: b\r\n\r\n")) as first:
        opened(route_through(first.authority, "b.test:1", fields=(("Proxy-Authorization", f"Basic {CANARY}"),)), trace=trace)
    assert trace.names == ["lookup", "dial", "connected", "request", "response", "request", "response"]
    assert trace.named("connected") == [{"to": first.authority, "address": first.authority}]
    assert [fields["status"] for fields in trace.named("response")] == [200, 204]
    fine = {"version": "HTTP/1.1", "status": 204, "phrase": "Fine", "fields": (("A", "b"),)}
    assert trace.named("response")[1] == fine
    first_request, second_request = trace.named("request")
    assert (first_request["target"], first_request["version"], second_request["target"]) == ("b.test:1", "HTTP/1.1", str(TARGET))
    assert CANARY not in repr(trace.events)
    assert ("Proxy-Authorization", "Basic ***") in first_request["fields"]  # type: ignore[operator]


def test_the_repr_of_a_route_shows_no_secret() -> None:
    secret = route_through("a.test:1", fields=(("Proxy-Authorization", CANARY), ("X-Key", CANARY)))
    assert CANARY not in f"{secret!r} {secret} {secret.hops!r} {secret.hops[0]}"


# --- refusals and malformed responses


def test_a_refusal_names_the_refusing_hop_and_its_target() -> None:
    with ScriptedServer(answers(ESTABLISHED, b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")) as first:
        error = failed(route_through(first.authority, "b.test:1", "c.test:2"))
    assert error.exit_status is ExitStatus.AUTHENTICATION
    assert error.what == "proxy b.test:1 requires a login for a tunnel to c.test:2"


def test_v10_nothing_is_sent_after_a_refusal() -> None:
    """A hop that refuses and keeps reading receives neither the next request nor payload."""
    after: list[bytes] = []

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        after.append(peer.wait_gone())

    with ScriptedServer(script) as first:
        failed(route_through(first.authority, "b.test:1"), Refused)
    assert after == [b""]


def test_a_malformed_response_of_a_later_hop_names_that_hop() -> None:
    with ScriptedServer(answers(ESTABLISHED + b"220 smtp ready\r\n")) as first:
        error = failed(route_through(first.authority, "b.test:1"), MalformedAnswer)
    assert error.what == f"proxy b.test:1, asked for a tunnel to {TARGET}"


def test_a_reset_right_after_connecting_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """getpeername fails on a socket that has already been reset; that is no error of ours, and nothing leaks."""

    async def dial(*_: object) -> SocketStream:
        listener = socket.create_server(("127.0.0.1", 0))
        ours = socket.create_connection(listener.getsockname())
        listener.close()  # resets the connection that was not accepted
        with pytest.raises(OSError, match="not connected"):
            ours.getpeername()
        ours.setblocking(False)
        return SocketStream(ours)

    monkeypatch.setattr(under_test, "dial", dial)
    assert failed(route_through("127.0.0.1:1")).exit_status is ExitStatus.UNREACHABLE


# --- connections that fail


def test_a_refused_connection_names_the_proxy_or_the_target() -> None:
    held, port = refusing_port()
    with held:
        error = failed(route_through(f"127.0.0.1:{port}"), Unreachable)
        assert str(error) == f"cannot connect to proxy 127.0.0.1:{port}: connection refused"
        assert "right" in hint_of(error)
        assert failed(Route(Address("127.0.0.1", port), ()), Unreachable).what == f"cannot connect to target 127.0.0.1:{port}"


TYPES = [
    ([errno.ECONNREFUSED], "connection_refused"),
    ([errno.ETIMEDOUT], "connection_timeout"),
    ([errno.EHOSTUNREACH], "destination_unavailable"),
    ([errno.ENETUNREACH], "destination_ip_unroutable"),
    ([errno.EPERM], "destination_ip_prohibited"),
    ([errno.EACCES], "destination_ip_prohibited"),
    ([errno.ECONNREFUSED, errno.ENETUNREACH], "connection_refused"),  # no IPv6 on this machine: that says nothing about the target
    ([errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT], "connection_timeout"),
    ([errno.EMFILE], None),  # a limit of this process
]


@pytest.mark.parametrize(("numbers", "kind"), TYPES, ids=range(len(TYPES)))
def test_failed_connections_to_a_target_have_an_rfc_9209_error_type(
    monkeypatch: pytest.MonkeyPatch, numbers: list[int], kind: str | None
) -> None:
    """A proxy that cannot be reached says nothing about the target."""

    async def dial(addresses: list[SocketAddress], *_: object) -> None:
        raise DialError([(addresses[0], OSError(number, os.strerror(number))) for number in numbers])

    monkeypatch.setattr(under_test, "dial", dial)
    assert failed(Route(Address("127.0.0.1", 9), ()), Unreachable).detail.get("error") == kind
    assert failed(route_through("127.0.0.1:9"), Unreachable).detail == {}


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(socket.gaierror(socket.EAI_NONAME, "x"), "dns_error"), (socket.gaierror(socket.EAI_AGAIN, "x"), "dns_timeout")],
)
def test_failed_lookups_of_a_target_have_an_rfc_9209_error_type(
    monkeypatch: pytest.MonkeyPatch, raised: OSError, kind: str
) -> None:
    def look_up(*_: object) -> None:
        raise raised

    monkeypatch.setattr(_socket, "getaddrinfo", look_up)
    assert failed(Route(Address("host.test", 9), ()), TunnelctlError).detail == {"error": kind}
    assert failed(route_through("proxy.test:9"), TunnelctlError).detail == {}


def test_the_error_names_every_address_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    held, port = refusing_port()
    script_lookup(monkeypatch, "127.0.0.1", "127.0.0.2", "::1")
    with held:
        error = failed(route_through(f"proxy.test:{port}"), Unreachable)
    assert error.cause == "127.0.0.1: connection refused, ::1: connection refused, 127.0.0.2: connection refused"


def script_lookup(monkeypatch: pytest.MonkeyPatch, *hosts: str, error: BaseException | None = None) -> list[int]:
    """Scripts the name service; returns the address families it was queried for."""
    asked: list[int] = []

    def getaddrinfo(host: object, port: int, family: int = 0, kind: int = 0) -> list[Any]:
        asked.append(family)
        if error is not None:
            raise error
        entries = [(socket.AF_INET6 if ":" in host else socket.AF_INET, host) for host in hosts]
        return [(of, kind, 6, "", (host, port)) for of, host in entries if family in (0, of)]

    monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    ("raised", "status", "text"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), 68, "no such host"),
        (socket.gaierror(socket.EAI_NODATA, "x"), 68, "no such host"),
        (socket.gaierror(socket.EAI_FAIL, "x"), 68, "no such host"),
        (UnicodeError("label too long"), 68, "no such host"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), 75, "the name service does not answer"),
        (OSError(24, "Too many open files"), 75, "too many open files"),  # EAI_SYSTEM becomes this
    ],
)
def test_failed_lookups_have_status_and_cause(monkeypatch: pytest.MonkeyPatch, raised: Exception, status: int, text: str) -> None:
    script_lookup(monkeypatch, error=raised)
    error = failed(route_through("proxy.test:1"))
    assert (error.exit_status, error.what, error.cause) == (status, "cannot resolve proxy proxy.test", text)
    assert failed(Route(TARGET, ())).what == "cannot resolve target target.test"


@pytest.mark.parametrize(("family", "wanted"), [(4, socket.AF_INET), (6, socket.AF_INET6), (0, socket.AF_UNSPEC)])
def test_the_lookup_queries_the_chosen_address_family(monkeypatch: pytest.MonkeyPatch, family: int, wanted: int) -> None:
    asked = script_lookup(monkeypatch, error=socket.gaierror(socket.EAI_NONAME, "x"))
    error = failed(route_through("proxy.test:1", family=family), NameNotFound)
    assert asked == [wanted]
    assert error.cause.endswith(f"no IPv{family} address" if family else "no such host")


@pytest.mark.parametrize(("family", "host"), [(4, "[::1]"), (6, "127.0.0.1")])
def test_an_address_of_the_other_family_is_not_used(family: int, host: str) -> None:
    assert failed(route_through(f"{host}:1", family=family), NameNotFound).exit_status is ExitStatus.NAME_NOT_FOUND


def test_ipv6_only_connects_over_ipv6() -> None:
    with ScriptedServer(answers(ESTABLISHED), host="::1") as first:
        opened(route_through(first.authority, family=6))


# --- hints


def straight(address: Address = TARGET, origin: str = "no proxy is configured", **others: object) -> Route:
    """A route without a proxy."""
    return Route(address, (), origin=origin, **others)  # type: ignore[arg-type]


NONE_NAMED = "no proxy is configured: run `tunnelctl check` to find a proxy, and give it with -x URL"
UNUSED = "http_proxy is set, but tunnelctl ignores it: set https_proxy, or give -x URL"


@pytest.mark.parametrize(
    ("chosen", "hint"),
    [
        (straight(), NONE_NAMED),
        (straight(origin="no_proxy has .test"), "no proxy was used (no_proxy has .test); give one with -x URL"),
        (straight(unused="http_proxy"), UNUSED),
        (straight(origin="-x"), ""),
    ],
    ids=["none named", "no_proxy", "http_proxy", "-x direct"],
)
def test_hints_for_failed_direct_connections(monkeypatch: pytest.MonkeyPatch, chosen: Route, hint: str) -> None:
    """For every kind of failure: behind a company's firewall names are unknown, or packets are dropped or rejected."""
    for raised in (socket.EAI_NONAME, socket.EAI_AGAIN):
        with monkeypatch.context() as patch:
            script_lookup(patch, error=socket.gaierror(raised, "x"))
            assert hint_of(failed(chosen)) == hint
    held, port = refusing_port()
    if hint == NONE_NAMED:  # no proxy would be of help: the target is this machine
        hint = "no proxy was used (no proxy is configured); give one with -x URL"
    with held, black_hole_port() as silent:
        assert hint_of(failed(chosen._replace(target=Address("127.0.0.1", port)))) == hint
        slow = chosen._replace(target=Address("127.0.0.1", silent), timeout=BRIEF)
        assert hint_of(failed(slow, TimedOut)) == (hint or "--timeout sets the time limit for opening a tunnel")


def test_hints_for_an_unknown_proxy_name(monkeypatch: pytest.MonkeyPatch) -> None:
    script_lookup(monkeypatch, error=socket.gaierror(socket.EAI_NONAME, "x"))
    known = "is it spelled right? Some names are known inside a company's network or VPN only"
    assert hint_of(failed(route_through("proxy.test:1"))) == known
    assert hint_of(failed(route_through("proxy.test:1", family=4))) == "if it has an IPv6 address, leave -4 out"
    assert hint_of(failed(route_through("proxy.test:1", family=6))) == "if it has an IPv4 address, leave -6 out"


def refused_at(hop: Hop, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the hint when a proxy's port refuses the connection; the port may be in real use on this machine, so dial is
    replaced.
    """

    async def dial(addresses: list[SocketAddress], keepalive: float, attempt_timeout: float) -> SocketStream:
        raise DialError([(addresses[0], ConnectionRefusedError(111, "Connection refused"))])

    monkeypatch.setattr(under_test, "dial", dial)
    return hint_of(failed(Route(TARGET, (hop,))))


@pytest.mark.parametrize(("port", "tls"), [(80, None), (443, TLSClient("127.0.0.1"))], ids=["http", "https"])
def test_hint_for_a_refusing_default_port_of_a_proxy_url(port: int, tls: TLSClient | None, monkeypatch: pytest.MonkeyPatch) -> None:
    hop = Hop(Address("127.0.0.1", port), tls=tls)
    hint = f"{port} is the port of web servers, and of a URL without a port: most proxies listen on 3128 or 8080"
    assert refused_at(hop, monkeypatch) == hint
    usual = "nothing listens there; is the port right?"
    assert refused_at(hop._replace(address=Address("127.0.0.1", 3128)), monkeypatch) == usual
    assert refused_at(hop._replace(protocol="socks5", tls=None), monkeypatch) == usual


def test_hint_for_a_link_local_proxy_without_its_interface() -> None:
    """The kernel does not know which interface to use."""
    error = failed(Route(TARGET, (Hop(Address("fe80::1", 3128)),)))
    hint = "a link-local address needs its interface, as in [fe80::1%25eth0]"
    assert (error.cause, hint_of(error)) == ("invalid argument", hint)


BEYOND = "the proxy may not be able to reach the target"


@pytest.mark.parametrize(
    ("protocol", "hint"),
    [
        (
            "http",
            f"{BEYOND}; or it is not an HTTP proxy: its URL is https://{{}} if it speaks TLS, or begins with socks5:// for SOCKS",
        ),
        (
            "socks5",
            f"{BEYOND}; or it is not a SOCKS proxy: its URL is http://{{}} if it speaks HTTP, or begins with https:// for TLS",
        ),
        (
            "socks4a",
            f"{BEYOND}; or it is not a SOCKS proxy: its URL is http://{{}} if it speaks HTTP, or begins with https:// for TLS",
        ),
    ],
)
def test_hint_for_a_silent_proxy_names_other_protocols(protocol: str, hint: str) -> None:
    with ScriptedServer(Conversation.wait_gone) as first:  # type: ignore[arg-type]
        hop = Hop(Address(first.host, first.port), protocol=protocol)
        assert hint_of(failed(Route(TARGET, (hop,), timeout=BRIEF), Unanswered)) == hint.format(first.authority)


@pytest.mark.parametrize(
    ("protocol", "answer", "hint"),
    [
        ("http", b"HTTP/1.1 502 No\r\n\r\n", "the proxy could not reach the next proxy; are host and port in its URL right?"),
        ("http", b"HTTP/1.1 504 No\r\n\r\n", "the next proxy did not answer the proxy in time"),
        ("socks5", b"\5\0\5\3", "the proxy has no route to the next proxy"),
        (
            "socks4a",
            b"\0\x5b",
            "SOCKS4 gives no reason: the proxy's rules may forbid it, or the proxy could not reach the next proxy",
        ),
        ("http", b"", "the proxy may not be able to reach the next proxy; or it is not an HTTP proxy"),
    ],
)
def test_hint_for_an_outer_proxy_names_the_unreachable_next_proxy(protocol: str, answer: bytes, hint: str) -> None:
    def script(peer: Conversation) -> None:
        peer.read(1)
        peer.send(answer)
        peer.wait_gone()

    with ScriptedServer(script) as outer:
        hop = Hop(Address(outer.host, outer.port), protocol=protocol)
        chain = (hop, Hop(Address("inner.test", 1080), protocol="socks5"))
        error = failed(Route(TARGET, chain, timeout=BRIEF if not answer else AMPLE))
        assert hint_of(error).startswith(hint)
        assert "next proxy" not in hint_of(failed(Route(TARGET, (hop,), timeout=BRIEF if not answer else AMPLE)))


def test_hint_for_a_peer_silent_after_a_tls_client_hello() -> None:
    """A plain-text proxy waits for the end of the line. The hint names the condition for leaving TLS out."""
    with ScriptedServer(Conversation.wait_gone) as peer:  # type: ignore[arg-type]
        address = Address(peer.host, peer.port)
        settings = TLSClient(peer.host, insecure=True)
        error = failed(Route(TARGET, (Hop(address, tls=settings),), timeout=BRIEF), TimedOut)
        assert error.what == f"TLS handshake with proxy {peer.authority}"
        assert hint_of(error) == WITHOUT_TLS.format(peer=peer.authority)
        target = failed(Route(address, (), timeout=BRIEF, tls=settings._replace(options="tls")), TimedOut)
        assert hint_of(target) == "it may not speak TLS on that port; is the port right?"


# --- time limits


def timed(route: Route) -> tuple[TimedOut, float]:
    begun = time.monotonic()
    error = failed(route, TimedOut)
    assert isinstance(error, TimedOut)
    return error, time.monotonic() - begun


def test_time_limit_during_the_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_: release.wait(AMPLE))
    try:
        error, seconds = timed(route_through("proxy.test:1", timeout=BRIEF))
    finally:
        release.set()
    assert (error.what, error.cause) == ("looking up proxy proxy.test", f"no answer within {BRIEF:g} s")
    assert "--timeout" in hint_of(error)
    assert BRIEF <= seconds < AMPLE / 2


def test_time_limit_during_the_dial() -> None:
    with black_hole_port() as port:
        error, seconds = timed(route_through(f"127.0.0.1:{port}", timeout=BRIEF))
    assert error.what == f"connecting to proxy 127.0.0.1:{port}"
    assert BRIEF <= seconds < AMPLE / 2


def test_connect_timeout_limits_one_attempt() -> None:
    """`--connect-timeout` ends an attempt that receives no response."""
    with black_hole_port() as port:
        error = failed(route_through(f"127.0.0.1:{port}", attempt_timeout=BRIEF), Unreachable)
    assert str(error) == f"cannot connect to proxy 127.0.0.1:{port}: connection timed out"


def test_connect_timeout_is_passed_to_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    async def dial(addresses: list[SocketAddress], keepalive: float, attempt_timeout: float) -> SocketStream:
        limits.append(attempt_timeout)
        raise DialError([(addresses[0], ConnectionRefusedError(111, "Connection refused"))])

    monkeypatch.setattr(under_test, "dial", dial)
    failed(route_through("127.0.0.1:1", attempt_timeout=1.5), Unreachable)
    assert limits == [1.5]


@pytest.mark.parametrize("piece", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nA: b\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_time_limit_while_waiting_for_the_response(piece: bytes) -> None:
    with ScriptedServer(holds(piece)) as first:
        error, seconds = timed(route_through(first.authority, timeout=BRIEF))
    assert error.what == f"waiting for proxy {first.authority} to reach {TARGET}"
    assert BRIEF <= seconds < AMPLE / 2


def test_time_limit_names_the_later_hop_that_did_not_respond() -> None:
    with ScriptedServer(answers_then_holds) as first:
        error, _ = timed(route_through(first.authority, "b.test:1", timeout=1.5))
    assert error.what == f"waiting for proxy b.test:1 to reach {TARGET}"


def answers_then_holds(peer: Conversation) -> None:
    peer.accept_tunnel()
    peer.wait_gone()


def test_a_dribbled_head_does_not_extend_the_time_limit() -> None:
    """The limit covers the whole opening, not the time between two bytes."""

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nA: ")
        try:
            while True:
                peer.send(b"x")
                time.sleep(BRIEF / 10)
        except OSError:
            pass

    with ScriptedServer(script) as first:
        _, seconds = timed(route_through(first.authority, timeout=BRIEF))
    assert seconds < AMPLE / 2


# --- cancellation


def test_a_cancelled_opening_leaves_no_descriptor_open() -> None:
    """In each phase that waits on a socket; the fixture that watches every test finds what is left open."""

    async def main(route: Route, begun: Callable[[], bool]) -> None:
        async with Nursery() as nursery:
            nursery.start_soon(open_tunnel, route, TraceLog())
            while not begun():
                await sleep(0.002)
            nursery.cancel_scope.cancel()

    with ScriptedServer(holds(b"HTTP/1.1 2")) as first:
        run(main, route_through(first.authority), lambda: b"\r\n\r\n" in b"".join(first.heads))
    with black_hole_port() as port:
        before = opening(port)
        run(main, route_through(f"127.0.0.1:{port}"), lambda: opening(port) > before)


def test_a_login_that_cannot_be_prepared_leaves_no_connection_open() -> None:
    """Not even one that was kept ready, as with --warm."""

    async def find() -> Secret | None:
        raise SettingsError("--password-command", "it ended with status 1", "unreadable")

    ours, theirs = socket.socketpair()
    hop = Hop(Address("proxy.test", 3128), login=ProxyAuth(Address("proxy.test", 3128), "basic", find))

    async def main() -> None:
        stream = SocketStream(ours)
        ready = HTTP1Connection((hop,), stream)
        ready.reserve()
        with pytest.raises(SettingsError):
            await open_tunnel(Route(Address("target.test", 22), (hop,)), TraceLog(), ready=ready)
        assert stream.descriptor.closed

    with theirs:
        run(main)
        assert theirs.recv(1) == b""
