"""The start lines of `serve`: what they report to a person, and that they match the settings in force."""

import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.options import serve_options
from tests.peers import certificates
from tests.peers.process import path_of, wait_until
from tests.peers.program import RUN_SECONDS, Serve, environment, started
from tests.server.harness import SECONDS, Client, users_file
from tunnelctl.events import Event, Warning
from tunnelctl.server.announcement import Announcement, announcing
from tunnelctl.server.events import Listening
from tunnelctl.server.policy.file import load_policy
from tunnelctl.server.policy.rules import DEFAULT_ALLOW, Policy, parse_client, parse_rule
from tunnelctl.stream.events import Stopped
from tunnelctl.stream.listen import ListenAddress

LOOPBACK, ANY = ListenAddress("127.0.0.1", 3128), ListenAddress("0.0.0.0", 3128)
SOCKET = ListenAddress("", 0, "/run/proxy")


def said(*arguments: str, allow: tuple[str, ...] = ()) -> list[str]:
    """Returns what `serve` prints from its listening lines until it is stopped, with 3128 in place of the port."""
    with Serve(*arguments, allow=allow) as serve:
        port = serve.port
    lines = serve.log().replace(f":{port}", ":3128").splitlines()
    assert lines.pop() == "tunnelctl: stopped"
    return lines


# --- the text


def test_start_lines_of_a_proxy_without_configuration() -> None:
    assert said() == [
        "listening on 127.0.0.1:3128",
        "tunnelctl: targets: every public address, port 443",
        "tunnelctl: clients: this machine",
        "tunnelctl: use it: export https_proxy=http://127.0.0.1:3128",
    ]


def test_start_lines_fit_into_80_columns() -> None:
    assert (
        max(
            map(
                len,
                said(
                    "--plain-http", "--deny", "*:22", "--workers", "2", "--access-log", "/var/log/access", "--admin", "127.0.0.1:0"
                ),
            )
        )
        <= 80
    )


def test_start_lines_with_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cheap_hashes: None) -> None:
    monkeypatch.chdir(tmp_path)
    files = certificates.make(tmp_path)
    users_file(tmp_path, alice="x", bob="y")
    (tmp_path / "policy.toml").write_text("[[report]]\ntargets = ['*:22']\n")
    tls = ["--tls-cert", files.chain.name, "--tls-key", files.key.name, "--client-ca", files.authority.name]
    rules = ["--policy", "policy.toml", "--allow", "*:443", "--allow", "*:22", "--deny", "a.example:443"]
    rest = ["--users", "users", "--workers", "2", "--access-log", "log", "--admin", "127.0.0.1:0"]
    *lines, admin = said(*tls, *rules, *rest, "-x", "http://al:pw@one:3128,two", "-x", "socks5://three")
    assert lines == [
        "listening on 127.0.0.1:3128",
        "tunnelctl: targets: *:443, *:22",
        "tunnelctl: denied: a.example:443",
        "tunnelctl: report only: *:22",
        "tunnelctl: policy file: policy.toml",
        "tunnelctl: clients: this machine, login required (2 users), certificate of authority.pem required",
        "tunnelctl: use it: export https_proxy=https://USER:PASSWORD@127.0.0.1:3128",
        "tunnelctl: next proxy: http://al:***@one:3128 or http://two:80, then socks5://three:1080",
        "tunnelctl: TLS: certificate valid until 3000-01-01 00:00 UTC",
        "tunnelctl: workers: 2",
        "tunnelctl: access log: log",
    ]
    assert admin.startswith("tunnelctl: status page: http://127.0.0.1:")


def test_start_lines_follow_the_last_listening_line(tmp_path: Path) -> None:
    """By then every address accepts connections."""
    lines = said("--listen", f"unix:{tmp_path}/proxy")
    assert lines[1:3] == [f"listening on unix:{tmp_path}/proxy", "tunnelctl: targets: every public address, port 443"]


def accepts(path: Path) -> bool:
    """The socket has its name before it accepts connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_q_suppresses_the_start_lines(tmp_path: Path) -> None:
    path = tmp_path / "proxy"
    with started("serve", "-q", "--listen", f"unix:{path}", "--admin", "127.0.0.1:0") as process:
        wait_until(lambda: accepts(path), SECONDS, "the socket")
        with Client(str(path)) as client:
            client.send(b"NONSENSE\r\n\r\n")
            assert client.answer().status == 400
        process.terminate()
        assert process.communicate(timeout=SECONDS)[1] == b""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_start_facts_as_json(workers: str) -> None:
    with Serve("--json", "--workers", workers, "--admin", "127.0.0.1:0") as serve:
        pass
    events = [json.loads(line) for line in serve.log().splitlines()]
    assert [event["event"] for event in events] == ["listening", "serving", "admin", "stopped"], "only one process reports"
    facts = {name: value for name, value in events[1].items() if name not in ("event", "time", "url")}
    assert facts == {
        "allow": ["127.0.0.1:*"], "deny": [], "report": [], "policy": "", "reach": "machine", "personal": False, "networks": [],
        "users": None, "client_ca": "", "proxies": [], "certificate": "", "plain_http": False, "port_80": True,
        "workers": int(workers), "access_log": "",
    }  # fmt: skip
    assert events[1]["url"] == serve.url


# --- the admin pages


@pytest.mark.peer("curl")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_line_of_the_status_page_names_working_pages(workers: str) -> None:
    """With port 0, only this line tells which port it is."""
    with Serve("--admin", "127.0.0.1:0", "--workers", workers) as serve:
        url, more = admin_line(serve, "status page").split(" ", 1)
        assert more == "(also /metrics, /status …)"
        for page in (url, f"{url}metrics", f"{url}status"):
            assert curl(page)


@pytest.mark.peer("curl")
def test_the_printed_curl_command_for_a_unix_socket_works(tmp_path: Path) -> None:
    with Serve("--admin", f"unix:{tmp_path}/the admin") as serve:
        command = admin_line(serve, "metrics")
        assert command == f"curl --unix-socket '{tmp_path}/the admin' http://localhost/metrics"
        done = subprocess.run(["/bin/sh", "-c", f"exec {command}"], capture_output=True, timeout=RUN_SECONDS, env=environment())
    assert b"tunnelctl_connections" in done.stdout


def admin_line(serve: Serve, name: str) -> str:
    """Returns the text of the line of that name."""
    wait_until(lambda: "\n" in serve.log().partition(f"tunnelctl: {name}: ")[2], SECONDS, "the line of --admin")
    return serve.log().partition(f"tunnelctl: {name}: ")[2].partition("\n")[0]


def curl(url: str) -> bytes:
    command = [path_of("curl"), "-sSf", url]
    return subprocess.run(command, capture_output=True, timeout=RUN_SECONDS, env=environment(), check=True).stdout


# --- the facts


def facts(*bound: ListenAddress, policy: Policy | None = None, users: int | None = None, **options: object) -> dict[str, object]:
    told: list[Event] = []
    given = serve_options(**options)
    announcement = Announcement(given, bound, policy or Policy(), users, "valid until then" if given.tls_cert else "", None)
    announcement.tell(told.append)
    (serving,) = told
    return serving.facts()


@pytest.mark.parametrize(
    ("bound", "reach", "url"),
    [
        ((LOOPBACK,), "machine", "http://127.0.0.1:3128"),
        ((SOCKET,), "socket", ""),
        ((SOCKET, LOOPBACK), "machine", "http://127.0.0.1:3128"),
        ((ANY,), "network", ""),
        ((ANY, LOOPBACK), "network", "http://127.0.0.1:3128"),
        ((ListenAddress("::", 1), ListenAddress("2001:db8::1", 2)), "network", "http://[2001:db8::1]:2"),
    ],
)
def test_reach_and_url_follow_the_listeners(bound: tuple[ListenAddress, ...], reach: str, url: str) -> None:
    found = facts(*bound)
    assert (found["reach"], found["url"]) == (reach, url)


def test_no_allow_rule_differs_from_the_equivalent_rule() -> None:
    assert facts(LOOPBACK)["allow"] == []
    assert facts(LOOPBACK, policy=Policy((parse_rule("*:443"),)))["allow"] == ["*:443"]


def test_rules_of_a_file_are_shown_without_their_names(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("[[allow]]\nname = 'web'\ntargets = ['*:443', '*.a.example:22']\n")
    assert facts(LOOPBACK, policy=load_policy(f"{tmp_path}/policy"))["allow"] == ["*:443", "*.a.example:22"]


def test_personal_if_every_allow_rule_names_clients() -> None:
    rule = parse_rule("*:443")._replace(clients=(parse_client("192.0.2.0/24"),))
    assert facts(ANY, policy=Policy((rule,)))["personal"] is True
    assert facts(ANY, policy=Policy((rule, *DEFAULT_ALLOW)))["personal"] is False


def test_networks_of_the_allow_rules_that_can_apply() -> None:
    """Where nobody can log in, a rule for users admits no one."""
    rule = parse_rule("*:443")
    here, there = (rule._replace(clients=(parse_client(text),)) for text in ("192.0.2.0/24", "2001:db8::1"))
    alice = rule._replace(users=frozenset({"alice"}))
    everywhere = rule._replace(clients=(parse_client("0.0.0.0/0"),))
    assert facts(ANY, policy=Policy((here, there, here)))["networks"] == ["192.0.2.0/24", "2001:db8::1"]
    assert facts(ANY, policy=Policy((here, rule)))["networks"] == []
    assert facts(ANY, policy=Policy((here, everywhere)))["networks"] == []
    assert facts(ANY, policy=Policy((here, alice)))["networks"] == ["192.0.2.0/24"]
    assert facts(ANY, policy=Policy((here, alice)), users=1)["networks"] == []


def test_facts_are_reported_once_after_the_last_listener() -> None:
    seen: list[Event] = []
    told, warning, listening = Stopped(), Warning("x"), Listening("a:1")
    trace = announcing(seen.append, 2, lambda trace: trace(told))
    for event in (warning, listening, warning, listening, warning, listening):
        trace(event)
    assert seen == [warning, listening, warning, listening, told, warning, listening]
