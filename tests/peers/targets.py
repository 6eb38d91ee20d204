"""Targets behind a tunnel: scripts for a ScriptedServer. For one that refuses see scripted.refusing_port; echo is there too."""

from tests.peers.scripted import Conversation, Script


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
