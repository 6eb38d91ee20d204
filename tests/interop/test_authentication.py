"""Logging in to proxies of other makers: squid's Digest, MIT Kerberos inside Negotiate, Samba's NTLM."""

import base64
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.peers import guards, kerberos
from tests.peers.program import Forward, Serve, at_end_soon, connect, echoed, started
from tests.peers.proxies import PASSWORD, USER, Proxy
from tests.peers.scripted import ScriptedServer, sample

MIB = 1 << 20
DATA = sample(MIB)

pytestmark = [
    pytest.mark.once,
    pytest.mark.peer("squid", "digest_file_auth"),
    pytest.mark.peer("negotiate_kerberos_auth", "krb5kdc", "kadmin.local", "kinit"),
    pytest.mark.peer("ntlm_auth", "pyspnego-parse"),
]


class Person(NamedTuple):
    """A user's credentials, as arguments and environment of a command."""

    words: tuple[str, ...]
    env: dict[str, str]


class LocalListener(NamedTuple):
    """The scheme of a proxy, a user that it knows and one that it does not know."""

    scheme: str
    known: Person
    unknown: Person


def _with_password(proxy: Proxy, user: str, password: str) -> Person:
    words = ("-x", proxy.url, "--proxy-user", user)
    return Person(words, {"TUNNELCTL_PROXY_PASSWORD": password})


def _door(scheme: str, proxy: Proxy, user: str) -> LocalListener:
    return LocalListener(scheme, _with_password(proxy, user, PASSWORD), _with_password(proxy, user, "wr0ng-Secret"))


@pytest.fixture(scope="module")
def realm() -> Iterator[kerberos.Realm]:
    with kerberos.realm() as running:
        yield running


@pytest.fixture(scope="module")
def digest() -> Iterator[LocalListener]:
    with guards.squid_digest() as proxy:
        yield _door("digest", proxy, USER)


@pytest.fixture(scope="module")
def ntlm() -> Iterator[LocalListener]:
    with guards.squid_ntlm() as proxy:
        yield _door("ntlm", proxy, f"{guards.DOMAIN}\\{USER}")


@pytest.fixture(scope="module")
def negotiate(realm: kerberos.Realm) -> Iterator[LocalListener]:
    """The unknown user is one who has not run kinit."""
    with guards.squid_negotiate(realm) as proxy:
        words = ("-x", proxy._replace(host=kerberos.HOST).url)
        yield LocalListener("negotiate", Person(words, realm.log_in()), Person(words, realm.environment))


@pytest.fixture(scope="module", params=["digest", "ntlm", "negotiate"])
def door(request: pytest.FixtureRequest) -> LocalListener:
    found: LocalListener = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("named", [False, True], ids=["any", "named"])
def test_a_known_user_gets_a_tunnel(door: LocalListener, named: bool, echo_target: ScriptedServer) -> None:
    words = ("--auth", door.scheme) if named else ()
    done = echoed(DATA, *door.known.words, *words, echo_target.authority, env=door.known.env)
    assert (done.returncode, done.stdout == DATA, done.stderr) == (0, True, b"")


@pytest.mark.parametrize("named", [False, True], ids=["any", "named"])
def test_an_unknown_user_gets_no_tunnel(door: LocalListener, named: bool, echo_target: ScriptedServer) -> None:
    words = ("--auth", door.scheme) if named else ()
    url, *others = door.unknown.words[1:]
    done = connect(url, echo_target.authority, *others, *words, env=door.unknown.env)
    assert (done.returncode, done.stdout) == (77, b"")
    first, *rest = done.stderr.decode().splitlines()
    assert first.startswith("tunnelctl: ")
    assert url.removeprefix("http://") in first
    assert any(line.startswith("hint: ") for line in rest)
    assert echo_target.conversations == []


def test_a_named_scheme_that_is_not_offered_fails(door: LocalListener, echo_target: ScriptedServer) -> None:
    """The client tries only the schemes that the user names."""
    url, *others = door.known.words[1:]
    done = connect(url, echo_target.authority, *others, "--auth", "bearer", env=door.known.env)
    assert (done.returncode, done.stdout) == (77, b"")
    assert echo_target.conversations == []


def test_user_and_password_in_the_url_are_used(echo_target: ScriptedServer) -> None:
    with guards.squid_ntlm() as proxy:
        url = proxy.url_with(f"{guards.DOMAIN}\\{USER}", PASSWORD)
        done = echoed(b"hello", "-x", url, echo_target.authority)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")


def test_kerberos_with_a_password_instead_of_a_ticket(
    realm: kerberos.Realm, negotiate: LocalListener, echo_target: ScriptedServer
) -> None:
    """Does what kinit would do, for this login only; writes no ticket of the user."""
    password = {"TUNNELCTL_PROXY_PASSWORD": PASSWORD}
    words = (*negotiate.unknown.words, "--proxy-user", f"{USER}@{kerberos.NAME}", "--auth", "negotiate")
    done = echoed(b"hello", *words, echo_target.authority, env={**realm.environment, **password})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")
    assert not (realm.directory / "no-tickets").exists()


@pytest.mark.peer("basic_ncsa_auth", "openssl")
@pytest.mark.parametrize("ticket", [True, False])
def test_the_password_is_used_if_kerberos_fails(realm: kerberos.Realm, ticket: bool, echo_target: ScriptedServer) -> None:
    """The proxy offers Negotiate first and Basic second. A refusal of the first does not mean that the password is wrong."""
    with guards.squid_negotiate_or_basic(realm) as proxy:
        words = ("-x", proxy._replace(host=kerberos.HOST).url_with_credentials)
        env = realm.log_in() if ticket else {**realm.environment, "KRB5_CONFIG": "/dev/null"}
        done = echoed(b"hello", *words, echo_target.authority, env=env)
        wrong = connect(proxy._replace(host=kerberos.HOST).url_with_wrong_password, echo_target.authority, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")
    assert wrong.returncode == 77


def test_one_process_logs_in_for_many_tunnels(door: LocalListener, echo_target: ScriptedServer) -> None:
    """One after the other and concurrently: a reused nonce counts up, and each connection logs in separately."""
    with Forward(*door.known.words, "-L", f"0:{echo_target.authority}", env=door.known.env) as forward:
        for _ in range(3):
            _echo_through(forward.port, 1)
        _echo_through(forward.port, 5)


def _echo_through(port: int, connections: int) -> None:
    socks = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(connections)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)
    for number, sock in enumerate(socks):
        with closing(sock):
            assert sock.recv(10) == b"%d" % number


def test_serve_logs_in_for_its_clients(door: LocalListener, echo_target: ScriptedServer) -> None:
    with Serve(*door.known.words, env=door.known.env) as serve:
        done = echoed(DATA, "-x", serve.url, echo_target.authority)
    assert (done.returncode, done.stdout == DATA, done.stderr) == (0, True, b"")


# --- secrets that must not be visible


def _traces(person: Person) -> list[bytes]:
    """Forms in which the password, or data for guessing it offline, might appear."""
    user = person.words[3] if len(person.words) > 3 else USER
    password = person.env.get("TUNNELCTL_PROXY_PASSWORD", PASSWORD)
    return [
        password.encode(),
        base64.b64encode(f"{user}:{password}".encode()),
        base64.b64encode(password.encode()).rstrip(b"="),
        base64.b64encode(password.encode("utf-16-le")).rstrip(b"="),
        b"TlRMTVNTUAAD",  # the NTLM response
        b"YII",  # a ticket
        b"response=",  # the Digest response
    ]


@pytest.mark.parametrize("options", [("-vv",), ("-vv", "--json")], ids=["text", "json"])
@pytest.mark.parametrize("who", ["known", "unknown"])
def test_no_secret_is_in_output_or_command_line(
    door: LocalListener, who: str, options: tuple[str, ...], echo_target: ScriptedServer, tmp_path: Path
) -> None:
    person: Person = getattr(door, who)
    words = [*person.words, *options, echo_target.authority]
    env = {name: value for name, value in person.env.items() if name != "TUNNELCTL_PROXY_PASSWORD"}
    if "TUNNELCTL_PROXY_PASSWORD" in person.env:
        file = tmp_path / "password"
        file.touch(0o600)
        file.write_text(person.env["TUNNELCTL_PROXY_PASSWORD"])
        words += ["--proxy-password-file", str(file)]
    with started("connect", *words, env=env) as process:
        if who == "known":
            process.stdin.write(b"hello")
            assert process.stdout.read(5) == b"hello"
            seen = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            process.stdin.close()
        else:
            assert at_end_soon(process.stdout)
            seen = b""
        seen += process.stderr.read()
        assert process.wait(20) == (0 if who == "known" else 77)
    assert b"407" in seen
    assert not [trace for trace in _traces(person) if trace in seen]


def test_no_secret_is_in_the_access_log(door: LocalListener, echo_target: ScriptedServer, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    for person in (door.known, door.unknown):
        with Serve(*person.words, "--access-log", str(log), "-vv", env=person.env) as serve:
            connect(serve.url, echo_target.authority)
            seen = log.read_bytes() + serve.log().encode()
        assert re.search(rb'"port": ?%d|:%d' % (echo_target.port, echo_target.port), seen)
        assert not [trace for trace in _traces(person) if trace in seen]
