"""The distinct proxies among the settings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.client.discovery.candidates import Candidate, candidates, chains_of
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROXY, Found, Setting
from tunnelctl.errors import AddressError
from tunnelctl.proto.proxy_url import parse_proxy_url


def found(*value: str, tool: str = "git", kind: str = PROXY) -> Found:
    return Found(tool, "", Setting(kind, "key", value))


def test_settings_that_name_the_same_proxy_are_one_candidate():
    one, two, other = found("http://P:1/"), found("p:1"), found("http://q:1")
    assert candidates([one, other, two, found("x", kind=EXEMPT)]) == (
        [Candidate((parse_proxy_url("p:1"),), (one, two)), Candidate((parse_proxy_url("q:1"),), (other,))],
        [],
    )


def test_another_password_is_another_candidate():
    assert len(candidates([found("http://a:b@p:1"), found("http://a:c@p:1"), found("http://p:1")])[0]) == 3


def test_alternatives_and_chains():
    chains = chains_of(found("p:1,q:2", "r:3"))
    assert [",".join(map(str, chain)) for chain in chains] == ["http://p:1,http://r:3", "http://q:2,http://r:3"]
    assert str(Candidate(chains[0])) == "http://p:1, then http://r:3"
    assert str(Candidate(())) == "no proxy"


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("'http://alice:secret@p:1'", "it is enclosed in quotation marks"),
        ("http://x/secret.pac", "it names a PAC file, not a proxy"),
        ("http://alice:secret", "it is not the URL of a proxy"),
        ("http://alice secret:1", "it is not the URL of a proxy"),
        ("alice:secret:p:1", "it is not the URL of a proxy"),
        ("ftp://p", "ftp:// is not supported"),
        ("$PROXY_secret", "it contains a variable that was not expanded"),
    ],
)
def test_a_value_that_is_no_url_is_never_shown(value, cause):
    ((wrong,),) = candidates([found(value)])[1:]
    assert wrong.cause == cause
    assert "secret" not in repr(wrong.found)


WORDS = st.text(min_size=1).filter(lambda text: not text.isspace())


@given(user=WORDS, password=st.one_of(st.none(), WORDS))
def test_the_url_for_the_trial_has_the_same_login(user, password):
    proxy = parse_proxy_url("https://[fe80::1%25eth0]:1")._replace(user=user, password=password)
    try:
        (url,) = Candidate((proxy,)).urls
        assert parse_proxy_url(url) == proxy
    except UnicodeEncodeError:  # a surrogate that no text of a file has
        assert any("\ud800" <= c <= "\udfff" for c in user + (password or ""))


@given(st.text())
def test_any_value_is_parsed_or_refused(text):
    to_try, wrong = candidates([found(text)])
    assert bool(to_try) != bool(wrong)
    assert all(isinstance(one.error, AddressError) for one in wrong)
