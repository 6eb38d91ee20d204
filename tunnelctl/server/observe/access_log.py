"""The access log: one JSON object per line, one when a request is decided and one when its tunnel ends, joined by `tunnel`.

A disk may be slow, full or gone, and the reader of a pipe or a terminal may stop (a pager, Ctrl-S). A slow log must not stall
tunnels, so a thread flushes at most ten times a second: at ten thousand tunnels a second, one write for each record would cost more
than building it. The queue is bounded; lost records are counted, and reported once.
"""

from __future__ import annotations

import json
import os
import select
import stat
import sys
from _thread import allocate_lock
from collections import deque
from contextlib import suppress
from errno import errorcode
from functools import cache, lru_cache
from time import gmtime, strftime, time

from tunnelctl import events
from tunnelctl.engine.kernel import BusyResourceError, move_on_after, sleep
from tunnelctl.engine.sync import Event
from tunnelctl.engine.wakeup import to_thread
from tunnelctl.errors import SettingsError, reason
from tunnelctl.events import SIDES, Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.server.observe.record import TunnelRecord
    from tunnelctl.server.policy.inspection import FirstBytes
    from tunnelctl.stream.relay import Outcome

STDOUT = "-"
PAUSE_SECONDS = 0.1  # between two writes
LAST_SECONDS = 2.0  # time limit for the last write when the server ends
MAX_WAITING = 8 << 20  # characters of records that wait for a slow write; further records are lost

# A pipe accepts a piece of this size whole or not at all (pipe(7), PIPE_BUF), so that the lines of several workers do not mix.
WHOLE = 4096
_LINE_END, RECORD_END = ord("\n"), b"}\n"
_EMPTY = '""'


def open_log(path: str) -> int:
    """Opens the log for appending; the caller must close the descriptor. Raises SettingsError."""
    if path == STDOUT:
        return os.dup(1)
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise SettingsError(f"access log {path}", reason(error), "access-log") from error


class AccessLog:
    """Collects records, and writes them in a thread."""

    def __init__(self, fd: int, trace: Trace, path: str = STDOUT) -> None:
        """fd: the result of `open_log` for that path"""
        self.path = path
        self._file = _File(fd)
        self._trace = trace
        self._lines: list[str] = []
        self._waiting = 0  # characters in `_lines`
        self._more = Event()
        self._failed = False
        self._unwritten = 0  # records that the file has lost, and that are in `dropped`
        self.dropped = 0

    def opened(self, record: TunnelRecord, status: int) -> None:
        """Records a tunnel. The keys are those of `server.events`, as are those of the other records.

        Formatted by hand: json.dumps costs three times as much, and only the texts that go through `_text` may need escaping.
        """
        self._write(
            f'{{"event":"opened",{_now()},"connection":"{record.connection}","tunnel":"{record.tunnel}","client":"{record.client}",'
            f'{_what(record.user, record.method, record.target)},"address":"{record.address}","local":"{record.local}",'
            f'{_verdict(status, record.rule, record.reports)},"phases":{{{_phases(record)}}}}}\n'
        )

    def refused(self, record: TunnelRecord, status: int, error: str, details: str) -> None:
        """Records a refusal. status, error, details: as the client was told, with the error type of RFC 9209"""
        self._write(
            f'{{"event":"refused",{_now()},{_who(record)},{_verdict(status, record.rule, record.reports)},"error":"{error}",'
            f'"details":{_text(details) if details else _EMPTY},"phase":"{record.phases[-1][0]}","phases":{{{_phases(record)}}}}}\n'
        )

    def interim(self, record: TunnelRecord, seconds: float) -> None:
        """Records the bytes that an open tunnel has moved so far: after a crash, nothing else in the log shows them."""
        self._write(
            f'{{"event":"interim",{_now()},{_who(record)},"seconds":{seconds:.3f},"sent":{record.moved[0]},'
            f'"received":{record.moved[1]}}}\n'
        )

    def closed(self, record: TunnelRecord, seconds: float, idle: float | None, outcome: Outcome) -> None:
        """Records the end of a tunnel. idle: seconds since its last byte, None if unknown"""
        seen = "" if record.seen is None else _seen(record.seen)
        silent = "null" if idle is None else f"{idle:.3f}"
        self._write(
            f'{{"event":"closed",{_now()},"connection":"{record.connection}","tunnel":"{record.tunnel}","client":"{record.client}",'
            f'{_what(record.user, record.method, record.target)},"seconds":{seconds:.3f},'
            f'"sent":{record.moved[0]},"received":{record.moved[1]},"idle":{silent},"closed_by":"{SIDES[outcome.ended_by]}","cause":"{outcome.cause}",'
            f'"error":"{system_name(outcome.error) if outcome.error is not None else ""}","phase":"{record.phase}"{seen}}}\n'
        )

    def _write(self, line: str) -> None:
        if self._waiting > MAX_WAITING:
            self._lost(1, "the last write has not completed")
            return
        if not self._lines:
            self._more.set()
        self._lines.append(line)
        self._waiting += len(line)

    async def run(self) -> None:
        """Writes the collected records whenever there are any, forever. In the end, the caller cancels it and calls `close`."""
        while True:
            await self._more.wait()
            await self._flush()
            await sleep(PAUSE_SECONDS)

    async def close(self) -> None:
        """Writes the rest, within LAST_SECONDS; warns if that is too short."""
        with move_on_after(LAST_SECONDS) as scope:
            await self._flush()
            with suppress(BusyResourceError):  # no thread is free, so none reopens it
                await to_thread(self._file.finish)
        if scope.cancelled_caught:
            self._trace(events.Warning(f"access log: the last write has not completed: {self._file.left} records may be lost"))

    async def reopen(self) -> None:
        """Opens the file of that name anew, after it was moved away. Records already written are in the old one."""
        if self.path != STDOUT:
            try:
                await to_thread(self._file.reopen, self.path)
            except (SettingsError, BusyResourceError) as error:
                self._trace(events.Warning(f"{error}: the old one stays in use"))

    async def _flush(self) -> None:
        lines, self._lines, self._waiting, self._more = self._lines, [], 0, Event()
        self._file.queue.append("".join(lines).encode())
        try:
            await to_thread(self._file.drain)
        except BusyResourceError:  # name lookups occupy all threads: the next flush may find one
            self._file.queue.pop()
            self._lines = lines + self._lines
            self._waiting = sum(map(len, self._lines))
            self._more.set()
            return
        lost, self._unwritten = self._file.lost - self._unwritten, self._file.lost
        if lost:
            self._lost(lost, self._file.why)
        else:
            self._failed = False

    def _lost(self, count: int, why: str) -> None:
        self.dropped += count
        if not self._failed:
            self._failed = True
            self._trace(events.Warning(f"access log: {why}: {self.dropped} records lost so far"))


class _File:
    """The file as threads use it, one at a time: everything that may block happens here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._turn = allocate_lock()
        self._finished = False  # the descriptor is about to be closed, and its number may come to mean another file
        self._within_line = False  # whether the last byte written was not the end of a line
        self._piece = _piece(fd)
        # Data handed over. Each thread writes all of it: the thread that was started for it may be overtaken by the next one, which
        # must not return, and let the file be closed, before the lines are out.
        self.queue: deque[bytes] = deque()
        self._data = b""
        # Records that could not be written since the beginning, and why. No result of `drain`: nobody may wait for that any more.
        self.lost, self.why = 0, ""

    @property
    def left(self) -> int:
        """Number of records handed over that are not known to be written."""
        return sum(data.count(RECORD_END) for data in (self._data, *self.queue))

    def drain(self) -> None:
        """Writes the data handed over."""
        with self._turn:
            while self.queue:
                # Ends a line that was cut short, so that it spoils no other record.
                self._data = b"\n" * self._within_line + self.queue.popleft()
                try:
                    while self._data:
                        self._data = self._data[self._write(self._next(self._data)) :]
                except OSError as error:
                    self.lost, self.why = self.lost + self._data.count(RECORD_END), str(error.strerror)
                    self._data = b""

    def reopen(self, path: str) -> None:
        """Opens the path anew behind the same descriptor. Raises SettingsError, and then changes nothing."""
        fresh = open_log(path)
        with self._turn:
            if not self._finished:
                os.dup2(fresh, self._fd, inheritable=False)
                self._piece, self._within_line = _piece(fresh), False
        os.close(fresh)

    def finish(self) -> None:
        """Makes a reopening that comes late change nothing."""
        with self._turn:
            self._finished = True

    def _write(self, piece: bytes) -> int:
        try:
            written = os.write(self._fd, piece)
        except BlockingIOError:  # a process that shares the open file has made it non-blocking
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll()
            return 0
        self._within_line = piece[written - 1] != _LINE_END
        return written

    def _next(self, data: bytes) -> bytes:
        """Returns as much as may be written at once, in whole lines if possible."""
        if len(data) <= self._piece:
            return data
        return data[: data.rfind(b"\n", 0, self._piece) + 1 or self._piece]


def _piece(fd: int) -> int:
    return sys.maxsize if stat.S_ISREG(os.fstat(fd).st_mode) else WHOLE


# The same users, targets and rules recur, and so do the parts of records made of them.


@lru_cache(4096)
def _what(user: str, method: str, target: str) -> str:
    return f'"user":{_text(user)},"method":{_text(method)},"target":{_text(target)}'


@lru_cache(1024)
def _verdict(status: int, rule: str, reports: tuple[str, ...]) -> str:
    return f'"status":{status},"rule":{_text(rule)},"reports":[{",".join(map(_text, reports))}]'


@lru_cache(1)
def _second(second: int) -> tuple[str, str]:
    return f'"time":{second}.', strftime(',"timestamp":"%Y-%m-%dT%H:%M:%S.', gmtime(second))


class _Clock:
    """The time as number and as text. Under load, many records have the same millisecond, and nearly all the same second."""

    __slots__ = ("_milliseconds", "_text")

    def __init__(self) -> None:
        self._milliseconds, self._text = 0, ""

    def read(self) -> str:
        milliseconds = int(time() * 1000)
        if milliseconds != self._milliseconds:
            second, rest = divmod(milliseconds, 1000)
            number, date = _second(second)
            self._milliseconds, self._text = milliseconds, f'{number}{rest:03}{date}{rest:03}Z"'
        return self._text


_now = _Clock().read


def _who(record: TunnelRecord) -> str:
    ids = f'"connection":"{record.connection}","tunnel":"{record.tunnel}","client":"{record.client}"'
    return f"{ids},{_what(record.user, record.method, record.target)}"


def _phases(record: TunnelRecord) -> str:
    phases: list[object] = []
    for phase in record.phases:
        phases += phase
    return _durations(len(record.phases)) % tuple(phases)


def system_name(error: OSError | None) -> str:
    """Returns the system's name of an error, such as ECONNRESET; "" for none."""
    return "" if error is None else errorcode.get(error.errno or 0, "")


@cache
def _durations(count: int) -> str:
    """Returns the format string for this number of phases."""
    return ",".join(['"%s":%.6f'] * count)


def _seen(seen: FirstBytes) -> str:
    """Returns the additional fields of a tunnel that was inspected."""
    reports = ",".join(map(_text, seen.reports))
    return f',"seen":{_text(seen.what)},"sni":{_text(seen.name)},"cut_by":{_text(seen.cut_by)},"reports":[{reports}]'


def _text(text: str) -> str:
    return f'"{text}"' if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text else json.dumps(text)
