"""Logging in to proxies with unusual behaviour: what connect does, and how often it tries."""

import pytest

from tests.peers.authenticating import (
    HUGE,
    Digest,
    authorization,
    changes_its_nonce,
    closes_after_407,
    huge_body,
    keeps_the_connection,
    knows_basic,
    never_done_with_ntlm,
    ntlm_over_http_1_0,
    six_in_one_line,
)
from tests.peers.program import connect
from tests.peers.proxies import PASSWORD, USER
from tests.peers.scripted import ESTABLISHED, Conversation, Script, ScriptedServer, echo

MOST = 8  # upper bound for the connections that connect may open before it accepts the refusal
BASIC = {"closes": closes_after_407, "keeps": keeps_the_connection, "huge": huge_body, "endless": lambda: huge_body(promised=False)}


def logged_in(script: Script, password: str = PASSWORD, *words: str) -> tuple[int, bytes, str, list[bytes]]:
    """Runs connect through a proxy with this script. Returns the status, stdout, stderr, and the heads that the proxy received."""
    with ScriptedServer(script) as proxy:
        env = {"TUNNELCTL_PROXY_PASSWORD": password}
        done = connect(proxy.url, "target.test:22", "--proxy-user", USER, *words, stdin=b"hello", env=env)
        heads = proxy.heads
    return done.returncode, done.stdout, done.stderr.decode(), heads


@pytest.mark.parametrize("make", BASIC.values(), ids=BASIC)
def test_basic_is_sent_after_a_407(make) -> None:
    """No credentials before the proxy requires them; then once, on a new connection."""
    status, out, err, heads = logged_in(make())
    assert (status, out, err) == (0, b"hello", "")
    assert [bool(authorization(head)) for head in heads] == [False, True]


@pytest.mark.parametrize("make", BASIC.values(), ids=BASIC)
def test_a_wrong_password_is_tried_once(make) -> None:
    status, out, err, heads = logged_in(make(), "wrong")
    assert (status, out) == (77, b"")
    assert err.startswith("tunnelctl: ")
    assert len(err) < 2000, f"the excerpt of a page of {HUGE} bytes is too long"
    assert [bool(authorization(head)) for head in heads] == [False, True]


def test_basic_is_sent_at_once_if_the_user_selects_it() -> None:
    status, out, err, heads = logged_in(closes_after_407(), PASSWORD, "--auth", "basic")
    assert (status, out, err, len(heads)) == (0, b"hello", "", 1)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("stale", [0, 1, 2])
def test_a_digest_nonce_that_changes(algorithm: str, stale: int) -> None:
    digest = Digest(algorithm)
    status, out, err, heads = logged_in(changes_its_nonce(digest, stale))
    assert (status, out, err) == (0, b"hello", "")
    assert len(heads) == 2 + stale
    assert digest.seen == digest.nonces, "each login must use the newest nonce, and each nonce only once"


def test_a_digest_nonce_that_changes_and_a_wrong_password() -> None:
    status, out, err, heads = logged_in(changes_its_nonce(Digest()), "wrong")
    assert (status, out) == (77, b"")
    assert err.startswith("tunnelctl: ")
    assert len(heads) == 3


def test_a_digest_nonce_that_is_always_stale() -> None:
    status, out, err, heads = logged_in(changes_its_nonce(Digest(), stale=1000))
    assert (status, out) == (77, b"")
    assert err.startswith("tunnelctl: ")
    assert len(heads) <= MOST


def test_six_schemes_in_one_line() -> None:
    """The proxy accepts Digest only. No weaker scheme receives the password."""
    status, out, err, heads = logged_in(six_in_one_line(Digest()))
    assert (status, out, err) == (0, b"hello", "")
    assert authorization(heads[-1]).startswith("Digest ")
    assert not any(authorization(head).startswith(("Basic", "Bearer")) for head in heads)
    assert len(heads) <= MOST


def test_six_schemes_in_one_line_and_a_wrong_password() -> None:
    """If the password is wrong for one scheme, no weaker scheme follows, which would reveal the password."""
    status, out, err, heads = logged_in(six_in_one_line(Digest()), "wrong")
    assert (status, out) == (77, b"")
    assert err.startswith("tunnelctl: ")
    assert not any(authorization(head).startswith(("Basic", "Bearer")) for head in heads)
    assert len(heads) <= MOST


@pytest.mark.peer("pyspnego-parse")
@pytest.mark.parametrize("close", [True, False], ids=["closes", "goes on"])
def test_an_ntlm_login_that_never_ends(close: bool) -> None:
    """The legs of NTLM belong on one connection: a proxy that closes it in between has ended the login. So has one that never
    finishes it."""
    status, out, err, heads = logged_in(never_done_with_ntlm(close))
    assert (status, out) == (77, b"")
    assert err.startswith("tunnelctl: ")
    assert len(heads) <= MOST


@pytest.mark.peer("pyspnego-parse")
def test_an_http_1_0_proxy_keeps_the_connection_for_ntlm_on_request() -> None:
    """It looks only at Proxy-Connection, as curl found out (curl#954)."""
    status, out, err, heads = logged_in(ntlm_over_http_1_0())
    assert (status, out, err) == (0, b"hello", "")
    assert authorization(heads[-1]).startswith("NTLM ")


@pytest.mark.peer("pyspnego-parse")
@pytest.mark.parametrize("silently", [True, False], ids=["without a word", "and says so"])
def test_a_proxy_that_closes_the_connection_during_ntlm(silently: bool) -> None:
    status, out, err, heads = logged_in(ntlm_over_http_1_0(keeps=False, silently=silently))
    assert (status, out) == (77, b"")
    said, hint = err.splitlines()
    assert said.endswith(": it closed the connection in the middle of the login, which must stay on one connection")
    assert hint.startswith("hint: NTLM and Negotiate require a connection that stays open: ")
    assert len(heads) == 2, "there must be no second try, which could lock the account"


def test_401_is_treated_as_407() -> None:
    """The status is for origin servers, but some proxies send it."""

    def script(peer: Conversation) -> None:
        if knows_basic(peer.read_head()):
            peer.send(ESTABLISHED)
            echo(peer)
        else:
            peer.send(b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')

    status, out, err, heads = logged_in(script)
    assert (status, out, err) == (0, b"hello", "")
    assert [bool(authorization(head)) for head in heads] == [False, True]
    assert not [head for head in heads if b"\r\nAuthorization:" in head], "the target must not receive the credentials"
