"""`ssh-config --git`: its output is appended to the settings of the real git, which then connects to several hosts."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.gitserver import git, make_repository
from tests.peers.openssh import HOST, Sshd, sshd
from tests.peers.process import path_of
from tests.peers.program import RUN_SECONDS, SCRIPT, Serve, environment, without_start_lines
from tests.peers.scripted import Conversation, ScriptedServer
from tunnelctl.cli.commands.git_config import git_quote, present_command
from tunnelctl.cli.commands.ssh_config import ssh_config
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.errors import UsageProblem
from tunnelctl.server.access.users import hash_password

OTHER = "127.0.0.2"  # a second host: all of 127.0.0.0/8 is this machine
AWKWARD = 'it\'s 50%h "of" $HOME `a\\b` #x'  # a name that ssh_config, two shells and git would each read differently


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd(address="0.0.0.0") as running:
        yield running


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that contains repo.git."""
    directory = tmp_path_factory.mktemp("git")
    make_repository(directory, b"content")
    return directory


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "gitconfig"
    file.write_text("[user]\n\tname = alice")  # no line break at the end
    return file


def printed(settings: Path, *words: str) -> tuple[str, str]:
    """Returns what the command prints on stdout and on stderr."""
    env = environment({"GIT_CONFIG_GLOBAL": str(settings), "GIT_CONFIG_NOSYSTEM": "1"})
    command = [SCRIPT, "ssh-config", "--git", *words]
    done = subprocess.run(command, capture_output=True, env=env, timeout=RUN_SECONDS, text=True)
    assert done.returncode == 0
    return done.stdout, done.stderr


def append(settings: Path, *words: str) -> str:
    """Does what `tunnelctl ssh-config --git WORDS >> FILE` does; returns its stderr."""
    lines, said = printed(settings, *words)
    with settings.open("a") as file:
        file.write(lines)
    return said


def ls_remote(settings: Path, server: Sshd, base: Path, host: str, **env: str) -> str:
    """Requests the branches of a host over ssh. PATH has an ssh that uses the settings of the test server."""
    ours = settings.with_name("bin")
    ours.mkdir(exist_ok=True)
    (ours / "ssh").write_text(f'#!/bin/sh\nexec {path_of("ssh")} -F {server.settings} "$@"\n')
    (ours / "ssh").chmod(0o755)
    settled: dict[str, Any] = {"PATH": f"{ours}:/usr/bin:/bin", "GIT_CONFIG_GLOBAL": str(settings), "SHELL": "/bin/sh", **env}
    return git("ls-remote", f"ssh://{host}{base}/repo.git", "main", **settled)


needs_ssh = pytest.mark.peer("git", "ssh", "sshd", "ssh-keygen")


# --- in real use by git


@needs_ssh
def test_only_the_named_host_uses_the_proxy(server: Sshd, base: Path, settings: Path, tmp_path: Path) -> None:
    """The flags include a login and a file whose name every program on the path must pass on unchanged."""
    (tmp_path / "users").write_text(f"{hash_password('alice', 'x')}\n")
    (tmp_path / AWKWARD).write_text("alice:x\n")
    (tmp_path / AWKWARD).chmod(0o600)
    with Serve("--users", str(tmp_path / "users"), "-v") as proxy:
        awkward = ["--proxy-auth-file", str(tmp_path / AWKWARD), "--header", "X-Note: 'a' \"b\" \\ $c %p"]
        append(settings, "-x", proxy.url, *awkward, HOST)
        for host in (HOST, OTHER):
            assert ls_remote(settings, server, base, host).endswith("\trefs/heads/main\n")
    assert f"tunnel to {HOST}:{server.port} open" in proxy.log()
    assert OTHER not in proxy.log()


@needs_ssh
@pytest.mark.parametrize(
    ("hosts", "rerouted"),
    [
        ((HOST, OTHER), {HOST, OTHER}),
        (("127.0.0.10", "27.0.0.1", "0.0.1", "ssh"), set()),
        (("*.0.0.2",), {OTHER}),
        (("*",), {HOST, OTHER}),
    ],
)
def test_host_patterns_decide_which_hosts_use_the_proxy(
    server: Sshd, base: Path, settings: Path, hosts: tuple[str, ...], rerouted: set[str]
) -> None:
    with Serve("-v", allow=("127.0.0.0/8:*",)) as proxy:
        append(settings, "-x", proxy.url, *hosts)
        for host in (HOST, OTHER):
            assert ls_remote(settings, server, base, host).endswith("\trefs/heads/main\n")
    assert {host for host in (HOST, OTHER) if f"tunnel to {host}:" in proxy.log()} == rerouted


@needs_ssh
def test_a_user_before_the_host_does_not_change_the_host(server: Sshd, base: Path, settings: Path) -> None:
    with Serve("-v") as proxy:
        append(settings, "-x", proxy.url, OTHER)
        user = next(line.split()[1] for line in server.settings.read_text().splitlines() if line.startswith("    User "))
        assert ls_remote(settings, server, base, f"{user}@{HOST}").endswith("\trefs/heads/main\n")
        assert OTHER not in proxy.log()
        assert HOST + ":" not in without_start_lines(proxy.log()).replace(f"127.0.0.1:{proxy.port}", "")


@needs_ssh
def test_git_ssh_from_the_environment_still_applies(server: Sshd, base: Path, settings: Path, tmp_path: Path) -> None:
    """GIT_SSH names a program for all hosts, which a plain core.sshCommand would override."""
    wrapper, seen = tmp_path / "my ssh", tmp_path / "seen"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {seen}\nexec {path_of("ssh")} -F {server.settings} "$@"\n')
    wrapper.chmod(0o755)
    append(settings, "-x", "http://127.0.0.1:9", HOST)
    assert ls_remote(settings, server, base, OTHER, GIT_SSH=str(wrapper)).endswith("\trefs/heads/main\n")
    assert f" {OTHER} git-upload-pack " in seen.read_text()


@pytest.mark.peer("git")
def test_git_requests_a_git_url_of_a_domain_from_the_proxy(settings: Path) -> None:
    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    append(settings, "-x", "http://proxy", "*.example.test")
    with ScriptedServer(refuse) as proxy:
        env: dict[str, Any] = {"GIT_CONFIG_GLOBAL": str(settings), "TUNNELCTL_PROXY": proxy.url}
        with pytest.raises(AssertionError, match=r"tunnelctl: .*403"):
            git("ls-remote", "git://git.example.test/repo.git", **env)
    assert proxy.heads[0].startswith(b"CONNECT git.example.test:9418 HTTP/1.1\r\n")


# --- appended to an existing file


@pytest.mark.peer("git")
@pytest.mark.parametrize(
    "before",
    [
        "",
        "[user]\n\tname = bob\n",
        "[user]\n\tname = bob",
        "[user]\r\n\tname = bob\r\n",
        "[user]\r\n\tname = bob",
        "[user]\n\tname = bob # the end",
        "[user]\n\tname = bob\\",  # the line continues, but the file ends
        "[core]\n\tgitProxy = own for c.example\n[user] name = bob",
    ],
)
def test_the_output_can_be_appended_to_any_gitconfig(tmp_path: Path, before: str) -> None:
    file = tmp_path / "gitconfig"
    file.write_bytes(before.encode())
    lines, _ = printed(file, "-x", "http://proxy:3128", "a.example")
    for times in (1, 2):
        with file.open("ab") as end:
            end.write(lines.encode())
        found = git("config", "-f", str(file), "--list").splitlines()
        assert ("bob" in before) == ("user.name=bob" in found)
        own = ["core.gitproxy=own for c.example"] * ("own" in before)
        assert [line for line in found if line.startswith("core.gitproxy=")] == [
            *own,
            *[f"core.gitproxy={SCRIPT} for a.example"] * times,
        ]
        assert len([line for line in found if line.startswith("core.sshcommand=f() {")]) == times


# --- limits of git


def said(*words: str) -> list[str]:
    told: list[str] = []
    ssh_config(parse(["ssh-config", "--git", *words]), {}, lambda event: told.append(event.facts()["text"]))
    return told


@pytest.fixture
def started_as_a_script(monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT])
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def test_a_warning_names_the_flags_that_git_proxy_drops(started_as_a_script: None) -> None:
    """stdout is redirected to the file, so the warning goes to stderr."""
    flags, precision = said("-x", "http://a", "-x", "http://b", "--retry", "2", "a.example", "b.example")
    assert flags == (
        "git:// URLs go without -x, --retry: git gives core.gitProxy no flags; "
        "there the environment or the settings file has the proxy and its login"
    )
    assert precision == (
        "git:// URLs with a port stay direct, and those of hosts below a.example, b.example are rerouted too: "
        "core.gitProxy cannot be more specific"
    )
    assert said("*") == []


@pytest.mark.parametrize(
    ("hosts", "others"),
    [
        (("a.example",), ", and those of hosts below a.example are rerouted too"),
        (("*.a.example",), ", and those of a.example itself are rerouted too"),
        (("*.a.example", "b.example"), ", and those of a.example itself and hosts below b.example are rerouted too"),
        (("*.a.example", "a.example"), ""),
        (("192.0.2.1", "::1"), ""),
    ],
)
def test_a_warning_names_further_hosts_that_are_rerouted(started_as_a_script: None, hosts: tuple[str, ...], others: str) -> None:
    assert said(*hosts) == [f"git:// URLs with a port stay direct{others}: core.gitProxy cannot be more specific"]
    assert said("*", *hosts) == []


@pytest.mark.peer("git")
@pytest.mark.parametrize("named", ["a.example.test", "*.a.example.test"])
@pytest.mark.parametrize("host", ["a.example.test", "sub.a.example.test", "other.test"])
def test_git_does_not_distinguish_a_domain_from_its_subdomains(settings: Path, named: str, host: str) -> None:
    """This is the reason for the warning."""

    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    append(settings, named)
    with ScriptedServer(refuse) as proxy:
        env: dict[str, Any] = {"GIT_CONFIG_GLOBAL": str(settings), "TUNNELCTL_PROXY": proxy.url}
        with pytest.raises(AssertionError):
            git("ls-remote", f"git://{host}/repo.git", **env)
        assert len(proxy.heads) == (host != "other.test")


def test_the_warning_goes_to_stderr(settings: Path) -> None:
    lines, errors = printed(settings, "-x", "http://proxy", "*")
    assert "warning" not in lines
    assert errors == (
        "tunnelctl: warning: git:// URLs go without -x: git gives core.gitProxy no flags; "
        "there the environment or the settings file has the proxy and its login\n"
    )


def test_a_warning_if_git_already_has_an_ssh_command(settings: Path) -> None:
    """The last core.sshCommand applies to every host, also if each call adds lines for another host."""
    assert "core.sshCommand" not in append(settings, "-x", "http://proxy", "a.example")
    assert "core.sshCommand" not in printed(settings, "-x", "http://proxy", "a.example")[1], "the same lines change nothing"
    assert "core.sshCommand, and uses only the last" in printed(settings, "-x", "http://proxy", "b.example")[1]
    settings.write_text("[core]\n\tsshCommand = ssh -i ~/.ssh/work\n")
    assert "core.sshCommand, and uses only the last" in printed(settings, "*")[1]


def test_without_git_there_is_no_present_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert present_command() == ""


def test_a_warning_if_the_program_is_a_command_of_several_words(started_as_a_script: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """git runs core.gitProxy without a shell."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/tunnelctl/__main__.py"])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert said("h") == ["git:// URLs stay direct: core.gitProxy takes the path of a program and no arguments"]


def test_a_warning_if_the_path_of_the_program_contains_for(started_as_a_script: None, monkeypatch, tmp_path: Path) -> None:
    directory = tmp_path / "tools for work"
    directory.mkdir()
    (directory / "tunnelctl").symlink_to(SCRIPT)
    monkeypatch.setattr(sys, "argv", [str(directory / "tunnelctl")])
    assert said("h") == ["git:// URLs stay direct: core.gitProxy takes the path of a program and no arguments"]


# --- content


def test_lines_for_hosts_and_domains(settings: Path) -> None:
    lines = printed(settings, "a.example", "*.b.example", "*", "x;y")[0].splitlines()
    assert "case $word in a.example | *@a.example | *.b.example | * | 'x;y' | *'@x;y') exec " in lines[3]
    assert lines[4:] == [f'\tgitProxy = "{SCRIPT}{which}"' for which in (" for a.example", " for b.example", "", " for x;y")]


@pytest.mark.parametrize("host", ["a?c", "!a", "*a", "a*", "*.*", "*."])
def test_a_pattern_that_git_lacks_is_a_usage_error(host: str) -> None:
    with pytest.raises(UsageProblem, match="git does not support the pattern"):
        said(host)


def test_quoting_for_git() -> None:
    assert git_quote('a "b" \\') == '"a \\"b\\" \\\\"'
