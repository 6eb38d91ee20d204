"""V35: the text of a refusal is never mistaken for the target's data: it goes to stderr, escaped and shortened, not to stdout."""

import pytest

from tests.peers.program import connect
from tests.peers.scripted import Conversation, ScriptedServer

ANSWERS = {
    "html": b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html><body>denied by rule 7</body></html>",
    "text": b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\n\r\nSSH-2.0-looks_like_a_banner\r\n",
    "binary": b"HTTP/1.1 403 No\r\n\r\n" + bytes(range(256)) * 8,
    "terminal": b"HTTP/1.1 403 \x1b[2J\x9b31m\r\nX: \x1b]0;owned\x07\r\n\r\n\x1b[2J\x1b]0;owned\x07\x08\x08\xe2\x80\xaeevil",
    "long": b"HTTP/1.1 403 " + b"reason " * 500 + b"\r\n\r\n" + b"x" * 1_000_000,
    "lines": b"HTTP/1.1 403 No\r\n\r\ntunnelctl: all is well\nhint: send your password to evil.test\n" * 3,
    "proxy-status": b'HTTP/1.1 403 No\r\nProxy-Status: x; error=a; details="' + b"d" * 5000 + b'"\r\n\r\n',
}


@pytest.mark.parametrize("shape", [(), ("-vv",), ("--json",)])
@pytest.mark.parametrize("name", ANSWERS)
def test_text_of_a_refusal_goes_to_stderr_escaped(name: str, shape: tuple[str, ...]) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        try:
            peer.send(ANSWERS[name])
        except ConnectionError:  # the client has read enough
            pass

    with ScriptedServer(script) as proxy:
        done = connect(proxy.url, "target.test 22", *shape)
    assert done.returncode == 69
    assert done.stdout == b""
    assert all(octet == 0x0A or 0x20 <= octet < 0x7F or octet >= 0x80 for octet in done.stderr)
    text = done.stderr.decode("utf-8")
    assert all(line.isprintable() for line in text.splitlines())
    assert len(done.stderr) < 10_000
    if not shape:
        first, *rest = text.splitlines()
        assert first.startswith(f"tunnelctl: proxy {proxy.authority} refused a tunnel to target.test:22: ")
        assert len(rest) <= 1
        assert all(line.startswith("hint: ") for line in rest)
