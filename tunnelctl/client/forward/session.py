"""One connection to a local port: its request, the tunnel, the relay, and its trace.

It fails alone, and visibly: the client receives an error of its own protocol or a reset, never an empty response.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import TypeVar

from tunnelctl import events
from tunnelctl.client.forward.events import Closed, Failed, Opened
from tunnelctl.client.forward.setup import Check, Setup
from tunnelctl.client.loop_detector import LoopDetector, loop
from tunnelctl.client.pool import ConnectionPool, WarmConnections
from tunnelctl.client.retry import OpenedTunnel, open_with_retries
from tunnelctl.client.route.route import Tunnel
from tunnelctl.client.upstream.tls_probe import BackgroundProbe
from tunnelctl.engine.kernel import CancelScope, current_time, move_on_after
from tunnelctl.errors import Refused, TimedOut, TunnelctlError
from tunnelctl.events import SIDES, Trace, explained, silent
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.local_port import PLAIN, LocalLogin, LocalRefusal, LocalRequest, LocalServer, granted, refused
from tunnelctl.proto.refusal import Refusal, auth_required
from tunnelctl.rare_events import OfConnection, refusal_of
from tunnelctl.stream.accept import ConnectionCount
from tunnelctl.stream.linger import LINGER_SECONDS, linger
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.relay import Relay
from tunnelctl.stream.reloadable import Reloadable
from tunnelctl.stream.socket_stream import SocketStream

T = TypeVar("T")

Via = tuple[str, ...]  # the values of that field in a request

# Serves plain http requests on a connection; receives their first bytes.
ServeHTTP = Callable[["LocalSession", bytes], Awaitable[None]]

REQUEST_SECONDS = 30.0  # for a local program to send its request; one that never does holds a descriptor

# A client that has ended its side may still wait for its response (RFC 9112 section 9.6), or it may be gone: a FIN looks the same.
# So it gets this long without a byte, which is the default of --half-close-timeout of `serve`.
HALF_CLOSED_SECONDS = 60.0


class Sessions(ConnectionCount):
    """The state that all connections of one `forward` share."""

    def __init__(self, setup: Reloadable[Setup], trace: Trace, stages: Trace) -> None:
        """
        trace: receives connections that were opened, failed or ended; stages: receives each step of opening a tunnel
        """
        super().__init__()
        self._setup, self.trace, self.stages = setup, trace, stages
        self.detector = LoopDetector()
        self.pool: ConnectionPool | None = None
        self.warm: WarmConnections | None = None
        self.probe = BackgroundProbe(trace)
        self.open: dict[str, LocalSession] = {}  # those with a tunnel, or that are opening one, by id
        self.relays: set[Relay] = set()
        self.own = OwnAddresses([])  # of --admin
        self.failed_logins = 0
        self.queries = 0  # open connections to the control socket that ask for no tunnel
        self.looks = 0  # all of those since the start
        self.past = [0, 0]  # bytes in each direction of the tunnels that have ended
        self.count = 0

    @property
    def setup(self) -> Setup:
        """The one currently in force."""
        return self._setup.current

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes in each direction of all tunnels so far."""
        return (
            self.past[0] + sum(relay.moved[0] for relay in self.relays),
            self.past[1] + sum(relay.moved[1] for relay in self.relays),
        )


class LocalSession:
    """One accepted connection. `target` is None at a dynamic port."""

    def __init__(
        self,
        shared: Sessions,
        stream: SocketStream,
        host: str,
        client: str,
        target: Address | None,
        check: Check | None,
        serve_http: ServeHTTP,
    ) -> None:
        """host: the client's address; client: with its port, for people

        check: verifies the logins that a dynamic port requires; None: it requires none
        """
        self._shared, self._host, self._client, self._target, self._check = shared, host, client, target, check
        self._serve_http = serve_http
        self._dynamic = target is None
        self.stream = stream
        self.clean = False  # close it in order, and not with a reset
        self.user = ""  # who has logged in
        self.via: list[str] = []  # the proxies of its tunnel
        self.phase = "opening"
        self.moved: Sequence[int] = (0, 0)  # bytes of its tunnel in each direction
        self.relay: Relay | None = None  # while it moves them
        self.begun = 0.0  # when its tunnel was asked for
        shared.count += 1
        self._id = str(shared.count)

    @property
    def id(self) -> str:
        """Its number in messages."""
        return self._id

    @property
    def client(self) -> str:
        """The address of the client, with its port."""
        return self._client

    @property
    def target(self) -> str:
        """The target of its tunnel; "" if that is not known yet."""
        return str(self._target or "")

    @property
    def login(self) -> bool:
        """Whether a client has to log in."""
        return self._check is not None

    @property
    def name(self) -> str:
        """The name of this proxy in Via."""
        return self._shared.detector.name

    @property
    def idle(self) -> float:
        """Seconds that a tunnel may be silent."""
        return self._shared.setup.limits.idle

    async def run(self) -> None:
        """Serves the connection to its end. A fault of ours ends only this connection, with a warning."""
        shared = self._shared
        shared.enter()
        try:
            self.check_limit()
            await self._serve()
        except TunnelctlError as error:
            self.report(error)
        except OSError:  # the client has gone: nobody is left to respond to
            pass
        except Exception as fault:
            shared.trace(events.Warning(f"fault in a connection: {type(fault).__name__}: {fault}"))
        finally:
            shared.open.pop(self._id, None)
            if self.clean:
                self.stream.close()
            else:
                self.stream.abort()
            shared.leave()

    def check_limit(self) -> None:
        """Raises Refused if there are too many connections, this one included."""
        most, open_ = self._shared.setup.options.max_connections, self._shared.connections - self._shared.queries
        if most and open_ > most:
            raise Refused("too many connections", f"the limit is {most}", "too-many-connections")

    async def _serve(self) -> None:
        if self._target is not None:
            await self.tunnel(self._target, b"", b"", lambda _: b"")
            return
        request = await self._read_request()
        if request is not None:
            await self.answer(request)

    async def answer(self, request: LocalRequest) -> None:
        """Serves a request to its end."""
        if request.protocol == PLAIN:
            await self._serve_http(self, request.leftover)
        else:
            assert request.target is not None
            protocol = request.protocol
            granting, refusing = granted(protocol), lambda error: refused(protocol, error)
            await self.tunnel(request.target, request.leftover, granting, refusing, request.via)

    async def _read_request(self) -> LocalRequest | None:
        """Reads the request; None if there was none, or it was refused."""
        server = LocalServer(login=self.login)
        with move_on_after(REQUEST_SECONDS):
            while True:
                data = await self.stream.receive_some()
                outcome = server.feed(data) if data else server.eof()
                await self._say(server)
                if isinstance(outcome, LocalLogin):
                    outcome = server.go_on(await self.judge(outcome))
                    await self._say(server)
                if isinstance(outcome, LocalRequest):
                    return outcome
                if isinstance(outcome, LocalRefusal):
                    await self.turn_away(outcome)
                    return None
                if not data:  # the client left without a request
                    self.clean = True
                    return None
        raise TimedOut("request to the local port", f"no complete request within {REQUEST_SECONDS:g} s", "local-request-late")

    async def _say(self, server: LocalServer) -> None:
        if output := server.take_output():
            await self.stream.send_all(output)

    async def judge(self, login: LocalLogin) -> Refusal | None:
        """Returns the refusal of a login; None if it is right. Raises OSError if the client has left meanwhile."""
        assert self._check is not None
        verdict = await self._attended(self._check(login.user, login.password, self._host))
        if verdict is None:
            raise ConnectionResetError("the client has gone")
        if isinstance(verdict, Refusal):
            return verdict
        if not verdict:
            self._shared.failed_logins += 1
            return auth_required(details="wrong user or password")
        self.user = login.user
        return None

    async def turn_away(self, refusal: LocalRefusal) -> None:
        """Refuses a request, and reports that if the refusal has a cause."""
        if refusal.cause:
            self.report(Refused("request to the local port", refusal.cause, "local-request-refused"))
        if refusal.answer:
            await self.after_remote_eof(refusal.answer)

    async def tunnel(
        self, target: Address, leftover: bytes, greeting: bytes, refuse: Callable[[TunnelctlError], bytes], via: Via = ()
    ) -> None:
        """Runs the tunnel from its opening to its end.

        leftover: bytes of the client that belong to it; greeting: response to the client when the tunnel is established
        refuse: makes the response to the client if it cannot be opened; via: the Via values of the request
        """
        tunnel = await self.open_or_report(target, via)
        if isinstance(tunnel, TunnelctlError):
            if answer := refuse(tunnel):  # at a fixed port there is none: the reset shows the failure
                await self.after_remote_eof(answer)
        elif tunnel is not None:
            await self._relay(tunnel, leftover, greeting)

    async def open_or_report(self, target: Address, via: Via) -> Tunnel | TunnelctlError | None:
        """Returns the tunnel; or the error, which has been reported to the user; or None if the client has left meanwhile."""
        self._target, self.begun, self.phase, self.moved = target, monotonic(), "opening", (0, 0)
        self._shared.open[self._id] = self
        try:
            return await self._open_watching(target, via)
        except TunnelctlError as error:
            self.report(error)
            return error

    async def _open_watching(self, target: Address, via: Via) -> Tunnel | None:
        opened = await self._attended(self._open_for_others(target, via) if self._dynamic else self._open(target, ()))
        if opened is None:
            return None
        tunnel, route = opened
        self.via, self.phase = route.via, "tunnel"
        self._shared.trace(Opened(self._id, self._client, str(target), route.via, monotonic() - self.begun))
        return tunnel

    async def _attended(self, work: Awaitable[T]) -> T | None:
        """The result of `work`; None if the client has gone, or ended its side HALF_CLOSED_SECONDS ago."""

        def hasten() -> None:
            scope.reschedule(current_time() + HALF_CLOSED_SECONDS)

        with CancelScope() as scope:
            self.watch(hasten, scope.cancel)
            done = await work
            self.stream.unwatch()
            return done
        return None

    def watch(self, ended: Callable[[], None], gone: Callable[[], None]) -> None:
        """Watches the client while the caller waits for something else. Each callback is called once, outside any task.

        ended: called when the client sends nothing more; gone: called when it receives nothing more
        """
        self.stream.on_peer_closed(ended)
        # A client of a unix socket that has sent all its data and closed looks gone, and yet its data must be delivered.
        if self.stream.socket.family != socket.AF_UNIX:
            self.stream.on_broken(gone)

    async def _open_for_others(self, target: Address, via: Via) -> OpenedTunnel:
        """Opens a tunnel for a dynamic port, which is a proxy: its next proxies may lead back to it. Raises TunnelctlError."""
        detector = self._shared.detector
        if detector.came_round(target, via):
            raise loop(str(target))
        if not self._shared.setup.planner.may_have_proxies(target):
            return self._not_ours(await self._open(target, ()))
        async with detector.opening(target, self._probe):
            return self._not_ours(await self._open(target, (detector.via(via),)))

    def _not_ours(self, opened: OpenedTunnel) -> OpenedTunnel:
        """Raises Refused if the tunnel leads to the port of --admin: clients of a dynamic port may not see what others do."""
        tunnel, route = opened
        stream = tunnel.stream
        if not route.hops and isinstance(stream, SocketStream) and self._shared.own.contains(*stream.socket.getpeername()[:2]):
            stream.abort()
            raise Refused(f"target {route.target}", "it is the admin port of this forward", "own-admin")
        return opened

    async def _open(self, target: Address, fields: Fields) -> OpenedTunnel:
        """Opens a tunnel. fields: for each HTTP proxy on the route"""
        shared, stages = self._shared, self._stages()
        setup = shared.setup
        retry = setup.options.reach.retry
        opened = await open_with_retries(setup.planner, target, retry, stages, shared.pool, shared.probe.suspect, fields)
        if shared.warm is not None:
            shared.warm.keep(opened[1])
        return opened

    def _stages(self) -> Trace:
        """Returns the trace of the steps of opening a tunnel, which tells of each whose it is."""
        shown = self._shared.stages
        return shown if shown is silent else lambda event: shown(OfConnection(self._id, event))

    async def _probe(self, target: Address) -> None:
        shared = self._shared
        tunnel, _ = await open_with_retries(shared.setup.planner, target, 0, silent, shared.pool, shared.probe.suspect)
        tunnel.stream.close()

    async def _relay(self, tunnel: Tunnel, leftover: bytes, greeting: bytes) -> None:
        shared = self._shared
        try:
            if greeting:  # at a fixed port there is none, and send(2) of nothing fails if the client has closed its side
                await self.stream.send_all(greeting)
        except BaseException:  # the client has gone meanwhile
            tunnel.stream.abort()
            raise
        relay = Relay(self.stream, tunnel.stream, leftover, tunnel.early, shared.setup.limits)
        begun, ended_by, cause = current_time(), "", "drained"  # by the clock of the relay's limits
        shared.relays.add(relay)
        self.relay, self.moved = relay, relay.moved
        shared.tunnels += 1
        self.clean = True  # the relay closes or aborts both of its streams itself
        try:
            outcome = await relay.run()
            ended_by, cause = outcome.ended_by, outcome.cause
        finally:
            shared.relays.discard(relay)
            shared.tunnels -= 1
            self.ended(relay.moved[0], relay.moved[1], monotonic() - begun, ended_by, cause)

    def ended(self, sent: int, received: int, seconds: float, ended_by: str, cause: str) -> None:
        """Adds an ended tunnel to the totals, and traces it."""
        self._shared.open.pop(self._id, None)
        self._shared.past[0] += sent
        self._shared.past[1] += received
        who = self._id, self._client, str(self._target)
        self._shared.trace(Closed(*who, sent, received, seconds, SIDES[ended_by], cause))

    def report(self, error: TunnelctlError) -> None:
        """Reports a failure to the user."""
        who, status = (self._id, self._client, str(self._target or "")), int(error.exit_status)
        failed = Failed(*who, *refusal_of(error), status, error.what, error.cause, "")
        self._shared.trace(explained(failed, error))

    async def after_remote_eof(self, answer: bytes) -> None:
        """Sends a last response and ends the connection in order."""
        with move_on_after(LINGER_SECONDS):
            await self.stream.send_all(answer)
            self.clean = True
            await linger(self.stream)
