"""HTTP/2 to a proxy: many tunnels on one connection, and many logins.

A request is a stream of its own, so a 407 is answered on the next stream of the same connection. What belongs to the connection in
HTTP/1.1 (NTLM, Negotiate) cannot work here: then this proxy gets HTTP/1.1 from now on, as does one that knows no CONNECT in HTTP/2.

Whether the connection still lives shows when something is asked of it. A request after a silence carries a PING along: if neither
is answered, the connection is given up, and the request is repeated on another one. So is a request that the proxy has not
processed (REFUSED_STREAM, GOAWAY).
"""

from __future__ import annotations

from errno import ETIMEDOUT
from time import monotonic

from tunnelctl import __version__, events
from tunnelctl.client.route.route import Hop, Tunnel
from tunnelctl.client.upstream.base import ProxyConnection, ReconnectRequired, TunnelRequest, without_deadline
from tunnelctl.client.upstream.http1 import BODY_SECONDS, challenges, shown, speaks_tls
from tunnelctl.client.upstream.http_version import HTTPVersion
from tunnelctl.engine.kernel import CancelScope, Nursery, current_time, move_on_after, sleep
from tunnelctl.engine.sync import Event
from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, TunnelctlError, Unreachable
from tunnelctl.proto.headers import Fields, get, get_all, mask, readable
from tunnelctl.proto.http1.connect_client import LOGIN_WANTED, TLS_RECORDS, Established, Rejected, quote
from tunnelctl.proto.http2 import events as received
from tunnelctl.proto.http2.fields import Response
from tunnelctl.proto.http2.frame import ErrorCode, name_of
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.http2.settings import Settings
from tunnelctl.proto.proxy_status import parse as parse_proxy_status
from tunnelctl.proto.refusal import REASONS
from tunnelctl.stream.base import Stream
from tunnelctl.stream.http2.connection import WINDOWS, Http2Connection
from tunnelctl.stream.http2.stream import Http2Stream

VERSION = "HTTP/2"

SILENCE = 10.0  # seconds without a byte from the proxy, after which a request is sent along with a PING
ANSWER_SECONDS = 5.0  # for the answer to a PING (dumbproxy#219 uses the same two values)

# Seconds for the rest of a header block. The time limit of its tunnel resets that one stream, while an incomplete block stops all
# others as well. Longer than a bad path may stall: the tunnels of the connection end with it.
BLOCK_SECONDS = 30.0

MAX_EXCERPT = 8192  # octets of the body of a refusal

_SETTINGS = b"\4\0"  # octets 3 and 4 of all that a proxy of HTTP/2 sends: type and flags of its first frame

# Answers by which a server of web pages says that it knows no CONNECT; so does a reset with one of the codes.
_NO_CONNECT = (405, 501)
_NO_CONNECT_CODES = (ErrorCode.PROTOCOL_ERROR, ErrorCode.HTTP_1_1_REQUIRED, ErrorCode.INTERNAL_ERROR)


class _Answer:
    """The result that a request waits for."""

    __slots__ = ("arrived", "reset", "response")

    def __init__(self) -> None:
        self.arrived = Event()
        self.response: Response | None = None
        self.reset: received.ResetReceived | received.StreamFailed | None = None


class HTTP2Connection(ProxyConnection):
    """A connection to a proxy that speaks HTTP/2."""

    multiplexed = True

    def __init__(self, hops: tuple[Hop, ...], stream: Stream, early: bytes, version: HTTPVersion) -> None:
        super().__init__(hops, stream, early)
        self._version = version
        self._machine = Machine(True, WINDOWS, current_time())
        codes = ErrorCode.CANCEL, ErrorCode.CANCEL
        self._connection = Http2Connection(stream, self._machine, self._on_event, *codes, BLOCK_SECONDS)
        self._answers: dict[int, _Answer] = {}
        self._announced = False  # the proxy's settings have come
        self._ready, self._unusable, self._idle = Event(), Event(), Event()
        self._pinged = self._ponged = 0  # PINGs sent and answered
        self._pong = Event()

    @property
    def limit(self) -> int:  # type: ignore[override]
        """Tunnels at once."""
        if self._unusable.is_set():
            return 0
        return self._machine.accepts if self._announced else 1

    @property
    def ready(self) -> bool:  # type: ignore[override]
        """Whether that limit is known."""
        return self._ready.is_set()

    async def wait_until_ready(self) -> None:
        await self._ready.wait()

    def release(self) -> None:
        super().release()
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        """Ends a connection that accepts no more tunnels, after its last one."""
        if self._unusable.is_set() and not self.tunnels:
            self._idle.set()

    async def wait_until_unusable(self) -> None:
        await self._unusable.wait()

    def retire(self) -> None:
        self._unusable.set()
        self._ready.set()
        self._end_if_unused()

    async def run(self) -> None:
        try:
            async with Nursery() as nursery:
                nursery.start_soon(self._probe)
                nursery.start_soon(self._wait_unused, nursery.cancel_scope)
                await self._connection.run(self.early)
                nursery.cancel_scope.cancel()
        finally:
            self.retire()

    async def _wait_unused(self, scope: CancelScope) -> None:
        await self._idle.wait()
        await self.finish()
        scope.cancel()

    async def finish(self) -> None:
        await self._connection.finish()

    async def _probe(self) -> None:
        """Sends a PING after a silence, as long as there are tunnels: a dead connection must not keep them for minutes."""
        interval = self._version.keepalive
        while interval:
            await sleep(interval)
            if self.tunnels and current_time() - self._connection.received >= interval:
                await self._ping()

    async def _ping(self) -> None:
        """Sends a PING, and gives the connection up if nothing arrives in time."""
        number = self._send_ping()
        with move_on_after(ANSWER_SECONDS):
            await self._answered(number)
        if self._ponged < number and current_time() - self._connection.received >= ANSWER_SECONDS:
            self._connection.give_up(TimeoutError(ETIMEDOUT, "the proxy does not answer on this connection any more"))

    def _send_ping(self) -> int:
        self._pinged += 1
        self._machine.ping(self._pinged.to_bytes(8, "big"))
        self._connection.flush()
        return self._pinged

    async def _answered(self, number: int) -> None:
        """Waits until a PING has been answered, or the connection is lost."""
        while self._ponged < number and self._connection.lost is None:
            if self._pong.is_set():
                self._pong = Event()
            await self._pong.wait()

    async def greeting(self) -> tuple[Settings, float]:
        """Waits for the proxy's settings. Returns them, and the round trip in seconds, measured with a PING."""
        begun = monotonic()
        await self._answered(self._send_ping())
        if self._connection.lost is not None:
            raise self._connection.lost
        return self._machine.peer, monotonic() - begun

    @property
    def send_window(self) -> int:
        """The bytes that the proxy takes on the whole connection now."""
        return self._machine.send_window

    # -- what the proxy sends -----------------------------------------------------------------------------------------------------

    def _on_event(self, event: received.Event | None) -> None:
        if isinstance(event, received.ResponseReceived):
            self._answer(event.stream, response=event.response)
        elif isinstance(event, received.ResetReceived | received.StreamFailed):
            self._answer(event.stream, reset=event)
        elif isinstance(event, received.SettingsReceived):
            self._announced = True
            self._ready.set()
        elif isinstance(event, received.PingAcknowledged):
            self._ponged = max(self._ponged, int.from_bytes(event.payload, "big"))
            self._pong.set()
        elif isinstance(event, received.GoAwayReceived):
            self.retire()
        elif event is None:
            for answer in self._answers.values():
                answer.arrived.set()
            self._pong.set()
            self.retire()

    def _answer(
        self,
        stream: int,
        response: Response | None = None,
        reset: received.ResetReceived | received.StreamFailed | None = None,
    ) -> None:
        answer = self._answers.get(stream)
        if answer is not None and not answer.arrived.is_set():
            answer.response, answer.reset = response, reset
            answer.arrived.set()

    # -- opening a tunnel ---------------------------------------------------------------------------------------------------------

    async def _open(self, request: TunnelRequest) -> Tunnel:
        exchange, fresh = request.exchange, True
        while True:
            if exchange is not None and exchange.connection_bound:
                raise self._needs_http1(request)
            fields = await self._fields(request, fresh)
            request.trace(events.Request(str(request.stop), VERSION, readable(mask(fields))))
            stream, answer = await self._ask(request, fields)
            request.trace(shown(answer, fields))
            if isinstance(answer, Established):
                self._version.worked = True
                if exchange is not None:
                    try:
                        exchange.accepted(get(answer.fields, "proxy-authentication-info"))
                    except BaseException:
                        stream.abort()
                        raise
                stream.when_closed(self.release)
                return Tunnel(stream, b"")
            stream.close()
            if not await self._next_step(request, answer):
                from tunnelctl.client.upstream.error_response import refused

                raise refused(answer, self.hop.address, fields, request.stop, exchange.failure if exchange is not None else None)
            fresh = False

    async def _fields(self, request: TunnelRequest, fresh: bool) -> Fields:
        fields, exchange = (*request.fields, *self.hop.fields), request.exchange
        if get(fields, "user-agent") is None:
            fields = (("User-Agent", f"tunnelctl/{__version__}"), *fields)
        value = await exchange.value(fresh) if exchange is not None else None
        return (("Proxy-Authorization", value), *fields) if value is not None else fields

    async def _ask(self, request: TunnelRequest, fields: Fields) -> tuple[Http2Stream, Established | Rejected]:
        """Sends one request, and waits for its response."""
        if self._connection.lost is not None:
            raise self.broken(request, self._connection.lost, heard=self._announced)
        if self._machine.streams >= self._machine.accepts:  # it has changed since the place was reserved
            raise _not_processed(request)
        number = self._machine.request(request.stop, fields)
        stream, answer = self._connection.open(number), _Answer()
        self._answers[number] = answer
        self._connection.flush()
        try:
            async with Nursery() as nursery:
                if current_time() - self._connection.received > SILENCE and self._announced:
                    nursery.start_soon(self._ping)
                await answer.arrived.wait()
                nursery.cancel_scope.cancel()
            if answer.response is None:
                raise self._unanswered(request, answer)
            return stream, await self._complete(request, stream, answer.response)
        except BaseException:
            stream.abort()
            raise
        finally:
            del self._answers[number]

    def _unanswered(self, request: TunnelRequest, answer: _Answer) -> Exception:
        """Returns what to raise for a request that has got no response."""
        if answer.reset is None:
            assert self._connection.lost is not None
            first = self._connection.first
            if self._announced or first[3:5] == _SETTINGS:
                return self.broken(request, self._connection.lost, heard=True)
            error: TunnelctlError
            if not first:
                error = self.broken(request, self._connection.lost)
                error.may_speak_tls = self.hop.tls is None
                return error
            if first.startswith(TLS_RECORDS):
                return speaks_tls(request.what, self.hop)
            error = MalformedAnswer(request.what, f"not HTTP/2: it starts with {quote(first)}", "not-http2")
            error.may_speak_tls = self.hop.tls is None  # some TLS servers explain themselves in HTTP/1.1
            return error
        code = answer.reset.code
        if code in _NO_CONNECT_CODES and self._falls_back():
            return ReconnectRequired()
        if code == ErrorCode.REFUSED_STREAM:
            self.retire()  # the next connection may lead to another machine
            return _not_processed(request)
        what = answer.reset.reason if isinstance(answer.reset, received.StreamFailed) else f"it reset the request: {name_of(code)}"
        return MalformedAnswer(request.what, what, "stream-reset")

    def _falls_back(self) -> bool:
        """Whether to go on in HTTP/1.1, from now on. Not if a tunnel has been granted before, or if nothing else was asked for."""
        return not self._version.worked and self._downgrade()

    def _downgrade(self) -> bool:
        if self._version.required or self.hop.tls is None:
            return False
        self._version.only_1_1 = True
        self.retire()
        return True

    def _needs_http1(self, request: TunnelRequest) -> Exception:
        """Returns what to raise for a login that is bound to its connection."""
        if self._downgrade():
            return ReconnectRequired()
        cause = "its authentication is bound to a connection, and HTTP/2 shares a connection among tunnels"
        return AuthenticationFailed(request.what, cause, "login-needs-http1")

    async def _complete(self, request: TunnelRequest, stream: Http2Stream, response: Response) -> Established | Rejected:
        status, fields = response.status, response.fields
        if 200 <= status < 300:
            return Established(VERSION, status, "", fields, b"")
        if status in _NO_CONNECT and self._falls_back():
            raise ReconnectRequired
        body = bytearray()

        async def read() -> None:
            while len(body) < MAX_EXCERPT and (data := await stream.receive_some(MAX_EXCERPT - len(body))):
                body.extend(data)

        try:
            await request.deadline.at_most(BODY_SECONDS, read())
        except OSError:  # its head has said what matters
            pass
        statuses = parse_proxy_status(", ".join(get_all(fields, "proxy-status")))
        return Rejected(VERSION, status, REASONS.get(status, ""), fields, bytes(body), statuses)

    async def _next_step(self, request: TunnelRequest, answer: Rejected) -> bool:
        """Whether the login goes on after this refusal, on another stream."""
        exchange = request.exchange
        if exchange is None or answer.status not in LOGIN_WANTED:
            return False
        return await without_deadline(self.hop.login, request.deadline, exchange.answer(challenges(answer)))


def decline(stream: Stream, version: HTTPVersion, what: str) -> Exception:
    """Sends a proxy the error for a forbidden cipher suite. Returns the error to raise about `what`; the caller closes the stream.

    The suites of HTTP/1.1 stay on offer, and so it may be used in its place: a company's gateway may be old.
    """
    machine = Machine(True, WINDOWS, current_time())
    machine.fail(ErrorCode.INADEQUATE_SECURITY, version.forbidden_suite)
    machine.release()
    try:
        stream.send_nowait(bytes(machine.output))  # a new connection has room for it
    except OSError:
        pass
    if version.required:
        return MalformedAnswer(what, f"it chose HTTP/2 with {version.forbidden_suite}, which HTTP/2 forbids", "http2-suite")
    version.only_1_1 = True
    return ReconnectRequired()


def _not_processed(request: TunnelRequest) -> Unreachable:
    """The error for a request that the proxy has not processed, so that it may be repeated on another connection."""
    return Unreachable(request.what, "it accepts no further requests on this connection", "stream-refused")
