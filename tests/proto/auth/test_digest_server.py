"""Digest, server side: parsing a response, finding its user, accepting it once. V19, V20 as far as octets show them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.auth import digest_server
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.auth.digest import DigestClient, hash_of, wire
from tunnelctl.proto.auth.digest_server import (
    NONCE_SECONDS,
    SALT,
    DigestServer,
    Login,
    Nonces,
    Verdict,
    is_for,
    make_login,
    parse_answer,
)

REALM, SECRET = "our proxy", b"k" * 32
NAMES = {"alice": "x", "Jäsøn Doe": "Secret, or not?", 'o"dd\\': "ключ"}
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
BOTH = pytest.mark.parametrize("which", [0, 1], ids=["SHA-256", "MD5"])


def nonces(used=None):
    """Nonces that record every accepted response in `used`, as a number."""
    used = set() if used is None else used

    def first_use(number, made, now):
        assert 0 <= number < 1 << 64
        assert made <= now
        return not (number in used or used.add(number))

    return Nonces(SECRET, first_use)


def server(used=None, **users):
    logins = {user: make_login(user, REALM, password) for user, password in (users or NAMES).items()}
    return DigestServer(REALM, logins, nonces(used))


def offered(machine, now=1000.0, salt=b"s" * SALT, stale=False):
    return parse_challenges(machine.challenges(now, salt, stale))


def client(machine, user="alice", password="x", which=0, now=1000.0, salt=b"s" * SALT):
    return DigestClient(offered(machine, now, salt)[which], user, password, "c")


def ask(machine, value, now=1000.0):
    answer = parse_answer(value)
    assert answer is not None
    return machine.check(answer, now)


class TestChallenges:
    def test_s17_sha_256_is_offered_first(self):
        first, second = offered(server())
        assert (first.get("algorithm"), second.get("algorithm")) == ("SHA-256", "MD5")
        for each in (first, second):
            assert (each.scheme, each.get("realm"), each.get("qop")) == ("digest", REALM, "auth")
            assert (each.get("charset"), each.get("userhash"), each.get("stale")) == ("UTF-8", "true", "")
        assert first.get("nonce") == second.get("nonce")

    def test_stale_is_sent_only_when_requested(self):
        assert [each.get("stale") for each in offered(server(), stale=True)] == ["true", "true"]

    def test_every_challenge_has_a_new_nonce(self):
        machine = server()
        nonces = {offered(machine, now, salt)[0].get("nonce") for now in (1.0, 1.5) for salt in (b"a" * SALT, b"b" * SALT)}
        assert len(nonces) == 4

    def test_a_hash_missing_in_openssl_is_not_offered(self, monkeypatch):
        machine = server()
        value = client(machine, which=1).authorize("CONNECT", "h:1")
        monkeypatch.setattr(digest_server, "hash_of", lambda name: hash_of(name) if name != "MD5" else None)
        without = DigestServer(REALM, {"alice": Login("0" * 64, "0" * 32)}, nonces())
        assert [each.get("algorithm") for each in offered(without)] == ["SHA-256"]
        assert ask(without, value) == Verdict()
        with pytest.raises(ValueError, match="lacks a hash"):
            make_login("alice", REALM, "x")


class TestWhoseItIs:
    @BOTH
    @pytest.mark.parametrize(("user", "password"), NAMES.items())
    def test_right_credentials_give_the_user(self, which, user, password):
        machine = server(**NAMES)
        assert ask(machine, client(machine, user, password, which).authorize("CONNECT", "h:1")) == Verdict(user)

    @BOTH
    @pytest.mark.parametrize(("user", "password"), [("alice", "y"), ("alice", ""), ("Alice", "x"), ("mallory", "x"), ("", "")])
    def test_v19_wrong_credentials_give_no_user(self, which, user, password):
        machine = server()
        assert ask(machine, client(machine, user, password, which).authorize("CONNECT", "h:1")) == Verdict()

    @BOTH
    @pytest.mark.parametrize("user", NAMES)
    def test_a_plain_user_name_is_accepted(self, which, user):
        """In clear or, if the challenge has only charset, encoded."""
        machine = server(**NAMES)
        for hidden in (("userhash",), ("userhash", "charset")):
            challenge = offered(machine, salt=bytes([len(hidden)]) * SALT)[which]
            plain = challenge._replace(params=tuple(param for param in challenge.params if param[0] not in hidden))
            value = DigestClient(plain, user, NAMES[user], "c").authorize("CONNECT", "h:1")
            assert "userhash" not in value
            assert ask(machine, value) == Verdict(user)

    def test_v19_a_user_name_that_is_not_utf_8_gives_no_user(self):
        machine = server()
        value = client(machine).authorize("CONNECT", "h:1").replace("userhash=true", "userhash=false")
        assert ask(machine, value) == Verdict()
        assert parse_answer(value.replace('username="', 'username="\xff')).user.startswith("\xff")
        assert ask(machine, value.replace('username="', 'username="\xff')) == Verdict()

    def test_v19_a_response_for_another_realm_is_rejected(self):
        other = DigestServer("another", {"alice": make_login("alice", "another", "x")}, nonces())
        assert ask(server(), client(other).authorize("CONNECT", "h:1")) == Verdict()

    def test_v19_a_response_does_not_count_for_another_algorithm(self):
        machine = server()
        value = client(machine, which=0).authorize("CONNECT", "h:1")
        assert ask(machine, value.replace("algorithm=SHA-256", "algorithm=MD5")) == Verdict()

    def test_v19_the_dummy_hash_of_unknown_users_is_never_accepted(self):
        machine = server()
        nobody = DigestServer(REALM, {"mallory": Login("0" * 64, "0" * 64)}, nonces())
        challenge = offered(machine)[0]
        forged = DigestClient(challenge, "mallory", "x", "c")
        forged._login = nobody._logins["mallory"].sha_256
        assert ask(nobody, forged.authorize("CONNECT", "h:1")) == Verdict("mallory")  # the forgery is correct except for the user
        assert ask(machine, forged.authorize("CONNECT", "h:1")) == Verdict()

    def test_v20_an_unknown_user_costs_as_many_hashes_as_a_known_one(self, monkeypatch):
        machine = server()
        counted = []
        for name, digest in list(machine._hashes.items()):
            monkeypatch.setitem(machine._hashes, name, lambda text, digest=digest: counted.append(text) or digest(text))
        costs = []
        for user in ("alice", "mallory", ""):
            counted.clear()
            assert ask(machine, client(machine, user, "wrong").authorize("CONNECT", "h:1")) == Verdict()
            assert not machine.verify_password(user, "wrong")
            costs.append([len(text.split(":")) for text in counted])
        assert costs[0] == costs[1] == costs[2]

    def test_verify_password_checks_a_plain_password(self):
        machine = server(**NAMES)
        assert all(machine.verify_password(user, password) for user, password in NAMES.items())
        assert not any(machine.verify_password(user, password) for user, password in [("alice", "y"), ("bob", "x"), ("", "")])


class TestGoodOnce:
    def test_v19_a_repeated_response_is_stale(self):
        machine = server()
        value = client(machine).authorize("CONNECT", "h:1")
        again = Verdict("alice", stale=True)
        assert [ask(machine, value) for _ in range(3)] == [Verdict("alice"), again, again]

    def test_one_challenge_serves_many_tunnels_in_any_order(self):
        machine = server()
        logged_in = client(machine)
        values = [logged_in.authorize("CONNECT", "h:1") for _ in range(100)]
        order = [*range(10, 100), *range(10)]
        assert [ask(machine, values[index]).stale for index in order] == [False] * 100
        assert all(ask(machine, value).stale for value in values)

    def test_v31_nonce_counts_may_be_far_apart(self):
        """Any count may follow any other; 0 is invalid."""
        machine = server()
        logged_in = client(machine)
        fresh = []
        for count in (1, 0xFFFFFFFF, 2, 0xFFFFFFFE, 0xFFFFFFFE, 0xFFFFFFFF, 0):
            logged_in._count = count - 1
            fresh.append(not ask(machine, logged_in.authorize("CONNECT", "h:1")).stale)
        assert fresh == [True, True, True, True, False, False, False]

    def test_the_same_count_on_another_challenge_is_accepted(self):
        machine = server()
        one, other = client(machine, salt=b"1" * SALT), client(machine, salt=b"2" * SALT)
        assert [ask(machine, each.authorize("CONNECT", "h:1")).stale for each in (one, other)] == [False, False]

    def test_a_nonce_expires(self):
        machine = server()
        logged_in = client(machine)
        assert ask(machine, logged_in.authorize("CONNECT", "h:1"), 1000.0 + NONCE_SECONDS) == Verdict("alice")
        assert ask(machine, logged_in.authorize("CONNECT", "h:1"), 1000.001 + NONCE_SECONDS) == Verdict("alice", stale=True)
        assert ask(machine, logged_in.authorize("CONNECT", "h:1"), 999.0) == Verdict("alice", stale=True)

    @pytest.mark.parametrize("nonce", ["x", "", "\xff", "QUJD", "A" * 48, '"'])
    def test_v19_a_foreign_nonce_with_the_right_password_is_stale(self, nonce):
        """As after a restart: the client answers the new challenge without prompting its user."""
        machine = server()
        logged_in = client(machine)
        logged_in._nonce = nonce
        assert ask(machine, logged_in.authorize("CONNECT", "h:1")) == Verdict("alice", stale=True)
        stranger = client(machine, password="y")
        stranger._nonce = nonce
        assert ask(machine, stranger.authorize("CONNECT", "h:1")) == Verdict()

    def test_v19_a_nonce_with_any_octet_changed_is_stale(self):
        machine = server()
        nonce = client(machine)._nonce
        for at in range(len(nonce)):
            logged_in = client(machine)
            logged_in._nonce = nonce[:at] + ("A" if nonce[at] != "A" else "B") + nonce[at + 1 :]
            assert ask(machine, logged_in.authorize("CONNECT", "h:1")).stale

    def test_every_process_accepts_the_nonces_of_the_others(self):
        assert ask(server(), client(server()).authorize("CONNECT", "h:1")) == Verdict("alice")

    def test_m7_processes_that_share_used_nonces_accept_a_response_once(self):
        used = set()
        one, other = server(used), server(used)
        value = client(one).authorize("CONNECT", "h:1")
        assert [ask(machine, value).stale for machine in (other, one, other)] == [False, True, True]

    def test_v31_wrong_logins_use_no_memory(self):
        used = set()
        machine = server(used)
        for number in range(10):
            ask(machine, client(machine, "alice", "wrong", salt=bytes([number]) * SALT).authorize("CONNECT", "h:1"))
        assert used == set()


PARTS = {
    "username": '"u"', "realm": '"r"', "nonce": '"n"', "uri": '"h:1"', "response": '"e"',
    "algorithm": "MD5", "cnonce": '"c"', "qop": "auth", "nc": "00000001",
}  # fmt: skip


def written(**changed):
    parts = {**PARTS, **changed}
    return "Digest " + ", ".join(f"{name.replace('_', '*')}={value}" for name, value in parts.items() if value)


class TestForm:
    def test_a_response_is_parsed(self):
        answer = parse_answer(written(realm='"a \\"b\\", \\\\"', opaque='""', unknown="x"))
        assert answer is not None
        assert (answer.algorithm, answer.user, answer.user_is_hash, answer.realm) == ("MD5", "u", False, 'a "b", \\')
        assert (answer.terms.uri, answer.terms.nc, answer.response) == ("h:1", "00000001", "e")

    @pytest.mark.parametrize(
        "value",
        [
            written().replace("Digest", "dIGEST"),
            written().replace(", ", ",").replace("=", " = "),
            written(qop='"auth"', nc='"00000001"', algorithm='"md5"'),
            written(algorithm=""),
            written(userhash="false"),
            written(username="", username_="UTF-8''u"),
            written(username="", username_="utf-8'en'%75"),
        ],
    )
    def test_v19_variants_that_clients_send_are_accepted(self, value):
        answer = parse_answer(value)
        assert answer == parse_answer(written())
        assert answer.user == "u"

    @pytest.mark.parametrize(
        "value",
        [
            *("", "Digest", "Digest ", "Digest x", "Basic eDp5", "Digestx y=z", written().replace("Digest ", "Digest\t")),
            *(written(**{name: ""}) for name in PARTS if name != "algorithm"),
            *(written(nc=nc) for nc in ("1", "0000000g", "000000001", '""')),
            *(written(qop=qop) for qop in ("auth-int", '"auth,auth-int"', "AUTH")),
            *(written(algorithm=name) for name in ("SHA-512-256", "MD5-sess", "SHA-256-sess", "x")),
            written(username_="UTF-8''u"),
            *(written(username="", username_=name) for name in ("u", "ISO-8859-1''u", "UTF-8''%7", "UTF-8''%zz")),
            written() + ", realm=x",
            written() + ", Realm=x",
            written() + ", x",
            written() + ', x="',
            written() + " x=y",
            written() + ",,",
            written().replace(", ", "; "),
            written(realm='"r"x'),
            written(realm='"r\\'),
            "Digest, " + written(),
            written() + ", " + written(),
        ],
    )
    def test_v19_a_malformed_response_is_rejected(self, value):
        assert parse_answer(value) is None

    @pytest.mark.parametrize(
        ("uri", "target", "same"),
        [
            ("example.com:443", "example.com:443", True),
            ("EXAMPLE.com:443", "example.com:443", True),
            ("[2001:DB8:0::1]:22", "[2001:db8::1]:22", True),
            ("example.com:22", "example.com:443", False),
            ("example.com", "example.com:443", False),
            ("/", "example.com:443", False),
            ("\xff", "example.com:443", False),
        ],
    )
    def test_s17_a_response_is_valid_for_its_uri_only(self, uri, target, same):
        assert is_for(parse_answer(written(uri=f'"{uri}"')), parse_authority(target)) is same

    def test_v18_repr_shows_nothing_that_can_be_replayed(self):
        answer = parse_answer(written(response='"canary"', cnonce='"canary"', nonce='"canary"', username='"canary"'))
        assert "canary" not in f"{answer!r} {answer}"
        assert "canary" not in repr({"alice": Login("canary", "canary")})


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("tunnelctl", True), ("our proxy", True), ("x" * 100, True), ("a'b=c,d", True),
        ("", False), ("x" * 101, False), (" x", False), ("x ", False), ("a:b", False), ('"', False), ("\\", False),
        ("é", False), ("a\n", False), ("\x7f", False),
    ],
)  # fmt: skip
def test_which_realms_are_valid(text, fits):
    assert digest_server.is_realm(text) is fits


@bounded
@given(TEXT, TEXT, st.booleans(), st.sampled_from([0, 1]), st.sampled_from(["h:1", "[2001:db8::1]:443", "a.example:65535"]))
def test_property_client_and_server_agree(user, password, right, which, target):
    machine = DigestServer(REALM, {user: make_login(user, REALM, password)}, nonces())
    value = client(machine, user, password if right else password + "x", which).authorize("CONNECT", target)
    answer = parse_answer(value)
    assert is_for(answer, parse_authority(target))
    assert not is_for(answer, Address("other.example", 1))
    assert machine.check(answer, 1000.0) == (Verdict(user) if right and user else Verdict("", False))


@bounded
@given(st.text(st.characters(max_codepoint=0xFF), max_size=60), st.integers(0, 250), st.booleans())
def test_fuzz_no_response_is_accepted(text, at, inside):
    valid = written()
    value = valid[:at] + text + valid[at + len(text) * inside :]
    answer = parse_answer(value)
    if answer is not None:
        assert server().check(answer, 1000.0) == Verdict()
        is_for(answer, Address("h", 1))
    assert wire("ü") == "\xc3\xbc"
