"""Counts shared by several processes: equal to those of a dictionary, whatever is added and removed in any order."""

import os
import signal
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.process import wait_until
from tests.server.harness import SECONDS
from tests.server.process.sharing import held, in_a_child
from tunnelctl.server.process import shared_counters as shared
from tunnelctl.server.process.shared_counters import WAYS, LockTimeoutError, SharedLock, SharedTable, SharedTimes, key_of

SLOTS = 16
# Few keys, many of which hash to the same slots, also at the end of the table, so that gaps are closed across the wrap.
KEYS = st.sampled_from([1, 2, 14, 15, 17, 18, 30, 31, 33, 47, 63, 1 << 63 | 15])
STEPS = st.lists(st.tuples(st.sampled_from("arrc"), KEYS, st.integers(0, 2)), max_size=60)


@settings(max_examples=300)
@given(STEPS, st.integers(1, 4))
def test_property_a_table_counts_as_a_dictionary_does(steps: list[tuple[str, int, int]], most: int) -> None:
    table, model = SharedTable(SLOTS, 3), Counter[tuple[int, int]]()
    for step, key, column in steps:
        total = sum(model[key, other] for other in range(3))
        if step == "a":
            full = len({key for key, _ in +model}) >= SLOTS // 2 and not total
            assert table.add(key, column, most) == (total < most and not full)
            model[key, column] += total < most and not full
        elif step == "r":
            table.remove(key, column)
            model[key, column] -= model[key, column] > 0
        else:
            table.clear_column(column)
            model = Counter({place: count for place, count in model.items() if place[1] != column})
        for known in (1, 2, 14, 15, 17, 18, 30, 31, 33, 47, 63, 1 << 63 | 15):
            assert table.count(known) == sum(model[known, other] for other in range(3))
        assert table.full == (len({key for key, _ in +model}) >= SLOTS // 2)


def test_clear_removes_everything() -> None:
    table = SharedTable(SLOTS, 2)
    for key in range(1, 9):
        assert table.add(key, key % 2, 1)
    assert table.full
    table.clear()
    assert not table.full
    assert all(table.add(key, 0, 1) for key in range(1, 9))


def test_a_key_is_equal_in_a_forked_process_and_never_zero() -> None:
    key = key_of("client", "192.0.2.0/24")
    assert 0 < key < 1 << 64
    assert key != key_of("user", "192.0.2.0/24")
    assert in_a_child(lambda: key_of("client", "192.0.2.0/24") == key)


@pytest.fixture(params=["in memory", "on disk"])
def lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SharedLock:
    """A lock; for half of the tests, without Linux's files in memory."""
    if request.param == "on disk":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return SharedLock()


def test_a_process_sees_the_counts_of_another(lock: SharedLock) -> None:
    table = SharedTable(SLOTS, 2)

    def other() -> bool:
        with lock.hold():
            return table.add(7, 1, 2) and not table.add(7, 1, 2)

    with lock.hold():
        assert table.add(7, 0, 2)
    assert in_a_child(other)
    with lock.hold():
        assert table.count(7) == 2
        table.clear_column(1)
        assert table.count(7) == 1


def test_concurrent_counts_of_several_processes_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processes add and remove as fast as they can, and the count never exceeds the cap."""
    monkeypatch.setattr(shared, "LOCK_SECONDS", 20.0)
    table, lock = SharedTable(1 << 10, 4), SharedLock()

    def work(column: int) -> None:
        for _ in range(2000):
            with lock.hold():
                added = table.add(5, column, 3)
                assert table.count(5) <= 3
            if added:
                with lock.hold():
                    table.remove(5, column)

    children = []
    for column in range(4):
        pid = os.fork()
        if not pid:
            status = 1
            with suppress(BaseException):
                work(column)
                status = 0
            os._exit(status)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    assert table.count(5) == 0


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_process_stopped_with_the_lock_delays_others_only_briefly(number: signal.Signals, lock: SharedLock) -> None:
    """One that is killed no longer holds it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        with suppress(BaseException), lock.hold():
            os.write(writer, b"x")
            signal.pause()
        os._exit(1)
    try:
        assert os.read(reader, 1) == b"x"
        os.kill(pid, number)
        if number == signal.SIGSTOP:
            with pytest.raises(LockTimeoutError), lock.hold():
                pass
        else:
            wait_until(
                lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None,
                SECONDS,
                "the end of the process",
            )
            with lock.hold():
                pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


def test_times_are_shared_and_the_earliest_is_evicted() -> None:
    times = SharedTimes(4 * WAYS)
    keys = [number * 4 * WAYS + 1 for number in range(WAYS + 1)]  # all of them hash to the same places
    for when, key in enumerate(keys[:-1], 1):
        times.set(key, when)
    times.set(keys[0], 99.0)
    assert [times.get(key) for key in keys] == [99.0, *range(2, WAYS + 1), 0.0]

    def other() -> bool:
        times.set(keys[-1], 50.0)
        return times.get(keys[0]) == 99.0

    assert in_a_child(other)
    assert [times.get(key) for key in keys] == [99.0, 0.0, *range(3, WAYS + 1), 50.0]
    times.set(WAYS + 1, 5.0)  # this key has other places
    assert times.get(keys[0]) == 99.0


def test_after_a_lock_timeout_the_next_waits_are_skipped_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that waits at each step for a stopped process serves nobody."""
    lock, waits = SharedLock(), list[float]()
    monkeypatch.setattr(shared, "sleep", waits.append)
    with held(lock):
        for _ in range(2):
            with pytest.raises(LockTimeoutError), lock.hold():
                pass
            assert waits
            waits.clear()
            for _ in range(3):
                with pytest.raises(LockTimeoutError), lock.hold():
                    pass
            assert not waits
            lock._impatient_until = 0.0  # the period is over
    with lock.hold():
        pass
