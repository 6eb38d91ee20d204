"""V15: a corpus of requests on which parsers differ. Ours accepts what the grammar allows and nothing else; S1 to S10."""

from random import Random

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy, Trap, connect_request

HEAD = "CONNECT {t} HTTP/1.1\r\nHost: {t}\r\n"
WRONG = {
    "bare CR in a value": (HEAD + "X: a\rb\r\n\r\n", 400),
    "bare CR ends a line": ("CONNECT {t} HTTP/1.1\rHost: {t}\r\n\r\n", 400),
    "CR CR LF": ("CONNECT {t} HTTP/1.1\r\r\nHost: {t}\r\n\r\n", 400),
    "lone LF after the request line": ("CONNECT {t} HTTP/1.1\nHost: {t}\r\n\r\n", 400),
    "lone LF after a field": (HEAD[:-2] + "\n\r\n", 400),
    "lone LFs all through": ("CONNECT {t} HTTP/1.1\nHost: {t}\n\n", 400),
    "LF LF at the end": (HEAD + "\n\n", 400),
    "lone LF before the request line of HTTP/1.0": ("\nCONNECT {t} HTTP/1.0\r\n\r\n", 400),
    "bare CR in HTTP/1.0": ("CONNECT {t} HTTP/1.0\nX: a\rb\n\n", 400),
    "NUL in HTTP/1.0": ("CONNECT {t} HTTP/1.0\nX: \0\n\n", 400),
    "obs-fold in HTTP/1.0": ("CONNECT {t} HTTP/1.0\nX: y\n z\n\n", 400),
    "space before the colon in HTTP/1.0": ("CONNECT {t} HTTP/1.0\nX : y\n\n", 400),
    "two Hosts in HTTP/1.0": ("CONNECT {t} HTTP/1.0\nHost: {t}\nHost: {t}\n\n", 400),
    "absolute form in HTTP/1.0": ("CONNECT http://{t}/ HTTP/1.0\n\n", 400),
    "userinfo in HTTP/1.0": ("CONNECT user:pass@{t} HTTP/1.0\n\n", 400),
    "content in HTTP/1.0": ("CONNECT {t} HTTP/1.0\nContent-Length: 5\n\nhello", 400),
    "Transfer-Encoding in HTTP/1.0": ("CONNECT {t} HTTP/1.0\nTransfer-Encoding: chunked\n\n", 400),
    "known method in HTTP/1.0": ("GET http://{t}/ HTTP/1.0\n\n", 405),
    "NUL in a value": (HEAD + "X: \0\r\n\r\n", 400),
    "NUL in the target": ("CONNECT {t}\0 HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "NUL in a name": (HEAD + "X\0: y\r\n\r\n", 400),
    "DEL in a value": (HEAD + "X: \x7f\r\n\r\n", 400),
    "vertical tab in a value": (HEAD + "X: \x0b\r\n\r\n", 400),
    "space before the colon": ("CONNECT {t} HTTP/1.1\r\nHost : {t}\r\n\r\n", 400),
    "tab before the colon": (HEAD + "X\t: y\r\n\r\n", 400),
    "obs-fold": (HEAD + "X: y\r\n z\r\n\r\n", 400),
    "obs-fold with a tab": (HEAD + "X: y\r\n\tz\r\n\r\n", 400),
    "a fold right behind the request line": ("CONNECT {t} HTTP/1.1\r\n Host: {t}\r\n\r\n", 400),
    "empty name": (HEAD + ": y\r\n\r\n", 400),
    "no colon": (HEAD + "X\r\n\r\n", 400),
    "name with a blank": (HEAD + "X Y: z\r\n\r\n", 400),
    "name in brackets": (HEAD + "(X): z\r\n\r\n", 400),
    "name with octets over 127": (HEAD + "X\xe9: z\r\n\r\n", 400),
    "two Hosts": (HEAD + "Host: {t}\r\n\r\n", 400),
    "two Hosts that differ": (HEAD + "hOST: other.test:443\r\n\r\n", 400),
    "no Host": ("CONNECT {t} HTTP/1.1\r\n\r\n", 400),
    "empty Host": ("CONNECT {t} HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "absolute form": ("CONNECT http://{t}/ HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "absolute form without a path": ("CONNECT https://{t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "origin form": ("CONNECT /{t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "asterisk form": ("CONNECT * HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "userinfo": ("CONNECT user:pass@{t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "empty userinfo": ("CONNECT @{t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "a path behind the authority": ("CONNECT {t}/ HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "a query behind the authority": ("CONNECT {t}?x HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "two authorities": ("CONNECT {t},{t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "two spaces": ("CONNECT  {t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "two spaces before the version": ("CONNECT {t}  HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "a tab for a space": ("CONNECT\t{t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "a space at the end": ("CONNECT {t} HTTP/1.1 \r\nHost: {t}\r\n\r\n", 400),
    "a space at the start": (" CONNECT {t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "no version": ("CONNECT {t}\r\nHost: {t}\r\n\r\n", 400),
    "no target": ("CONNECT HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "version in lower case": ("CONNECT {t} http/1.1\r\nHost: {t}\r\n\r\n", 400),
    "version with three digits": ("CONNECT {t} HTTP/1.10\r\nHost: {t}\r\n\r\n", 400),
    "version with a sign": ("CONNECT {t} HTTP/+1.1\r\nHost: {t}\r\n\r\n", 400),
    "HTTP/2.0": ("CONNECT {t} HTTP/2.0\r\nHost: {t}\r\n\r\n", 505),
    "HTTP/0.9": ("CONNECT {t} HTTP/0.9\r\nHost: {t}\r\n\r\n", 505),
    "HTTP/3.0": ("CONNECT {t} HTTP/3.0\r\nHost: {t}\r\n\r\n", 505),
    "almost the preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505),
    "method in lower case": ("connect {t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 501),
    "unknown method": ("TUNNEL {t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 501),
    "known method": ("GET http://{t}/ HTTP/1.1\r\nHost: {t}\r\n\r\n", 405),
    "known method, origin form": ("POST / HTTP/1.1\r\nHost: {t}\r\n\r\n", 405),
    "method that is no token": ("CON(NECT {t} HTTP/1.1\r\nHost: {t}\r\n\r\n", 400),
    "two empty lines first": ("\r\n\r\n" + HEAD + "\r\n", 400),
    "only empty lines": ("\r\n\r\n\r\n\r\n", 400),
    "a lone LF first": ("\n" + HEAD + "\r\n", 400),
    "TLS ClientHello": ("\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + "x" * 100, 400),
    "SOCKS5": ("\x05\x01\x00", 400),
    "SOCKS4": ("\x04\x01\x00\x50\x7f\x00\x00\x01\x00", 400),
    "PROXY protocol": ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + HEAD + "\r\n", 400),
    "SSH": ("SSH-2.0-OpenSSH_9.2\r\n", 400),
}


@pytest.mark.parametrize("name", WRONG)
def test_malformed_requests_are_answered_and_not_dialled(name: str) -> None:
    text, status = WRONG[name]
    with Trap() as trap, Proxy() as proxy, proxy.client() as client:
        client.send(text.replace("{t}", f"127.0.0.1:{trap.port}").encode("latin-1"))
        client.sock.shutdown(1)
        answer = client.answer()
        assert answer.status == status
        assert answer.error == "http_request_error"
        assert ("allow" in answer.fields) == (status == 405)


@pytest.mark.parametrize(
    "text",
    [
        "\r\n" + HEAD + "\r\n",  # S1: one empty line is skipped
        HEAD + "X:y\r\n\r\n",
        HEAD + "X: \t y \t \r\n\r\n",
        HEAD + "X:\r\n\r\n",
        HEAD + "X: caf\xe9 \x80\xff\r\n\r\n",  # obs-text
        HEAD + "X: a\tb\r\nX: c\r\n\r\n",
        HEAD.replace("Host", "hOsT") + "\r\n",
        HEAD.replace("HTTP/1.1", "HTTP/1.9") + "\r\n",
        "CONNECT {t} HTTP/1.0\r\n\r\n",
        # In HTTP/1.0 many implementations ended lines with a lone LF, and there was no Host.
        "CONNECT {t} HTTP/1.0\n\n",
        "CONNECT {t} HTTP/1.0\nX: y\r\n\n",
        "CONNECT {t} HTTP/1.0\r\nX: y\n\r\n",
        "\r\nCONNECT {t} HTTP/1.0\nHost: other.test:1\n\n",
        HEAD + "!#$%&'*+-.^_`|~09azAZ: every character that a name can have\r\n\r\n",
    ],
)
def test_requests_that_the_grammar_allows_are_accepted(text: str) -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.client() as client:
        client.send(text.replace("{t}", target.authority).encode("latin-1"))
        assert client.head().startswith(b"HTTP/1.1 200 ")
        assert client.echoes()


def test_mutated_requests_never_cause_a_fault() -> None:
    """With bytes changed, dropped, doubled and swapped, the server answers 4xx or 5xx, or waits for more until the client ends."""
    random = Random(1)
    good = connect_request("never.test:1", "Proxy-Authorization: Basic YTpi", "X: y", "Content-Length: 0")
    statuses = set()
    with Proxy("never.test:1", deny=("never.test:*",)) as proxy:
        for _ in range(500):
            data = bytearray(good)
            for _ in range(random.randrange(1, 4)):
                at, other = random.randrange(len(data)), random.randrange(len(data))
                change = random.randrange(4)
                if change == 0:
                    data[at] = random.choice(b"\x00\r\n \t:@/[]%\x7f\x80\xff0a")
                elif change == 1:
                    del data[at]
                elif change == 2:
                    data[at:at] = data[min(at, other) : max(at, other)]
                else:
                    data[at], data[other] = data[other], data[at]
            with proxy.client() as client:
                client.send(bytes(data))
                client.sock.shutdown(1)
                statuses.add(client.answer().status)
        assert proxy.warnings == []
    assert statuses <= {400, 403, 405, 414, 431, 501, 505}
    assert len(statuses) >= 3


def test_s10_tls_on_the_plain_port_is_reported() -> None:
    with Proxy() as proxy, proxy.client() as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert b"TLS ClientHello" in client.answer().body
