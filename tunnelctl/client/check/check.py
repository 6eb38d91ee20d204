"""`check`: opens a tunnel as `connect` does, times each phase, and sends further probes that explain a failure.

Results go to a report as events; cli.commands.check shows them. Each probe costs a connection, carries no login if
it takes another route than the user chose, and has a time limit (PROBE, unless its module sets another one).
"""

import signal
from collections.abc import Callable, Mapping
from time import monotonic

from tunnelctl.client.check import events as found
from tunnelctl.client.check.diagnosis import (
    RECOGNISED,
    Diagnosis,
    failure,
    greeting_of_a_portal,
    login,
    no_tls,
    other_protocol,
    portal,
    tls_wanted,
)
from tunnelctl.client.check.ends import try_ends
from tunnelctl.client.check.http2 import inspect
from tunnelctl.client.check.options import CheckOptions
from tunnelctl.client.check.probe import LOGIN_REQUIRED, Awaited, PhaseTimer, ProbeResult, probe
from tunnelctl.client.check.watch import Watch
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.route.planner import RoutePlanner, tls_to_target
from tunnelctl.client.route.route import Hop, Route, Tunnel
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.client.upstream import PROTOCOLS
from tunnelctl.client.upstream.http1 import BAD_REQUEST, speaks_tls
from tunnelctl.client.upstream.tls_probe import speaks_tls_there
from tunnelctl.engine.kernel import BusyResourceError, CancelScope, Nursery, TooSlowError, fail_after, move_on_after, run, sleep
from tunnelctl.engine.resolver import SocketAddress, resolve
from tunnelctl.engine.wakeup import SignalReceiver, open_signal_receiver
from tunnelctl.errors import (
    AuthenticationFailed,
    NameNotFound,
    NoAnswer,
    NotTLS,
    SpeaksTLS,
    TunnelctlError,
    Unreachable,
    UsageProblem,
    reason,
)
from tunnelctl.events import Event, Explained, Warning, explained, silent
from tunnelctl.proto.address import Address, is_ip
from tunnelctl.proto.tls.pin import parse_pin
from tunnelctl.rare_events import Ignored
from tunnelctl.status import ExitStatus
from tunnelctl.stream.base import CHUNK
from tunnelctl.stream.dial import DialError, dial

Report = Callable[[Event], None]
Live = Callable[[Awaited], None]

GREETING = 1.0  # seconds for a target that speaks first; servers that look up their client's name take longer
SHOWN = 1000  # bytes of its greeting
MOST_RESTARTS = 10  # after which multiple of --idle a target that goes on sending counts as never silent
PROBE = 5.0  # seconds for each further probe
PAUSE = 1.0  # seconds between the attempts of --wait
NOWHERE = "tunnelctl-check.invalid"  # no name may end so (RFC 6761 section 6.4): a proxy that reaches it, reaches anything
HTTPS = 443
TICK = 0.1  # seconds between two pictures of what is waited for
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_check(options: CheckOptions, environ: Mapping[str, str], report: Report, live: Live | None = None) -> int:
    """Runs `check` and returns the exit status: that of the error which `connect` would end with, or of the additional checks.

    After a signal it is 128 and the number of the signal. live: called with what `check` waits for, ten times a second
    """
    return run(Check(options, environ, report, live).run)


class Check:
    """One run of the command."""

    def __init__(self, options: CheckOptions, environ: Mapping[str, str], report: Report, live: Live | None = None) -> None:
        self._options, self._report = options, report
        if options.get is not None and options.get[:1] != "/":
            raise UsageProblem(ascii(options.get), "it is not a path", "not-a-path", option="get")
        if options.expect is not None:
            if not options.target_tls.tls:
                raise UsageProblem("", "it requires TLS to the target", "needs-tls", option="expect")
            parse_pin(options.expect)
        self._target = options.target
        self._live = live
        self._connections: Nursery = None  # type: ignore[assignment]
        self._latest = PhaseTimer()  # of the latest attempt
        self._awaited: Callable[[], Awaited] = self._latest.awaited
        self._watched: Watch | None = None
        self._ended_by = 0  # the number of the signal
        self._planner = RoutePlanner(options.reach, environ, self._heed, tls_to_target(options.target, options.target_tls))

    async def run(self) -> int:
        """Runs the whole check and returns the exit status."""
        status = 0
        with open_signal_receiver(*ENDING) as signals:
            async with Nursery() as nursery:
                nursery.start_soon(self._listen, signals, nursery.cancel_scope)
                if self._live is not None:
                    nursery.start_soon(self._show, self._live)
                await self._planner.prepare(list_ignored=self._options.output.detailed)
                self._connections = nursery  # those of HTTP/2 run beside
                if self._options.watch:
                    await self._watch()
                else:
                    status = await self._check()
                nursery.cancel_scope.cancel()
        if self._watched is not None:
            return self._sum_up(self._watched)
        return self._interrupted(self._ended_by) if self._ended_by else status

    async def _listen(self, signals: SignalReceiver, scope: CancelScope) -> None:
        async for number in signals:
            self._ended_by = number
            scope.cancel()

    async def _show(self, live: Live) -> None:
        while True:
            live(self._awaited())
            await sleep(TICK)

    def _await(self, word: str, text: str) -> None:
        """Notes what is waited for from now on."""
        begun = monotonic()
        self._awaited = lambda: Awaited(word, text, None, monotonic() - begun)

    def _interrupted(self, number: int) -> int:
        """Reports what a signal interrupted, after what was found until then. Returns the exit status."""
        awaited, latest = self._awaited(), self._latest
        self._report(found.Interrupted(awaited.word, awaited.text, awaited.seconds))
        status = 128 + number
        self._report(found.Verdict(False, status, str(self._target), latest.via, latest.seconds))
        return status

    async def _check(self) -> int:
        gone = await self._first_walk()
        try:
            return await self._tell(gone)
        finally:
            if gone.tunnel is not None:
                gone.tunnel.stream.close()

    async def _watch(self) -> None:
        """Repeats the attempt until a signal or a key ends it, or --count is reached."""
        watch = self._watched = Watch(self._options, self._report, self._attempt)
        self._awaited = watch.awaited
        await watch.run()

    def _sum_up(self, watch: Watch) -> int:
        """Reports the statistics, and the error of the last attempt.

        Ctrl-C is a normal end of --watch, unless no attempt has ended; other signals are none.
        """
        status = watch.finish()
        if not watch.attempts:
            return self._interrupted(self._ended_by or signal.SIGINT)
        if watch.error is not None:
            self._fail(watch.error)
            self._find(failure(watch.error))  # for its hint; the text repeats the error
        if self._ended_by not in (0, signal.SIGINT):
            status = 128 + self._ended_by
        self._report(found.Verdict(status == ExitStatus.OK, status, str(self._target), watch.via, watch.seconds))
        return status

    async def _attempt(self, watch: PhaseTimer) -> ProbeResult:
        self._latest = watch
        return await probe(self._planner, self._target, self._pool(), watch)

    async def _tell(self, gone: ProbeResult) -> int:
        route = gone.route or (await self._planner.to(self._target, silent))[0]
        status = await (self._explain(gone, gone.error, route) if gone.error is not None else self._use(gone, route))
        await self._try_addresses(route)
        if self._options.times > 1:
            await self._repeat(gone)
        self._report(found.Verdict(status == ExitStatus.OK, int(status), str(self._target), route.via, gone.watch.seconds))
        return int(status)

    async def _first_walk(self) -> ProbeResult:
        """Makes the attempt that the report shows; with --wait, the first that works, or the last."""
        until = monotonic() + self._options.wait
        while True:
            # Of attempts that are repeated, the report shows the last one only.
            events: list[Event] = []
            watch = PhaseTimer(events.append if self._options.wait else self._report)
            self._awaited = watch.awaited
            gone = await self._attempt(watch)
            may_pass = isinstance(gone.error, (Unreachable, NameNotFound))  # a machine that has just woken up cannot resolve names
            if not may_pass or monotonic() + PAUSE > until:
                for event in events:
                    self._report(event)
                return gone
            self._report(found.Waiting(str(gone.error)))
            self._await("waiting", "the next attempt")
            await sleep(PAUSE)

    def _heed(self, event: Event, /) -> None:
        """Reports warnings from the route and the logins: an unchecked certificate, an entry of NO_PROXY without a meaning."""
        if isinstance(event, Warning | Ignored):
            self._report(event)

    def _find(self, finding: Diagnosis | None) -> None:
        if finding is not None:
            self._report(Explained(found.Finding(finding.name, finding.text, ""), finding.error, finding.facts))

    def _fail(self, error: TunnelctlError) -> None:
        self._report(explained(found.Failure(int(error.exit_status), error.what, error.cause), error))

    # -- a route that works ------------------------------------------------------------------------------------------------------

    async def _use(self, gone: ProbeResult, route: Route) -> ExitStatus:
        options, statuses = self._options, [ExitStatus.OK]
        assert gone.tunnel is not None
        try:
            if options.idle:
                statuses.append(await self._bear_silence(gone))
            elif route.tls is None:
                statuses.append(await self._greet(gone))
        finally:
            gone.tunnel.stream.close()
        self._await("finding", "does the proxy open a tunnel to a name that cannot exist?")
        if route.hops and await self._fails(route._replace(target=Address(NOWHERE, self._target.port), tls=None)) is None:
            what = "the proxy opens a tunnel to a name that cannot exist: it answers before it has reached anybody"
            self._find(Diagnosis("answers-everything", what))
        self._await("http2", "what the proxy offers over HTTP/2")
        if (http2 := await inspect(route)) is not None:
            self._report(http2)
        if route.hops:
            self._await("ends", "do a half-close and a reset come through?")
            self._report(await try_ends(route, self._open))
        statuses.append(await self._look_closer(route, None))
        return max(statuses)

    async def _look_closer(self, route: Route, error: TunnelctlError | None) -> ExitStatus:
        """Runs the checks of --tls and --get."""
        status = ExitStatus.OK
        if route.tls is not None:
            self._await("seen", "the certificate of the target, on other paths too")
            from tunnelctl.client.check.interception import judge

            certificate, finding, status = await judge(route, self._options.expect, error is None, self._open)
            if certificate is not None:
                self._report(certificate)
            self._find(finding)
        if self._options.get is not None and error is None:
            from tunnelctl.client.check.fetch import fetch

            self._await("get", self._options.get)
            reply = await fetch(route, self._options.get, self._open)
            self._report(reply)
            status = max(status, ExitStatus.OK if reply.ok else ExitStatus.BROKEN)
        return status

    async def _greet(self, gone: ProbeResult) -> ExitStatus:
        self._await("target", "does it speak first?")
        begun, said = monotonic(), None
        with move_on_after(GREETING):
            try:
                said = await gone.greeting()
            except OSError as error:
                self._find(Diagnosis("target-left", f"the tunnel broke as soon as it stood: {reason(error)}", _proxied(gone.route)))
                return ExitStatus.BROKEN
        if said == b"":
            self._find(Diagnosis("target-left", "the tunnel was ended as soon as it stood", _proxied(gone.route)))
            return ExitStatus.OK
        if said is not None:
            self._report(found.Greeting(said[:SHOWN], monotonic() - begun))
        finding = greeting_of_a_portal(said or b"")
        self._find(finding)
        return ExitStatus.MALFORMED if finding is not None else ExitStatus.OK

    async def _bear_silence(self, gone: ProbeResult) -> ExitStatus:
        """Checks whether an idle tunnel stays open for the time of --idle. Data from the target restarts that time."""
        assert gone.tunnel is not None
        self._await("idle", f"does the tunnel survive {self._options.idle:g} s of silence?")
        idle, begun, cause = self._options.idle, monotonic(), "ended"
        with move_on_after(MOST_RESTARTS * idle) as whole:
            while True:
                begun = monotonic()
                with move_on_after(idle) as silence:
                    try:
                        if await gone.tunnel.stream.receive_some(CHUNK):
                            continue
                    except OSError as error:
                        cause = reason(error)
                if silence.cancelled_caught:
                    self._report(found.Idle(True, monotonic() - begun, ""))
                    return ExitStatus.OK
                break
        if whole.cancelled_caught:
            text = f"the tunnel was never silent for {idle:g} s: the target goes on sending"
            self._find(Diagnosis("never-silent", text))
            return ExitStatus.OK
        lasted = monotonic() - begun
        self._report(found.Idle(False, lasted, cause))
        facts: dict[str, object] = {"interval": max(1, int(lasted / 2))}
        self._find(Diagnosis("idle-cut", f"a silent tunnel was cut off after {lasted:.1f} s", facts))
        return ExitStatus.BROKEN

    # -- one that does not -------------------------------------------------------------------------------------------------------

    async def _explain(self, gone: ProbeResult, error: TunnelctlError, route: Route) -> ExitStatus:
        self._await("finding", "why? Further probes may tell")
        self._fail(error)
        self._find(await self._cause(gone, error, route))
        if route.tls is not None and gone.watch.phases[-1].name == "tls" and error.hop is None:
            return max(error.exit_status, await self._look_closer(route, error))
        return error.exit_status

    async def _cause(self, gone: ProbeResult, error: TunnelctlError, route: Route) -> Diagnosis:
        code, watch = error.detail.get("code"), gone.watch
        if isinstance(error, SpeaksTLS):
            return tls_wanted(error)
        if error.code in RECOGNISED and (finding := _recognised(error, route)) is not None:
            return finding
        if code is not None and isinstance(error, AuthenticationFailed):
            return login(error)
        if isinstance(code, int) and (finding := portal(code)) is not None:
            return finding
        if code == 403 and await self._passes_https(route):
            text = f"the proxy refuses port {self._target.port}, and lets {HTTPS} pass"
            return Diagnosis("port-refused", text, {"target": self._target})
        unreached = watch.phases[-1].name in ("dns", "connect")
        spoke_tls = any(phase.name == "tls" and phase.ok for phase in watch.phases)
        if code is None and not unreached and not spoke_tls and (finding := await self._wrong_scheme(error, route)) is not None:
            return finding
        if not route.hops and "no_proxy" in watch.origin.lower():
            return Diagnosis("no-proxy", f"{watch.origin}, so no proxy was asked: {error}")
        if route.unused and isinstance(error, (Unreachable, NameNotFound)):
            return Diagnosis("unused-proxy", f"{route.unused} is set, but ignored, so no proxy was asked: {error}", error=error)
        return failure(error)

    async def _passes_https(self, route: Route) -> bool:
        """Whether a proxy that refuses a port accepts the host: on 443 it tries to reach it, whatever the result."""
        if self._target.port == HTTPS:
            return False
        error = await self._fails(route._replace(target=Address(self._target.host, HTTPS), tls=None))
        return error is None or error.detail.get("code") not in (None, 403)

    async def _wrong_scheme(self, error: TunnelctlError, route: Route) -> Diagnosis | None:
        """The finding if the nearest proxy, after a failure, turns out to speak another protocol than its URL says; else None.

        A certificate that is not accepted is no reason to probe: it shows that the proxy speaks TLS.
        """
        hop = route.hops[0] if route.hops else None
        if hop is None or not isinstance(error, (NotTLS, Unreachable, NoAnswer)):
            return None
        if (error.hop, error.proxy) != (0, str(hop.address)):  # of alternatives, it may be another one that failed
            return None
        if hop.tls is not None:
            surely = not isinstance(error, NotTLS)  # it closed the connection, as a TLS proxy may do at any time
            return no_tls(hop.address) if await self._speaks(Hop(hop.address), route, surely) else None
        if not error.may_speak_tls and await speaks_tls_there(route, 0, monotonic() + PROBE):
            return tls_wanted(speaks_tls(f"proxy {hop.address}", hop))
        other = Hop(hop.address, protocol=PROTOCOLS[hop.protocol].other)
        return other_protocol(hop.address, other.protocol) if await self._speaks(other, route) else None

    async def _speaks(self, hop: Hop, route: Route, surely: bool = False) -> bool:
        """Whether a proxy responds in the protocol of `hop`, without TLS. It receives nothing that is meant for a trusted proxy.

        400 does not count: a TLS server responds so to a request in plain text. Others redirect it to https://.
        surely: only responses that no other server sends count
        """
        error = await self._fails(route._replace(hops=(hop,), tls=None, no_readahead=False))
        if error is None:
            return True
        code = error.detail.get("code")
        if surely:
            return code == LOGIN_REQUIRED or (code is not None and "error" in error.detail)  # an error from Proxy-Status
        return isinstance(error, AuthenticationFailed) or code not in (None, BAD_REQUEST)

    def _pool(self) -> ConnectionPool:
        """Returns an empty pool: each attempt makes its own connection, as `connect` does."""
        return ConnectionPool(self._connections)

    async def _open(self, route: Route) -> Tunnel:
        return await open_tunnel(route, silent, self._pool())

    async def _fails(self, route: Route) -> TunnelctlError | None:
        """The error of opening a tunnel by this route; None if it opens."""
        try:
            tunnel = await self._open(route._replace(timeout=min(route.timeout, PROBE)))
        except TunnelctlError as error:
            return error
        tunnel.stream.close()
        return None

    # -- either ------------------------------------------------------------------------------------------------------------------

    async def _try_addresses(self, route: Route) -> None:
        """Tries each address of the first stop separately: `connect` uses the first one that accepts a connection."""
        stop = route.hops[0].address if route.hops else route.target
        if is_ip(stop.host) or route.family:
            return
        try:
            with fail_after(PROBE):
                addresses = await resolve(stop.host, stop.port)
        except (OSError, UnicodeError, BusyResourceError, TooSlowError):
            return
        if len(addresses) > 1:
            self._await("address", f"each address of {stop.host}")
            results: dict[SocketAddress, str] = {}
            async with Nursery() as nursery:
                for address in addresses:
                    nursery.start_soon(self._try_address, address, results)
            broken = {":" in address.host for address, cause in results.items() if cause}
            if broken == {True} and not all(results.values()):
                what = f"{stop.host} has IPv6 addresses, and they cannot be reached from here"
                self._find(Diagnosis("ipv6-broken", what))

    async def _try_address(self, address: SocketAddress, results: dict[SocketAddress, str]) -> None:
        begun, cause = monotonic(), ""
        try:
            (await dial([address], 0.0, PROBE)).close()
        except DialError as error:
            cause = reason(error.attempts[0][1])
        results[address] = cause
        self._report(found.Address(address.host, not cause, monotonic() - begun, cause))

    async def _repeat(self, first: ProbeResult) -> None:
        """Repeats the attempt, for its times."""
        times, failed = ([first.watch.seconds], 0) if first.error is None else ([], 1)
        for number in range(2, self._options.times + 1):
            self._await("series", f"{number} of {self._options.times}")
            await sleep(self._options.interval)
            gone = await self._attempt(PhaseTimer())
            if gone.tunnel is not None:
                gone.tunnel.stream.close()
                times.append(gone.watch.seconds)
            else:
                failed += 1
        self._report(found.Series(self._options.times, failed, times, **spread(times)))


def _recognised(error: TunnelctlError, route: Route) -> Diagnosis | None:
    """The finding for a proxy of the chain that responds in another protocol than its URL says. In TLS no scheme would fit."""
    hop = next((hop for hop in route.hops if str(hop.address) == error.proxy), None)
    return other_protocol(hop.address, RECOGNISED[error.code]) if hop is not None and hop.tls is None else None


def _proxied(route: Route | None) -> dict[str, object]:
    return {"proxied": route is not None and bool(route.hops)}


def spread(times: list[float]) -> dict[str, float | None]:
    """Minimum, median, 99th percentile (nearest rank) and maximum; None where nothing was measured."""
    ordered = sorted(times)
    ranks = {"min": 0, "median": (len(ordered) - 1) // 2, "p99": -(-99 * len(ordered) // 100) - 1, "max": len(ordered) - 1}
    return {name: ordered[rank] if ordered else None for name, rank in ranks.items()}
