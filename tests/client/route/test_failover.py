"""Tests the memory of failed proxies."""

from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.client.route.failover import SECONDS, DeadProxies


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_without_a_failure_the_order_is_unchanged() -> None:
    assert DeadProxies[str](Clock()).order("abc") == ["a", "b", "c"]


def test_a_failed_proxy_comes_last_for_five_minutes() -> None:
    clock = Clock()
    dead = DeadProxies[str](clock)
    dead.failed("a")
    assert dead.order("abc") == ["b", "c", "a"]
    clock.now += SECONDS - 1
    assert SECONDS == 300
    assert dead.order("abc") == ["b", "c", "a"]
    clock.now += 1
    assert dead.order("abc") == ["a", "b", "c"]


def test_if_all_proxies_failed_the_order_is_unchanged() -> None:
    clock = Clock()
    dead = DeadProxies[str](clock)
    for choice in "bca":
        dead.failed(choice)
        clock.now += 1
    assert dead.order("abc") == ["a", "b", "c"]


def test_another_failure_restarts_the_five_minutes() -> None:
    clock = Clock()
    dead = DeadProxies[str](clock)
    dead.failed("a")
    clock.now += SECONDS / 2
    dead.failed("a")
    clock.now += SECONDS / 2
    assert dead.order("ab") == ["b", "a"]


def test_a_proxy_that_works_again_returns_to_its_position() -> None:
    dead = DeadProxies[str](Clock())
    dead.failed("a")
    dead.worked("a")
    dead.worked("b")
    assert dead.order("ab") == ["a", "b"]


def test_expired_entries_are_removed_from_memory() -> None:
    clock = Clock()
    dead = DeadProxies[int](clock)
    for choice in range(10_000):
        dead.failed(choice)
        clock.now += SECONDS / 10
    assert len(dead._until) <= 10


@bounded
@given(st.lists(st.integers(0, 5), unique=True), st.sets(st.integers(0, 5)))
def test_property_no_proxy_is_lost_and_both_groups_keep_their_order(choices: list[int], failed: set[int]) -> None:
    dead = DeadProxies[int](Clock())
    for choice in failed:
        dead.failed(choice)
    living = [choice for choice in choices if choice not in failed]
    assert dead.order(choices) == living + [choice for choice in choices if choice in failed]
