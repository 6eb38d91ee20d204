"""TLS over any stream, another TLS stream included.

OpenSSL works on memory (ssl.MemoryBIO); what it wants to read and to send goes through the inner stream. Each direction ends by
itself, as RFC 8446 section 6.1 has it: close_notify ends one, and the other goes on. An end without close_notify is one that
anybody on the way could have made, so it counts as a reset.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from errno import ECONNABORTED, ECONNRESET

from tunnelctl.engine.kernel import checkpoint
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.tls.errors import PlainHTTP, Renegotiation, Shredded, Untrusted
from tunnelctl.stream.tls.failure import cause_of
from tunnelctl.stream.tls.settings import TLSClient, check_pin, client_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Ciphertext per read of the inner stream. OpenSSL's memory never shrinks, so an idle tunnel keeps as much.
FILL = CHUNK

# Records that OpenSSL gets in a turn, unless they bring plaintext: then the relay counts. A full one has 16 KiB; a KeyUpdate, which
# brings none, has 27 octets and takes 9 µs, and OpenSSL goes through all that it is given in one call.
RECORDS_A_TURN = 64
_RECORD_HEAD = 5  # type, version, length (RFC 8446 section 5.1)

# Records in which a peer may say its part of a handshake. A few are usual, some dozens where a hello is cut up to hide it from
# filters; OpenSSL would take 131,072 octets of a hello in as many records.
MAX_HANDSHAKE_RECORDS = 256

# Bytes of OpenSSL's own messages (answers to KeyUpdate or to a renegotiation, alerts) that may be queued for the peer.
MAX_OWED = 1 << 18

# How records of TLS begin that answer a ClientHello: an alert, or a handshake; of version 3.x, as all have it since SSL 3.
_RECORDS = (b"\x15\x03", b"\x16\x03")

# Where records are decrypted one behind the other, so that a read brings several of them. Nobody who uses it waits meanwhile.
_scratch = memoryview(bytearray(CHUNK))


async def start_tls(inner: Stream, settings: TLSClient, early: bytes = b"") -> TLSStream:
    """Speaks TLS as the client. Raises OSError, ssl.SSLError among them (see tls_failure); `inner` is still the caller's then.

    early: bytes of the peer that were read already
    """
    stream = TLSStream(inner, client_context(settings), settings.server_name, early)
    await stream.handshake(early)
    check_pin(settings, stream.session.getpeercert(True) or b"")
    return stream


async def accept_tls(inner: Stream, context: ssl.SSLContext) -> TLSStream:
    """The same as the server."""
    stream = TLSStream(inner, context)
    await stream.handshake()
    return stream


async def answers_tls(inner: Stream, server_name: str, early: bytes = b"") -> bool:
    """Whether the peer answers the beginning of a handshake in TLS, be it with an alert. Raises OSError; `inner` is the caller's.

    It is told the name that it goes by, and nothing else. early: bytes of the peer that were read already
    """
    stream = TLSStream(inner, client_context(TLSClient(server_name, insecure=True)), server_name)
    stream._shaken()
    await stream._flush_all()
    while len(early) < len(_RECORDS[0]) and (data := await inner.receive_some(FILL)):
        early += data
    return early.startswith(_RECORDS)


class Facts(NamedTuple):
    """What was agreed on, and with whom."""

    version: str
    cipher: str
    alpn: str
    # Of a certificate that was verified, else empty.
    subject: str  # its common name, or first name
    issuer: str  # the common name, or the organization
    expires: str  # as OpenSSL writes it
    pin: str  # of its key, verified or not
    chain: tuple[str, ...]  # the subjects from it up to the authority that vouches for it; empty where Python does not tell


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

    def __init__(self, inner: Stream, context: ssl.SSLContext, server_name: str | None = None, early: bytes = b"") -> None:
        """server_name: as the client, whom it expects; None as the server"""
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_name is None, server_name)
        self._ahead = b""  # decrypted, and not yet asked for
        self._dry = False  # whether a read found nothing, so that only the inner stream can bring more
        self._barren = False  # whether a read brought no plaintext although there may be more: others have their turn first
        self._held = early  # ciphertext that OpenSSL is to get later
        self._record_left = 0  # octets of a record that are missing from what OpenSSL got
        self._records = 0  # that OpenSSL got since the last `receive_nowait` began
        self._ended = self._said_end = self._closed = False
        self._failure: OSError | None = None  # of the peer's direction, for good
        self._unsent: bytes | memoryview = b""  # ciphertext that the inner stream has not taken
        self._owed = 0  # bytes encrypted, but not yet reported as taken, since a part of them was among `_unsent`

    async def handshake(self, early: bytes = b"") -> None:
        """To be done first. early: what the peer has said already, if anything"""
        records = 0
        try:
            while not self._shaken():
                await self._flush_all()
                if len(self._held) >= _RECORD_HEAD:
                    await checkpoint()  # this turn's records are through
                else:
                    data = await self._inner.receive_some(FILL)
                    if not data:
                        raise ConnectionResetError(ECONNRESET, "closed in the TLS handshake")
                    self._held += data
                    early = early or data
                self._records = 0
                self._give(self._held)
                records += self._records - 1  # of which one is for the piece, and pieces are the network's doing
                if records > MAX_HANDSHAKE_RECORDS:
                    raise Shredded
        except ssl.SSLError as error:
            self._flush_quietly()  # the alert that says why
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
        """What a client wants to know once the handshake is done."""
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
            if not self._pending() and not self._fill():
                self._dry = True
                return None
            count = self._decrypt(min(limit, CHUNK))
            if self._records >= RECORDS_A_TURN and not count:
                self._barren = True
                return None
        if self._failure is not None and not count:
            raise self._failure
        return bytes(_scratch[:count])

    def _pending(self) -> int:
        """Whether there is anything to decrypt, or decrypted already. A part of a record counts too, once."""
        return self._incoming.pending or self.session.pending()

    def _fill(self) -> bool:
        """Gives OpenSSL what is there, as far as this turn's records go; False where nothing is."""
        data = self._held
        if len(data) < _RECORD_HEAD:
            more = self._inner.receive_nowait(FILL)
            if more is None:
                return False
            if not more:
                self._failure = ConnectionResetError(ECONNRESET, "the TLS connection was cut off (no close_notify)")
                return True
            data += more
        self._give(data)
        return True

    def _give(self, data: bytes) -> None:
        """To OpenSSL, as far as this turn's records go; the rest is held."""
        end = self._end_of_records(data)
        self._incoming.write(data[:end])
        self._held = data[end:]

    def _end_of_records(self, data: bytes) -> int:
        """Where the records end that this turn may have, or the data, whichever comes first; a head of a record is never cut."""
        end = self._record_left
        while end + _RECORD_HEAD <= len(data) and self._records < RECORDS_A_TURN:
            end += _RECORD_HEAD + int.from_bytes(data[end + 3 : end + 5], "big")
            self._records += 1
        self._records += 1  # a piece of one counts as well, however small the pieces come
        self._record_left = max(0, end - len(data))
        return min(end, len(data))

    def _decrypt(self, limit: int) -> int:
        """Decrypts into _scratch what is there, up to `limit` bytes; notes the end, or a failure."""
        count, read = 0, self.session.read
        try:
            while count < limit and self._pending():
                more = read(limit - count, _scratch[count:limit])
                if not more:
                    self._ended = True
                    break
                count += more  # type: ignore[operator]  # with a buffer, it returns a length
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
        """Hands on what OpenSSL says because of what it has read: alerts, answers to a KeyUpdate. The peer may wait for it."""
        self._flush_quietly()
        if len(self._unsent) > MAX_OWED and self._failure is None:
            self._failure = ConnectionAbortedError(ECONNABORTED, "the peer asks for answers in TLS and does not read them")

    def wait_readable(self) -> Awaitable[None]:
        if self._dry:
            return self._inner.wait_readable()
        return checkpoint() if self._barren else _at_once()

    # -- writing ---------------------------------------------------------------------------------------------------------------

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Bytes count as taken when the inner stream has all of their ciphertext: nobody else would see to the rest of it.

        Until then the answer is 0, and the caller offers the same bytes again.
        """
        if self._unsent and not self._flush():
            return 0
        if self._owed:
            taken, self._owed = self._owed, 0
            return taken
        if not data:
            return 0
        try:
            taken = self.session.write(data if len(data) <= CHUNK else memoryview(data)[:CHUNK])
        except ssl.SSLError as error:
            raise _broken(error) from error
        if self._flush():
            return taken
        self._owed = taken
        return 0

    def _flush(self) -> bool:
        """Hands on what OpenSSL has written; whether that was all taken."""
        unsent = self._unsent
        if self._outgoing.pending:
            unsent = bytes(unsent) + self._outgoing.read() if unsent else self._outgoing.read()
        if unsent:
            sent = self._inner.send_nowait(unsent)
            unsent = memoryview(unsent)[sent:] if sent < len(unsent) else b""
        self._unsent = unsent
        return not unsent

    def _flush_quietly(self) -> None:
        """For what is said in parting, when something else has failed already or is about to be closed."""
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

    def on_peer_closed(self, callback: Callable[[], None] | None) -> None:
        self._inner.on_peer_closed(callback)

    # -- ends ------------------------------------------------------------------------------------------------------------------

    def send_eof(self) -> None:
        """Sends close_notify. The inner stream stays open both ways: the peer's direction goes on (RFC 8446 section 6.1)."""
        if self._said_end:
            return
        self._said_end = True
        # OpenSSL looks for the peer's close_notify as well, and fails for good if it finds data: so it must not find any.
        while self._pending() and not self._ended and self._failure is None and (count := self._decrypt(CHUNK)):
            self._ahead += bytes(_scratch[:count])
        try:
            self.session.unwrap()
        except (ssl.SSLError, ValueError):  # most often, that the peer has not ended yet
            pass
        self._flush_quietly()

    async def flush_eof(self) -> None:
        self.send_eof()
        try:
            await self._flush_all()
        except OSError:  # as in any stream: a reset was faster, and whoever reads learns of it
            pass

    def abort(self) -> None:
        self._closed = True
        self._inner.abort()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.send_eof()
            self._inner.close()

    async def delivered(self) -> None:
        await self._inner.delivered()


def _subject(certificate: Any) -> str:
    """certificate: as SSLObject.getpeercert has it, empty if it was not verified"""
    common = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    others = [value for _, value in certificate.get("subjectAltName", ())]
    return next(iter(common + others), "")


def _authority(name: Any) -> str:
    """name: a distinguished name of a certificate as above"""
    names = {key: value for part in name for key, value in part}
    return names.get("commonName") or names.get("organizationName") or ""


def _chain(session: ssl.SSLObject) -> tuple[str, ...]:
    found = [certificate.get_info() for certificate in _verified(session)]
    return tuple(_subject(info) or _authority(info.get("subject", ())) for info in found)


def _shown_pin(session: ssl.SSLObject) -> str:
    """The pin of a certificate that was not accepted; getpeercert() has none before the handshake is done. "" if it is unknown."""
    from _ssl import ENCODING_DER

    from tunnelctl.proto.tls.pin import pin_of

    shown = _verified(session)[:1]
    return pin_of(shown[0].public_bytes(ENCODING_DER)) if shown else ""


def _verified(session: ssl.SSLObject) -> list[Any]:
    """The certificates from the peer's on that OpenSSL looked at, whether it accepted them or not.

    SSLObject.get_verified_chain came with Python 3.13. What it asks is there since 3.10, but private: a Python that lacks it knows
    none.
    """
    verified: Any = getattr(getattr(session, "_sslobj", None), "get_verified_chain", None)
    return list((verified() if verified is not None else None) or ())


def _broken(error: ssl.SSLError) -> OSError:
    """As the contract has it, and without OpenSSL's own way to put things. Of a session whose handshake is done."""
    if error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE":
        error = Renegotiation(*error.args)
    broken = ConnectionAbortedError(ECONNABORTED, cause_of(error))
    broken.__cause__ = error
    return broken


async def _at_once() -> None:
    pass
