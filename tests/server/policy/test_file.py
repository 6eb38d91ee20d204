"""The policy file: its form, the messages about mistakes, and when a new version takes effect."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.peers.process import wait_until
from tests.peers.program import started
from tests.peers.scripted import ScriptedServer, echo, refusing_port
from tests.server.harness import SECONDS, Client, Proxy, basic, connect_request, users_file
from tests.server.process.running import workers
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.cli.spec.messages.model import BACKSLASH
from tunnelctl.errors import SettingsError, UsageProblem
from tunnelctl.server.policy import file as under_test
from tunnelctl.server.policy.file import load_policy, parse_policy
from tunnelctl.server.policy.rules import DEFAULT_ALLOW, Rule, parse_client, parse_rule
from tunnelctl.status import ExitStatus

WHOLE = """
# who may go where
[[allow]]
name = "web"
targets = ["*:443", "*.example.com:22"]
users = ["alice", "bob"]
clients = ["192.0.2.0/24", "2001:db8::/32"]
tls = "require"

[[allow]]
targets = ["db.example.com:5432"]
sni = "match"

[[deny]]
targets = ["198.51.100.0/24:*"]

[[report]]
name = "old"
targets = ["*:22"]
"""


def write(directory: Path, text: str) -> str:
    path = directory / "policy.toml"
    path.write_text(text)
    return str(path)


def opened(port: int) -> str:
    return f'[[allow]]\nname = "one"\ntargets = ["127.0.0.1:{port}"]\n'


# --- form


def test_rules_of_every_kind_are_parsed() -> None:
    who: dict[str, Any] = {
        "users": frozenset({"alice", "bob"}),
        "clients": (parse_client("192.0.2.0/24"), parse_client("2001:db8::/32")),
    }
    assert parse_policy(WHOLE, "policy") == {
        "allow": [
            parse_rule("*:443")._replace(text="*:443 (web)", tls=True, **who),
            parse_rule("*.example.com:22")._replace(text="*.example.com:22 (web)", tls=True, **who),
            parse_rule("db.example.com:5432")._replace(text="db.example.com:5432 (line 10)", tls=True, sni=True),
        ],
        "deny": [parse_rule("198.51.100.0/24:*")._replace(text="198.51.100.0/24:* (line 14)")],
        "report": [parse_rule("*:22")._replace(text="*:22 (old)")],
    }


def texts(rules: tuple[Rule, ...]) -> list[str]:
    return [rule.text for rule in rules]


def test_rules_of_the_file_and_of_the_command_line_are_merged(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, WHOLE), ("a.test:1",), ("b.test:2",))
    assert texts(policy.allow) == ["a.test:1", "*:443 (web)", "*.example.com:22 (web)", "db.example.com:5432 (line 10)"]
    assert texts(policy.deny) == ["b.test:2", "198.51.100.0/24:* (line 14)"]
    assert texts(policy.report) == ["*:22 (old)"]


@pytest.mark.parametrize("text", ["[[deny]]\ntargets = ['evil.test:*']\n", "[[report]]\ntargets = ['*:*']\n"])
def test_a_file_without_an_allow_rule_keeps_the_default(text: str, tmp_path: Path) -> None:
    assert load_policy(write(tmp_path, text)).allow == DEFAULT_ALLOW


def test_without_a_file_the_default_or_the_flags_apply() -> None:
    assert load_policy(None).allow == DEFAULT_ALLOW
    assert texts(load_policy(None, ("a.test:1",)).allow) == ["a.test:1"]


# --- mistakes, with line and key


@pytest.mark.parametrize(
    ("text", "where", "cause"),
    [
        ("[[alow]]\ntargets = []", "line 1, key 'alow'", "unknown key"),
        ("[[deny]]\ntargets = ['*:25']\n\n[[alow]]\ntargets = []\n[[alow]]", "line 4, key 'alow'", "unknown key"),
        ("\n\nallow = 1", "line 3, key 'allow'", "not a list of rules"),
        ("[allow]\ntargets = ['*:1']", "line 1, key 'allow'", "not a list of rules"),
        ("allow = [1]", "line 1, key 'allow'", "not a list of rules"),
        ("[[allow]]\ntarget = ['*:1']", "line 2, key 'target'", "unknown key"),
        ("[[allow]]\n", "line 1, key 'targets'", "missing: a rule"),
        ("[[allow]]\ntargets = '*:1'", "line 2, key 'targets'", "not a list of strings"),
        ("[[allow]]\ntargets = [1]", "line 2, key 'targets'", "not a list of strings"),
        ("[[allow]]\ntargets = ['']", "line 2, key 'targets'", "not a list of strings"),
        ("[[allow]]\ntargets = []", "line 2, key 'targets'", "the list is empty"),
        ("[[allow]]\ntargets = [\n 'a.test:1',\n 'a.test'\n]", "line 2, key 'targets'", "rule 'a.test': the port is missing"),
        ("[[allow]]\ntargets = ['*:1']\n[[allow]]\n\ntargets = ['x:0']", "line 5, key 'targets'", "rule 'x:0': port '0' is not"),
        ("[[deny]]\ntargets = ['*:1']\nusers = []", "line 3, key 'users'", "the list is empty"),
        ("[[deny]]\ntargets = ['*:1']\nusers = 'bob'", "line 3, key 'users'", "not a list of strings"),
        ("[[deny]]\ntargets = ['*:1']\nclients = ['host']", "line 3, key 'clients'", "network 'host': not a network"),
        ("[[deny]]\ntargets = ['*:1']\nclients = ['10.0.0.1/8']", "line 3, key 'clients'", "bits set beyond the prefix"),
        ("[[deny]]\ntargets = ['*:1']\ntls = true", "line 3, key 'tls'", 'the only value is "require"'),
        ("[[deny]]\ntargets = ['*:1']\ntls = 'no'", "line 3, key 'tls'", 'the only value is "require"'),
        ("[[deny]]\ntargets = ['*:1']\nsni = 'require'", "line 3, key 'sni'", 'the only value is "match"'),
        ("[[deny]]\nname = ''\ntargets = ['*:1']", "line 2, key 'name'", "not a string of 1 to 64"),
        ("[[deny]]\nname = 5\ntargets = ['*:1']", "line 2, key 'name'", "not a string of 1 to 64"),
        ('[[deny]]\nname = "a\\u001b[31m"\ntargets = ["*:1"]', "line 2, key 'name'", "printable"),
        (f"[[deny]]\nname = '{'x' * 65}'\ntargets = ['*:1']", "line 2, key 'name'", "not a string of 1 to 64"),
        ("[[deny]]\nname = 'a'\ntargets = ['*:1']\n[[allow]]\nname = 'a'\ntargets = ['*:1']", "line 5, key 'name'", "another rule"),
        ("[[allow]]\ntargets = ['*:1'", "line 2", "not TOML: "),
        ("[[allow]]\ntargets = ['*:1']\ntargets = ['*:2']", "line 3", "not TOML: cannot overwrite a value"),
        ("x = 1\n = 2\n", "line 2", "not TOML: invalid statement"),
        ('[[deny]]\ntargets = ["*:1"]\nusers = ["CORP\\bob"]', "line 3, key 'users'", "it contains a control character"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line_and_key(text: str, where: str, cause: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_policy(path)
    assert caught.value.what == f"policy file {path}, {where}"
    assert cause in caught.value.cause


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[[deny]]\ntargets = ['*:1']\nclients = []", "leave the key out only if the rule is for everyone"),
        ("[[deny]]\ntargets = ['*:1']\nusers = []", "leave the key out only if the rule is for everyone"),
        ("[[deny]]\ntargets = []", 'for example targets = ["*.example.com:443"]'),
        ("[[deny]]", 'for example targets = ["*.example.com:443"]'),
    ],
)
def test_the_hint_for_an_empty_list_can_be_followed(text: str, hint: str, tmp_path: Path) -> None:
    """A rule without users or clients is for all of them; one without targets is an error."""
    with pytest.raises(SettingsError) as caught:
        load_policy(write(tmp_path, text))
    assert hint_of(caught.value) == hint


@pytest.mark.parametrize("user", ["CORP\\user", "CORP\\alice", "CORP\\bob"])
def test_the_hint_explains_a_backslash_in_double_quotes(user: str, tmp_path: Path) -> None:
    """Read as an escape, it would yield a rule for a user that does not exist."""
    with pytest.raises(SettingsError) as caught:
        load_policy(write(tmp_path, f'[[deny]]\ntargets = ["*:1"]\nusers = ["{user}"]\n'))
    assert hint_of(caught.value) == BACKSLASH.text


def test_a_byte_order_mark_is_not_part_of_the_file(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path, "\ufeff[[allow]]\ntargets = ['a.test:1']\n")).allow[0].text.startswith("a.test:1")


@pytest.mark.parametrize("text", ["", "# none\n"])
def test_a_file_without_rules_is_an_error(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_policy(path)
    assert str(caught.value) == f"policy file {path}: it contains no rules"


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load_policy(str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="is a directory"):
        load_policy(str(tmp_path))
    path = tmp_path / "policy"
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_policy(str(path))
    monkeypatch.setattr(under_test, "MAX_FILE", 1)
    path.write_text("  ")
    with pytest.raises(SettingsError, match="longer than"):
        load_policy(str(path))


def test_serve_does_not_start_with_a_broken_policy(tmp_path: Path) -> None:
    with started("serve", "--listen", "127.0.0.1:0", "--policy", write(tmp_path, "[[allow]]\ntargets = ['x']")) as process:
        assert process.wait(SECONDS) == ExitStatus.SETTINGS
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert said.startswith(f"tunnelctl: policy file {tmp_path}/policy.toml, line 2, key 'targets': rule 'x': the port is missing\n")


# --- rules by user and client


@pytest.mark.usefixtures("cheap_hashes")
def test_a_rule_applies_to_its_user_only(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target:
        policy = write(tmp_path, f'[[allow]]\ntargets = ["127.0.0.1:{target.port}"]\nusers = ["alice"]\n')
        with Proxy("a.test:1", policy=policy, users=users_file(tmp_path, alice="a", bob="b")) as proxy:
            with proxy.tunnel(target.authority, basic("alice", "a")) as client:
                assert client.echoes()
            assert proxy.refusal(target.authority, basic("bob", "b")).error == "http_request_denied"
            rules = {
                record["user"]: record["rule"] for record in proxy.wait_for_records(3) if record["event"] in ("opened", "refused")
            }
    assert rules == {"alice": f"allow {target.authority} (line 1)", "bob": "no allow rule"}


def test_a_rule_applies_to_its_client_only(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target:
        policy = write(tmp_path, f'[[deny]]\nname = "guests"\ntargets = ["{target.authority}"]\nclients = ["127.0.0.7"]\n')
        with Proxy(policy=policy) as proxy:
            with proxy.tunnel(target.authority, source="127.0.0.8") as client:
                assert client.echoes()
            answer = proxy.ask(connect_request(target.authority), source="127.0.0.7")
            assert answer.error == "destination_ip_prohibited"
            rules = {record["rule"] for record in proxy.wait_for_records(3) if record["event"] in ("opened", "refused")}
    assert rules == {"allow 127.0.0.1:*", f"deny {target.authority} (guests)"}


def test_a_report_rule_is_logged_and_refuses_nothing(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target:
        policy = write(tmp_path, '[[report]]\nname = "soon"\ntargets = ["127.0.0.1:*"]\n[[report]]\ntargets = ["*:1"]\n')
        with Proxy(policy=policy) as proxy, proxy.tunnel(target.authority) as client:
            assert client.echoes()
            (record,) = proxy.wait_for_records(1)
    assert (record["event"], record["rule"], record["reports"]) == ("opened", "allow 127.0.0.1:*", ["report 127.0.0.1:* (soon)"])


def test_rules_limited_to_clients_are_no_open_proxy(tmp_path: Path) -> None:
    personal = '[[allow]]\ntargets = ["*:443"]\nclients = ["192.0.2.0/24"]\n'
    with Proxy(listen=("0.0.0.0:0",), policy=write(tmp_path, personal), allow=()) as proxy:
        assert proxy.addresses
    for more in ('[[allow]]\ntargets = ["*:22"]\n', '[[allow]]\ntargets = ["*:22"]\nclients = ["0.0.0.0/0"]\n'):
        with (
            pytest.raises(UsageProblem, match="open proxy"),
            Proxy(listen=("0.0.0.0:0",), policy=write(tmp_path, personal + more), allow=()),
        ):
            raise AssertionError("it started")


# --- SIGHUP


def test_sighup_puts_the_new_rules_in_force(tmp_path: Path) -> None:
    with ScriptedServer(echo) as one, ScriptedServer(echo) as two:
        with Proxy(policy=write(tmp_path, opened(one.port)), allow=()) as proxy:
            with proxy.tunnel(one.authority) as client:
                assert proxy.refusal(two.authority).status == 403
                write(tmp_path, opened(two.port))
                proxy.hang_up()
                wait_until(lambda: bool(proxy.events("reloaded")), SECONDS, "the new policy")
                assert proxy.events("reloaded") == [{"what": "policy", "now": "1 rule"}]
                assert proxy.refusal(one.authority).status == 403
                with proxy.tunnel(two.authority) as other:
                    assert other.echoes()
                assert client.echoes(), "an open tunnel stays open"


def test_a_broken_policy_changes_nothing_on_reload(tmp_path: Path) -> None:
    with ScriptedServer(echo) as one:
        path = write(tmp_path, opened(one.port))
        with Proxy(policy=path, allow=()) as proxy:
            write(tmp_path, '[[allow]]\ntargets = ["*:*"]\n[[deny]]\ntargets = ["x"]\n')
            proxy.hang_up()
            wait_until(lambda: bool(proxy.warnings), SECONDS, "the warning")
            assert proxy.warnings == [
                f"the old policy stays in force: policy file {path}, line 4, key 'targets': rule 'x': the port is missing "
                "(hint: write HOST:PORT, HOST:LO-HI or HOST:*)"
            ]
            held, port = refusing_port()
            with held:
                assert proxy.refusal(f"127.0.0.1:{port}").status == 403
            with proxy.tunnel(one.authority) as client:
                assert client.echoes()
            assert proxy.events("reloaded") == []


def test_a_reload_that_would_make_an_open_proxy_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, '[[allow]]\ntargets = ["*:443"]\nclients = ["192.0.2.0/24"]\n')
    with Proxy(listen=("0.0.0.0:0",), policy=path, allow=()) as proxy:
        write(tmp_path, '[[allow]]\ntargets = ["*:443"]\n')
        proxy.hang_up()
        wait_until(lambda: bool(proxy.warnings), SECONDS, "the warning")
        assert "open proxy" in proxy.warnings[0]
        assert proxy.events("reloaded") == []


def answered(address: tuple[str, int] | str, target: str) -> int:
    with Client(address) as client:
        client.send(connect_request(target))
        return int(client.head()[9:12])


@pytest.mark.parametrize(
    "count", ["1", pytest.param("2", marks=pytest.mark.linux("SO_REUSEPORT, by which 20 connections reach both"))]
)
def test_sighup_to_the_main_process_reaches_every_worker(count: str, tmp_path: Path) -> None:
    with ScriptedServer(echo) as one, ScriptedServer(echo) as two:
        path = write(tmp_path, opened(one.port))
        with workers("--workers", count, "--policy", path, "--deny", "127.0.0.9:*", allow=False) as serve:
            pids = serve.pids()
            assert {answered(serve.address, two.authority) for _ in range(20)} == {403}
            write(tmp_path, opened(two.port))
            serve.process.send_signal(signal.SIGHUP)
            assert serve.line() == "tunnelctl: the policy was read again: 2 rules\n"

            def all_have() -> bool:
                return {answered(serve.address, two.authority) for _ in range(20)} == {200}

            wait_until(all_have, SECONDS, "the new rules in every worker")
            assert {answered(serve.address, one.authority) for _ in range(20)} == {403}
            write(tmp_path, "[[allow]]\n")
            serve.process.send_signal(signal.SIGHUP)
            assert "line 1, key 'targets': missing" in serve.line()
            assert {answered(serve.address, two.authority) for _ in range(20)} == {200}
            assert serve.pids() == pids
            serve.process.terminate()
            assert "warning" not in serve.rest(), "one warning in all, not one per worker"


def test_without_a_policy_file_sighup_ends_the_process() -> None:
    with started("serve", "--listen", "127.0.0.1:0") as process:
        wait_for_line(process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(SECONDS) == -signal.SIGHUP


def wait_for_line(process: "subprocess.Popen[bytes]") -> None:
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"listening on ")
