"""Choice of the authentication scheme. C12: the strongest that is understood."""

import pytest

from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.auth.preference import STRONGEST_FIRST, strongest


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
    def test_c12_the_strongest_of_six_schemes_is_chosen(self, schemes, scheme, nonce):
        """Offered in one field or in several, in any order and case."""
        offered = self.SIX.split(", ")
        fields = [", ".join(offered[begin:end]) for begin, end in ((0, 1), (1, 5), (5, 6), (6, 10), (10, 11), (11, 12))]
        for values in ([self.SIX], [self.SIX.upper()], fields, fields[::-1], [", ".join(fields[::-1])]):
            chosen = strongest(parse_challenges(values), schemes)
            assert chosen is not None
            assert (chosen.scheme, chosen.get("nonce").lower()) == (scheme, nonce)

    def test_c12_challenges_that_cannot_be_answered_are_skipped(self):
        offered = parse_challenges(
            ["Digest nonce=n, algorithm=SHA-3", "Digest nonce=n, qop=auth-int", "Digest realm=x", "Foo x=y", "Basic realm=p"]
        )
        assert strongest(offered) == offered[4]
        assert strongest(offered[:4]) is None
        assert strongest(offered, {"foo", "digest"}) is None

    def test_c12_the_first_of_equal_challenges_is_chosen(self):
        offered = parse_challenges(["Digest nonce=a, algorithm=MD5-sess, Digest nonce=b", "basic realm=one", "Basic realm=two"])
        assert strongest(offered) == offered[0]
        assert strongest(offered, {"basic"}) == offered[2]

    def test_c12_without_a_usable_challenge_the_choice_is_none(self):
        assert strongest(()) is None
        assert strongest(parse_challenges(["Negotiate", "NTLM"]), {"basic"}) is None
