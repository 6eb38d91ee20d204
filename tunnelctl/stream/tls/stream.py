"""TLS over any stream, including another TLS stream.

OpenSSL works on memory (MemoryBIO); its input and output go through the inner stream. Each direction ends by itself, as in
RFC 8446 section 6.1: close_notify ends one, and the other goes on. An on-path attacker can cause an end without close_notify, so
that counts as a reset.
"""

from __future__ import annotations

import _ssl as ssl  # see `stream.tls.openssl`
from errno import ECONNABORTED, ECONNRESET

from tunnelctl.engine.kernel import checkpoint
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.tls.errors import PlainHTTP, Renegotiation, Shredded, Untrusted
from tunnelctl.stream.tls.failure import cause_of
from tunnelctl.stream.tls.openssl import Context, session_of
from tunnelctl.stream.tls.settings import TLSClient, check_pin, client_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _ssl import Certificate
    from collections.abc import Awaitable, Callable
    from typing import Any

    from tunnelctl.stream.tls.openssl import Session

# Ciphertext per read of the inner stream. OpenSSL's memory never shrinks, so an idle tunnel keeps that much.
FILL = CHUNK

# Bytes per call for a caller that asks for as much: HTTP/2, whose one connection carries the bulk of many tunnels. With 1,
# 2, 4 and 8 times the usual amount, it took 1.28, 1.06, 1.06 and 0.90 s of CPU to send a GiB.
LARGEST = 8 * CHUNK

# Records passed to OpenSSL per turn, unless they bring plaintext: then the relay counts. A full one has 16 KiB; a KeyUpdate, which
# brings none, has 27 octets and takes 9 µs, and OpenSSL processes all its input in one call.
RECORDS_A_TURN = 64
_RECORD_HEAD = 5  # type, version, length (RFC 8446 section 5.1)

# Records in which a peer may send its part of a handshake. A few are usual, some dozens where a hello is cut up to hide it from
# filters; OpenSSL would accept 131,072 octets of a hello in as many records.
MAX_HANDSHAKE_RECORDS = 256

# Bytes of OpenSSL's own messages (responses to KeyUpdate or to renegotiation, alerts) that may be queued for the peer.
MAX_OWED = 1 << 18

# First octets of the TLS records that respond to a ClientHello: an alert or a handshake, of version 3.x, as in all since SSL 3.
_RECORDS = (b"\x15\x03", b"\x16\x03")

# Records are decrypted into it one behind the other, so that a read returns several. No task parks while it uses this buffer.
_scratch = memoryview(bytearray(LARGEST))


async def start_tls(inner: Stream, settings: TLSClient, early: bytes = b"") -> TLSStream:
    """Opens TLS as the client. Raises OSError, including SSLError (see tls.failure); `inner` then stays with the caller.

    early: bytes of the peer that were already read
    """
    stream = TLSStream(inner, client_context(settings), settings.server_name, early)
    await stream.handshake(early)
    check_pin(settings, stream.session.getpeercert(True) or b"")
    return stream


async def accept_tls(inner: Stream, context: Context) -> TLSStream:
    """Opens TLS as the server, likewise."""
    stream = TLSStream(inner, context)
    await stream.handshake()
    return stream


async def answers_tls(inner: Stream, server_name: str, early: bytes = b"") -> bool:
    """Whether the peer responds to a ClientHello in TLS, even with an alert. Raises OSError. `inner` stays with the caller.

    The hello carries the server name, and nothing else about us. early: bytes of the peer that were already read
    """
    stream = TLSStream(inner, client_context(TLSClient(server_name, insecure=True)), server_name)
    stream._shaken()
    await stream._flush_all()
    while len(early) < len(_RECORDS[0]) and (data := await inner.receive_some(FILL)):
        early += data
    return early.startswith(_RECORDS)


class Facts(NamedTuple):
    """The negotiated parameters, and the peer's certificate."""

    version: str
    cipher: str
    alpn: str
    # Of a certificate that was verified, else empty.
    subject: str  # its common name, or else its first alternative name
    issuer: str  # the common name, or the organization
    expires: str  # as OpenSSL writes it
    pin: str  # of its key, verified or not
    chain: tuple[str, ...]  # subjects from it up to the trusted authority; empty if Python does not provide them


class TLSStream(Stream):
    """One TLS connection over `inner`, which it closes."""

    __slots__ = (
        "_ahead",
        "_barren",
        "_closed",
        "_dry",
        "_ended",
        "_failure",
        "_held",
        "_incoming",
        "_inner",
        "_outgoing",
        "_owed",
        "_record_left",
        "_records",
        "_said_end",
        "_unsent",
        "session",
    )

    def __init__(self, inner: Stream, context: Context, server_name: str | None = None, early: bytes = b"") -> None:
        """server_name: the server that a client expects; None for a server"""
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = session_of(context, self._incoming, self._outgoing, server_name)
        self._ahead = b""  # decrypted, but not yet read
        self._dry = False  # whether a read found nothing, so that only the inner stream can provide more
        self._barren = False  # whether a read gave no plaintext although there may be more: other tasks run first
        self._held = early  # ciphertext to pass to OpenSSL later
        self._record_left = 0  # octets of a record that OpenSSL has yet to receive
        self._records = 0  # passed to OpenSSL since the last `receive_nowait` began
        self._ended = self._said_end = self._closed = False
        self._failure: OSError | None = None  # the permanent failure of the peer's direction
        self._unsent: bytes | memoryview = b""  # ciphertext that the inner stream has not taken
        self._owed = 0  # bytes encrypted, but not yet reported as taken, since part of their ciphertext was unsent

    def transport_fd(self) -> int | None:
        return self._inner.transport_fd()

    async def handshake(self, early: bytes = b"") -> None:
        """Performs the handshake; must be called first. early: what the peer has sent already, if anything"""
        records = 0
        try:
            while not self._shaken():
                await self._flush_all()
                if len(self._held) >= _RECORD_HEAD:
                    await checkpoint()  # this turn's quota of records is used up
                else:
                    data = await self._inner.receive_some(FILL)
                    if not data:
                        raise ConnectionResetError(ECONNRESET, "closed in the TLS handshake")
                    self._held += data
                    early = early or data
                self._records = 0
                self._give(self._held)
                records += self._records - 1  # without the one counted for the piece, since the network cuts the pieces
                if records > MAX_HANDSHAKE_RECORDS:
                    raise Shredded
        except ssl.SSLError as error:
            self._flush_quietly()  # the alert that gives the reason
            if early.startswith(b"HTTP/"):
                raise PlainHTTP from error
            if isinstance(error, ssl.SSLCertVerificationError) and not self.session.server_side:
                raise Untrusted(error, _shown_pin(self.session)) from error
            raise
        await self._flush_all()

    def _shaken(self) -> bool:
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def facts(self) -> Facts:
        """Returns the facts about the connection, once the handshake is done."""
        from tunnelctl.proto.tls.pin import pin_of

        session = self.session
        cipher, der = session.cipher(), session.getpeercert(True)
        certificate: Any = session.getpeercert() or {}
        return Facts(
            session.version() or "",
            cipher[0] if cipher else "",
            session.selected_alpn_protocol() or "",
            _subject(certificate),
            _authority(certificate.get("issuer", ())),
            certificate.get("notAfter", ""),
            pin_of(der) if der else "",
            _chain(session) if certificate else (),
        )

    # -- reading ---------------------------------------------------------------------------------------------------------------

    def receive_nowait(self, limit: int) -> bytes | None:
        if self._ahead:
            data, self._ahead = self._ahead[:limit], self._ahead[limit:]
            return data
        self._dry = self._barren = False
        self._records = count = 0
        while not (count or self._ended or self._failure is not None):
            if not self._pending() and not self._fill(limit):
                self._dry = True
                return None
            count = self._decrypt(min(limit, LARGEST))
            if self._records >= RECORDS_A_TURN and not count:
                self._barren = True
                return None
        if self._failure is not None and not count:
            raise self._failure
        return bytes(_scratch[:count])

    def _pending(self) -> int:
        """Nonzero if there is anything to decrypt, or decrypted already. A part of a record counts too, once."""
        return self._incoming.pending or self.session.pending()

    def _fill(self, limit: int) -> bool:
        """Passes available ciphertext to OpenSSL, up to this turn's quota of records; False if there is none."""
        data = self._held
        if len(data) < _RECORD_HEAD:
            more = self._inner.receive_nowait(max(FILL, limit))
            if more is None:
                return False
            if not more:
                self._failure = ConnectionResetError(ECONNRESET, "the TLS connection was cut off (no close_notify)")
                return True
            data += more
        self._give(data)
        return True

    def _give(self, data: bytes) -> None:
        """Passes data to OpenSSL, up to this turn's quota of records, and holds the rest."""
        end = self._end_of_records(data)
        self._incoming.write(data[:end])
        self._held = data[end:]

    def _end_of_records(self, data: bytes) -> int:
        """Returns where this turn's quota of records ends, or the data, whichever comes first. Never cuts the head of a record."""
        end = self._record_left
        while end + _RECORD_HEAD <= len(data) and self._records < RECORDS_A_TURN:
            end += _RECORD_HEAD + int.from_bytes(data[end + 3 : end + 5], "big")
            self._records += 1
        self._records += 1  # part of a record counts as well, however small
        self._record_left = max(0, end - len(data))
        return min(end, len(data))

    def _decrypt(self, limit: int) -> int:
        """Decrypts into _scratch, up to `limit` bytes, and returns their number. Records EOF or a failure."""
        count, read = 0, self.session.read
        try:
            while count < limit:
                more = read(limit - count, _scratch[count:limit])
                if not more:
                    self._ended = True
                    break
                count += more
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # close_notify, after our own
            self._ended = True
        except ssl.SSLError as error:
            self._failure = _broken(error)
        if self._outgoing.pending:
            self._answer()
        return count

    def _answer(self) -> None:
        """Sends OpenSSL's reactions to what it has read: alerts, responses to a KeyUpdate. The peer may wait for them."""
        self._flush_quietly()
        if len(self._unsent) > MAX_OWED and self._failure is None:
            self._failure = ConnectionAbortedError(ECONNABORTED, "the peer asks for answers in TLS and does not read them")

    def wait_readable(self) -> Awaitable[None]:
        if self._dry:
            return self._inner.wait_readable()
        return checkpoint() if self._barren else _at_once()

    # -- writing ---------------------------------------------------------------------------------------------------------------

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Counts bytes as taken once the inner stream has all of their ciphertext: nobody else would send the rest.

        Until then it returns 0, and the caller offers the same bytes again.
        """
        if self._unsent and not self._flush():
            return 0
        if self._owed:
            taken, self._owed = self._owed, 0
            return taken
        if not data:
            return 0
        try:
            taken = self.session.write(data if len(data) <= LARGEST else memoryview(data)[:LARGEST])
        except ssl.SSLError as error:
            raise _broken(error) from error
        if self._flush():
            return taken
        self._owed = taken
        return 0

    def _flush(self) -> bool:
        """Passes OpenSSL's output to the inner stream. True if it was all taken."""
        unsent = self._unsent
        if self._outgoing.pending:
            unsent = bytes(unsent) + self._outgoing.read() if unsent else self._outgoing.read()
        if unsent:
            sent = self._inner.send_nowait(unsent)
            unsent = memoryview(unsent)[sent:] if sent < len(unsent) else b""
        self._unsent = unsent
        return not unsent

    def _flush_quietly(self) -> None:
        """Flushes and ignores errors: for OpenSSL's own messages, mostly after a failure or before closing."""
        try:
            self._flush()
        except OSError:
            pass

    async def _flush_all(self) -> None:
        while not self._flush():
            await self._inner.wait_writable()

    def wait_writable(self) -> Awaitable[None]:
        return self._inner.wait_writable()

    def on_broken(self, callback: Callable[[], None]) -> None:
        self._inner.on_broken(callback)

    def expect_bulk(self) -> None:
        self._inner.expect_bulk()

    def bound_unsent(self, size: int) -> None:
        self._inner.bound_unsent(size)

    def on_peer_closed(self, callback: Callable[[], None]) -> None:
        self._inner.on_peer_closed(callback)

    def unwatch(self) -> None:
        self._inner.unwatch()

    # -- ends ------------------------------------------------------------------------------------------------------------------

    def send_eof(self) -> None:
        """Sends close_notify. The inner stream stays open both ways: the peer's direction goes on (RFC 8446 section 6.1)."""
        if self._said_end:
            return
        self._said_end = True
        # OpenSSL looks for the peer's close_notify as well, and fails for good if it finds data, so it must find none.
        while self._pending() and not self._ended and self._failure is None and (count := self._decrypt(CHUNK)):
            self._ahead += bytes(_scratch[:count])
        try:
            self.session.shutdown()
        except (ssl.SSLError, ValueError):  # most often because the peer has not ended yet
            pass
        self._flush_quietly()

    async def flush_eof(self) -> None:
        self.send_eof()
        try:
            await self._flush_all()
        except OSError:  # as in any stream: a reset came first, and the next read reports it
            pass

    def abort(self) -> None:
        self._closed = True
        self._inner.abort()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.send_eof()
            self._inner.close()

    async def wait_acknowledged(self) -> None:
        await self._inner.wait_acknowledged()


def _subject(certificate: Any) -> str:
    """certificate: as returned by getpeercert, empty if it was not verified"""
    common = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    others = [value for _, value in certificate.get("subjectAltName", ())]
    return next(iter(common + others), "")


def _authority(name: Any) -> str:
    """name: a distinguished name from such a certificate"""
    names = {key: value for part in name for key, value in part}
    return names.get("commonName") or names.get("organizationName") or ""


def _chain(session: Session) -> tuple[str, ...]:
    found = [certificate.get_info() for certificate in _verified(session)]
    return tuple(_subject(info) or _authority(info.get("subject", ())) for info in found)


def _shown_pin(session: Session) -> str:
    """The pin of a certificate that was not accepted; "" if unknown. getpeercert() has none before the handshake is done."""
    from tunnelctl.proto.tls.pin import pin_of

    shown = _verified(session)[:1]
    return pin_of(shown[0].public_bytes(ssl.ENCODING_DER)) if shown else ""


def _verified(session: Session) -> list[Certificate]:
    """The certificates that OpenSSL checked, the peer's first, whether it accepted them or not."""
    return session.get_verified_chain() or []


def _broken(error: ssl.SSLError) -> OSError:
    """Converts an error after the handshake to one that the Stream contract allows, without OpenSSL's wording."""
    if error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE":
        error = Renegotiation(*error.args)
    broken = ConnectionAbortedError(ECONNABORTED, cause_of(error))
    broken.__cause__ = error
    return broken


async def _at_once() -> None:
    pass
