"""Frames made octet by octet, and machines that have done the handshake. No frame here is made by the code under test."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from hpack import Encoder

from tests.proto.feeding import octets
from tunnelctl.proto.address import Address
from tunnelctl.proto.http2.events import DataReceived, Event, PingAcknowledged
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.http2.window import WindowBudget

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
TARGET = Address("example.com", 443)
CONNECT = ((":method", "CONNECT"), (":authority", "example.com:443"))
LARGEST = (1 << 31) - 1


class Sent(NamedTuple):
    """A frame that a machine has sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def raw(kind: int, stream: int, payload: bytes = b"", flags: int = 0, length: int | None = None) -> bytes:
    """Returns a frame. length: what the header says, if that differs from the payload"""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def data(stream: int, payload: bytes = b"", end: bool = False, padding: int | None = None) -> bytes:
    if padding is not None:
        payload = bytes([padding]) + payload + bytes(padding)
    return raw(DATA, stream, payload, (END_STREAM if end else 0) | (PADDED if padding is not None else 0))


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Returns a header block that leaves the table of the decoder as it is, so that it means the same at any time."""
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.table_size_changes.clear()
    return encoder.encode([(name.encode("latin-1"), value.encode("latin-1"), True) for name, value in fields])


def headers(stream: int, fields: Iterable[tuple[str, str]] = CONNECT, end: bool = False) -> bytes:
    return raw(HEADERS, stream, block(fields), END_HEADERS | (END_STREAM if end else 0))


def response(stream: int, status: int = 200, end: bool = False) -> bytes:
    return headers(stream, [(":status", str(status))], end)


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def settings(*entries: tuple[int, int]) -> bytes:
    return raw(SETTINGS, 0, b"".join(name.to_bytes(2, "big") + number(value) for name, value in entries))


def window_update(stream: int, increment: int) -> bytes:
    return raw(WINDOW_UPDATE, stream, number(increment))


def rst_stream(stream: int, code: int = 8) -> bytes:
    return raw(RST_STREAM, stream, number(code))


def goaway(last: int, code: int = 0, debug: bytes = b"") -> bytes:
    return raw(GOAWAY, 0, number(last) + number(code) + debug)


def server(max_streams: int = 100, budget: WindowBudget | None = None, handshake: bytes = PREFACE + settings()) -> Machine:
    """Returns a server that has had the preface of its client; what it has sent is taken away."""
    machine = Machine(False, budget or WindowBudget(), 0.0, max_streams)
    machine.receive(handshake, 0.0)
    machine.output.clear()
    return machine


def client(requests: int = 1, budget: WindowBudget | None = None, handshake: bytes = settings()) -> Machine:
    """Returns a client that has had the preface of its server, and has requested tunnels; what it has sent is taken away."""
    machine = Machine(True, budget or WindowBudget(), 0.0)
    machine.receive(handshake, 0.0)
    for _ in range(requests):
        machine.request(TARGET, ())
    machine.output.clear()
    return machine


def received(machine: Machine, octets: bytes, now: float = 0.0) -> list[Event]:
    """Returns all that the octets mean, in as many turns as that takes."""
    found = machine.receive(octets, now)
    while machine.more:
        found += machine.receive(b"", now)
    return found


def in_pieces(machine: Machine, pieces: Iterable[bytes], now: float = 0.0) -> list[Event]:
    return [event for piece in pieces for event in received(machine, piece, now)]


def arrived(stream: int, octets: bytes) -> DataReceived:
    return DataReceived(stream, [memoryview(octets)], len(octets))


def octets_of(event: Event) -> bytes:
    assert isinstance(event, DataReceived)
    octets = b"".join(event.pieces)
    assert len(octets) == event.size
    return octets


def joined(events: Iterable[Event]) -> list[Event]:
    """Returns the events with adjacent data of one stream joined: into what pieces it is cut has no meaning."""
    found: list[Event] = []
    for is_data, group in groupby(events, lambda event: isinstance(event, DataReceived) and event.stream):
        pieces = list(group)
        if is_data:
            found.append(arrived(is_data, b"".join(octets_of(each) for each in pieces)))
        else:
            found += pieces
    return found


def finely(sent: bytes) -> list[bytes]:
    """Returns the octets one by one; of many, the first and the last so, and those between in pieces that no frame fits."""
    if len(sent) <= 2000:
        return list(octets(sent))
    middle = sent[500:-500]
    return [*octets(sent[:500]), *(middle[at : at + 1009] for at in range(0, len(middle), 1009)), *octets(sent[-500:])]


TRAILING = raw(PING, 0, b"trailing", ACK)


def three_ways(make: Callable[[], Machine], sent: bytes) -> list[Event]:
    """Returns what the octets mean, which must be the same all at once, octet by octet, and with a frame after them.

    The output must be the same too. After a failure of the connection the frame after it means nothing.
    """
    first, second, third = make(), make(), make()
    whole = joined(received(first, sent))
    assert joined(in_pieces(second, finely(sent))) == whole
    assert second.output == first.output
    followed = joined(received(third, sent + TRAILING))
    assert followed == (whole if first.closed else [*whole, PingAcknowledged(b"trailing")])
    assert third.output == first.output
    return whole


def frames(octets: bytes) -> list[Sent]:
    """Splits frames, which must be whole."""
    found, at = [], 0
    while at < len(octets):
        size = int.from_bytes(octets[at : at + 3], "big")
        payload = bytes(octets[at + 9 : at + 9 + size])
        assert len(payload) == size
        found.append(Sent(octets[at + 3], octets[at + 4], int.from_bytes(octets[at + 5 : at + 9], "big"), payload))
        at += 9 + size
    return found


def sent(machine: Machine) -> list[Sent]:
    """Takes what the machine has to send."""
    found = frames(bytes(machine.output))
    machine.output.clear()
    return found


def credit(frames: Iterable[Sent]) -> dict[int, int]:
    """Returns the credit for each stream in frames."""
    found: dict[int, int] = {}
    for each in frames:
        if each.kind == WINDOW_UPDATE:
            found[each.stream] = found.get(each.stream, 0) + int.from_bytes(each.payload, "big")
    return found
