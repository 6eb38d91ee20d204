"""`ssh-config`: what it prints is given to the real ssh and git, through the three shells that may run it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.gitserver import git, make_repository
from tests.peers.openssh import HOST, Sshd, sshd
from tests.peers.process import path_of
from tests.peers.program import RUN_SECONDS, SCRIPT, Forward, Serve, environment
from tests.peers.scripted import Conversation, ScriptedServer
from tunnelctl.cli.app import parse
from tunnelctl.cli.ssh_config import git_quote, program, quote, ssh_config
from tunnelctl.errors import UsageProblem
from tunnelctl.server.users import hash_password

# A name that ssh_config, the shell and git would each read differently if it were not quoted for all of them.
AWKWARD = 'it\'s 50%h "of" $HOME `a\\b` #x'


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd() as running:
        yield running


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The flags that lead through a proxy which wants a password; the file with it has an awkward name."""
    directory = tmp_path_factory.mktemp("login")
    (directory / "users").write_text(f"{hash_password('alice', 'x')}\n")
    (directory / AWKWARD).write_text("alice:x\n")
    (directory / AWKWARD).chmod(0o600)
    with Serve("--users", str(directory / "users")) as proxy:
        yield ["-x", proxy.url, "--proxy-auth-file", str(directory / AWKWARD), "--header", "X-Note: 'a' \"b\" \\ $c %p"]


def printed(*words: str) -> str:
    done = subprocess.run([SCRIPT, "ssh-config", *words], capture_output=True, env=environment(), timeout=RUN_SECONDS, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def text(*words: str) -> str:
    return ssh_config(parse(["ssh-config", *words]))


# --- used by the programs


@pytest.mark.peer("ssh", "sshd", "ssh-keygen", "zsh", "fish")
@pytest.mark.parametrize("shell", ["sh", "zsh", "fish"])
@pytest.mark.parametrize("extra", [(), ("--idle-timeout", "60")], ids=["passed", "relayed"])
def test_ssh_with_the_block(server: Sshd, login: list[str], tmp_path: Path, shell: str, extra: tuple[str, ...]) -> None:
    block = printed(*login, *extra, "127.0.0.*", "other.example.com")
    assert ("\n    ProxyUseFdpass yes\n" in block, " --fdpass " in block) == (not extra, not extra)
    settings = tmp_path / "config"
    settings.write_text(block + server.settings.read_text())
    command = [path_of("ssh"), "-F", str(settings), HOST, "echo through"]
    env = environment({"SHELL": path_of(shell), "HOME": str(tmp_path)})
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, cwd=tmp_path, timeout=RUN_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through\n", b"")


@pytest.mark.peer("git", "ssh", "sshd", "ssh-keygen")
def test_git_with_its_lines(server: Sshd, login: list[str], tmp_path: Path) -> None:
    make_repository(tmp_path, b"content")
    settings = tmp_path / "gitconfig"
    settings.write_text(printed("--git", *login, HOST))
    settings.write_text(settings.read_text().replace('"ssh -o', f'"{path_of("ssh")} -F {server.settings} -o'))
    url = f"ssh://{HOST}{tmp_path}/repo.git"
    assert git("ls-remote", url, "main", GIT_CONFIG_GLOBAL=str(settings)).endswith("\trefs/heads/main\n")


@pytest.mark.peer("git")
def test_git_asks_the_proxy_for_a_domain(tmp_path: Path) -> None:
    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    settings = tmp_path / "gitconfig"
    settings.write_text(printed("--git", "-x", "http://proxy", "*.example.test"))
    with ScriptedServer(refuse) as proxy:
        env = {"GIT_CONFIG_GLOBAL": str(settings), "TUNNELCTL_PROXY": proxy.url}
        with pytest.raises(AssertionError, match=r"tunnelctl: .*403"):
            git("ls-remote", "git://git.example.test/repo.git", **env)
    assert proxy.heads[0].startswith(b"CONNECT git.example.test:9418 HTTP/1.1\r\n")


# --- what stands in it


def test_a_block(monkeypatch):
    monkeypatch.setattr(sys, "argv", [SCRIPT])
    assert text("-x", "proxy:3128", "-4", "--retry", "2", "*.example.com", "!a.example.com") == (
        "Host *.example.com !a.example.com\n"
        f"    ProxyCommand {SCRIPT} connect --fdpass -x proxy:3128 -4 --retry 2 %h %p\n"
        "    ProxyUseFdpass yes\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("h",),
        ("-x", "direct", "h"),
        ("-x", "proxy", "--idle-timeout=9", "h"),
        ("-x", "https://p", "h"),
        ("-x", "http://p,https://q", "h"),
        ("-x", "http://p", "-x", "https://q", "h"),
        ("--pac", "proxy.pac", "h"),
        ("--profile", "work", "h"),
    ],
    ids=" ".join,
)
def test_no_socket_is_passed_where_that_may_not_work(words):
    """Without -x the environment decides later what kind of proxy it is."""
    assert "assword" not in text(*words)
    assert "dpass" not in text(*words)


def test_paths_are_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert f" --proxy-auth-file {tmp_path}/f %h %p\n" in text("--proxy-auth-file", "f", "h")


def test_a_url_is_no_path():
    assert " --pac http://wpad/wpad.dat " in text("--pac", "http://wpad/wpad.dat", "host")


def test_a_url_stays_one():
    assert " --pac http://wpad/proxy.pac %h %p\n" in text("--pac", "http://wpad/proxy.pac", "h")


@pytest.mark.peer("ssh", "sshd", "ssh-keygen")
def test_a_socket_that_leads_through_socks(server: Sshd, tmp_path: Path) -> None:
    with Forward("-x", "direct", "-D", "0") as proxy:
        block = printed("-x", f"socks5://127.0.0.1:{proxy.port}", HOST)
        assert "ProxyUseFdpass yes" in block
        settings = tmp_path / "config"
        settings.write_text(block + server.settings.read_text())
        command = [path_of("ssh"), "-F", str(settings), HOST, "echo through"]
        env = environment({"SHELL": "/bin/sh"})
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=RUN_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through\n", b"")


def test_the_program_is_this_one(monkeypatch, tmp_path):
    link = tmp_path / "tunnelctl"
    link.symlink_to(SCRIPT)
    monkeypatch.setattr(sys, "argv", [str(link)])
    assert program() == [str(link)], "a link is kept: what it leads to may move"
    monkeypatch.setattr(sys, "argv", ["/somewhere/tunnelctl/__main__.py"])
    assert program() == [SCRIPT]
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert program() == ["/nowhere/python", "-m", "tunnelctl"]
    assert "gitProxy" not in text("--git", "h"), "git starts one program without words of its own"


def test_domains_of_git(monkeypatch):
    monkeypatch.setattr(sys, "argv", [SCRIPT])
    lines = text("--git", "a.example", "*.b.example", "*").splitlines()
    assert lines[2:] == [f'\tgitProxy = "{SCRIPT}{which}"' for which in (" for a.example", " for b.example", "")]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ((), "wants HOST, got nothing"),
        (("a b",), "a host or a pattern such as"),
        (('a"b',), "a host or a pattern such as"),
        (("a\nb",), "a host or a pattern such as"),
        (("#",), "a host or a pattern such as"),
        (("-x", "http://u:swordfish@p", "h"), "the URL has a password"),
        (("-x", "a", "-x", "u:swordfish@p", "h"), "the URL has a password"),
        (("-x", "http://a,http://u:swordfish@b", "h"), "the URL has a password"),
        (("--pac", "http://u:swordfish@a/proxy.pac", "h"), "the URL has a password"),
        (("--proxy-user", "u:swordfish", "h"), "--proxy-user has a password"),
        (("--header", "Cookie: swordfish", "h"), "the field Cookie is a secret"),
        (("--header", "proxy-authorization: Basic swordfish", "h"), "the field proxy-authorization is a secret"),
        (("-x", "ftp://p", "h"), "ftp:// is not supported"),
        (("--timeout", "x", "h"), "`x` is not a number"),
        (("--git", "a?c"), "git has no pattern like"),
    ],
)
def test_what_is_refused(words, cause):
    with pytest.raises(UsageProblem, match=cause) as caught:
        text(*words)
    assert "swordfish" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("word", "quoted"), [("a", "a"), ("a b", "'a b'"), ("", "''"), ("\\", '"\\\\"'), ("a\\b c", """a"\\\\"'b c'""")]
)
def test_quoting(word, quoted):
    assert quote(word) == quoted


def test_quoting_for_git():
    assert git_quote('a "b" \\') == '"a \\"b\\" \\\\"'
