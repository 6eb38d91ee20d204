"""Several processes behind one address: each has a listener of its own, and the kernel deals out the connections (SO_REUSEPORT).

The first process only watches over them: it starts them, passes signals on, and puts another in the place of one that dies.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic

from tunnelctl.server.metrics import RESTARTS, Board
from tunnelctl.status import ExitStatus
from tunnelctl.stream.accept import STOP, close_listeners
from tunnelctl.stream.listen import ListenAddress, listen
from tunnelctl.stream.systemd import notify, reloading, watchdog_seconds
from tunnelctl.trace import Trace

# The pause before a worker is replaced, in seconds, and doubled for each other that died within the window. What kills them again
# and again is nothing that another one would survive: whatever started us may know better.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
CRASH_WINDOW, MOST_CRASHES = 60.0, 10

RELOAD = (signal.SIGHUP,)

# Starts a process's share of the work, with its listeners and its number; the exit status.
Work = Callable[[list[socket.socket], int], int]


class Supervisor:
    """Keeps a number of workers running until a signal stops them."""

    def __init__(
        self,
        listeners: list[socket.socket],
        bound: list[ListenAddress],
        keepalive: float,
        work: Work,
        board: Board,
        trace: Trace,
        reload: Callable[[], None] | None,
        environ: Mapping[str, str],
    ) -> None:
        """
        board: a row for each worker
        reload: what this process does at SIGHUP, before it passes that on; None if the signal keeps its usual meaning
        environ: where a service manager may be
        """
        self._listeners, self._bound, self._keepalive = listeners, bound, keepalive
        self._work, self._board, self._trace, self._reload, self._environ = work, board, trace, reload, environ
        self._workers: dict[int, int] = {}  # the number of each, by pid
        self._due: dict[int, float] = {}  # when to start another, by number
        self._crashes: list[float] = []  # when, within the window
        self._asked: list[int] = []  # the signals that have told us to stop
        self._worst = 0
        self._watchdog = watchdog_seconds(environ)
        # One that was ignored when we were started stays so: that is how nohup, and a shell's `&`, shield a process.
        stopping = (*STOP, *RELOAD)
        self._signals = {signal.SIGCHLD, *(number for number in stopping if signal.getsignal(number) is not signal.SIG_IGN)}

    def run(self) -> int:
        """The gravest of their statuses, in the end, or that of SIGHUP.

        Signals are waited for, never handled: nothing interrupts what we do.
        """
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as it may be inherited, it would keep their statuses from us
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        # The first takes the listeners that are there, which keeps their ports ours while the others open their own.
        self._start(0, lambda: self._listeners)
        for number in range(1, len(self._board.rows)):
            self._start(number, self._siblings)
        for listener, address in zip(self._listeners, self._bound, strict=True):
            if not address.shared:  # nobody accepts on it here, yet it would be dealt its share
                listener.close()
        for address in self._bound:
            self._trace("listening", address=str(address))
        notify(f"READY=1\nSTATUS=serving {', '.join(map(str, self._bound))}", self._environ)
        while self._workers or (self._due and not self._asked):
            self._turn()
        while signal.sigtimedwait(self._signals, 0) is not None:  # told once more, with nobody left to tell
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)
        self._trace("stopped")
        return self._worst or (128 + signal.SIGHUP if self._asked[:1] == [signal.SIGHUP] else 0)

    def _turn(self) -> None:
        """Waits for a signal, or for something to be due."""
        wait = min((when - monotonic() for when in self._due.values()), default=inf)
        if self._watchdog:
            wait = min(wait, self._watchdog / 2)
        if wait == inf:
            self._signalled(signal.sigwaitinfo(self._signals).si_signo)
        elif (arrived := signal.sigtimedwait(self._signals, max(wait, 0.0))) is not None:
            self._signalled(arrived.si_signo)
        if self._watchdog:
            self._kill_the_stuck()
            notify("WATCHDOG=1", self._environ)
        for number in [number for number, when in self._due.items() if when <= monotonic() and not self._asked]:
            del self._due[number]
            self._board.rows[number][RESTARTS] += 1
            self._start(number, self._siblings)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number in RELOAD and self._reload is not None:
            notify(reloading(), self._environ)
            self._reload()
            self._pass_on(number)
            notify("READY=1", self._environ)
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        self._asked.append(number)
        notify("STOPPING=1\nSTATUS=draining", self._environ)
        self._pass_on(number)
        close_listeners(self._bound, self._listeners)  # a unix socket would stay open here while they drain

    def _pass_on(self, number: int) -> None:
        for pid in self._workers:  # each is a child that was not waited for: its number is still its own
            os.kill(pid, number)

    def _siblings(self) -> list[socket.socket]:
        """Listeners at the same addresses. Some can be had only once, and are shared."""
        mine = []
        for address, listener in zip(self._bound, self._listeners, strict=True):
            if address.shared:
                mine.append(listener)
            else:
                listener.close()
                mine.append(listen(address, self._keepalive, share=True))
        return mine

    def _start(self, number: int, make: Callable[[], list[socket.socket]]) -> None:
        """Forks one worker. The child never returns."""
        self._board.beat(number)
        pid = os.fork()
        if pid:
            self._workers[pid] = number
            return
        status = int(ExitStatus.FAULT)
        try:
            # The signals stay blocked until it listens to them: none is lost, and none kills it before that.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD, *([] if self._reload else RELOAD)])
            status = self._work(make(), number)
        except Exception as fault:
            self._trace("warning", text=f"fault in a worker: {type(fault).__name__}: {fault}")
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self._workers:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid in self._workers:
                self._ended(pid, self._workers.pop(pid), os.waitstatus_to_exitcode(wait_status))

    def _ended(self, pid: int, number: int, status: int) -> None:
        # It was told to stop: before it had got as far as listening to signals, or by one that ends it at once.
        if -status in self._asked or (status == 128 + signal.SIGHUP and signal.SIGHUP in self._asked):
            status = 0
        if status and not self._asked:
            self._crashed(pid, number, status)
        else:
            self._worst = max(self._worst, _grave(status))

    def _crashed(self, pid: int, number: int, status: int) -> None:
        now = monotonic()
        self._crashes = [*(when for when in self._crashes if now - when < CRASH_WINDOW), now]
        what = f"worker {pid} ended with status {status}"
        if len(self._crashes) > MOST_CRASHES:
            self._trace("warning", text=f"{what}, as {MOST_CRASHES} others have in the last minute: stopping")
            self._worst = _grave(status)
            self._stop(signal.SIGTERM)
            return
        pause = min(FIRST_PAUSE * 2 ** (len(self._crashes) - 1), LONGEST_PAUSE)
        self._due[number] = now + pause
        self._trace("warning", text=f"{what}: another takes its place in {pause:.1f} s")

    def _kill_the_stuck(self) -> None:
        """One whose loop has not turned for the time that our own watchdog gives us serves nobody."""
        for pid, number in self._workers.items():
            if self._board.silence(number) > self._watchdog:
                self._trace("warning", text=f"worker {pid} hangs: it is killed")
                os.kill(pid, signal.SIGKILL)


def _grave(status: int) -> int:
    return status if status >= 0 else int(ExitStatus.FAULT)
