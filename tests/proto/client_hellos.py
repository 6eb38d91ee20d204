"""ClientHellos for tests: built octet by octet, made by OpenSSL, and one that Chromium 156 sent to www.example.com."""

import hashlib
import ssl
from pathlib import Path

# 2 KiB: GREASE in every list, a key share of X25519MLKEM768, and a dummy extension of Encrypted ClientHello.
CHROMIUM = (Path(__file__).parents[1] / "data" / "client_hello" / "chromium.bin").read_bytes()


def vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def body(*extensions: bytes, session: bytes = b"", suites: bytes = b"\x13\x01", compression: bytes = b"\0") -> bytes:
    start = b"\x03\x03" + bytes(range(32)) + vector(1, session) + vector(2, suites) + vector(1, compression)
    return start + vector(2, b"".join(extensions))


def message(content: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + vector(3, content)


def records(data: bytes, size: int = 1 << 14, kind: int = 22, version: bytes = b"\x03\x01") -> bytes:
    """Splits `data` into records of at most `size` octets."""
    return b"".join(bytes([kind]) + version + vector(2, data[at : at + size]) for at in range(0, len(data), size))


def hello(*extensions: bytes, size: int = 1 << 14) -> bytes:
    return records(message(body(*extensions)), size)


def named(name: str, *more: bytes, size: int = 1 << 14) -> bytes:
    return hello(server_name(name.encode()), *more, size=size)


def of_openssl(name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """The ClientHello of this Python's OpenSSL."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    sent = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


CHANGE_CIPHER_SPEC = b"\x14\x03\x03\0\1\1"
RETRY_RANDOM = hashlib.sha256(b"HelloRetryRequest").digest()  # RFC 8446 section 4.1.3


def application_data(size: int = 40) -> bytes:
    return records(bytes(size), kind=23, version=b"\x03\x03")


def server_hello(random: bytes = bytes(32), kind: int = 2, size: int = 1 << 14) -> bytes:
    """A ServerHello; with RETRY_RANDOM a HelloRetryRequest."""
    return records(message(b"\x03\x03" + random + b"\0\x13\x01\0" + vector(2, b""), kind), size, version=b"\x03\x03")
