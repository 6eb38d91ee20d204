"""The access log: a JSON object a line, one when a tunnel is decided and one when it ends, joined by `id`.

Records gather for one turn of the loop and are written together: at ten thousand tunnels a second a write each would cost more
than all the rest of the record. What cannot be written is counted and said once; a full disk is no reason to end tunnels.
"""

import json
import os
import select
import stat
import sys
from functools import lru_cache
from time import time

from tunnelctl.engine.event import Event
from tunnelctl.engine.kernel import sleep
from tunnelctl.errors import SettingsError, reason
from tunnelctl.trace import Trace

STDOUT = "-"
_LINE_END = ord("\n")

# Whoever reads a pipe or a terminal may stop doing so (a pager, Ctrl-S), and a write that waits would stop every tunnel.
SAFE_WRITE, SAFE_TTY_WRITE = 4096, 256  # bytes for which there is room when poll(2) says that there is any
RETRY_SECONDS = 0.1
MAX_REST = 1 << 20  # bytes kept for a reader who takes nothing; what comes after that is lost


def open_log(path: str) -> int:
    """The descriptor to append to, for the caller to close. Raises SettingsError."""
    if path == STDOUT:
        return os.dup(1)
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise SettingsError(f"access log {path}", reason(error)) from error


class AccessLog:
    """Gathers records and writes them."""

    def __init__(self, fd: int, trace: Trace) -> None:
        self._fd = fd
        self._trace = trace
        self._lines: list[str] = []
        self._more = Event()
        self._rest = b""  # what nobody has taken yet
        self._within_line = False  # whether the last byte written was not the end of a line
        self._failed = False
        self.dropped = 0
        kind = os.fstat(fd).st_mode
        self._piece = SAFE_TTY_WRITE if stat.S_ISCHR(kind) else SAFE_WRITE
        self._poll: select.poll | None = None
        if stat.S_ISREG(kind):
            self._piece = sys.maxsize
        else:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def decision(self, session: str, client: str, user: str, target: str, address: str, status: int, rule: str, error: str) -> None:
        """The answer to a request. status: what the client is told; error: the RFC 9209 type, "" for an open tunnel.

        Written by hand: json.dumps costs three times as much, and only these texts can hold anything that needs escaping.
        """
        self._write(
            f'{{"event":"decision","time":{time():.3f},"id":"{session}","client":"{client}","user":{_text(user)},'
            f'"target":{_text(target)},"address":"{address}","allowed":{"true" if status == 200 else "false"},"status":{status},'
            f'"rule":{_text(rule)},"error":"{error}"}}\n'
        )

    def end(self, session: str, seconds: float, sent: int, received: int, ended_by: str, cause: str) -> None:
        """The end of a tunnel.

        sent: bytes from client to target; ended_by: "client", "target" or "proxy"; cause: as in relay.Outcome, or "drained".
        """
        self._write(
            f'{{"event":"end","time":{time():.3f},"id":"{session}","seconds":{seconds:.3f},"sent":{sent},"received":{received},'
            f'"ended_by":"{ended_by}","cause":"{cause}"}}\n'
        )

    def _write(self, line: str) -> None:
        if not self._lines:
            self._more.set()
        self._lines.append(line)

    async def run(self) -> None:
        """Writes what has gathered, whenever something has; to be cancelled in the end, and followed by `flush`."""
        while True:
            await self._more.wait()
            self._more = Event()
            self.flush()
            while self._rest:
                await sleep(RETRY_SECONDS)
                self.flush()

    def flush(self) -> None:
        """Writes what has gathered, as far as it is taken; never waits."""
        lines, self._lines = self._lines, []
        fresh = "".join(lines).encode()
        if len(self._rest) > MAX_REST:
            self._lost(fresh, "nobody reads it")
            fresh = b""
        data, self._rest = self._rest + fresh, b""
        try:
            while data and self._is_ready():
                written = os.write(self._fd, self._next_piece(data))
                self._within_line = data[written - 1] != _LINE_END
                data = data[written:]
                self._failed = False
            self._rest = data
        except OSError as error:
            self._lost(data, str(error.strerror))
            if self._within_line:
                self._rest = b"\n"  # so that what was cut short spoils no other record

    def _next_piece(self, data: bytes) -> bytes:
        """As much as is safe to write, in whole lines where that is possible: a pipe takes such a piece at once, or not at all,
        so that the lines of several workers do not get mixed up (pipe(7), PIPE_BUF)."""
        if len(data) <= self._piece:
            return data
        return data[: data.rfind(b"\n", 0, self._piece) + 1 or self._piece]

    def _is_ready(self) -> bool:
        return self._poll is None or bool(self._poll.poll(0))

    def _lost(self, data: bytes, why: str) -> None:
        self.dropped += data.count(b"}\n")
        if not self._failed:
            self._failed = True
            self._trace("warning", text=f"access log: {why}: {self.dropped} records lost so far")


@lru_cache(4096)  # the same users, targets and rules come again and again
def _text(text: str) -> str:
    return f'"{text}"' if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text else json.dumps(text)
