"""OpenSSL through `_ssl`, the module in C under Python's `ssl`.

`import ssl` costs 56 M instructions on top of `_ssl`, where a whole start in the clear takes 83 M (callgrind, CPython 3.11): enums,
sockets, base64. For TLS in memory its classes only pass calls on, as this module does. The checks of certificates and names are in
OpenSSL and `_ssl`. CPython 3.11 to 3.14 have the underscored names alike. A context of `ssl` is one of `_ssl` as well.
"""

from __future__ import annotations

from _ssl import _SSLContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _ssl import Certificate, MemoryBIO
    from collections.abc import Iterable
    from typing import Any, Literal, Protocol, overload

    class Session(Protocol):
        """One connection: what ssl.SSLObject has as `_sslobj`."""

        @property
        def server_side(self) -> bool: ...
        def do_handshake(self) -> None: ...
        def pending(self) -> int: ...
        def read(self, size: int, buffer: memoryview, /) -> int: ...
        def write(self, data: bytes | memoryview, /) -> int: ...
        def shutdown(self) -> None: ...
        def version(self) -> str | None: ...
        def cipher(self) -> tuple[str, str, int] | None: ...
        def selected_alpn_protocol(self) -> str | None: ...
        def get_verified_chain(self) -> list[Certificate] | None: ...
        @overload
        def getpeercert(self) -> dict[str, Any] | None: ...
        @overload
        def getpeercert(self, der: Literal[True], /) -> bytes | None: ...


Context = _SSLContext

MAX_PROTOCOL = 255  # octets of a name for ALPN, whose length is one octet


def session_of(context: Context, incoming: MemoryBIO, outgoing: MemoryBIO, server_name: str | None) -> Session:
    """Begins a connection. server_name: the server that a client expects; None for a server

    A client with None would check no name, but `_ssl` refuses: no context that we make is for both. "" it refuses as well.
    """
    session: Session = context._wrap_bio(incoming, outgoing, server_name is None, server_name)  # type: ignore[attr-defined]
    return session


def offer(context: Context, protocols: Iterable[str]) -> None:
    """Sets the protocols for ALPN, each with its length before it (RFC 7301 section 3.1)."""
    names = [name.encode("ascii") for name in protocols]
    if not all(0 < len(name) <= MAX_PROTOCOL for name in names):
        raise ValueError(f"the name of a protocol has 1 to {MAX_PROTOCOL} octets")
    context._set_alpn_protocols(b"".join(bytes([len(name)]) + name for name in names))  # type: ignore[attr-defined]
