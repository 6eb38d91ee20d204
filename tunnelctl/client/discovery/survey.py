"""The search itself: reads the settings, tries the proxies side by side, and reports each as soon as its result is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tunnelctl.client.check.check import ENDING, TICK
from tunnelctl.client.check.diagnosis import Diagnosis
from tunnelctl.client.check.events import Finding, Interrupted
from tunnelctl.client.discovery import events as found
from tunnelctl.client.discovery import wpad
from tunnelctl.client.discovery.candidates import Candidate, candidates, chains_of
from tunnelctl.client.discovery.contradictions import OWN, Unasked, of_results, of_settings
from tunnelctl.client.discovery.options import TARGETS, DiscoverOptions
from tunnelctl.client.discovery.settings.gather import Gathered, gather, gather_variables
from tunnelctl.client.discovery.settings.machine import Machine
from tunnelctl.client.discovery.settings.setting import PAC, PROXY, Found, Setting, Unread
from tunnelctl.client.discovery.trial import ATTEMPT, Attempt, Result, Trials
from tunnelctl.client.discovery.waits import Awaited, Waits, words_for
from tunnelctl.client.route.planner import tls_to_target
from tunnelctl.client.route.selection import Chain, select_proxies
from tunnelctl.engine.kernel import CancelScope, Nursery, TooSlowError, fail_after, run, sleep
from tunnelctl.engine.resolver import resolve
from tunnelctl.engine.wakeup import SignalReceiver, open_signal_receiver, to_thread
from tunnelctl.errors import AddressError, TimedOut, TunnelctlError, UsageProblem
from tunnelctl.events import Event, Explained, Warning, silent
from tunnelctl.proto.address import parse_authority
from tunnelctl.status import ExitStatus
from tunnelctl.stream.tls.settings import TLSClient

Report = Callable[[Event], None]
Live = Callable[[list[Awaited]], None]

GATHER = 15.0  # seconds for reading all settings; a home directory on a server that is gone would take forever
HTTPS = 443
MOST_TRIED = 24  # distinct proxies; further ones are named, and not tried
DIRECT = Candidate(())


def run_survey(options: DiscoverOptions, machine: Machine, report: Report, live: Live | None = None) -> int:
    """Runs the search and returns the exit status: 0 if anything works; else that of the path which `connect` would take.

    After a signal it is 128 and the number of the signal. live: called with what is waited for, ten times a second
    """
    return run(Survey(options, machine, report, live).run)


class Survey:
    """One run of the command."""

    def __init__(self, options: DiscoverOptions, machine: Machine, report: Report, live: Live | None = None) -> None:
        self._options, self._machine, self._report, self._live = options, machine, report, live
        self._targets = tuple(map(parse_authority, options.targets or TARGETS))
        self._own: Chain = ()
        self._unusable: list[Diagnosis] = []  # findings about PAC files
        self._results: dict[int, Result] = {}  # by the number of the proxy
        self._waits = Waits()
        self._ended_by = 0  # the number of the signal
        self._missed: list[Awaited] = []  # what was waited for then

    async def run(self) -> int:
        """Runs the whole search, or until a signal, and returns the exit status."""
        self._own = self._selected()
        status: int | None = None
        with open_signal_receiver(*ENDING) as signals:
            async with Nursery() as nursery:
                nursery.start_soon(self._listen, signals, nursery.cancel_scope)
                if self._live is not None:
                    nursery.start_soon(self._show, self._live)
                status = await self._search()
                nursery.cancel_scope.cancel()
        return status if status is not None else self._interrupted()

    async def _listen(self, signals: SignalReceiver, scope: CancelScope) -> None:
        async for number in signals:
            self._ended_by, self._missed = number, self._waits.now()
            scope.cancel()

    async def _show(self, live: Live) -> None:
        while True:
            live(self._waits.now())
            await sleep(TICK)

    def _interrupted(self) -> int:
        """Reports what a signal interrupted, after what was found until then. Returns the exit status."""
        word = self._missed[0].word if self._missed else ""
        seconds = max((wait.seconds for wait in self._missed), default=0.0)
        self._report(Interrupted(word, words_for(self._missed), seconds))
        status = 128 + self._ended_by
        self._report(found.Outcome(False, status, self._working()))
        return status

    async def _search(self) -> int:
        gathered = await self._gather()
        all_found = [*self._given(), *gathered.found]
        for one in all_found:
            self._report(named(one))
        for missing in gathered.unread:
            self._report(found.Unread(*missing))
        all_found += await self._ask_wpad()
        all_found += await self._ask_scripts([one for one in all_found if one.setting.kind == PAC])
        to_try, wrong = candidates(all_found)
        if len(to_try) > MOST_TRIED:
            self._report(Warning(f"only the first {MOST_TRIED} of {len(to_try)} proxies are tried"))
        results = await self._try([DIRECT, *to_try[:MOST_TRIED]])
        for finding in (*of_results(results, self._own, self._unasked()), *self._unusable, *of_settings(all_found, wrong)):
            self._report(Explained(Finding(finding.name, finding.text, ""), finding.error, finding.facts))
        return self._conclude(results)

    async def _gather(self) -> Gathered:
        try:
            with fail_after(GATHER), self._waits.on("settings", "the settings of this machine"):
                return await to_thread(gather, self._machine)
        except TooSlowError:
            late = Unread("all programs", "", f"the settings were not read within {GATHER:g} s")
            return Gathered(gather_variables(self._machine), (late,))

    def _given(self) -> list[Found]:
        """Returns what flags and the settings file say, which the environment does not."""
        reach, given = self._options.reach, []
        if reach.proxy and not self._goes_direct():
            place = "" if reach.proxy_origin == "-x" else reach.proxy_origin
            given.append(Found(OWN, place, Setting(PROXY, "proxy" if place else "-x", reach.proxy)))
        if reach.pac is not None:
            given.append(Found(OWN, "", Setting(PAC, "--pac", (reach.pac,))))
        return given

    def _goes_direct(self) -> bool:
        return [text.strip().lower() for text in self._options.reach.proxy] == ["direct"]

    def _selected(self) -> Chain:
        """Returns the chain that `connect` would take; () for none, and for one that cannot be parsed."""
        try:
            return select_proxies(None, self._options.reach.proxy, self._machine.environ).chains[0]
        except UsageProblem:
            if self._options.reach.proxy:
                raise
            return ()

    # -- PAC ---------------------------------------------------------------------------------------------------------------------

    async def _ask_wpad(self) -> list[Found]:
        """Reports the names that WPAD would look up. If the user asked for it, returns the PAC files that they lead to."""
        scripts: list[Found] = []
        names = wpad.possible(self._machine)
        if self._options.wpad and not names:
            self._report(found.Unread(wpad.TOOL, wpad.RESOLV_CONF, "has no search domain"))
        for one in names:
            self._report(named(one))
            name = one.setting.value[0]
            if self._options.wpad:
                try:
                    with fail_after(ATTEMPT), self._waits.on("wpad", name):
                        await resolve(name, 80)
                except (OSError, TooSlowError):
                    self._report(found.Unread(wpad.TOOL, name, "no such host"))
                else:
                    scripts.append(one._replace(setting=Setting(PAC, name, (wpad.URL.format(name=name),))))
        return scripts

    async def _ask_scripts(self, settings: Iterable[Found]) -> list[Found]:
        """Asks each PAC file for the first target. Returns the proxies that it names, as settings."""
        answers: list[Found] = []
        for url, one in {one.setting.value[0]: one for one in settings}.items():
            try:
                chosen = await self._ask_script(url)
            except TunnelctlError as error:
                self._unusable.append(Diagnosis("pac-unusable", f"{one}: {error.cause}", error=error))
                continue
            self._report(found.Script(url, str(self._targets[0]), [proxy or "direct" for proxy in chosen]))
            answers += [one._replace(setting=one.setting._replace(kind=PROXY, value=(proxy,))) for proxy in chosen if proxy]
        return answers

    async def _ask_script(self, url: str) -> list[str]:
        """Returns the URLs that a PAC file names for the first target; "" for none. Raises TunnelctlError."""
        from tunnelctl.client.pac.finder import Pac

        try:
            with fail_after(ATTEMPT), self._waits.on("pac", url, str(self._targets[0])):
                choices = await Pac(url, silent).find(self._targets[0])
        except TooSlowError as error:
            cause = f"the PAC file has not answered within {ATTEMPT:g} s"
            raise TimedOut(f"choosing the proxies for {self._targets[0]}", cause, "pac-late") from error
        return [str(proxy) if proxy is not None else "" for proxy in choices]

    # -- trials ------------------------------------------------------------------------------------------------------------------

    async def _try(self, to_try: list[Candidate]) -> list[Result]:
        seconds = min(self._options.reach.timeout or ATTEMPT, ATTEMPT)
        names = [candidate.name for candidate in to_try[1:]]
        self._report(found.Trying(list(map(str, self._targets)), names, seconds))
        async with Nursery() as connections:
            own = frozenset(
                select_proxies(None, self._options.reach.proxy, {}).chains if self._options.reach.proxy else [self._own]
            )
            trials = Trials(self._options.reach, own, self._machine.environ, self._tls(), connections, self._waits)
            async with Nursery() as nursery:
                for number, candidate in enumerate(to_try):
                    nursery.start_soon(self._try_one, trials, number, candidate)
            connections.cancel_scope.cancel()
        return [self._results[number] for number in range(len(to_try))]

    async def _try_one(self, trials: Trials, number: int, candidate: Candidate) -> None:
        def tell(one: Attempt) -> None:
            code = one.error.detail.get("code") if one.error is not None else None
            status = code if isinstance(code, int) else None
            self._report(found.Trial(number, str(one.target), one.ok, one.seconds, one.cause, status))

        result = self._results[number] = await trials.run(candidate, self._targets, tell)
        self._report(
            found.Proxy(
                number=number,
                proxy=list(map(str, candidate.chain)),
                named_by=list(map(str, candidate.found)),
                selected=candidate.chain == self._own,
                ok=result.first.ok,
                login=result.login,
                schemes=list(result.schemes),
                tls=result.tls.verdict,
                issuer=result.tls.issuer,
            )
        )

    def _tls(self) -> TLSClient | None:
        """The TLS settings for the first target; None if it does not speak TLS."""
        target, options = self._targets[0], self._options.target_tls
        return tls_to_target(target, options._replace(tls=options.tls or target.port == HTTPS))

    def _conclude(self, results: list[Result]) -> int:
        """Reports the outcome, and returns the exit status. Going without a proxy counts only if `connect` would do so."""
        working = self._working()
        chosen = next((result for result in results if result.candidate.chain == self._own), results[0])
        status = ExitStatus.OK
        if not any(working) and not chosen.first.ok:
            status = chosen.first.error.exit_status if chosen.first.error is not None else ExitStatus.BROKEN
        self._report(found.Outcome(status == ExitStatus.OK, int(status), working))
        return int(status)

    def _working(self) -> list[str]:
        """Returns the names of the candidates that work, of those that have been tried to the end."""
        return [result.candidate.name for _, result in sorted(self._results.items()) if result.first.ok]

    def _unasked(self) -> Unasked:
        return Unasked(targets=not self._options.targets, wpad=not self._options.wpad and bool(wpad.possible(self._machine)))


def named(one: Found) -> found.Named:
    """Returns the event for a setting, without passwords."""
    setting = one.setting
    value = list(setting.value)
    if setting.kind == PROXY:
        try:
            value = list(dict.fromkeys(Candidate(chain).name for chain in chains_of(one)))
        except AddressError:
            value = []
    return found.Named(setting.kind, one.tool, setting.key, one.place, setting.line, setting.scope, value)
