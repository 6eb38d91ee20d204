"""Plain http requests at a dynamic port: each opens a tunnel to its host, and streams through it."""

from errno import ETIMEDOUT

import h11

from tunnelctl.client.forward.session import HALF_CLOSED_SECONDS, REQUEST_SECONDS, LocalSession
from tunnelctl.client.route.route import Tunnel
from tunnelctl.engine.kernel import CancelScope, Nursery, checkpoint, current_time, move_on_after
from tunnelctl.errors import MalformedAnswer, TunnelBroken, TunnelctlError, reason
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.forward_request import NotForUs, authorization, onward, to_origin, via
from tunnelctl.proto.http1.messages import Incomplete, MessageError, Messages
from tunnelctl.proto.http1.render import render_refusal
from tunnelctl.proto.local_port import LocalRefusal, read_login, refusal_for
from tunnelctl.proto.refusal import Refusal


class PlainHTTP:
    """One client connection and its requests, one after the other."""

    def __init__(self, session: LocalSession) -> None:
        self._session = session
        self._stream = session.stream
        self._client = Messages(h11.SERVER)
        self._to_head = False  # whether the current request is HEAD, so that its response has no content

    async def run(self, first: bytes) -> None:
        """Serves the requests until one side ends the connection."""
        self._client.receive(first)
        try:
            while (request := await self._next_request()) is not None and await self._serve(request):
                pass
        except NotForUs as no:
            await self._session.turn_away(LocalRefusal(render_refusal(no.answer, to_head=self._to_head), no.cause))
        else:
            await self._session.after_remote_eof(b"")

    async def _next_request(self) -> h11.Request | None:
        self._to_head = False
        with move_on_after(REQUEST_SECONDS):
            try:
                while (event := self._client.next_event()) is h11.NEED_DATA:
                    self._client.receive(await self._stream.receive_some())
            except MessageError as error:
                self._to_head = error.to_head
                raise NotForUs(refusal.bad_request(error.cause, error.status)) from None
            if isinstance(event, h11.Request):
                self._to_head = event.method == b"HEAD"
                return event
        return None

    async def _serve(self, request: h11.Request) -> bool:
        """Serves one request to the end of its response. True if another one may follow on the connection."""
        if self._session.login:
            await self._admit(authorization(request))
        target, forwarded = to_origin(request, self._session.name)
        tunnel = await self._session.open_or_report(target, via(request))
        if isinstance(tunnel, TunnelctlError):
            raise NotForUs(refusal_for(tunnel), "")
        if tunnel is None:
            return False
        await _Exchange(self._client, self._session, tunnel, target).run(forwarded)
        return self._client.next_cycle()

    async def _admit(self, given: str | None) -> None:
        """Raises NotForUs for a request without a login, or with a wrong one. given: its Proxy-Authorization"""
        login = read_login(given)
        answer = login if isinstance(login, Refusal) else await self._session.judge(login)
        if answer is not None:
            raise NotForUs(answer, "" if given is None else None)  # most clients log in only after a challenge


class _Exchange:
    """One request and its response, through one tunnel."""

    def __init__(self, client: Messages, session: LocalSession, tunnel: Tunnel, target: Address) -> None:
        self._client, self._session, self._tunnel, self._target = client, session, tunnel, target
        self._near, self._far = session.stream, tunnel.stream
        self._server = Messages(h11.CLIENT)
        self._scope = CancelScope()
        self._answered = False
        self._limit = session.idle  # seconds without a byte
        self._client_ended = self._client_gone = False
        self._ended_by = "right"
        self._moved = [0, 0]

    async def run(self, request: h11.Request) -> None:
        begun, cause = current_time(), "reset"
        self._session.moved = self._moved
        try:
            with self._scope:
                self._touch()
                self._session.watch(self._apply_half_close_limit, self._leave)
                await self._to_server(request)
                await self._both()
                cause = "eof"
            if self._client_gone:
                raise ConnectionResetError("the client has gone")
            if self._scope.cancelled_caught:
                cause, self._ended_by = ("half-closed", "left") if self._client_ended else ("idle", "")
                raise TimeoutError(ETIMEDOUT, f"no byte moved for {self._limit:g} s")
        except (MessageError, OSError) as error:
            self._broken(error)
        finally:
            if cause == "eof":
                self._far.close()
            else:
                self._far.abort()  # the server must not treat half a request as a whole one
            self._session.ended(self._moved[0], self._moved[1], current_time() - begun, self._ended_by, cause)

    async def _both(self) -> None:
        async with Nursery() as nursery:
            nursery.start_soon(self._body)
            await self._answer()
            nursery.cancel_scope.cancel()  # a server may respond before it has read all: then it does not need the rest

    async def _body(self) -> None:
        """Sends the request's body. A server that takes no more of it may still have responded; `_answer` reads that."""
        while isinstance(event := await self._of_client(), h11.Data | h11.EndOfMessage):
            try:
                await self._to_server(h11.Data(event.data) if isinstance(event, h11.Data) else h11.EndOfMessage())
            except OSError:
                return

    async def _of_client(self) -> object:
        """The next event of the request. A failure here is not the server's."""
        await checkpoint()
        try:
            while (event := self._client.next_event()) is h11.NEED_DATA:
                self._client.receive(await self._near.receive_some())
                self._touch()
        except (MessageError, OSError):
            self._ended_by = "left"
            raise
        return event

    async def _answer(self) -> None:
        if self._tunnel.early:
            self._moved[1] += len(self._tunnel.early)
            self._server.receive(self._tunnel.early)
        while not isinstance(event := await self._of_server(), h11.EndOfMessage):
            if isinstance(event, h11.InformationalResponse):
                if self._client.peer_version < b"1.1":  # it would treat that as the final response (RFC 9110 section 15.2)
                    continue
                fields = onward(event, self._session.name)
                await self._to_client(h11.InformationalResponse(status_code=event.status_code, headers=fields))
            elif isinstance(event, h11.Response):
                self._answered = True
                fields = onward(event, self._session.name)
                await self._to_client(h11.Response(status_code=event.status_code, headers=fields, reason=event.reason))
            elif isinstance(event, h11.Data):
                await self._to_client(h11.Data(event.data))
        await self._to_client(h11.EndOfMessage())

    async def _of_server(self) -> object:
        """The next event of the response.

        Between two events other tasks get a turn: many small ones come with one read, and a fast client and server never wait.
        """
        await checkpoint()
        while (event := self._server.next_event()) is h11.NEED_DATA:
            data = await self._far.receive_some()
            self._moved[1] += len(data)
            self._server.receive(data)
            self._touch()
        return event

    async def _to_server(self, event: h11.Event) -> None:
        data = self._server.send(event)
        if data:
            await self._far.send_all(data)
            self._moved[0] += len(data)
            self._touch()

    async def _to_client(self, event: h11.Event) -> None:
        data = self._client.send(event)
        if data:
            try:
                await self._near.send_all(data)
            except OSError:
                self._ended_by = "left"
                raise
            self._touch()

    def _broken(self, error: MessageError | OSError) -> None:
        """Raises NotForUs while an error can still be sent to the client.

        Otherwise raises ConnectionResetError: after the head of a response, only a reset shows that it is incomplete.
        """
        may_tell = self._client.may_answer and not (self._answered or self._client_gone)
        if self._ended_by == "left" and not isinstance(error, TimeoutError):
            if may_tell and isinstance(error, MessageError):
                raise NotForUs(refusal.bad_request(error.cause, error.status)) from error
            raise ConnectionResetError("the client has gone") from error
        failure = self._failure(error)
        if isinstance(error, MessageError) or (may_tell and not self._client_ended):
            self._session.report(failure)
        if may_tell:
            raise NotForUs(refusal_for(failure), "") from error
        raise ConnectionResetError("the exchange broke") from error

    def _failure(self, error: MessageError | OSError) -> TunnelctlError:
        """The error of the server, or of the tunnel to it."""
        if isinstance(error, OSError):
            return TunnelBroken(f"target {self._target}", reason(error), "target-broke", detail={"error": "connection_terminated"})
        kind = "http_response_incomplete" if isinstance(error, Incomplete) else "http_protocol_error"
        return MalformedAnswer(f"target {self._target}", error.cause, "target-answer", detail={"error": kind})

    def _apply_half_close_limit(self) -> None:
        """Called when the client sends nothing more: it waits for its response, or it has gone."""
        self._client_ended = True
        self._limit = min(self._limit, HALF_CLOSED_SECONDS)
        self._touch()

    def _leave(self) -> None:
        """Called when the client has gone: nobody waits for the response."""
        self._client_gone, self._ended_by = True, "left"
        self._scope.cancel()

    def _touch(self) -> None:
        self._scope.deadline = current_time() + self._limit
