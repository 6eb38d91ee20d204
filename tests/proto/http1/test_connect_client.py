"""CONNECT client. C1-C11, C15, C16, C18, C19 of the checklist; V10, V11, V13, V17, V18, V35 as far as octets show them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import TRAILING, bounded, cut, feed_all, octets, three_ways
from tunnelctl import __version__
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import MalformedAnswer, NoAnswer, SpeaksTLS, UsageProblem
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.http1.connect_client import MAX_EXCERPT, ConnectClient, Established, Rejected
from tunnelctl.proto.proxy_status import ProxyStatus

TARGET = Address("example.com", 22)
AGENT = f"User-Agent: tunnelctl/{__version__}\r\n".encode()


def client():
    return ConnectClient(TARGET)


def answer(data):
    return three_ways(client, data)


def malformed(data):
    """The text of the error that all ways of feeding raise."""
    kind, text = answer(data)
    assert kind is MalformedAnswer
    return text


class TestRequest:
    @pytest.mark.parametrize(
        ("target", "authority"),
        [
            ("example.com:22", b"example.com:22"),
            ("example.com:443", b"example.com:443"),
            ("example.com:80", b"example.com:80"),
            ("192.0.2.1:22", b"192.0.2.1:22"),
            ("[2001:DB8::1]:22", b"[2001:db8::1]:22"),
            ("münchen.example:22", b"xn--mnchen-3ya.example:22"),
        ],
    )
    def test_c1_c2_c3_request_has_authority_form_and_an_equal_host(self, target, authority):
        """C1: always a port; C2: Host, IPv6 in brackets; C3: A-labels; C4: no content, no Proxy-Connection; C10: no payload."""
        request = ConnectClient(parse_authority(target)).request()
        assert request == b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n" + AGENT + b"\r\n"

    @pytest.mark.parametrize("host", ["a b", "a\r\nX: y", "a\0", "a\x1b", "ä\u2028", "a@b"])
    def test_c3_v17_a_target_cannot_inject_into_the_request(self, host):
        with pytest.raises(UsageProblem):
            ConnectClient(parse_authority(f"{host}:22"))

    def test_fields_of_the_user_keep_their_order(self):
        request = ConnectClient(TARGET, (("Proxy-Authorization", "Basic eDp5"), ("X", "1"), ("X", "2"))).request()
        assert request.endswith(AGENT + b"Proxy-Authorization: Basic eDp5\r\nX: 1\r\nX: 2\r\n\r\n")

    def test_the_user_agent_can_be_replaced(self):
        request = ConnectClient(TARGET, (("user-agent", "curl/8"),)).request()
        assert request.endswith(b"\r\nHost: example.com:22\r\nuser-agent: curl/8\r\n\r\n")

    @pytest.mark.parametrize("name", ["Content-Length", "content-length", "Transfer-Encoding"])
    def test_c2_c4_framing_fields_of_the_user_are_refused(self, name):
        with pytest.raises(UsageProblem, match=name):
            ConnectClient(TARGET, ((name, "0"),))

    @pytest.mark.parametrize("name", ["Host", "HOST"])
    def test_a_host_of_the_user_replaces_that_of_the_target_and_comes_first(self, name):
        request = ConnectClient(TARGET, (("X", "1"), (name, "edge.example"), ("User-Agent", "a"))).request()
        assert request == b"CONNECT example.com:22 HTTP/1.1\r\nHost: edge.example\r\nX: 1\r\nUser-Agent: a\r\n\r\n"

    def test_two_hosts_of_the_user_are_refused(self):
        with pytest.raises(UsageProblem, match="header Host: given more than once"):
            ConnectClient(TARGET, (("Host", "a"), ("host", "a")))

    @pytest.mark.parametrize("field", [("X", "a\r\nY: b"), ("X\n", "a"), ("", "a"), ("X", "€")])
    def test_v17_invalid_fields_are_refused(self, field):
        with pytest.raises(UsageProblem):
            ConnectClient(TARGET, (field,))

    def test_v18_the_masked_request_has_no_credentials(self):
        machine = ConnectClient(TARGET, (("Proxy-Authorization", "Basic c2VjcmV0"),))
        host, agent, login = machine.masked_fields
        assert (host, agent[0], login) == (("Host", "example.com:22"), "User-Agent", ("Proxy-Authorization", "Basic ***"))


class TestEstablished:
    def test_a_200_establishes_the_tunnel(self):
        head = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 p\r\n\r\n"
        assert answer(head) == Established("HTTP/1.1", 200, "Connection established", (("Via", "1.1 p"),), b"")

    @pytest.mark.parametrize("status", [*range(200, 207), 226, 299])
    def test_c5_any_2xx_establishes_the_tunnel(self, status):
        assert answer(b"HTTP/1.1 %d Fine\r\n\r\n" % status).status == status

    @pytest.mark.parametrize(
        "framing",
        [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 0", b"Content-Length: x", b"Connection: close"],
    )
    def test_c6_framing_fields_are_ignored(self, framing):
        assert isinstance(answer(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"), Established)

    def test_c7_v13_a_banner_is_leftover_at_every_cut(self):
        head, banner = b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n\r\nHTTP/1.1 403 No\r\n\r\n"
        data = head + banner
        for at in range(1, len(data)):
            machine, rest = client(), data[at:]
            tunnel = machine.feed(data[:at])
            if tunnel is None:
                tunnel, rest = machine.feed(rest), b""
            assert tunnel.leftover + rest == banner

    @pytest.mark.parametrize(
        "head",
        [
            *(b"HTTP/1.1 200 OK\n\n", b"HTTP/1.1 200 OK\nVia: x\n\r\n", b"HTTP/1.1 200\r\n\r\n", b"HTTP/1.1 200 \r\n\r\n"),
            *(
                b"HTTP/1.0 200 OK\r\n\r\n",
                b"HTTP/1.1  200  OK\r\n\r\n",
                b"HTTP/1.1 200 \xe4\x1b\r\n\r\n",
                b"HTTP/1.9 200 OK\r\n\r\n",
            ),
            b"HTTP/1.1 200 OK\r\nno field\r\nX : y\r\n folded\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 65536 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: x\r\n" * 900 + b"\r\n",
        ],
    )
    def test_c16_the_client_is_liberal(self, head):
        """Lone LF, no reason, HTTP/1.0, 64 KiB and hundreds of fields: proxies in use send all of these."""
        assert isinstance(answer(head), Established)

    def test_a_reason_is_kept_unchanged(self):
        assert answer(b"HTTP/1.1 200 a\xe4 b\x1b[2J\r\n\r\n").reason == "a\xe4 b\x1b[2J"
        assert answer(b"HTTP/1.1 200\r\n\r\n").reason == ""


class TestInformational:
    @pytest.mark.parametrize("status", [100, 102, 103, 199])
    def test_c8_1xx_are_skipped(self, status):
        one = b"HTTP/1.1 %d Wait\r\nX: y\r\n\r\n" % status
        final = b"HTTP/1.1 200 OK\r\n\r\n"
        assert answer(one + final) == Established("HTTP/1.1", 200, "OK", (), b"")
        assert answer(one * 20 + final) == Established("HTTP/1.1", 200, "OK", (), b"")
        assert answer(one) is None

    def test_c8_the_number_of_1xx_responses_is_limited(self):
        assert "informational" in malformed(b"HTTP/1.1 100 Continue\r\n\r\n" * 21)

    def test_c8_an_unrequested_101_is_malformed(self):
        assert "101" in malformed(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")

    def test_c8_a_refusal_or_garbage_after_1xx(self):
        assert answer(b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").status == 403
        assert "starts with 'x'" in three_ways(client, b"HTTP/1.1 100 Go\r\n\r\nx", trailing=b"")[1]

    def test_v10_eof_after_1xx_is_no_tunnel(self):
        machine = client()
        assert machine.feed(b"HTTP/1.1 100 Go\r\n\r\n") is None
        with pytest.raises(MalformedAnswer, match="without a response"):
            machine.eof()

    def test_v10_eof_after_1xx_gives_no_hint_of_tls(self):
        """A proxy that sent a 1xx response speaks HTTP."""
        machine = client()
        assert machine.feed(b"HTTP/1.1 100 Go\r\n\r\n") is None
        with pytest.raises(NoAnswer) as caught:
            machine.eof()
        assert hint_of(caught.value) == ""


class TestRejected:
    HEAD = b"HTTP/1.1 403 Forbidden\r\n"

    @pytest.mark.parametrize("status", [300, 302, 400, 403, 407, 500, 502, 504, 600, 999])
    def test_c9_v10_any_other_final_status_is_no_tunnel(self, status):
        head = b"HTTP/1.1 %d No\r\nContent-Length: 3\r\n\r\n" % status
        assert answer(head + b"why") == Rejected("HTTP/1.1", status, "No", (("Content-Length", "3"),), b"why", ())

    def test_c11_a_refusal_has_no_leftover(self):
        """C11: no field holds the octets after a refusal, so neither a caller nor the machine can continue with them."""
        assert "leftover" not in Rejected._fields
        machine = client()
        assert machine.feed(self.HEAD + b"Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").status == 403
        with pytest.raises(RuntimeError):
            machine.feed(b"HTTP/1.1 200 OK\r\n\r\n")

    def test_c10_c18_a_machine_has_one_outcome_only(self):
        """C10, C18: it can neither send payload before the answer nor retry after it."""
        machine = client()
        assert isinstance(machine.feed(b"HTTP/1.1 200 OK\r\n\r\n"), Established)
        with pytest.raises(RuntimeError):
            machine.feed(b"")

    def test_c9_the_refusal_waits_for_its_body(self):
        machine = client()
        assert not machine.refusing
        assert machine.feed(self.HEAD + b"\r\n") is None
        assert machine.refusing
        assert machine.feed(b"ask the ") is None
        assert machine.feed(b"admin") is None
        assert machine.eof().body == b"ask the admin"

    def test_heard_tells_whether_any_octet_arrived(self):
        for said in (b"H", b"HTTP/1.1 100 Go\r\n\r\n", self.HEAD + b"\r\n"):
            machine = client()
            assert not machine.heard
            assert machine.feed(said) is None
            assert machine.heard

    def test_c9_the_excerpt_of_the_body_is_bounded(self):
        machine = client()
        assert machine.feed(self.HEAD + b"\r\n" + b"x" * 4000) is None
        assert machine.feed(b"y" * 100_000).body == b"x" * 4000 + b"y" * (MAX_EXCERPT - 4000)

    def test_c9_a_chunked_body_is_decoded(self):
        data = self.HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\n5;x=y\r\n not?\r\n0\r\n\r\n"
        assert answer(data).body == b"why not?"

    def test_c9_304_has_no_body(self):
        assert answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").body == b""

    def test_c9_a_truncated_body_is_kept(self):
        machine = client()
        assert machine.feed(self.HEAD + b"Content-Length: 100\r\n\r\nsorry") is None
        assert machine.eof().body == b"sorry"

    def test_c19_proxy_status_fields_are_parsed(self):
        head = (
            self.HEAD
            + b'Proxy-Status: far; error=dns_error; details="no \\"x\\""\r\nContent-Length: 0\r\nproxy-status: near\r\n\r\n'
        )
        assert answer(head).proxy_status == (ProxyStatus("far", "dns_error", 'no "x"'), ProxyStatus("near"))

    def test_c19_an_invalid_proxy_status_is_ignored(self):
        assert answer(self.HEAD + b"Proxy-Status: ;;;\r\nContent-Length: 0\r\n\r\n").proxy_status == ()


class TestKept:
    """NTLM and Negotiate authenticate a connection: the next request uses the connection that had the 407."""

    HEAD = b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\n"

    def kept(self, data):
        """The outcome, which must be the same fed at once and octet by octet."""
        whole, single = (feed_all(ConnectClient(TARGET, (), keep=True), pieces) for pieces in ([data], octets(data)))
        assert whole == single
        return whole

    def test_a_huge_body_with_a_length_keeps_the_connection(self):
        machine = ConnectClient(TARGET, (), keep=True)
        assert machine.feed(self.HEAD + b"Content-Length: 5242880\r\n\r\n") is None
        for _ in range(79):
            assert machine.feed(b"x" * 65536) is None
        rejected = machine.feed(b"x" * 65536)
        assert (rejected.reusable, rejected.body) == (True, b"x" * MAX_EXCERPT)

    def test_a_huge_chunked_body_keeps_the_connection(self):
        machine = ConnectClient(TARGET, (), keep=True)
        assert machine.feed(self.HEAD + b"Transfer-Encoding: chunked\r\n\r\n") is None
        for _ in range(80):
            assert machine.feed(b"10000\r\n" + b"x" * 65536 + b"\r\n") is None
        assert machine.feed(b"0\r\n") is None
        rejected = machine.feed(b"\r\n")
        assert (rejected.reusable, rejected.body) == (True, b"x" * MAX_EXCERPT)

    @pytest.mark.parametrize(
        ("data", "reusable"),
        [
            (HEAD + b"Content-Length: 3\r\n\r\nwhy", True),
            (HEAD + b"Proxy-Connection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", True),
            (HEAD.replace(b"1.1", b"1.0") + b"Proxy-Connection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", True),
            (HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 0\r\n\r\n", False),
            (HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\nwhy", False),
            (HEAD + b"\r\n" + b"x" * MAX_EXCERPT, False),
            (HEAD.replace(b"407", b"403") + b"Content-Length: 0\r\n\r\n", False),
        ],
    )
    def test_whether_the_connection_can_be_used_again(self, data, reusable):
        assert self.kept(data).reusable is reusable

    def test_the_connection_is_not_reusable_by_default(self):
        assert not answer(self.HEAD + b"Content-Length: 3\r\n\r\nwhy").reusable

    def test_c11_the_connection_is_not_reusable_with_trailing_data(self):
        machine = ConnectClient(TARGET, (), keep=True)
        assert not machine.feed(self.HEAD + b"Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").reusable

    def test_the_connection_is_not_reusable_after_a_truncated_body(self):
        machine = ConnectClient(TARGET, (), keep=True)
        assert machine.feed(self.HEAD + b"Content-Length: 3\r\n\r\nwh") is None
        assert not machine.eof().reusable


class TestMalformed:
    @pytest.mark.parametrize("answer", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x16\x03\x03"])
    def test_tls_is_recognised_at_its_first_octet(self, answer):
        for size in (1, len(answer)):
            with pytest.raises(SpeaksTLS, match="it speaks TLS, not plain HTTP"):
                ConnectClient(TARGET).feed(answer[:size])

    @pytest.mark.parametrize(
        ("data", "shown", "hint"),
        [
            (b"SSH-2.0-OpenSSH_9.2\r\n", "'SSH-2.0-OpenSSH_9.2\\r\\n'", "SSH server"),
            (b"\x05\xff", "'\\x05\\xff'", "socks5://"),
            (b"\0\x5b", "'\\x00['", "socks4a://"),
            (b"<html>", "'<html>'", ""),
            (b"HTTPS/1.1 200", "'HTTPS/1.1 200'", ""),
            (b"http/1.1 200 OK\r\n\r\n", "'http/1.1 200 OK\\r\\n\\r\\n'", ""),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "'\\r\\nHTTP/1.1 200 OK\\r\\n\\r\\n'", ""),
            (b"\x1b[2J" + b"x" * 100, "'\\x1b[2J" + "x" * 36 + "'", ""),
        ],
    )
    def test_an_answer_other_than_http_fails_at_once_and_is_shown_escaped(self, data, shown, hint):
        with pytest.raises(MalformedAnswer) as caught:
            client().feed(data)
        assert str(caught.value) == f"answer to CONNECT example.com:22: not HTTP: it starts with {shown}"
        assert hint in hint_of(caught.value)
        assert caught.value.exit_status == 76

    @pytest.mark.parametrize("data", [b"SSH-", b"HTTQ", b"H\n", b"\0"])
    def test_the_first_wrong_octet_is_refused(self, data):
        wrong = next(end for end in range(1, len(data) + 1) if not b"HTTP/".startswith(data[:end]))
        machine = client()
        assert feed_all(machine, octets(data[: wrong - 1])) is None
        with pytest.raises(MalformedAnswer, match="not HTTP"):
            machine.feed(data[wrong - 1 : wrong])

    @pytest.mark.parametrize(
        "line",
        [
            b"HTTP/2.0 200 OK",
            b"HTTP/2 200",
            b"HTTP/ 200 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1",
            b"HTTP/1.1200 OK",
            b"HTTP/1.10 200 OK",
        ],
    )
    def test_invalid_versions_are_malformed(self, line):
        assert "status code" in malformed(line + b"\r\n\r\n") or "not HTTP/1" in malformed(line + b"\r\n\r\n")

    @pytest.mark.parametrize("code", [b"", b"2", b"20", b"2000", b"+20", b"2x0", b"099", b"000", b"\xb2\xb2\xb2", b"-200", b"OK"])
    def test_invalid_status_codes_are_malformed(self, code):
        assert "no status code" in malformed(b"HTTP/1.1 " + code + b" OK\r\n\r\n")

    def test_c16_a_bare_cr_or_nul_in_the_head_is_malformed(self):
        assert "bare CR" in malformed(b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n")
        assert "NUL" in malformed(b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n")

    def test_c16_an_endless_head_is_malformed(self):
        kind, text = feed_all(client(), [b"HTTP/1.1 200 OK\r\n"] + [b"X: " + b"x" * 65536 + b"\r\n"] * 5)
        assert (kind, "more than 262144 octets" in text) == (MalformedAnswer, True)

    def test_v10_v35_eof_before_or_inside_the_head(self):
        with pytest.raises(NoAnswer, match="closed without a response") as caught:
            client().eof()
        assert "https://" in hint_of(caught.value)
        machine = client()
        machine.feed(b"HTTP/1.1 200 OK\r\nX: ")
        with pytest.raises(MalformedAnswer, match="closed in the middle of the response head"):
            machine.eof()


ANSWERS = st.builds(
    lambda informational, line, fields, body: b"".join([*informational, line, *fields, b"\r\n", body]),
    st.lists(st.sampled_from([b"HTTP/1.1 100 Go\r\n\r\n", b"HTTP/1.0 103\n\n"]), max_size=2),
    st.sampled_from(
        [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 403\n", b"HTTP/1.1 502 Bad\r\n", b"HTTP/1.1 101 x\r\n", b"HTTP/3 200\r\n", b"SSH-"]
    ),
    st.lists(
        st.sampled_from(
            [
                b"Content-Length: 3\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"X: y\n",
                b" fold\r\n",
                b"junk\r\n",
                b"Proxy-Status: p; error=x\r\n",
                b"X: a\rb\r\n",
                b"X: \0\r\n",
                b"Content-Length: 4\r\n",
            ]
        ),
        max_size=4,
    ),
    st.one_of(st.sampled_from([b"", b"3\r\nwhy\r\n0\r\n\r\n", b"why", b"FFFFFFFFFFFFFFFFF\r\n", b"x\r\n"]), st.binary(max_size=20)),
)


def _comparable(outcome):
    if isinstance(outcome, Established):
        return outcome._replace(leftover=b"")
    # The message quotes as much of an answer other than HTTP as has arrived, which depends on the cut.
    return outcome if isinstance(outcome, Rejected) or outcome is None else outcome[0]


@bounded
@given(ANSWERS, st.sets(st.integers(0, 150)))
def test_property_cuts_do_not_matter(data, at):
    whole = feed_all(client(), [data])
    for pieces in (octets(data), cut(data, at)):
        assert _comparable(feed_all(client(), pieces)) == _comparable(whole)


@bounded
@given(st.one_of(ANSWERS, st.binary(max_size=100)), st.binary(max_size=3), st.integers(0, 100))
def test_fuzz_only_documented_exceptions_are_raised(data, patch, at):
    data = data[:at] + patch + data[at + len(patch) :]
    machine = client()
    outcome = feed_all(machine, [data])
    if outcome is None and machine.refusing:
        outcome = machine.eof()
    if outcome is None or outcome[0] in (MalformedAnswer, SpeaksTLS):
        assert outcome is None or outcome[1].isprintable()
        return
    assert (200 <= outcome.status <= 299) == isinstance(outcome, Established)
    if isinstance(outcome, Established):
        assert data.endswith(outcome.leftover)


def test_trailing_octets_are_leftover():
    assert client().feed(b"HTTP/1.1 200 OK\r\n\r\n" + TRAILING).leftover == TRAILING
