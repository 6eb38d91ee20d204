"""Targets behind a tunnel: scripts for a ScriptedServer. For one that refuses see scripted.refusing_port; echo is there too."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.peers.scripted import STEP_SECONDS, Conversation, Script
from tunnelctl.proto.address import Address


def blast(data: bytes) -> Script:
    """Sends data at once, then EOF; leaves after the client's."""

    def script(peer: Conversation) -> None:
        peer.send(data)
        peer.end_output()
        peer.wait_gone()

    return script


class Sink:
    """Keeps what comes, and how each connection ended: "EOF" or "reset". A connection ends with nothing sent."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.endings: list[str] = []

    def __call__(self, peer: Conversation) -> None:
        data = bytearray()
        ending = "EOF"
        try:
            while piece := peer.read(1 << 18):
                data += piece
        except ConnectionError:
            ending = "reset"
        self.received.append(bytes(data))
        self.endings.append(ending)


def one_byte_and_close(peer: Conversation) -> None:
    peer.send(b"1")


def answer_after_eof(peer: Conversation) -> None:
    """Waits for the client's EOF, then sends what has come backwards."""
    peer.send(peer.read_to_end()[::-1])


def reset_after_one_byte(peer: Conversation) -> None:
    """Resets the connection when the first byte has come."""
    peer.read_exactly(1)
    peer.reset()


@contextmanager
def echo_for_many() -> Iterator[Address]:
    """A target in one thread that echoes on any number of connections, which may be silent for as long as they like."""
    listener, stop = socket.create_server(("127.0.0.1", 0), backlog=4096), threading.Event()
    thread = threading.Thread(target=_echo_for_many, args=(listener, stop), daemon=True)
    thread.start()
    try:
        yield Address("127.0.0.1", listener.getsockname()[1])
    finally:
        stop.set()
        thread.join(STEP_SECONDS)


def _echo_for_many(listener: socket.socket, stop: threading.Event) -> None:
    with selectors.DefaultSelector() as selector, listener:
        selector.register(listener, selectors.EVENT_READ)
        while not stop.is_set():
            for key, _ in selector.select(0.1):
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                    continue
                client = key.fileobj
                assert isinstance(client, socket.socket)
                try:
                    data = client.recv(1 << 16)
                    client.sendall(data)
                except ConnectionError:
                    data = b""
                if not data:
                    selector.unregister(client)
                    client.close()
        for key in [*selector.get_map().values()]:
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
