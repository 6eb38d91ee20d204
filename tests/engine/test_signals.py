"""Signals: they arrive as items of an iterator, and every handler is restored afterwards."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.engine.tools import bounded, settle
from tunnelctl.engine.kernel import CancelScope, Nursery, move_on_after
from tunnelctl.engine.wakeup import SignalReceiver, open_signal_receiver, to_thread

USED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in USED}
    yield
    assert {number: signal.getsignal(number) for number in USED} == handlers
    wakeup = signal.set_wakeup_fd(-1)
    assert wakeup == -1


async def take(receiver: SignalReceiver, count: int) -> list[int]:
    return [await anext(receiver) for _ in range(count)]


def test_a_signal_arrives() -> None:
    async def main() -> None:
        with open_signal_receiver(signal.SIGUSR1) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert await anext(signals) == signal.SIGUSR1

    bounded(main)


def test_a_signal_wakes_a_waiting_task() -> None:
    async def main() -> list[int]:
        got: list[int] = []

        async def listener(signals: SignalReceiver) -> None:
            async for number in signals:
                got.append(number)
                if len(got) == 2:
                    return

        with open_signal_receiver(signal.SIGUSR1, signal.SIGHUP) as signals:
            async with Nursery() as nursery:
                nursery.start_soon(listener, signals)
                await settle()
                os.kill(os.getpid(), signal.SIGHUP)
                await settle()
                os.kill(os.getpid(), signal.SIGUSR1)
        return got

    assert bounded(main) == [signal.SIGHUP, signal.SIGUSR1]


def test_a_signal_ends_an_idle_wait_of_the_loop() -> None:
    async def main() -> None:
        with open_signal_receiver(signal.SIGUSR1) as signals:
            later = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1))
            later.start()
            assert await take(signals, 1) == [signal.SIGUSR1]
            later.join()

    bounded(main)


def test_signals_are_kept_until_they_are_read() -> None:
    async def main() -> None:
        with open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
                os.kill(os.getpid(), number)
                await settle()
            assert await take(signals, 3) == [signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1]
            with move_on_after(0) as scope:
                await anext(signals)
            assert scope.cancelled_caught

    bounded(main)


def test_ctrl_c_raises_no_exception_while_a_receiver_is_open() -> None:
    async def main() -> None:
        with open_signal_receiver(signal.SIGINT) as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert await anext(signals) == signal.SIGINT

    bounded(main)


def test_an_ignored_signal_stays_ignored() -> None:
    async def main() -> None:
        with open_signal_receiver(signal.SIGHUP, signal.SIGUSR1) as signals:
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert await anext(signals) == signal.SIGUSR1

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        bounded(main)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_inner_receiver_takes_over_while_it_is_open() -> None:
    async def main() -> None:
        with open_signal_receiver(signal.SIGUSR1) as outer:
            with open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as inner:
                os.kill(os.getpid(), signal.SIGUSR1)
                assert await anext(inner) == signal.SIGUSR1
            os.kill(os.getpid(), signal.SIGUSR1)
            assert await anext(outer) == signal.SIGUSR1

    bounded(main)


def test_handlers_are_restored_after_an_error_or_cancellation() -> None:
    async def failing() -> None:
        with open_signal_receiver(signal.SIGUSR1):
            raise ValueError("mine")

    async def cancelled() -> None:
        with CancelScope() as scope, open_signal_receiver(signal.SIGUSR1) as signals:
            scope.cancel()
            await anext(signals)

    with pytest.raises(ValueError, match="mine"):
        bounded(failing)
    bounded(cancelled)


def test_a_signal_and_a_thread_share_the_doorbell() -> None:
    async def main() -> None:
        with open_signal_receiver(signal.SIGUSR1) as signals:

            def kill() -> int:
                os.kill(os.getpid(), signal.SIGUSR1)
                return 5

            assert await to_thread(kill) == 5
            assert await anext(signals) == signal.SIGUSR1

    bounded(main)
