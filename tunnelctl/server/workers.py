"""Several processes behind one address: each has a listener of its own, and the kernel deals out the connections (SO_REUSEPORT)."""

import os
import signal
import socket
from collections.abc import Callable

from tunnelctl.status import ExitStatus
from tunnelctl.stream.accept import STOP
from tunnelctl.stream.listen import ListenAddress, listen
from tunnelctl.trace import Trace

RELOAD = (signal.SIGHUP,)


def supervise(
    count: int,
    listeners: list[socket.socket],
    bound: list[ListenAddress],
    keepalive: float,
    work: Callable[[list[socket.socket]], int],
    trace: Trace,
    reload: Callable[[], None] | None = None,
) -> int:
    """Runs `work` in `count` processes and returns the gravest of their statuses. Signals that stop us are passed on.

    reload: what this process does at SIGHUP, before it passes that on; None if the signal keeps its usual meaning

    A worker that dies unasked takes the others with it: what killed it may have left the rest in no better state, and whatever
    started us will start us again.
    """
    handled = STOP if reload is None or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*STOP, *RELOAD)
    signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    # The first takes the listeners that are there, which keeps their ports ours while the others open their own.
    first = [lambda: listeners]
    others = [lambda: _siblings(bound, listeners, keepalive)] * (count - 1)
    workers = {_start(make, work, trace) for make in first + others}
    for listener in listeners:
        listener.close()  # nobody accepts on it here, yet it would be dealt its share, and keep a unix socket open while they drain
    asked: list[int] = []  # the signals that have told us to stop

    def told(number: int, _: object) -> None:
        if number in STOP:
            asked.append(number)
        elif reload is not None:
            reload()
        _pass_on(workers, number)

    for number in handled:
        signal.signal(number, told)
    for address in bound:
        trace("listening", address=str(address))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
    worst = _wait(workers, asked, trace)
    trace("stopped")
    return worst


def _siblings(bound: list[ListenAddress], listeners: list[socket.socket], keepalive: float) -> list[socket.socket]:
    """Listeners at the same addresses. A unix socket can be had only once, and is shared."""
    mine = []
    for address, listener in zip(bound, listeners, strict=True):
        if address.path:
            mine.append(listener)
        else:
            listener.close()
            mine.append(listen(address, keepalive, share=True))
    return mine


def _start(make: Callable[[], list[socket.socket]], work: Callable[[list[socket.socket]], int], trace: Trace) -> int:
    """Forks one worker; its pid. The child never returns."""
    pid = os.fork()
    if pid:
        return pid
    status = int(ExitStatus.FAULT)
    try:
        status = work(make())  # the signals stay blocked until it listens to them: none is lost, and none kills it before that
    except Exception as fault:
        trace("warning", text=f"fault in a worker: {type(fault).__name__}: {fault}")
    finally:
        os._exit(status)


def _pass_on(pids: set[int], number: int) -> None:
    for pid in tuple(pids):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _wait(workers: set[int], asked: list[int], trace: Trace) -> int:
    worst = 0
    while workers:
        pid, wait_status = os.wait()
        workers.discard(pid)
        status = os.waitstatus_to_exitcode(wait_status)
        if -status in asked:  # it was told to stop before it had got as far as listening to signals
            status = 0
        if status and not asked:
            asked.append(signal.SIGTERM)
            trace("warning", text=f"worker {pid} ended with status {status}: stopping the others")
            _pass_on(workers, signal.SIGTERM)
        worst = max(worst, status if status >= 0 else int(ExitStatus.FAULT))
    return worst
