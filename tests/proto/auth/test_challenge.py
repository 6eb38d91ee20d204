"""Proxy-Authenticate. C12: all challenges, across fields and comma lists, and the strongest that is understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.auth.challenge import STRONGEST_FIRST, Challenge, parse_challenges, strongest


@pytest.mark.parametrize(
    ("values", "challenges"),
    [
        ([], ()),
        ([""], ()),
        (["Basic"], (Challenge("basic"),)),
        (['Basic realm="a, \\"b\\" = c"'], (Challenge("basic", (("realm", 'a, "b" = c'),)),)),
        (['BASIC Realm = "x" , charset = UTF-8'], (Challenge("basic", (("realm", "x"), ("charset", "UTF-8"))),)),
        (["Negotiate", "NTLM"], (Challenge("negotiate"), Challenge("ntlm"))),
        (["Negotiate YII/+=="], (Challenge("negotiate", (), "YII/+=="),)),
        (
            ['Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'],  # RFC 9110 section 11.6.1
            (
                Challenge("newauth", (("realm", "apps"), ("type", "1"), ("title", 'Login to "apps"'))),
                Challenge("basic", (("realm", "simple"),)),
            ),
        ),
        (
            ['Digest realm="x", qop="auth, auth-int", nonce=a', "Basic realm=y,,Negotiate,"],
            (
                Challenge("digest", (("realm", "x"), ("qop", "auth, auth-int"), ("nonce", "a"))),
                Challenge("basic", (("realm", "y"),)),
                Challenge("negotiate"),
            ),
        ),
        (["realm=x", "Basic", "realm=y"], (Challenge("basic"),)),  # parameters do not reach across fields
        (["Basic a b"], (Challenge("basic"),)),
        (["(x) y", "=x", "Basic@x", "Basic realm=(x)", 'Basic realm="open'], (Challenge("basic"), Challenge("basic"))),
        (['Basic realm="open\\'], (Challenge("basic"),)),
        (["Basic realm="], (Challenge("basic", (), "realm="),)),
        (["Basic\trealm=x"], (Challenge("basic", (("realm", "x"),)),)),
        (["Basic x=y, = z, (,) "], (Challenge("basic", (("x", "y"),)),)),
    ],
)
def test_c12_challenges(values, challenges):
    assert parse_challenges(values) == challenges


class TestStrongest:
    SIX = (
        'Basic realm="p", Digest realm="p", nonce=n, algorithm=MD5, qop="auth", NTLM, '
        'Digest realm="p", nonce=m, algorithm=SHA-256, qop="auth,auth-int", Bearer realm="p", Negotiate'
    )

    @pytest.mark.parametrize(
        ("schemes", "scheme", "nonce"),
        [
            (STRONGEST_FIRST, "negotiate", ""),
            (("basic", "bearer", "ntlm", "digest"), "digest", "m"),
            ({"ntlm", "basic", "bearer"}, "ntlm", ""),
            ({"basic", "bearer"}, "bearer", ""),
            ({"basic"}, "basic", ""),
            ({"digest"}, "digest", "m"),
        ],
    )
    def test_c12_a_proxy_that_offers_six_schemes(self, schemes, scheme, nonce):
        """In one line, a field for each, in any order and case."""
        offered = self.SIX.split(", ")
        fields = [", ".join(offered[begin:end]) for begin, end in ((0, 1), (1, 5), (5, 6), (6, 10), (10, 11), (11, 12))]
        for values in ([self.SIX], [self.SIX.upper()], fields, fields[::-1], [", ".join(fields[::-1])]):
            chosen = strongest(parse_challenges(values), schemes)
            assert chosen is not None
            assert (chosen.scheme, chosen.get("nonce").lower()) == (scheme, nonce)

    def test_c12_what_cannot_be_answered_is_passed_over(self):
        offered = parse_challenges(
            ["Digest nonce=n, algorithm=SHA-3", "Digest nonce=n, qop=auth-int", "Digest realm=x", "Foo x=y", "Basic realm=p"]
        )
        assert strongest(offered) == offered[4]
        assert strongest(offered[:4]) is None
        assert strongest(offered, {"foo", "digest"}) is None

    def test_c12_the_first_of_equals(self):
        offered = parse_challenges(["Digest nonce=a, algorithm=MD5-sess, Digest nonce=b", "basic realm=one", "Basic realm=two"])
        assert strongest(offered) == offered[0]
        assert strongest(offered, {"basic"}) == offered[2]

    def test_c12_none(self):
        assert strongest(()) is None
        assert strongest(parse_challenges(["Negotiate", "NTLM"]), {"basic"}) is None


TOKEN = st.text("abcXYZ019-", min_size=1, max_size=6)
CHALLENGES = st.lists(
    st.tuples(TOKEN, st.lists(st.tuples(TOKEN, st.text(' ,="\\abc', max_size=8)), min_size=1, max_size=3)), max_size=4
)


@bounded
@given(CHALLENGES, st.sampled_from([", ", ",", " ,, "]))
def test_property_what_is_written_by_the_book_is_read(challenges, comma):
    def quote(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    written = [f"{scheme} " + comma.join(f"{key}={quote(text)}" for key, text in params) for scheme, params in challenges]
    expected = tuple(Challenge(scheme.lower(), tuple((key.lower(), text) for key, text in params)) for scheme, params in challenges)
    assert parse_challenges(written) == expected
    assert parse_challenges([comma.join(written)]) == expected


@bounded
@given(st.lists(st.text('Basic ,="\\\t/@', max_size=30), max_size=3))
def test_fuzz_nothing_raised(values):
    for challenge in parse_challenges(values):
        assert challenge.scheme == challenge.scheme.lower() != ""
