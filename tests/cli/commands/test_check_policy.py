"""`check-policy`: explains the decision of `serve`."""

import json
import socket
from pathlib import Path

import pytest

from tests.peers.program import run
from tests.server.harness import Names
from tunnelctl.cli.commands import check_policy as under_test
from tunnelctl.cli.commands.check_policy import CheckOptions, run_check
from tunnelctl.errors import AddressError, NameNotFound, SettingsError, Unreachable, UsageProblem
from tunnelctl.status import ExitStatus

POLICY = """
[[allow]]
name = "web"
targets = ["*:443"]
tls = "require"

[[allow]]
name = "ssh"
targets = ["*.example.test:22"]
users = ["alice"]
clients = ["192.0.2.0/24"]

[[deny]]
name = "evil"
targets = ["evil.test:*", "198.51.100.0/24:*"]

[[report]]
targets = ["8.8.4.0/24:*"]

[[report]]
name = "later"
targets = ["*:443"]
sni = "match"
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(under_test, "write_stdout", texts.append)
    return texts


def test_an_allowed_target_is_explained(policy, said):
    assert run_check(CheckOptions(), [policy, "8.8.8.8", "443"]) is ExitStatus.OK
    assert said == [
        "allowed: 127.0.0.1 to 8.8.8.8:443\n"
        "8.8.8.8: allowed by: allow *:443 (web)\n"
        "  allow *:443 (web): must carry TLS, or it is cut\n"
        "  report *:443 (later): must carry TLS with the target as its server name, or it is recorded\n"
        "  no match: deny evil.test:* (evil): another host\n"
        "  no match: deny 198.51.100.0/24:* (evil): another address\n"
        "  no match: allow *.example.test:22 (ssh): another port\n"
        "  no match: report 8.8.4.0/24:* (line 17): another address\n"
    ]


def test_a_target_refused_before_the_look_up_is_explained(policy, said, monkeypatch):
    names = Names(monkeypatch)
    assert run_check(CheckOptions(), [policy, "EVIL.test.:443"]) is ExitStatus.REFUSED
    assert said[0].startswith("refused: 127.0.0.1 to evil.test:443\nevil.test: refused by: deny evil.test:* (evil)\n")
    assert names.asked == []


def test_the_decision_depends_on_the_user_and_the_client(policy, said, monkeypatch):
    Names(monkeypatch, a_example_test=[["8.8.8.8"]])
    words = [policy, "a.example.test", "22"]
    assert run_check(CheckOptions(user="alice", client="192.0.2.7"), words) is ExitStatus.OK
    assert run_check(CheckOptions(user="alice", client="::ffff:192.0.2.7"), words) is ExitStatus.OK
    assert run_check(CheckOptions(user="alice", client="192.0.3.7"), words) is ExitStatus.REFUSED
    assert run_check(CheckOptions(client="192.0.2.7"), words) is ExitStatus.REFUSED
    first, second, *_ = said[0].splitlines()
    assert first == "allowed: alice at 192.0.2.7 to a.example.test:22"
    assert second == "8.8.8.8: allowed by: allow *.example.test:22 (ssh)"
    assert "  no match: allow *.example.test:22 (ssh): another client\n" in said[2]
    assert "  no match: allow *.example.test:22 (ssh): nobody is logged in\n" in said[3]


def test_each_address_of_a_name_is_judged(policy, said, monkeypatch):
    """One allowed address suffices, as for `serve`, which dials that one."""
    Names(monkeypatch, mixed_test=[["10.0.0.1", "8.8.4.4", "198.51.100.1", "10.0.0.1"]])
    assert run_check(CheckOptions(json=True), [policy, "mixed.test:443"]) is ExitStatus.OK
    answer = json.loads(said[0])
    assert (answer["allowed"], answer["target"], answer["user"], answer["client"]) == (True, "mixed.test:443", "", "127.0.0.1")
    assert [(a["address"], a["allowed"], a["rule"], a["error"]) for a in answer["addresses"]] == [
        ("10.0.0.1", False, "internal address", "destination_ip_prohibited"),
        ("8.8.4.4", True, "allow *:443 (web)", ""),
        ("198.51.100.1", False, "deny 198.51.100.0/24:* (evil)", "destination_ip_prohibited"),
    ]
    second = answer["addresses"][1]
    assert second["reports"] == ["report 8.8.4.0/24:* (line 17)"]
    assert second["demands"] == [
        {"rule": "allow *:443 (web)", "tls": True, "sni": False, "cut": True},
        {"rule": "report *:443 (later)", "tls": True, "sni": True, "cut": False},
    ]
    assert {"rule": "allow *.example.test:22 (ssh)", "reason": "another port"} in second["others"]


def test_rules_of_the_command_line_are_added_to_the_file(policy):
    assert run_check(CheckOptions(allow=("10.0.0.0/8:*",)), [policy, "10.0.0.1:80"]) is ExitStatus.OK
    assert run_check(CheckOptions(deny=("8.8.8.8:*",)), [policy, "8.8.8.8:443"]) is ExitStatus.REFUSED


def test_a_name_without_an_address_is_an_error(policy, monkeypatch):
    Names(monkeypatch, gone_test=[socket.gaierror(socket.EAI_NONAME, "x")])
    with pytest.raises(NameNotFound, match=r"cannot resolve gone\.test: no such host"):
        run_check(CheckOptions(), [policy, "gone.test:443"])


def test_a_silent_name_service_is_no_missing_name(policy, monkeypatch):
    Names(monkeypatch, gone_test=[socket.gaierror(socket.EAI_AGAIN, "x")])
    with pytest.raises(Unreachable, match=r"cannot resolve gone\.test: the name service does not answer"):
        run_check(CheckOptions(), [policy, "gone.test:443"])


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ([], "missing arguments FILE HOST PORT"),
        (["f"], "missing arguments HOST PORT"),
        (["f", "a", "1", "x"], "takes FILE HOST PORT, got 4 arguments"),
    ],
)
def test_a_wrong_number_of_words_is_a_usage_error(words, cause):
    with pytest.raises(UsageProblem, match=cause):
        run_check(CheckOptions(), words)


@pytest.mark.parametrize("client", ["", "host", "10.0.0.0/8", "127.1", "[::1"])
def test_a_client_that_is_not_an_address_is_a_usage_error(client, policy):
    with pytest.raises(UsageProblem, match="is not an IP address"):
        run_check(CheckOptions(client=client), [policy, "8.8.8.8:443"])


@pytest.mark.parametrize(("target", "error"), [("127.1:443", AddressError), ("a.test", AddressError), ("a.test:0", AddressError)])
def test_a_malformed_target_is_an_error(target, error, policy):
    with pytest.raises(error):
        run_check(CheckOptions(), [policy, target])


def test_a_mistake_in_the_policy_file_is_an_error(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[[allow]]\ntargets = ['x']\n")
    with pytest.raises(SettingsError, match="line 2, key 'targets'"):
        run_check(CheckOptions(), [str(path), "8.8.8.8:443"])


def test_the_program_prints_the_decision_and_sets_the_status(policy):
    done = run("check-policy", policy, "--user", "alice", "8.8.8.8", "80", "--json")
    assert (done.returncode, done.stderr) == (ExitStatus.REFUSED, b"")
    assert json.loads(done.stdout)["addresses"][0]["rule"] == "no allow rule"
    assert run("check-policy", policy, "[2606:4700::1111]:443").returncode == 0
    missing = run("check-policy", "missing.toml", "8.8.8.8", "443")
    assert (missing.returncode, missing.stderr) == (
        ExitStatus.SETTINGS, b"tunnelctl: policy file missing.toml: no such file or directory\n",
    )  # fmt: skip
