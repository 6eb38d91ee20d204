"""User-defined fields in the CONNECT request, octet for octet as curl sends them."""

import os
import subprocess

import pytest

from tests.peers import program
from tests.peers.process import path_of
from tests.peers.scripted import Conversation, ScriptedServer

FIELDS = ["X-Name: Jürgen", "X-Raw: \udcfc", "Host: edge.example"]


def refuse(peer: Conversation) -> None:
    peer.accept_tunnel(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")


def lines(head: bytes) -> set[bytes]:
    return {line for line in head.split(b"\r\n") if line.startswith((b"CONNECT", b"X-", b"Host"))}


@pytest.mark.peer("curl")
def test_curl_sends_the_same_fields() -> None:
    with ScriptedServer(refuse) as proxy:
        ours = [word for field in FIELDS for word in ("--header", field)]
        assert b"warning: Host is " in program.connect(proxy.url, "target.test:80", *ours).stderr
        curls = [word for field in FIELDS for word in ("--proxy-header", field)]
        command = [path_of("curl"), "-s", "-p", "-m", "10", "-x", proxy.url, *curls, "http://target.test/"]
        subprocess.run(command, env={"PATH": os.environ["PATH"]}, timeout=20)
        first, second = map(lines, proxy.heads)
    wanted = {b"CONNECT target.test:80 HTTP/1.1", "X-Name: Jürgen".encode(), b"X-Raw: \xfc", b"Host: edge.example"}
    assert first == second == wanted
