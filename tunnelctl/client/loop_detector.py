"""Loop detection. One request through proxies that lead back to this one would open connections until no descriptor is left.

If every proxy in such a ring keeps Via (RFC 9110 section 7.6.3), a request that returns carries our name. SOCKS has no such field,
and some proxies drop it, but the target returns unchanged. So when several tunnels to one target are being opened and none is
established yet, as in a ring, the detector sends a probe: a request for a tunnel to a name that only this program knows and that no
name service has. If a request for that name arrives here, the proxies lead back. If it does not, because a proxy's rules refuse
the name, the number of those tunnels is bounded nevertheless.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from time import monotonic

from tunnelctl.client.route.selection import Chain
from tunnelctl.engine.kernel import move_on_after
from tunnelctl.engine.sync import Event
from tunnelctl.errors import Refused, TunnelctlError, UsageProblem
from tunnelctl.proto import via
from tunnelctl.proto.address import Address, is_ip, without_scope
from tunnelctl.stream.listen import ListenAddress
from tunnelctl.stream.own_ports import OwnAddresses

# Tunnels to one target that are being opened when a probe is sent. Browsers open up to six connections to one host at once.
SUSPICIOUS = 6
MOST = 64  # such tunnels at once, whatever the probe shows; the next one waits its turn
TURN_SECONDS = 10.0  # longest wait for a turn
REACHED_SECONDS = 60.0  # a target that was reached within this time is in no ring
ANSWER_SECONDS = 10.0  # how long a result stays valid
PROBE_SECONDS = 3.0  # in a ring the probe returns within the round trips of the ring; otherwise a proxy refuses the name

MAX_TARGETS = 1000  # targets to remember; the oldest is dropped

_HEX_DIGITS = "0123456789abcdef"

_LOOPBACK = "127.0.0.1", "::1"

Open = Callable[[Address], Awaitable[None]]


class LoopDetector:
    """The loop detector of one program.

    Each forked process counts, probes and remembers by itself. A probe may return to any of them.
    """

    def __init__(self) -> None:
        self.name = via.name(os.urandom(via.NUMBER_BYTES))  # in Via and in the probe; unique to this program
        self._host = f"{self.name}.invalid"  # RFC 6761 section 6.4: no name service has an address for it
        self._opening: dict[str, int] = {}  # how many, by target
        self._reached: dict[str, float] = {}  # when a tunnel to the target was last established
        self._asked: dict[str, float] = {}  # until when the result for a target is valid
        self._looping: dict[str, float] = {}  # the same for targets whose requests return
        self._probes: dict[str, Event] = {}  # in progress, by target; set when there is a result
        self._turns: dict[str, Event] = {}  # for waiting tunnels, by target; set when one of MOST has ended
        self._came_round = memoryview(mmap.mmap(-1, 8)).cast("d")  # when a probe last arrived, at any of the processes

    def is_probe(self, target: Address) -> bool:
        """Whether a request is a probe of ours that has returned. Records its arrival; the caller is to refuse it."""
        if target.host != self._host:
            return False
        self._came_round[0] = monotonic()
        return True

    @staticmethod
    def is_any_probe(target: Address) -> bool:
        """Whether the target is a probe of any proxy of this kind. It leads nowhere, so it passes whatever the rules are."""
        name, _, domain = target.host.rpartition(".")
        start, dash, number = name.partition("-")
        numbered = len(number) == 2 * via.NUMBER_BYTES and not number.strip(_HEX_DIGITS)
        return domain == "invalid" and start + dash == via.PREFIX and numbered

    def came_round(self, target: Address, before: tuple[str, ...]) -> bool:
        """Whether a request has been here before, judged by its target and its Via values."""
        return self.is_probe(target) or via.has_passed(self.name, before)

    def via(self, before: tuple[str, ...]) -> tuple[str, str]:
        """The Via field for a forwarded request that arrived with these values."""
        return "Via", ", ".join((*before, f"1.1 {self.name}"))

    @asynccontextmanager
    async def opening(self, target: Address, probe: Open) -> AsyncIterator[None]:
        """Guards a block that opens a tunnel to the target.

        Raises Refused, before the block or in place of its error, if the proxies lead back; also if no turn comes in time.
        probe: opens a tunnel to the given address through the same proxies, and closes it
        """
        text = str(target)
        if self._opening.get(text, 0) >= SUSPICIOUS and not self._is_reached(text):
            await self._ask(Address(self._host, target.port), text, probe)
            await self._wait_for_turn(text)
        self._refuse_loop(text)
        self._opening[text] = self._opening.get(text, 0) + 1
        try:
            yield
        except TunnelctlError:
            self._refuse_loop(text)
            raise
        else:
            _remember(self._reached, text, monotonic())
            if text in self._probes:
                self._probes[text].set()
        finally:
            if self._opening[text] == 1:
                del self._opening[text]
            else:
                self._opening[text] -= 1
            if text in self._turns:
                self._turns.pop(text).set()

    async def _wait_for_turn(self, target: str) -> None:
        with move_on_after(TURN_SECONDS):
            while self._opening.get(target, 0) >= MOST and not self._is_reached(target):
                await self._turns.setdefault(target, Event()).wait()
            return
        raise Refused(
            f"tunnel to {target}",
            "too many to this target are being opened",
            "too-many-to-target",
            detail={"error": "connection_limit_reached"},
        )

    def _is_reached(self, target: str) -> bool:
        return monotonic() - self._reached.get(target, -REACHED_SECONDS) < REACHED_SECONDS

    def _refuse_loop(self, target: str) -> None:
        if self._looping.get(target, 0.0) > monotonic():
            raise loop(target)

    async def _ask(self, address: Address, target: str, probe: Open) -> None:
        """Waits for the result of a probe, or for an established tunnel. Sends a probe unless a result is known or pending."""
        while self._asked.get(target, 0.0) <= monotonic():
            answered = self._probes.get(target)
            if answered is None:
                await self._probe(address, target, probe)
                break
            await answered.wait()
            if self._probes.get(target) is answered:  # a tunnel has been established meanwhile
                break

    async def _probe(self, address: Address, target: str, probe: Open) -> None:
        answered = self._probes[target] = Event()
        begun = monotonic()
        try:
            with move_on_after(PROBE_SECONDS), suppress(TunnelctlError):
                await probe(address)
            _remember(self._asked, target, monotonic() + ANSWER_SECONDS)  # not if the probe's client left: then there is no result
        finally:
            if self._came_round[0] >= begun:
                _remember(self._looping, target, monotonic() + ANSWER_SECONDS)
            del self._probes[target]
            answered.set()


def loop(target: str) -> Refused:
    """The error for a request that has returned to this proxy."""
    return Refused(f"tunnel to {target}", "the next proxies lead back to this one", "loop", detail={"error": "proxy_loop_detected"})


def refuse_own_ports(chains: Iterable[Chain], listeners: Iterable[ListenAddress]) -> None:
    """Raises UsageProblem if the nearest proxy is one of the listeners: each tunnel would open another, endlessly."""
    own = OwnAddresses(list(listeners))
    for nearest, *_ in filter(None, chains):
        host, port = without_scope(nearest.address.host), nearest.address.port
        addresses = _LOOPBACK if host == "localhost" else (host,) if is_ip(host) else ()
        if any(own.contains(ip, port) for ip in addresses):
            raise UsageProblem(f"proxy {nearest}", "tunnelctl itself listens on this address", "own-listener")


def _remember(times: dict[str, float], target: str, when: float) -> None:
    times.pop(target, None)
    times[target] = when
    if len(times) > MAX_TARGETS:
        del times[next(iter(times))]
