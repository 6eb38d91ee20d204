"""The accept loop over listeners, and the orderly end of accepted sessions. Both `serve` and `forward` run in it."""

import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from math import inf

from tunnelctl import events
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import CancelScope, Nursery, checkpoint, current_time, move_on_after, sleep
from tunnelctl.engine.resolver import with_port
from tunnelctl.engine.sync import Event
from tunnelctl.engine.wakeup import SignalReceiver, open_signal_receiver
from tunnelctl.events import Trace
from tunnelctl.status import ExitStatus
from tunnelctl.stream.events import Drain
from tunnelctl.stream.listen import BACKLOG, ListenAddress, close_listener, ignore_new_clients, plain
from tunnelctl.stream.socket_stream import not_inherited, pass_on

STOP = (signal.SIGTERM, signal.SIGINT)
HANGUP = signal.SIGHUP  # the terminal has gone: ends the program too, without drain, unless the signal means to reload files

OPEN_MAX = 10_240  # sys/syslimits.h of macOS: descriptors of a process

ACCEPTS_A_TURN = 64  # a flood of new clients must not starve those being served

# Seconds without accepting when descriptors have run out. The kernel keeps new clients in the backlog meanwhile; an immediate retry
# would only spin.
EXHAUSTED_PAUSE = 0.1
WARN_INTERVAL = 60.0  # seconds between warnings: at the limit, each client that leaves lets one in, and the next accept fails again

_LIMITS = frozenset({ENFILE, EMFILE, ENOBUFS, ENOMEM})

# Serves one accepted socket: called with the socket, the client's address (for caps), and its address and port (for people).
Serve = Callable[[socket.SocketType, str, str], Coroutine[None, None, None]]


class ConnectionCount:
    """The numbers of open connections, and of the tunnels on them: a multiplexed connection carries several, an idle one none."""

    def __init__(self) -> None:
        self.connections = 0
        self.tunnels = 0  # that are open or being opened; the code that serves them counts
        self.accept_failures = 0  # how often a limit of this process or of the system has kept clients waiting
        self.draining = Event()  # set when no further connection is accepted: a multiplexed one accepts no further tunnel
        self.empty = Event()  # set when, while draining, the last connection has left

    def enter(self) -> None:
        """Counts one more connection."""
        self.connections += 1

    def leave(self) -> None:
        """Counts one connection less; while draining, the last one sets `empty`."""
        self.connections -= 1
        if not self.connections and self.draining.is_set():
            self.empty.set()


class Acceptor:
    """Accepts clients until a signal stops it, then lets open sessions finish."""

    def __init__(self, count: ConnectionCount, drain: float, trace: Trace, debounce: float = 0.0) -> None:
        """
        drain: seconds that open sessions may take to finish; a second signal cuts this short
        debounce: seconds within which a further signal counts as the same one
        """
        self._count, self._drain, self._trace, self._debounce = count, drain, trace, debounce
        self._serving: Nursery = None  # type: ignore[assignment]
        self._said_exhausted = -inf  # time of the last warning

    async def run(
        self,
        listeners: list[tuple[socket.socket, Serve]],
        ready: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
        inherited: Collection[socket.socket] = (),
    ) -> int:
        """Serves each listener with its own function until a signal arrives. Returns the exit status.

        ready: called once signals are received; leave: called once accepting has stopped, before the listeners are closed
        inherited: the listeners that other processes may go on using
        """
        numbers = (*STOP, HANGUP) if signal.getsignal(HANGUP) is signal.SIG_DFL else STOP
        with open_signal_receiver(*numbers) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # a worker starts with them blocked
            ready()
            async with Nursery() as self._serving:
                status = await self._serve(listeners, signals, leave, inherited)
                self._serving.cancel_scope.cancel()
        return status

    async def during(self, listeners: Iterable[tuple[socket.socket, Serve]], work: Callable[[], Awaitable[int]]) -> int:
        """Serves each listener while `work` runs, and returns the result of that."""
        async with Nursery() as self._serving:
            for listener, serve in listeners:
                self._serving.start_soon(self._accept, listener, serve)
            status = await work()
            self._serving.cancel_scope.cancel()
        return status

    async def _serve(
        self,
        listeners: list[tuple[socket.socket, Serve]],
        signals: SignalReceiver,
        leave: Callable[[], None],
        inherited: Collection[socket.socket],
    ) -> int:
        async with Nursery() as accepting:
            for listener, serve in listeners:
                accepting.start_soon(self._accept, listener, serve)
            number = await anext(signals)
            accepting.cancel_scope.cancel()
        if number != HANGUP:
            for listener, serve in listeners:
                if listener not in inherited:
                    ignore_new_clients(listener)
                self._accept_queued(listener, serve)
        leave()
        for listener, _ in listeners:
            listener.close()  # frees the port for others; new clients are refused instead of kept waiting
        if number == HANGUP:
            return 128 + number
        await checkpoint()  # what was accepted last begins, and is counted
        return await self._drained(signals)

    def _accept_queued(self, listener: socket.socket, serve: Serve) -> None:
        """Accepts the clients in the queue. For them the connection is open, and closing the listener would reset it."""
        accept_one = self._accepting(listener, serve)
        for _ in range(BACKLOG):  # no more, or a flood would delay the end
            try:
                accept_one()
            except BlockingIOError:
                return
            except OSError:  # it broke in the queue; or descriptors have run out, and the rest is lost
                continue

    async def _drained(self, signals: SignalReceiver) -> int:
        """Lets sessions finish, for up to `drain` seconds or until a second signal. Returns the exit status."""
        count = self._count
        count.draining.set()
        if not count.connections:
            return ExitStatus.OK
        self._trace(Drain(count.connections, count.tunnels, self._drain))
        stopped = 0
        begun = current_time()

        async def listen(scope: CancelScope) -> None:
            nonlocal stopped
            stopped = await anext(signals)
            while current_time() - begun < self._debounce:
                stopped = 0
                stopped = await anext(signals)
            scope.cancel()

        async with Nursery() as waiting:
            waiting.start_soon(listen, waiting.cancel_scope)
            with move_on_after(self._drain):
                await count.empty.wait()
            waiting.cancel_scope.cancel()
        return 128 + stopped if stopped else ExitStatus.OK

    async def _accept(self, listener: socket.socket, serve: Serve) -> None:
        """Accepts clients forever."""
        descriptor, accept_one = Descriptor(listener.fileno()), self._accepting(listener, serve)
        try:
            while True:
                await descriptor.wait_readable()
                for _ in range(ACCEPTS_A_TURN):
                    try:
                        accept_one()
                    except BlockingIOError:
                        descriptor.readable = False
                        break
                    except OSError as error:
                        await self._accept_failed(error)
                        break
                await checkpoint()
        finally:
            descriptor.forget(shared=True)

    async def _accept_failed(self, error: OSError) -> None:
        """Ignores the error of a single connection that broke in the queue. Pauses if this process is at a limit."""
        if error.errno not in _LIMITS:
            return
        self._count.accept_failures += 1
        if current_time() - self._said_exhausted > WARN_INTERVAL:
            self._said_exhausted = current_time()
            self._trace(events.Warning(f"no new connections: {error.strerror}; {self._count.connections} remain open"))
        await sleep(EXHAUSTED_PAUSE)

    def _accepting(self, listener: socket.socket, serve: Serve) -> Callable[[], None]:
        """Returns a function that accepts one client and starts to serve it. It raises OSError."""
        family, kind, unix = int(listener.family), int(listener.type), listener.family == socket.AF_UNIX
        missing = not_inherited(listener)

        def accept_one() -> None:
            # accept() makes an AddressFamily and a SocketKind from two integers for each socket, which costs more than the system
            # call. The method that it wraps has had this name since Python 3.0.
            fd, peer = listener._accept()  # type: ignore[attr-defined]
            accepted = socket.SocketType(family, kind, 0, fd)
            if peer is None:  # macOS: the client has left already
                accepted.close()
                return
            accepted.setblocking(False)
            if missing:
                pass_on(missing, accepted)
            host, port = ("unix", 0) if unix else (plain(peer[0]), peer[1])
            self._serving.start_soon(serve, accepted, host, with_port(host, port))

        return accept_one


def raise_descriptor_limit() -> None:
    """Raises the soft limit to the hard one: a tunnel takes two, and the usual 1024 is for programs that call select().

    macOS starts programs with 256 and no hard limit, and refuses more than OPEN_MAX.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for soft in (hard, OPEN_MAX):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):
            continue
        return


def close_listeners(bound: list[ListenAddress], listeners: list[socket.socket]) -> None:
    """Closes listeners, and removes their socket files."""
    for address, listener in zip(bound, listeners, strict=True):
        close_listener(address, listener)
