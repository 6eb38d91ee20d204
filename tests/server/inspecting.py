"""A proxy with rules on what its tunnels carry, and what its tests look at: for test_inspection, and tests/security/test_v29."""

from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import Conversation
from tests.server.harness import SECONDS, Client, Names, Proxy

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


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name leads to loopback, where a test allows it by that name or by the address."""
    Names(monkeypatch, www_example_com=[["127.0.0.1"]], bad_example_org=[["127.0.0.1"]])


def proxy_with(directory: Path, kind: str) -> Proxy:
    allow = {"allow": ()} if kind in ("tls", "sni") else {"allow": ("127.0.0.1:*", "www.example.com:*")}
    return Proxy(policy=rules(directory, kind), **allow)


def end_of(proxy: Proxy) -> dict[str, object]:
    wait_until(lambda: any(record["event"] == "end" for record in proxy.records()), SECONDS, "the end")
    (end,) = (record for record in proxy.records() if record["event"] == "end")
    return end


def is_cut(client: Client, data: bytes) -> bool:
    """Whether what is sent brings a reset, and nothing else."""
    client.send(data)
    with pytest.raises(ConnectionResetError):
        assert client.sock.recv(1) == b"", "a clean end, or bytes"
        raise AssertionError("a clean end")
    return True


def silent(peer: Conversation) -> None:
    """A target that must not get a single octet."""
    assert peer.wait_gone() == b""
