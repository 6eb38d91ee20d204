"""Files that are read again on SIGHUP: the old content stays in force until the new one is complete, and what is reported."""

import os
import signal
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.peers import certificates
from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import (
    SECONDS,
    Client,
    Proxy,
    basic,
    connect_request,
    digest_users_file,
    users_file,
)
from tests.server.process.running import Workers, workers
from tunnelctl.cli.render.hints import in_words
from tunnelctl.errors import SettingsError
from tunnelctl.events import Event
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.auth.digest import DigestClient, is_stale
from tunnelctl.server import config
from tunnelctl.server.policy.file import load_policy
from tunnelctl.server.policy.rules import Policy
from tunnelctl.stream.reloadable import FileReload, counted, load_reloadable

# No test needs more than a status: nothing listens at the target.
TARGET = "127.0.0.1:1"
REFUSED, LOGIN_WANTED = 502, 407  # the target refuses: the login was accepted


def failing() -> int:
    raise SettingsError("file x", "no number", "pipe-empty")


def gone() -> int:
    raise OSError("it went")


def test_a_failed_reload_keeps_the_last_good_content() -> None:
    reads = iter([lambda: 1, lambda: 2, failing, gone, lambda: 4])
    one = load_reloadable("number", lambda: next(reads)())
    told: list[Event] = []
    seen = [(one.current, one.failed)]
    for _ in range(4):
        one.reload(told.append)
        seen.append((one.current, one.failed))
    assert seen == [(1, False), (2, False), (2, True), (2, True), (4, False)]
    assert [in_words(event) for event in told] == [
        ("reloaded", {"what": "number", "now": "2"}),
        (
            "warning",
            {"text": "the old number stays in force: file x: no number (hint: give a file: a pipe can be read only once)"},
        ),
        ("warning", {"text": "the old number stays in force: it went"}),
        ("reloaded", {"what": "number", "now": "4"}),
    ]


def test_one_broken_file_does_not_keep_others_from_reloading() -> None:
    reads = iter([lambda: 1, failing])
    broken, good = load_reloadable("number", lambda: next(reads)()), load_reloadable("list", list[int])
    before = good.current
    files = FileReload((broken, good), lambda *_, **__: None)
    assert files.begin()
    files.run()
    assert files.begin()
    assert broken.current == 1
    assert good.current is not before


def test_a_reload_that_did_not_take_place_counts_as_failed_until_one_succeeds() -> None:
    setting = load_reloadable("number", lambda: 1)
    files = FileReload((setting,), lambda *_, **__: None)
    for fail in (files.warn_late, lambda: files.give_up("no thread is left")):
        assert files.begin()
        fail()
        assert setting.failed
        files.run()
        assert not setting.failed


@pytest.mark.parametrize(("number", "text"), [(0, "0 users"), (1, "1 user"), (2, "2 users")])
def test_counted_forms_the_plural(number: int, text: str) -> None:
    assert counted(number, "user") == text


def test_signals_during_a_reload_cause_one_more_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file and a script that sends signals without end would keep a core busy for as long as both together."""
    path = tmp_path / "policy.toml"
    path.write_text("[[allow]]\ntargets = ['*:443']\n")
    go_on = threading.Event()
    begun: list[object] = []

    def load(*args: Any) -> Policy:
        begun.append(args)
        assert len(begun) == 1 or go_on.wait(SECONDS)
        return load_policy(*args)

    monkeypatch.setattr(config, "load_policy", load)
    with Proxy(policy=str(path)) as proxy:
        proxy.hang_up()
        wait_until(lambda: len(begun) == 2, SECONDS, "the first reading")
        for _ in range(20):
            proxy.hang_up()
        wait_until(proxy.has_heard, SECONDS, "all signals but the last to be noted")
        go_on.set()
        wait_until(lambda: len(proxy.events("reloaded")) >= 2, SECONDS, "the second reading")
    assert 3 <= len(begun) <= 4


# --- the users file


def status(proxy: Proxy, *fields: str) -> int:
    return proxy.refusal(TARGET, *fields).status


def read_again(proxy: Proxy, count: int = 1) -> None:
    proxy.hang_up()
    wait_until(lambda: len(proxy.events("reloaded")) == count, SECONDS, "the new file")


@pytest.mark.usefixtures("cheap_hashes")
def test_a_reload_adds_removes_and_changes_users(tmp_path: Path) -> None:
    """Remembered logins of the old file are no longer valid; open tunnels stay open."""
    path = users_file(tmp_path, alice="one", bob="x", carol="y")
    with ScriptedServer(echo) as target, Proxy(users=path) as proxy:
        with proxy.tunnel(target.authority, basic("bob", "x")) as client:
            assert status(proxy, basic("alice", "one")) == status(proxy, basic("carol", "y")) == REFUSED
            carol = Path(path).read_text().splitlines()[2]
            users_file(tmp_path, alice="two", dave="z")
            with open(path, "a") as file:
                file.write(carol + "\n")
            read_again(proxy)
            assert proxy.events("reloaded") == [{"what": "users file", "now": "3 users"}]
            assert client.echoes()
        for user, password in (("alice", "two"), ("dave", "z"), ("carol", "y")):
            assert status(proxy, basic(user, password)) == REFUSED
        for user, password in (("alice", "one"), ("bob", "x"), ("carol", "z")):
            assert status(proxy, basic(user, password)) == LOGIN_WANTED


def test_an_unchanged_user_costs_no_hash_after_a_reload(
    tmp_path: Path, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a reload would make all users that are logged in wait for each other."""
    from tunnelctl.server.access import users

    derivations: list[bytes] = []
    derive = users._derive
    with Proxy(users=users_file(tmp_path, alice="x")) as proxy:
        monkeypatch.setattr(users, "_derive", lambda *args: derivations.append(args[1]) or derive(*args))  # type: ignore[func-returns-value]
        assert status(proxy, basic("alice", "x")) == REFUSED
        read_again(proxy)
        assert status(proxy, basic("alice", "x")) == REFUSED
        assert len(derivations) == 1


@pytest.mark.usefixtures("cheap_hashes")
def test_a_broken_users_file_changes_nothing_on_reload(tmp_path: Path) -> None:
    path = users_file(tmp_path, alice="x")
    with Proxy(users=path) as proxy:
        with open(path, "a") as file:
            file.write("bob:secret\n")
        proxy.hang_up()
        wait_until(lambda: bool(proxy.warnings), SECONDS, "the warning")
        assert proxy.warnings == [
            f"the old users file stays in force: users file {path}, line 2: not a line that `tunnelctl hash-password` prints"
        ]
        assert status(proxy, basic("alice", "x")) == REFUSED
        assert status(proxy, basic("bob", "secret")) == LOGIN_WANTED
        Path(path).unlink()
        proxy.hang_up()
        wait_until(lambda: len(proxy.warnings) == 2, SECONDS, "the warning")
        assert status(proxy, basic("alice", "x")) == REFUSED


def digest_login(proxy: Proxy, user: str, password: str) -> DigestClient:
    answer = proxy.refusal(TARGET)
    assert answer.status == LOGIN_WANTED
    return DigestClient(parse_challenges([answer.fields["proxy-authenticate"]])[0], user, password, "c")


def field(client: DigestClient) -> str:
    return "Proxy-Authorization: " + client.authorize("CONNECT", TARGET)


def test_v19_a_used_digest_response_is_not_valid_after_a_reload(tmp_path: Path) -> None:
    """A challenge from before is: a browser with a hundred tunnels needs no new one."""
    with Proxy(users=digest_users_file(tmp_path, alice="x")) as proxy:
        client = digest_login(proxy, "alice", "x")
        overheard = field(client)
        assert status(proxy, overheard) == REFUSED
        read_again(proxy)
        replayed = proxy.refusal(TARGET, overheard)
        assert replayed.status == LOGIN_WANTED
        assert all(map(is_stale, parse_challenges([replayed.fields["proxy-authenticate"]])))
        assert status(proxy, field(client)) == REFUSED
        digest_users_file(tmp_path, bob="y")
        read_again(proxy, 2)
        assert status(proxy, field(client)) == LOGIN_WANTED


@pytest.mark.usefixtures("cheap_hashes")
def test_digest_is_offered_after_a_reload_that_adds_digest_lines(tmp_path: Path) -> None:
    with Proxy(users=users_file(tmp_path, alice="x")) as proxy:
        assert proxy.refusal(TARGET).fields["proxy-authenticate"].startswith("Basic")
        digest_users_file(tmp_path, alice="x")
        read_again(proxy)
        assert status(proxy, field(digest_login(proxy, "alice", "x"))) == REFUSED


# --- the certificate


def own(pair: tuple[Path, Path], directory: Path) -> dict[str, str]:
    """Copies the two files to the paths that the proxy was given, as a renewal of certificates does."""
    names = directory / "proxy.pem", directory / "proxy.key"
    for source, name in zip(pair, names, strict=True):
        name.write_bytes(source.read_bytes())
    return {"tls_cert": str(names[0]), "tls_key": str(names[1])}


def serial(port: int, authority: Path) -> str:
    """Returns the serial number of the certificate that a new connection receives."""
    context = ssl.create_default_context(cafile=authority)
    with Client(("127.0.0.1", port)) as client:
        client.sock = context.wrap_socket(client.sock, server_hostname=certificates.HOST)
        certificate = client.sock.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def test_new_connections_get_the_new_certificate(tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    with ScriptedServer(echo) as target, Proxy(**own(files.server, tmp_path)) as proxy:  # type: ignore[arg-type]
        context = ssl.create_default_context(cafile=files.authority)
        with Client(("127.0.0.1", proxy.port)) as client:
            client.sock = context.wrap_socket(client.sock, server_hostname=certificates.HOST)
            client.tunnel(target.authority)
            before = serial(proxy.port, files.authority)
            own(certificates.issue(tmp_path, "renewed", *certificates.NAMES), tmp_path)
            assert serial(proxy.port, files.authority) == before
            read_again(proxy)
            assert serial(proxy.port, files.authority) != before
            assert client.echoes(), "an open tunnel stays open"
        assert proxy.events("reloaded")[0]["now"] == "valid until 3000-01-01 00:00 UTC"


def test_a_certificate_without_its_key_changes_nothing_on_reload(tmp_path: Path) -> None:
    """As between the two writes of a renewal."""
    files = certificates.make(tmp_path)
    with Proxy(**own(files.server, tmp_path)) as proxy:  # type: ignore[arg-type]
        before = serial(proxy.port, files.authority)
        renewed = certificates.issue(tmp_path, "renewed", *certificates.NAMES)
        own((renewed[0], files.key), tmp_path)
        proxy.hang_up()
        wait_until(lambda: bool(proxy.warnings), SECONDS, "the warning")
        cert, key = tmp_path / "proxy.pem", tmp_path / "proxy.key"
        assert proxy.warnings == [
            f"the old certificate stays in force: --tls-key {key}: the key does not match the certificate in {cert}"
        ]
        assert serial(proxy.port, files.authority) == before
        own(renewed, tmp_path)
        read_again(proxy)
        assert serial(proxy.port, files.authority) != before


def test_the_authority_of_clients_is_reloaded_as_well(tmp_path: Path) -> None:
    """A client that the old authority admitted, and that holds a session ticket, is rejected then."""
    files = certificates.make(tmp_path)
    authority = tmp_path / "clients.pem"
    authority.write_bytes(files.authority.read_bytes())
    with Proxy(**own(files.server, tmp_path), client_ca=str(authority)) as proxy:  # type: ignore[arg-type]
        context = ssl.create_default_context(cafile=files.authority)
        context.load_cert_chain(*files.client)

        def ask(session: ssl.SSLSession | None) -> ssl.SSLSession | None:
            with Client(("127.0.0.1", proxy.port)) as client:
                sock = client.sock = context.wrap_socket(client.sock, server_hostname=certificates.HOST, session=session)
                client.send(connect_request(TARGET))
                assert client.answer().status == REFUSED
                return sock.session

        session = ask(None)
        assert ask(session) is not None
        authority.write_bytes(certificates.another_authority(tmp_path)[0].read_bytes())
        read_again(proxy)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            ask(session)


# --- in separate processes


def statuses(serve: Workers, login: str) -> set[int]:
    """Statuses of enough connections to reach every worker, each from another address: wrong logins slow an address down."""
    found = set()
    for number in range(1, 21):
        with serve.client(f"127.0.3.{number}") as client:
            client.send(connect_request(TARGET, login))
            found.add(int(client.head()[9:12]))
    return found


@pytest.mark.parametrize("count", ["1", "2"])
def test_sighup_puts_new_users_in_force_in_every_process(count: str, tmp_path: Path, cheap_hashes: None) -> None:
    path = users_file(tmp_path, alice="x")
    with workers("--workers", count, "--users", path) as serve:
        pids = serve.pids()
        assert statuses(serve, basic("bob", "y")) == {LOGIN_WANTED}
        users_file(tmp_path, bob="y")
        serve.process.send_signal(signal.SIGHUP)
        assert serve.line() == "tunnelctl: the users file was read again: 1 user\n"
        wait_until(lambda: statuses(serve, basic("bob", "y")) == {REFUSED}, SECONDS, "the new user in every process")
        assert statuses(serve, basic("alice", "x")) == {LOGIN_WANTED}
        Path(path).write_text("nonsense\n")
        serve.process.send_signal(signal.SIGHUP)
        assert serve.line().startswith(f"tunnelctl: warning: the old users file stays in force: users file {path}, line 1: ")
        assert statuses(serve, basic("bob", "y")) == {REFUSED}
        assert serve.pids() == pids
        serve.process.terminate()
        assert "warning" not in serve.rest(), "one warning in all, not one per process"


def test_a_replacement_worker_has_the_last_good_users_file(tmp_path: Path, cheap_hashes: None) -> None:
    path = users_file(tmp_path, alice="x")
    with workers("--users", path) as serve:
        users_file(tmp_path, bob="y")
        serve.process.send_signal(signal.SIGHUP)
        assert "read again" in serve.line()
        Path(path).write_text("nonsense\n")
        before = serve.pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)

        def others_know_the_new_user() -> bool:
            try:
                known = statuses(serve, basic("bob", "y"))
            except (ConnectionError, AssertionError):  # no replacement has started yet, or a worker has just ended
                return False
            return len(set(serve.pids()) - set(before)) == 2 and known == {REFUSED}

        wait_until(others_know_the_new_user, SECONDS, "the replacements")


@pytest.mark.parametrize("count", ["1", "2"])
def test_sighup_puts_a_new_certificate_in_force_in_every_process(count: str, tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    names = own(files.server, tmp_path)
    flags = ("--workers", count, "--tls-cert", names["tls_cert"], "--tls-key", names["tls_key"])
    with workers(*flags) as serve:
        port = int(serve.where.rpartition(":")[2])

        def shown() -> set[str]:
            return {serial(port, files.authority) for _ in range(20)}

        before = shown()
        own(certificates.issue(tmp_path, "renewed", *certificates.NAMES), tmp_path)
        serve.process.send_signal(signal.SIGHUP)
        assert serve.line() == "tunnelctl: the certificate was read again: valid until 3000-01-01 00:00 UTC\n"
        wait_until(lambda: not before & shown(), SECONDS, "the new certificate in every process")
