"""One client session: the request head, the decision, the dial, the response, the tunnel, its record.

The order of the checks reveals nothing: syntax, then credentials, then rules, then the name, then the address. Nothing is dialled
unless a rule has allowed it, and only the address that was judged. 2xx is sent when the target is connected, not before.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from errno import ECONNRESET
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from tunnelctl.engine.kernel import BusyResourceError, Cancelled, CancelScope, QueueFullError, current_time, move_on_after
from tunnelctl.engine.resolver import SocketAddress, has_its_share, literal_family, resolve, with_port
from tunnelctl.errors import TunnelctlError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address, is_ip
from tunnelctl.proto.auth.basic import decode_basic, wrong_with
from tunnelctl.proto.auth.digest_server import Answer, is_for, parse_answer
from tunnelctl.proto.headers import get_all
from tunnelctl.proto.http1.connect_server import ConnectServer, Request
from tunnelctl.proto.refusal import ESTABLISHED, Refusal, render_refusal
from tunnelctl.server.access.limits import PREFIXES, Caps, owner_of_peer
from tunnelctl.server.access.users import UNCHECKED, Users, refuse_unchecked
from tunnelctl.server.dial_refusal import dial_refusal, is_our_limit
from tunnelctl.server.observe.record import CLIENT_LEFT, CUT, DRAINED, GONE, LIFETIME, TunnelRecord
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.policy.inspection import InspectedStream, TunnelCut
from tunnelctl.server.policy.rules import Decision, Policy, TLSRequirement
from tunnelctl.server.reloadable import Reloadable
from tunnelctl.server.upstream import Upstream, upstream_refusal
from tunnelctl.stream.base import Stream
from tunnelctl.stream.dial import DialError, dial
from tunnelctl.stream.linger import LINGER_SECONDS, linger
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.relay import Relay, TimeLimits
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.trace import Trace

if TYPE_CHECKING:
    import ssl

HEAD_CHUNK = 16384  # bytes per read of a request head, including what follows it

# A client that ends its direction before the response either has left, or has half-closed after sending all that it will ever send
# (`nc -N` does that): only a write would tell. So it is served, for this many seconds at most: time for a second SYN.
HALF_CLOSED_SECONDS = 4.0

# Rules do not block a probe for a ring of proxies: a ring is found only if each of its proxies passes the probe on.
PROBE = Decision("probe for a ring of proxies")

WRONG = "wrong user or password"  # never which of the two


class Timeouts(NamedTuple):
    """Seconds for each phase; `inf` is no limit."""

    head: float
    dial: float
    keepalive: float
    tunnel: TimeLimits
    lifetime: float = inf  # of a tunnel


class Service(NamedTuple):
    """State that all sessions of one server share."""

    policy: Reloadable[Policy]
    users: Reloadable[Users] | None
    own: OwnAddresses
    caps: Caps
    timeouts: Timeouts
    recorder: Recorder
    trace: Trace
    tls: Reloadable[ssl.SSLContext] | None = None
    upstream: Upstream | None = None  # through the next proxy; None: directly to the targets
    prefixes: tuple[int, int] = PREFIXES  # prefix lengths of a client network, for IPv4 and IPv6


_Judged = tuple[SocketAddress, Decision]


class _Refused(Exception):
    """The session ends with this refusal. rule: the reason for it, for the log; to_head: whether the request was HEAD"""

    def __init__(self, answer: Refusal, rule: str = "", to_head: bool = False) -> None:
        self.answer, self.rule, self.to_head = answer, rule, to_head


class Session:
    """One accepted connection."""

    __slots__ = (
        "_counted",
        "_gone",
        "_half_closed",
        "_host",
        "_late",
        "_mute",
        "_owner",
        "_record",
        "_requirements",
        "_service",
        "_stream",
    )

    def __init__(self, service: Service, accepted: socket.SocketType, host: str, client: str, session: str) -> None:
        """host: the client's address; client: address and port, for the log; session: the id of its records"""
        self._service = service
        self._stream: Stream = SocketStream(accepted)
        self._host, self._record = host, TunnelRecord(session, client)
        self._owner = owner_of_peer(accepted, host, service.prefixes)
        self._late = refusal.head_timeout  # the refusal when the deadline expires: there is one, set anew for each phase
        self._counted = False
        self._requirements: tuple[TLSRequirement, ...] = ()  # what the tunnel must carry
        self._mute = False  # whether the client could not read a response: TLS is not established
        self._half_closed = self._gone = False  # what the client did before it had its response

    async def run(self) -> None:
        """Serves the client to the end. A fault of ours ends only this session, with a warning."""
        caps = self._service.caps
        caps.enter()
        try:
            try:
                established = await self._establish()
            except _Refused as refused:
                await self._refuse(refused)
                return
            except Cancelled:
                self._abandon()
                raise
            if established is not None:
                target, early, target_early = established
                if self._requirements:
                    self._stream, early = InspectedStream(self._stream, early, self._requirements, self._record.target), b""
                relay = Relay(self._stream, target, early, target_early, self._service.timeouts.tunnel)
                del established, target, early, target_early
                await self._relay(relay)
        except OSError:  # the client has gone: it gets no response
            pass
        except Exception as fault:
            self._service.trace("warning", text=f"fault in a session: {type(fault).__name__}: {fault}")
        finally:
            self._stream.close()
            if self._counted:
                caps.release(self._owner.name, self._record.user, self._record.target)
            caps.leave()

    async def _relay(self, relay: Relay) -> None:
        record, lifetime, outcome = self._record, self._service.timeouts.lifetime, DRAINED
        record.moved = relay.moved
        try:
            if lifetime == inf:
                outcome = await relay.run()
            else:
                with CancelScope(current_time() + lifetime) as scope:
                    outcome = await relay.run()
                if scope.cancelled_caught:
                    outcome = LIFETIME
            if isinstance(outcome.error, TunnelCut):
                outcome = CUT
        finally:
            if isinstance(self._stream, InspectedStream):
                record.seen = self._stream.seen
            self._service.recorder.on_end(record, outcome, relay.idle)

    # -- the request -----------------------------------------------------------------------------------------------------------

    async def _establish(self) -> tuple[Stream, bytes, bytes] | None:
        """Connects to the target and sends 2xx to the client; returns the connection, and early data of client and target.

        Returns None if there was no request.
        """
        record, timeouts, recorder = self._record, self._service.timeouts, self._service.recorder
        with CancelScope(current_time() + timeouts.head) as scope:
            if self._service.tls is not None:
                await self._secure(self._service.tls.current)
            request = await self._read_head()
            if request is None:
                return None
            self._watch_client(scope)
            record.target = str(request.target)
            if self._service.users is not None:
                record.enter("login")
                await self._authenticate(self._service.users.current, request)
            self._admit()
            target, early = await self._reach(request, scope)
            try:
                recorder.on_decision(record, 200, "")
                await self._stream.send_all(ESTABLISHED)
            except BaseException:  # the client has gone meanwhile
                target.abort()
                recorder.on_end(record, GONE)
                raise
            record.phase = "tunnel"
            self._stream.on_peer_closed(None)
            return target, request.leftover, early
        if self._gone:
            record.rule = "the client left"
            recorder.on_decision(record, CLIENT_LEFT, "")
            raise ConnectionResetError(ECONNRESET, record.rule)
        raise _Refused(self._late())

    # -- a client that leaves ---------------------------------------------------------------------------------------------------

    def _watch_client(self, scope: CancelScope) -> None:
        """Watches for the client's departure, because nothing reads from it until the tunnel is established.

        Otherwise a lookup, login or dial would go on for a client that has left, and its descriptors would stay open.
        """

        def gone() -> None:
            self._gone = True
            scope.cancel()

        def half_closed() -> None:
            self._half_closed = True
            scope.deadline = min(scope.deadline, current_time() + HALF_CLOSED_SECONDS)

        self._stream.on_broken(gone)
        self._stream.on_peer_closed(half_closed)

    def _begin(self, phase: str, late: Callable[[], Refusal], scope: CancelScope) -> None:
        """Begins a phase with its own time limit."""
        self._record.enter(phase)
        self._limit(late, scope)

    def _limit(self, late: Callable[[], Refusal], scope: CancelScope) -> None:
        """Restarts the dial timeout, cut short for a half-closed client. late: the refusal when it expires"""
        seconds = self._service.timeouts.dial
        self._late, scope.deadline = late, current_time() + (min(seconds, HALF_CLOSED_SECONDS) if self._half_closed else seconds)

    # -- the client's identity --------------------------------------------------------------------------------------------------

    async def _secure(self, context: ssl.SSLContext) -> None:
        """Performs the handshake. Then the stream is TLS, and the user is the name in the client's certificate, if it sent one."""
        from ssl import SSLError

        from tunnelctl.server.tls import handshake_refusal, name_of
        from tunnelctl.stream.tls.failure import cause_of
        from tunnelctl.stream.tls.stream import accept_tls

        self._record.phase, self._mute = "tls", True
        try:
            self._stream = stream = await accept_tls(self._stream, context)
        except SSLError as error:
            answer, understood = handshake_refusal(error)
            self._mute = not understood
            raise _Refused(answer, cause_of(error)) from None
        self._mute = False
        self._record.user = name_of(stream.session.getpeercert())
        self._record.enter("head")

    async def _read_head(self) -> Request | None:
        machine = ConnectServer()
        while True:
            data = await self._stream.receive_some(HEAD_CHUNK)
            answer = machine.feed(data) if data else machine.eof()
            if isinstance(answer, Request):
                return answer
            if answer is not None:
                raise _Refused(answer, to_head=machine.to_head)
            if not data:
                return None

    async def _authenticate(self, users: Users, request: Request) -> None:
        if request.authorization is None:
            raise _Refused(refusal.auth_required(users.challenges()))
        self._late = refusal.limit_reached  # the head is complete; only the wait behind other logins may take long now
        try:
            if users.digest is not None and (answer := parse_answer(request.authorization)) is not None:
                self._record.user = await self._check_answer(users, answer, request.target)
            else:
                self._record.user = await self._check_password(users, request.authorization)
        except UNCHECKED as error:
            raise _Refused(refuse_unchecked(error)) from None

    async def _check_password(self, users: Users, authorization: str) -> str:
        """Returns the user whose password it is."""
        credentials = decode_basic(authorization)
        if credentials is None:
            raise _Refused(refusal.auth_required(users.challenges(), wrong_with(authorization)))
        if not await users.check(*credentials, self._owner):
            raise _Refused(refusal.auth_required(users.challenges(), WRONG))
        return credentials[0]

    async def _check_answer(self, users: Users, answer: Answer, target: Address) -> str:
        """Returns the user whose response to a Digest challenge it is."""
        if not is_for(answer, target):
            raise _Refused(refusal.bad_request("the credentials are for another target"))
        verdict = await users.check_answer(answer, self._owner)
        if verdict.stale:
            raise _Refused(refusal.auth_required(users.challenges(answer), "the credentials are too old or used up"))
        if not verdict.user:
            raise _Refused(refusal.auth_required(users.challenges(), WRONG))
        return verdict.user

    def _admit(self) -> None:
        answer = self._service.caps.take(self._owner.name, self._record.user, self._record.target)
        if answer is not None:
            raise _Refused(answer)
        self._counted = True

    # -- the target ------------------------------------------------------------------------------------------------------------

    async def _reach(self, request: Request, scope: CancelScope) -> tuple[Stream, bytes]:
        """Connects to the target; returns the connection, and early data from it."""
        caps = self._service.caps
        answer = caps.start_dial()
        if answer is not None:
            raise _Refused(answer)
        try:
            if self._service.upstream is not None:
                return await self._reach_through(self._service.upstream, request, scope)
            return await self._reach_straight(request.target, scope), b""
        finally:
            caps.end_dial()

    async def _reach_through(self, upstream: Upstream, request: Request, scope: CancelScope) -> tuple[Stream, bytes]:
        """Connects through the next proxy, which resolves the names: here, a name is judged unresolved, and an address as usual."""
        record, target = self._record, request.target
        via = get_all(request.fields, "via")
        if upstream.came_round(target, via):
            raise _Refused(refusal.loop_detected(), "came round")
        policy = self._service.policy.current.for_client(record.user, self._host)
        probe = upstream.is_probe(target)
        decision = PROBE if probe else policy.before_lookup(target) or policy.judge_name(target)
        if decision.refusal is not None:
            raise _Refused(decision.refusal, decision.rule)
        # Only the next proxy knows where a name leads. If it leads back here, the request that returns is refused.
        if is_ip(target.host) and self._service.own.contains(target.host, target.port):
            raise _Refused(refusal.loop_detected(), "own listener")
        self._begin("dial", refusal.connection_timeout, scope)
        try:
            stream, early, record.address = await upstream.reach(target, via)
        except TunnelctlError as error:
            raise _Refused(upstream_refusal(error), f"next proxy: {error}") from None
        if probe:  # it connects if a name service resolves every name to some address of its own; it is no target even then
            stream.close()
            raise _Refused(refusal.dns_error(), PROBE.rule)
        record.rule, record.reports, self._requirements = decision.rule, decision.reports, decision.requirements
        return stream, early

    async def _reach_straight(self, target: Address, scope: CancelScope) -> SocketStream:
        """Resolves the name and connects; each of the two steps has its full time limit."""
        record = self._record
        self._begin("lookup", self._too_many_lookups, scope)
        judged = await self._addresses(target, scope)
        self._begin("dial", refusal.connection_timeout, scope)
        reached = await self._dial([address for address, _ in judged])
        decision = judged[0][1] if len(judged) == 1 else next(why for address, why in judged if str(address) == reached.peer)
        record.rule, record.reports, self._requirements = decision.rule, decision.reports, decision.requirements
        record.address = reached.peer
        if self._service.recorder.log is not None:  # our end of the connection, as the target's own log shows it
            record.local = with_port(*reached.socket.getsockname()[:2])
        return reached

    def _too_many_lookups(self) -> Refusal:
        """Returns the refusal when the time limit expired before the name's lookup could begin."""
        if has_its_share(self._owner):
            return refusal.client_busy("too many names are being looked up for this network")
        return refusal.limit_reached("too many names are being looked up")

    async def _addresses(self, target: Address, scope: CancelScope) -> list[_Judged]:
        """Returns the addresses that may be dialled, each with the decision that allows it."""
        policy = self._service.policy.current.for_client(self._record.user, self._host)
        decision = policy.before_lookup(target)
        if decision is not None:
            assert decision.refusal is not None
            raise _Refused(decision.refusal, decision.rule)
        family = literal_family(target.host)
        if family is not None:
            return self._judge(policy, target, [SocketAddress(family, target.host, target.port)])

        def begun() -> None:
            self._limit(refusal.dns_timeout, scope)

        try:
            return self._judge(policy, target, await resolve(target.host, target.port, owner=self._owner, begun=begun))
        except QueueFullError:
            raise _Refused(refusal.client_busy("too many names are being looked up for this network")) from None
        except BusyResourceError:
            raise _Refused(refusal.limit_reached()) from None
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise _Refused(refusal.dns_timeout("the name service does not answer")) from None
            raise _Refused(refusal.dns_error()) from None
        except OSError as error:  # EAI_SYSTEM: the resolver itself failed
            raise _Refused(refusal.limit_reached() if is_our_limit(error) else refusal.dns_error()) from None

    def _judge(self, policy: Policy, target: Address, addresses: list[SocketAddress]) -> list[_Judged]:
        """Judges each address by itself; returns those that may be dialled."""
        allowed, rule = [], ""
        for address in addresses:
            decision = policy.judge(target, address.host)
            if decision.allowed and self._service.own.contains(address.host, address.port):
                raise _Refused(refusal.loop_detected(), "own listener")
            if decision.allowed:
                allowed.append((address, decision))
            rule = decision.rule
        if not allowed:
            raise _Refused(refusal.ip_prohibited(), rule)
        return allowed

    async def _dial(self, addresses: list[SocketAddress]) -> SocketStream:
        try:
            return await dial(addresses, self._service.timeouts.keepalive)
        except DialError as error:
            raise _Refused(dial_refusal(error)) from None

    # -- the refusal, and after it ---------------------------------------------------------------------------------------------

    async def _refuse(self, refused: _Refused) -> None:
        """Refuses, and closes in stages, so that no reset destroys the response. Reads no further request."""
        record, answer = self._record, refused.answer
        record.rule = refused.rule
        self._service.recorder.on_decision(record, answer.status, answer.error, answer.details)
        with move_on_after(LINGER_SECONDS):
            if not self._mute:
                await self._stream.send_all(render_refusal(answer, to_head=refused.to_head))
            await linger(self._stream)

    def _abandon(self) -> None:
        """On shutdown, answers a pending request with 503, best effort and without waiting."""
        record = self._record
        if record.target and not record.opened:
            answer = refusal.stopping()
            self._service.recorder.on_decision(record, answer.status, answer.error, answer.details)
            self._stream.send_nowait(render_refusal(answer))
            self._stream.send_eof()
