"""Tests HTTP/2 to one proxy: requests and responses, logins, the proxy's limit, and connections that go away or die."""

import base64
import random
import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from tests.client.harness import TARGET, connect
from tests.client.sharing import SECONDS, Sharing, close, echoes, exactly, sharing, to_the_end
from tests.options import connect_options
from tests.peers import authenticating, http2_server
from tests.peers.certificates import Certificates, make
from tests.peers.http2 import Kind, frame
from tests.peers.http2_server import Http2Server, Request, echo, grant_echo
from tests.peers.process import wait_until
from tests.peers.proxies import PASSWORD, USER
from tests.peers.scripted import Conversation, ScriptedServer, sample
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.route.route import Tunnel
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.client.upstream import http2 as under_test
from tunnelctl.engine.kernel import Nursery, move_on_after, sleep
from tunnelctl.errors import (
    AuthenticationFailed,
    MalformedAnswer,
    NameNotFound,
    Refused,
    TimedOut,
    TunnelctlError,
    Unreachable,
)
from tunnelctl.proto.address import Address
from tunnelctl.status import ExitStatus

MAX_STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def failure(script: http2_server.Script, **options: Any) -> TunnelctlError:
    """The error of a tunnel through a proxy with this script."""

    async def test(world: Sharing) -> None:
        await world.open()

    with Http2Server(script) as server, pytest.raises(TunnelctlError) as caught:
        sharing(server.url, test, **options)
    assert f"127.0.0.1:{server.port}" in caught.value.what
    return caught.value


def passes(script: http2_server.Script, proxy: str = "", tls: Certificates | None = None, **options: Any) -> list[Request]:
    """Opens a tunnel that echoes. Returns the requests."""

    async def test(world: Sharing) -> None:
        tunnel = await world.open()
        assert await echoes(tunnel)
        tunnel.stream.close()

    with Http2Server(script, tls) as server:
        sharing(proxy.format(server.port) or server.url, test, tls, **options)
        assert server.accepted == 1
        return server.requests


# --- the request


def test_a_request_has_the_target_and_our_name_and_nothing_of_http_1_1() -> None:
    (request,) = passes(grant_echo, header=("X-Note: one", "Connection: close", "Proxy-Connection: keep-alive"))
    assert request.fields is not None
    assert request.fields[:2] == [(":method", "CONNECT"), (":authority", str(TARGET))]
    assert {name for name, _ in request.fields} == {":method", ":authority", "user-agent", "x-note"}
    assert str(request.field("user-agent")).startswith("tunnelctl/")


def test_interim_responses_are_skipped() -> None:
    passes(http2_server.inform_first(100, 103, 103))


def test_a_flood_of_interim_responses_ends_the_request() -> None:

    def script(request: Request) -> None:
        with suppress(ConnectionError):
            http2_server.inform_first(*[103] * 200, then=http2_server.never_answer)(request)

    error = failure(script, timeout=5.0)
    assert (type(error), error.code) == (MalformedAnswer, "stream-reset")


def test_data_right_after_the_response_belongs_to_the_tunnel() -> None:
    def script(request: Request) -> None:
        request.accept()
        request.send(b"SSH-2.0-banner\r\n", end=True)

    async def test(world: Sharing) -> None:
        tunnel = await world.open()
        assert await to_the_end(tunnel.stream) == b"SSH-2.0-banner\r\n"
        tunnel.stream.close()

    with Http2Server(script) as server:
        sharing(server.url, test)


# --- refusals


def test_a_refusal_has_its_body_and_the_connection_lives_on() -> None:
    async def test(world: Sharing) -> None:
        for _ in range(2):
            with pytest.raises(Refused) as caught:
                await world.open()
            assert caught.value.cause == '403 Forbidden: it says "rule 12"'
        tunnel = await world.open()
        assert await echoes(tunnel)
        tunnel.stream.close()

    refusal = http2_server.refuse(403, body=b"rule 12")
    with Http2Server(http2_server.in_turn(refusal, refusal, grant_echo)) as server:
        sharing(server.url, test)
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("status", "told", "kind", "exit_status"),
    [
        (502, "proxy; error=dns_error", NameNotFound, 68),
        (502, "proxy; error=connection_refused", Refused, 69),
        (504, "proxy; error=connection_timeout", TimedOut, 75),
        (403, "proxy; error=http_request_denied", Refused, 69),
        (503, "", Refused, 69),
    ],
)
def test_proxy_status_decides_our_exit_status(status: int, told: str, kind: type[TunnelctlError], exit_status: int) -> None:
    error = failure(http2_server.refuse(status, *([("proxy-status", told)] if told else [])))
    assert (error.exit_status, isinstance(error, kind)) == (exit_status, True)


def test_a_refusal_whose_body_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "BODY_SECONDS", 0.1)

    def script(request: Request) -> None:
        request.respond(403, body=b"the reason", end=False)
        with suppress(ConnectionError):
            request.wait_end()

    assert failure(script).cause == '403 Forbidden: it says "the reason"'


def test_a_huge_body_of_a_refusal_holds_nobody_up() -> None:
    def script(request: Request) -> None:
        with suppress(ConnectionError):
            request.respond(403, body=b"spam " * (1 << 20))

    async def test(world: Sharing) -> None:
        with pytest.raises(Refused):
            await world.open()
        tunnel = await world.open()
        assert await echoes(tunnel, sample(1 << 17))
        tunnel.stream.close()

    with Http2Server(http2_server.in_turn(script, grant_echo)) as server:
        sharing(server.url, test)


@pytest.mark.parametrize("code", [ErrorCodes.CANCEL, ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.CONNECT_ERROR])
def test_a_reset_in_place_of_a_response(code: int) -> None:
    error = failure(http2_server.reset(code))
    assert (error.code, error.exit_status) == ("stream-reset", ExitStatus.MALFORMED)
    assert ErrorCodes(code).name in error.cause
    assert hint_of(error)


def test_a_malformed_response() -> None:
    error = failure(lambda request: request.respond(200, ("Connection", "close")))
    assert (error.code, error.exit_status) == ("stream-reset", ExitStatus.MALFORMED)


@pytest.mark.parametrize("end", [http2_server.close_connection, http2_server.abort_connection])
def test_a_connection_that_ends_in_place_of_a_response(end: http2_server.Script) -> None:
    error = failure(end)
    assert (type(error), error.code) == (Unreachable, "broke")


def test_a_response_that_never_comes() -> None:
    assert isinstance(failure(http2_server.never_answer, timeout=0.3), TimedOut)


def test_a_cancelled_opening_resets_its_stream_only() -> None:
    async def test(world: Sharing) -> None:
        first = await world.open()
        with move_on_after(0.05) as scope:
            await world.open()
        assert scope.cancelled_caught
        assert await echoes(first)
        assert [connection.tunnels for connection in world.made] == [1]
        first.stream.close()

    with Http2Server(http2_server.in_turn(grant_echo, http2_server.never_answer)) as server:
        sharing(server.url, test)
        assert server.requests[1].reset_code == ErrorCodes.CANCEL


# --- logins

BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def with_login(scheme: str = "http", password: str = PASSWORD) -> str:
    return f"{scheme}://{USER}:{password}@127.0.0.1:{{}}"


def test_a_login_is_repeated_on_the_same_connection_and_remembered() -> None:
    async def test(world: Sharing) -> None:
        for _ in range(2):
            tunnel = await world.open()
            assert await echoes(tunnel)
            tunnel.stream.close()

    with Http2Server(http2_server.require_login(BASIC, 'Basic realm="r"')) as server:
        sharing(with_login().format(server.port), test)
        assert server.accepted == 1
        assert [request.field("proxy-authorization") for request in server.requests] == [None, BASIC, BASIC]
        assert all(request.never_indexed("proxy-authorization") for request in server.requests)


def test_a_wrong_password() -> None:
    script = http2_server.require_login(BASIC, 'Basic realm="r"')
    with Http2Server(script) as server, pytest.raises(AuthenticationFailed):
        sharing(with_login(password="wrong").format(server.port), lambda world: world.open())
    assert len(server.requests) == 2


class DigestGuard:
    """Requires a Digest login, and proves in its response that it knows the password, unless it lies."""

    def __init__(self, lies: bool = False) -> None:
        self.digest, self._lies = authenticating.Digest(), lies

    def __call__(self, request: Request) -> None:
        head = f"CONNECT {request.target} HTTP/2\r\nProxy-Authorization: {request.field('proxy-authorization') or ''}\r\n\r\n"
        if not self.digest.knows(head.encode()):
            request.respond(407, ("proxy-authenticate", self.digest.challenge().decode()))
        elif self._lies:
            request.accept(("proxy-authentication-info", f'rspauth="{"0" * 64}"'))
            with suppress(ConnectionError):
                echo(request)
        else:
            grant_echo(request)


def test_digest() -> None:
    guard = DigestGuard()
    requests = passes(guard, with_login())
    assert (len(requests), len(guard.digest.seen)) == (2, 1)


def test_a_proxy_that_does_not_know_the_password_gets_its_tunnel_reset() -> None:
    """The stream would stay open, and its place taken."""
    with Http2Server(DigestGuard(lies=True)) as server:
        with pytest.raises(AuthenticationFailed):
            sharing(with_login().format(server.port), lambda world: world.open())

        async def test(world: Sharing) -> None:
            with pytest.raises(AuthenticationFailed):
                await world.open()
            await world.until(lambda: server.requests[-1].reset_code is not None)

        sharing(with_login().format(server.port), test)
        assert server.requests[-1].reset_code == ErrorCodes.CANCEL


@pytest.mark.parametrize("offers", [("NTLM",), ("Negotiate", "NTLM")])
@pytest.mark.parametrize("auth", ["any", "ntlm"])
def test_a_login_that_is_bound_to_its_connection_uses_http_1_1(auth: str, offers: tuple[str, ...], files: Certificates) -> None:
    """No part of it goes out in HTTP/2, and the next tunnel is not tried there."""
    pytest.importorskip("spnego")
    fields = [("proxy-authenticate", offer) for offer in offers]

    async def test(world: Sharing) -> None:
        for _ in range(2):
            tunnel = await world.open()
            assert await echoes(tunnel)
            tunnel.stream.close()

    http1 = authenticating.ntlm_over_http_1_0()
    with Http2Server(http2_server.refuse(407, *fields), files, http1=http1) as server:
        sharing(with_login("https").format(server.port), test, files, http="auto", auth=auth)
        assert [request.field("proxy-authorization") for request in server.requests] == ([None] if auth == "any" else [])
        assert len(server.connections) == 1


def test_such_a_login_where_http_2_is_required() -> None:
    pytest.importorskip("spnego")
    with Http2Server(http2_server.refuse(407, ("proxy-authenticate", "NTLM"))) as server:
        with pytest.raises(AuthenticationFailed) as caught:
            sharing(with_login().format(server.port), lambda world: world.open())
    assert (caught.value.code, caught.value.exit_status) == ("login-needs-http1", ExitStatus.AUTHENTICATION)
    assert "--http 1.1" in hint_of(caught.value)


def test_a_prompt_suspends_the_time_limit() -> None:
    script = http2_server.require_login(BASIC, 'Basic realm="r"')
    command = f"sleep 1.6; echo {PASSWORD}"
    with Http2Server(script) as server:

        async def test(world: Sharing) -> None:
            tunnel = await world.open()
            assert await echoes(tunnel)
            tunnel.stream.close()

        sharing(server.url, test, proxy_user=USER, password_command=command, timeout=1.5)


# --- the proxy's limit


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_proxys_limit_of_tunnels_is_respected(limit: int) -> None:
    """Further connections are opened, and no tunnel is refused."""

    async def test(world: Sharing) -> None:
        tunnels = await world.open_at_once(15)
        assert max(connection.tunnels for connection in world.made) == limit
        for tunnel in tunnels:
            assert await echoes(tunnel)
        close(tunnels)

    with Http2Server(grant_echo, settings={MAX_STREAMS: limit}) as server:
        sharing(server.url, test)
        assert [request for connection in server.connections for request in connection.refused] == []
        assert -(-15 // limit) <= server.accepted <= 15


def test_a_limit_of_0_fails_in_time() -> None:
    async def test(world: Sharing) -> None:
        errors = []

        async def one() -> None:
            with pytest.raises(Unreachable) as caught:
                await world.open()
            errors.append(caught.value.code)

        async with Nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
        assert errors == ["stream-refused"] * 5

    with Http2Server(grant_echo, settings={MAX_STREAMS: 0}) as server:
        sharing(server.url, test)


def test_a_limit_that_is_lowered_later() -> None:
    """Open tunnels stay, and new ones go to another connection."""

    async def test(world: Sharing) -> None:
        tunnels = [await world.open() for _ in range(3)]
        lower = threading.Thread(target=server.connections[0].update_settings, args=({MAX_STREAMS: 1},))
        lower.start()
        await world.until(lambda: world.made[0].limit == 1)
        assert world.made[0].capacity == 0
        tunnels.append(await world.open())
        for tunnel in tunnels:
            assert await echoes(tunnel)
        close(tunnels)
        await world.until(lambda: not lower.is_alive())
        lower.join()

    with Http2Server(grant_echo) as server:
        sharing(server.url, test)
        assert [len(connection.requests) for connection in server.connections] == [3, 1]


def test_a_place_that_is_gone_when_its_request_is_due_costs_nothing() -> None:
    """The limit was lowered in between; a stream above it would be refused, or be an error of the connection."""

    async def test(world: Sharing) -> None:
        first = await world.open()
        (route,) = await world.planner.to(TARGET, world.trace)
        ready = await world.pool.take(route)
        assert ready is not None
        await lower(world, server, 1)
        with pytest.raises(Unreachable) as caught:
            await open_tunnel(route._replace(timeout=SECONDS), world.trace, world.pool, ready)
        assert caught.value.code == "stream-refused"
        first.stream.close()

    with Http2Server(grant_echo) as server:
        sharing(server.url, test)
        assert len(server.requests) == 1


async def lower(world: Sharing, server: Http2Server, limit: int) -> None:
    thread = threading.Thread(target=server.connections[0].update_settings, args=({MAX_STREAMS: limit},))
    thread.start()
    await world.until(lambda: not thread.is_alive())
    thread.join()


# --- bursts


@pytest.mark.parametrize("connections", [1, 3])
def test_a_burst_makes_as_many_connections_as_allowed_and_spreads_over_them(connections: int) -> None:
    async def test(world: Sharing) -> None:
        tunnels = await world.open_at_once(51)
        assert sorted(connection.tunnels for connection in world.made) == [51 // connections] * connections
        more = await world.open_at_once(9)
        assert len(world.made) == connections
        close([*tunnels, *more])

    with Http2Server(grant_echo) as server:
        sharing(server.url, test, connections=connections)
        assert server.accepted == connections


def test_a_second_burst_makes_no_more_connections_than_allowed() -> None:
    """One connection is there, and two are allowed."""

    async def test(world: Sharing) -> None:
        first = await world.open()
        tunnels = await world.open_at_once(20)
        assert len(world.made) == 2
        close([first, *tunnels])

    with Http2Server(grant_echo) as server:
        sharing(server.url, test, connections=2)


def test_a_dial_that_fails_does_not_delay_the_others_in_turn(files: Certificates) -> None:
    """They have waited for it once, and then each makes its own connection, or shares that of another."""
    failing = threading.Event()

    async def test(world: Sharing) -> None:
        results: list[Tunnel | TunnelctlError] = []

        async def one() -> None:
            try:
                results.append(await world.open())
            except TunnelctlError as error:
                results.append(error)

        async with Nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
            await world.until(lambda: len(front.conversations) == 1)
            failing.set()
        tunnels = [result for result in results if isinstance(result, Tunnel)]
        assert (len(results), len(tunnels)) == (10, 9)
        for tunnel in tunnels:
            assert await echoes(tunnel)
        close(tunnels)

    with Http2Server(grant_echo, files) as server:
        line = Line(server.port)

        def script(peer: Conversation) -> None:
            if peer is front.conversations[0]:
                assert failing.wait(SECONDS)
                peer.reset()
            else:
                line(peer)

        with ScriptedServer(script) as front:
            sharing(f"https://localhost:{front.port}", test, files)


# --- connections that go away


def test_a_request_that_is_refused_unprocessed_goes_to_another_connection() -> None:
    async def test(world: Sharing) -> None:
        first = await world.open()
        second = await world.open()
        for tunnel in (first, second):
            assert await echoes(tunnel)
        close([first, second])

    refuse = http2_server.reset(ErrorCodes.REFUSED_STREAM)
    with Http2Server(http2_server.in_turn(grant_echo, refuse, grant_echo)) as server:
        sharing(server.url, test)
        assert [len(connection.requests) for connection in server.connections] == [2, 1]


def test_a_new_connection_may_refuse_a_request_too() -> None:
    """As a proxy does that is being replaced: it has accepted the connection, and is about to stop."""
    refuse = http2_server.reset(ErrorCodes.REFUSED_STREAM)
    with Http2Server(http2_server.in_turn(refuse, http2_server.go_away(), grant_echo)) as server:

        async def test(world: Sharing) -> None:
            tunnel = await world.open()
            assert await echoes(tunnel)
            tunnel.stream.close()

        sharing(server.url, test)
        assert server.accepted == 3


def test_a_proxy_that_refuses_every_request_unprocessed() -> None:
    error = failure(http2_server.reset(ErrorCodes.REFUSED_STREAM))
    assert (type(error), error.code, error.exit_status) == (Unreachable, "stream-refused", ExitStatus.UNREACHABLE)
    assert "--retry" in hint_of(error)


def test_goaway_keeps_the_tunnels_and_new_ones_go_elsewhere() -> None:
    """The connection is closed after its last tunnel."""

    async def test(world: Sharing) -> None:
        old = [await world.open() for _ in range(3)]
        connection = server.connections[0]
        connection.goaway(5)
        await world.until(lambda: world.made[0].limit == 0)
        new = [await world.open() for _ in range(3)]
        for tunnel in (*old, *new):
            assert await echoes(tunnel, sample(1 << 18))
        close(old[:2])
        assert await echoes(old[2])
        assert not connection.lost
        close(old[2:])
        await world.until(lambda: connection.lost)
        assert connection.lost == "closed"
        for tunnel in new:
            assert await echoes(tunnel)
        close(new)

    with Http2Server(grant_echo) as server:
        sharing(server.url, test)
        assert [len(connection.requests) for connection in server.connections] == [3, 3]


def test_goaway_with_a_lower_number_moves_the_requests_under_way() -> None:
    """They were not processed."""

    async def test(world: Sharing) -> None:
        first = await world.open()
        tunnels = await world.open_at_once(5)
        for tunnel in (first, *tunnels):
            assert await echoes(tunnel)
        close([first, *tunnels])

    leave = http2_server.go_away()
    with Http2Server(http2_server.in_turn(grant_echo, leave, *[http2_server.never_answer] * 4, grant_echo)) as server:
        sharing(server.url, test)


def test_a_graceful_goaway_lets_the_requests_under_way_finish() -> None:
    waiting = threading.Event()

    def slow(request: Request) -> None:
        request.connection.goaway(2**31 - 1)
        assert waiting.wait(SECONDS)
        grant_echo(request)

    async def test(world: Sharing) -> None:
        tunnels: list[Tunnel] = []

        async def one() -> None:
            tunnels.append(await world.open())

        async with Nursery() as nursery:
            nursery.start_soon(one)
            await world.until(lambda: world.made and world.made[0].limit == 0 and world.made[0].ready)
            tunnels.append(await world.open())
            waiting.set()
        for tunnel in tunnels:
            assert await echoes(tunnel)
        close(tunnels)

    with Http2Server(http2_server.in_turn(slow, grant_echo)) as server:
        sharing(server.url, test)
        assert server.accepted == 2


def test_a_connection_that_is_lost_resets_its_tunnels() -> None:
    async def test(world: Sharing) -> None:
        tunnels = [await world.open() for _ in range(3)]
        server.connections[0].abort()
        for tunnel in tunnels:
            with pytest.raises(OSError):
                await to_the_end(tunnel.stream)
        close(tunnels)
        again = await world.open()
        assert await echoes(again)
        again.stream.close()

    with Http2Server(grant_echo) as server:
        sharing(server.url, test)


def test_v38_a_response_whose_header_block_is_never_complete_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other frame may come before its end, so its tunnels would hang, although the request itself has a time limit."""
    monkeypatch.setattr(under_test, "BLOCK_SECONDS", 0.3)

    def stop(request: Request) -> None:
        request.connection.send_raw(frame(Kind.HEADERS, request.number, b"\x88"))

    async def test(world: Sharing) -> None:
        tunnel = await world.open()
        other = await world.open()  # on another connection
        assert await echoes(other)
        with pytest.raises(OSError, match="a header block is not complete in time"):
            await to_the_end(tunnel.stream)
        close([tunnel, other])

    with Http2Server(http2_server.in_turn(grant_echo, stop, grant_echo)) as server:
        sharing(server.url, test)
        wait_until(lambda: server.connections[0].goaways, what="GOAWAY")
        assert [goaway.code for goaway in server.connections[0].goaways] == [ErrorCodes.ENHANCE_YOUR_CALM]
        assert server.accepted == 2


@pytest.mark.parametrize("waiting", [False, True])
def test_a_proxy_that_takes_no_more_after_the_end_of_the_target(waiting: bool) -> None:
    """END_STREAM and RST_STREAM with NO_ERROR, as from Envoy and nghttpx, often in one segment. Whoever sends must not wait."""

    def script(request: Request) -> None:
        request.accept()
        if waiting:
            request.connection.wait_for(lambda: len(request.data) == 65_535, "a full window")
        with request.connection.changed:
            request.end()
            request.reset(ErrorCodes.NO_ERROR)

    async def test(world: Sharing) -> None:
        tunnel = await world.open()
        if not waiting:
            assert await to_the_end(tunnel.stream) == b""
        with pytest.raises(BrokenPipeError):
            while True:
                await tunnel.stream.send_all(sample(100_000))
        assert await to_the_end(tunnel.stream) == b""
        tunnel.stream.close()

    with Http2Server(script) as server:
        sharing(server.url, test)


# --- connections that die


class Line:
    """A relay in front of a proxy that can stop forwarding without closing anything, as a line does that drops packets."""

    def __init__(self, port: int) -> None:
        self._far, self._threads = port, list[threading.Thread]()
        self.working = [True]  # by connection
        self._stopped = threading.Event()

    def __call__(self, peer: Conversation) -> None:
        number = len(self.working)
        self.working.append(True)
        with socket.create_connection(("127.0.0.1", self._far), SECONDS) as far:
            back = threading.Thread(target=self._copy, args=(far, peer.sock, number), daemon=True)
            back.start()
            self._copy(peer.sock, far, number)
            back.join(SECONDS)

    def _copy(self, source: socket.socket, sink: socket.socket, number: int) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.working[number]:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Stops all connections so far."""
        self.working[:] = [False] * len(self.working)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "SILENCE", 0.05)
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 1.0)


def test_the_time_to_notice_a_dead_connection_is_bounded() -> None:
    assert (under_test.SILENCE, under_test.ANSWER_SECONDS) == (10.0, 5.0)


@pytest.mark.usefixtures("quick")
def test_a_new_tunnel_on_a_dead_connection_opens_on_a_fresh_one() -> None:
    async def test(world: Sharing) -> None:
        first = await world.open()
        await sleep(0.1)  # the silence is the subject
        line.cut()
        tunnels = await world.open_at_once(10)
        for tunnel in tunnels:
            assert await echoes(tunnel)
        with pytest.raises(OSError):
            await to_the_end(first.stream)
        close([first, *tunnels])
        assert len(world.made) == 2

    with Http2Server(grant_echo) as server:
        line = Line(server.port)
        with ScriptedServer(line) as front:
            sharing(front.url, test)


@pytest.mark.usefixtures("quick")
def test_a_slow_target_does_not_make_a_connection_dead() -> None:
    """The PING is answered, and the response comes later."""
    late = threading.Event()

    def slow(request: Request) -> None:
        assert late.wait(SECONDS)
        grant_echo(request)

    async def test(world: Sharing) -> None:
        first = await world.open()
        await sleep(0.1)
        timer = threading.Timer(2.0, late.set)
        timer.start()
        second = await world.open()
        timer.join()
        for tunnel in (first, second):
            assert await echoes(tunnel)
        close([first, second])

    with Http2Server(http2_server.in_turn(grant_echo, slow)) as server:
        sharing(server.url, test)
        assert len(server.connections[0].pings) == 1


@pytest.mark.usefixtures("quick")
def test_keepalive_ends_the_tunnels_of_a_dead_connection() -> None:
    async def test(world: Sharing) -> None:
        tunnels = [await world.open() for _ in range(3)]
        line.cut()
        for tunnel in tunnels:
            with pytest.raises(OSError):
                await to_the_end(tunnel.stream)
        close(tunnels)

    with Http2Server(grant_echo) as server:
        line = Line(server.port)
        with ScriptedServer(line) as front:
            sharing(front.url, test, keepalive=0.2)


@pytest.mark.usefixtures("quick")
def test_keepalive_spares_a_connection_whose_proxy_answers() -> None:
    async def test(world: Sharing) -> None:
        tunnel = await world.open()
        await world.until(lambda: len(server.connections[0].pings) >= 2)
        assert await echoes(tunnel)
        tunnel.stream.close()

    with Http2Server(grant_echo) as server:
        sharing(server.url, test, keepalive=0.1)


@pytest.mark.usefixtures("quick")
def test_without_keepalive_there_is_no_probe() -> None:
    async def test(world: Sharing) -> None:
        tunnel = await world.open()
        await sleep(0.5)
        assert await echoes(tunnel)
        tunnel.stream.close()

    with Http2Server(grant_echo, mute=(Kind.PING,)) as server:
        sharing(server.url, test, keepalive=0.0)


# --- capacity


def test_the_count_of_tunnels_returns_to_0_after_any_mix_of_ends() -> None:
    """Each kind of end of a request and of a tunnel, in random order on shared connections."""
    dice = random.Random(9)

    def script(request: Request) -> None:
        kind = str(request.target).split(".")[0]
        with suppress(ConnectionError, ProtocolError):  # the client may have left already
            if kind == "refused":
                request.respond(403, body=b"no")
            elif kind == "endless":
                request.respond(502, body=b"no", end=False)
                request.wait_end()
            elif kind == "reset":
                request.reset(ErrorCodes.CANCEL)
            elif kind == "unprocessed":
                request.reset(ErrorCodes.REFUSED_STREAM)
            elif kind == "mute":
                request.wait_end()
            elif kind == "ends":
                request.accept()
                request.send(b"bye", end=True)
                request.wait_end()
            elif kind == "breaks":
                request.accept()
                request.send(b"half")
                request.reset(ErrorCodes.CONNECT_ERROR)
            else:
                grant_echo(request)

    kinds = ("refused", "endless", "reset", "unprocessed", "mute", "ends", "breaks", "echo", "half", "abort")

    async def one(world: Sharing, kind: str) -> None:
        with move_on_after(dice.choice((0.05, 0.2))):
            try:
                tunnel = await world.open(Address(f"{kind}.test", 1))
            except TunnelctlError:
                return
            try:
                if kind in ("half", "ends"):
                    tunnel.stream.send_eof()
                elif kind == "echo":
                    await tunnel.stream.send_all(sample(100_000))
                    await exactly(tunnel.stream, 50_000)
                if kind not in ("abort", "echo"):
                    with suppress(OSError):
                        await to_the_end(tunnel.stream)
            finally:
                (tunnel.stream.abort if kind == "abort" else tunnel.stream.close)()

    async def test(world: Sharing) -> None:
        async with Nursery() as nursery:
            for _ in range(120):
                nursery.start_soon(one, world, dice.choice(kinds))
        await world.until(lambda: not any(connection.tunnels for connection in world.made))
        tunnel = await world.open()
        assert await echoes(tunnel)
        tunnel.stream.close()

    with Http2Server(script, settings={MAX_STREAMS: 20}) as server:
        sharing(server.url, test)


def test_connect_loses_no_byte_that_is_queued_at_the_end() -> None:
    received = []

    def script(request: Request) -> None:
        request.accept()
        request.end()
        received.append(request.read_to_end())

    with Http2Server(script) as server:
        ended = connect(connect_options(TARGET, (server.url,), http="2", timeout=SECONDS), stdin=sample(50_000))
    assert (ended.status, received == [sample(50_000)]) == (0, True)
