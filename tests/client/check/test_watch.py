"""The statistics of `check --watch`: what counts as a failure, and that their memory is bounded."""

from tests.options import check_options
from tunnelctl.client.check.events import Attempt, Phase, Statistics
from tunnelctl.client.check.probe import PhaseTimer, ProbeResult
from tunnelctl.client.check.watch import MOST_ROWS, Times, Watch
from tunnelctl.engine.kernel import run
from tunnelctl.errors import Refused
from tunnelctl.events import Event, silent
from tunnelctl.proto.address import Address

ERROR = Refused("proxy p:1", "403 Forbidden", "refused")


def watched(*attempts: tuple[list[Phase], Refused | None]) -> tuple[list[Event], int]:
    """Runs attempts with these phases, and returns what is reported and the status."""
    given, found = iter(attempts), []

    async def attempt(watch: PhaseTimer) -> ProbeResult:
        phases, error = next(given)
        watch.phases.extend(phases)
        return ProbeResult(watch, None, None, error)

    options = check_options(Address("h", 22), times=len(attempts), interval=0.0)
    watch = Watch(options, found.append, attempt)
    run(watch.run)
    return found, watch.finish()


def phase(name: str, seconds: float = 1.0, ok: bool = True) -> Phase:
    return Phase(name, "", 0.0, seconds, ok)


def statistics(found: list[Event]) -> dict[str, Statistics]:
    return {event.name: event for event in found if isinstance(event, Statistics)}


def test_each_phase_has_its_times_and_losses():
    found, status = watched(
        ([phase("dns", 1.0), phase("proxy", 4.0)], None),
        ([phase("dns", 3.0), phase("proxy", 9.0, False)], ERROR),
        ([phase("dns", 2.0, False)], ERROR),
    )
    rows = statistics(found)
    assert rows["dns"] == Statistics("dns", 3, 1, 3.0, 1.0, 2.0, 3.0)
    assert rows["proxy"] == Statistics("proxy", 2, 1, 4.0, 4.0, 4.0, 4.0)
    assert (rows["tunnel"].count, rows["tunnel"].failed) == (3, 2)
    assert [event.ok for event in found if isinstance(event, Attempt)] == [True, False, False]
    assert status == 69


def test_a_challenge_before_the_login_is_no_loss():
    found, status = watched(*[([phase("proxy", 1.0, False), phase("proxy", 2.0)], None)] * 2)
    rows = statistics(found)
    assert (rows["proxy"].failed, rows["proxy 2"].failed, status) == (0, 0, 0)


def test_rows_are_bounded():
    found, _ = watched(*(([phase(f"name{place}") for place in range(30 * number, 30 * number + 30)], None) for number in range(9)))
    assert len(statistics(found)) == MOST_ROWS + 1


def test_times_are_summed_up_and_not_kept():
    times = Times()
    size = len(vars(times))
    for number in range(1000):
        times.add(float(number), True)
    assert len(vars(times)) == size
    assert not any(isinstance(value, (list, dict, tuple)) for value in vars(times).values())
    assert times.statistics("x") == Statistics("x", 1000, 0, 999.0, 0.0, 499.5, 999.0)


def test_without_a_success_there_are_no_times():
    times = Times()
    times.add(1.0, False)
    assert times.statistics("x") == Statistics("x", 1, 1, None, None, None, None)


def test_what_is_awaited_between_two_attempts():
    watch = Watch(check_options(Address("h", 22)), silent, lambda watch: None)
    assert (watch.awaited().word, watch.awaited().statistics) == ("waiting", ())
