"""Proxies that lead back to this one: one request through such a ring would open connections until no descriptor is left.

Where every proxy on the path keeps Via (RFC 9110 section 7.6.3), a request that comes round carries our name. SOCKS has no such
field, and some proxies drop it; what does come round unchanged is the target. So where several tunnels to one target are being
opened and none is established yet, as it is in a ring, one more is asked for: to a name that nobody else knows and that no name
service has. If a request for that name arrives here, the proxies lead back. Where it does not, because some proxy's rules refuse
the name, the number of those tunnels is bounded all the same.
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
from tunnelctl.proto.address import Address, is_ip, without_scope
from tunnelctl.stream.listen import ListenAddress
from tunnelctl.stream.own_ports import OwnPorts

# Tunnels to one target that are being opened when the question is asked. Browsers open up to six connections to one host at once.
SUSPICIOUS = 6
MOST = 64  # of them, whatever the answer is; the next one waits its turn
TURN_SECONDS = 10.0  # for that long
REACHED_SECONDS = 60.0  # a target that was reached within this time is in no ring
ANSWER_SECONDS = 10.0  # how long an answer is taken for granted
PROBE_SECONDS = 3.0  # in a ring the answer comes within its round trips; without one, it is the proxy's refusal of the name

MAX_TARGETS = 1000  # that are remembered; the oldest is forgotten

_PREFIX, _BYTES, _HEX_DIGITS = "tunnelctl-", 8, "0123456789abcdef"  # of our name, and of the random number behind it

_LOOPBACK = "127.0.0.1", "::1"

Open = Callable[[Address], Awaitable[None]]


class LoopDetector:
    """For one program with its proxies.

    Of processes that are forked from it each suspects, asks and remembers by itself; a probe may come round to any of them.
    """

    def __init__(self) -> None:
        self.name = f"{_PREFIX}{os.urandom(_BYTES).hex()}"  # in Via, and in the probe; no other program has it
        self._host = f"{self.name}.invalid"  # RFC 6761 section 6.4: no name service has an address for it
        self._opening: dict[str, int] = {}  # by target
        self._reached: dict[str, float] = {}  # when a tunnel to the target stood, last
        self._asked: dict[str, float] = {}  # until when the answer for a target counts
        self._looping: dict[str, float] = {}  # the same of those that come round
        self._probes: dict[str, Event] = {}  # under way; set when there is an answer
        self._turns: dict[str, Event] = {}  # for those that wait: set when one of MOST has ended
        self._came_round = memoryview(mmap.mmap(-1, 8)).cast("d")  # when a probe last arrived here, at whichever process

    def is_probe(self, target: Address) -> bool:
        """Whether a request is a probe of ours that has come round: it is to be refused, and has told what it was to tell."""
        if target.host != self._host:
            return False
        self._came_round[0] = monotonic()
        return True

    def has_passed(self, via: tuple[str, ...]) -> bool:
        """Whether a request with these values of Via has come through here before."""
        return any(self.name in value.replace(",", " ").split() for value in via)

    @staticmethod
    def is_any_probe(target: Address) -> bool:
        """Whether it is a probe, of whichever proxy of this kind. It leads nowhere, so it goes on whatever the rules are."""
        name, _, domain = target.host.rpartition(".")
        start, dash, number = name.partition("-")
        return domain == "invalid" and start + dash == _PREFIX and len(number) == 2 * _BYTES and not number.strip(_HEX_DIGITS)

    def came_round(self, target: Address, via: tuple[str, ...]) -> bool:
        """Whether a request has been here before, by its target and its values of Via."""
        return self.is_probe(target) or self.has_passed(via)

    def via(self, before: tuple[str, ...]) -> tuple[str, str]:
        """The field for a request that is led on, which came with these values."""
        return "Via", ", ".join((*before, f"1.1 {self.name}"))

    @asynccontextmanager
    async def opening(self, target: Address, probe: Open) -> AsyncIterator[None]:
        """The block opens a tunnel to the target. Raises Refused, before or in place of its own error, where the proxies lead back.

        probe: opens a tunnel to the address that it is given, the same way, and ends it
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
        raise Refused(f"tunnel to {target}", "too many to this target are being opened", error="connection_limit_reached")

    def _is_reached(self, target: str) -> bool:
        return monotonic() - self._reached.get(target, -REACHED_SECONDS) < REACHED_SECONDS

    def _refuse_loop(self, target: str) -> None:
        if self._looping.get(target, 0.0) > monotonic():
            raise loop(target)

    async def _ask(self, address: Address, target: str, probe: Open) -> None:
        """Waits for what comes of a probe, or of the tunnels. Sends one, unless the answer is known or to come."""
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
            _remember(self._asked, target, monotonic() + ANSWER_SECONDS)  # not if the probe's client left: then nobody knows
        finally:
            if self._came_round[0] >= begun:
                _remember(self._looping, target, monotonic() + ANSWER_SECONDS)
            del self._probes[target]
            answered.set()


def loop(target: str) -> Refused:
    """The error of a tunnel whose request has come round."""
    return Refused(f"tunnel to {target}", "the next proxies lead back to this one", error="proxy_loop_detected")


def refuse_own_ports(chains: Iterable[Chain], listeners: Iterable[ListenAddress]) -> None:
    """Raises UsageProblem where the nearest proxy is one of the listeners: each tunnel would open another, without end."""
    own = OwnPorts(list(listeners))
    for nearest, *_ in filter(None, chains):
        host, port = without_scope(nearest.address.host), nearest.address.port
        addresses = _LOOPBACK if host == "localhost" else (host,) if is_ip(host) else ()
        if any(own.contains(ip, port) for ip in addresses):
            hint = "name the proxy that is the next one on the way"
            raise UsageProblem(f"proxy {nearest}", "that is where this program itself listens", hint)


def _remember(times: dict[str, float], target: str, when: float) -> None:
    times.pop(target, None)
    times[target] = when
    if len(times) > MAX_TARGETS:
        del times[next(iter(times))]
