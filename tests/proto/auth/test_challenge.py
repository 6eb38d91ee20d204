"""Proxy-Authenticate. C12: all challenges, across fields and comma lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.auth.challenge import Challenge, parse_challenges


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
        (["realm=x", "Basic", "realm=y"], (Challenge("basic"),)),  # parameters do not continue in the next field
        (["Basic a b"], (Challenge("basic"),)),
        (["(x) y", "=x", "Basic@x", "Basic realm=(x)", 'Basic realm="open'], (Challenge("basic"), Challenge("basic"))),
        (['Basic realm="open\\'], (Challenge("basic"),)),
        (["Basic realm="], (Challenge("basic", (), "realm="),)),
        (["Basic\trealm=x"], (Challenge("basic", (("realm", "x"),)),)),
        (["Basic x=y, = z, (,) "], (Challenge("basic", (("x", "y"),)),)),
    ],
)
def test_c12_challenges_are_parsed(values, challenges):
    assert parse_challenges(values) == challenges


TOKEN = st.text("abcXYZ019-", min_size=1, max_size=6)
CHALLENGES = st.lists(
    st.tuples(TOKEN, st.lists(st.tuples(TOKEN, st.text(' ,="\\abc', max_size=8)), min_size=1, max_size=3)), max_size=4
)


@bounded
@given(CHALLENGES, st.sampled_from([", ", ",", " ,, "]))
def test_property_well_formed_challenges_are_parsed(challenges, comma):
    def quote(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    written = [f"{scheme} " + comma.join(f"{key}={quote(text)}" for key, text in params) for scheme, params in challenges]
    expected = tuple(Challenge(scheme.lower(), tuple((key.lower(), text) for key, text in params)) for scheme, params in challenges)
    assert parse_challenges(written) == expected
    assert parse_challenges([comma.join(written)]) == expected


@bounded
@given(st.lists(st.text('Basic ,="\\\t/@', max_size=30), max_size=3))
def test_fuzz_parsing_raises_nothing(values):
    for challenge in parse_challenges(values):
        assert challenge.scheme == challenge.scheme.lower() != ""
