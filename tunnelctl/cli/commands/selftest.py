"""`selftest`: tests client and server against each other on loopback, and prints one verdict per line.

Client, proxy and target are tasks of this one process, so no other program is needed and nothing can outlive it. The proxy is the
server of `serve`; the client opens tunnels as `connect` does, with a socket pair in place of stdin and stdout.
"""

import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import inf
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from tunnelctl import __version__, events
from tunnelctl.cli.events import Check as CheckEvent
from tunnelctl.cli.events import Start, Summary
from tunnelctl.cli.render.console import Console, head_lines, write_stdout
from tunnelctl.cli.render.text import clean, plain
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.route.route import Hop, Route, Tunnel
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.client.upstream.http_version import HTTPVersion
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import Nursery, TooSlowError, checkpoint, fail_after, run
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.errors import TunnelctlError
from tunnelctl.events import Event, name_of
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.connect_client import ConnectClient, Established
from tunnelctl.proto.http1.render import ESTABLISHED
from tunnelctl.server.access.limits import CapLimits, Caps
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.policy.file import load_policy
from tunnelctl.server.server import Server, ServerSettings
from tunnelctl.server.service import Service, Timeouts
from tunnelctl.status import ExitStatus
from tunnelctl.stream.accept import ConnectionCount
from tunnelctl.stream.base import CHUNK
from tunnelctl.stream.dial import dial
from tunnelctl.stream.listen import ListenAddress, bound_address, listen
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.relay import Relay, TimeLimits
from tunnelctl.stream.reloadable import load_reloadable
from tunnelctl.stream.socket_stream import SocketStream

T = TypeVar("T")
U = TypeVar("U")
Opener = Callable[[Address], Awaitable[Tunnel]]
Visit = Callable[[SocketStream], Awaitable[T]]
Facts = dict[str, Any]

# Time limit of one check, in seconds. All checks together take about one second: a machine ten times slower is no fault.
LIMIT = 15.0

MIB = 1 << 20
BULK = 64 * MIB  # bytes in each direction: enough that every relay on the path splices, and that the rate is meaningful

LOOPBACK = ListenAddress("127.0.0.1", 0)

# The first rule is for the targets, which all have this address. The second must not allow any other internal one: `*` never does.
RULES = ("127.0.0.1:*", "*:*")
UNNAMED = Address("127.0.0.2", 80)

BANNER = b"220 this target speaks first\r\n"


class Verdict(NamedTuple):
    """The result of one check. facts: further results, under the keys of --json; all text in them is unescaped"""

    name: str
    title: str
    ok: bool
    seconds: float
    facts: Facts


class CheckFailed(Exception):
    """A check had another result than expected; the text describes it."""


class Client:
    """The client: opens tunnels through the proxy, and keeps the heads of the last one."""

    def __init__(self, proxy: Address) -> None:
        self.proxy = proxy
        self.heads: Facts = {}

    def trace(self, event: Event, /) -> None:
        if isinstance(event, events.Request | events.Response):
            self.heads[name_of(type(event))] = event.facts()

    async def open(self, target: Address) -> Tunnel:
        """Opens a tunnel as `connect` does. Raises TunnelctlError."""
        return await open_tunnel(Route(target, (Hop(self.proxy, ()),)), self.trace)

    @asynccontextmanager
    async def sharing(self) -> AsyncIterator[Opener]:
        """Yields what opens tunnels on one connection of HTTP/2."""
        hop = Hop(self.proxy, http=HTTPVersion(required=True, over_tls=False, keepalive=0.0))
        async with Nursery() as connections:
            pool = ConnectionPool(connections)

            async def open_shared(target: Address) -> Tunnel:
                route = Route(target, (hop,))
                return await open_tunnel(route, self.trace, pool, pool.share(route))

            yield open_shared
            connections.cancel_scope.cancel()

    async def open_late(self, target: Address) -> Tunnel:
        """Opens a tunnel, and reads the response only once the banner is right behind it, which rarely happens by chance."""
        stream = await dial([SocketAddress(socket.AF_INET, *self.proxy)], 0.0)
        try:
            machine = ConnectClient(target)
            await stream.send_all(machine.request())
            await _gathered(stream, len(ESTABLISHED + BANNER))
            answer = machine.feed(await stream.receive_some())
            if not isinstance(answer, Established) or answer.leftover != BANNER:
                raise CheckFailed(f"the answer and the banner were read as {answer!r}")
        except BaseException:
            stream.close()
            raise
        return Tunnel(stream, answer.leftover)


# -- the checks: each returns its facts, or raises ---------------------------------------------------------------------------------


async def check_connect(client: Client) -> Facts:
    async def target(stream: SocketStream) -> None:
        await stream.send_all(await stream.receive_some())

    async def user(stream: SocketStream) -> bytes:
        await stream.send_all(b"ping")
        return await stream.receive_some()

    _, answer = await _meet(client.open, target, user)
    _expect("the echo", answer, b"ping")
    return client.heads


async def check_early(client: Client) -> Facts:
    async def target(stream: SocketStream) -> None:
        await stream.send_all(BANNER)

    _, banner = await _meet(client.open_late, target, _read_all)
    _expect("the banner", banner, BANNER)
    return {}


async def check_data(client: Client) -> Facts:
    begun = monotonic()
    (sent_back, arrived), (sent, came_back) = await _meet(client.open, _exchange, _exchange)
    seconds = monotonic() - begun
    _expect("the checksum at the target", arrived, sent)
    _expect("the checksum at the client", came_back, sent_back)
    return {"bytes": 2 * BULK, "bytes_per_second": round(2 * BULK / seconds)}


async def check_http2(client: Client) -> Facts:
    begun = monotonic()
    async with client.sharing() as open_shared:
        (sent_back, arrived), (sent, came_back) = await _meet(open_shared, _exchange, _exchange)
        seconds = monotonic() - begun
        _expect("the checksum at the target", arrived, sent)
        _expect("the checksum at the client", came_back, sent_back)
        await _question(open_shared)
    return {"bytes": 2 * BULK, "bytes_per_second": round(2 * BULK / seconds)}


async def check_half_close(client: Client) -> Facts:
    await _question(client.open)
    return {}


async def _question(open_tunnel: Opener) -> None:
    """Expects an answer that the target gives only once the question has ended."""

    async def target(stream: SocketStream) -> None:
        await stream.send_all(b"answer to " + await _read_all(stream))

    async def user(stream: SocketStream) -> bytes:
        await stream.send_all(b"question")
        stream.send_eof()
        return await _read_all(stream)

    _, answer = await _meet(open_tunnel, target, user)
    _expect("the answer", answer, b"answer to question")


async def check_policy(client: Client) -> Facts:
    return await _refused(client, UNNAMED, 403, "destination_ip_prohibited")


async def check_loop(client: Client) -> Facts:
    return await _refused(client, client.proxy, 502, "proxy_loop_detected")


async def check_closed_port(client: Client) -> Facts:
    with socket.socket() as bound:  # reserves the port, on which nobody listens
        bound.bind((LOOPBACK.host, 0))
        return await _refused(client, Address(*bound.getsockname()), 502, "connection_refused")


Check = tuple[str, str, Callable[[Client], Awaitable[Facts]]]

CHECKS: tuple[Check, ...] = (
    ("connect", "CONNECT opens a tunnel", check_connect),
    ("early-data", "bytes that arrive with the response head are kept", check_early),
    ("data", f"{BULK // MIB} MiB each way at once arrive unchanged, SHA-256 compared", check_data),
    ("http2", "the same over HTTP/2, and a second tunnel on that connection", check_http2),
    ("half-close", "a response sent only after the end of input arrives", check_half_close),
    ("policy", "an internal address that no rule names is refused", check_policy),
    ("loop", "the proxy itself is refused as a target", check_loop),
    ("closed-port", "a target where nobody listens is reported as that", check_closed_port),
)


# -- what they share ---------------------------------------------------------------------------------------------------------------


async def _meet(open_tunnel: Opener, at_target: Visit[T], at_client: Visit[U]) -> tuple[T, U]:
    """Runs both visits at once, at the two ends of a new tunnel, and returns their results."""
    listener = listen(LOOPBACK, 0.0)
    results: list[T] = []

    async def target() -> None:
        accepted = SocketStream(await _accept(listener))
        try:
            results.append(await at_target(accepted))
        finally:
            accepted.close()

    try:
        async with Nursery() as nursery:
            nursery.start_soon(target)
            tunnel = await open_tunnel(Address(*bound_address(listener)[:2]))
            outer, inner = (SocketStream(end) for end in _pair())
            nursery.start_soon(Relay(inner, tunnel.stream, b"", tunnel.early, TimeLimits()).run)
            try:
                result = await at_client(outer)
            finally:
                outer.close()
    finally:
        listener.close()
    return results[0], result


def _pair() -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends


async def _accept(listener: socket.socket) -> socket.socket:
    descriptor = Descriptor(listener.fileno())
    descriptor.readable = False
    try:
        await descriptor.wait_readable()
    finally:
        descriptor.forget(shared=True)
    accepted, _ = listener.accept()
    accepted.setblocking(False)
    return accepted


async def _gathered(stream: SocketStream, size: int) -> None:
    """Waits until `size` bytes can be read at once, or until the peer has ended; reads none of them."""
    there = 0
    while there < size and not stream.descriptor.ended:
        stream.source_drained()
        await stream.wait_readable()
        there = len(stream.socket.recv(size, socket.MSG_PEEK))


async def _read_all(stream: SocketStream) -> bytes:
    data = b""
    while piece := await stream.receive_some():
        data += piece
    return data


async def _exchange(stream: SocketStream) -> tuple[str, str]:
    """Sends BULK bytes and EOF while reading until EOF. Returns the checksums of the sent and the received bytes."""
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        noise = os.urandom(CHUNK - 8)
        for number in range(BULK // CHUNK):
            piece = number.to_bytes(8, "big") + noise  # numbered, so that swapped pieces do not go unnoticed
            sent.update(piece)
            await stream.send_all(piece)
        stream.send_eof()

    async with Nursery() as nursery:
        nursery.start_soon(send)
        while piece := await stream.receive_some():
            received.update(piece)
    return sent.hexdigest(), received.hexdigest()


async def _refused(client: Client, target: Address, code: int, error: str) -> Facts:
    """Expects a refusal with this status code and this RFC 9209 error type."""
    try:
        tunnel = await client.open(target)
    except TunnelctlError as refusal:
        if refusal.detail.get("code") != code or error not in refusal.cause:
            raise CheckFailed(f"expected {code} {error}, got: {refusal}") from None
        return {"status": code, "message": str(refusal)}
    tunnel.stream.abort()
    raise CheckFailed(f"expected {code} {error}, got a tunnel")


def _expect(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise CheckFailed(f"{what} is {seen!r}, not {wanted!r}")


# -- the run -----------------------------------------------------------------------------------------------------------------------


def run_selftest(json: bool, console: Console) -> int:
    """Runs all checks and prints their verdicts on stdout. Returns 0 if all passed, else 70. The proxy warns on `console`."""
    # Nothing here needs cleaning up, so Ctrl-C may have its default effect.
    with _disposition(signal.SIG_DFL, signal.SIGINT):
        return ExitStatus.OK if run(_run, _put_json if json else _put_text, console) else ExitStatus.FAULT


async def _run(put: Callable[[Event], None], console: Console) -> bool:
    begun = monotonic()
    listener = listen(LOOPBACK, 0.0)
    bound = bound_address(listener)
    client = Client(Address(bound.host, bound.port))
    system = os.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    put(Start(__version__, python, f"{system.sysname} {system.release}", str(bound)))
    try:
        async with Nursery() as nursery:
            # The server handles these signals itself, unless they are ignored when it starts; here they must end the whole process.
            with _disposition(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                nursery.start_soon(_server(listener, bound, console).run)
                await checkpoint()
            verdicts = []
            for check in CHECKS:
                verdicts.append(await _judge(check, client))
                put(_record(verdicts[-1]))
            nursery.cancel_scope.cancel()
    finally:
        listener.close()
    held = sum(verdict.ok for verdict in verdicts)
    put(Summary(held == len(verdicts), held, len(verdicts), round(monotonic() - begun, 3)))
    return held == len(verdicts)


def _server(listener: socket.socket, bound: ListenAddress, console: Console) -> Server:
    def warn(event: Event, /) -> None:
        if isinstance(event, events.Warning):  # that the server listens and stops is no news here
            console(event)

    policy = load_reloadable("policy", lambda: load_policy(None, RULES))
    timeouts = Timeouts(LIMIT, LIMIT, 0.0, TimeLimits(inf, LIMIT))
    service = Service(
        policy=policy,
        users=None,
        own=OwnAddresses([bound]),
        caps=Caps(CapLimits()),
        counts=ConnectionCount(),
        timeouts=timeouts,
        recorder=Recorder(None, warn),
        trace=warn,
    )
    return Server(service, [listener], ServerSettings())


@contextmanager
def _disposition(handler: signal.Handlers, *numbers: int) -> Iterator[None]:
    """Sets this handler for these signals inside the block, except for signals already ignored (nohup)."""
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


async def _judge(check: Check, client: Client) -> Verdict:
    name, title, body = check
    begun, cause, facts = monotonic(), "", {}
    client.heads = {}
    try:
        with fail_after(LIMIT):
            facts = await body(client)
    except TooSlowError:
        cause = f"not done after {LIMIT:g} s"
    except (CheckFailed, TunnelctlError) as failure:
        cause = str(failure)
    except Exception as fault:  # any exception is the verdict on this check; the others still run
        cause = f"{type(fault).__name__}: {fault}"
    if cause:
        facts = {"cause": cause, **client.heads}
    return Verdict(name, title, not cause, monotonic() - begun, facts)


# -- how it is shown ---------------------------------------------------------------------------------------------------------------


def _record(verdict: Verdict) -> Event:
    return CheckEvent(verdict.name, verdict.title, verdict.ok, round(verdict.seconds, 6), **verdict.facts)


def _put_json(event: Event) -> None:
    write_stdout(json.dumps({"event": name_of(type(event)), **plain(event.facts())}) + "\n")


def _put_text(event: Event) -> None:
    write_stdout("\n".join(TEXTS[name_of(type(event))](event.facts())) + "\n")


def _start_text(facts: Facts) -> list[str]:
    return [f"tunnelctl {facts['tunnelctl']}, Python {facts['python']}, {facts['system']}; proxy on {facts['proxy']}"]


def _check_text(facts: Facts) -> list[str]:
    rate = facts.get("bytes_per_second")
    note = f", {rate / MIB:,.0f} MiB/s in all" if isinstance(rate, int) else ""
    lines = [f"{'ok  ' if facts['ok'] else 'FAIL'} {facts['title']}{note}"]
    for name in ("request", "response"):
        if name in facts:
            lines += [f"       {line}" for line in head_lines(name, facts[name])]
    if "message" in facts:
        lines.append(f"       {clean(str(facts['message']))}")
    if "cause" in facts:
        lines.append(f"       {clean(str(facts['cause']))}")
    return lines


def _summary_text(facts: Facts) -> list[str]:
    return [f"{facts['held']} of {facts['checks']} checks passed in {facts['seconds']} s"]


TEXTS: dict[str, Callable[[Facts], list[str]]] = {"start": _start_text, "check": _check_text, "summary": _summary_text}
