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
from tunnelctl.client.upstream.http1 import BODY_SECONDS, challenges, shown
from tunnelctl.client.upstream.http_version import HTTPVersion
from tunnelctl.engine.kernel import CancelScope, Nursery, current_time, move_on_after, sleep
from tunnelctl.engine.sync import Event
from tunnelctl.errors import MalformedAnswer, Unreachable
from tunnelctl.proto.headers import Fields, get, get_all, mask, readable
from tunnelctl.proto.http1.connect_client import LOGIN_WANTED, Established, Rejected
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

FIRST_LIMIT = 100  # tunnels at once before the proxy has announced its limit: RFC 9113 section 6.5.2 recommends at least that

SILENCE = 10.0  # seconds without a byte from the proxy, after which a request is sent along with a PING
ANSWER_SECONDS = 5.0  # for the answer to a PING (dumbproxy#219 uses the same two values)

MAX_EXCERPT = 8192  # octets of the body of a refusal

# Answers by which a server of web pages says that it knows no CONNECT; so does a reset with one of the codes.
_NO_CONNECT = (405, 501)
_NO_CONNECT_CODES = (ErrorCode.PROTOCOL_ERROR, ErrorCode.HTTP_1_1_REQUIRED, ErrorCode.INTERNAL_ERROR)


class _Answer:
    """What a request waits for."""

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
        self._connection = Http2Connection(stream, self._machine, self._on_event, ErrorCode.CANCEL, ErrorCode.CANCEL)
        self._answers: dict[int, _Answer] = {}
        self._announced = False  # the proxy's settings have come
        self._worked = False  # a tunnel has been granted
        self._unusable, self._idle = Event(), Event()
        self._pinged = self._ponged = 0  # PINGs sent and answered
        self._pong = Event()

    @property
    def limit(self) -> int:  # type: ignore[override]
        """Tunnels at once."""
        if self._unusable.is_set():
            return 0
        accepted = self._machine.accepts
        return accepted if self._announced else min(accepted, FIRST_LIMIT)

    def release(self) -> None:
        super().release()
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        """Ends a connection that accepts no more tunnels, after its last one."""
        if self._unusable.is_set() and not self.tunnels:
            self._idle.set()

    async def wait_until_unusable(self) -> None:
        await self._unusable.wait()

    def _retire(self) -> None:
        """Opens no more tunnels on this connection. Those that are open go on."""
        self._unusable.set()
        self._end_if_unused()

    async def run(self) -> None:
        try:
            async with Nursery() as nursery:
                nursery.start_soon(self._probe)
                nursery.start_soon(self._wait_unused, nursery.cancel_scope)
                await self._connection.run(self.early)
                nursery.cancel_scope.cancel()
        finally:
            self._unusable.set()

    async def _wait_unused(self, scope: CancelScope) -> None:
        await self._idle.wait()
        scope.cancel()

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
        elif isinstance(event, received.PingAcknowledged):
            self._ponged = max(self._ponged, int.from_bytes(event.payload, "big"))
            self._pong.set()
        elif isinstance(event, received.GoAwayReceived):
            self._retire()
        elif event is None:
            for answer in self._answers.values():
                answer.arrived.set()
            self._pong.set()
            self._retire()

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
            fields = await self._fields(request, fresh)
            request.trace(events.Request(str(request.stop), VERSION, readable(mask(fields))))
            stream, answer = await self._ask(request, fields)
            request.trace(shown(answer, fields))
            if isinstance(answer, Established):
                self._worked = True
                if exchange is not None:
                    exchange.accepted(get(answer.fields, "proxy-authentication-info"))
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
            raise self.broken(request, self._connection.lost)
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
            if not self._announced and self._connection.first.startswith(b"HTTP/1."):
                return MalformedAnswer(request.what, "it answered in HTTP/1.1", "not-http2", facts={"proxy": self.hop.address})
            return self.broken(request, self._connection.lost, heard=self._announced)
        code = answer.reset.code
        if code in _NO_CONNECT_CODES and self._falls_back():
            return ReconnectRequired()
        if code == ErrorCode.REFUSED_STREAM:
            return Unreachable(request.what, "it takes no further request on this connection", "stream-refused")
        what = answer.reset.reason if isinstance(answer.reset, received.StreamFailed) else f"it reset the request: {name_of(code)}"
        return MalformedAnswer(request.what, what, "stream-reset")

    def _falls_back(self) -> bool:
        """Whether to go on in HTTP/1.1, from now on. Not if a tunnel has been granted before, or if nothing else was asked for."""
        if self._worked or self._version.required or self.hop.tls is None:
            return False
        self._version.only_1_1 = True
        self._retire()
        return True

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
        if not await without_deadline(self.hop.login, request.deadline, exchange.answer(challenges(answer))):
            return False
        if exchange.connection_bound:
            if self._falls_back():
                raise ReconnectRequired
            cause = "its login is bound to a connection, which HTTP/2 shares"
            raise MalformedAnswer(request.what, cause, "login-needs-http1", facts={"proxy": self.hop.address})
        return True
