"""Throttling of wrong logins: each is delayed longer, then none is checked, and in time all are forgotten."""

import pytest

from tests.server.process.sharing import in_a_child
from tunnelctl.engine.limiter import Owner
from tunnelctl.server.access import throttle as under_test
from tunnelctl.server.access.throttle import (
    BURST,
    FIRST_DELAY,
    GROUP_FACTOR,
    LONGEST_DELAY,
    REFILL_SECONDS,
    LoginThrottle,
    TooManyWrongLogins,
)
from tunnelctl.server.process.shared_counters import WAYS

A, B = Owner("a", "a"), Owner("b", "b")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(throttle: LoginThrottle, owner: Owner) -> int:
    """Seconds that the network has to wait; 0 if the throttle admits it."""
    try:
        throttle.admit(owner)
    except TooManyWrongLogins as error:
        return error.seconds
    return 0


def test_each_wrong_login_is_delayed_longer_up_to_a_limit() -> None:
    throttle = LoginThrottle(Clock())
    delays = [throttle.wrong(A) for _ in range(BURST)]
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY
    assert throttle.wrong(B) == FIRST_DELAY, "another network must have a bucket of its own"


def test_after_the_burst_logins_are_refused_until_a_token_is_refilled() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    for _ in range(BURST):
        assert refused(throttle, A) == 0
        throttle.wrong(A)
    assert refused(throttle, A) == REFILL_SECONDS
    assert refused(throttle, B) == 0
    clock.now += REFILL_SECONDS - 0.5
    assert refused(throttle, A) == 1
    clock.now += 0.5
    assert refused(throttle, A) == 0
    throttle.wrong(A)
    assert refused(throttle, A) == REFILL_SECONDS


def test_concurrent_wrong_logins_cost_no_more_than_the_bucket() -> None:
    """The throttle may admit many before the first of them turns out to be wrong."""
    throttle = LoginThrottle(Clock())
    for _ in range(10 * BURST):
        throttle.wrong(A)
    assert refused(throttle, A) == REFILL_SECONDS


def test_wrong_logins_are_forgotten_after_the_refill_time() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    for _ in range(BURST):
        throttle.wrong(A)
    clock.now += BURST * REFILL_SECONDS
    assert throttle.wrong(A) == FIRST_DELAY


def test_h4_the_networks_of_one_group_share_a_larger_bucket() -> None:
    """It is larger so that no single network exhausts it for the others."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    site = [Owner("2001:db8::/48", f"2001:db8:0:{number:x}::/64") for number in range(BURST * GROUP_FACTOR + 1)]
    for _ in range(BURST):
        throttle.wrong(site[0])
    assert refused(throttle, site[0]) == REFILL_SECONDS
    assert refused(throttle, site[1]) == 0
    for owner in site[: BURST * (GROUP_FACTOR - 1)]:
        assert refused(throttle, site[-1]) == 0
        throttle.wrong(owner)
    assert refused(throttle, site[-1]) == 2
    assert refused(throttle, Owner("2001:db8:1::/48", site[-1].name)) == 0
    clock.now += REFILL_SECONDS / GROUP_FACTOR
    assert refused(throttle, site[-1]) == 0


def test_wrong_logins_are_counted_over_all_workers() -> None:
    throttle = LoginThrottle()

    def guess() -> bool:
        for _ in range(BURST):
            throttle.wrong(A)
        return True

    assert in_a_child(guess)
    assert refused(throttle, A)
    assert not refused(throttle, B)


def test_the_memory_of_the_throttle_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The throttle forgets the fullest bucket first."""
    monkeypatch.setattr(under_test, "MAX_NETWORKS", WAYS)
    throttle = LoginThrottle(Clock())
    owners = [Owner(str(number), str(number)) for number in range(WAYS + 1)]
    throttle.wrong(owners[0])
    for owner in owners[1:]:
        for _ in range(BURST):
            throttle.wrong(owner)
    assert [refused(throttle, owner) > 0 for owner in owners] == [False] + [True] * WAYS
    assert throttle.wrong(owners[0]) == FIRST_DELAY
