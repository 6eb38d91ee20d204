"""Token buckets, by the clock."""

from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.http2.budget import Bucket, Budgets


def taken(bucket: Bucket, now: float, at_most: int = 100_000) -> int:
    """Takes all that there is."""
    return next(count for count in range(at_most) if not bucket.take(now))


def test_a_bucket_holds_a_burst_and_is_refilled_by_its_rate():
    bucket = Bucket(10, 2, 100.0)
    assert taken(bucket, 100.0) == 10
    assert not bucket.take(100.4)
    assert bucket.take(100.5)
    assert not bucket.take(100.9)
    assert taken(bucket, 103.0) == 5


def test_a_pause_fills_it_once_and_no_more():
    bucket = Bucket(10, 2, 0.0)
    assert taken(bucket, 0.0) == 10
    assert taken(bucket, 1e9) == 10
    assert not bucket.take(1e9)


def test_asking_an_empty_bucket_often_delays_nothing():
    bucket = Bucket(1, 1, 0.0)
    assert bucket.take(0.0)
    assert sum(bucket.take(step / 1000) for step in range(1, 5001)) in (4, 5)


@bounded
@given(st.integers(1, 50), st.floats(0.1, 100), st.lists(st.floats(0, 10), max_size=200))
def test_no_more_is_taken_than_the_burst_and_the_rate_allow(burst, rate, pauses):
    """As it is refilled only when it is empty, a burst that was saved and a second one may follow each other, but never a third."""
    bucket, now, times = Bucket(burst, rate, 0.0), 0.0, []
    for pause in pauses:
        now += pause
        if bucket.take(now):
            times.append(now)
        assert len(times) <= burst + rate * now + 1e-6
    for place, begin in enumerate(times):
        for count, end in enumerate(times[place:], 1):
            assert count <= 2 * burst + rate * (end - begin) + 1e-6


def test_the_budgets_of_a_connection_are_independent():
    budgets = Budgets(5.0)
    sizes = {name: taken(getattr(budgets, name), 5.0, 200_000) for name in Budgets.__slots__}
    assert sizes == {"empty": 1000, "errors": 100, "glitches": 10_000, "resets": 1000, "tiny": 100_000}
    refilled = {name: taken(getattr(budgets, name), 6.0, 200_000) for name in Budgets.__slots__}
    assert refilled == {"empty": 33, "errors": 3, "glitches": 330, "resets": 33, "tiny": 20_000}
