"""V54: request smuggling and its relatives through --plain-http. The corpus of V14 to V16, for requests that have a body.

The target keeps all that reaches it. Whatever the client sends, that is nothing, or exactly one request in its canonical form.
"""

import re
import socket
from contextlib import suppress
from random import Random

import h11
import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import Conversation, ScriptedServer
from tests.server.harness import Proxy, Trap

END = b"\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
RESPONSES = re.compile(rb"HTTP/1\.1 \d")
CHUNKS = b"4\r\nbody\r\n0\r\n\r\n"
SECOND = b"GET http://10.0.0.1/smuggled HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n"
ORIGIN_SECOND = b"GET /smuggled HTTP/1.1\r\nHost: internal\r\n\r\n"


class Target(ScriptedServer):
    """A web server that answers the first request, and keeps all that comes until the proxy closes."""

    answer = OK

    def __init__(self) -> None:
        self.received: list[bytes] = []
        super().__init__(self._keep)

    def _keep(self, peer: Conversation) -> None:
        received = b""
        with suppress(ConnectionError):
            while piece := peer.read():
                before, received = received, received + piece
                if END in received and END not in before:
                    peer.send(self.answer)
        self.received.append(received)

    def all(self, least: int = 0) -> list[bytes]:
        """Waits until the proxy has closed all connections, at least that many; returns what came on each."""
        wait_until(lambda: least <= len(self.conversations) == len(self.received))
        return self.received

    def requests(self) -> list[tuple[bytes, bytes, bytes]]:
        """Returns method, target and body of each request that came, as another reader of HTTP finds them."""
        return [request for raw in self.all() for request in whole_requests(raw)]


def whole_requests(raw: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Returns those that are complete. Nothing may follow the first one."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(raw)
    method = target = body = b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            return []
        if isinstance(event, h11.Request):
            method, target = event.method, event.target
        elif isinstance(event, h11.Data):
            body += event.data
    assert reader.trailing_data[0] == b"", f"more than one request: {raw!r}"
    return [(method, target, body)]


HEAD = "POST http://{t}/x HTTP/1.1\r\nHost: {t}\r\n"
WRONG = {
    # conflicting lengths
    "two lengths that differ": HEAD + "Content-Length: 4\r\nContent-Length: 40\r\n\r\nbody",
    "two lengths that agree": HEAD + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    "a list of lengths": HEAD + "Content-Length: 4, 4\r\n\r\nbody",
    "a list of lengths that differ": HEAD + "Content-Length: 4, 40\r\n\r\nbody",
    "a length with a sign": HEAD + "Content-Length: +4\r\n\r\nbody",
    "a negative length": HEAD + "Content-Length: -4\r\n\r\nbody",
    "a length with a leading zero": HEAD + "Content-Length: 04\r\n\r\nbody",
    "a length in hexadecimal": HEAD + "Content-Length: 0x4\r\n\r\nbody",
    "a length with an underscore": HEAD + "Content-Length: 1_0\r\n\r\nbody",
    "a length with a blank": HEAD + "Content-Length: 1 0\r\n\r\nbody",
    "an empty length": HEAD + "Content-Length:\r\n\r\nbody",
    "a length beyond 64 bits": HEAD + "Content-Length: 18446744073709551620\r\n\r\nbody",
    "a length in other digits": HEAD + "Content-Length: \u00b2\r\n\r\nbody",
    # CL.TE and TE.CL
    "CL.TE": HEAD + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "TE.CL": HEAD + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
    # TE.TE, and other spellings
    "two codings": HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, chunked": HEAD + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "identity, chunked": HEAD + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "xchunked": HEAD + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": HEAD + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked with a parameter": HEAD + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "chunked after a vertical tab": HEAD + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked before a NUL": HEAD + "Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
    "a blank before the colon": HEAD + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a blank before the name": HEAD + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a name behind a lone LF": HEAD + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a name behind a bare CR": HEAD + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a value behind a fold": HEAD + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a name with an underscore and a NUL": HEAD + "Transfer\0Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an empty coding": HEAD + "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": "POST http://{t}/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding and a length in HTTP/1.0": "POST http://{t}/x HTTP/1.0\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
    # line ends and octets
    "lone LFs": "GET http://{t}/x HTTP/1.1\nHost: {t}\n\n",
    "a lone LF at the end": HEAD + "\n",
    "a bare CR": HEAD + "X: a\rb\r\n\r\n",
    "CR CR LF": HEAD + "X: a\r\r\n\r\n",
    "NUL": HEAD + "X: a\0b\r\n\r\n",
    "NUL in the target": "GET http://{t}/\0 HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "obs-fold": HEAD + "X: a\r\n b\r\n\r\n",
    "a fold behind the request line": "GET http://{t}/x HTTP/1.1\r\n Host: {t}\r\n\r\n",
    "an empty name": HEAD + ": a\r\n\r\n",
    "no colon": HEAD + "X\r\n\r\n",
    "a field name with octets over 127": HEAD + "X\xe9: a\r\n\r\n",
    # the request line
    "two blanks": "GET  http://{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "a tab": "GET\thttp://{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "a blank in the target": "GET http://{t}/x y HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "no version": "GET http://{t}/x\r\nHost: {t}\r\n\r\n",
    "octets over 127 in the target": "GET http://{t}/\xe9 HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "two empty lines first": "\r\n\r\nGET http://{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "HTTP/2.0": "GET http://{t}/x HTTP/2.0\r\nHost: {t}\r\n\r\n",
    "HTTP/0.9": "GET http://{t}/x HTTP/0.9\r\nHost: {t}\r\n\r\n",
    # Host and authority
    "no Host": "GET http://{t}/x HTTP/1.1\r\n\r\n",
    "two Hosts": HEAD + "Host: {t}\r\n\r\n",
    "two Hosts that differ": HEAD + "hOST: other.test\r\n\r\n",
    "an empty Host": "GET http://{t}/x HTTP/1.1\r\nHost:\r\n\r\n",
    "a Host that is none": "GET http://{t}/x HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "userinfo": "GET http://user:pass@{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "an empty userinfo": "GET http://@{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "two authorities": "GET http://{t},{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "a backslash for a slash": "GET http:\\\\{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "a backslash in the authority": "GET http://{t}\\@x.test/ HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "a fragment in the authority": "GET http://{t}#@x.test/ HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "a fragment": "GET http://{t}/x#y HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "one slash": "GET http:/{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "three slashes": "GET http:///{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "another scheme": "GET ftp://{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "https": "GET https://{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "origin form": "GET /x HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "authority form": "GET {t} HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "asterisk form": "OPTIONS * HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "connect in lower case": "connect {t} HTTP/1.1\r\nHost: {t}\r\n\r\n",
    "two logins": HEAD + "Proxy-Authorization: Basic eDp5\r\nProxy-Authorization: Basic eDp6\r\n\r\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_malformed_request_gets_one_refusal_and_reaches_nothing(name: str) -> None:
    with Trap() as trap, Proxy(plain_http=True) as proxy:
        data = WRONG[name].replace("{t}", f"127.0.0.1:{trap.port}").encode("latin-1")
        answer = proxy.ask(data + SECOND)
        assert answer.status in (400, 501, 505)
        assert len(RESPONSES.findall(answer.raw)) == 1
        (record,) = proxy.wait_for_records(1)
    assert (record["event"], record["status"]) == ("refused", answer.status)


CHUNKED = HEAD + "Transfer-Encoding: chunked\r\n\r\n"
BROKEN_BODIES = {
    "a size that is none": CHUNKED + "zz\r\nbody\r\n0\r\n\r\n",
    "a negative size": CHUNKED + "-4\r\nbody\r\n0\r\n\r\n",
    "a size with a sign": CHUNKED + "+4\r\nbody\r\n0\r\n\r\n",
    "a size in C's notation": CHUNKED + "0x4\r\nbody\r\n0\r\n\r\n",
    "a size beyond 80 bits": CHUNKED + "100000000000000000004\r\nbody\r\n0\r\n\r\n",
    "a size with a blank before it": CHUNKED + " 4\r\nbody\r\n0\r\n\r\n",
    "a size behind a lone LF": CHUNKED + "4\nbody\r\n0\r\n\r\n",
    "an extension with a lone LF": CHUNKED + "4;x=\ny\r\nbody\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + "4\r\nbodybody\r\n0\r\n\r\n",
    "a chunk that ends in a lone LF": CHUNKED + "4\r\nbody\n0\r\n\r\n",
    "a chunk that ends in two other octets": CHUNKED + "4\r\nbodyXX0\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
def test_a_malformed_body_is_never_completed_for_the_target(name: str) -> None:
    """The head may have been passed on before. The target is reset inside the body, and never sees its end."""
    with Silent() as target, Proxy(plain_http=True) as proxy:
        answer = proxy.ask(BROKEN_BODIES[name].replace("{t}", target.authority).encode("latin-1") + SECOND)
        assert answer.status == 400
        assert answer.raw.count(b"HTTP/1.1 ") == 1
        _, closed = proxy.wait_for_records(2)
        assert (closed["closed_by"], closed["cause"]) == ("client", "malformed")
        for raw in target.all():
            assert not raw.endswith(b"0\r\n\r\n")
            assert b"smuggled" not in raw


class Silent(Target):
    """A web server that never answers."""

    answer = b""


@pytest.mark.parametrize("second", [SECOND, ORIGIN_SECOND, b"\r\n\r\n" + ORIGIN_SECOND, b"\0" * 100])
@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("GET http://{t}/x HTTP/1.1\r\nHost: {t}\r\n\r\n", b"", (b"GET", b"/x", b"")),
        ("GET http://{t}/x HTTP/1.1\r\nHost: {t}\r\nContent-Length: 0\r\n\r\n", b"", (b"GET", b"/x", b"")),
        (HEAD + "Content-Length: 4\r\n\r\n", b"body", (b"POST", b"/x", b"body")),
        (HEAD + "Connection: content-length\r\nContent-Length: 4\r\n\r\n", b"body", (b"POST", b"/x", b"body")),
        (CHUNKED, CHUNKS, (b"POST", b"/x", b"body")),
        (CHUNKED, b"000000004;ext=\"a\";b\r\nbody\r\n0;x\r\nContent-Length: 50\r\n\r\n", (b"POST", b"/x", b"body")),
        (HEAD + "Connection: transfer-encoding\r\nTransfer-Encoding: CHUNKED\r\n\r\n", CHUNKS, (b"POST", b"/x", b"body")),
        (HEAD + "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 4\r\n\r\n", b"body", (b"POST", b"/x", b"body")),
        (HEAD + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n", b"body", (b"POST", b"/x", b"body")),
        ("GET http://{t}/x HTTP/1.0\r\n\r\n", b"", (b"GET", b"/x", b"")),
        ("GET http://{t}/x HTTP/1.0\nHost: a b\n\n", b"", (b"GET", b"/x", b"")),
    ],
)  # fmt: skip
def test_s30_what_follows_a_request_reaches_nobody(
    head: str, body: bytes, expected: tuple[bytes, bytes, bytes], second: bytes
) -> None:
    """A pipelined request, or a body that is longer than its length: there is one request, one response, one pair of records."""
    with Target() as target, Proxy(plain_http=True) as proxy:
        with proxy.client() as client:
            client.send(head.replace("{t}", target.authority).encode() + body + second)
            raw = client.rest()
        assert raw.count(b"HTTP/1.1 ") == 1
        assert target.requests() == [expected]
        assert b"smuggled" not in b"".join(target.all())
        records = proxy.wait_for_records(2)
    assert [record["event"] for record in records] == ["opened", "closed"]


def test_a_body_shorter_than_its_length_is_waited_for_and_then_a_reset() -> None:
    with Silent() as target, Proxy(plain_http=True, idle_timeout=0.3) as proxy, proxy.client() as client:
        client.send((HEAD + "Content-Length: 40\r\n\r\nbody").replace("{t}", target.authority).encode())
        assert client.rest().startswith(b"HTTP/1.1 504 ")
        assert target.all(least=1)[0].endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize("host", ["other.test", "169.254.169.254", "127.0.0.1:1", "[::1]:80"])
def test_the_authority_of_the_url_decides_and_replaces_host(host: str) -> None:
    """RFC 9112 section 3.2.2. So a Host that a neighbour might follow goes no further."""
    with Target() as target, Proxy(plain_http=True) as proxy:
        with proxy.client() as client:
            client.send(f"GET http://{target.authority}/x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            client.rest()
        assert re.findall(rb"(?i)\r\nhost: (.*)\r\n", target.all()[0]) == [target.authority.encode()]
        assert proxy.wait_for_records(1)[0]["target"] == target.authority


@pytest.mark.parametrize("port", ["0", "65536", "+80", "080", "8 0", "", "4294967376", "80x"])
def test_v08_a_port_that_is_none_is_refused(port: str) -> None:
    with Proxy(plain_http=True) as proxy:
        assert proxy.ask(f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: h\r\n\r\n".encode()).status == 400


@pytest.mark.parametrize("host", ["0x7f.1", "127.1", "2130706433", "0177.0.0.1", "127.0.0.1%2e", "[::ffff:127.0.0.1"])
def test_v04_other_spellings_of_an_address_are_refused(host: str) -> None:
    with Trap() as trap, Proxy("*:*", plain_http=True) as proxy:
        assert proxy.ask(f"GET http://{host}:{trap.port}/ HTTP/1.1\r\nHost: h\r\n\r\n".encode()).status in (400, 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254"])
def test_v01_internal_addresses_need_a_rule_that_names_them(host: str) -> None:
    with Trap() as trap, Proxy("*:*", plain_http=True) as proxy:
        assert proxy.ask(f"GET http://{host}:{trap.port}/ HTTP/1.1\r\nHost: h\r\n\r\n".encode()).status == 403


def test_v03_the_admin_pages_are_no_target() -> None:
    with Proxy("127.0.0.1:*", plain_http=True, admin="127.0.0.1:0") as proxy:
        admin = f"127.0.0.1:{proxy.admin_port}"
        answer = proxy.ask(f"GET http://{admin}/tunnels HTTP/1.1\r\nHost: {admin}\r\n\r\n".encode())
    assert (answer.status, answer.error) == (502, "proxy_loop_detected")


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npoisons",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_response_is_framed_anew_and_followed_by_nothing(response: bytes) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(response)
        peer.wait_gone()

    with ScriptedServer(script) as target, Proxy(plain_http=True) as proxy:
        with proxy.client() as client:
            client.send(f"GET {target.url}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            raw = client.rest()
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(raw)
    head = reader.next_event()
    assert isinstance(head, h11.Response)
    assert len({name for name, _ in head.headers} & {b"content-length", b"transfer-encoding"}) == 1
    body = reader.next_event()
    assert isinstance(body, h11.Data)
    assert bytes(body.data) == b"ok"
    assert isinstance(reader.next_event(), h11.EndOfMessage)
    assert reader.trailing_data[0] == b""


def test_v18_no_credential_and_no_query_is_shown_anywhere() -> None:
    """In the target's request, the responses, the log, or on stderr."""
    canary = "Y2FuYXJ5OmNhbmFyeQ=="
    with Target() as target, Proxy(plain_http=True) as proxy:
        for url in (f"{target.url}/x?canary", "http://10.0.0.1/?canary", f"http://canary:canary@{target.authority}/"):
            with proxy.client() as client:
                client.send(f"GET {url} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {canary}\r\n\r\n".encode())
                raw = client.rest()
            assert b"canary" not in raw
            assert canary.encode() not in raw
        proxy.wait_for_records(4)
        assert "canary" not in proxy.log()
        assert all(canary.encode() not in raw for raw in target.all())


def test_random_changes_of_a_request_never_make_two() -> None:
    """Octets that parsers disagree on, anywhere in a request with a body and a second one behind it. Fixed seed."""
    random = Random(54)
    pieces = [
        b"\r",
        b"\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b"\x0b",
        b"0",
        b"\r\n",
        b"\r\n ",
        b"chunked",
        b"Content-Length: 9\r\n",
        b"5",
    ]
    with Target() as target, Proxy(plain_http=True, idle_timeout=0.2, head_timeout=0.2) as proxy:
        for number in range(200):
            framing = random.choice(["Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"])
            body = b"body" if "L" in framing else CHUNKS
            data = bytearray(f"POST {target.url}/{number} HTTP/1.1\r\nHost: {target.authority}\r\n{framing}\r\n".encode() + body)
            for _ in range(random.randrange(1, 3)):
                at = random.randrange(len(data))
                data[at : at + random.randrange(2)] = random.choice(pieces)
            with proxy.client() as client:
                client.send(bytes(data) + SECOND)
                client.sock.shutdown(socket.SHUT_WR)
                try:
                    raw = client.rest()
                except ConnectionResetError:
                    raw = b""
            assert raw.count(b"HTTP/1.1 ") <= 1, bytes(data)
        assert len(target.requests()) > 20, "some changes are harmless"
