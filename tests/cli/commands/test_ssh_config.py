"""`ssh-config`: its output is used by the real ssh, through the three shells that may run the command."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.harness import TraceLog
from tests.peers.openssh import HOST, Sshd, sshd
from tests.peers.process import path_of
from tests.peers.program import RUN_SECONDS, SCRIPT, Forward, Serve, environment
from tunnelctl.cli.commands.ssh_config import HEADING, NO_PROXY, program, quote, ssh_config
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import UsageProblem
from tunnelctl.events import silent
from tunnelctl.server.access.users import hash_password

# A name that ssh_config, the shell and git would each read differently without quoting for all of them.
AWKWARD = 'it\'s 50%h "of" $HOME `a\\b` #x'


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd() as running:
        yield running


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Flags for a proxy that requires a password; the file with the password has an awkward name."""
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
    return ssh_config(parse(["ssh-config", *words]), {}, silent)


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        ({}, NO_PROXY),
        ({"https_proxy": "http://p.test:1"}, "the lines name no proxy, so https_proxy must be set wherever ssh is started; "),
        (
            {"TUNNELCTL_PROXY": "http://p.test:1"},
            "the lines name no proxy, so TUNNELCTL_PROXY must be set wherever ssh is started; ",
        ),
        ({"XDG_CONFIG_HOME": "{home}", "https_proxy": "http://p.test:1"}, ""),
    ],
    ids=["nothing", "https_proxy", "TUNNELCTL_PROXY", "settings file"],
)
def test_lines_without_a_proxy_depend_on_what_ssh_finds(environ: dict[str, str], warning: str, tmp_path: Path) -> None:
    (tmp_path / "tunnelctl").mkdir()
    (tmp_path / "tunnelctl/config.toml").write_text('[defaults]\nproxy = "http://q.test:1"\n')
    trace = TraceLog()
    ssh_config(parse(["ssh-config", "h"]), {name: value.format(home=tmp_path) for name, value in environ.items()}, trace)
    assert [str(event["text"]).startswith(warning) for event in trace.named("warning")] == [True] * bool(warning)


# --- in real use


@pytest.mark.peer("ssh", "sshd", "ssh-keygen", "zsh", "fish")
@pytest.mark.parametrize("shell", ["sh", "zsh", "fish"])
@pytest.mark.parametrize("extra", [(), ("--idle-timeout", "60")], ids=["passed", "relayed"])
def test_ssh_connects_with_the_printed_block(
    server: Sshd, login: list[str], tmp_path: Path, shell: str, extra: tuple[str, ...]
) -> None:
    block = printed(*login, *extra, "127.0.0.*", "other.example.com")
    assert ("\n    ProxyUseFdpass yes\n" in block, " --fdpass " in block) == (not extra, not extra)
    settings = tmp_path / "config"
    settings.write_text(block + server.settings.read_text())
    command = [path_of("ssh"), "-F", str(settings), HOST, "echo through"]
    env = environment({"SHELL": path_of(shell), "HOME": str(tmp_path)})
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, cwd=tmp_path, timeout=RUN_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through\n", b"")


# --- appended to an existing file


@pytest.mark.peer("ssh")
@pytest.mark.parametrize(
    "before",
    [
        "",
        "\n",
        "Host b\n    User bob\n",
        "Host b\n    User bob",
        "Host b\r\n    User bob\r\n",
        "Host b\r\n    User bob",
        "Host b\n    User bob\n# the end",
        "Host b\n    User bob\n    ProxyCommand none",
    ],
)
def test_the_block_can_be_appended_to_any_ssh_config(tmp_path: Path, before: str) -> None:
    """The existing settings and the block keep their meaning, also after further calls for other hosts."""
    file = tmp_path / "config"
    file.write_bytes(before.encode())
    for host in ("a", "c", "a"):
        with file.open("ab") as end:
            end.write(printed("-x", f"http://proxy-{host}:3128", host).encode())
    for host in ("a", "c"):
        understood = settings_of(file, host)
        assert understood["proxycommand"] == f"{SCRIPT} connect --fdpass -x http://proxy-{host}:3128 %h %p"
        assert understood["proxyusefdpass"] == "yes"
    assert ("bob" in before) == (settings_of(file, "b")["user"] == "bob")
    assert settings_of(file, "b").get("proxycommand", "none") == "none"


def settings_of(file: Path, host: str) -> dict[str, str]:
    """Returns the settings that ssh reads for a host. One line that it does not understand makes it refuse every host."""
    command = [path_of("ssh"), "-T", "-G", "-F", str(file), host]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


# --- content


def test_through_a_named_forward_the_socket_can_always_be_passed() -> None:
    assert text("--via", "work", "host").endswith(" connect --fdpass --via work %h %p\n    ProxyUseFdpass yes\n")
    assert "ProxyUseFdpass" not in text("--via", "work", "--idle-timeout", "60", "host")


@pytest.mark.parametrize(("proxy", "passes"), [("http://proxy", True), ("https://proxy", False), ("direct", False)])
def test_with_auto_it_can_be_passed_if_that_is_possible_without_a_forward(proxy: str, passes: bool) -> None:
    block = text("--via", "auto", "-x", proxy, "host")
    assert f" -x {proxy} --via auto %h %p\n" in block
    assert ("ProxyUseFdpass yes" in block, "--fdpass" in block) == (passes, passes)


def test_a_named_forward_excludes_a_proxy() -> None:
    with pytest.raises(UsageProblem, match="--proxy and --via 'work' cannot be used together"):
        text("--via", "work", "-x", "http://proxy", "host")


def test_the_path_of_a_forward_becomes_absolute_and_its_name_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f" --via {tmp_path}/x.sock %h %p\n" in text("--via", "./x.sock", "host")
    assert " --via work %h %p\n" in text("--via", "work", "host")


def test_the_printed_block(monkeypatch):
    monkeypatch.setattr(sys, "argv", [SCRIPT])
    assert text("-x", "proxy:3128", "-4", "--retry", "2", "*.example.com", "!a.example.com") == HEADING + (
        "Host *.example.com !a.example.com\n"
        f"    ProxyCommand {SCRIPT} connect --fdpass -x proxy:3128 -4 --retry 2 %h %p\n"
        "    ProxyUseFdpass yes\n"
    )


SITES = [("github.com", "ssh.github.com"), ("gitlab.com", "altssh.gitlab.com"), ("bitbucket.org", "altssh.bitbucket.org")]


@pytest.mark.peer("ssh")
@pytest.mark.parametrize(("host", "name"), SITES)
def test_port_443_of_a_site(tmp_path: Path, host: str, name: str) -> None:
    """ssh reads the other name and port for that site, and for the other host only the command."""
    file = tmp_path / "config"
    file.write_text(printed("-x", "proxy:3128", "--port-443", host, "other.example"))
    read = settings_of(file, host)
    assert (read["hostname"], read["port"], read["proxyusefdpass"]) == (name, "443", "yes")
    assert read["proxycommand"].endswith(" connect --fdpass -x proxy:3128 %h %p")
    other = settings_of(file, "other.example")
    assert (other["hostname"], other["port"], other["proxycommand"]) == ("other.example", "22", read["proxycommand"])


def test_port_443_is_offered_in_a_comment() -> None:
    """It can be followed as written."""
    command = "    # If port 22 is refused: tunnelctl ssh-config --port-443 -x proxy github.com\n"
    assert command in text("-x", "proxy", "github.com", "other.example")
    assert "443" not in text("-x", "proxy", "other.example")
    assert "Port 443" in (followed := text(*command.split("ssh-config ")[1].split()))
    assert "-x proxy" in followed


def test_port_443_is_for_known_sites() -> None:
    with pytest.raises(UsageProblem, match="none of these hosts is known to have an ssh server on port 443: a, b") as caught:
        text("--port-443", "a", "b")
    assert hint_of(caught.value) == "--port-443 is for github.com, gitlab.com, bitbucket.org"
    with pytest.raises(UsageProblem, match="--git and --port-443 cannot be used together"):
        text("--git", "--port-443", "github.com")


@pytest.mark.parametrize(
    "words",
    [
        ("h",),
        ("-x", "direct", "h"),
        ("-x", "proxy", "--idle-timeout=9", "h"),
        ("-x", "https://p", "h"),
        ("-x", "http://p,https://q", "h"),
        ("-x", "http://p", "--http", "2", "h"),
        ("-x", "http://p", "-x", "https://q", "h"),
        ("--pac", "proxy.pac", "h"),
        ("--profile", "work", "h"),
    ],
    ids=" ".join,
)
def test_no_socket_is_passed_if_that_may_not_work(words):
    """Without -x, the environment decides later what kind of proxy it is."""
    assert "assword" not in text(*words)
    assert "dpass" not in text(*words)


def test_relative_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert f" --proxy-auth-file {tmp_path}/f %h %p\n" in text("--proxy-auth-file", "f", "h")


def test_a_pac_url_is_not_treated_as_a_path():
    assert " --pac http://wpad/wpad.dat " in text("--pac", "http://wpad/wpad.dat", "host")


def test_a_pac_url_is_passed_on_unchanged():
    assert " --pac http://wpad/proxy.pac %h %p\n" in text("--pac", "http://wpad/proxy.pac", "h")


@pytest.mark.peer("ssh", "sshd", "ssh-keygen")
def test_ssh_receives_a_socket_through_a_socks_proxy(server: Sshd, tmp_path: Path) -> None:
    with Forward("-x", "direct", "-D", "0") as proxy:
        block = printed("-x", f"socks5://127.0.0.1:{proxy.port}", HOST)
        assert "ProxyUseFdpass yes" in block
        settings = tmp_path / "config"
        settings.write_text(block + server.settings.read_text())
        command = [path_of("ssh"), "-F", str(settings), HOST, "echo through"]
        env = environment({"SHELL": "/bin/sh"})
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=RUN_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through\n", b"")


def test_the_block_names_this_program(monkeypatch, tmp_path):
    link = tmp_path / "tunnelctl"
    link.symlink_to(SCRIPT)
    monkeypatch.setattr(sys, "argv", [str(link)])
    assert program() == [str(link)], "a link must be kept: its destination may move"
    monkeypatch.setattr(sys, "argv", ["/somewhere/tunnelctl/__main__.py"])
    assert program() == [SCRIPT]
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert program() == ["/nowhere/python", "-m", "tunnelctl"]
    single = tmp_path / "tunnelctl.pyz"
    single.write_bytes(b"as a download leaves it")
    monkeypatch.setattr(sys, "argv", [str(single)])
    assert program() == ["/nowhere/python", str(single)]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ((), "missing argument HOST"),
        (("a b",), "a host, or a pattern such as"),
        (('a"b',), "a host, or a pattern such as"),
        (("a\nb",), "a host, or a pattern such as"),
        (("#",), "a host, or a pattern such as"),
        (("-x", "http://u:swordfish@p", "h"), "the URL has a password"),
        (("-x", "a", "-x", "u:swordfish@p", "h"), "the URL has a password"),
        (("-x", "http://a,http://u:swordfish@b", "h"), "the URL has a password"),
        (("--pac", "http://u:swordfish@a/proxy.pac", "h"), "the URL has a password"),
        (("--proxy-user", "u:swordfish", "h"), "--proxy-user has a password"),
        (("--header", "Cookie: swordfish", "h"), "the header field Cookie is a secret"),
        (("--header", "proxy-authorization: Basic swordfish", "h"), "the header field proxy-authorization is a secret"),
        (("-x", "ftp://p", "h"), "ftp:// is not supported"),
        (("--timeout", "x", "h"), "`x` is not a number"),
        (("--proxy-password-file", "/a\nb", "h"), "a path or a value has a line break"),
        (("--password-command", "a\rb", "h"), "a path or a value has a line break"),
    ],
)
def test_secrets_and_malformed_values_are_refused(words, cause):
    with pytest.raises(UsageProblem, match=cause) as caught:
        text(*words)
    assert "swordfish" not in f"{caught.value}{hint_of(caught.value)}"


@pytest.mark.parametrize(
    ("word", "quoted"), [("a", "a"), ("a b", "'a b'"), ("", "''"), ("\\", '"\\\\"'), ("a\\b c", """a"\\\\"'b c'""")]
)
def test_quoting_for_ssh_config_and_the_shell(word, quoted):
    assert quote(word) == quoted
