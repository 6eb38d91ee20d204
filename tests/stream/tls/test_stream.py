"""Properties specific to TLS; ../test_contract.py and ../test_relay.py cover those that it shares with every stream. C17."""

import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from errno import ECONNABORTED, ECONNRESET
from itertools import pairwise
from pathlib import Path
from socket import AF_INET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.peers import certificates
from tests.peers.process import end, path_of, started_on_a_port
from tests.server.harness import Proxy
from tests.stream.ends import End, FarSocket, Make, go, kinds, lines, make_end, tcp_pair, tls, tls_1_2, tls_server
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.engine.kernel import Nursery, checkpoint, fail_after
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.errors import TLSFailed, TunnelctlError, Unreachable
from tunnelctl.proto.tls.pin import parse_pin, pin_of
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.dial import dial
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.tls.errors import Shredded, Untrusted
from tunnelctl.stream.tls.failure import cause_of, tls_error
from tunnelctl.stream.tls.settings import TLSClient, server_context
from tunnelctl.stream.tls.stream import (
    FILL,
    MAX_HANDSHAKE_RECORDS,
    RECORDS_A_TURN,
    TLSStream,
    accept_tls,
    answers_tls,
    start_tls,
)

TLS_KINDS = [make for make in kinds() if make in (tls, tls_1_2, tls_server)]
each = pytest.mark.parametrize("make", [pytest.param(make, id=make.__name__) for make in TLS_KINDS])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


def over(make: Make, directory: Path, body: Callable[[End], Awaitable[None]]) -> None:
    async def main() -> None:
        end = await make_end(make, directory)
        try:
            await body(end)
        finally:
            end.stream.close()
            end.far.leave()

    go(main)


def settings(files: certificates.Certificates, **changes: Any) -> TLSClient:
    return TLSClient(certificates.HOST, str(files.authority))._replace(**changes)


def serving(certificate: tuple[Path, Path], client_ca: Path | None = None) -> ssl.SSLContext:
    return server_context(str(certificate[0]), str(certificate[1]), str(client_ca) if client_ca else None)


async def connected(client: TLSClient, context: ssl.SSLContext) -> tuple[Stream, Stream]:
    """Connects two TLS streams of ours."""
    made: dict[str, Stream] = {}
    one, other = map(SocketStream, tcp_pair())

    async def accept() -> None:
        made["server"] = await accept_tls(other, context)

    try:
        async with Nursery() as nursery:
            nursery.start_soon(accept)
            made["client"] = await start_tls(one, client)
    except BaseException:
        one.close()
        other.close()
        raise
    return made["client"], made["server"]


async def read_all(stream: Stream) -> bytes:
    data = bytearray()
    while piece := await stream.receive_some():
        data += piece
    return bytes(data)


# --- ends


@each
def test_a_tcp_end_without_close_notify_is_not_an_end(make: Make, tmp_path: Path) -> None:
    """Any on-path attacker can send a FIN."""

    async def body(end: End) -> None:
        await end.far.give(b"half a sentence")
        await end.far.cut_off()
        assert await end.stream.receive_some() == b"half a sentence"
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match="cut off") as caught:
                await end.stream.receive_some()
            assert caught.value.errno == ECONNRESET

    over(make, tmp_path, body)


@each
def test_a_forged_record_is_an_abort(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        await end.far.give(b"genuine")
        await end.far.give_raw(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await end.stream.receive_some() == b"genuine"
        for _ in range(2):
            with pytest.raises(ConnectionAbortedError) as caught:
                await end.stream.receive_some()
            assert caught.value.errno == ECONNABORTED
            assert isinstance(tls_error("tunnel", caught.value), TLSFailed)

    over(make, tmp_path, body)


@each
def test_data_that_arrived_before_our_close_notify_is_still_read(make: Make, tmp_path: Path) -> None:
    """OpenSSL's shutdown fails for good if it finds such data."""

    async def body(end: End) -> None:
        await end.far.give(lines(50_000))
        assert await end.stream.receive_some(10) == lines(50_000)[:10]
        end.stream.send_eof()
        assert await end.far.take_rest() == b""
        await end.far.give(b"more")
        await end.far.end_output()
        assert await read_all(end.stream) == lines(50_000)[10:] + b"more"

    over(make, tmp_path, body)


@each
def test_a_close_notify_that_finds_no_room_is_sent_later(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        sent, source = 0, lines(1 << 24)
        while count := end.stream.send_nowait(source[sent : sent + CHUNK]):
            sent += count
        async with Nursery() as nursery:
            nursery.start_soon(end.stream.flush_eof)
            got = await end.far.take_rest()
        assert got[:sent] == source[:sent], "no byte may be lost before the close_notify"

    over(make, tmp_path, body)


@each
def test_abort_sends_no_close_notify(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        end.stream.abort()
        with pytest.raises(ConnectionResetError):
            await end.far.take(1)

    over(make, tmp_path, body)


@each
def test_close_sends_close_notify(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        end.stream.close()
        assert await end.far.take_rest() == b""

    over(make, tmp_path, body)


def test_flush_eof_after_a_reset_raises_nothing(tmp_path: Path) -> None:
    async def body(end: End) -> None:
        end.far.reset()
        with pytest.raises(ConnectionResetError):
            await end.stream.receive_some()
        await end.stream.flush_eof()

    over(tls, tmp_path, body)


# --- TLS inside TLS


def test_tls_inside_tls(files: certificates.Certificates) -> None:
    there, back = lines(1_000_000, 1), lines(1_000_000, 2)

    async def main() -> None:
        outer, far_outer = await connected(settings(files), serving(files.server))
        got: dict[str, bytes] = {}

        async def far() -> None:
            stream = await accept_tls(far_outer, serving(files.server))
            async with Nursery() as both:
                both.start_soon(take, "far", stream)
                await give(stream, back)
            stream.close()

        async def take(name: str, stream: Stream) -> None:
            got[name] = await read_all(stream)

        async def give(stream: Stream, data: bytes) -> None:
            await stream.send_all(data)
            await stream.flush_eof()

        async with Nursery() as nursery:
            nursery.start_soon(far)
            stream = await start_tls(outer, settings(files))
            nursery.start_soon(give, stream, there)
            await take("near", stream)
        stream.close()
        assert got == {"far": there, "near": back}

    go(main)


def test_bytes_read_before_the_handshake_belong_to_it(files: certificates.Certificates) -> None:
    """A peer that speaks first, such as a proxy right after its response to CONNECT, may have begun already."""

    async def main() -> None:
        one, other = map(SocketStream, tcp_pair())
        hello = TLSStream(one, ssl._create_unverified_context(), certificates.HOST)
        with pytest.raises(ssl.SSLWantReadError):
            hello.session.do_handshake()
        early = hello._outgoing.read()
        server = TLSStream(other, serving(files.server), early=early)
        async with Nursery() as nursery:
            nursery.start_soon(server.handshake)
            await hello.handshake()
        await hello.send_all(b"hello")
        assert await server.receive_some() == b"hello"
        hello.close()
        server.close()

    go(main)


def in_records(message: bytes, count: int) -> bytes:
    """Cuts a handshake message into `count` records."""
    size = len(message) // count
    pieces = [message[begin:end] for begin, end in pairwise([*range(0, count * size, size), len(message)])]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def long_hello() -> bytes:
    """Returns a ClientHello of more than a thousand octets: the message without the header of its record."""
    context, outgoing = ssl._create_unverified_context(), ssl.MemoryBIO()
    context.set_alpn_protocols(["x" * 250] * 4)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=certificates.HOST).do_handshake()
    return outgoing.read()[5:]


@pytest.mark.parametrize(
    ("records", "accepted"), [(1, True), (RECORDS_A_TURN, True), (MAX_HANDSHAKE_RECORDS, True), (MAX_HANDSHAKE_RECORDS + 1, False)]
)
def test_a_handshake_in_many_records_is_bounded_and_does_not_block_others(
    records: int, accepted: bool, files: certificates.Certificates
) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async def main() -> bytes:
        one, other = tcp_pair()
        one.sendall(in_records(long_hello(), records))
        one.shutdown(socket.SHUT_WR)
        stream = SocketStream(other)
        async with Nursery() as nursery:
            nursery.start_soon(count)
            with pytest.raises(ConnectionResetError if accepted else Shredded):  # the peer sends only the ClientHello
                await accept_tls(stream, serving(files.server))
            nursery.cancel_scope.cancel()
        stream.close()
        with one:
            return one.recv(3)

    answer = go(main)
    assert answer.startswith(b"\x16") == accepted
    assert turns >= min(records, MAX_HANDSHAKE_RECORDS) // RECORDS_A_TURN - 1


def test_a_handshake_in_too_many_records_is_reported_as_such() -> None:
    assert cause_of(Shredded()) == "its handshake is split into too many records"


# --- authentication of the peer


def failure(client: TLSClient, context: ssl.SSLContext) -> TunnelctlError:
    """Returns the error of the handshake, or else of the first read."""

    async def main() -> TunnelctlError:
        try:
            made = await connected(client, context)
        except OSError as error:
            return tls_error("proxy p:1", error)
        try:
            await made[0].receive_some()
            raise AssertionError("it was accepted")
        except OSError as error:
            return tls_error("proxy p:1", error)
        finally:
            made[0].close()
            made[1].close()

    return go(main)


def accepted(client: TLSClient, context: ssl.SSLContext) -> None:
    async def main() -> None:
        for stream in await connected(client, context):
            stream.close()

    go(main)


@pytest.mark.parametrize("name", certificates.NAMES)
def test_names_and_addresses_of_the_certificate_are_accepted(name: str, files: certificates.Certificates) -> None:
    accepted(settings(files, server_name=name), serving(files.server))


def test_a_certificate_for_another_name(files: certificates.Certificates) -> None:
    error = failure(settings(files, server_name="other.test"), serving(files.server))
    assert (error.exit_status, error.cause) == (77, "its certificate is for another name")
    assert "URL" in hint_of(error)


def test_a_certificate_for_another_address(files: certificates.Certificates) -> None:
    error = failure(settings(files, server_name="127.0.0.2"), serving(files.server))
    assert (error.exit_status, error.cause) == (77, "its certificate is for another address")


def test_an_expired_certificate(files: certificates.Certificates, tmp_path: Path) -> None:
    old = certificates.issue(tmp_path, "old", certificates.HOST, expired=True)
    error = failure(settings(files), serving(old))
    assert (error.exit_status, error.cause) == (77, "its certificate has expired")
    assert "clock" in hint_of(error)


def test_a_certificate_of_an_unknown_issuer(files: certificates.Certificates, tmp_path: Path) -> None:
    error = failure(settings(files, cacert=str(certificates.another_authority(tmp_path)[0])), serving(files.server))
    assert error.exit_status == 77
    assert "authority that is not" in error.cause
    assert "--proxy-cacert" in hint_of(error)


def test_the_system_does_not_trust_the_authority_of_the_tests(files: certificates.Certificates) -> None:
    error = failure(settings(files, cacert=None), serving(files.server))
    assert error.exit_status == 77
    assert "authority" in error.cause


@pytest.mark.parametrize("trust", [True, False], ids=["expired", "unknown issuer"])
def test_a_rejected_certificate_is_reported_with_its_pin(files: certificates.Certificates, trust: bool, tmp_path: Path) -> None:
    """The pin that --proxy-pin would accept."""
    shown = certificates.issue(tmp_path, "old", certificates.HOST, expired=True) if trust else files.server
    client = settings(files) if trust else settings(files, cacert=None)

    async def main() -> str:
        with pytest.raises(Untrusted) as caught:
            await connected(client, serving(shown))
        return caught.value.seen

    pin = go(main)
    assert pin == pin_of(der(shown[0]))
    accepted(settings(files, cacert=None, pin=parse_pin(pin)), serving(shown))


def test_insecure_accepts_any_certificate(files: certificates.Certificates) -> None:
    accepted(settings(files, cacert=None, server_name="other.test", insecure=True), serving(files.server))


@pytest.mark.parametrize("verified", [True, False])
def test_the_chain_up_to_the_authority_is_reported_if_verified(
    verified: bool, files: certificates.Certificates, tmp_path: Path
) -> None:
    server = serving(certificates.issue_by_department(tmp_path, "server", certificates.HOST))
    (stream, _) = ends = go(lambda: connected(settings(files, insecure=not verified), server))
    assert isinstance(stream, TLSStream)
    chain = (certificates.HOST, "a department", "tunnelctl's tests")
    assert stream.facts().chain == (chain if verified else ())
    for each_end in ends:
        each_end.close()


def der(file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(file.read_text().partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("cacert", [True, False])
def test_a_pin_is_sufficient_without_an_authority(cacert: bool, files: certificates.Certificates) -> None:
    """Alone it is sufficient, whatever the name and the issuer."""
    pin = parse_pin(pin_of(der(files.chain)))
    authority, name = (str(files.authority), certificates.HOST) if cacert else (None, "other.test")
    accepted(TLSClient(name, authority, pin=pin), serving(files.server))


@pytest.mark.parametrize("insecure", [True, False])
def test_a_pin_that_differs_is_reported_with_the_pin_seen(insecure: bool, files: certificates.Certificates) -> None:
    error = failure(settings(files, pin=bytes(32), insecure=insecure), serving(files.server))
    assert error.exit_status == 77
    assert pin_of(der(files.chain)) in error.cause
    assert "--proxy-pin" in hint_of(error)


def test_a_pin_with_an_authority_requires_both_to_match(files: certificates.Certificates) -> None:
    pin = parse_pin(pin_of(der(files.chain)))
    error = failure(settings(files, pin=pin, server_name="other.test"), serving(files.server))
    assert error.cause == "its certificate is for another name"


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_accepted(newest: ssl.TLSVersion, files: certificates.Certificates) -> None:
    context = serving(files.server, files.authority)
    context.maximum_version = newest
    chain, key = map(str, files.client)
    accepted(settings(files, cert=chain, key=key), context)


def test_a_missing_client_certificate_is_reported(files: certificates.Certificates) -> None:
    """In TLS 1.3 the handshake succeeds for the client, which notices the error only at its first read."""

    async def main() -> TunnelctlError:
        one, other = map(SocketStream, tcp_pair())

        async def accept() -> None:
            with pytest.raises(ssl.SSLError):
                await accept_tls(other, serving(files.server, files.authority))

        async with Nursery() as nursery:
            nursery.start_soon(accept)
            stream = await start_tls(one, settings(files))
            with pytest.raises(ConnectionAbortedError) as caught:
                await stream.receive_some()
        stream.close()
        other.close()
        return tls_error("proxy p:1", caught.value)

    error = go(main)
    assert (error.exit_status, error.cause) == (77, "it requires a client certificate")
    assert "--proxy-cert" in hint_of(error)


# --- peers that do not speak TLS


def answered(answer: bytes, files: certificates.Certificates) -> TunnelctlError:
    async def main() -> TunnelctlError:
        one, other = tcp_pair()
        far, inner = FarSocket(other), SocketStream(one)
        await far.give(answer)
        await far.end_output()
        try:
            with pytest.raises(OSError) as caught:
                await start_tls(inner, settings(files))
        finally:
            inner.close()
            far.leave()
        return tls_error("proxy p:1", caught.value)

    return go(main)


def test_plain_http_on_a_port_for_tls(files: certificates.Certificates) -> None:
    error = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n", files)
    assert (error.exit_status, error.cause) == (77, "it responds in plain HTTP, not in TLS")
    assert "http://" in hint_of(error)


def test_another_protocol_on_a_port_for_tls(files: certificates.Certificates) -> None:
    error = answered(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", files)
    assert (error.exit_status, error.cause) == (77, "the peer does not speak TLS")


def test_a_close_during_the_handshake_is_worth_a_retry(files: certificates.Certificates) -> None:
    error = answered(b"", files)
    assert isinstance(error, Unreachable)
    assert error.cause == "closed in the tls handshake"


@pytest.mark.parametrize(
    ("early", "answer", "yes"),
    [
        (b"", b"\x15\x03\x01\x00\x02\x02\x46", True),
        (b"", b"\x16\x03\x03", True),
        (b"\x16", b"\x03", True),
        (b"", b"", False),
        (b"", b"\x16", False),
        (b"", b"\x17\x03\x03", False),
        (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"SSH-2.0-x\r\n", b"", False),
    ],
)
def test_answers_tls_recognises_a_tls_record(early: bytes, answer: bytes, yes: bool) -> None:
    async def main() -> None:
        one, other = tcp_pair()
        far, inner = FarSocket(other), SocketStream(one)
        await far.give(answer)
        await far.end_output()
        try:
            assert await answers_tls(inner, "proxy.test", early) is yes
            assert (await far.take(5))[:2] == b"\x16\x03"
        finally:
            inner.close()
            far.leave()

    go(main)


def test_answers_tls_needs_no_client_certificate_and_no_matching_name(files: certificates.Certificates) -> None:
    """The server responds to a ClientHello, before it learns who the client is."""

    async def main() -> None:
        one, other = map(SocketStream, tcp_pair())

        async def serve() -> None:
            with pytest.raises(OSError):
                await accept_tls(other, serving(files.server, files.authority))

        async with Nursery() as nursery:
            nursery.start_soon(serve)
            assert await answers_tls(one, "elsewhere.test")
            one.close()
        other.close()

    go(main)


# --- records without plaintext


def test_m2_records_without_plaintext_let_other_tasks_run(files: certificates.Certificates) -> None:
    """The tickets of a server are such records, as are a client's KeyUpdates, and a peer can send a thousand of them at once."""
    context = serving(files.server)
    context.num_tickets = tickets = 1000

    async def main() -> tuple[int, bytes]:
        client, server = await connected(settings(files), context)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await checkpoint()
                turns += 1

        try:
            await server.send_all(b"hello")
            async with Nursery() as nursery:
                nursery.start_soon(count)
                data = await client.receive_some()
                nursery.cancel_scope.cancel()
            return turns, data
        finally:
            client.close()
            server.close()

    turns, data = go(main)
    assert data == b"hello"
    assert turns >= tickets // RECORDS_A_TURN


class Pieces(Stream):
    """An inner stream that yields these pieces."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)]

    def receive_nowait(self, limit: int) -> bytes | None:
        return self._pieces.pop(0) if self._pieces else None


class Silent:
    """An OpenSSL BIO that accepts everything; the session finds no plaintext in it. `given` has the pieces that it received."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    pending = 0

    def write(self, data: bytes) -> int:
        self.given.append(data)
        return len(data)


def heads(octets: bytes) -> list[int]:
    """Returns the offsets at which records begin."""
    found, at = [], 0
    while at < len(octets):
        found.append(at)
        at += 5 + int.from_bytes(octets[at + 3 : at + 5], "big")
    return found


@hypothesis_settings(max_examples=60)
@given(st.lists(st.sampled_from([0, 1, 22, 300, 16640]), min_size=1, max_size=300), st.sampled_from([1, 3, 5, 27, 1000, FILL]))
def test_m2_the_records_of_a_turn_are_bounded_however_they_are_cut(lengths: list[int], size: int) -> None:
    octets = b"".join(b"\x17\x03\x03" + length.to_bytes(2, "big") + bytes(length) for length in lengths)
    if len(octets) > 300 * size:  # one turn each; the rest would add little
        octets = octets[: 300 * size]
    stream = TLSStream(Pieces(octets, size), ssl.create_default_context(), "localhost")
    stream._incoming, begin = Silent(), set(heads(octets))  # type: ignore[assignment]
    stream.session = NoPlaintext()  # type: ignore[assignment]
    at = turns = 0
    while True:
        stream._incoming.given.clear()  # type: ignore[attr-defined]
        assert stream.receive_nowait(CHUNK) is None
        turn = b"".join(stream._incoming.given)  # type: ignore[attr-defined]
        assert octets.startswith(turn, at)
        assert len(begin & set(range(at, at + len(turn)))) <= RECORDS_A_TURN
        at += len(turn)
        assert not any(start < at < start + 5 for start in begin), "the header of a record is never cut"
        if stream._dry:
            break
        turns += 1
        assert turns < 10_000
    assert len(octets) - at < 5
    assert stream._held == octets[at:]


class NoPlaintext:
    def read(self, *_: object) -> int:
        raise ssl.SSLWantReadError

    def pending(self) -> int:
        return 0


def test_p1_responses_of_openssl_are_sent_without_a_write(files: certificates.Certificates) -> None:
    async def main() -> None:
        client, server = await connected(settings(files), serving(files.server))
        try:
            client._outgoing.write(b"an answer")  # type: ignore[attr-defined]
            await server.send_all(b"x")
            assert await client.receive_some() == b"x"
            assert client._outgoing.pending == 0  # type: ignore[attr-defined]
            assert client._unsent == b""  # type: ignore[attr-defined]
        finally:
            client.close()
            server.close()

    go(main)


def test_m2_a_peer_that_does_not_read_is_not_answered_forever(files: certificates.Certificates) -> None:
    async def main() -> None:
        client, server = await connected(settings(files), serving(files.server))
        try:
            for _ in range(100):  # more than the buffers of both sockets hold
                client._outgoing.write(bytes(1 << 18))  # type: ignore[attr-defined]
                await server.send_all(b"x")
                try:
                    assert await client.receive_some() == b"x"
                except ConnectionAbortedError:
                    return
            raise AssertionError("it takes whatever comes")
        finally:
            client.abort()
            server.abort()

    go(main)


@pytest.mark.peer("openssl")
def test_p1_a_client_that_renegotiates_gets_a_response(files: certificates.Certificates, tmp_path: Path) -> None:
    """The client waits for the response, which is a refusal: RFC 5246 section 7.2.2, no_renegotiation."""
    with Proxy(tls_cert=str(files.server[0]), tls_key=str(files.server[1])) as proxy:
        command = [path_of("openssl"), "s_client", "-tls1_2", "-connect", proxy.authority, "-CAfile", str(files.authority)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as client:
            assert client.stdin is not None
            assert client.stderr is not None
            client.stdin.write(b"R\n")
            client.stdin.flush()
            try:
                assert client.wait(8) != 0
                assert b"no renegotiation" in client.stderr.read()
            finally:
                client.kill()


@pytest.mark.peer("openssl")
def test_p1_a_server_that_renegotiates_is_reported(files: certificates.Certificates) -> None:
    def start(port: int) -> "subprocess.Popen[bytes]":
        words = ["s_server", "-tls1_2", "-accept", f"127.0.0.1:{port}", "-cert", str(files.server[0]), "-key", str(files.server[1])]
        return subprocess.Popen(
            [path_of("openssl"), *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    server, port = started_on_a_port(start)

    async def main() -> None:
        stream = await start_tls(await dial([SocketAddress(AF_INET, "127.0.0.1", port)], 0.0, 8.0), settings(files))
        try:
            assert server.stdin is not None
            server.stdin.write(b"r\n")
            server.stdin.flush()
            with fail_after(8.0), pytest.raises(ConnectionAbortedError, match="it requires a renegotiation"):
                await stream.receive_some()
        finally:
            stream.close()

    try:
        go(main)
    finally:
        end(server)
        assert server.stdin is not None
        server.stdin.close()


def test_a_server_accepts_no_tls_1_2_cipher_without_aead(files: certificates.Certificates) -> None:
    names = {cipher["name"] for cipher in serving(files.server).get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert "ECDHE-RSA-AES128-GCM-SHA256" in names
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name) for name in names)
