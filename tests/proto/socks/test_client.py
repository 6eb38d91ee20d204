"""SOCKS client (RFC 1928, RFC 1929, the 4a memo): fed at once, octet by octet, with trailing data, and against our server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import TRAILING, bounded, cut, feed_all, octets, three_ways
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, NameNotFound, Refused, TimedOut, TunnelctlError, UsageProblem
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.socks.client import SOCKS4A, SOCKS5, Granted, SocksClient
from tunnelctl.proto.socks.server import SocksLogin, SocksRefusal, SocksRequest, SocksServer, granted, refused

TARGET = Address("host.test", 443)
LOGIN = ("anna", "s3cret")
NO_LOGIN = b"\x05\x00"
BOUND = b"\x00\x01\x00\x00\x00\x00\x00\x00"
GRANTED = b"\x05\x00" + BOUND
GRANTED_4 = b"\x00\x5a\x00\x00\x00\x00\x00\x00"


def plain():
    return SocksClient(TARGET)


def with_login():
    return SocksClient(TARGET, SOCKS5, LOGIN)


def four():
    return SocksClient(TARGET, SOCKS4A)


def error(make, data):
    """The error that all ways of feeding raise."""
    kind, text = three_ways(make, data)
    machine = make()
    with pytest.raises(kind) as caught:
        machine.feed(data)
    assert str(caught.value) == text
    assert "s3cret" not in f"{text} {hint_of(caught.value)} {caught.value!r} {caught.value.detail}"
    return caught.value


class TestWhatIsSent:
    @pytest.mark.parametrize(
        ("target", "octets"),
        [
            ("host.test:443", b"\x03\x09host.test\x01\xbb"),
            ("B\u00fccher.test:22", b"\x03\x12xn--bcher-kva.test\x00\x16"),
            ("192.0.2.1:22", b"\x01\xc0\x00\x02\x01\x00\x16"),
            ("[2001:db8::1]:80", b"\x04" + bytes.fromhex("20010db8000000000000000000000001") + b"\x00\x50"),
            ("[::ffff:192.0.2.1]:80", b"\x04" + bytes.fromhex("00000000000000000000ffffc0000201") + b"\x00\x50"),
        ],
    )
    def test_version_5_sends_the_request_after_the_method_selection(self, target, octets):
        machine = SocksClient(parse_authority(target))
        assert machine.request() == b"\x05\x01\x00"
        assert machine.take_output() == b""
        assert machine.feed(NO_LOGIN) is None
        assert machine.take_output() == b"\x05\x01\x00" + octets
        assert machine.take_output() == b""

    def test_the_password_is_sent_on_demand_and_then_the_request(self):
        machine = with_login()
        assert machine.request() == b"\x05\x02\x00\x02"
        assert machine.feed(b"\x05\x02") is None
        assert machine.take_output() == b"\x01\x04anna\x06s3cret"
        assert machine.feed(b"\x01\x00") is None
        assert machine.take_output().startswith(b"\x05\x01\x00\x03")

    def test_the_password_is_not_sent_to_a_proxy_without_login(self):
        machine = with_login()
        assert machine.feed(NO_LOGIN + GRANTED) == Granted(b"")
        assert b"s3cret" not in machine.take_output()

    def test_credentials_are_utf_8_of_1_to_255_octets(self):
        machine = SocksClient(TARGET, SOCKS5, ("\u00fc\udcff", "p" * 255))
        machine.feed(b"\x05\x02")
        assert machine.take_output() == b"\x01\x03\xc3\xbc\xff\xff" + b"p" * 255
        for credentials in (("", "p"), ("u", ""), ("u" * 256, "p"), ("u", "\u00fc" * 128)):
            with pytest.raises(AuthenticationFailed, match="1 to 255"):
                SocksClient(TARGET, SOCKS5, credentials)

    @pytest.mark.parametrize(
        ("target", "octets"),
        [
            ("host.test:443", b"\x01\xbb\x00\x00\x00\x01%b\0host.test\0"),
            ("192.0.2.1:22", b"\x00\x16\xc0\x00\x02\x01%b\0"),
            ("0.0.0.7:22", b"\x00\x16\x00\x00\x00\x01%b\x000.0.0.7\0"),
        ],
    )
    def test_version_4a_sends_one_message(self, target, octets):
        assert SocksClient(parse_authority(target), SOCKS4A).request() == b"\x04\x01" + octets % b""
        machine = SocksClient(parse_authority(target), SOCKS4A, ("anna", ""))
        assert machine.request() == b"\x04\x01" + octets % b"anna"
        assert machine.feed(GRANTED_4) == Granted(b"")
        assert machine.take_output() == b""

    def test_targets_and_logins_that_version_4a_cannot_carry_are_refused(self):
        with pytest.raises(UsageProblem, match="no IPv6"):
            SocksClient(parse_authority("[::1]:22"), SOCKS4A)
        with pytest.raises(AuthenticationFailed) as caught:
            SocksClient(TARGET, SOCKS4A, LOGIN)
        assert "s3cret" not in repr(caught.value)
        for user in ("a\0b", "u" * 256):
            with pytest.raises(AuthenticationFailed, match="bytes are allowed, and no NUL"):
                SocksClient(TARGET, SOCKS4A, (user, ""))


class TestGranted:
    @pytest.mark.parametrize(
        ("make", "data"),
        [
            (plain, NO_LOGIN + GRANTED),
            (plain, NO_LOGIN + b"\x05\x00\xff\x03\x04host\x00\x16"),
            (plain, NO_LOGIN + b"\x05\x00\x00\x03\x00\x00\x16"),
            (plain, NO_LOGIN + b"\x05\x00\x00\x04" + bytes(18)),
            (with_login, NO_LOGIN + GRANTED),
            (with_login, b"\x05\x02\x01\x00" + GRANTED),
            (with_login, b"\x05\x02\x05\x00" + GRANTED),
            (four, GRANTED_4),
            (four, b"\x04\x5a" + bytes(6)),
        ],
    )
    def test_octets_after_the_reply_belong_to_the_tunnel(self, make, data):
        assert three_ways(make, data) == Granted(b"")
        for at in range(1, len(data)):
            machine = make()
            assert machine.feed(data[:at]) is None
            assert machine.feed(data[at:] + TRAILING) == Granted(TRAILING)

    @pytest.mark.parametrize(("make", "data"), [(with_login, b"\x05\x02\x01\x00" + GRANTED), (four, GRANTED_4)])
    def test_reading_only_wanted_octets_reads_none_of_the_tunnel(self, make, data):
        machine, rest, outcome = make(), data + TRAILING, None
        while outcome is None:
            assert machine.wanted > 0
            piece, rest = rest[: machine.wanted], rest[machine.wanted :]
            outcome = machine.feed(piece)
        assert (outcome, rest) == (Granted(b""), TRAILING)

    def test_a_machine_has_one_outcome_only(self):
        machine = four()
        machine.feed(GRANTED_4)
        with pytest.raises(RuntimeError):
            machine.feed(b"")
        machine = four()
        with pytest.raises(MalformedAnswer):
            machine.feed(b"x")
        with pytest.raises(RuntimeError):
            machine.feed(b"")


class TestRefused:
    @pytest.mark.parametrize(
        ("reply", "kind", "cause", "detail"),
        [
            (1, Refused, "general failure", None),
            (2, Refused, "not allowed", "http_request_denied"),
            (3, Refused, "network unreachable", "destination_ip_unroutable"),
            (4, Refused, "host unreachable", "destination_unavailable"),
            (5, Refused, "connection refused", "connection_refused"),
            (6, TimedOut, "timed out", "connection_timeout"),
            (7, Refused, "CONNECT", None),
            (8, Refused, "address type", None),
            (9, Refused, "unknown reply", None),
            (255, Refused, "unknown reply", None),
        ],
    )
    def test_refusing_replies_of_version_5_even_if_incomplete(self, reply, kind, cause, detail):
        for rest in (b"", BOUND):
            caught = error(plain, NO_LOGIN + bytes((5, reply)) + rest)
            assert type(caught) is kind
            assert cause in caught.cause
            assert f"({reply})" in caught.cause
            assert caught.detail == {"code": reply, **({"error": detail} if detail else {})}

    def test_refusing_replies_of_version_4(self):
        caught = error(four, b"\x00\x5b" + bytes(6))
        assert (type(caught), caught.detail) == (Refused, {"code": 91})
        assert type(error(four, b"\x00\x5c" + bytes(6))) is AuthenticationFailed
        assert type(error(four, b"\x00\x5d" + bytes(6))) is AuthenticationFailed

    def test_failed_logins_have_their_cause_and_hint(self):
        assert "it did not accept the login" in error(with_login, b"\x05\x02\x01\x01").cause
        assert "requires a user" in error(plain, b"\x05\x02").cause
        assert "--proxy-user" in hint_of(error(plain, b"\x05\xff"))
        assert hint_of(error(with_login, b"\x05\xff")) == ""
        for make, data in [(with_login, b"\x05\x02\x01\x01"), (plain, b"\x05\x02"), (plain, b"\x05\xff")]:
            assert type(error(make, data)) is AuthenticationFailed


class TestMalformed:
    @pytest.mark.parametrize(
        ("make", "first", "hint"),
        [
            (plain, b"H", "HTTP"),
            (four, b"H", "HTTP"),
            (plain, b"S", "SSH"),
            (plain, b"\x00", "socks4a"),
            (plain, b"\x04", "socks4a"),
            (four, b"\x05", "socks5"),
            (plain, b"\x1b", ""),
        ],
    )
    def test_an_answer_other_than_socks_fails_at_once_and_is_shown_escaped(self, make, first, hint):
        kind, text = feed_all(make(), [first])
        assert kind is MalformedAnswer
        assert text.isprintable()
        with pytest.raises(MalformedAnswer) as caught:
            make().feed(first + b"TTP/1.1 400 Bad Request\r\n" + b"x" * 100)
        assert "TTP/1.1 400 Bad Request\\r\\nxxxx" in caught.value.cause
        assert len(caught.value.cause) < 120
        assert hint in hint_of(caught.value)

    @pytest.mark.parametrize(
        ("make", "data", "cause"),
        [
            (plain, b"\x05\x01", "not offered (1)"),
            (plain, NO_LOGIN + b"\x04\x00", "has version 4"),
            (plain, NO_LOGIN + b"\x05\x00\x00\x02", "unknown type 2"),
            (four, b"\x00\x00", "unknown reply 0"),
        ],
    )
    def test_invalid_replies_are_malformed(self, make, data, cause):
        caught = error(make, data)
        assert type(caught) is MalformedAnswer
        assert cause in caught.cause

    def test_eof_is_reported_with_its_place(self):
        machine = with_login()
        assert "without a response" in machine.eof().cause
        machine.feed(b"\x05")
        assert "in the middle of the reply" in machine.eof().cause
        machine.feed(b"\x00")
        assert "responded to the request" in machine.eof().cause
        assert "ssh -D" in hint_of(four().eof())
        assert type(machine.eof()) is MalformedAnswer


def test_repr_shows_no_secret():
    machine = with_login()
    machine.feed(b"\x05\x02")
    assert "s3cret" not in repr(machine)
    assert "s3cret" not in str(machine)


def converse(client, server, answer, login=None):
    """Connects the two, octet by octet, until the client has an outcome; returns the outcomes of server and client.

    login: the correct one
    """
    heard, said = None, client.request()
    for _ in range(10):
        for octet in octets(said):
            heard = heard or server.feed(octet)
            if isinstance(heard, SocksLogin):
                heard = server.go_on("" if tuple(heard) == login else "wrong user or password")
        reply = server.take_output()
        if isinstance(heard, SocksRefusal):
            reply += heard.answer
        elif heard is not None:
            reply += answer
        outcome = feed_all(client, octets(reply))
        if outcome is not None:
            return heard, outcome
        said = client.take_output()
    raise AssertionError("the conversation does not end")


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.from_regex(r"[a-z][a-z0-9]{0,20}(\.[a-z]{2,8}){0,3}", fullmatch=True),
)
TARGETS = st.builds(lambda host, port: parse_authority(f"{host}:{port}"), HOSTS, st.integers(1, 65535))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@bounded
@given(TARGETS, st.none() | st.tuples(TEXTS, TEXTS), st.booleans())
def test_property_our_server_understands_version_5(target, credentials, closed):
    server = SocksServer(login=closed and credentials is not None)
    heard, outcome = converse(SocksClient(target, SOCKS5, credentials), server, granted(5), credentials)
    assert heard == SocksRequest(5, target, b"")
    assert outcome == Granted(b"")


@bounded
@given(TARGETS.filter(lambda target: ":" not in target.host), st.sampled_from(["", "anna", "\u00fc"]))
def test_property_our_server_understands_version_4a(target, user):
    heard, outcome = converse(SocksClient(target, SOCKS4A, (user, "")), SocksServer(), granted(4))
    assert heard == SocksRequest(4, target, b"")
    assert outcome == Granted(b"")


@pytest.mark.parametrize("version", [SOCKS5, SOCKS4A])
def test_our_server_refuses_a_wrong_login(version):
    credentials = ("anna", "wrong") if version == SOCKS5 else ("anna", "")
    heard, outcome = converse(SocksClient(TARGET, version, credentials), SocksServer(login=True), b"", LOGIN)
    assert isinstance(heard, SocksRefusal)
    assert outcome[0] is AuthenticationFailed
    assert ("did not accept the login" if version == SOCKS5 else "does not admit this user") in outcome[1]


@pytest.mark.parametrize(
    "reason",
    [
        NameNotFound("p", "c", "name-unknown"),
        Refused("p", "c", "refused", detail={"code": 403}),
        TimedOut("p", "c", "timed-out"),
        MalformedAnswer("p", "c", "not-http"),
    ],
)
@pytest.mark.parametrize("version", [SOCKS5, SOCKS4A])
def test_refusals_of_our_server_are_understood(version, reason):
    no = refused(5 if version == SOCKS5 else 4, reason)
    _, outcome = converse(SocksClient(TARGET, version), SocksServer(), no)
    assert outcome[0] is (TimedOut if isinstance(reason, TimedOut) and version == SOCKS5 else Refused)


ANSWERS = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda *parts: b"".join(parts), st.sampled_from([NO_LOGIN, b"\x05\x02\x01\x00", b"\x05\xff"]), st.binary(max_size=30)
    ),
    st.builds(lambda reply, rest: b"\x00" + bytes((reply,)) + rest, st.integers(88, 94), st.binary(max_size=10)),
)


@bounded
@given(ANSWERS, st.sampled_from([plain, with_login, four]), st.sets(st.integers(0, 40)))
def test_fuzz_cuts_do_not_matter_and_only_documented_errors_are_raised(data, make, at):
    whole, pieces = feed_all(make(), [data]), feed_all(make(), cut(data, at))
    if isinstance(whole, Granted):
        assert data.endswith(whole.leftover)
        assert whole.leftover.startswith(pieces.leftover)
    elif whole is None:
        assert pieces is None
    else:
        assert issubclass(whole[0], TunnelctlError)
        assert pieces[0] is whole[0]  # the text quotes as much of an answer other than SOCKS as has arrived
        assert whole[1].isprintable()
