"""The users file: its lines, the cost of a check, and that checks never block the event loop."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.harness import SECONDS
from tunnelctl.engine.kernel import BusyResourceError, Nursery, run, sleep
from tunnelctl.engine.limiter import Owner
from tunnelctl.errors import SettingsError
from tunnelctl.server.access import users as under_test
from tunnelctl.server.access.users import CredentialCache, Users, digest_line, hash_password, load_users, refuse_unchecked
from tunnelctl.server.process.shared_counters import WAYS

CLIENT = Owner("192.0.2.1/32", "192.0.2.1/32")
DIGEST = digest_line("alice", "our proxy", "x")
LINE = "alice:scrypt:4:8:1:c2FsdHNhbHQ=:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


def check(users: Users, *pairs: tuple[str, str]) -> list[bool]:
    async def main() -> list[bool]:
        return [await users.check(user, password, CLIENT) for user, password in pairs]

    return run(main)


def write(directory: Path, content: str | bytes) -> str:
    path = directory / "users"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Salts of the hashes that were computed."""
    salts: list[bytes] = []
    original: Callable[..., bytes] = under_test._derive

    def derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        salts.append(salt)
        return original(password, salt, n, r, p)

    monkeypatch.setattr(under_test, "_derive", derive)
    return salts


# --- round trip


@pytest.mark.parametrize("password", ["x", "two words", "a:b:c", "ключ 🔑", "x" * 1024, " x "])
@pytest.mark.usefixtures("cheap_hashes")
def test_a_hashed_password_is_recognized(tmp_path: Path, password: str) -> None:
    users = load_users(write(tmp_path, hash_password("alice", password) + "\n"))
    assert check(users, ("alice", password), ("alice", password + "x"), ("alice", ""), ("bob", password)) == [
        True,
        False,
        False,
        False,
    ]


def test_a_line_is_computed_with_the_cost_it_states() -> None:
    line = hash_password("alice", "secret")
    user, scheme, n, r, p, salt, key = line.split(":")
    assert (user, scheme, int(n), int(r), int(p)) == ("alice", "scrypt", 16384, 8, 5)
    assert "secret" not in line
    from base64 import b64decode

    derived = hashlib.scrypt(b"secret", salt=b64decode(salt), n=16384, r=8, p=5, maxmem=1 << 26, dklen=32)
    assert b64decode(key) == derived


@pytest.mark.usefixtures("cheap_hashes")
def test_each_line_has_a_salt_of_its_own() -> None:
    assert hash_password("alice", "x") != hash_password("alice", "x")


@pytest.mark.usefixtures("cheap_hashes")
def test_user_names_are_compared_exactly(tmp_path: Path) -> None:
    users = load_users(write(tmp_path, hash_password("Älice ", "x") + "\n"))
    assert check(users, ("Älice ", "x"), ("älice ", "x"), ("Älice", "x"), ("", "x")) == [True, False, False, False]


# --- the file


def test_comments_and_blank_lines_are_ignored(tmp_path: Path) -> None:
    load_users(write(tmp_path, f"# a comment: with:colons\n\n   \n\t\n{LINE}\r\n#{LINE}\n"))


@pytest.mark.usefixtures("cheap_hashes")
def test_a_file_without_users_admits_nobody(tmp_path: Path) -> None:
    assert check(load_users(write(tmp_path, "# later\n")), ("alice", "x"), ("", "")) == [False, False]


def damaged(directory: Path, content: str | bytes) -> str:
    path = write(directory, content)
    with pytest.raises(SettingsError) as caught:
        load_users(path)
    assert caught.value.what.startswith(f"users file {path}")
    return caught.value.what.removeprefix(f"users file {path}") + ": " + caught.value.cause


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        "alice:secret",
        "alice:$2y$10$abcdefghijklmnopqrstuv",
        ":scrypt:4:8:1:c2FsdA==:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
        LINE + ":more",
        LINE.replace("scrypt", "bcrypt"),
        LINE.replace(":4:", ":four:"),
        LINE.replace(":4:", "::"),
        LINE.replace(":4:", ":3:"),
        LINE.replace(":4:", ":0:"),
        LINE.replace(":4:", ":1:"),
        LINE.replace(":4:", ":-4:"),
        LINE.replace(":4:", ":2097152:"),
        LINE.replace(":8:", ":0:"),
        LINE.replace(":8:", ":33:"),
        LINE.replace(":1:", ":0:"),
        LINE.replace(":1:", ":17:"),
        LINE.replace("c2FsdHNhbHQ=", "c2Fsd"),
        LINE.replace("c2FsdHNhbHQ=", "c2Fsd\N{LATIN SMALL LETTER E WITH ACUTE}"),
        LINE.replace("QUFB", ""),
        LINE.replace("QUFB", "QUFBQUFB"),
        LINE[:-1],
    ],
)
def test_a_damaged_line_is_reported_with_its_number(tmp_path: Path, line: str) -> None:
    text = damaged(tmp_path, f"# first\n{LINE}\n\n{line}\n")
    assert text.startswith(", line 4: ")
    assert "c2Fsd" not in text
    assert "secret" not in text


@pytest.mark.parametrize("cost", ["1048576:32:1", "65536:1:1", "1048576:16:1"])
def test_a_cost_that_openssl_refuses_is_reported_on_reading_the_file(tmp_path: Path, cost: str) -> None:
    """Not only when that user logs in: the cost exceeds OpenSSL's memory limit, or n is too large for r (RFC 7914 section 2)."""
    assert "line 1: its scrypt cost is out of range" in damaged(tmp_path, LINE.replace("4:8:1", cost) + "\n")


@pytest.mark.parametrize("cost", ["2:1:1", "32768:1:1", "4096:8:2"])
def test_a_cost_within_bounds_works(tmp_path: Path, cost: str) -> None:
    assert check(load_users(write(tmp_path, LINE.replace("4:8:1", cost) + "\n")), ("alice", "x")) == [False]


def test_a_duplicate_user_is_an_error(tmp_path: Path) -> None:
    """Which password applies would depend on the reader."""
    assert damaged(tmp_path, f"{LINE}\n{LINE}\n").startswith(", line 2: ")


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path) -> None:
    assert check(load_users(write(tmp_path, f"\ufeff{DIGEST}\n")), ("alice", "x")) == [True]


def test_a_users_file_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    assert "UTF-8" in damaged(tmp_path, b"\xff" + LINE.encode())


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/nonexistent/users", "no such file"),
        ("/", "is a directory"),
        ("/dev/zero", "longer than 16 mib"),
        pytest.param("/proc/self/mem", "error", marks=pytest.mark.linux("/proc")),
    ],
)
def test_an_unreadable_users_file_is_an_error(path: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_users(path)
    assert text in caught.value.cause.lower()


# --- digest lines


def test_a_digest_line_also_serves_basic_credentials(tmp_path: Path) -> None:
    """The scrypt line of a user decides about a Basic password if there is one; otherwise the hash of the Digest line does."""
    lines = [digest_line("alice", "r", "x"), LINE.replace("alice", "bob"), digest_line("bob", "r", "y")]
    users = load_users(write(tmp_path, "\n".join(lines)))
    assert check(users, ("alice", "x"), ("alice", "y"), ("bob", "y"), ("mallory", "x")) == [True, False, False, False]
    only = load_users(write(tmp_path, lines[0]))
    assert check(only, ("alice", "x"), ("alice", "y"), ("bob", "y")) == [True, False, False]


@pytest.mark.parametrize(
    ("lines", "schemes"),
    [
        ([], ["Basic"]),
        ([LINE], ["Basic"]),
        ([DIGEST], ["Digest", "Digest"]),
        ([LINE, DIGEST], ["Digest", "Digest", "Basic"]),
    ],
)
def test_the_offered_schemes_follow_the_kinds_of_lines(tmp_path: Path, lines: list[str], schemes: list[str]) -> None:
    challenges = load_users(write(tmp_path, "\n".join(lines))).challenges()
    assert [challenge.partition(" ")[0] for challenge in challenges] == schemes
    realm = "our proxy" if DIGEST in lines else "tunnelctl"
    assert all(f' realm="{realm}"' in challenge for challenge in challenges)


@pytest.mark.parametrize(
    "line",
    [
        "bob:digest",
        "bob:digest:our proxy",
        ":".join(["", *DIGEST.split(":")[1:]]),
        DIGEST.replace("alice", "bob") + ":",
        DIGEST.replace("alice", "bob").replace("our proxy", ""),
        DIGEST.replace("alice", "bob").replace("our proxy", 'our "proxy"'),
        DIGEST.replace("alice", "bob")[:-1],
        DIGEST.replace("alice", "bob")[:-1] + "g",
        DIGEST.replace("alice", "bob")[:-1] + "A",
        DIGEST.replace("alice", "bob").replace("our proxy", "another"),
        DIGEST,
    ],
)
def test_a_damaged_digest_line_is_reported_with_its_number(tmp_path: Path, line: str) -> None:
    """Also a line with a second realm: a challenge names only one."""
    text = damaged(tmp_path, f"{DIGEST}\n{LINE}\n{line}\n")
    assert text.startswith(", line 3: ")
    assert DIGEST[-16:-1] not in text


@pytest.mark.usefixtures("cheap_hashes")
def test_v20_with_mixed_lines_every_login_costs_one_scrypt(tmp_path: Path, derivations: list[bytes]) -> None:
    """Also a login of a user without a scrypt line: otherwise the time would reveal which kind of line a user has."""
    users = load_users(write(tmp_path, f"{hash_password('bob', 'x')}\n{DIGEST}\n"))
    for user, password in (("alice", "x"), ("alice", "wrong"), ("bob", "wrong"), ("nobody", "wrong")):
        derivations.clear()
        check(users, (user, password))
        assert len(derivations) == 1


def test_v18_no_repr_shows_a_digest_hash(tmp_path: Path) -> None:
    users = load_users(write(tmp_path, DIGEST))
    assert users.digest is not None
    assert DIGEST[-32:] not in repr(users) + repr(vars(users)) + repr(users.digest) + repr(users.digest._logins)


# --- the cost of a check


@pytest.mark.usefixtures("cheap_hashes")
def test_v20_an_unknown_user_costs_as_much_as_a_wrong_password(tmp_path: Path, derivations: list[bytes]) -> None:
    users = load_users(write(tmp_path, hash_password("alice", "x") + "\n"))
    for user in ("alice", "nobody", ""):
        derivations.clear()
        assert check(users, (user, "wrong")) == [False]
        assert len(derivations) == 1


@pytest.mark.usefixtures("cheap_hashes")
def test_a_login_of_an_unknown_user_costs_the_hash_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = hash_password("alice", "x")
    costs: list[tuple[int, int, int]] = []

    def derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        costs.append((n, r, p))
        return b""

    monkeypatch.setattr(under_test, "COST_N", 16384)
    monkeypatch.setattr(under_test, "_derive", derive)
    check(load_users(write(tmp_path, line + "\n")), ("alice", "y"), ("nobody", "y"))
    assert costs == [(4, 8, 1), (4, 8, 1)]


@pytest.mark.usefixtures("cheap_hashes")
def test_a_right_password_is_remembered_and_a_wrong_one_is_not(tmp_path: Path, derivations: list[bytes]) -> None:
    users = load_users(write(tmp_path, hash_password("alice", "x") + "\n"))
    derivations.clear()
    assert check(users, *[("alice", "x")] * 100) == [True] * 100
    assert len(derivations) == 1
    assert check(users, ("alice", "y"), ("alice", "y")) == [False, False]
    assert len(derivations) == 3


@pytest.mark.usefixtures("cheap_hashes")
def test_a_remembered_login_matches_only_its_user_and_password(tmp_path: Path) -> None:
    """The boundary between name and password cannot be shifted."""
    users = load_users(write(tmp_path, hash_password("al", "icex") + "\n" + hash_password("bob", "x") + "\n"))
    assert check(users, ("al", "icex"), ("alice", "x"), ("ali", "cex"), ("bob", "icex"), ("bob", "x")) == [
        True,
        False,
        False,
        False,
        True,
    ]


@pytest.mark.usefixtures("cheap_hashes")
def test_remembered_logins_are_bounded_and_hold_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "REMEMBERED", WAYS)
    lines = [hash_password(f"user{number}", "canary") + "\n" for number in range(WAYS + 3)]
    users = load_users(write(tmp_path, "".join(lines)))
    assert check(users, *[(f"user{number}", "canary") for number in range(WAYS + 3)]) == [True] * (WAYS + 3)
    known = users._kept.passwords._keys
    assert len([key for key in known.tolist() if key]) == WAYS
    assert b"canary" not in known.tobytes()
    assert "canary" not in repr(users) + repr(vars(users))


# --- the event loop keeps running


def test_v21_checks_do_not_block_the_loop_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight at once, at most MAX_CONCURRENT_HASHES are computed at any time, and the loop runs meanwhile."""
    under_way, most = [0], [0]

    def derive(*_: object) -> bytes:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.02)  # like scrypt, it releases the interpreter lock
        under_way[0] -= 1
        return b""

    monkeypatch.setattr(under_test, "_derive", derive)
    turns = [0]

    async def main() -> None:
        users = Users({}, {}, None, CredentialCache())
        async with Nursery() as nursery:

            async def turn() -> None:
                while True:
                    await sleep(0.001)
                    turns[0] += 1

            async with Nursery() as logins:
                nursery.start_soon(turn)
                for number in range(8):
                    logins.start_soon(users.check, f"user{number}", "x", CLIENT)
            nursery.cancel_scope.cancel()

    run(main)
    assert most[0] == under_test.MAX_CONCURRENT_HASHES
    assert turns[0] > 8


def test_h4_many_networks_of_one_site_do_not_starve_another_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder of an IPv6 /48 can use as many networks as it likes: at 0.2 s a hash, 100 of them would take ten seconds."""
    begun, finish = list[str](), threading.Semaphore(0)

    def derive(password: str, *_: object) -> bytes:
        begun.append(password)
        assert finish.acquire(timeout=SECONDS)
        return b""

    monkeypatch.setattr(under_test, "_derive", derive)

    async def main() -> None:
        users = Users({}, {}, None, CredentialCache())
        async with Nursery() as nursery:
            for number in range(100):
                nursery.start_soon(users.check, "alice", "guess", Owner("2001:db8::/48", f"2001:db8:0:{number:x}::/64"))
            nursery.start_soon(users.check, "bob", "b-pw", CLIENT)
            while users._kept.hashing._queued.total() < 101 - under_test.MAX_CONCURRENT_HASHES:
                await sleep(0.001)
            for count in (1, 2):
                finish.release()
                while len(begun) < under_test.MAX_CONCURRENT_HASHES + count:
                    await sleep(0.001)
            nursery.cancel_scope.cancel()
        finish.release(1000)

    run(main)
    assert "b-pw" in begun


def test_h4_the_queue_of_logins_is_bounded_by_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further login is refused at once if it arrives last."""
    release = threading.Event()
    monkeypatch.setattr(under_test, "_derive", lambda *_: release.wait(SECONDS) and b"")

    async def main() -> None:
        users = Users({}, {}, None, CredentialCache())
        async with Nursery() as nursery:
            for number in range(under_test.MAX_CONCURRENT_HASHES + under_test.WAITING_IN_ALL):
                nursery.start_soon(users.check, "alice", "guess", Owner(f"g{number}", f"n{number}"))
            while users._kept.hashing._queued.total() < under_test.WAITING_IN_ALL:
                await sleep(0.001)
            with pytest.raises(BusyResourceError) as caught:
                await users.check("bob", "b-pw", CLIENT)
            assert refuse_unchecked(caught.value).status == 503
            nursery.cancel_scope.cancel()
        release.set()

    run(main)


def test_a_cancelled_check_releases_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunnelctl.engine.kernel import move_on_after

    def derive(*_: object) -> bytes:
        time.sleep(0.05)
        return b""

    monkeypatch.setattr(under_test, "_derive", derive)

    async def main() -> None:
        users = Users({}, {}, None, CredentialCache())
        for _ in range(2 * under_test.MAX_CONCURRENT_HASHES):
            with move_on_after(0.005):
                await users.check("a", "x", CLIENT)
        assert await users.check("a", "x", CLIENT) is False

    run(main)


def test_a_check_without_a_free_thread_raises_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_: object, **__: object) -> None:
        raise BusyResourceError("no thread")

    monkeypatch.setattr(under_test, "to_thread", busy)
    with pytest.raises(BusyResourceError):
        check(Users({}, {}, None, CredentialCache()), ("a", "x"))
