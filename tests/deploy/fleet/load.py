"""Clients of a fleet: many short tunnels, and a few that last and move bytes all the time."""

import os
import socket
import threading
import time
from contextlib import ExitStack
from typing import NamedTuple, Self

from tests.deploy.fleet.network import BALANCER, CLIENT, PORT
from tests.peers.process import wait_until
from tests.server.harness import connect_request

SECONDS = 20.0
CLIENTS = 6
PAUSE = 0.004  # of each client between two tunnels: others need the processors too
BLOCK = 16384
_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


def _connected() -> socket.socket:
    sock = socket.socket()
    sock.settimeout(SECONDS)
    try:
        # Otherwise bind() chooses the port before the kernel knows the peer, and takes none that any other connection has left.
        sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((CLIENT, 0))
        sock.connect((BALANCER, PORT))
    except BaseException:
        sock.close()
        raise
    return sock


def opened(target: str) -> socket.socket:
    """Opens a tunnel. Raises OSError unless it is granted."""
    sock = _connected()
    try:
        sock.sendall(connect_request(target))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(4096)
            if not piece:
                raise ConnectionResetError(f"no answer: {head!r}")
            head += piece
        if head.split(b" ")[1] != b"200":
            raise ConnectionRefusedError(head.decode("ascii"))
    except BaseException:
        sock.close()
        raise
    return sock


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionResetError(f"the tunnel ended after {len(data)} bytes")
        data += piece
    return bytes(data)


class Attempt(NamedTuple):
    """One try to open a tunnel and to have a byte echoed. begun: on the monotonic clock; failure: empty if all went well"""

    begun: float
    opened: bool
    failure: str = ""


def attempt(target: str) -> Attempt:
    begun, granted = time.monotonic(), False
    try:
        with opened(target) as sock:
            granted = True
            sock.sendall(b"e")
            _exactly(sock, 1)
    except OSError as error:
        return Attempt(begun, granted, f"{type(error).__name__}: {error}")
    return Attempt(begun, granted)


class Load:
    """Some clients, each of which opens one tunnel after another."""

    def __init__(self, target: str) -> None:
        self._target, self._stop = target, threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        self.attempts: list[Attempt] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Waits for the tunnels that are under way, and opens no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            self.attempts.append(attempt(self._target))

    def wait_for_more(self, count: int) -> None:
        """Waits for so many further tunnels."""
        goal = len(self.attempts) + count
        wait_until(lambda: len(self.attempts) >= goal, SECONDS, f"{count} more tunnels")

    def failures(self) -> list[Attempt]:
        return [one for one in self.attempts if one.failure]


class Lasting:
    """A tunnel that sends random blocks and compares what its target echoes, until it is told to end."""

    def __init__(self, target: str) -> None:
        self._sock = opened(target)
        self.name = "{}:{}".format(*self._sock.getsockname())  # as the access log has it
        self.moved, self.failure = 0, ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._sock:
                while not self._end.wait(PAUSE):
                    self._exchange()
                self._sock.shutdown(socket.SHUT_WR)
                if rest := self._sock.recv(BLOCK):
                    self.failure = f"{rest!r} follows the last block"
        except OSError as error:
            self.failure = f"{type(error).__name__}: {error}"

    def _exchange(self) -> None:
        block = os.urandom(BLOCK)
        self._sock.sendall(block)
        if _exactly(self._sock, BLOCK) != block:
            raise OSError("another block came back")
        self.moved += BLOCK

    def moves(self) -> None:
        """Waits until more blocks have come back; fails if the tunnel breaks."""
        goal = self.moved + 3 * BLOCK
        wait_until(lambda: self.moved >= goal or self.failure, SECONDS, f"a block in the tunnel of {self.name}")
        assert not self.failure, self.failure

    def ended(self) -> str:
        """Ends it in an orderly manner, unless it has broken; returns the failure."""
        self._end.set()
        self._thread.join(SECONDS)
        return "it did not end" if self._thread.is_alive() else self.failure


def lasting(target: str, count: int, stack: ExitStack) -> list[Lasting]:
    """Opens tunnels, which end with the stack at the latest."""
    tunnels = [Lasting(target) for _ in range(count)]
    for tunnel in tunnels:
        stack.callback(tunnel.ended)
    return tunnels
