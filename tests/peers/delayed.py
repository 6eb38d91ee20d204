"""A path with a delay: a relay that forwards each chunk a given time later, in both directions.

It limits the speed only if it is asked to. A socket on either side of it is acknowledged at once, so TCP itself never waits for the
round trip here; whatever waits for an answer of its own does.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque

CHUNK = 1 << 18


class _Direction:
    def __init__(self, source: socket.socket, sink: socket.socket, delay: float, rate: float) -> None:
        self.source, self.sink, self.delay, self.rate = source, sink, delay, rate
        self.waiting: deque[tuple[float, memoryview]] = deque()  # when a chunk is due; b"" is the end
        self.reading = True
        self.free = 0.0  # when the path has taken what was read before

    def read(self, now: float) -> None:
        try:
            data = self.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.free = max(self.free, now) + (len(data) / self.rate if self.rate else 0)
        self.waiting.append((self.free + self.delay, memoryview(data)))
        self.reading = bool(data)

    def write(self, now: float) -> bool:
        """Writes what is due. False if the sink is full."""
        while self.waiting and self.waiting[0][0] <= now:
            when, data = self.waiting[0]
            try:
                if not data:
                    self.sink.shutdown(socket.SHUT_WR)
                elif (sent := self.sink.send(data)) < len(data):
                    self.waiting[0] = when, data[sent:]
                    return False
            except BlockingIOError:
                return False
            except OSError:
                self.waiting.clear()
                return True
            self.waiting.popleft()
        return True


class Delayed:
    """Two connected pairs of sockets with a delay between them: `near` and `far` are its ends. A context manager."""

    def __init__(self, delay: float, rate: float = 0) -> None:
        """delay: seconds, each way; rate: bytes a second, 0 for as fast as it can"""
        self.near, one = _pair()
        self.far, other = _pair()
        self._inner = (one, other)
        self._directions = (_Direction(one, other, delay, rate), _Direction(other, one, delay, rate))
        self._stop, self._stopped = _pair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Delayed:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.close()
        self._thread.join()
        for each in (*self._inner, self._stopped):
            each.close()

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            full = [each.sink for each in self._directions if not each.write(now)]
            due = [each.waiting[0][0] for each in self._directions if each.waiting and each.sink not in full]
            reading = [each.source for each in self._directions if each.reading]
            ready, _, _ = select.select([*reading, self._stopped], full, [], max(0.0, min(due) - now) if due else None)
            if self._stopped in ready:
                return
            now = time.monotonic()
            for each in self._directions:
                if each.source in ready:
                    each.read(now)


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), 5)
        other, _ = listener.accept()
    for end in (one, other):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other
