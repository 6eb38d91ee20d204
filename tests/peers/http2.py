"""HTTP/2 for scripted clients and proxies: the library h2 under blocking calls, and a record of every frame that has come.

h2 is strict about what it receives, so that each end built on this is also an oracle: a frame that breaks RFC 9113 fails the
test. What h2 sends it checks only where it must; for the rest there is `send_raw`.
"""

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import Any, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, InformationalResponseReceived, RequestReceived, ResponseReceived, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Encoder, NeverIndexedHeaderTuple

from tests.peers.scripted import RESET

STEP_SECONDS = 15.0  # time limit for one step of the peer
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
END_STREAM = "END_STREAM"
LOST = "connection lost"
_MAX_UNSENT = 1 << 18  # a stream waits while more than this is queued, so that the peer's back-pressure reaches the script
_MANY = 1 << 31

Field = tuple[str, str]


class Kind(IntEnum):
    """Frame types."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """Frame flags."""

    ACK = END_STREAM = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 0x20


class Frame(NamedTuple):
    """A frame as it is on the wire. `kind` is a plain number if RFC 9113 does not define it."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def encode(self) -> bytes:
        return len(self.payload).to_bytes(3) + struct.pack(">BBI", self.kind, self.flags, self.stream) + self.payload


class GoAway(NamedTuple):
    last: int
    code: int
    debug: bytes


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """The bytes of a frame, for `send_raw`; nothing is checked."""
    return Frame(kind, flags, stream, payload).encode()


def settings_frame(values: Iterable[tuple[int, int]]) -> bytes:
    return frame(Kind.SETTINGS, payload=b"".join(struct.pack(">HI", *value) for value in values))


def header_block(fields: Iterable[Field]) -> bytes:
    """Encodes fields without the dynamic table, so that the block is valid at any point of a connection."""
    return Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields], huffman=False)


def reset_with(code: int) -> str:
    """The `ending` of a stream that the peer has reset with this code."""
    return f"RST_STREAM {name_of(code)}"


def name_of(code: int) -> str:
    return ErrorCodes(code).name if code in set(ErrorCodes) else f"{code:#x}"


def split(buffer: bytearray) -> Iterator[Frame]:
    """Takes the complete frames off the front of a buffer."""
    while len(buffer) >= 9 and len(buffer) >= (end := 9 + int.from_bytes(buffer[:3])):
        kind, flags, stream = struct.unpack(">BBI", buffer[3:9])
        yield Frame(Kind(kind) if kind in set(Kind) else kind, flags, stream & 0x7FFF_FFFF, bytes(buffer[9:end]))
        del buffer[:end]


def _fields(headers: Any) -> list[Field]:
    """The fields of an event of h2, which are tuples of text; their class says whether they may be indexed."""
    return list(headers)


class _Connection(H2Connection):
    """A connection of h2 that leaves the number of streams to its user, who may exceed the limit or refuse with a code."""

    @property
    def open_outbound_streams(self) -> int:
        return super().open_outbound_streams - _MANY  # the call itself makes h2 forget the closed streams

    @property
    def open_inbound_streams(self) -> int:
        return super().open_inbound_streams - _MANY


class Stream:
    """One stream, from either end. Reading gives the peer credit for what was read, and nothing else does."""

    def __init__(self, connection: "Endpoint", number: int) -> None:
        self.connection, self.number = connection, number
        self.fields: list[Field] | None = None  # of the request or of the final response that has come
        self.interim: list[list[Field]] = []
        self.trailers: list[Field] | None = None
        self.data = bytearray()  # received and not read yet
        self.ended = False  # END_STREAM has come
        self.reset_code: int | None = None  # of the RST_STREAM that has come, perhaps after END_STREAM
        self.sent_end = False
        self.reset_sent = False
        self.discarding = False

    def __repr__(self) -> str:
        held = f"{len(self.data)} bytes unread, {self.ending or 'open'}"
        return f"<stream {self.number}: {self.fields}, interim {self.interim}, {held}>"

    @property
    def ending(self) -> str:
        """How the peer has ended the stream: END_STREAM, reset_with(code), LOST, or "" while it is open.

        A reset after END_STREAM does not change it, because all data had come by then; see `reset_code`.
        """
        if self.ended:
            return END_STREAM
        if self.reset_code is not None:
            return reset_with(self.reset_code)
        return LOST if self.connection.lost else ""

    @property
    def closed(self) -> bool:
        """Whether both sides have ended it, or one has reset it."""
        return self.reset_sent or self.reset_code is not None or (self.ended and self.sent_end)

    @property
    def unprocessed(self) -> bool:
        """Whether the peer's GOAWAY says that it has not processed the request."""
        return any(self.number > goaway.last for goaway in self.connection.goaways)

    def field(self, name: str) -> str | None:
        """The first value of a field that has come."""
        return next((value for other, value in self.fields or () if other == name), None)

    def never_indexed(self, name: str) -> bool:
        """Whether a field has come as a never-indexed literal, as secrets must."""
        return all(isinstance(field, NeverIndexedHeaderTuple) for field in self.fields or () if field[0] == name)

    def wait_end(self) -> str:
        """Waits until the peer has ended or reset the stream, or the connection is lost; returns `ending`."""
        self.connection.wait_for(lambda: self.ending, f"the end of {self}")
        return self.ending

    def read(self, size: int = 1 << 18) -> bytes:
        """The next bytes; b"" after END_STREAM. Raises ConnectionResetError or ConnectionAbortedError after the last byte."""
        with self.connection.changed:
            self.connection.wait_for(lambda: self.data or self.ending, f"data on {self}")
            if not self.data and not self.ended:
                raise self._failure()
            piece = bytes(self.data[:size])
            del self.data[:size]
            self.connection.credit_read(self, len(piece))
            return piece

    def read_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.read(size - len(data))
            assert piece, f"END_STREAM after {len(data)} of {size} bytes"
            data += piece
        return bytes(data)

    def read_to_end(self) -> bytes:
        """Reads until END_STREAM."""
        data = bytearray()
        while piece := self.read():
            data += piece
        return bytes(data)

    def send(self, data: bytes, end: bool = False) -> None:
        """Sends DATA as the peer's windows permit, and END_STREAM on the last frame if it is the end."""
        view, connection = memoryview(data), self.connection
        while view:
            with connection.changed:
                connection.wait_for(lambda: self._stopped() or self.room(), f"credit for {self}")
                if self._stopped():
                    raise self._failure()
                piece, view = view[: self.room()], view[self.room() :]
                self.sent_end = end and not view
                connection.h2.send_data(self.number, bytes(piece), end_stream=self.sent_end)
                connection.flush()
        if end and not self.sent_end:
            self.end()

    def room(self) -> int:
        """The largest payload that may be sent now."""
        if self.connection.unsent >= _MAX_UNSENT:
            return 0
        h2 = self.connection.h2
        return max(0, min(h2.local_flow_control_window(self.number), h2.max_outbound_frame_size))

    def _stopped(self) -> bool:
        return self.reset_code is not None or bool(self.connection.lost)

    def _failure(self) -> ConnectionError:
        if self.reset_code is not None:
            return ConnectionResetError(f"the peer has sent {reset_with(self.reset_code)}")
        return ConnectionAbortedError(f"the connection was lost: {self.connection.lost}")

    def end(self) -> None:
        """Sends END_STREAM in an empty DATA frame."""
        with self.connection.changed:
            if self._stopped():
                raise self._failure()
            self.sent_end = True
            self.connection.h2.end_stream(self.number)
            self.connection.flush()

    def reset(self, code: int = ErrorCodes.CANCEL) -> None:
        with self.connection.changed:
            self.reset_sent = True
            self.connection.h2.reset_stream(self.number, code)
            self.connection.flush()

    def discard(self) -> None:
        """Gives the peer credit for all unread data, and for what is still to come."""
        with self.connection.changed:
            self.discarding = True
            self.connection.credit_read(self, len(self.data))
            self.data.clear()


class Endpoint:
    """One end of a connection. Methods may be called in several threads; `changed` guards all state.

    `settings` replaces values of h2's SETTINGS, `window` is the size of the connection's window. `mute` names kinds of frames
    that are held back, except in the first flight and in `send_raw`: an end with (PING,) does not answer PINGs.
    """

    def __init__(
        self,
        sock: socket.socket,
        client_side: bool,
        *,
        settings: Mapping[int, int] | None = None,
        window: int = DEFAULT_WINDOW,
        mute: Collection[int] = (),
    ) -> None:
        # Outbound header validation is off, because tests send malformed requests.
        config = H2Configuration(client_side, "latin-1", validate_outbound_headers=False, normalize_outbound_headers=False)
        self.sock, self.h2, self.changed = sock, _Connection(config), threading.Condition()
        ours: dict[Any, int] = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_CONCURRENT_STREAMS: 100, **(settings or {})}
        self._announce(Settings(client=client_side, initial_values=ours))
        self.streams: dict[int, Stream] = {}
        self.frames: list[Frame] = []  # received
        self.settings: dict[int, int] = {}  # of the peer
        self.lost = ""  # "closed" or "reset", once no more can come
        self.reading = True
        self._mute, self._raw = frozenset[int](), set[int]()
        self._unsent, self._partial, self._muted = bytearray(), bytearray(), bytearray()
        self._send_reset = False  # whether sending has found the connection reset
        self._preface_left = 0 if client_side else len(PREFACE)
        self.h2.initiate_connection()
        if window > DEFAULT_WINDOW:
            self.h2.increment_flow_control_window(window - DEFAULT_WINDOW)
        self._collect()
        self._mute = frozenset(mute)

    def _announce(self, settings: Settings) -> None:
        """Puts settings in force before the peer acknowledges them: h2 itself would announce its defaults first."""
        self.h2.local_settings = settings
        self.h2.max_inbound_frame_size = settings.max_frame_size
        self.h2.decoder.max_allowed_table_size = settings.header_table_size
        self.h2.decoder.max_header_list_size = settings.get(SettingCodes.MAX_HEADER_LIST_SIZE, 1 << 16)

    # --- what has come

    def received(self, kind: int, stream: int | None = None) -> list[Frame]:
        return [frame for frame in self.frames if frame.kind == kind and stream in (None, frame.stream)]

    @property
    def pings(self) -> list[bytes]:
        """The payloads of the PINGs that have come."""
        return [frame.payload for frame in self.received(Kind.PING) if not frame.flags & Flag.ACK]

    @property
    def pongs(self) -> list[bytes]:
        """The payloads of the acknowledgements of our PINGs."""
        return [frame.payload for frame in self.received(Kind.PING) if frame.flags & Flag.ACK]

    @property
    def settings_acknowledged(self) -> int:
        return sum(frame.flags & Flag.ACK for frame in self.received(Kind.SETTINGS))

    @property
    def goaways(self) -> list[GoAway]:
        found = [frame.payload for frame in self.received(Kind.GOAWAY)]
        return [GoAway(int.from_bytes(last[:4]), int.from_bytes(last[4:8]), last[8:]) for last in found]

    def credits(self, stream: int = 0) -> list[int]:
        """The increments of the WINDOW_UPDATE frames for a stream, or for the connection."""
        return [int.from_bytes(frame.payload) for frame in self.received(Kind.WINDOW_UPDATE, stream)]

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    # --- what is sent

    def send_raw(self, data: bytes) -> None:
        """Sends bytes as they are, after what h2 has to send. h2 does not know of them, nor of windows that they use up."""
        with self.changed:
            self._collect()
            self._unsent += data
            self.flush()

    def ping(self, data: bytes = b"12345678") -> None:
        """Sends a PING and waits for its acknowledgement; what the peer sent before it has come then."""
        with self.changed:
            before = self.pongs.count(data)
            self.h2.ping(data)
            self.flush()
        self.wait_for(lambda: self.pongs.count(data) > before, "the acknowledgement of a PING")

    def update_settings(self, values: Mapping[int, int]) -> None:
        """Sends SETTINGS and waits for the acknowledgement."""
        with self.changed:
            before = self.settings_acknowledged
            self.h2.update_settings(dict(values))
            self.flush()
        self.wait_for(lambda: self.settings_acknowledged > before, "the acknowledgement of SETTINGS")

    def goaway(self, last: int, code: int = ErrorCodes.NO_ERROR, debug: bytes = b"") -> None:
        """Sends GOAWAY. Streams go on: h2 does not know of it, because it would take the connection for closed."""
        self.send_raw(frame(Kind.GOAWAY, payload=struct.pack(">II", last, code) + debug))

    def credit(self, increment: int, stream: int | None = None) -> None:
        """Sends WINDOW_UPDATE for a stream, or for the connection."""
        with self.changed:
            self.h2.increment_flow_control_window(increment, stream)
            self.flush()

    def credit_read(self, stream: Stream, size: int) -> None:
        if size and stream.number not in self._raw:
            self.h2.acknowledge_received_data(size, stream.number)
            self.flush()

    def pause_reading(self) -> None:
        """Leaves what comes in the socket, so that the peer's output backs up."""
        with self.changed:
            self.reading = False

    def resume_reading(self) -> None:
        with self.changed:
            self.reading = True
            self.flush()

    # --- waiting

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = STEP_SECONDS) -> None:
        """Returns as soon as `condition` holds. Raises ConnectionAbortedError if it cannot, because the connection is lost."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not condition():
                if self.lost:
                    raise ConnectionAbortedError(f"the connection was {self.lost} before {what}: {self._state()}")
                left = deadline - time.monotonic()
                assert left > 0, f"no {what} within {seconds} s: {self._state()}"
                self._wait(left)

    def _wait(self, seconds: float) -> None:
        """Waits for a change of state. The end without a thread of its own moves the bytes itself."""
        if not self.move():
            self.poll(seconds)

    def _state(self) -> str:
        last = [(getattr(frame.kind, "name", frame.kind), frame.flags, frame.stream) for frame in self.frames[-8:]]
        return f"{list(self.streams.values())}, GOAWAY {self.goaways}, the last frames {last}"

    # --- moving bytes

    def flush(self) -> None:
        """Queues what h2 has to send, and sends what the socket takes."""
        self._collect()
        self._send()

    def _collect(self) -> None:
        data = self.h2.data_to_send()
        if not self._mute:
            self._unsent += data
            return
        self._muted += data
        for one in split(self._muted):
            if one.kind not in self._mute:
                self._unsent += one.encode()

    def move(self) -> bool:
        """Sends and receives what is possible without waiting; returns whether that was anything."""
        with self.changed:
            before = self._send()
            came = self.reading and self._receive()
            after = self._send()
            self.changed.notify_all()
            return before or came or after

    def poll(self, seconds: float, *others: int) -> None:
        """Waits until the socket, or one of the other descriptors, is ready."""
        poller = select.poll()
        for other in others:
            poller.register(other, select.POLLIN)
        events = (select.POLLIN if self.reading else 0) | (select.POLLOUT if self._unsent else 0)
        if events and not self.lost:
            poller.register(self.sock, events)
        poller.poll(seconds * 1000)

    def _send(self) -> bool:
        before = len(self._unsent)
        try:
            while self._unsent and not self.lost:
                del self._unsent[: self.sock.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            self._unsent.clear()  # what has come before the loss is still to be read
            self._send_reset |= isinstance(error, ConnectionResetError)
        return len(self._unsent) < before

    def _receive(self) -> bool:
        if self.lost:
            return False
        try:
            data = self.sock.recv(1 << 18)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except ConnectionResetError:
            self.lost = "reset"
        except OSError:
            self.lost = "closed"
        else:
            # The kernel tells of a reset only once.
            self.lost = "" if data else "reset" if self._send_reset else "closed"
            self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        if self._preface_left:
            start, data = data[: self._preface_left], data[self._preface_left :]
            self._preface_left -= len(start)
            self._give_to_h2(start)
        self._partial += data
        for one in split(self._partial):
            self.frames.append(one)
            self._note(one)
            if one.stream in self._raw:
                self._take_raw(one)
            elif one.kind != Kind.GOAWAY:  # h2 would take the connection for closed, although streams go on
                self._give_to_h2(one.encode())
        self._collect()

    def _give_to_h2(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except ProtocolError as error:
            self.flush()  # the GOAWAY that h2 has prepared
            raise AssertionError(f"the peer breaks HTTP/2: {error!r}: {self._state()}") from error
        for event in events:
            self._apply(event)

    def _note(self, one: Frame) -> None:
        """Takes what is legible without h2, which has no event for a reset after the end of a stream."""
        if one.kind == Kind.SETTINGS and not one.flags & Flag.ACK:
            self.settings.update(struct.iter_unpack(">HI", one.payload))
        elif one.kind == Kind.RST_STREAM and one.stream in self.streams:
            self.streams[one.stream].reset_code = int.from_bytes(one.payload)
        elif one.kind in (Kind.DATA, Kind.HEADERS) and one.flags & Flag.END_STREAM and one.stream in self.streams:
            self.streams[one.stream].ended = True

    def _apply(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self.streams[event.stream_id] = stream = self.new_stream(event.stream_id)
                stream.fields, stream.ended = _fields(event.headers), event.stream_ended is not None
                self.on_request(stream)
            case InformationalResponseReceived():
                self.streams[event.stream_id].interim.append(_fields(event.headers))
            case ResponseReceived():
                self.streams[event.stream_id].fields = _fields(event.headers)
            case TrailersReceived():
                self.streams[event.stream_id].trailers = _fields(event.headers)
            case DataReceived():
                self._keep(self.streams[event.stream_id], event)

    def _keep(self, stream: Stream, event: DataReceived) -> None:
        kept = b"" if stream.discarding else event.data
        stream.data += kept
        self.credit_read(stream, event.flow_controlled_length - len(kept))  # padding cannot be read

    def adopt(self, number: int) -> Stream:
        """A stream that was opened with `send_raw`: what comes on it is recorded without h2."""
        self._raw.add(number)
        return self.streams.setdefault(number, self.new_stream(number))

    def _take_raw(self, one: Frame) -> None:
        stream = self.streams[one.stream]
        if one.kind == Kind.DATA:
            stream.data += one.payload
        elif one.kind == Kind.HEADERS:  # decoded by h2's decoder, whose table must follow the peer's
            fields = [(str(name), str(value)) for name, value in self.h2.decoder.decode(one.payload)]
            if dict(fields)[":status"].startswith("1"):
                stream.interim.append(fields)
            else:
                stream.fields = fields

    def new_stream(self, number: int) -> Stream:
        return Stream(self, number)

    def on_request(self, stream: Stream) -> None:
        """Called for each request that has come, with `changed` held."""

    # --- the end of the connection

    def close(self) -> None:
        """Closes the connection: without GOAWAY, over TLS with close_notify. What is queued is not sent."""
        with self.changed:
            if not self.lost:
                self.lost = "closed"
                with suppress(OSError, ValueError):
                    if isinstance(self.sock, ssl.SSLSocket):
                        self.sock.unwrap()  # it does not wait for the peer's close_notify
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_WR)
            self._release()

    def abort(self) -> None:
        """Resets the TCP connection."""
        with self.changed:
            if not self.lost:
                self.lost = "reset"
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.sock.close()
            self._release()

    def _release(self) -> None:
        """Closes the socket after what has come has been read, for else the kernel would send a reset."""
        with suppress(OSError, ValueError):
            while self.sock.recv(1 << 18):
                pass
        self.sock.close()
        self.changed.notify_all()
