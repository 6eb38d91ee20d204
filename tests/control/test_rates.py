"""The rates of open tunnels between one look and the next."""

from tunnelctl.control.rates import SHORTEST, Rate, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_look_knows_no_rate() -> None:
    assert Rates(Clock()).look({"a": (5, 6)}) == {"a": Rate(None, None, None)}


def test_a_rate_is_what_moved_since_the_last_look() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.look({"a": (0, 10)})
    clock.now += 2
    assert rates.look({"a": (100, 10)}) == {"a": Rate(50.0, 0.0, 0.0)}


def test_idle_counts_from_the_look_that_found_the_last_byte() -> None:
    clock = Clock()
    rates = Rates(clock)
    for moved in ((0, 0), (1, 0), (1, 0), (1, 0)):
        clock.now += 1
        found = rates.look({"a": moved})
    assert found == {"a": Rate(0.0, 0.0, 2.0)}


def test_a_second_look_too_soon_repeats_the_first() -> None:
    """Otherwise two people who look at once would make each other's rates meaningless."""
    clock = Clock()
    rates = Rates(clock)
    rates.look({"a": (0, 0)})
    clock.now += 1
    first = rates.look({"a": (8, 0)})
    clock.now += SHORTEST / 2
    assert rates.look({"a": (999, 0), "new": (1, 1)}) == {**first, "new": Rate()}
    clock.now += SHORTEST
    assert rates.look({"a": (8, 0)})["a"].sent == 0.0


def test_ended_tunnels_are_forgotten() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.look({str(number): (0, 0) for number in range(100)})
    clock.now += 1
    rates.look({"1": (0, 0)})
    assert len(rates._seen) == 1
