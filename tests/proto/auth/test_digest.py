"""Digest, client side. C14: the examples of the RFCs, every algorithm, and the deviations of real proxies from the grammar."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.errors import AuthenticationFailed
from tunnelctl.proto.auth.challenge import Challenge, parse_challenges
from tunnelctl.proto.auth.digest import ALGORITHMS, DigestClient, hash_of, is_stale, rank, wire
from tunnelctl.proto.headers import check

TARGET = "example.com:22"
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


def challenge(text):
    (found,) = parse_challenges([f"Digest {text}"])
    return found


def parameters(value):
    """Parses the parameters of a Proxy-Authorization value with the parser for challenges."""
    (found,) = parse_challenges([value])
    assert found.scheme == "digest"
    return dict(found.params)


def answer(text, user="u", password="p", cnonce="c"):
    return parameters(DigestClient(challenge(text), user, password, cnonce).authorize("CONNECT", TARGET))


class TestExamples:
    RFC_7616 = (
        'realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", algorithm='
    )

    @pytest.mark.parametrize(
        ("algorithm", "response"),
        [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ],
    )
    def test_c14_rfc_7616_section_3_9_1(self, algorithm, response):
        cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
        client = DigestClient(challenge(self.RFC_7616 + algorithm), "Mufasa", "Circle of Life", cnonce)
        assert client.authorize("GET", "/dir/index.html") == (
            'Digest username="Mufasa", realm="http-auth@example.org", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
            f'uri="/dir/index.html", response="{response}", algorithm={algorithm}, cnonce="{cnonce}", '
            'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", qop=auth, nc=00000001'
        )

    @pytest.mark.skipif(hash_of("SHA-512-256") is None, reason="this OpenSSL has no SHA-512/256")
    def test_c14_rfc_7616_section_3_9_2_with_erratum_4897(self):
        """The RFC itself has a truncated SHA-512, which is a different hash."""
        client = DigestClient(
            challenge(
                'realm="api@example.org", qop="auth", algorithm=SHA-512-256, charset=UTF-8, userhash=true, '
                'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS"'
            ),
            "Jäsøn Doe",
            "Secret, or not?",
            "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        )
        sent = parameters(client.authorize("GET", "/doe.json"))
        assert sent["username"] == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
        assert sent["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
        assert sent["userhash"] == "true"

    def test_c14_rfc_2617_section_3_5(self):
        client = DigestClient(
            challenge(
                'realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
                'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
            ),
            "Mufasa",
            "Circle Of Life",
            "0a4f113b",
        )
        sent = parameters(client.authorize("GET", "/dir/index.html"))
        assert sent["response"] == "6629fae49393a05397450978507c4ef1"
        assert "algorithm" not in sent

    def test_c14_rfc_2069_with_erratum_749(self):
        client = DigestClient(
            challenge('realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'), "Mufasa", "CircleOfLife", "c"
        )
        sent = parameters(client.authorize("GET", "/dir/index.html"))
        assert sent["response"] == "1949323746fe6a43ef61f9606e7febea"
        assert sent.keys() == {"username", "realm", "nonce", "uri", "response"}


class TestWhichChallenges:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("nonce=n", 2),
            ("nonce=n, algorithm=md5-SESS", 2),
            ('nonce=n, algorithm="SHA-256"', 1),
            ("nonce=n, algorithm=sha-256-sess, qop=AUTH", 1),
            ('nonce=n, qop="auth-int , auth"', 2),
            ('nonce=n, qop=""', 2),
            ("nonce=n, qop=auth-int", None),
            ("nonce=n, algorithm=SHA-3", None),
            ("nonce=n, algorithm=SHA256", None),
            ("nonce=n, algorithm=-sess", None),
            ("nonce=n, algorithm=token", None),
            ("realm=r", None),
            ('nonce=n, realm="\x1b"', None),
            ('nonce="n\x7f"', None),
            ('nonce=n, opaque="\t"', None),
        ],
    )
    def test_c14_rank_of_challenges(self, text, place):
        assert rank(challenge(text)) == place

    def test_c14_a_challenge_with_a_hash_missing_in_openssl_has_no_rank(self, monkeypatch):
        def refuse(name, *_):
            raise ValueError(f"unsupported hash type {name}")

        monkeypatch.setattr(hashlib, "new", refuse)
        assert [rank(challenge(f"nonce=n, algorithm={name}")) for name in ALGORITHMS] == [None] * 3
        with pytest.raises(ValueError, match="cannot be answered"):
            DigestClient(challenge("nonce=n"), "u", "p", "c")

    @pytest.mark.parametrize(
        ("text", "stale"),
        [("nonce=n", False), ("nonce=n, stale=TRUE", True), ('nonce=n, stale="true"', True), ("nonce=n, stale=false", False)],
    )
    def test_c14_stale_is_recognised(self, text, stale):
        assert is_stale(challenge(text)) is stale


class TestAnswers:
    def test_c14_the_uri_is_the_request_target(self):
        assert answer("nonce=n")["uri"] == TARGET

    @pytest.mark.parametrize("name", ["algorithm=SHA-256", "qop=auth", "nc=00000001"])
    def test_c14_algorithm_qop_and_nc_are_not_quoted(self, name):
        client = DigestClient(challenge('nonce="n", algorithm="SHA-256", qop="auth"'), "u", "p", "c")
        assert f", {name}" in client.authorize("CONNECT", TARGET)

    def test_c14_quotes_and_backslashes_are_returned_unchanged(self):
        sent = answer('realm="a \\"b\\", \\\\ = c", nonce="\\"", opaque="\\\\"', user='"u\\')
        assert (sent["realm"], sent["nonce"], sent["opaque"], sent["username"]) == ('a "b", \\ = c', '"', "\\", '"u\\')
        assert answer('nonce=n, opaque=""')["opaque"] == ""
        assert "opaque" not in answer("nonce=n")

    def test_c14_octets_of_the_realm_are_hashed_and_sent_unchanged(self):
        sent = answer('realm="M\xc3\xbcnchen\xff", nonce=n')
        ha1, ha2 = (hashlib.md5(text).hexdigest() for text in (b"u:M\xc3\xbcnchen\xff:p", b"CONNECT:example.com:22"))
        assert sent["realm"] == "M\xc3\xbcnchen\xff"
        assert sent["response"] == hashlib.md5(f"{ha1}:n:{ha2}".encode()).hexdigest()

    def test_c14_the_nonce_count_increases(self):
        client = DigestClient(challenge("nonce=n, qop=auth"), "u", "p", "c")
        sent = [parameters(client.authorize("CONNECT", TARGET)) for _ in range(17)]
        assert [each["nc"] for each in sent][-2:] == ["00000010", "00000011"]
        assert len({each["response"] for each in sent}) == 17

    def test_c14_sess_uses_one_key_for_all_requests(self):
        """RFC 7616 section 3.4.2 derives it from the first cnonce, Squid from that of each request: the client uses one cnonce."""
        client = DigestClient(challenge("nonce=n, qop=auth, algorithm=MD5-sess, realm=r"), "u", "p", "c")
        key = hashlib.md5(hashlib.md5(b"u:r:p").hexdigest().encode() + b":n:c").hexdigest()
        ha2 = hashlib.md5(b"CONNECT:example.com:22").hexdigest()
        for nc in ("00000001", "00000002"):
            sent = parameters(client.authorize("CONNECT", TARGET))
            assert sent["response"] == hashlib.md5(f"{key}:n:{nc}:c:auth:{ha2}".encode()).hexdigest()

    def test_c14_sess_without_qop_sends_the_cnonce(self):
        sent = answer("nonce=n, algorithm=MD5-sess")
        assert sent["cnonce"] == "c"
        assert "nc" not in sent

    def test_c14_non_ascii_user_names_are_encoded(self):
        assert answer("nonce=n", user="Jäsøn")["username"] == wire("Jäsøn")
        sent = answer('nonce=n, charset="utf-8"', user='Jäsøn Doe"%')
        assert sent["username*"] == "UTF-8''J%C3%A4s%C3%B8n%20Doe%22%25"
        assert "username" not in sent
        assert answer("nonce=n, charset=UTF-8", user="plain")["username"] == "plain"

    def test_c14_userhash_hides_the_user_name(self):
        sent = answer("nonce=n, realm=r, algorithm=SHA-256, userhash=TRUE, charset=UTF-8", user="ä")
        assert sent["username"] == hashlib.sha256("ä:r".encode()).hexdigest()
        assert sent["userhash"] == "true"
        assert "userhash" not in answer("nonce=n, userhash=false")

    def test_octets_that_are_not_utf_8_are_sent_unchanged(self):
        assert answer("nonce=n", user=b"\xff".decode("utf-8", "surrogateescape"))["username"] == "\xff"

    @pytest.mark.parametrize(("user", "password"), [("a\n", "c"), ("a", "c\0"), ("a", "c\x7f"), ("a", "\ud800"), ("\ud800", "")])
    def test_v17_credentials_that_cannot_be_sent_are_refused(self, user, password):
        with pytest.raises(AuthenticationFailed) as caught:
            DigestClient(challenge("nonce=n"), user, password, "c")
        assert caught.value.exit_status == 77
        assert str(caught.value).isprintable()

    def test_v18_repr_shows_neither_password_nor_hash(self):
        client = DigestClient(challenge("nonce=n, realm=r"), "u", "canary", "c")
        shown = repr(client)
        assert "canary" not in shown
        assert hashlib.md5(b"u:r:canary").hexdigest() not in shown
        assert not hasattr(client, "__dict__")


class TestConfirm:
    def client(self, more=""):
        """A client, and the value that it has sent."""
        client = DigestClient(challenge(f"nonce=n, qop=auth, realm=r{more}"), "u", "p", "c")
        return client, client.authorize("CONNECT", TARGET)

    def rspauth(self, nc="00000001", target=TARGET):
        ha1, ha2 = (hashlib.md5(text.encode()).hexdigest() for text in ("u:r:p", f":{target}"))
        return hashlib.md5(f"{ha1}:n:{nc}:c:auth:{ha2}".encode()).hexdigest()

    def test_c14_the_next_nonce_starts_a_new_count(self):
        client, sent = self.client()
        assert client.confirm(sent, 'nextnonce="m"')
        assert {"nonce": "m", "nc": "00000001"}.items() <= parameters(client.authorize("CONNECT", TARGET)).items()
        assert {"nonce": "m", "nc": "00000002"}.items() <= parameters(client.authorize("CONNECT", TARGET)).items()

    def test_c14_a_correct_rspauth_is_accepted(self):
        client, sent = self.client()
        assert client.confirm(sent, f'rspauth="{self.rspauth()}", cnonce="c", nc=00000001, qop=auth, nextnonce=m')
        client, sent = self.client(", algorithm=MD5-sess")
        assert client.confirm(sent, "qop=auth")

    def test_c14_answers_may_arrive_in_another_order(self):
        """With tunnels opened concurrently, each answer is checked against its own request, and the first new nonce is kept."""
        client, first = self.client()
        second = client.authorize("CONNECT", "other:1")
        assert client.confirm(second, f"rspauth={self.rspauth('00000002', 'other:1')}, nextnonce=m")
        assert client.confirm(first, f"rspauth={self.rspauth()}, nextnonce=k")
        assert parameters(client.authorize("CONNECT", TARGET))["nonce"] == "m"

    @pytest.mark.parametrize("info", ['rspauth="0"', "rspauth=0, nextnonce=m", 'nc=1, rspauth="\xff"'])
    def test_c14_a_wrong_rspauth_is_rejected(self, info):
        client, sent = self.client()
        assert not client.confirm(sent, info)

    @pytest.mark.parametrize("info", ["", "x", ",,", "nextnonce=", 'nextnonce="', 'nextnonce="\x1b"', "Basic x=y", 'auth="'])
    def test_c14_an_empty_or_malformed_info_changes_nothing(self, info):
        client, sent = self.client()
        assert client.confirm(sent, info)
        assert {"nonce": "n", "nc": "00000002"}.items() <= parameters(client.authorize("CONNECT", TARGET)).items()


@bounded
@given(TEXT, TEXT, st.sampled_from(["", ", charset=UTF-8", ", userhash=true", ", qop=auth", ", algorithm=SHA-256-sess"]), TEXT)
def test_property_every_response_is_a_valid_field(user, password, more, realm):
    quoted = re.sub(r'(["\\])', r"\\\1", wire(realm))
    offered = challenge(f'nonce=n, realm="{quoted}"{more}')
    if rank(offered) is None:
        return
    value = DigestClient(offered, user, password, "c").authorize("CONNECT", TARGET)
    check("Proxy-Authorization", value)
    sent = parameters(value)
    assert sent["realm"] == wire(realm)
    assert sent.keys() >= {"nonce", "uri", "response"}


@bounded
@given(st.lists(st.tuples(st.sampled_from(["realm", "nonce", "qop", "algorithm", "opaque", "stale", "charset"]), TEXT), max_size=6))
def test_fuzz_every_ranked_challenge_can_be_answered(params):
    offered = Challenge("digest", tuple((name, wire(text)) for name, text in params))
    if rank(offered) is not None:
        check("Proxy-Authorization", DigestClient(offered, "u", "p", "c").authorize("CONNECT", TARGET))
