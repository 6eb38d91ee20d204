"""`--admin`: a separate listener for operators: /metrics, /healthz, /readyz, /tunnels.

It is read-only. Requests are limited in size, time and number, and each is the last of its connection. A fault in one ends only
that one, and does not affect the tunnels of the process.
"""

import json
import socket
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from time import monotonic
from typing import NamedTuple

import h11

from tunnelctl import events
from tunnelctl.engine.kernel import move_on_after
from tunnelctl.errors import UsageProblem
from tunnelctl.events import Trace
from tunnelctl.proto import private_http
from tunnelctl.server.access.limits import Caps
from tunnelctl.server.observe.metrics import SharedCounters
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.process.worker_ipc import WorkerQueries
from tunnelctl.stream.accept import ConnectionCount
from tunnelctl.stream.linger import linger
from tunnelctl.stream.listen import ListenAddress, parse_listen
from tunnelctl.stream.socket_stream import SocketStream

MAX_HEAD = 8192  # bytes
SECONDS = 10.0  # for a whole request and its response
AT_ONCE = 16  # further clients get no response: a scraper or two is normal

TEXT, JSON = "text/plain; charset=utf-8", "application/json"

PATHS = ("/metrics", "/healthz", "/readyz", "/tunnels")


class Page(NamedTuple):
    """The page at one path. `content` makes the status and the body on each request."""

    kind: str
    content: Callable[[], Awaitable[tuple[int, bytes]]]


def parse_admin(text: str, forced: bool) -> ListenAddress:
    """Parses the value of `admin`. Raises UsageProblem if other machines can reach it."""
    import tunnelctl.server.observe.prometheus  # noqa: F401  (here, so that workers share its memory)

    address = parse_listen(text)
    if not (address.private or forced):
        raise UsageProblem(text, "other machines could read which clients use which targets", "open-admin", option="admin")
    return address


class Pages:
    """The admin pages. With several workers, each of them shows the metrics and tunnels of all."""

    def __init__(
        self,
        counters: SharedCounters,
        counts: ConnectionCount,
        caps: Caps,
        recorder: Recorder,
        worker_queries: WorkerQueries,
        me: int,
        trace: Trace,
    ) -> None:
        """counters: of all processes; counts: of this one, whose number is `me`"""
        self._counters, self._counts, self._caps, self._recorder = counters, counts, caps, recorder
        self._worker_queries, self._me, self._trace = worker_queries, me, trace
        from tunnelctl.server.observe.prometheus import CONTENT_TYPE, render

        self._metrics_kind, self._render = CONTENT_TYPE, render

    def by_path(self) -> dict[str, Page]:
        """Returns all pages by path."""
        pages = (
            Page(self._metrics_kind, self._show_metrics),
            Page(TEXT, self._show_health),
            Page(TEXT, self._show_readiness),
            Page(JSON, self._show_tunnels),
        )
        return dict(zip(PATHS, pages, strict=True))

    def helpers(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        """Returns the tasks that the pages depend on."""
        if not self._worker_queries.count:
            return []
        return [lambda: self._worker_queries.answer(self._me, lambda: _dumped(self._mine()), self._trace)]

    async def _show_metrics(self) -> tuple[int, bytes]:
        recorder = self._recorder
        if recorder.metrics is not None:
            recorder.metrics.refresh(self._counts, self._caps.dials, recorder.open.values(), recorder.lost)
        return 200, self._render(self._counters)

    async def _show_health(self) -> tuple[int, bytes]:
        return 200, b"ok\n"

    async def _show_readiness(self) -> tuple[int, bytes]:
        return (503, b"draining\n") if self._counts.draining.is_set() else (200, b"ready\n")

    async def _show_tunnels(self) -> tuple[int, bytes]:
        tunnels, silent = self._mine(), 0
        for answer in await self._worker_queries.ask(self._me):
            if answer is None:
                silent += 1
            else:
                tunnels += json.loads(answer)
        return 200, _dumped({"tunnels": tunnels, "silent_workers": silent})

    def _mine(self) -> list[dict[str, object]]:
        now = monotonic()
        return [_shown(record, now - record.opened) for record in self._recorder.open.values()]


def _shown(record: TunnelRecord, seconds: float) -> dict[str, object]:
    who = {
        "connection": record.connection,
        "tunnel": record.tunnel,
        "client": record.client,
        "user": record.user,
        "method": record.method,
        "target": record.target,
    }
    moved = {"sent": record.moved[0], "received": record.moved[1]}
    return {**who, "address": record.address, "seconds": round(seconds, 3), **moved}


def _dumped(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"


class Admin:
    """Responds to requests for the pages."""

    def __init__(self, pages: dict[str, Page], address: ListenAddress, trace: Trace) -> None:
        """address: of the listener; decides which host names a request may use"""
        self._pages, self._trace = pages, trace
        self._any_host = bool(address.path) or not address.private
        self.counts = ConnectionCount()

    async def session(self, accepted: socket.SocketType, _: str, __: str) -> None:
        """Serves one connection, with one request."""
        stream = SocketStream(accepted)
        self.counts.enter()
        try:
            if self.counts.connections <= AT_ONCE:
                with move_on_after(SECONDS):
                    await self._converse(stream)
        except OSError:  # the client has gone
            pass
        except Exception as fault:
            self._warn(fault)
        finally:
            self.counts.leave()
            stream.close()

    async def _converse(self, stream: SocketStream) -> None:
        machine = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        try:
            while (event := machine.next_event()) is h11.NEED_DATA:
                machine.receive_data(await stream.receive_some(MAX_HEAD))
        except h11.RemoteProtocolError as error:
            return await _send(machine, stream, error.error_status_hint, TEXT, b"malformed request\n")
        if isinstance(event, h11.Request):
            status, kind, content = await self._answer(event)
            await _send(machine, stream, status, kind, content, head=event.method == b"HEAD")

    async def _answer(self, request: h11.Request) -> tuple[int, str, bytes]:
        denial = private_http.deny(request.headers, self._any_host)
        if denial is not None:
            return denial.status, TEXT, f"{denial.text}\n".encode()
        page = self._pages.get(request.target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            return 404, TEXT, f"there are {', '.join(self._pages)}\n".encode()
        if request.method not in (b"GET", b"HEAD"):
            return 405, TEXT, b"only GET and HEAD\n"
        try:
            status, content = await page.content()
        except Exception as fault:
            self._warn(fault)
            return 500, TEXT, b"internal error: standard error of tunnelctl has more\n"
        return status, page.kind, content

    def _warn(self, fault: Exception) -> None:
        self._trace(events.Warning(f"fault in an admin request: {type(fault).__name__}: {fault}"))


async def _send(machine: h11.Connection, stream: SocketStream, status: int, kind: str, content: bytes, head: bool = False) -> None:
    if machine.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # the client left without a request
        return
    length, allow = str(len(content)), [("Allow", "GET, HEAD")] if status == 405 else []
    fields = [("Content-Type", kind), ("Content-Length", length), ("Cache-Control", "no-store"), ("Connection", "close"), *allow]
    response = h11.Response(status_code=status, headers=fields, reason=HTTPStatus(status).phrase)
    events = [response, *([] if head else [h11.Data(data=content)]), h11.EndOfMessage()]
    await stream.send_all(b"".join(machine.send(event) or b"" for event in events))
    await linger(stream)
