"""One plain http request and its response: the messages that pass between a client and a server.

    near --octets--> Messages(SERVER) --events--> Exchange --events--> Messages(CLIENT) --octets--> far     and back

The relay's counterpart for a proxy that speaks HTTP itself. `forward -D` has it on the stream of a tunnel, and `serve` on the
connection to the target.

Nothing is passed on in the form in which it came: each head is written anew, and each body framed anew, by the one reading that
this proxy has of them. So what follows the end of a request never reaches that server, whatever it contains (request smuggling).
A connection to a server carries one request.

An exchange leaves the client's stream to its caller: there may still be an error to tell (`may_answer`), or another
request to read.
"""

from collections.abc import Callable
from errno import ETIMEDOUT
from math import inf

import h11

from tunnelctl.engine.kernel import CancelScope, Nursery, checkpoint, current_time, mark_bulk
from tunnelctl.proto.http1.forward_request import onward
from tunnelctl.proto.http1.messages import Incomplete, MessageError, Messages
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.pump import BULK
from tunnelctl.stream.relay import BACKWARD, FORWARD, Outcome, TimeLimits

_CLOSE = (b"Connection", b"close")

# Watches the client: calls the first when it has ended its direction, and the second when it has gone.
Watch = Callable[[Callable[[], None], Callable[[], None]], None]


class Exchange:
    """One request and its response. `moved`, bytes to the server and back, can be read while it runs.

    failure: what ended it, other than the end of the response; a time limit is a TimeoutError. None if the client has gone
    client_ended: whether the client has ended its direction
    """

    def __init__(self, client: Messages, near: Stream, far: Stream, early: bytes, limits: TimeLimits) -> None:
        """client: has read the request's head from `near`; early: bytes that `far` has sent already"""
        self._client, self._near, self._far, self._early = client, near, far, early
        self._server = Messages(h11.CLIENT)
        self._limits, self._limit = limits, limits.idle  # seconds without a byte
        self._scope = CancelScope()
        self._answered = self._client_gone = False
        self._bulk: set[Stream] = set()  # the sides from which a read has come back full
        self._ended_by = "right"
        self.client_ended = False
        self.failure: MessageError | OSError | None = None
        self.moved = [0, 0]

    async def run(self, request: h11.Request, name: str, watch: Watch, last: bool) -> Outcome:
        """Passes the messages on. Closes `far`, or resets it: a server must not treat half a request as a whole one.

        request: as the server is to receive it; name: of this proxy, in Via
        last: tell the client that its connection ends with the response
        """
        cause = ""
        try:
            with self._scope:
                self._touch()
                watch(self._apply_half_close_limit, self._leave)
                await self._to_server(request)
                await self._both(name, last)
                cause = "eof"
            cause = cause or self._expired()
        except (MessageError, OSError) as failure:
            self.failure = failure
            cause = "malformed" if isinstance(failure, MessageError) and not isinstance(failure, Incomplete) else "reset"
        finally:
            mark_bulk(False)
            if cause == "eof":
                self._far.close()
            else:
                self._far.abort()
        error = self.failure if isinstance(self.failure, OSError) and cause == "reset" else None
        return Outcome(self.moved[FORWARD], self.moved[BACKWARD], self._ended_by, cause, error)

    @property
    def may_answer(self) -> bool:
        """Whether a final response can still be sent to the client: it is there, and has received no part of another one."""
        return self._client.may_answer and not (self._answered or self._client_gone)

    @property
    def client_failed(self) -> bool:
        """Whether the client has gone, or its request is malformed or incomplete."""
        return self._ended_by == "left" and not isinstance(self.failure, TimeoutError)

    @property
    def idle(self) -> float | None:
        """Seconds since the last byte, or the end of the client's direction; None without a limit."""
        return current_time() - (self._scope.deadline - self._limit) if self._limit != inf else None

    async def _both(self, name: str, last: bool) -> None:
        async with Nursery() as nursery:
            nursery.start_soon(self._body)
            await self._answer(name, last)
            nursery.cancel_scope.cancel()  # a server may respond before it has read all: then it does not need the rest

    async def _body(self) -> None:
        """Sends the request's body. A server that takes no more of it may still have responded; `_answer` reads that.

        Reads nothing after the end of the request: h11 objects to it once the response has said that the connection ends.
        """
        ended = False
        while not ended:
            event = await self._of_client()
            ended = isinstance(event, h11.EndOfMessage)
            try:
                await self._to_server(h11.Data(event.data) if isinstance(event, h11.Data) else h11.EndOfMessage())
            except OSError:
                return

    async def _of_client(self) -> object:
        """The next event of the request. A failure here is not the server's."""
        await checkpoint()
        try:
            while (event := self._client.next_event()) is h11.NEED_DATA:
                self._client.receive(await self._read(self._near))
                self._touch()
        except (MessageError, OSError):
            self._ended_by = "left"
            raise
        return event

    async def _answer(self, name: str, last: bool) -> None:
        if self._early:
            self._receive(self._early)
        while not isinstance(event := await self._of_server(), h11.EndOfMessage):
            if isinstance(event, h11.InformationalResponse):
                if self._client.peer_version < b"1.1":  # it would treat that as the final response (RFC 9110 section 15.2)
                    continue
                await self._to_client(h11.InformationalResponse(status_code=event.status_code, headers=onward(event, name)))
            elif isinstance(event, h11.Response):
                self._answered = True
                fields = [*onward(event, name), _CLOSE] if last else onward(event, name)
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
            self._receive(await self._read(self._far))
        return event

    async def _read(self, stream: Stream) -> bytes:
        """Reads from one side, as the relay does: bulk yields to keystrokes, and what the kernel queues of it is bounded."""
        data = await stream.receive_some()
        mark_bulk(len(data) >= BULK)
        if len(data) == CHUNK and stream not in self._bulk:
            self._bulk.add(stream)
            stream.expect_bulk()
        return data

    def _receive(self, data: bytes) -> None:
        self.moved[BACKWARD] += len(data)
        self._server.receive(data)
        self._touch()

    async def _to_server(self, event: h11.Event) -> None:
        data = self._server.send(event)
        if data:
            await self._far.send_all(data)
            self.moved[FORWARD] += len(data)
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

    def _apply_half_close_limit(self) -> None:
        """Called when the client sends nothing more: it waits for its response, or it has gone."""
        self.client_ended = True
        self._limit = min(self._limit, self._limits.half_closed)
        self._touch()

    def _leave(self) -> None:
        """Called when the client has gone: nobody waits for the response."""
        self._client_gone = True
        self._scope.cancel()

    def _expired(self) -> str:
        """Returns the cause after the scope was left: the client has gone, or no byte has moved for too long."""
        if self._client_gone:
            self._ended_by = "left"
            return "reset"
        self.failure = TimeoutError(ETIMEDOUT, f"no byte moved for {self._limit:g} s")
        self._ended_by = "left" if self.client_ended else ""
        return "half-closed" if self.client_ended else "idle"

    def _touch(self) -> None:
        """Restarts the limit."""
        self._scope.reschedule(current_time() + self._limit)
