"""Runs `check` and reads its findings; targets for it."""

import json
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.peers.program import run
from tests.peers.scripted import Conversation, ScriptedServer

TARGET = ("target.test", "22")

Found = list[dict[str, Any]]


def check(*words: str, target: tuple[str, ...] = TARGET, **env: str) -> tuple[int, Found]:
    """Returns the exit status and the findings."""
    done = run("check", "--json", *words, *target, env=env)
    assert done.stderr == b"", done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def only(event: str, found: Found) -> dict[str, Any]:
    (record,) = [record for record in found if record["event"] == event]
    return record


def all_of(event: str, key: str, found: Found) -> list[Any]:
    return [record[key] for record in found if record["event"] == event]


def greet(peer: Conversation) -> None:
    """Greets every tunnel. Over TLS, `check` opens one by HTTP/2 first, and resets it as soon as it has been granted."""
    with suppress(ConnectionError):
        peer.send(b"220 this target speaks first\r\n")
    peer.wait_gone()


def tls_server(certificate: tuple[Path, Path]) -> ScriptedServer:
    """A target that speaks TLS, and responds to one request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def script(peer: Conversation) -> None:
        # Most tests that use it are about a handshake that the client ends.
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as secure:
            peer.sock = secure
            if secure.recv(4096):
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
                secure.unwrap()

    return ScriptedServer(script)
