"""CONNECT server. S1-S13 of the checklist; V8, V14-V19 as far as the syntax of a request decides them."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded, cut, feed_all, octets, three_ways
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1 import connect_server
from tunnelctl.proto.http1.connect_server import ConnectServer, Request, known_request
from tunnelctl.proto.http1.head import Limits
from tunnelctl.proto.refusal import Refusal

TARGET = Address("example.com", 443)


def connect(*fields, target=b"example.com:443", version=b"HTTP/1.1", host=b"example.com:443"):
    lines = [b"CONNECT " + target + b" " + version]
    lines += [b"Host: " + host] if host is not None else []
    return b"\r\n".join([*lines, *fields, b"", b""])


def serve(data):
    return three_ways(ConnectServer, data)


def refused(data, status=400):
    """The details of the refusal, which must have this status."""
    outcome = serve(data)
    assert isinstance(outcome, Refusal), outcome
    assert outcome.status == status
    assert outcome.error == "http_request_error"
    return outcome.details


def test_a_request_is_parsed():
    request = serve(connect(b"User-Agent: curl/8", b"Proxy-Connection: Keep-Alive"))
    fields = (("Host", "example.com:443"), ("User-Agent", "curl/8"), ("Proxy-Connection", "Keep-Alive"))
    assert request == Request(TARGET, fields, None, b"")


@pytest.mark.parametrize(
    ("target", "address"),
    [
        (b"EXAMPLE.com.:443", TARGET),
        (b"192.0.2.1:1", Address("192.0.2.1", 1)),
        (b"[::1]:65535", Address("::1", 65535)),
        (b"[0:0::1]:22", Address("::1", 22)),
        (b"xn--mnchen-3ya.example:22", Address("xn--mnchen-3ya.example", 22)),
    ],
)
def test_s3_the_target_is_made_canonical(target, address):
    """S3, V7"""
    assert serve(connect(target=target, host=target)).target == address


class TestRequestLine:
    def test_s1_one_leading_empty_line_is_skipped(self):
        assert serve(b"\r\n" + connect()).target == TARGET
        assert "not a request line" in refused(b"\r\n\r\n" + connect())

    @pytest.mark.parametrize(
        "port",
        [b"", b":", b":0", b":00", b":65536", b":65979", b":4294967739", b":-1", b":+443", b":0443", b":443x", b":x", b":\xb2"],
    )
    def test_s2_v8_a_missing_or_invalid_port_is_refused(self, port):
        refused(connect(target=b"example.com" + port, host=b"example.com:443"))

    @pytest.mark.parametrize(
        "target",
        [
            *(b"/", b"/:443", b"*", b"*:443", b"http://example.com:443", b"https://example.com:443/", b"http://example.com/"),
            *(b"user@example.com:443", b"user:pw@example.com:443", b"@example.com:443", b"example.com:443/", b"example.com:443?x"),
            *(b"a,b:443", b"::1:443", b"[example.com]:443", b"[127.0.0.1]:443", b"[::1%25lo]:443", b"0x7f.1:443", b"127.1:443"),
            *(b"2130706433:443", b"-o:443", b"%65xample.com:443", b"example..com:443", b":443", b"", b"a" * 4096 + b":443"),
        ],
    )
    def test_s3_v4_v16_targets_other_than_authority_form_are_refused(self, target):
        """S3: origin, absolute and asterisk form, userinfo. The counterpart of C3: only a canonical authority is accepted."""
        assert "the target" in refused(connect(target=target, host=target))

    def test_v18_the_refusal_does_not_repeat_a_password(self):
        outcome = serve(connect(target=b"user:secret@example.com:443"))
        assert "secret" not in repr(outcome)

    @pytest.mark.parametrize("target", ["münchen.example:443".encode(), "münchen.example:443".encode("latin-1"), b"\xff:443"])
    def test_s3_non_ascii_targets_are_refused(self, target):
        assert "A-labels" in refused(connect(target=target, host=target))

    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH"])
    def test_s8_other_known_methods_get_405_with_allow(self, method):
        outcome = serve(method + b" http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert (outcome.status, outcome.fields) == (405, (("Allow", "CONNECT"),))

    @pytest.mark.parametrize(
        ("data", "status", "to_head"),
        [
            (b"HEAD http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", 405, True),
            (b"HEAD / HTTP/1.0\n\n", 405, True),
            (b"\r\nHEAD / HTTP/1.1\r\nX : y\r\n\r\n", 405, True),
            (b"HEAD / HTTP/2.0\r\n\r\n", 505, True),
            (b"HEADER / HTTP/1.1\r\n\r\n", 501, False),
            (b"head / HTTP/1.1\r\n\r\n", 501, False),
            (b"GET / HTTP/1.1\r\n\r\n", 405, False),
            (b"HEAD /\0", 400, False),
            (b"HEAD " + b"x" * 9000, 414, False),
            (connect(host=None), 400, False),
        ],
    )
    def test_to_head_tells_whether_a_refusal_answers_head(self, data, status, to_head):
        for pieces in ([data], octets(data)):
            machine = ConnectServer()
            assert feed_all(machine, pieces).status == status
            assert machine.to_head is to_head

    @pytest.mark.parametrize("method", [b"BREW", b"connect", b"Connect", b"get", b"CONNECTX", b"PRI", b"X" * 2000])
    def test_s8_s9_unknown_methods_get_501(self, method):
        """S8; S9: methods are case-sensitive, so a lower-case one is an unknown method."""
        refused(method + b" example.com:443 HTTP/1.1\r\n", 501)

    @pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/9.9"])
    def test_s9_other_major_versions_get_505(self, version):
        refused(connect(version=version), 505)

    def test_s9_the_http_2_preface_gets_505(self):
        refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)

    def test_s9_a_higher_minor_version_is_treated_as_1_1(self):
        assert serve(connect(version=b"HTTP/1.2")).target == TARGET
        assert "Host" in refused(connect(version=b"HTTP/1.2", host=None))

    @pytest.mark.parametrize(
        "line",
        [
            *(
                b"CONNECT example.com:443",
                b"CONNECT",
                b"",
                b" ",
                b"CONNECT  example.com:443 HTTP/1.1",
                b"CONNECT example.com:443  HTTP/1.1",
            ),
            *(b" CONNECT example.com:443 HTTP/1.1", b"CONNECT example.com:443 HTTP/1.1 ", b"CONNECT\texample.com:443\tHTTP/1.1"),
            *(b"CONNECT\texample.com:443 x HTTP/1.1", b"CONNECT example.com:443 http/1.1", b"CONNECT example.com:443 HTTP/1"),
            *(b"CONNECT example.com:443 HTTP/1.10", b"CONNECT example.com:443 HTTP/1,1", b"CONNECT example.com:443 HTTPS/1.1"),
            *(b"CONNECT example.com:443 HTTP/x.1", b"CONNECT example.com:443 1.1", b"C(O) example.com:443 HTTP/1.1"),
            *(b"\xe4 example.com:443 HTTP/1.1", b"SSH-2.0-OpenSSH_9.2", b"EHLO example.com", b"a b c d"),
        ],
    )
    def test_s10_v15_other_garbage_gets_400_at_its_first_line(self, line):
        assert "not a request line" in refused((b"\r\n" if not line else b"") + line + b"\r\n")

    @pytest.mark.parametrize("hello", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x16", b"\r\n\x16\x03\x03"])
    def test_s10_a_tls_client_hello_gets_a_named_error(self, hello):
        assert "TLS ClientHello" in refused(hello)

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (b"\x05\x01\x00", "SOCKS5 greeting"),
            (b"\x05\x03\x00\x01\x02", "SOCKS5 greeting"),
            (b"\x04\x01\x01\xbb\x00\x00\x00\x01\0host.test\0", "SOCKS4 request"),
            (b"\x04", "SOCKS4 request"),
        ],
    )
    def test_s10_socks_gets_a_named_error(self, data, name):
        assert refused(data) == f"this is a {name}, and this port speaks HTTP"

    @pytest.mark.parametrize("data", [b"\x06\x01\x00", b"\x80\x2e\x01\x00", b"\0", b"X\x05"])
    def test_s10_other_binary_garbage_gets_400(self, data):
        assert "malformed head" in refused(data)

    def test_s8_a_too_long_target_gets_414(self):
        line = b"CONNECT " + b"a" * (8192 - 17)
        refused(line + b"b" * 20, 414)
        refused(connect(target=b"a" * 9000), 414)
        # at the limit the target is parsed and refused as an invalid host name
        assert "the target" in refused(connect(target=b"a" * (8192 - 17)))


class TestHost:
    def test_s4_http_1_1_requires_host(self):
        assert "missing" in refused(connect(host=None))

    def test_s4_http_1_0_may_omit_host(self):
        """corkscrew, connect-proxy, ncat, nc and socat all do so."""
        assert serve(connect(host=None, version=b"HTTP/1.0")) == Request(TARGET, (), None, b"")

    @pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
    def test_s4_two_hosts_are_refused(self, version):
        assert "more than one" in refused(connect(b"host: example.com:443", version=version))

    @pytest.mark.parametrize("host", [b"example.com:443", b"EXAMPLE.COM:443", b"example.com.:443", b"example.com", b"Example.Com."])
    def test_s13_host_may_be_spelled_differently(self, host):
        """A missing port is no contradiction: several clients omit it."""
        assert serve(connect(host=host)).target == TARGET

    def test_s13_host_of_an_ipv6_target_is_accepted(self):
        assert serve(connect(target=b"[2001:db8::1]:443", host=b"[2001:DB8:0::1]")).target.host == "2001:db8::1"

    @pytest.mark.parametrize(
        "host",
        [
            *(
                b"",
                b"example.org",
                b"example.org:443",
                b"example.com:80",
                b"example.com:",
                b"www.example.com:443",
                b"example.com:443, example.com:443",
            ),
            *(
                b"user@example.com:443",
                b"[example.com]:443",
                b"example.com:0443",
                b"\xe4",
                b"ex\xaample.com:443",
                b"example.com:443/",
            ),
        ],
    )
    def test_s13_v16_a_host_that_differs_is_refused(self, host):
        assert "differs" in refused(connect(host=host))
        assert serve(connect(host=host, version=b"HTTP/1.0")).target == TARGET, "HTTP/1.0 has no Host"

    @pytest.mark.parametrize("host", [b"proxy.example.net", b"192.0.2.1", b"[::1]", b"proxy"])
    def test_the_proxys_name_as_host_is_accepted_with_proxy_connection(self, host):
        """As proxytunnel 1.10 to 1.12 send it: without a port, and with Proxy-Connection."""
        assert serve(connect(b"proxy-connection: Keep-Alive", host=host)).target == TARGET
        assert "differs" in refused(connect(host=host))
        assert "differs" in refused(connect(b"Proxy-Connection: Keep-Alive", host=host + b":3128"))
        assert "more than one" in refused(connect(b"Proxy-Connection: Keep-Alive", b"Host: example.com", host=host))

    def test_the_proxys_ipv6_address_as_host_may_lack_brackets(self):
        assert serve(connect(b"Proxy-Connection: Keep-Alive", host=b"::1")).target == TARGET

    @pytest.mark.parametrize("host", [b"", b"a, b", b"user@proxy", b"[proxy]", b"127.1", b"\xe4", b"proxy/"])
    def test_an_invalid_host_is_refused_despite_proxy_connection(self, host):
        assert "differs" in refused(connect(b"Proxy-Connection: Keep-Alive", host=host))

    def test_a_request_with_ntlm_may_omit_host(self):
        """As cntlm sends it for -L."""
        request = serve(connect(b"Proxy-Authorization: NTLM TlRMTVNTUAAB", b"Content-Length: 0", host=None))
        assert (request.target, request.authorization) == (TARGET, "NTLM TlRMTVNTUAAB")
        assert "missing" in refused(connect(b"Proxy-Authorization: Basic eDp5", host=None))


malformed = pytest.mark.parametrize(
    "field",
    [
        b"X : y",
        b"X\t: y",
        b"X: y\r\n folded",
        b"X: a\rb",
        b"X: a\nY: b",
        b"X: \0",
        b"X: \x1b",
        b": y",
        b"X",
        b"X Y: z",
        b"\xe4: y",
    ],
)


class TestFields:
    @malformed
    def test_s5_s6_s7_v15_malformed_fields_are_refused(self, field):
        assert "malformed head" in refused(connect(field))

    @malformed
    def test_s5_s6_v15_malformed_fields_are_refused_in_http_1_0(self, field):
        """Except for the lone LF, which ends a line there."""
        outcome = serve(connect(field, version=b"HTTP/1.0"))
        if field == b"X: a\nY: b":
            assert outcome.fields[1:] == (("X", "a"), ("Y", "b"))
        else:
            assert "malformed head" in refused(connect(field, version=b"HTTP/1.0"))

    def test_s7_lone_lf_is_accepted_in_http_1_0_only(self):
        assert "lone LF" in refused(connect().replace(b"\r\n", b"\n"))
        assert serve(connect(version=b"HTTP/1.0").replace(b"\r\n", b"\n")).target == TARGET

    def test_the_head_of_corkscrew_with_a_login_is_accepted(self):
        """Only its request line ends with a lone LF: corkscrew.c, unchanged in upstream since 2.0."""
        request = serve(b"CONNECT example.com:443 HTTP/1.0\nProxy-Authorization: Basic eDp5\r\n\r\n")
        assert request == Request(TARGET, (), "Basic eDp5", b"")

    @pytest.mark.parametrize(
        "framing",
        [
            [b"Content-Length: 1"],
            [b"Content-Length: 00"],
            [b"Content-Length: +0"],
            [b"Content-Length: 0, 0"],
            [b"Content-Length: "],
            [b"Content-Length: 0", b"Content-Length: 0"],
            [b"Content-Length: 0", b"content-length: 5"],
            [b"Transfer-Encoding: chunked"],
            [b"Transfer-Encoding: identity"],
            [b"transfer-encoding:"],
            [b"Transfer-Encoding: \x0bchunked"],
            [b"Transfer-Encoding: chunked", b"Content-Length: 0"],
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        ],
    )
    @pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
    def test_s11_v14_body_framing_is_refused(self, framing, version):
        refused(connect(*framing, version=version))

    def test_s11_v14_content_length_0_is_accepted(self):
        assert serve(connect(b"Content-Length: 0")).target == TARGET

    def test_s8_v31_a_too_large_head_gets_431(self):
        refused(connect(*[b"X: " + b"x" * 1000] * 17), 431)
        refused(connect(*[b"X: y"] * 100), 431)
        assert serve(connect(*[b"X: y"] * 99)).target == TARGET
        refused(b"CONNECT example.com:443 HTTP/1.1\r\nX: " + b"x" * 17000, 431)

    def test_limits_are_configurable(self):
        limits = Limits(max_bytes=100, max_fields=1, max_line=40)
        assert feed_all(ConnectServer(limits), [connect()]).target == TARGET
        assert feed_all(ConnectServer(limits), [connect(b"X: y")]).status == 431
        assert feed_all(ConnectServer(limits), [connect(target=b"www.far.away.example.com:443")]).status == 414


class TestAuthorization:
    def test_proxy_authorization_is_removed_from_the_fields(self):
        """C15, V18: a field for this proxy only must not be passed on."""
        request = serve(connect(b"PROXY-authorization: Basic eDp5", b"X: y"))
        assert request.authorization == "Basic eDp5"
        assert request.fields == (("Host", "example.com:443"), ("X", "y"))

    def test_v19_credentials_are_read_in_http_1_0_too(self):
        request = serve(connect(b"Proxy-Authorization: Basic eDp5", version=b"HTTP/1.0", host=None))
        assert request.authorization == "Basic eDp5"

    def test_v19_an_empty_field_differs_from_a_missing_one(self):
        assert serve(connect(b"Proxy-Authorization:")).authorization == ""

    def test_v19_two_credentials_fields_are_refused(self):
        assert "more than one" in refused(connect(b"Proxy-Authorization: Basic eDp5", b"proxy-authorization: Basic eDp6"))

    def test_v18_repr_shows_no_credentials(self):
        request = ConnectServer().feed(
            connect(b"Proxy-Authorization: Basic c2VjcmV0", b"Cookie: c2VjcmV0") + b"secret tunnel bytes"
        )
        assert repr(request) == "Request(target=example.com:443, authorization=***, leftover=19 bytes)"
        assert "c2VjcmV0" not in f"{request}{request!r}{[request]}"
        assert "authorization=None" in repr(serve(connect()))


class TestEnds:
    def test_s12_early_data_is_leftover_at_every_cut(self):
        """S12, V12: bytes after the head belong to the tunnel, whether they arrive with it or later."""
        head, early = connect(), b"\r\n\r\nCONNECT evil:1 HTTP/1.1\r\n\r\n\x00"
        data = head + early
        for at in range(1, len(data)):
            first, rest = data[:at], data[at:]
            machine = ConnectServer()
            request = machine.feed(first)
            if request is None:
                request = machine.feed(rest)
                rest = b""
            assert request.leftover + rest == early

    @pytest.mark.parametrize("data", [connect(), b"nonsense\r\n"])
    def test_s18_v11_a_second_request_is_never_read(self, data):
        """S18, S23: a machine has one outcome; it never parses a pipelined request after it."""
        machine = ConnectServer()
        assert machine.feed(data + connect(target=b"other:443")) is not None
        with pytest.raises(RuntimeError):
            machine.feed(connect(target=b"other:443"))

    @pytest.mark.parametrize("data", [b"", b"\r\n"])
    def test_eof_before_any_data_has_no_outcome(self, data):
        machine = ConnectServer()
        assert machine.feed(data) is None
        assert machine.eof() is None

    @pytest.mark.parametrize("data", [b"\r", b"C", connect()[:-1], connect()[:30]])
    def test_eof_inside_the_head_is_refused(self, data):
        machine = ConnectServer()
        assert machine.feed(data) is None
        assert machine.eof() == Refusal(
            400, "http_request_error", "the request ended inside its head", params=(("status-code", 400),)
        )

    def test_a_machine_is_not_part_of_a_reference_cycle(self):
        """Each connection has one, which must be freed when dropped, not when the garbage collector runs."""
        gc.collect()
        for data in (connect(), b"nonsense\r\n", b"\x16"):
            ConnectServer().feed(data)
        assert gc.collect() == 0


REQUESTS = st.builds(
    lambda method, target, version, fields, rest: (
        b" ".join([method, target, version]) + b"\r\n" + b"".join(fields) + b"\r\n" + rest
    ),
    st.sampled_from([b"CONNECT", b"GET", b"connect", b"\x16", b""]),
    st.sampled_from([b"example.com:443", b"[::1]:443", b"/", b"a@b:1", b"0x7f.1:1"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.0\n", b"HTTP/2.0", b"x"]),
    st.lists(
        st.sampled_from(
            [
                b"Host: example.com:443\r\n",
                b"Host: [::1]:443\r\n",
                b"Host: x\r\n",
                b"X: y\r\n",
                b"X : y\r\n",
                b" fold\r\n",
                b"X: y\n",
                b"\n",
                b"Content-Length: 1\r\n",
                b"Transfer-Encoding: x\r\n",
                b"Proxy-Authorization: x\r\n",
                b"X: \0\r\n",
                b"X: " + b"x" * 9000 + b"\r\n",
            ]
        ),
        max_size=4,
    ),
    st.binary(max_size=4),
)


@bounded
@given(st.one_of(REQUESTS, st.binary(max_size=60)), st.sets(st.integers(0, 120)))
def test_property_cuts_do_not_matter(data, at):
    whole = feed_all(ConnectServer(), [data])
    for pieces in (octets(data), cut(data, at)):
        outcome = feed_all(ConnectServer(), pieces)
        if isinstance(whole, Request):
            assert outcome._replace(leftover=b"") == whole._replace(leftover=b"")
            assert whole.leftover.startswith(outcome.leftover)
        else:
            assert outcome == whole


@bounded
@given(st.one_of(REQUESTS, st.binary(max_size=200)), st.binary(max_size=3), st.integers(0, 200))
def test_fuzz_feeding_raises_nothing(data, patch, at):
    """Also for well-formed requests with a few octets replaced. A Request is canonical and safe to use, whatever the input."""
    data = data[:at] + patch + data[at + len(patch) :]
    outcome = ConnectServer().feed(data)
    assert outcome is None or isinstance(outcome, Request | Refusal)
    if isinstance(outcome, Refusal):
        assert 400 <= outcome.status <= 505
        assert outcome.details.isascii()
    if isinstance(outcome, Request):
        assert 1 <= outcome.target.port <= 65535
        assert not set(str(outcome.target)) & set(" \r\n\0@/%")


# ---- repeated heads ------------------------------------------------------------------------------------------------------------


def plain(name, extra=b""):
    return b"CONNECT %b:443 HTTP/1.1\r\nHost: %b:443\r\n%b\r\n" % (name, name, extra)


def test_a_head_is_known_once_it_was_read():
    head = plain(b"again.example")
    request = Request(Address("again.example", 443), (("Host", "again.example:443"),), None, b"")
    assert known_request(head) is None
    assert ConnectServer().feed(head) == request
    assert known_request(head) == request


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(plain(b"a.example", b"Proxy-Authorization: Basic YTpi\r\n"), id="credentials"),
        pytest.param(plain(b"b.example") + b"hello", id="the target's bytes"),
        pytest.param(plain(b"c.example", b"X: " + b"x" * 1024 + b"\r\n"), id="a long one"),
    ],
)
def test_heads_with_private_or_much_data_are_not_cached(sent):
    assert isinstance(ConnectServer().feed(sent), Request)
    assert known_request(sent) is None


def test_limits_apply_to_a_cached_head():
    head = plain(b"limits.example")
    assert isinstance(ConnectServer().feed(head), Request)
    assert isinstance(ConnectServer(Limits(len(head) - 1, 100, 8192)).feed(head), Refusal)


def test_the_number_of_cached_heads_is_limited():
    for number in range(connect_server._KNOWN_HEADS + 1):
        ConnectServer().feed(plain(b"n%d.example" % number))
    assert 0 < len(connect_server._known) <= connect_server._KNOWN_HEADS


def test_the_rest_of_a_head_is_not_looked_up_in_the_cache():
    head = plain(b"half.example")
    ConnectServer().feed(head)
    machine = ConnectServer()
    assert machine.feed(b"CONNECT other.example:443 HTTP/1.1\r\n") is None
    assert isinstance(machine.feed(head), Refusal)
