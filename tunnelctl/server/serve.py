"""`serve`: the listeners, their sessions, and an orderly end."""

import os
import resource
import signal
import socket
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from math import inf

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import CancelScope, Nursery, checkpoint, current_time, move_on_after, run, sleep
from tunnelctl.engine.outside import SignalReceiver, open_signal_receiver
from tunnelctl.errors import UsageProblem
from tunnelctl.proto.policy import Policy, parse_rule
from tunnelctl.server.access_log import AccessLog, open_log
from tunnelctl.server.limits import Caps
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.own import OwnPorts
from tunnelctl.server.session import Service, Session, Timeouts
from tunnelctl.server.users import Users, load_users
from tunnelctl.server.workers import STOP, supervise
from tunnelctl.status import ExitStatus
from tunnelctl.stream.listen import ListenAddress, bound_address, listen, parse_listen
from tunnelctl.stream.relay import Limits
from tunnelctl.trace import Trace

ACCEPTS_A_TURN = 64  # a flood of new clients must not starve those who are served

# Seconds without accepting when descriptors have run out. The kernel keeps new clients in the backlog meanwhile; accepting at once
# again would only spin.
EXHAUSTED_PAUSE = 0.1
SAID_AGAIN = 60.0  # seconds: at the limit, each client that leaves lets one in, and the next accept fails again

# Ctrl-C reaches every process of the group, systemd's SIGTERM every one of the service, and the first process passes on what it
# gets. All of that is one wish, and a worker must not take it for the second signal that ends the drain.
ECHO_SECONDS = 0.5

_LIFE = frozenset({"listening", "drain", "stopped"})
_LIMITS = frozenset({ENFILE, EMFILE, ENOBUFS, ENOMEM})


def run_server(options: ServeOptions, trace: Trace) -> int:
    """Serves until a signal ends it; returns the exit status. Raises the TunnelctlError that fits before anything is accepted."""
    addresses = [parse_listen(text) for text in options.listen]
    _refuse_open_proxy(addresses, options)
    policy = Policy(tuple(map(parse_rule, options.allow)), tuple(map(parse_rule, options.deny)))
    users = load_users(options.users) if options.users is not None else None
    log_fd = open_log(options.access_log) if options.access_log is not None else None
    try:
        return _serve(addresses, options, policy, users, log_fd, trace)
    finally:
        if log_fd is not None:
            os.close(log_fd)


def _serve(
    addresses: list[ListenAddress], options: ServeOptions, policy: Policy, users: Users | None, log_fd: int | None, trace: Trace
) -> int:
    _raise_descriptor_limit()
    listeners = _listen(addresses, options)
    bound = [bound_address(listener) for listener in listeners]

    def work(mine: list[socket.socket]) -> int:
        log = AccessLog(log_fd, trace) if log_fd is not None else None
        caps = Caps(options.max_tunnels, options.max_per_client)
        service = Service(policy, users, OwnPorts(bound), caps, _timeouts(options), log, trace, options.verbose > 0)
        return run(Server(service, mine, options.drain, speak, ECHO_SECONDS if options.workers > 1 else 0.0).run)

    # Of several processes one speaks for all about coming and going.
    speak = trace if options.workers == 1 else lambda event, **fields: None if event in _LIFE else trace(event, **fields)
    try:
        if options.workers > 1:
            return supervise(options.workers, listeners, bound, options.keepalive, work, trace)
        return work(listeners)
    finally:
        _remove(bound, listeners)


def _refuse_open_proxy(addresses: list[ListenAddress], options: ServeOptions) -> None:
    """A proxy that anybody can reach and use serves the whole Internet, and soon that is who uses it."""
    for address in addresses:
        if not (address.private or options.users or options.open_proxy):
            hint = "give --users FILE, listen on 127.0.0.1, or say --open-proxy if something else keeps strangers out"
            raise UsageProblem(f"listening on {address}", "that would be an open proxy: no credentials are wanted", hint)


def _listen(addresses: list[ListenAddress], options: ServeOptions) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            listeners.append(listen(address, options.keepalive, share=options.workers > 1))
    except BaseException:
        _remove(addresses[: len(listeners)], listeners)
        raise
    return listeners


def _timeouts(options: ServeOptions) -> Timeouts:
    tunnel = Limits(options.idle_timeout or inf, options.half_close_timeout or inf)
    return Timeouts(options.head_timeout or inf, options.dial_timeout or inf, options.keepalive, tunnel)


def _raise_descriptor_limit() -> None:
    """As high as we may: a tunnel takes two, and the usual soft limit of 1024 is for programs that call select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass


def _remove(bound: list[ListenAddress], listeners: list[socket.socket]) -> None:
    for address, listener in zip(bound, listeners, strict=True):
        listener.close()
        if address.path:
            try:
                os.unlink(address.path)
            except OSError:
                pass


class Server:
    """One process's share of the work."""

    def __init__(self, service: Service, listeners: list[socket.socket], drain: float, trace: Trace, echo: float = 0.0) -> None:
        """echo: seconds in which a further signal counts as the same one."""
        self._service, self._listeners, self._drain, self._trace, self._echo = service, listeners, drain, trace, echo
        self._sessions: Nursery = None  # type: ignore[assignment]
        self._count = 0
        self._process = os.urandom(4).hex()  # no process number: in a container that is the same after each restart
        self._said_exhausted = -inf  # when

    async def run(self) -> int:
        """Serves until told to stop; the exit status."""
        with open_signal_receiver(*STOP) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)  # a worker starts with them blocked
            for listener in self._listeners:
                self._trace("listening", address=str(bound_address(listener)))
            async with Nursery() as helpers:
                if self._service.log is not None:
                    helpers.start_soon(self._service.log.run)
                async with Nursery() as self._sessions:
                    status = await self._serve(signals)
                    self._sessions.cancel_scope.cancel()
                helpers.cancel_scope.cancel()
        if self._service.log is not None:
            self._service.log.flush()
        self._trace("stopped")
        return status

    async def _serve(self, signals: SignalReceiver) -> int:
        async with Nursery() as accepting:
            for listener in self._listeners:
                accepting.start_soon(self._accept, listener)
            await anext(signals)
            accepting.cancel_scope.cancel()
        for listener in self._listeners:
            listener.close()  # from now on others may have the port, and clients are refused instead of kept waiting
        return await self._drained(signals)

    async def _drained(self, signals: SignalReceiver) -> int:
        """Lets tunnels finish, for as long as `--drain` says; a second signal ends that. The exit status."""
        caps = self._service.caps
        if not caps.sessions:
            return ExitStatus.OK
        caps.draining = True
        self._trace("drain", tunnels=caps.sessions, seconds=self._drain)
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
                await caps.empty.wait()
            waiting.cancel_scope.cancel()
        return 128 + stopped if stopped else ExitStatus.OK

    async def _accept(self, listener: socket.socket) -> None:
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
                    self._start(socket.SocketType(family, kind, 0, fd), ("unix", 0) if unix else peer)
                await checkpoint()
        finally:
            descriptor.forget(shared=True)

    async def _accept_failed(self, error: OSError) -> None:
        """Most errors are those of one connection that broke in the queue. The others mean that this process is at a limit."""
        if error.errno not in _LIMITS:
            return
        if current_time() - self._said_exhausted > SAID_AGAIN:
            self._said_exhausted = current_time()
            self._trace("warning", text=f"no new connections: {error.strerror}; {self._service.caps.sessions} are open, and go on")
        await sleep(EXHAUSTED_PAUSE)

    def _start(self, accepted: socket.SocketType, peer: tuple[str, int]) -> None:
        accepted.setblocking(False)
        host, port = peer[0], peer[1]
        self._count += 1
        client = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        session = Session(self._service, accepted, host, client, f"{self._process}-{self._count}")
        self._sessions.start_soon(session.run)
