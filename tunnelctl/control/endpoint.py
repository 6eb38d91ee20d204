"""The private HTTP endpoint of a running program: it serves pages on its control socket, and on the port of --admin.

It is read-only. Requests are limited in size, time and number, and each is the last of its connection. A fault in one ends only
that one, and does not affect the tunnels of the process.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import h11

from tunnelctl import events
from tunnelctl.control.directory import is_same_user
from tunnelctl.engine.kernel import move_on_after
from tunnelctl.events import Trace
from tunnelctl.proto import private_http
from tunnelctl.stream.accept import ConnectionCount
from tunnelctl.stream.linger import linger
from tunnelctl.stream.listen import ListenAddress
from tunnelctl.stream.socket_stream import SocketStream

MAX_HEAD = 8192  # bytes
SECONDS = 10.0  # for a whole request and its response
AT_ONCE = 16  # further clients get no response: a scraper or two is normal

TEXT, JSON = "text/plain; charset=utf-8", "application/json"


class Page(NamedTuple):
    """The page at one path. `content` makes the status and the body on each request; it receives the query of the request.

    kind: its media type; headers: further fields of the response
    """

    kind: str
    content: Callable[[str], Awaitable[tuple[int, bytes]]]
    headers: tuple[tuple[str, str], ...] = ()


Pages = Mapping[str, Page]  # by path


class Endpoint:
    """Responds to requests for the pages."""

    def __init__(self, pages: Pages, address: ListenAddress, trace: Trace) -> None:
        """address: of the listener; decides which host names a request may use"""
        self._pages, self._trace = pages, trace
        self._any_host = bool(address.path) or not address.private
        self.counts = ConnectionCount()

    async def session(self, accepted: socket.SocketType, _: str, __: str) -> None:
        """Serves one connection, with one request."""
        stream = SocketStream(accepted)
        try:
            await self.serve(stream)
        finally:
            stream.close()

    async def private_session(self, accepted: socket.SocketType, host: str, client: str) -> None:
        """Does so for clients of this user alone."""
        if is_same_user(accepted):
            await self.session(accepted, host, client)
        else:
            accepted.close()

    async def serve(self, stream: SocketStream, first: bytes = b"") -> None:
        """Serves the one request of a connection. The caller closes that. first: bytes of the request that have been read"""
        self.counts.enter()
        try:
            if self.counts.connections <= AT_ONCE:
                with move_on_after(SECONDS):
                    await self._converse(stream, first)
        except OSError:  # the client has gone
            pass
        except Exception as fault:
            self._warn(fault)
        finally:
            self.counts.leave()

    async def _converse(self, stream: SocketStream, first: bytes) -> None:
        machine = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        try:
            if first:
                machine.receive_data(first)
            while (event := machine.next_event()) is h11.NEED_DATA:
                machine.receive_data(await stream.receive_some(MAX_HEAD))
        except h11.RemoteProtocolError as error:
            return await _send(machine, stream, _Answer(error.error_status_hint, b"malformed request\n"))
        if isinstance(event, h11.Request):
            await _send(machine, stream, await self._answer(event), head=event.method == b"HEAD")

    async def _answer(self, request: h11.Request) -> _Answer:
        denial = private_http.deny(request.headers, self._any_host)
        if denial is not None:
            return _Answer(denial.status, f"{denial.text}\n".encode())
        path, _, query = request.target.decode("latin-1").partition("?")
        page = self._pages.get(path)
        if page is None:
            return _Answer(404, f"there are {', '.join(self._pages)}\n".encode())
        if request.method not in (b"GET", b"HEAD"):
            return _Answer(405, b"only GET and HEAD\n", headers=(("Allow", "GET, HEAD"),))
        try:
            status, content = await page.content(query)
        except Exception as fault:
            self._warn(fault)
            return _Answer(500, b"internal error: standard error of tunnelctl has more\n")
        return _Answer(status, content, page.kind, page.headers)

    def _warn(self, fault: Exception) -> None:
        self._trace(events.Warning(f"fault in an admin request: {type(fault).__name__}: {fault}"))


class _Answer(NamedTuple):
    status: int
    content: bytes
    kind: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


async def _send(machine: h11.Connection, stream: SocketStream, answer: _Answer, head: bool = False) -> None:
    if machine.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # the client left without a request
        return
    fields = [
        ("Content-Type", answer.kind),
        ("Content-Length", str(len(answer.content))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
        *answer.headers,
    ]
    response = h11.Response(status_code=answer.status, headers=fields, reason=HTTPStatus(answer.status).phrase)
    parts = [response, *([] if head else [h11.Data(data=answer.content)]), h11.EndOfMessage()]
    await stream.send_all(b"".join(machine.send(part) or b"" for part in parts))
    await linger(stream)
