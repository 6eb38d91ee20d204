"""Tests loop detection: when the detector sends a probe, and what its result means. Rings: tests/security/test_v36_rings."""

import os

import pytest

from tests.engine.tools import bounded
from tunnelctl.client import loop_detector as under_test
from tunnelctl.client.loop_detector import MOST, SUSPICIOUS, LoopDetector
from tunnelctl.engine.kernel import CancelScope, Nursery, checkpoint
from tunnelctl.engine.sync import Event
from tunnelctl.errors import Refused, TimedOut
from tunnelctl.proto.address import Address

TARGET = Address("pub.example", 443)


class Case:
    """A detector, tunnels that remain in opening until `go`, and the probes that were sent."""

    def __init__(self) -> None:
        self.detector = LoopDetector()
        self.go = Event()
        self.probes: list[Address] = []
        self.opened = 0
        self.errors: list[str] = []
        self.leaving = CancelScope()

    async def probe(self, target: Address) -> None:
        self.probes.append(target)
        await checkpoint()
        raise Refused("probe", "no such name", "refused", detail={"code": 502})

    async def open(self, target: Address = TARGET) -> None:
        try:
            async with self.detector.opening(target, self.probe):
                await self.go.wait()
                self.opened += 1
        except Refused as error:
            self.errors.append(str(error.detail["error"]))

    async def open_and_leave(self) -> None:
        """Opens a tunnel until the client leaves."""
        with self.leaving:
            await self.open()


async def settled() -> None:
    for _ in range(20):
        await checkpoint()


def test_a_few_tunnels_to_one_target_send_no_probe() -> None:
    async def main() -> None:
        case = Case()
        async with Nursery() as nursery:
            for _ in range(SUSPICIOUS):
                nursery.start_soon(case.open)
                nursery.start_soon(case.open, Address("other.example", 443))
            await settled()
            case.go.set()
        assert (case.probes, case.opened) == ([], 2 * SUSPICIOUS)

    bounded(main)


def test_one_probe_serves_all_waiting_tunnels_and_its_result_is_kept() -> None:
    async def main() -> None:
        case = Case()
        async with Nursery() as nursery:
            for _ in range(3 * SUSPICIOUS):
                nursery.start_soon(case.open)
            await settled()
            for _ in range(3):
                nursery.start_soon(case.open)
            await settled()
            case.go.set()
        assert [probe.port for probe in case.probes] == [443]
        assert case.probes[0].host.endswith(".invalid")
        assert case.opened == 3 * SUSPICIOUS + 3

    bounded(main)


def test_a_recently_reached_target_is_not_probed() -> None:
    async def main() -> None:
        case = Case()
        case.go.set()
        await case.open()
        case.go = Event()
        async with Nursery() as nursery:
            for _ in range(3 * SUSPICIOUS):
                nursery.start_soon(case.open)
            await settled()
            case.go.set()
        assert case.probes == []

    bounded(main)


def test_an_established_tunnel_releases_those_that_wait_for_the_probe() -> None:
    """A proxy may take a while to refuse an unknown name."""

    async def main() -> None:
        case, answered = Case(), Event()

        async def probe(target: Address) -> None:
            case.probes.append(target)
            await answered.wait()

        case.probe = probe  # type: ignore[method-assign]
        async with Nursery() as nursery:
            for _ in range(SUSPICIOUS + 3):
                nursery.start_soon(case.open)
            await settled()
            case.go.set()
            await settled()
            assert case.opened == SUSPICIOUS + 2, "all but the one that sent the probe"
            answered.set()
        assert case.opened == SUSPICIOUS + 3

    bounded(main)


def test_a_probe_cancelled_by_its_client_has_no_result() -> None:
    """The next waiting tunnel sends a probe, and the others wait for that one."""

    async def main() -> None:
        case = Case()

        async def probe(target: Address) -> None:
            case.probes.append(target)
            await Event().wait()

        case.probe, answering = probe, case.probe  # type: ignore[method-assign]
        async with Nursery() as nursery:
            for _ in range(SUSPICIOUS):
                nursery.start_soon(case.open)
            await settled()
            nursery.start_soon(case.open_and_leave)
            await settled()
            assert len(case.probes) == 1
            case.probe = answering  # type: ignore[method-assign]
            for _ in range(3):
                nursery.start_soon(case.open)
            await settled()
            case.leaving.cancel()
            await settled()
            assert len(case.probes) == 2
            case.go.set()
        assert (case.opened, case.detector._probes) == (SUSPICIOUS + 3, {})

    bounded(main)


@pytest.mark.parametrize("waits", [False, True])
def test_a_ring_is_found_even_if_the_first_prober_leaves(waits: bool) -> None:
    """waits: whether the next tunnel is already waiting"""

    async def main() -> None:
        case = Case()

        async def probe(target: Address) -> None:
            case.probes.append(target)
            if len(case.probes) == 1:
                await Event().wait()
            assert case.detector.is_probe(target)
            raise Refused("probe", "it comes round", "refused", detail={"code": 502})

        case.probe = probe  # type: ignore[method-assign]
        async with Nursery() as nursery:
            for _ in range(SUSPICIOUS):
                nursery.start_soon(case.open)
            await settled()
            nursery.start_soon(case.open_and_leave)
            await settled()
            if waits:
                nursery.start_soon(case.open)
                await settled()
            case.leaving.cancel()
            await settled()
            if not waits:
                nursery.start_soon(case.open)
                await settled()
            assert case.errors == ["proxy_loop_detected"]
            case.go.set()

    bounded(main)


def test_tunnels_over_the_limit_for_one_target_wait() -> None:
    async def main() -> None:
        case = Case()
        async with Nursery() as nursery:
            for _ in range(MOST + 40):
                nursery.start_soon(case.open)
            await settled()
            assert case.detector._opening == {str(TARGET): MOST}
            case.go.set()
        assert (case.opened, case.errors, case.detector._turns) == (MOST + 40, [], {})

    bounded(main)


def test_waiting_for_a_turn_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "TURN_SECONDS", 0.02)

    async def main() -> None:
        case = Case()
        async with Nursery() as nursery:
            for _ in range(MOST):
                nursery.start_soon(case.open)
            await settled()
            await case.open()
            assert (case.opened, case.errors) == (0, ["connection_limit_reached"])
            case.go.set()

    bounded(main)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_probe_that_returns_fails_all_tunnels_to_the_target(elsewhere: bool) -> None:
    """Whichever process the probe arrives at."""

    async def main() -> None:
        case = Case()

        async def probe(target: Address) -> None:
            if not elsewhere:
                assert case.detector.is_probe(target)
            elif not (pid := os.fork()):
                os._exit(0 if case.detector.is_probe(target) else 1)
            else:
                assert os.waitpid(pid, 0)[1] == 0
            raise Refused("probe", "it comes round", "refused", detail={"code": 502})

        case.probe = probe  # type: ignore[method-assign]

        async def fail() -> None:
            try:
                async with case.detector.opening(TARGET, case.probe):
                    await case.go.wait()
                    raise TimedOut("a proxy", "no answer", "timed-out")
            except Refused as error:
                case.errors.append(str(error.detail["error"]))

        async with Nursery() as nursery:
            for _ in range(SUSPICIOUS + 1):
                nursery.start_soon(fail)
            await settled()
            case.go.set()
        await case.open()
        assert case.errors == ["proxy_loop_detected"] * (SUSPICIOUS + 2)

    bounded(main)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MAX_TARGETS", 3)

    async def main() -> None:
        case = Case()
        case.go.set()
        for number in range(10):
            await case.open(Address(f"n{number}.example", 443))
        assert len(case.detector._reached) == 3
        assert case.detector._opening == case.detector._probes == {}

    bounded(main)


def test_own_name_in_via_is_recognised() -> None:
    detector, other = LoopDetector(), LoopDetector()
    field, value = detector.via(("1.0 fred, 1.1 p.example.net", "1.1 x"))
    assert (field, value) == ("Via", f"1.0 fred, 1.1 p.example.net, 1.1 x, 1.1 {detector.name}")
    elsewhere = Address("h.example", 443)
    assert detector.came_round(elsewhere, (value,))
    assert detector.came_round(elsewhere, ("1.1 a", f"1.1 {detector.name} (a comment)"))
    assert not other.came_round(elsewhere, (value,))
    assert not detector.came_round(elsewhere, (f"1.1 {detector.name}x", f"1.1 x{detector.name}", ""))
    assert not other.is_probe(Address(f"{detector.name}.invalid", 443))


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("tunnelctl-0123456789abcdef.invalid", True),
        ("tunnelctl-0123456789abcde.invalid", False),
        ("tunnelctl-0123456789abcdeg.invalid", False),
        ("tunnelctl-0123456789abcdef.example", False),
        ("a.tunnelctl-0123456789abcdef.invalid", False),
        ("x-0123456789abcdef.invalid", False),
        ("invalid", False),
    ],
)
def test_a_probe_of_another_proxy_is_recognised_by_its_form(host: str, is_one: bool) -> None:
    assert LoopDetector().is_any_probe(Address(host, 443)) is is_one
    assert LoopDetector().is_any_probe(Address(f"{LoopDetector().name}.invalid", 443))


def test_a_request_that_came_round_is_recognised_by_via_or_by_name() -> None:
    detector = LoopDetector()
    assert detector.came_round(TARGET, (f"1.1 {detector.name}",))
    assert detector.came_round(Address(f"{detector.name}.invalid", 443), ())
    assert not detector.came_round(TARGET, ("1.1 another",))
