"""One request for a tunnel: the decision, the route to the target, the response, the relay, and the record.

    a connection reads a request    tunnelctl.server.connection, tunnelctl.server.http1
      -> authenticate               credentials, against the users file; or the name in the client's certificate
      -> admit                      the caps on tunnels: in all, and by client network, user and target
      -> decide                     the rules, on the name; then the name is looked up, and each of its addresses is judged
      -> dial                       only addresses that were judged; or the next proxy, which resolves the names itself
      -> answer                     Responder.grant or Responder.refuse: the only steps that depend on the protocol
      -> relay                      until both directions have ended; then the record of the end

This is the one path of decision: it knows no HTTP version, and not whether its connection carries other tunnels.

The order of the checks reveals nothing: syntax, then credentials, then rules, then the name, then the address. Nothing is dialled
unless a rule has allowed it, and only the address that was judged. 2xx is sent when the target is connected, not before.

Every step up to the answer is under one deadline, which starts as the rest of --head-timeout, and anew for the lookup and for the
dial (--dial-timeout); `_timeout_refusal` is the refusal when it expires. Nothing reads from the client in that time, so the
responder watches for its departure: it cancels the deadline's scope, and with it the login, the lookup or the dial.

Whatever ends the request raises `RefusedError`; whatever goes wrong with the client raises OSError, and is answered by nobody. A
fault of ours ends this tunnel only.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from errno import ECONNRESET
from functools import lru_cache
from math import inf

from tunnelctl import events
from tunnelctl.engine.kernel import BusyResourceError, Cancelled, CancelScope, QueueFullError, checkpoint, current_time
from tunnelctl.engine.resolver import SocketAddress, has_its_share, resolve, with_port
from tunnelctl.errors import TunnelctlError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address, is_ip
from tunnelctl.proto.auth.basic import decode_basic, wrong_with
from tunnelctl.proto.auth.digest_server import Answer, is_for, parse_answer
from tunnelctl.proto.headers import get_all
from tunnelctl.proto.refusal import Refusal
from tunnelctl.proto.via import has_passed
from tunnelctl.server.access.users import UNCHECKED, Users, refuse_unchecked
from tunnelctl.server.dial_refusal import dial_refusal, is_our_limit
from tunnelctl.server.observe.record import CLIENT_LEFT, CUT, DRAINED, GONE, LIFETIME, TunnelRecord
from tunnelctl.server.policy.inspection import InspectedStream, TunnelCut
from tunnelctl.server.policy.rules import Decision, Policy, TLSRequirement
from tunnelctl.server.request import CONNECT, Carrier, Client, RefusedError, Responder, TunnelRequest
from tunnelctl.server.service import Service
from tunnelctl.server.upstream import Upstream, upstream_refusal
from tunnelctl.stream.base import Stream
from tunnelctl.stream.dial import DialError, dial
from tunnelctl.stream.relay import Outcome
from tunnelctl.stream.socket_stream import SocketStream

# A client that ends its direction before the response either has left, or has half-closed after sending all that it will ever send
# (`nc -N` does that): only a write would tell. So it is served, for this many seconds at most: time for a second SYN.
HALF_CLOSED_SECONDS = 4.0

# Rules do not block a probe for a ring of proxies: a ring is found only if each of its proxies passes the probe on.
PROBE = Decision("probe for a ring of proxies")

WRONG = "wrong user or password"  # never which of the two


_Judged = tuple[SocketAddress, Decision]


@lru_cache(4096)  # the same targets recur: 0.2 µs instead of 0.9
def _text(target: Address) -> str:
    return str(target)


def serve_tunnel(service: Service, client: Client, request: TunnelRequest) -> Coroutine[None, None, None]:
    """Answers a request, and serves its tunnel to the end."""
    return _Tunnel(service, client, request.record).run(request)


class _Tunnel:
    """One request and its tunnel."""

    __slots__ = (
        "_client",
        "_counted",
        "_gone",
        "_half_closed",
        "_inspected",
        "_plain",
        "_record",
        "_requirements",
        "_service",
        "_timeout_refusal",
    )

    def __init__(self, service: Service, client: Client, record: TunnelRecord) -> None:
        self._service, self._client, self._record = service, client, record
        self._timeout_refusal = refusal.head_timeout  # when the deadline expires: there is one, set anew for each phase
        self._counted = False
        self._inspected: InspectedStream | None = None
        self._requirements: tuple[TLSRequirement, ...] = ()  # what the tunnel must carry
        self._plain = False  # whether it is a plain http request, which carries no TLS
        self._half_closed = self._gone = False  # what the client did before it had its response

    async def run(self, request: TunnelRequest) -> None:
        """Serves the request to the end. A fault of ours ends only this tunnel, with a warning."""
        service, responder, outcome = self._service, request.responder, DRAINED
        try:
            try:
                relay = await self._establish(request)
            except RefusedError as refused:
                await service.refuse(self._record, responder, refused)
                return
            except Cancelled:
                self._refuse_on_shutdown(responder)
                raise
            del request  # the tunnel may last for days, and need not keep the fields of its request
            self._record.relay, self._record.moved, lifetime = relay, relay.moved, service.timeouts.lifetime
            try:
                outcome = await (relay.run() if lifetime == inf else self._within(lifetime, relay))
            finally:
                self._record_end(relay, outcome)
        except OSError:  # the client has left: it gets no response
            pass
        except Exception as fault:
            service.trace(events.Warning(f"fault in a tunnel: {type(fault).__name__}: {fault}"))
        finally:
            service.recorder.forget(self._record)
            responder.close()
            self._release()

    @staticmethod
    async def _within(lifetime: float, relay: Carrier) -> Outcome:
        with CancelScope(current_time() + lifetime):
            return await relay.run()
        return LIFETIME

    def _record_end(self, relay: Carrier, outcome: Outcome) -> None:
        if self._inspected is not None:
            self._record.seen = self._inspected.seen
        self._service.recorder.on_end(self._record, CUT if isinstance(outcome.error, TunnelCut) else outcome, relay.idle)

    # -- the request -----------------------------------------------------------------------------------------------------------

    async def _establish(self, request: TunnelRequest) -> Carrier:
        """Connects to the target, and grants the tunnel; returns its relay."""
        record, recorder = self._record, self._service.recorder
        self._plain = request.method != CONNECT
        record.method, record.target, record.user = request.method, _text(request.target), self._client.user
        recorder.on_request(record)
        with CancelScope(request.deadline) as scope:
            self._watch_client(request.responder, scope)
            if self._gone:  # before we began: nothing is looked up or dialled for it (CVE-2023-44487)
                await checkpoint()
            if self._service.users is not None:
                record.enter("auth")
                await self._authenticate(self._service.users.current, request)
            self._admit()
            if self._plain and has_passed(self._service.name, get_all(request.fields, "via")):
                raise RefusedError(refusal.loop_detected(), "came round")
            target, early = await self._reach(request, scope)
            record.opened = current_time()  # by the clock of the relay's limits: "idle" is never more than "seconds"
            try:
                recorder.on_decision(record, 200, "")
                client, client_early = await request.responder.grant()
            except BaseException:  # the client has gone meanwhile
                target.abort()
                recorder.on_end(record, GONE)
                raise
            record.phase = "tunnel"
            if self._requirements:
                self._inspected = InspectedStream(client, client_early, self._requirements, record.target)
                client, client_early = self._inspected, b""
            return request.carry(client, target, client_early, early, self._service.timeouts.tunnel)
        if self._gone:
            record.rule = "the client left"
            recorder.on_decision(record, CLIENT_LEFT, "")
            raise ConnectionResetError(ECONNRESET, record.rule)
        raise RefusedError(self._timeout_refusal())

    # -- a client that leaves ---------------------------------------------------------------------------------------------------

    def _watch_client(self, responder: Responder, scope: CancelScope) -> None:
        """Watches for the client's departure, because nothing reads from it until the tunnel is established.

        Otherwise a lookup, login or dial would go on for a client that has left, and its descriptors would stay open.
        """

        def gone() -> None:
            self._gone = True
            scope.cancel()

        def half_closed() -> None:
            self._half_closed = True
            scope.reschedule(min(scope.deadline, current_time() + HALF_CLOSED_SECONDS))

        responder.watch(gone, half_closed)

    def _begin(self, phase: str, timeout_refusal: Callable[[], Refusal], scope: CancelScope) -> None:
        """Begins a phase with its own time limit."""
        self._record.enter(phase)
        self._limit(timeout_refusal, scope)

    def _limit(self, timeout_refusal: Callable[[], Refusal], scope: CancelScope) -> None:
        """Restarts the dial timeout, cut short for a half-closed client. timeout_refusal: for when it expires"""
        seconds = self._service.timeouts.dial
        self._timeout_refusal = timeout_refusal
        scope.reschedule(current_time() + (min(seconds, HALF_CLOSED_SECONDS) if self._half_closed else seconds))

    # -- the client's identity --------------------------------------------------------------------------------------------------

    async def _authenticate(self, users: Users, request: TunnelRequest) -> None:
        if request.authorization is None:
            raise RefusedError(refusal.auth_required(users.challenges()))
        self._timeout_refusal = refusal.limit_reached  # the head is complete; only the wait behind other logins may take long now
        try:
            if users.digest is not None and (answer := parse_answer(request.authorization, request.method)) is not None:
                self._record.user = await self._check_answer(users, answer, request)
            else:
                self._record.user = await self._check_password(users, request.authorization)
        except UNCHECKED as error:
            raise RefusedError(refuse_unchecked(error)) from None

    async def _check_password(self, users: Users, authorization: str) -> str:
        """Returns the user whose password it is."""
        credentials = decode_basic(authorization)
        if credentials is None:
            raise RefusedError(refusal.auth_required(users.challenges(), wrong_with(authorization)))
        if not await users.check(*credentials, self._client.owner):
            raise RefusedError(refusal.auth_required(users.challenges(), WRONG))
        return credentials[0]

    async def _check_answer(self, users: Users, answer: Answer, request: TunnelRequest) -> str:
        """Returns the user whose response to a Digest challenge it is."""
        if not (is_for(answer, request.target) if request.method == CONNECT else answer.terms.uri in request.uris):
            raise RefusedError(refusal.bad_request("the credentials are for another target"))
        verdict = await users.check_answer(answer, self._client.owner)
        if verdict.stale:
            raise RefusedError(refusal.auth_required(users.challenges(answer), refusal.STALE_CREDENTIALS))
        if not verdict.user:
            raise RefusedError(refusal.auth_required(users.challenges(), WRONG))
        return verdict.user

    def _admit(self) -> None:
        answer = self._service.caps.take(self._client.owner.name, self._record.user, self._record.target)
        if answer is not None:
            raise RefusedError(answer)
        self._counted = True
        self._service.counts.tunnels += 1

    def _release(self) -> None:
        if self._counted:
            self._service.caps.release(self._client.owner.name, self._record.user, self._record.target)
            self._service.counts.tunnels -= 1

    # -- the target ------------------------------------------------------------------------------------------------------------

    async def _reach(self, request: TunnelRequest, scope: CancelScope) -> tuple[Stream, bytes]:
        """Connects to the target; returns the connection, and early data from it."""
        caps = self._service.caps
        answer = caps.start_dial()
        if answer is not None:
            raise RefusedError(answer)
        try:
            if self._service.upstream is not None:
                return await self._reach_through(self._service.upstream, request, scope)
            return await self._reach_straight(request.target, scope), b""
        finally:
            caps.end_dial()

    async def _reach_through(self, upstream: Upstream, request: TunnelRequest, scope: CancelScope) -> tuple[Stream, bytes]:
        """Connects through the next proxy, which resolves the names: here, a name is judged unresolved, and an address as usual."""
        record, target = self._record, request.target
        via = get_all(request.fields, "via")
        if upstream.came_round(target, via):
            raise RefusedError(refusal.loop_detected(), "came round")
        policy = self._service.policy.current.for_client(record.user, self._client.host)
        probe = upstream.is_probe(target)
        decision = PROBE if probe else policy.before_lookup(target) or self._of_this_kind(policy.judge_name(target))
        if decision.refusal is not None:
            raise RefusedError(decision.refusal, decision.rule)
        # Only the next proxy knows where a name leads. If it leads back here, the request that returns is refused.
        if is_ip(target.host) and self._service.own.contains(target.host, target.port):
            raise RefusedError(refusal.loop_detected(), "own listener")
        self._begin("connect", refusal.connection_timeout, scope)
        try:
            stream, early, record.address = await upstream.reach(target, via)
        except TunnelctlError as error:
            raise RefusedError(upstream_refusal(error), f"next proxy: {error}") from None
        if probe:  # it connects if a name service resolves every name to some address of its own; it is no target even then
            stream.close()
            raise RefusedError(refusal.dns_error(), PROBE.rule)
        record.rule, record.reports, self._requirements = decision.rule, decision.reports, decision.requirements
        return stream, early

    async def _reach_straight(self, target: Address, scope: CancelScope) -> SocketStream:
        """Resolves the name and connects; each of the two steps has its full time limit."""
        record = self._record
        record.enter("dns")
        policy = self._service.policy.current.for_client(record.user, self._client.host)
        judged = self._judge_literal(policy, target) or await self._judge_name(policy, target, scope)
        self._begin("connect", refusal.connection_timeout, scope)
        try:
            reached = await dial([address for address, _ in judged], self._service.timeouts.keepalive)
        except DialError as error:
            raise RefusedError(dial_refusal(error)) from None
        address, decision = judged[0] if len(judged) == 1 else next(pair for pair in judged if pair[0] is reached.peer)
        record.rule, _, record.reports, self._requirements = decision
        record.address = record.target if address.host == target.host else str(address)
        if self._service.recorder.log is not None:  # our end of the connection, as the target's own log shows it
            record.local = with_port(*reached.socket.getsockname()[:2])
        return reached

    def _too_many_lookups(self) -> Refusal:
        """Returns the refusal when the time limit expired before the name's lookup could begin."""
        if has_its_share(self._client.owner):
            return refusal.client_busy("too many names are being looked up for this network")
        return refusal.limit_reached("too many names are being looked up")

    async def _look_up(self, target: Address, scope: CancelScope) -> list[SocketAddress]:
        """Returns the addresses of a name."""

        def begun() -> None:
            self._limit(refusal.dns_timeout, scope)

        try:
            return await resolve(target.host, target.port, owner=self._client.owner, begun=begun)
        except QueueFullError:
            raise RefusedError(refusal.client_busy("too many names are being looked up for this network")) from None
        except BusyResourceError:
            raise RefusedError(refusal.limit_reached()) from None
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise RefusedError(refusal.dns_timeout("the name service does not answer")) from None
            raise RefusedError(refusal.dns_error()) from None
        except OSError as error:  # EAI_SYSTEM: the resolver itself failed
            raise RefusedError(refusal.limit_reached() if is_our_limit(error) else refusal.dns_error()) from None

    def _judge_literal(self, policy: Policy, target: Address) -> list[_Judged]:
        """Judges a target that is an IP address. Returns an empty list for a name."""
        judged = policy.judge_literal(target)
        if judged is None:
            return []
        address, decision = judged[0], self._of_this_kind(judged[1])
        if decision.refusal is not None:
            raise RefusedError(decision.refusal, decision.rule)
        self._refuse_own(address)
        return [(address, decision)]

    async def _judge_name(self, policy: Policy, target: Address, scope: CancelScope) -> list[_Judged]:
        """Looks a name up, and judges each of its addresses by itself; returns those that may be dialled."""
        early = policy.before_lookup(target)
        if early is not None:
            assert early.refusal is not None
            raise RefusedError(early.refusal, early.rule)
        self._limit(self._too_many_lookups, scope)
        allowed, rule = [], ""
        for address in await self._look_up(target, scope):
            decision = self._of_this_kind(policy.judge(target, address.host))
            rule = decision.rule
            if decision.allowed:
                self._refuse_own(address)
                allowed.append((address, decision))
        if not allowed:
            raise RefusedError(refusal.ip_prohibited(), rule)
        return allowed

    def _refuse_own(self, address: SocketAddress) -> None:
        """Raises RefusedError for an address of this proxy."""
        if self._service.own.contains(address.host, address.port):
            raise RefusedError(refusal.loop_detected(), "own listener")

    def _of_this_kind(self, decision: Decision) -> Decision:
        """Returns the decision about a request of this kind: one for plain http meets no demand for TLS."""
        return decision.without_tls() if self._plain and decision.requirements else decision

    def _refuse_on_shutdown(self, responder: Responder) -> None:
        """Answers a pending request with 503, best effort and without waiting."""
        if not self._record.opened:
            answer = refusal.stopping()
            self._service.recorder.on_decision(self._record, answer.status, answer.error, answer.details)
            responder.refuse_nowait(answer)
