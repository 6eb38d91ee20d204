"""Accepting: the loop over listeners, and the orderly end of what it let in. `serve` and `forward` both live in it."""

import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from math import inf

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import CancelScope, Nursery, checkpoint, current_time, move_on_after, sleep
from tunnelctl.engine.outside import SignalReceiver, open_signal_receiver
from tunnelctl.engine.resolver import with_port
from tunnelctl.engine.sync import Event
from tunnelctl.status import ExitStatus
from tunnelctl.stream.listen import ListenAddress, close_listener, plain
from tunnelctl.trace import Trace

STOP = (signal.SIGTERM, signal.SIGINT)
HANGUP = signal.SIGHUP  # the terminal has gone: the end as well, at once, unless it is how files are read again

ACCEPTS_A_TURN = 64  # a flood of new clients must not starve those who are served

# Seconds without accepting when descriptors have run out. The kernel keeps new clients in the backlog meanwhile; accepting at once
# again would only spin.
EXHAUSTED_PAUSE = 0.1
SAID_AGAIN = 60.0  # seconds: at the limit, each client that leaves lets one in, and the next accept fails again

_LIMITS = frozenset({ENFILE, EMFILE, ENOBUFS, ENOMEM})

# What serves one accepted socket: called with the socket, the client's address (for caps), and address and port (for people).
Serve = Callable[[socket.SocketType, str, str], Coroutine[None, None, None]]


class Crowd:
    """How many are inside: a session enters and leaves."""

    def __init__(self) -> None:
        self.sessions = 0
        self.empty = Event()  # set when the last session has left while `draining`
        self.draining = False

    def enter(self) -> None:
        """Counts one more session."""
        self.sessions += 1

    def leave(self) -> None:
        """Takes one back; `empty` is set when none is left."""
        self.sessions -= 1
        if not self.sessions and self.draining:
            self.empty.set()


class Acceptor:
    """Lets clients in until a signal says stop, and then lets those inside finish."""

    def __init__(self, crowd: Crowd, drain: float, trace: Trace, echo: float = 0.0) -> None:
        """
        drain: seconds that those inside are given; a second signal ends that
        echo: seconds in which a further signal counts as the same one
        """
        self._crowd, self._drain, self._trace, self._echo = crowd, drain, trace, echo
        self._sessions: Nursery = None  # type: ignore[assignment]
        self._said_exhausted = -inf  # when

    async def run(
        self,
        doors: list[tuple[socket.socket, Serve]],
        ready: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
    ) -> int:
        """Serves each listener in its way until told to stop; the exit status.

        ready: called when signals are listened to; leave: called when nobody is let in any more, before that is closed
        """
        numbers = (*STOP, HANGUP) if signal.getsignal(HANGUP) is signal.SIG_DFL else STOP
        with open_signal_receiver(*numbers) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # a worker starts with them blocked
            ready()
            async with Nursery() as self._sessions:
                status = await self._serve(doors, signals, leave)
                self._sessions.cancel_scope.cancel()
        return status

    async def during(self, doors: list[tuple[socket.socket, Serve]], work: Callable[[], Awaitable[int]]) -> int:
        """Serves each listener for as long as `work` takes; what that returns."""
        async with Nursery() as self._sessions:
            for listener, serve in doors:
                self._sessions.start_soon(self._accept, listener, serve)
            status = await work()
            self._sessions.cancel_scope.cancel()
        return status

    async def _serve(self, doors: list[tuple[socket.socket, Serve]], signals: SignalReceiver, leave: Callable[[], None]) -> int:
        async with Nursery() as accepting:
            for listener, serve in doors:
                accepting.start_soon(self._accept, listener, serve)
            number = await anext(signals)
            accepting.cancel_scope.cancel()
        leave()
        for listener, _ in doors:
            listener.close()  # from now on others may have the port, and clients are refused instead of kept waiting
        return 128 + number if number == HANGUP else await self._drained(signals)

    async def _drained(self, signals: SignalReceiver) -> int:
        """Lets sessions finish, for as long as `drain` says; a second signal ends that. The exit status."""
        crowd = self._crowd
        if not crowd.sessions:
            return ExitStatus.OK
        crowd.draining = True
        self._trace("drain", tunnels=crowd.sessions, seconds=self._drain)
        stopped = 0
        begun = current_time()

        async def listen(scope: CancelScope) -> None:
            nonlocal stopped
            stopped = await anext(signals)
            while current_time() - begun < self._echo:
                stopped = 0
                stopped = await anext(signals)
            scope.cancel()

        async with Nursery() as waiting:
            waiting.start_soon(listen, waiting.cancel_scope)
            with move_on_after(self._drain):
                await crowd.empty.wait()
            waiting.cancel_scope.cancel()
        return 128 + stopped if stopped else ExitStatus.OK

    async def _accept(self, listener: socket.socket, serve: Serve) -> None:
        """Accepts for ever."""
        descriptor = Descriptor(listener.fileno())
        family, kind, unix = int(listener.family), int(listener.type), listener.family == socket.AF_UNIX
        try:
            while True:
                await descriptor.wait_readable()
                for _ in range(ACCEPTS_A_TURN):
                    try:
                        # accept() itself makes an AddressFamily and a SocketKind of two integers for each socket, which costs
                        # more than the system call; what it wraps has been there under this name since Python 3.0.
                        fd, peer = listener._accept()  # type: ignore[attr-defined]
                    except BlockingIOError:
                        descriptor.readable = False
                        break
                    except OSError as error:
                        await self._accept_failed(error)
                        break
                    self._start(serve, socket.SocketType(family, kind, 0, fd), ("unix", 0) if unix else peer)
                await checkpoint()
        finally:
            descriptor.forget(shared=True)

    async def _accept_failed(self, error: OSError) -> None:
        """Most errors are those of one connection that broke in the queue. The others mean that this process is at a limit."""
        if error.errno not in _LIMITS:
            return
        if current_time() - self._said_exhausted > SAID_AGAIN:
            self._said_exhausted = current_time()
            self._trace("warning", text=f"no new connections: {error.strerror}; {self._crowd.sessions} are open, and go on")
        await sleep(EXHAUSTED_PAUSE)

    def _start(self, serve: Serve, accepted: socket.SocketType, peer: tuple[str, int]) -> None:
        accepted.setblocking(False)
        host, port = plain(peer[0]), peer[1]
        self._sessions.start_soon(serve, accepted, host, with_port(host, port))


def raise_descriptor_limit() -> None:
    """As high as we may: a tunnel takes two, and the usual soft limit of 1024 is for programs that call select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass


def close_listeners(bound: list[ListenAddress], listeners: list[socket.socket]) -> None:
    """Closes them, and removes the files of those that have one."""
    for address, listener in zip(bound, listeners, strict=True):
        close_listener(address, listener)
