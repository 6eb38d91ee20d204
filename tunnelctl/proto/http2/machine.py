"""One end of an HTTP/2 connection that carries tunnels: octets in, events out; requests, responses and credit in, octets out.

Theory of operation.

    receive(octets, now) ─▶ reader: frames ─▶ rules on the frame, the stream, the windows ─▶ events
    request, respond, data_header, end, reset, consumed ─▶ rules ─▶ `output`: control frames, in the order in which to send them

A machine knows no socket and no clock. It never holds data: what it receives it passes on as views of the octets that it was given,
and for what is to be sent it only makes the frame headers. `output` has everything else. DATA may be sent before it or after it,
with one exception: the head of a stream comes before its data. (So a response, made by `respond`, must leave before that.)

Each stream has a state (tunnelctl.proto.http2.states). A closed one is forgotten, except that the last ones which we reset are
remembered, because the peer may have sent more before it knew: that counts for the window of the connection, and is dropped. Any
other frame on a closed stream is the peer's mistake, unless a race explains it (WINDOW_UPDATE, RST_STREAM, PRIORITY).

A mistake on one stream resets that stream (StreamFault); one that leaves the two ends with different ideas of the connection ends
it, with GOAWAY (ConnectionFault). What a peer may cost is bounded: see tunnelctl.proto.http2.budget.

The section numbers are those of RFC 9113; the rules by number are in tests/CONFORMANCE.md.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from hpack import Encoder

from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.http2 import events, frame
from tunnelctl.proto.http2.blocks import Block, BlockDecoder
from tunnelctl.proto.http2.budget import (
    CREDITED,
    MAX_BLOCK,
    MAX_CONTINUATIONS,
    MAX_CONTROL,
    MAX_FIELDS_SIZE,
    MAX_INTERIM,
    TINY,
    Bucket,
    Budgets,
)
from tunnelctl.proto.http2.fields import (
    Malformed,
    check_trailers,
    parse_response,
    request_block,
    response_block,
)
from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode, StreamFault
from tunnelctl.proto.http2.reader import FrameReader
from tunnelctl.proto.http2.settings import DEFAULT_WINDOW, Settings
from tunnelctl.proto.http2.states import CLOSED, HALF_CLOSED_REMOTE, NEXT, OPEN, RECEIVE_END, RESET, SEND_END, State, Step
from tunnelctl.proto.http2.window import Credit, ReceiveWindow, WindowBudget

MAX_FRAME = 1 << 16  # octets of payload that we accept in a frame: our own other end sends a whole read as one
MAX_REMEMBERED = 1024  # streams that we have reset
GRACE = frame.LARGEST_STREAM  # the last stream of the first GOAWAY: none is turned away yet (section 6.8)
_EXCEEDED = "the window of the stream is exceeded"
_MEASURE = b"measured"  # the payload of a PING
_BLOCK_KINDS = bytes([frame.HEADERS]), bytes([frame.CONTINUATION])
_ESTABLISHED = b"\x88"  # :status 200, from the static table of HPACK


class _Stream:
    """One stream."""

    __slots__ = ("answered", "interim", "send_window", "state", "tunnel", "window")

    def __init__(self, send_window: int, window: ReceiveWindow) -> None:
        self.state: State = OPEN
        self.send_window, self.window = send_window, window
        self.answered = False  # whether the peer may send data: to a client, once its final response has come
        self.tunnel = True  # False: what follows is the body of a refusal
        self.interim = 0  # 1xx responses


class Machine(FrameReader):
    """One end of a connection."""

    __slots__ = (
        "_answers",
        "_block",
        "_block_flags",
        "_block_stream",
        "_budgets",
        "_client",
        "_continuations",
        "_credit",
        "_decoder",
        "_encoder",
        "_events",
        "_first",
        "_handlers",
        "_highest",
        "_last_accepted",
        "_max_streams",
        "_measuring",
        "_next",
        "_now",
        "_remembered",
        "_round_trip",
        "_settings_unacknowledged",
        "_streams",
        "_uncredited",
        "block_since",
        "closed",
        "goaway",
        "ours",
        "output",
        "peer",
        "send_window",
    )

    def __init__(self, client: bool, budget: WindowBudget, now: float, max_streams: int = 0) -> None:
        """budget: of the process, for the receive windows; max_streams: that the peer may have open"""
        super().__init__(b"" if client else frame.PREFACE, MAX_FRAME)
        self._client, self._max_streams, self._now = client, max_streams, now
        self._credit = Credit(budget, now)
        self.ours = Settings(
            enable_push=0 if client else 1,
            max_concurrent_streams=Settings().max_concurrent_streams if client else max_streams,
            initial_window_size=self._credit.first_stream_window,
            max_frame_size=MAX_FRAME,
            max_header_list_size=MAX_FIELDS_SIZE,
        )
        self.peer = Settings()
        self.send_window = DEFAULT_WINDOW  # of the connection
        self._round_trip = 0.0  # seconds, the least that was measured
        self._measuring: float | None = None  # when the PING was sent that measures the round trip
        self._uncredited = 0  # octets of data sent for which no WINDOW_UPDATE has come: see `CREDITED`
        self.output = bytearray((frame.PREFACE if client else b"") + self.ours.render() + self._credit.first())
        self.closed = False  # the machine has ended the connection, and takes nothing more
        self.goaway: events.GoAwayReceived | None = None
        self._encoder, self._decoder = Encoder(), BlockDecoder()
        self._budgets = Budgets(now)
        self._streams: dict[int, _Stream] = {}
        self._remembered: dict[int, None] = {}  # streams that we have reset, in that order
        self._next, self._highest = 1, 0  # the number of our next stream; the highest that the peer has opened
        self._last_accepted = GRACE  # streams above it get REFUSED_STREAM
        self._first = True  # the peer's first frame, SETTINGS, has not come
        self._settings_unacknowledged: float | None = now  # when we sent our settings
        self._answers = 0  # octets of answers that were queued since the output was empty
        self._block = bytearray()  # of a header block that CONTINUATION goes on with
        self._block_stream = self._block_flags = self._continuations = 0
        self.block_since = inf  # when the header block began that is under way, and nothing else may come; inf: none is
        self._events: list[events.Event] = []
        self._handlers: tuple[Callable[[int, int, memoryview], None] | None, ...] = (
            None,  # DATA, by the reader
            self._on_headers,
            self._on_priority,
            self._on_rst_stream,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_goaway,
            self._on_window_update,
            self._on_continuation,
        )

    # -- what the peer sends ---------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[events.Event]:
        """Takes octets, and returns what they mean. The views in it are valid as long as `data` is.

        data: b"" to go on after `more`; now: seconds on a monotonic clock
        """
        self._now = now
        if not self.closed:
            try:
                self._read(data)
            except ConnectionFault as fault:
                self.fail(fault.code, fault.reason)
                self._events.append(events.ConnectionFailed(fault.code, fault.reason))
            if self.block_since == inf and (self._block_stream or self._rest[3:4] in _BLOCK_KINDS):  # the latter: a part of a frame
                self.block_since = now
        found, self._events = self._events, []  # the views in it keep the octets
        return found

    def fail(self, code: ErrorCode, reason: str) -> None:
        """Ends the connection with GOAWAY. Nothing that has come after the fault is looked at."""
        if not self.closed:
            self.closed, self.more = True, False
            self._last_accepted = min(self._last_accepted, self._highest)  # it never rises (section 6.8)
            self.output += frame.goaway(self._last_accepted, code, reason.encode("ascii", "replace"))

    def _on_frame(self, kind: int, flags: int, stream: int, payload: memoryview) -> None:
        if self._first or self._block_stream:
            self._check_order(kind, flags)
        handler = self._handlers[kind]
        assert handler is not None
        try:
            handler(flags, stream, payload)
        except StreamFault as fault:
            self._fail_stream(fault)

    def _check_order(self, kind: int, flags: int) -> None:
        if self._first and (kind != frame.SETTINGS or flags & frame.ACK):  # section 3.4
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block_stream and kind != frame.CONTINUATION:  # section 6.10
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block is not complete")
        self._first = False

    def _fail_stream(self, fault: StreamFault) -> None:
        """Resets a stream because of the peer's mistake. Too many of them end the connection (CVE-2025-8671)."""
        self._spend(self._budgets.errors, "too many mistakes on streams")
        self.reset(fault.stream, fault.code)
        self._events.append(events.StreamFailed(fault.stream, fault.code, fault.reason))

    def _spend(self, bucket: Bucket, reason: str) -> None:
        if not bucket.take(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason)

    def _glitch(self) -> None:
        self._spend(self._budgets.glitches, "too many frames that move no data")

    def _on_unknown(self, kind: int) -> None:
        self._check_order(kind, 0)
        self._glitch()

    def _is_idle(self, stream: int) -> bool:
        """Whether a stream has never been used."""
        if (stream % 2 == 1) == self._client:
            return stream >= self._next
        return stream > self._highest

    def _expect_used(self, stream: int, kind: str) -> None:
        if stream == 0 or self._is_idle(stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{kind} on stream {stream}, which is idle")

    # DATA

    def _on_data_run(self, stream: int, payloads: list[memoryview], flags: int) -> None:
        known, octets = self._streams.get(stream), len(payloads[0])
        size = len(payloads) * octets
        usual = known is not None and known.answered and known.state is not HALF_CLOSED_REMOTE and known.window.left >= size
        if known is None or not usual or self._first or self._block_stream or not self._credit.permits(size):
            super()._on_data_run(stream, payloads, flags)  # one by one, up to the one that is a mistake
            return
        if octets < TINY:
            self._check_tiny(octets, flags)
        if update := self._credit.arrived(size):
            self.output += update
        known.window.take(size)
        if size:
            self._events.append(events.DataReceived(stream, payloads, size))
        if flags & frame.END_STREAM:
            self._receive_end(stream)

    def _on_data_begin(self, stream: int, length: int, octets: int, flags: int) -> None:
        if self._first or self._block_stream:
            self._check_order(frame.DATA, flags)
        if update := self._credit.arrived(length):
            self.output += update
        if octets < TINY:
            self._check_tiny(octets, flags)
        known = self._streams.get(stream)
        if known is None:
            self._check_stray(stream, "DATA")
        else:
            self._check_data(stream, known, length)
        if length > octets:  # padding is consumed here
            self.consumed(stream, length - octets, self._now)

    def _check_tiny(self, octets: int, flags: int) -> None:
        """Raises ConnectionFault if there is too much DATA as small as this. The frame that ends a stream is exempt."""
        if not flags & frame.END_STREAM:
            self._spend(self._budgets.tiny if octets else self._budgets.empty, "too much DATA with little data")

    def _check_data(self, stream: int, known: _Stream, length: int) -> None:
        if known.state is HALF_CLOSED_REMOTE:
            code, reason = ErrorCode.STREAM_CLOSED, "DATA after END_STREAM"
        elif not known.window.take(length):
            code, reason = ErrorCode.FLOW_CONTROL_ERROR, _EXCEEDED
        elif not known.answered:
            code, reason = ErrorCode.PROTOCOL_ERROR, "DATA before HEADERS"
        else:
            return
        self._fail_stream(StreamFault(stream, code, reason))

    def _check_stray(self, stream: int, kind: str) -> None:
        """Permits frames of a stream that we have reset, until the peer ends it."""
        self._expect_used(stream, kind)
        if stream not in self._remembered:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"{kind} on stream {stream}, which is closed")

    def _on_data(self, stream: int, data: memoryview) -> None:
        if stream in self._streams:
            self._events.append(events.DataReceived(stream, [data], len(data)))
        else:  # reset, perhaps in the middle of the frame: it is dropped, and counts for the connection all the same (rule 14)
            self.consumed(stream, len(data), self._now)

    def _on_data_end(self, stream: int, flags: int) -> None:
        if flags & frame.END_STREAM:
            if stream in self._streams:
                self._receive_end(stream)
            else:
                self._remembered.pop(stream, None)

    def _receive_end(self, stream: int) -> None:
        self._step(stream, RECEIVE_END)
        self._events.append(events.EndReceived(stream))

    def _step(self, stream: int, step: Step) -> None:
        known = self._streams[stream]
        state = known.state = NEXT[known.state][step]
        if state is CLOSED:
            del self._streams[stream]

    # HEADERS and CONTINUATION

    def _on_headers(self, flags: int, stream: int, payload: memoryview) -> None:
        if stream % 2 == 0:  # section 5.1.1; a client has promised streams only by push
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream}")
        if self._client and self._is_idle(stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream}, which is idle")
        if flags & (frame.PADDED | frame.WITH_PRIORITY):
            payload = self._without_padding(flags, payload)
        self._block_stream, self._block_flags, self._continuations = stream, flags, 0
        self._take_block(payload, bool(flags & frame.END_HEADERS))

    @staticmethod
    def _without_padding(flags: int, payload: memoryview) -> memoryview:
        """Returns the header block in the payload of HEADERS, without padding and priority."""
        start, end = (1 if flags & frame.PADDED else 0) + (5 if flags & frame.WITH_PRIORITY else 0), len(payload)
        if start > end:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS is too short")
        if flags & frame.PADDED and (end := end - payload[0]) < start:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS with more padding than payload")
        return payload[start:end]

    def _on_continuation(self, flags: int, stream: int, payload: memoryview) -> None:
        if not self._block_stream or stream != self._block_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._continuations += 1
        if self._continuations > MAX_CONTINUATIONS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        self._take_block(payload, bool(flags & frame.END_HEADERS))

    def _take_block(self, piece: memoryview, complete: bool) -> None:
        if len(self._block) + len(piece) > MAX_BLOCK:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the header block is too long")
        if not complete:
            self._block += piece
            return
        block, stream, ended = bytes(self._block) + piece, self._block_stream, bool(self._block_flags & frame.END_STREAM)
        self._block.clear()
        self._block_stream, self.block_since = 0, inf
        self._on_block(stream, self._decoder.decode(block), ended)

    def _on_block(self, stream: int, block: Block, ended: bool) -> None:
        try:
            if stream in self._streams:
                self._on_known_block(stream, block, ended)
            elif not self._client and stream > self._highest:
                self._on_request(stream, block, ended)
            else:
                self._check_stray(stream, "HEADERS")
                self._glitch()
                if ended:
                    del self._remembered[stream]
        except Malformed as error:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, str(error)) from None

    def _on_request(self, stream: int, block: Block, ended: bool) -> None:
        self._highest = stream
        if stream > self._last_accepted or len(self._streams) >= self._max_streams:
            self._refuse_stream(stream)
            return
        window = ReceiveWindow(self.ours.initial_window_size, self._now)
        known = self._streams[stream] = _Stream(self.peer.initial_window_size, window)
        known.answered = True
        self._events.append(events.RequestReceived(stream, block.request()))
        if ended:
            self._receive_end(stream)

    def _refuse_stream(self, stream: int) -> None:
        """Turns a stream away. It counts as one that the peer has reset: it has cost as much."""
        self._spend(self._budgets.resets, "too many streams beyond the limit")
        self._send_reset(stream, ErrorCode.REFUSED_STREAM)

    def _on_known_block(self, stream: int, block: Block, ended: bool) -> None:
        known = self._streams[stream]
        if known.state is HALF_CLOSED_REMOTE:
            raise StreamFault(stream, ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        if self._client and not known.answered:
            self._on_response(stream, known, block, ended)
        elif self._client and not known.tunnel and ended:
            check_trailers(block.fields)  # of a refusal
            self._receive_end(stream)
        else:  # section 8.5: no frames but DATA in a tunnel
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "HEADERS in a tunnel")

    def _on_response(self, stream: int, known: _Stream, block: Block, ended: bool) -> None:
        response = parse_response(block.fields)
        if response.status < 200:
            known.interim += 1
            if ended or known.interim > MAX_INTERIM:
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "an interim response ends the stream, or there are too many")
            return
        known.answered, known.tunnel = True, 200 <= response.status < 300
        self._events.append(events.ResponseReceived(stream, response))
        if ended:
            self._receive_end(stream)

    # the other frames

    def _on_priority(self, flags: int, stream: int, payload: memoryview) -> None:
        """Ignores it: the scheme is deprecated (section 5.3)."""
        if stream == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:  # of the stream by section 6.3, but it may be idle, and then there is nothing to reset (section 6.4)
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 octets long")
        self._glitch()

    def _on_rst_stream(self, flags: int, stream: int, payload: memoryview) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is not 4 octets long")
        self._expect_used(stream, "RST_STREAM")
        if not self._client:
            self._spend(self._budgets.resets, "too many streams are reset")
        if stream in self._streams:
            self._step(stream, RESET)
            self._events.append(events.ResetReceived(stream, frame.error_code(payload)))
        else:
            self._glitch()
            self._remembered.pop(stream, None)

    def _on_settings(self, flags: int, stream: int, payload: memoryview) -> None:
        if stream != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS on stream {stream}")
        self._glitch()
        if flags & frame.ACK:
            self._on_settings_ack(payload)
            return
        before, self.peer = self.peer, self.peer.updated(payload, from_server=self._client)
        if change := self.peer.initial_window_size - before.initial_window_size:
            self._shift_windows(change)
        if self.peer.header_table_size != before.header_table_size:
            self._resize_table()
        self._answer(frame.header(0, frame.SETTINGS, frame.ACK, 0))
        self._events.append(events.SettingsReceived())
        if change > 0:
            self._events.extend(events.WindowOpened(number) for number in self._streams)

    def _on_settings_ack(self, payload: memoryview) -> None:
        if payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with a payload")
        if self._settings_unacknowledged is not None:
            self.measured(self._now - self._settings_unacknowledged)
            self._settings_unacknowledged = None
            self._events.append(events.SettingsAcknowledged())

    def _resize_table(self) -> None:
        """Takes the peer's limit for the table of our encoder; the next block says so, in two updates at most (RFC 7541, 4.2)."""
        self._encoder.header_table_size = min(self.peer.header_table_size, Settings().header_table_size)
        changes = self._encoder.table_size_changes
        if len(changes) > 2:
            changes[:] = [min(changes), changes[-1]]

    def _shift_windows(self, change: int) -> None:
        """Applies a change of INITIAL_WINDOW_SIZE to the open streams, whose windows may become negative (section 6.9.2)."""
        for known in self._streams.values():
            known.send_window += change
            if known.send_window > frame.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE makes a window too large")

    def _on_push_promise(self, flags: int, stream: int, payload: memoryview) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody allowed")

    def _on_ping(self, flags: int, stream: int, payload: memoryview) -> None:
        if stream != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"PING on stream {stream}")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 octets long")
        self._glitch()
        if flags & frame.ACK and payload == _MEASURE and self._measuring is not None:
            self.measured(self._now - self._measuring)
            self._measuring = None
        elif flags & frame.ACK:
            self._events.append(events.PingAcknowledged(bytes(payload)))
        else:
            self._answer(frame.ping(bytes(payload), ack=True))

    def _answer(self, octets: bytes) -> None:
        """Queues an answer, of which a peer that reads none may cause only so many. What we send by ourselves does not count."""
        self._answers = len(octets) + (self._answers if self.output else 0)
        if min(self._answers, len(self.output)) > MAX_CONTROL:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the answers are not read")
        self.output += octets

    def _on_goaway(self, flags: int, stream: int, payload: memoryview) -> None:
        if stream != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"GOAWAY on stream {stream}")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")
        self._glitch()
        last = frame.number(payload)
        self.goaway = events.GoAwayReceived(last, frame.error_code(payload, 4), bytes(payload[8:]))
        self._events.append(self.goaway)
        if self._client:
            for number in [number for number in self._streams if number > last]:  # not processed: they may be retried elsewhere
                self._step(number, RESET)
                self._events.append(events.ResetReceived(number, ErrorCode.REFUSED_STREAM))

    def _on_window_update(self, flags: int, stream: int, payload: memoryview) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 octets long")
        if self._uncredited >= CREDITED:
            self._uncredited -= CREDITED
        else:
            self._glitch()
        increment = frame.number(payload)
        if stream == 0:
            self.send_window += increment
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            if self.send_window > frame.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the window too large")
            self._events.append(events.WindowOpened(0))
            return
        self._expect_used(stream, "WINDOW_UPDATE")
        known = self._streams.get(stream)
        if known is not None:  # else it is closed, and the frame was under way (section 5.1)
            known.send_window += increment
            if not increment:
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            if known.send_window > frame.LARGEST_WINDOW:
                raise StreamFault(stream, ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the window too large")
            self._events.append(events.WindowOpened(stream))

    # -- what we send ----------------------------------------------------------------------------------------------------------

    @property
    def round_trip(self) -> float:
        """Seconds, the least that was measured; 0 as long as it is unknown."""
        return self._round_trip

    def measured(self, round_trip: float) -> None:
        """Takes a measurement, in seconds: windows grow by it.

        The least counts. What waits in queues on the way, because a window is larger than the path needs, would count otherwise:
        then windows grew without end, and a keystroke waited behind all that they let through.
        """
        self._round_trip = self._credit.round_trip = min(round_trip, self._round_trip or round_trip)

    @property
    def streams(self) -> int:
        """The number of open streams."""
        return len(self._streams)

    @property
    def accepts(self) -> int:
        """The number of streams that the peer lets us have open; 0 if it accepts no more."""
        if self.closed or self.goaway is not None or self._next > frame.LARGEST_STREAM:
            return 0
        return self.peer.max_concurrent_streams

    def request(self, target: Address, fields: Fields) -> int:
        """Requests a tunnel; returns its stream. The caller has looked at `accepts`."""
        stream, self._next = self._next, self._next + 2
        window = ReceiveWindow(self.ours.initial_window_size, self._now)
        self._streams[stream] = _Stream(self.peer.initial_window_size, window)
        block = self._encoder.encode(request_block(target, fields))
        self.output += frame.headers(stream, block, self.peer.max_frame_size, ended=False)
        return stream

    def respond(self, stream: int, status: int, fields: Fields = (), ended: bool = False) -> None:
        """Sends the head of a response; `ended` without a body. Nothing if the stream is closed."""
        if stream not in self._streams:
            return
        # The usual one is an entry of HPACK's static table. It needs no encoder, unless the table has a new size to announce.
        usual = status == 200 and not fields and not self._encoder.table_size_changes
        block = _ESTABLISHED if usual else self._encoder.encode(response_block(status, fields))
        self.output += frame.headers(stream, block, self.peer.max_frame_size, ended)
        if ended:
            self._step(stream, SEND_END)

    def is_open(self, stream: int) -> bool:
        """Whether a stream is known, and not yet closed."""
        return stream in self._streams

    def sendable(self, stream: int) -> int:
        """The octets of data that the windows allow now."""
        known = self._streams.get(stream)
        if known is None:
            return 0
        # Compared by hand, because min() and max() take as long as the rest.
        allowed = known.send_window if known.send_window < self.send_window else self.send_window
        return allowed if allowed > 0 else 0

    def window_of(self, stream: int) -> int:
        """The octets that the window of the stream alone allows."""
        known = self._streams.get(stream)
        return max(0, known.send_window) if known is not None else 0

    def spend(self, stream: int, length: int) -> None:
        """Counts data that the caller sends in DATA frames."""
        self._streams[stream].send_window -= length
        self.send_window -= length
        self._uncredited += length

    def end(self, stream: int) -> bytes:
        """Ends our direction: returns the DATA frame that says so, which must follow the data. b"" if there is nothing to end."""
        known = self._streams.get(stream)
        if known is None or SEND_END not in NEXT[known.state]:
            return b""
        self._step(stream, SEND_END)
        return frame.header(0, frame.DATA, frame.END_STREAM, stream)

    def reset(self, stream: int, code: ErrorCode) -> None:
        """Ends both directions of a stream at once. Nothing if it is closed: a reset must not answer a reset (section 5.4.2)."""
        if stream in self._streams:
            self._step(stream, RESET)
            self._send_reset(stream, code)

    def _send_reset(self, stream: int, code: ErrorCode) -> None:
        self._remembered[stream] = None
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self.output += frame.rst_stream(stream, code)

    def ping(self, payload: bytes) -> None:
        """Sends a PING. payload: eight octets, which the answer repeats"""
        self.output += frame.ping(payload, ack=False)

    def begin_shutdown(self) -> None:
        """Announces that no further streams will be accepted. Those under way are (section 6.8); see `finish_shutdown`."""
        if not self.closed and self._last_accepted == GRACE:
            self.output += frame.goaway(GRACE, ErrorCode.NO_ERROR, b"")

    def finish_shutdown(self) -> None:
        """Accepts no further streams; the peer knows which were accepted. Called a round trip later."""
        if not self.closed:
            self._last_accepted = min(self._last_accepted, self._highest)
            self.output += frame.goaway(self._last_accepted, ErrorCode.NO_ERROR, b"")

    def consumed(self, stream: int, count: int, now: float) -> None:
        """Counts octets that have left for the sink, and credits the peer with them. now: as for `receive`"""
        known = self._streams.get(stream)
        open_window = known.window if known is not None and known.state is not HALF_CLOSED_REMOTE else None
        self.output += self._credit.consumed(stream, open_window, count, now)
        if self._credit.grew and self._measuring is None:
            self._credit.grew, self._measuring = False, now
            self._credit.round_trip = 0.0  # no further growth until it is known what this has done
            self.ping(_MEASURE)

    def release(self) -> None:
        """Returns this connection's part of the budget of windows. Called once, at its end."""
        self._credit.release()
