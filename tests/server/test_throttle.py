"""Wrong logins: each waits longer, then none is looked at, and in time all is forgotten."""

import pytest

from tunnelctl.server import throttle as under_test
from tunnelctl.server.throttle import BURST, FIRST_DELAY, LONGEST_DELAY, REFILL_SECONDS, LoginThrottle, TooManyWrongLogins


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(throttle: LoginThrottle, network: str) -> int:
    """Seconds that the network is to wait, 0 if it is admitted."""
    try:
        throttle.admit(network)
    except TooManyWrongLogins as error:
        return error.seconds
    return 0


def test_each_wrong_login_waits_longer_up_to_a_limit() -> None:
    throttle = LoginThrottle(Clock())
    delays = [throttle.wrong("a") for _ in range(BURST)]
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY
    assert throttle.wrong("b") == FIRST_DELAY, "another network has a bucket of its own"


def test_then_none_is_looked_at_until_there_is_a_token() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    for _ in range(BURST):
        assert refused(throttle, "a") == 0
        throttle.wrong("a")
    assert refused(throttle, "a") == REFILL_SECONDS
    assert refused(throttle, "b") == 0
    clock.now += REFILL_SECONDS - 0.5
    assert refused(throttle, "a") == 1
    clock.now += 0.5
    assert refused(throttle, "a") == 0
    throttle.wrong("a")
    assert refused(throttle, "a") == REFILL_SECONDS


def test_wrong_logins_that_were_under_way_together_cost_no_more_than_the_bucket() -> None:
    """Many may be admitted before the first of them turns out to be wrong."""
    throttle = LoginThrottle(Clock())
    for _ in range(10 * BURST):
        throttle.wrong("a")
    assert refused(throttle, "a") == REFILL_SECONDS


def test_in_time_all_is_forgotten() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    for _ in range(BURST):
        throttle.wrong("a")
    clock.now += BURST * REFILL_SECONDS
    assert throttle.wrong("a") == FIRST_DELAY


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MAX_NETWORKS", 3)
    throttle = LoginThrottle(Clock())
    for network in "abcd":
        for _ in range(BURST):
            throttle.wrong(network)
    assert [refused(throttle, network) > 0 for network in "abcd"] == [False, True, True, True]
