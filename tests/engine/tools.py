"""Helpers of the engine's tests: bounded runs, waiting without sleeping, and descriptors to wait on."""

import os
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import checkpoint, current_kernel, default_poller, fail_after, run
from tunnelctl.engine.poller import Interest, Poller

T = TypeVar("T")

LIMIT = 30.0  # seconds; more than any test takes, on the slowest machine


def bounded(fn: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
    """Runs `fn(*args)`. Raises TooSlowError if it hangs."""

    async def main() -> T:
        with fail_after(LIMIT):
            return await fn(*args)

    return run(main)


async def settle() -> None:
    """Lets the other tasks run until each of them is parked and every pending readiness event has been delivered."""
    await checkpoint()
    while current_kernel().ready or current_kernel().bulk:
        await checkpoint()


async def turns(number: int) -> None:
    for _ in range(number):
        await checkpoint()


class Pipe(NamedTuple):
    reader: Descriptor
    writer: Descriptor

    def fill(self) -> int:
        """Writes until the pipe is full. Returns the number of bytes."""
        written = 0
        try:
            while True:
                written += os.write(self.writer.fd, bytes(65536))
        except BlockingIOError:
            self.writer.writable = False
        return written

    def drain(self) -> bytes:
        """Reads until the pipe is empty."""
        found = b""
        try:
            while piece := os.read(self.reader.fd, 65536):
                found += piece
        except BlockingIOError:
            self.reader.readable = False
        return found


@contextmanager
def pipe() -> Iterator[Pipe]:
    """Opens an empty pipe whose reader is marked as not readable. Afterwards closes the ends that the body has not closed."""
    made = Pipe(*map(Descriptor, os.pipe()))
    made.reader.readable = False
    for end in made:
        os.set_blocking(end.fd, False)
    try:
        yield made
    finally:
        for end in made:
            close(end)


def close(descriptor: Descriptor) -> None:
    if not descriptor.closed:
        descriptor.forget()
        os.close(descriptor.fd)


@contextmanager
def borrowed(fd: int) -> Iterator[Descriptor]:
    """Wraps `fd` in a descriptor that is marked as neither readable nor writable."""
    descriptor = Descriptor(fd)
    descriptor.readable = descriptor.writable = False
    try:
        yield descriptor
    finally:
        descriptor.forget(shared=True)


class Connection(NamedTuple):
    near: socket.socket
    far: socket.socket
    descriptor: Descriptor  # of `near`; marked as not readable

    def reset(self) -> None:
        """Makes the far end send RST."""
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far.close()


@contextmanager
def connection() -> Iterator[Connection]:
    """Opens a TCP connection over loopback, non-blocking at both ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        with far:
            near.setblocking(False)
            far.setblocking(False)
            descriptor = Descriptor(near.fileno())
            descriptor.readable = False
            try:
                yield Connection(near, far, descriptor)
            finally:
                descriptor.forget()


class Wish(Interest):
    """A descriptor and the events requested for it."""

    def __init__(self, fd: int, bits: int) -> None:
        self.fd = fd
        self.bits = bits

    def wanted(self) -> int:
        return self.bits


@contextmanager
def opened_poller() -> Iterator[Poller]:
    poller = default_poller()
    try:
        yield poller
    finally:
        poller.close()


@contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        yield near, far


def reported(poller: Poller, timeout: float | None = 0) -> dict[int, int]:
    return dict(poller.wait(timeout))
