"""The counts and the caps."""

import pytest

from tunnelctl.server.limits import Caps


def test_zero_is_off() -> None:
    caps = Caps(0, 0)
    assert all(caps.take("a") for _ in range(1000))
    assert caps.tunnels == 1000


def test_all_tunnels_count_together() -> None:
    caps = Caps(2, 0)
    assert [caps.take(client) for client in "abc"] == [True, True, False]
    caps.release("a")
    assert caps.take("c")
    assert not caps.take("a")


def test_each_client_has_its_own_count() -> None:
    caps = Caps(0, 2)
    assert [caps.take(client) for client in "aabab"] == [True, True, True, False, True]
    caps.release("a")
    assert caps.take("a")


def test_what_is_refused_is_not_counted() -> None:
    caps = Caps(1, 1)
    assert caps.take("a")
    for _ in range(3):
        assert not caps.take("a")
        assert not caps.take("b")
    caps.release("a")
    assert caps.tunnels == 0
    assert caps.take("b")


@pytest.mark.parametrize("cap", [(10, 0), (0, 10)])
def test_clients_that_have_gone_take_no_memory(cap: tuple[int, int]) -> None:
    """There are 2^128 addresses to come from."""
    caps = Caps(*cap)
    for number in range(1000):
        assert caps.take(f"client {number}")
        caps.release(f"client {number}")
    assert caps._by_client == {}
