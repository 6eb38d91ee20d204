"""Closes a connection so that its last response is not lost."""

from tunnelctl.engine.kernel import checkpoint
from tunnelctl.stream.base import Stream

LINGER_SECONDS = 1.0  # for a last response, and for what the peer sends after it
LINGER_BYTES = 1 << 20


async def linger(stream: Stream) -> None:
    """Half-closes, then reads and drops what the peer still sends, up to its EOF or LINGER_BYTES. The caller bounds the time.

    Closing with unread bytes would send a reset, which can overtake the last response (RFC 9112 section 9.6).
    """
    stream.send_eof()
    dropped = 0
    while dropped < LINGER_BYTES and (data := await stream.receive_some()):
        dropped += len(data)
        await checkpoint()  # a peer that sends without pause always leaves something to read
