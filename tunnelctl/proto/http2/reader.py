"""Splits the octets of a connection into frames. The payload of DATA is passed on as it arrives, in views, and never joined.

Only DATA may be large. Any other frame is held until it is complete, and must be no longer than one that every peer accepts, which
nobody has announced: so a longer one is no FRAME_SIZE_ERROR, but too much. An unknown one is skipped without being held.
"""

from __future__ import annotations

from abc import abstractmethod

from tunnelctl.proto.http2.budget import TINY
from tunnelctl.proto.http2.frame import (
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    HEADER_SIZE,
    LARGEST_STREAM,
    PADDED,
    ConnectionFault,
    ErrorCode,
    unpack_header,
)

# Frames handled in one call: the smallest takes 1 to 2 µs, so 64 KiB of them would hold up the event loop for 10 ms.
FRAMES_A_TURN = 256


class FrameReader:
    """The reading half of a machine."""

    __slots__ = (
        "_data_flags",
        "_data_left",
        "_data_stream",
        "_max_frame",
        "_padding_left",
        "_preface",
        "_rest",
        "_skip_left",
        "more",
    )

    def __init__(self, preface: bytes, max_frame: int) -> None:
        """preface: the octets before the first frame; max_frame: the size that we have announced, DEFAULT_FRAME at least"""
        self._preface, self._max_frame = preface, max_frame
        self._rest = b""  # received, and not yet complete
        self._data_stream = self._data_flags = 0  # the DATA frame under way: its stream and flags,
        self._data_left = self._padding_left = 0  # and the octets still to come
        self._skip_left = 0  # octets of an unknown frame still to come
        self.more = False  # whether a call left complete frames behind: call again, with b""

    # What a machine does with the frames.

    @abstractmethod
    def _on_frame(self, kind: int, flags: int, stream: int, payload: memoryview) -> None:
        """Handles a frame other than DATA."""

    @abstractmethod
    def _on_unknown(self, kind: int) -> None:
        """Handles the header of a frame of unknown type."""

    def _on_data_run(self, stream: int, payloads: list[memoryview], flags: int) -> None:
        """Handles, in place of the next three, whole frames with the same header, without padding.

        A run of more than one frame is bulk: no flags, and at least TINY octets in each. 65,536 frames of 16 KiB make a GiB, and
        one read brings up to 32 of them.
        """
        for payload in payloads:
            self._on_data_begin(stream, len(payload), len(payload), flags)
            if payload:
                self._on_data(stream, payload)
            self._on_data_end(stream, flags)

    @abstractmethod
    def _on_data_begin(self, stream: int, length: int, octets: int, flags: int) -> None:
        """Handles the header of DATA. length: of the payload, as flow control counts it; octets: of data in it"""

    @abstractmethod
    def _on_data(self, stream: int, data: memoryview) -> None:
        """Handles a part of the data."""

    @abstractmethod
    def _on_data_end(self, stream: int, flags: int) -> None:
        """Handles the end of DATA."""

    def _read(self, data: bytes) -> None:
        """Handles what has arrived. Raises ConnectionFault."""
        if self._rest:
            data = self._rest + data
        at, end = self._after_preface(data), len(data)
        view, frames, self.more = memoryview(data), 0, False
        if self._data_left or self._padding_left or self._skip_left:
            at = self._go_on(view, at, end)
        while end - at >= HEADER_SIZE:
            word, flags, stream = unpack_header(data, at)
            length, kind, stream = word >> 8, word & 0xFF, stream & LARGEST_STREAM
            payload = at + HEADER_SIZE
            after = payload + length
            if length > DEFAULT_FRAME:
                self._check_length(length, kind)
            if frames == FRAMES_A_TURN:
                self.more = True
                break
            frames += 1
            if kind == DATA and not flags and length >= TINY and after <= end:  # bulk
                payloads = self._cut_run(data, view, at, HEADER_SIZE + length, FRAMES_A_TURN - frames)
                at += len(payloads) * (HEADER_SIZE + length)
                frames += len(payloads) - 1
                self._on_data_run(stream, payloads, flags)
            elif kind == DATA and after <= end and not flags & PADDED:
                at = after
                self._on_data_run(stream, [view[payload:after]], flags)
            elif kind == DATA:
                begun = self._begin_data(data, at, end, length, flags, stream)
                if not begun:
                    break
                at = self._go_on(view, at + begun, end)
            elif kind > CONTINUATION:
                self._on_unknown(kind)
                at = min(after, end)
                self._skip_left = after - at
            elif after > end:
                break
            else:
                at = after
                self._on_frame(kind, flags, stream, view[payload:after])
        self._rest = data[at:] if at < end else b""

    def _check_length(self, length: int, kind: int) -> None:
        """Raises ConnectionFault for a frame that is too long."""
        if length > self._max_frame:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} octets")
        if DATA < kind <= CONTINUATION:  # it would have to be held
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a frame of {length} octets that is not DATA")

    def _after_preface(self, data: bytes) -> int:
        """Returns where the frames begin. Raises ConnectionFault as soon as an octet of the preface is wrong."""
        if not self._preface:
            return 0
        count = min(len(self._preface), len(data))
        if data[:count] != self._preface[:count]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no connection preface")
        self._preface = self._preface[count:]
        return count

    @staticmethod
    def _cut_run(data: bytes, view: memoryview, at: int, step: int, more: int) -> list[memoryview]:
        """Returns the payload of a frame of `step` octets, and of up to `more` that follow it, are complete and begin alike."""
        header, last = data[at : at + HEADER_SIZE], len(data) - step
        payloads = [view[at + HEADER_SIZE : at + step]]
        at += step
        while more and at <= last and data.startswith(header, at):
            payloads.append(view[at + HEADER_SIZE : at + step])
            at, more = at + step, more - 1
        return payloads

    def _begin_data(self, data: bytes, at: int, end: int, length: int, flags: int, stream: int) -> int:
        """Begins a DATA frame. Returns the octets of its header and Pad Length; 0 if they have not all arrived."""
        size, padding = HEADER_SIZE, 0
        if flags & PADDED:
            if not length:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padded DATA without a Pad Length")
            if end - at == HEADER_SIZE:
                return 0
            size, padding = HEADER_SIZE + 1, data[at + HEADER_SIZE]
            if padding >= length:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
        octets = length + HEADER_SIZE - size - padding
        self._on_data_begin(stream, length, octets, flags)
        self._data_stream, self._data_flags = stream, flags
        self._data_left, self._padding_left = octets, padding
        return size

    def _go_on(self, view: memoryview, at: int, end: int) -> int:
        """Passes on what has arrived of a frame under way; returns where that ends."""
        if self._skip_left:
            count = min(self._skip_left, end - at)
            self._skip_left -= count
            return at + count
        if self._data_left and at < end:
            count = min(self._data_left, end - at)
            self._data_left -= count
            self._on_data(self._data_stream, view[at : at + count])
            at += count
        count = min(self._padding_left, end - at)
        self._padding_left -= count
        if not self._data_left and not self._padding_left:
            self._on_data_end(self._data_stream, self._data_flags)
        return at + count
