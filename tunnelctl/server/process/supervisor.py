"""Several processes behind one address: each has its own listener, and the kernel distributes the connections (SO_REUSEPORT).

The first process, the supervisor, only watches over the workers: it starts them, passes signals on, and replaces one that dies. Its
one thread must never wait for anything but a signal: files are read in another thread.

The supervisor keeps each address for its lifetime. A socket that is bound but does not listen keeps other programs from taking it.
When all workers have died, the supervisor itself listens until the next worker takes that listener over: clients wait in its queue
instead of being refused.
"""

from __future__ import annotations

import os
import signal
import socket
import warnings
from _thread import start_new_thread
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic

from tunnelctl import events
from tunnelctl.errors import ListenError
from tunnelctl.events import Trace, explained
from tunnelctl.server.access.limits import SharedCaps
from tunnelctl.server.events import Listening
from tunnelctl.server.observe.metrics import RESTARTS, SharedCounters
from tunnelctl.server.process.shared_counters import LockTimeoutError
from tunnelctl.server.process.signals import BlockedSignals
from tunnelctl.status import ExitStatus
from tunnelctl.stream.accept import STOP, close_listeners
from tunnelctl.stream.events import Stopped
from tunnelctl.stream.listen import ListenAddress, listen, reserve
from tunnelctl.stream.reloadable import READ_SECONDS, FileReload
from tunnelctl.stream.service_manager import notify, reloading, watchdog_seconds

# The pause before a worker is replaced, in seconds, doubled for each other that died within the window. If they die again and
# again, another one would not survive either, and the supervisor stops: whatever started it may know better.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
CRASH_WINDOW, MOST_CRASHES = 60.0, 10

FORGET_SECONDS = 1.0  # between two attempts to remove the counts of a worker that has ended

RELOAD = (signal.SIGHUP,)

# Does a process's share of the work, with its listeners and its number; returns the exit status.
Work = Callable[[list[socket.socket], int], int]


class Supervisor:
    """Keeps a number of workers running until a signal stops them."""

    def __init__(
        self,
        listeners: list[socket.socket],
        bound: list[ListenAddress],
        keepalive: float,
        work: Work,
        counters: SharedCounters,
        trace: Trace,
        files: FileReload | None,
        environ: Mapping[str, str],
        caps: SharedCaps | None = None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        """
        counters: a row for each worker
        files: the files that this process reads again on SIGHUP, for later workers; None if the signal keeps its usual meaning
        environ: names the service manager, if there is one
        caps: the counts of all workers, if there are caps
        leave: called once the workers no longer accept
        """
        self._listeners, self._bound, self._keepalive = listeners, bound, keepalive
        self._work, self._counters, self._trace, self._files, self._environ = work, counters, trace, files, environ
        self._caps, self._leave = caps, leave
        self._kept: list[socket.socket] = []  # each reserves an address at which every worker has its own listener
        self._read_until = inf  # when reading the files counts as late; inf: nothing is being read
        self._read_once_more = False
        self._workers: dict[int, int] = {}  # worker numbers, by pid
        self._due: dict[int, float] = {}  # when to start a replacement, by worker number
        self._crashes: list[float] = []  # their times, within the window
        self._asked: list[int] = []  # the stop signals received so far
        self._still_counted: set[int] = set()  # numbers of workers that have ended, but whose counts remain
        self._worst = 0
        self._watchdog = watchdog_seconds(environ)
        # A signal that was ignored when we were started stays ignored: nohup, and a shell's `&`, shield a process that way.
        heeded = (number for number in (*STOP, *RELOAD) if signal.getsignal(number) is not signal.SIG_IGN)
        # SIGCHLD needs a handler: with the default action, macOS and the BSDs drop it, blocked or not; ignored, it would discard
        # exit statuses.
        self._signals = BlockedSignals(signal.SIGCHLD, *heeded)

    def run(self) -> int:
        """Runs the workers until the end; returns the gravest of their exit statuses, or that of SIGHUP.

        Waits for signals, which stay blocked: nothing interrupts this code.
        """
        with self._signals:  # repeated signals are dropped at the end: there is no worker left
            self._kept = [reserve(address) for address in self._bound if not address.shared]
            for number in range(len(self._counters.rows)):
                self._start(number)
            for address in self._bound:
                self._trace(Listening(str(address)))
            notify(f"READY=1\nSTATUS=serving {', '.join(map(str, self._bound))}", self._environ)
            while self._workers or (self._due and not self._asked):
                self._turn()
        self._trace(Stopped())
        return self._worst or (128 + signal.SIGHUP if self._asked[:1] == [signal.SIGHUP] else 0)

    def _turn(self) -> None:
        """Waits for a signal, or until something is due, and acts on it."""
        due = min(self._replacements().values(), default=inf) if self._read_until == inf else self._read_until
        wait = due - monotonic()
        if self._watchdog:
            wait = min(wait, self._watchdog / 2)
        if self._still_counted:
            wait = min(wait, FORGET_SECONDS)
        if (arrived := self._signals.wait(max(wait, 0.0))) is not None:
            self._signalled(arrived)
        if self._watchdog:
            self._kill_the_stuck()
            notify("WATCHDOG=1", self._environ)
        if self._read_until <= monotonic():
            self._reading_ended(late=True)
        self._forget_counts()
        if self._read_until == inf and not self._asked:  # a child forked while a thread reads may inherit a held lock
            for number in [number for number, when in self._replacements().items() if when <= monotonic()]:
                del self._due[number]
                self._counters.rows[number][RESTARTS] += 1
                self._start(number)

    def _replacements(self) -> dict[int, float]:
        """Returns when replacements are due, except those whose predecessor's counts remain."""
        return {number: when for number, when in self._due.items() if number not in self._still_counted}

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
            if self._read_until != inf and self._files and not self._files.busy:
                self._reading_ended()
        elif number in RELOAD and self._files is not None:
            self._pass_on(number)  # each worker reads them itself
            self._read_again(self._files)
        else:
            self._stop(number)

    def _read_again(self, files: FileReload) -> None:
        """Reads the files in a thread, which sends SIGCHLD when it is done, to wake this one.

        Any number of signals meanwhile cause just one more reading.
        """
        self._read_once_more = self._read_until != inf
        if self._read_once_more or not files.begin():
            return
        notify(reloading(), self._environ)
        try:
            start_new_thread(_read, (files,))
        except RuntimeError:
            files.give_up("the system grants no further thread")
            notify("READY=1", self._environ)
        else:
            self._read_until = monotonic() + READ_SECONDS

    def _reading_ended(self, late: bool = False) -> None:
        """Ends the wait for the thread, which is done or late."""
        self._read_until = inf
        assert self._files is not None
        if late:
            self._files.warn_late()
        notify("READY=1", self._environ)
        if self._read_once_more:
            self._read_again(self._files)

    def _stop(self, number: int) -> None:
        self._asked.append(number)
        notify("STOPPING=1\nSTATUS=draining", self._environ)
        self._pass_on(number)
        # Otherwise, while they drain, a unix socket would stay open here, and no successor could bind the ports.
        close_listeners(self._bound, self._listeners)
        for keeper in self._kept:
            keeper.close()
        self._leave()

    def _pass_on(self, number: int) -> None:
        for pid in self._workers:  # each is a child not yet reaped: its pid is still its own
            os.kill(pid, number)

    def _own_listeners(self) -> list[socket.socket]:
        """Returns listeners for one worker: those open in the supervisor, and new ones at the addresses of those that are not."""
        return [
            listener if listener.fileno() >= 0 else listen(address, self._keepalive, share=True)
            for address, listener in zip(self._bound, self._listeners, strict=True)
        ]

    def _let_go(self) -> None:
        """Closes listeners that a worker has now. Nothing accepts on them here, yet the kernel would give them connections."""
        for address, listener in zip(self._bound, self._listeners, strict=True):
            if not address.shared:
                listener.close()

    def _listen_meanwhile(self) -> None:
        """Listens in place of the workers, which have all died: clients wait until the next worker takes these listeners."""
        try:
            self._listeners = self._own_listeners()
        except ListenError as error:
            self._trace(explained(events.Warning(""), error))

    def _start(self, number: int) -> None:
        """Forks one worker, which takes the listeners that are open here, or opens its own. The child never returns."""
        self._counters.heartbeat(number)
        pid = _fork()
        if pid:
            self._workers[pid] = number
            self._let_go()
            return
        status = int(ExitStatus.FAULT)
        try:
            self._signals.leave()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # The signals stay blocked until the worker is ready for them: none is lost, and none kills it before that.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD, *([] if self._files else RELOAD)])
            for keeper in self._kept:
                keeper.close()
            status = self._work(self._own_listeners(), number)
        except Exception as fault:
            self._trace(events.Warning(f"fault in a worker: {type(fault).__name__}: {fault}"))
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
        if self._caps is not None:
            self._still_counted.add(number)
        # A stop signal ended it: either before it was ready for signals, or because that signal ends it at once.
        if -status in self._asked or (status == 128 + signal.SIGHUP and signal.SIGHUP in self._asked):
            status = 0
        if status and not self._asked:
            self._crashed(pid, number, status)
        else:
            self._worst = max(self._worst, _grave(status))

    def _forget_counts(self) -> None:
        """Removes the counts of workers that have ended. If another worker holds the lock, a later turn tries again. Until then the
        ended worker is not replaced, because its counts are under its number."""
        while self._still_counted and self._caps is not None:
            number = min(self._still_counted)
            try:
                self._caps.forget(number)
            except LockTimeoutError:
                return
            self._still_counted.remove(number)

    def _crashed(self, pid: int, number: int, status: int) -> None:
        now = monotonic()
        self._crashes = [*(when for when in self._crashes if now - when < CRASH_WINDOW), now]
        what = f"worker {pid} ended with status {status}"
        if len(self._crashes) > MOST_CRASHES:
            self._trace(events.Warning(f"{what}, as {MOST_CRASHES} others have in the last minute: stopping"))
            self._worst = _grave(status)
            self._stop(signal.SIGTERM)
            return
        pause = min(FIRST_PAUSE * 2 ** (len(self._crashes) - 1), LONGEST_PAUSE)
        self._due[number] = now + pause
        if not self._workers:
            self._listen_meanwhile()
        self._trace(events.Warning(f"{what}: another takes its place in {pause:.1f} s"))

    def _kill_the_stuck(self) -> None:
        """Kills each worker whose loop has not turned for the time of our own watchdog: it serves nobody."""
        for pid, number in self._workers.items():
            if self._counters.silence(number) > self._watchdog:
                self._trace(events.Warning(f"worker {pid} hangs: killing it"))
                os.kill(pid, signal.SIGKILL)


def _read(files: FileReload) -> None:
    """Reads the files in a thread of the supervisor, then sends SIGCHLD."""
    try:
        files.run()
    finally:
        os.kill(os.getpid(), signal.SIGCHLD)


def _fork() -> int:
    with warnings.catch_warnings():
        # From Python 3.12 on, fork warns if there is another thread. There is one only if it hangs in the kernel, reading a file.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _grave(status: int) -> int:
    return status if status >= 0 else int(ExitStatus.FAULT)
