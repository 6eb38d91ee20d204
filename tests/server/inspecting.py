"""A proxy with rules on the content of tunnels, and helpers for test_inspection and tests/security/test_v29."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import Conversation
from tests.server.harness import SECONDS, Client, Proxy

NAME = "www.example.com"
RULES = {
    "tls": '[[allow]]\nname = "web"\ntargets = ["www.example.com:*", "127.0.0.1:*"]\ntls = "require"\n',
    "sni": '[[allow]]\nname = "web"\ntargets = ["www.example.com:*", "127.0.0.1:*"]\nsni = "match"\n',
    "deny": '[[deny]]\nname = "web"\ntargets = ["*:*"]\nsni = "match"\n',
    "report": '[[report]]\nname = "soon"\ntargets = ["*:*"]\nsni = "match"\n',
}


def rules(directory: Path, kind: str) -> str:
    """A policy file of one of the kinds."""
    path = directory / "policy.toml"
    path.write_text(RULES[kind])
    return str(path)


def proxy_with(directory: Path, kind: str) -> Proxy:
    allow = {"allow": ()} if kind in ("tls", "sni") else {"allow": ("127.0.0.1:*", "www.example.com:*")}
    return Proxy(policy=rules(directory, kind), **allow)


def end_of(proxy: Proxy) -> dict[str, object]:
    wait_until(lambda: any(record["event"] == "closed" for record in proxy.records()), SECONDS, "the record of the end")
    (end,) = (record for record in proxy.records() if record["event"] == "closed")
    return end


def is_cut(client: Client, data: bytes) -> bool:
    """Whether sending `data` brings a reset and nothing else."""
    client.send(data)
    with pytest.raises(ConnectionResetError):
        assert client.sock.recv(1) == b"", "a clean end or data"
        raise AssertionError("a clean end")
    return True


def silent(peer: Conversation) -> None:
    """A target that must not get a single octet."""
    assert peer.wait_gone() == b""


class Retrying:
    """The script of an OpenSSL server that supports P-384 only: it sends a HelloRetryRequest to a client with an X25519 share.

    names: the server names that it received, one for each ClientHello
    """

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        self.names: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._context.set_ecdh_curve("secp384r1")
        self._context.sni_callback = lambda _, name, __: self.names.append(name)

    def __call__(self, peer: Conversation) -> None:
        tls = Bytes(self._context, peer.send, server_side=True)
        try:
            while data := peer.read():
                tls.take(data)
                if tls.plaintext:
                    tls.write(tls.plaintext)
                    tls.plaintext = b""
        except (ConnectionError, ssl.SSLError):  # the proxy cut the tunnel, or the second ClientHello did not match the first
            pass


class Bytes:
    """One end of TLS, fed with bytes; `plaintext` holds what has arrived so far."""

    def __init__(self, context: ssl.SSLContext, send: Callable[[bytes], object], name: str = "", server_side: bool = False) -> None:
        self._incoming, self._outgoing, self._send = ssl.MemoryBIO(), ssl.MemoryBIO(), send
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname=name or None)
        self.plaintext, self.is_open = b"", False

    def take(self, data: bytes) -> None:
        """Takes bytes from the other end, and sends what TLS has to reply."""
        self._incoming.write(data)
        try:
            if not self.is_open:
                self._tls.do_handshake()
                self.is_open = True
            while piece := self._tls.read(65536):
                self.plaintext += piece
        except ssl.SSLWantReadError:
            pass
        finally:
            self._flush()

    def write(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._send(data)


def client_tls(send: Callable[[bytes], object], name: str = NAME) -> Bytes:
    """A client that offers an X25519 share and accepts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Bytes(context, send, name)
