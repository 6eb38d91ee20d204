"""Runs each of the manual's EXAMPLES as printed, except that addresses are replaced by those of peers on loopback."""

import configparser
import os
import re
import shlex
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import httpx
import pytest

from tests.man.examples import EXAMPLES
from tests.peers import certificates
from tests.peers.https import web_server
from tests.peers.instances import PATIENT
from tests.peers.openssh import Sshd, sshd
from tests.peers.process import end, free_port, path_of, wait_until
from tests.peers.program import RUN_SECONDS, SCRIPT, Forward, Serve, connect, environment, run
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer
from tests.peers.stores import keyring_store, pass_store
from tests.peers.tree import in_tree
from tunnelctl.cli.parse.fast import parse_connect
from tunnelctl.cli.parse.settings import complete
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.parse.values import build, read_fields
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.client.forward.listeners import parse_local
from tunnelctl.control.instances import named
from tunnelctl.server.options import ServeOptions

PROXY = "http://proxy:3128"
WANTS_LOGIN = b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
needs_ssh = pytest.mark.peer("ssh", "sshd", "ssh-keygen")


SSH, GIT, SELFTEST = EXAMPLES["tunnelctl"]
FDPASS, VIA, LOGIN, CHAIN = EXAMPLES["connect"]
PORTS, NAMED, STRANGERS, SOCKET, SERVICE = EXAMPLES["forward"]
(RUN,) = EXAMPLES["run"]
RULES, PLAIN_HTTP, USERS, OVER_TLS, INSTALLATION, PROXY_SOCKET, PROXY_SERVICE, MEMBER, BALANCER = EXAMPLES["serve"]
(POLICY,) = EXAMPLES["policy"]
(WHETHER,) = EXAMPLES["check-policy"]
BLOCK, GIT_LINES = EXAMPLES["ssh-config"]
NPM, THROUGH_FORWARD, IN_PASS, IN_KEYRING, SCRIPTED = EXAMPLES["setup"]
ENV, ENV_FORWARD, ENV_VIA, ENV_IN_FISH = EXAMPLES["env"]
(PASS,) = EXAMPLES["hash-password"]
BASH, ZSH, FISH = EXAMPLES["completion"]
(CHECKED,) = EXAMPLES["selftest"]
SEARCH, WHY, AWAKE, SILENT, OFTEN, READ = EXAMPLES["check"]
(ONCE,) = EXAMPLES["status"]
(REPLACED,) = EXAMPLES["stop"]
FOLLOWED, ONE_LOOK = EXAMPLES["top"]
SETTINGS, CHOSEN = EXAMPLES["config"]
PAGE, MESSAGE = EXAMPLES["help"]


def test_every_example_of_every_page_is_used_here():
    """A new example makes the unpacking above fail; a new page makes this test fail."""
    assert {name for name, found in EXAMPLES.items() if found} == {"tunnelctl", "policy", "config", *(c.name for c in COMMANDS)}


def with_program(**extra: str) -> dict[str, str]:
    """An environment whose PATH contains `tunnelctl`."""
    return environment({"PATH": f"{Path(SCRIPT).parent}{os.pathsep}{os.environ['PATH']}", **extra})


def shell(lines: str, env: Mapping[str, str], cwd: Path, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["/bin/sh", "-c", lines], input=stdin, capture_output=True, env=env, cwd=cwd, timeout=RUN_SECONDS)


# --- settings


def test_the_example_settings_are_valid(tmp_path):
    """The file is valid as printed, and the line for ssh names a profile in it."""
    (tmp_path / "tunnelctl").mkdir()
    (tmp_path / "tunnelctl/config.toml").write_text(SETTINGS)
    words = shlex.split(CHOSEN.partition("ProxyCommand tunnelctl ")[2].replace("%h", "host").replace("%p", "22"))
    line = parse_connect(words, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert line.options.reach.proxy == ("http://proxy.example.net:3128",)
    assert (line.options.reach.proxy_user, line.options.reach.timeout) == ("alice", 10)
    lab = complete("forward", parse(["forward", "--profile", "lab"]).pairs, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert read_fields(lab.pairs)["ask_password"] is True


# --- ssh


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd() as running:
        yield running


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxy_to(port: int) -> Iterator[ScriptedServer]:
    """A proxy that connects every target to that port of this machine, because names such as host.example.com do not resolve."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.sock.settimeout(RUN_SECONDS)
        with socket.create_connection(("127.0.0.1", port), RUN_SECONDS) as far:
            back = threading.Thread(target=copy, args=(far, peer.sock), daemon=True)
            back.start()
            copy(peer.sock, far)
            back.join(RUN_SECONDS)

    with ScriptedServer(script) as proxy:
        yield proxy


@needs_ssh
@pytest.mark.parametrize("example", [SSH, FDPASS], ids=["relayed", "passed"])
def test_ssh_connects_with_the_lines_for_its_config(server: Sshd, tmp_path: Path, example: str) -> None:
    with proxy_to(server.port) as proxy:
        config = tmp_path / "config"
        config.write_text(example.replace(PROXY, proxy.url) + server.settings.read_text())
        command = [path_of("ssh"), "-F", str(config), "host.example.com", "echo through"]
        env = with_program(SHELL="/bin/sh")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=RUN_SECONDS)
    assert (done.returncode, done.stdout) == (0, b"through\n"), done.stderr
    assert proxy.heads[0].startswith(b"CONNECT host.example.com:%d HTTP/1.1\r\n" % server.port)


@needs_ssh
def test_ssh_connects_through_a_named_forward(server: Sshd, tmp_path: Path) -> None:
    """With the lines of connect's page, and with those that the commands of forward's page print."""
    start, block = NAMED.split("\ntunnelctl ssh-config", 1)
    with proxy_to(server.port) as proxy, tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as runtime:
        env = with_program(SHELL="/bin/sh", HOME=str(tmp_path), XDG_RUNTIME_DIR=runtime)
        words = shlex.split(start.replace("--warm 2 \\\n", "").replace("https://alice@proxy --ask-password", proxy.url))[2:]
        with Forward(*words, env=env):
            (tmp_path / ".ssh").mkdir()
            assert shell(f"tunnelctl ssh-config{block}", env, tmp_path).returncode == 0
            for lines in (VIA, (tmp_path / ".ssh/config").read_text()):
                config = tmp_path / "config"
                config.write_text(lines + server.settings.read_text())
                command = [path_of("ssh"), "-F", str(config), "host.example.com", "echo through"]
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=RUN_SECONDS)
                assert (done.returncode, done.stdout) == (0, b"through\n"), done.stderr
    assert proxy.heads[0].startswith(b"CONNECT host.example.com:%d HTTP/1.1\r\n" % server.port)


# --- other tools


def test_lines_for_npm_are_appended(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("fund=false")
    assert shell(NPM, with_program(HOME=str(tmp_path)), tmp_path).returncode == 0
    assert {"fund=false", "proxy=http://proxy:3128"} <= set((tmp_path / ".npmrc").read_text().splitlines())


@pytest.mark.peer("git")
def test_git_uses_a_forward_that_logs_in(tmp_path: Path) -> None:
    """The forward asks for the password only when the proxy requires it; git itself keeps none."""
    lines, forward = THROUGH_FORWARD.split("\n", 1)
    done = shell(lines, with_program(HOME=str(tmp_path)), tmp_path)
    assert done.returncode == 0
    port = "8080"
    assert f'proxy = "http://127.0.0.1:{port}"' in (tmp_path / ".gitconfig").read_text()
    call = parse(shlex.split(forward.replace("\\\n", ""))[1:])
    given = {flag.name: text for flag, text in call.pairs}
    assert (call.command, given["dynamic"], given["proxy"]) == ("forward", port, "http://alice@proxy:3128")
    assert given["password-command"] == "pass show proxy/alice"


@pytest.mark.parametrize(
    ("example", "peer"),
    [
        pytest.param(IN_PASS, "pass", marks=pytest.mark.peer("pass", "gpg")),
        pytest.param(IN_KEYRING, "keyring", marks=pytest.mark.peer("keyring")),
    ],
)
def test_a_store_keeps_the_password(tmp_path: Path, example: str, peer: str) -> None:
    """interop/test_password_stores.py logs in with it."""
    with pass_store() if peer == "pass" else nullcontext(keyring_store(tmp_path)) as variables:
        (tmp_path / ".config/tunnelctl").mkdir(parents=True)
        env = with_program(HOME=str(tmp_path), XDG_CONFIG_HOME=f"{tmp_path}/.config", **variables)
        done = shell(example, env, tmp_path, b"swordfish\nswordfish\n")
        assert done.returncode == 0, done.stderr
        given = read_fields(complete("connect", [], env).pairs)
        assert given["proxy_user"] == "alice"
        assert shell(str(given["password_command"]), env, tmp_path).stdout.splitlines()[0] == b"swordfish"


def test_a_script_finds_a_machine_that_is_not_set_up(tmp_path: Path) -> None:
    env = with_program(HOME=str(tmp_path))
    assert shell(SCRIPTED, env, tmp_path).returncode == 1
    assert shell("tunnelctl setup curl -x http://proxy:3128 >> ~/.curlrc", env, tmp_path).returncode == 0
    assert shell(SCRIPTED, env, tmp_path).returncode == 0


# --- local ports


def test_forward_opens_its_ports(tmp_path: Path) -> None:
    lines = PORTS.replace(" 5432:", " 0:").replace("-D 1080", "-D 0")  # these ports may be in use here
    process = subprocess.Popen(["/bin/sh", "-c", f"exec {lines}"], stderr=subprocess.PIPE, env=with_program(), cwd=tmp_path)
    assert process.stderr is not None
    try:
        fixed, any_target = (process.stderr.readline().partition(b" ->") for _ in range(2))
        assert fixed[0].rpartition(b":")[0] == any_target[0].rpartition(b":")[0] == b"listening on 127.0.0.1"
        assert fixed[2] == b" db.example.com:5432 via http://proxy:3128\n"
        assert any_target[2] == b" any target (SOCKS and HTTP) via http://proxy:3128\n"
    finally:
        end(process)
        process.stderr.close()
    assert process.returncode == 0


def test_forward_for_users_requires_a_login(tmp_path: Path) -> None:
    """No machine has 192.0.2.1; --users requires a login on loopback too."""
    hashing, forward = STRANGERS.split("\n", 1)

    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with ScriptedServer(refuse) as proxy:
        lines = f"{hashing}\nexec {forward.rstrip()}".replace("192.0.2.1:1080", "127.0.0.1:0").replace(PROXY, proxy.url)
        with serving(lines, tmp_path, b"swordfish\n", at=2) as url:
            assert connect(url, "www.example.com 443").returncode == 77
            assert not proxy.conversations
            assert connect(url.replace("//", "//alice:swordfish@"), "www.example.com 443").returncode == 69
            assert len(proxy.conversations) == 1


@pytest.mark.peer("git")
def test_run_logs_in_for_a_program_that_cannot(tmp_path: Path) -> None:
    def refuse(peer: Conversation) -> None:
        head = peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" if b"\r\nProxy-Auth" in head else WANTS_LOGIN)

    (tmp_path / ".proxy").write_text("secret\n")
    (tmp_path / ".proxy").chmod(0o600)
    with ScriptedServer(refuse) as proxy:
        env = with_program(HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path), GIT_CONFIG_NOSYSTEM="1", LC_ALL="C")
        done = shell(RUN.replace(PROXY, proxy.url), env, tmp_path)
    assert proxy.heads[0].startswith(b"CONNECT example.com:443 HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n" in proxy.heads[1]
    assert done.returncode == 128  # git's own status
    assert b"refused a tunnel to example.com:443: 403 Forbidden" in done.stderr


def units(*examples: str) -> list[configparser.ConfigParser]:
    """Parses units as systemd does, except for repeated keys, of which only the last counts here."""
    sections = [configparser.ConfigParser(interpolation=None, strict=False) for _ in examples]
    for section, example in zip(sections, examples, strict=True):
        section.optionxform = str  # type: ignore[assignment,method-assign]
        section.read_string(example.replace("\\\n", " "))
    return sections


def test_the_units_of_forward_agree_and_have_a_valid_command() -> None:
    sections = units(SOCKET, SERVICE)
    name = sections[0]["Socket"]["FileDescriptorName"]
    call = parse(shlex.split(sections[1]["Service"]["ExecStart"])[1:])
    given = {flag.name: text for flag, text in call.pairs}
    assert (call.command, parse_local(given["local"]).place) == ("forward", f"fd:{name}")
    assert sections[1]["Service"]["Type"] == "notify"
    assert sections[1]["Service"]["Restart"] == "on-failure"


def test_the_units_of_serve_agree_and_have_a_valid_command() -> None:
    socket_, service = units(PROXY_SOCKET, PROXY_SERVICE)
    call = parse(shlex.split(service["Service"]["ExecStart"])[1:])
    options = build(ServeOptions, call.pairs)
    assert options.listen == (f"fd:{socket_['Socket']['FileDescriptorName']}",)
    assert options.drain < float(service["Service"]["TimeoutStopSec"])
    assert service["Service"]["Type"] == "notify"


def test_the_balancer_example_matches_its_members() -> None:
    """interop/test_haproxy.py tests the two together, with these lines."""
    options = build(ServeOptions, parse(shlex.split(MEMBER)[1:]).pairs)
    assert f"bind {options.proxy_protocol[0]}:3128\n" in BALANCER
    assert f"server one {options.listen[0]}\n" in BALANCER


INSTALLED = {"/opt/tunnelctl/bin/tunnelctl": SCRIPT, "%h/.local/bin/tunnelctl": SCRIPT}
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # PATH of a service, systemd.exec(5)


def here(unit: str) -> str:
    """Replaces an installed tunnelctl in a unit by this one."""
    for path, ours in INSTALLED.items():
        unit = unit.replace(path, ours)
    return unit


def test_the_installation_path_is_that_of_the_unit() -> None:
    """.ci/run installs the wheel in the same way, and starts it without a shell's PATH."""
    make, install = INSTALLATION.splitlines()
    (service,) = units(PROXY_SERVICE)
    directory = make.removeprefix("python3 -m venv ")
    assert install == f"{directory}/bin/pip install ."
    assert service["Service"]["ExecStart"].split()[0] == f"{directory}/bin/tunnelctl"


@pytest.mark.parametrize(("service", "name"), [(SERVICE, "db"), (PROXY_SERVICE, "proxy")], ids=["forward", "serve"])
def test_a_service_starts_in_systemds_environment(service: str, name: str, tmp_path: Path) -> None:
    """It has neither the shell's PATH nor a home directory."""
    (unit,) = units(here(service).replace("/var/log/tunnelctl", str(tmp_path)).replace("/run/tunnelctl", str(tmp_path)))
    words = shlex.split(unit["Service"]["ExecStart"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Only the process itself knows its pid, and the first socket passed is descriptor 3.
        script = f'exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec "$@"'
        command = ["/bin/sh", "-c", script, "sh", *words]
        env = {"PATH": SEARCH_PATH, "LANG": "C.UTF-8"}
        child = subprocess.Popen(command, env=env, stdin=listener, cwd="/", stderr=subprocess.PIPE)
        watchdog = threading.Timer(RUN_SECONDS, child.kill)
        watchdog.start()
        try:
            assert child.stderr is not None
            assert child.stderr.readline().split()[:3] == f"listening on 127.0.0.1:{listener.getsockname()[1]}".encode().split()
        finally:
            watchdog.cancel()
            end(child)
            child.communicate(timeout=RUN_SECONDS)
    assert child.returncode == 0


def complaints(directory: Path, *words: str, env: Mapping[str, str] | None = None, **files: str) -> list[str]:
    """Returns systemd's warnings about these units."""
    paths = [directory / name.replace("_", ".") for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text)
    command = [path_of("systemd-analyze"), "verify", "--man=no", *words, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, env=env)
    names = [str(directory), *(path.name for path in paths)]
    return [line for line in done.stderr.splitlines() if any(name in line for name in names)]


@pytest.mark.peer("systemd-analyze")
def test_systemd_accepts_the_units_of_serve_and_rates_them_as_protected(tmp_path: Path) -> None:
    assert complaints(tmp_path, tunnelctl_socket=PROXY_SOCKET, tunnelctl_service=here(PROXY_SERVICE)) == []
    analyze, service = path_of("systemd-analyze"), str(tmp_path / "tunnelctl.service")
    command = [analyze, "security", "--offline=true", "--threshold=20", service]  # of 100; 0 is full protection
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stdout


@pytest.mark.peer("systemd-analyze")
def test_systemd_accepts_the_units_of_a_user(tmp_path: Path) -> None:
    """%h is the home directory, where pipx and uv install a link."""
    home = tmp_path / "home"
    (home / ".local/bin").mkdir(parents=True)
    (home / ".local/bin/tunnelctl").symlink_to(SCRIPT)
    # The sockets of other units on this machine must fit, too: tmp_path is too long for them.
    env = environment({"HOME": str(home), "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]})
    assert complaints(tmp_path, "--user", env=env, db_socket=SOCKET, db_service=SERVICE) == []


@pytest.mark.peer("systemd-analyze")
def test_systemd_reports_a_missing_program(tmp_path: Path) -> None:
    """Shows that the checks above can fail."""
    wrong = PROXY_SERVICE.replace("/opt/tunnelctl/bin/tunnelctl", "/nowhere/tunnelctl")
    assert "/nowhere/tunnelctl" in "".join(complaints(tmp_path, tunnelctl_socket=PROXY_SOCKET, tunnelctl_service=wrong))


# --- git


@pytest.mark.peer("git")
def test_git_uses_the_proxy_of_the_environment(tmp_path: Path) -> None:
    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with ScriptedServer(refuse) as proxy:
        env = with_program(
            HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path), GIT_CONFIG_NOSYSTEM="1", TUNNELCTL_PROXY=proxy.url, LC_ALL="C"
        )
        done = shell(f"{GIT}exec git ls-remote git://git.example.com/project.git", env, tmp_path)
    assert proxy.heads[0].startswith(b"CONNECT git.example.com:9418 HTTP/1.1\r\n")
    assert b"refused a tunnel to git.example.com:9418: 403 Forbidden" in done.stderr


# --- a login


def test_connect_reads_a_password_file_in_the_home_directory(tmp_path: Path) -> None:
    (tmp_path / ".proxy").write_text("swordfish\n")
    (tmp_path / ".proxy").chmod(0o600)

    def script(peer: Conversation) -> None:
        if b"\r\nProxy-Authorization: " not in peer.read_head():
            peer.send(WANTS_LOGIN)
            return
        peer.send(ESTABLISHED)
        peer.send(peer.read_to_end().upper())

    with ScriptedServer(script) as proxy:
        done = shell(LOGIN.replace(PROXY, proxy.url), with_program(HOME=str(tmp_path)), tmp_path, b"typed")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"TYPED", b"")
    assert b"CONNECT host:22 HTTP/1.1\r\n" in proxy.heads[0]
    assert b"\r\nProxy-Authorization: Basic YWxpY2U6c3dvcmRmaXNo\r\n" in proxy.heads[1]


def test_connect_sends_a_file_through_a_chain(tmp_path: Path) -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        inner = Conversation(peer.sock)
        inner.accept_tunnel()
        peer.send(inner.head.split(b"\r\n")[0] + b"\n" + peer.read_to_end())

    (tmp_path / "backup.tar").write_bytes(b"archive")
    with ScriptedServer(script) as proxy:
        done = shell(CHAIN.replace("http://edge:3128", proxy.url), with_program(), tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"CONNECT backup.example.com:9000 HTTP/1.1\narchive"
    assert proxy.heads[0].startswith(b"CONNECT inner:8080 HTTP/1.1\r\n")


# --- settings for other programs


@pytest.mark.peer("ssh")
def test_ssh_reads_the_lines_appended_to_its_config(tmp_path: Path) -> None:
    """`ssh -G` prints the settings that it read; tests/cli/commands/test_ssh_config.py connects."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    env = with_program(HOME=str(tmp_path))
    assert shell(BLOCK, env, tmp_path).returncode == 0
    command = [path_of("ssh"), "-G", "-F", str(tmp_path / ".ssh/config"), "a.example.com"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=True).stdout
    assert "proxyusefdpass yes\n" in told
    assert f"proxycommand {SCRIPT} connect --fdpass -x http://proxy:3128 a.example.com 22\n" in told.replace(
        "%h %p", "a.example.com 22"
    )


@pytest.mark.peer("git")
def test_git_reads_the_lines_appended_to_its_config(tmp_path: Path) -> None:
    env = with_program(HOME=str(tmp_path), GIT_CONFIG_NOSYSTEM="1")
    assert shell(GIT_LINES, env, tmp_path).returncode == 0
    ssh, proxy = shell("git config --get-regexp '^core'", env, tmp_path).stdout.decode().splitlines()
    line = f"ProxyCommand={SCRIPT} connect --fdpass -x http://proxy:3128 %h %p"
    assert " in example.com | *@example.com) exec " in ssh
    assert f" -o '{line}' -o ProxyUseFdpass=yes " in ssh
    assert proxy == f"core.gitproxy {SCRIPT} for example.com"


def test_hash_password_reads_from_a_password_manager(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("#!/bin/sh\necho swordfish\n")
    (tmp_path / "pass").chmod(0o755)
    env = with_program()
    assert shell(PASS, {**env, "PATH": f"{tmp_path}{os.pathsep}{env['PATH']}"}, tmp_path).returncode == 0
    assert (tmp_path / "users").read_text().startswith("alice:scrypt:")


def test_completion_loads_in_bash(tmp_path: Path) -> None:
    code = f"{BASH}complete -p tunnelctl"
    done = subprocess.run(["bash", "-c", code], capture_output=True, env=with_program(), cwd=tmp_path, timeout=RUN_SECONDS)
    assert (done.stdout, done.stderr) == (b"complete -F _tunnelctl tunnelctl\n", b"")


@pytest.mark.parametrize(
    ("line", "name"), [(ZSH, ".zfunc/_tunnelctl"), (FISH, ".config/fish/completions/tunnelctl.fish")], ids=["zsh", "fish"]
)
def test_completions_are_installed_where_zsh_and_fish_look(line: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    assert shell(line, with_program(HOME=str(tmp_path)), tmp_path).returncode == 0
    assert "_tunnelctl" in (tmp_path / name).read_text() or "complete -c tunnelctl" in (tmp_path / name).read_text()


def test_a_shell_takes_the_proxy_from_env(tmp_path: Path) -> None:
    done = shell(f'{ENV}printf "%s" "$https_proxy"', with_program(), tmp_path)
    assert (done.stdout, done.stderr) == (PROXY.encode(), b"")


@pytest.mark.peer("fish")
def test_a_shell_takes_the_port_of_a_forward_from_env(tmp_path: Path) -> None:
    password = tmp_path / ".proxy"
    password.write_text("secret\n")
    password.chmod(0o600)
    (tmp_path / "run").mkdir(mode=0o700)
    env = with_program(HOME=str(tmp_path), XDG_RUNTIME_DIR=str(tmp_path / "run"), XDG_CONFIG_HOME=str(tmp_path))
    words = shlex.split(ENV_FORWARD.replace("\\\n", "").replace("~", str(tmp_path)).replace("-D 8080", "-D 0"))
    with Forward(*words[2:], env=env) as forward:
        wait_until(lambda: "control:" in forward.log())
        for program, lines in (("sh", f"{ENV_VIA}echo $https_proxy"), ("fish", f"{ENV_IN_FISH}echo $https_proxy")):
            done = subprocess.run([path_of(program), "-c", lines], capture_output=True, env=env, timeout=RUN_SECONDS)
            assert (done.stdout.decode(), done.stderr) == (f"{forward.url}\n", b"")


def test_the_selftest_example_succeeds(tmp_path: Path) -> None:
    done = shell(f"{SELFTEST}{CHECKED}", with_program(), tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"ready\n")
    assert " checks passed in " in (tmp_path / "log").read_text()


def test_the_help_examples_show_a_page_and_a_message(tmp_path: Path) -> None:
    page, message = shell(PAGE, with_program(), tmp_path), shell(MESSAGE, with_program(), tmp_path)
    assert page.stdout.startswith(b"TUNNELCTL-CONNECT(1) ")
    assert b"hint: write HOST:PORT" in message.stdout


# --- what runs


def test_the_examples_start_one_forward_and_replace_it(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as runtime:
        env = with_program(XDG_RUNTIME_DIR=runtime, https_proxy=PROXY)
        once, replaced = (example.replace("5432:db", f"{free_port()}:db") for example in (ONCE, REPLACED))
        pids = []
        for line in (once, once, replaced):
            assert shell(line, env, tmp_path).returncode == 0
            (found,) = named(["db"], env)
            pids.append(found.pid())
        assert run("stop", "db", env=env).returncode == 0
    assert pids[0] == pids[1] != pids[2]


def test_the_examples_of_top_show_what_runs(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as runtime:
        program = tmp_path / "tunnelctl"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(PATIENT)} "$@"\n')
        program.chmod(0o755)
        env = with_program(XDG_RUNTIME_DIR=runtime)
        env["PATH"] = f"{tmp_path}{os.pathsep}{env['PATH']}"
        with Forward("--name", "work", "-x", PROXY, "-D", "0", env=env) as forward:
            for example in (FOLLOWED, ONE_LOOK):
                done = shell(example, env, tmp_path)
                assert (done.returncode, done.stderr) == (0, b"")
                assert f"127.0.0.1:{forward.port} -> any target".encode() in done.stdout


# --- check


def test_check_finds_a_proxy_and_tries_it(tmp_path: Path) -> None:
    """With a target on this machine in place of the default ones, and without the settings of this machine."""

    def greet(peer: Conversation) -> None:
        peer.send(b"hello\n")
        peer.wait_gone()

    with ScriptedServer(greet) as target, Serve() as proxy:
        program = tmp_path / "tunnelctl"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(in_tree(tmp_path))} "$@"\n')
        program.chmod(0o755)
        env = environment({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "https_proxy": proxy.url})
        done = shell(f"{SEARCH.rstrip()} --target {target.authority}", env, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"works    {proxy.url}   <- tunnelctl uses this".encode() in done.stdout


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (WHY, b"it says: hello"),
        (AWAKE, b"ready\n"),
        (SILENT.replace("600", "0.2"), b"the idle tunnel survived"),
        (OFTEN.replace("20", "2"), b"\nworks "),
        (READ, b'"exit_status": 77'),
    ],
    ids=["why", "awake", "silent", "often", "read"],
)
def test_the_check_examples_print_what_the_manual_says(example: str, said: bytes, tmp_path: Path) -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.send(b"hello\n")
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        done = shell(example.replace(PROXY, proxy.url), with_program(), tmp_path)
    assert said in done.stdout, done
    assert done.stderr == b""


# --- serve


@contextmanager
def serving(lines: str, cwd: Path, stdin: bytes = b"", at: int = -1) -> Iterator[str]:
    """Runs the lines, whose last command becomes the proxy; yields its URL, taken from word `at` of the listening line."""
    command, env = ["/bin/sh", "-c", lines], with_program()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        watchdog = threading.Timer(RUN_SECONDS, process.kill)
        watchdog.start()
        try:
            process.stdin.write(stdin)
            process.stdin.close()
            line = process.stderr.readline().decode()
            assert line.startswith("listening on 127.0.0.1:"), line
            yield f"http://{line.split()[at]}"
        finally:
            watchdog.cancel()
            end(process)
    assert process.returncode == 0


def test_serve_with_rules(tmp_path: Path) -> None:
    with serving(f"exec {RULES.rstrip()} --listen 127.0.0.1:0", tmp_path) as url:
        for target, error in (
            ("www.example.org 22", b"http_request_denied"),
            ("www.example.com 80", b"http_request_denied"),
            ("127.0.0.1 443", b"destination_ip_prohibited"),
        ):
            done = connect(url, target)
            assert done.returncode == 69
            assert error in done.stderr


def test_serve_with_plain_http(tmp_path: Path) -> None:
    """A web server on loopback takes the place of Debian's."""
    (tmp_path / "file").write_bytes(b"content")
    with web_server(tmp_path) as port:
        command = PLAIN_HTTP.rstrip().replace("deb.debian.org:80", f"127.0.0.1:{port}")
        with (
            serving(f"exec {command} --listen 127.0.0.1:0", tmp_path) as url,
            httpx.Client(proxy=url, timeout=RUN_SECONDS) as client,
        ):
            assert client.get(f"http://127.0.0.1:{port}/file").content == b"content"
            assert client.get("http://www.example.org/").status_code == 403


def test_check_policy_shows_the_decision_for_one_user(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    done = shell(WHETHER, with_program(), tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\n10.1.2.3: allowed by: allow 10.1.0.0/16:22 (admins)\n" in done.stdout
    done = shell(WHETHER.replace("alice", "carol"), with_program(), tmp_path)
    assert done.returncode == 69
    assert b"(admins): another user\n" in done.stdout


def test_serve_for_users_requires_a_login(tmp_path: Path) -> None:
    """No machine has 192.0.2.1; --users requires a login on loopback too."""
    hashing, serve = USERS.split("\n", 1)
    lines = f"{hashing}\nexec {serve}".replace("192.0.2.1:3128", "127.0.0.1:0")
    with serving(lines, tmp_path, b"swordfish\n") as url:
        stranger = connect(url, "127.0.0.1 443")
        assert stranger.returncode == 77
        known = connect(url.replace("//", "//alice:swordfish@"), "127.0.0.1 443")
        assert known.returncode == 69, known.stderr
        assert b"destination_ip_prohibited" in known.stderr
    assert '"user":"alice"' in (tmp_path / "log.json").read_text()


@pytest.mark.peer("curl")
def test_serve_over_tls_requires_a_client_certificate(tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    for name, file in (("proxy.pem", files.chain), ("proxy.key", files.key), ("clients.pem", files.authority)):
        (tmp_path / name).write_bytes(file.read_bytes())
    with serving(f"exec {OVER_TLS.rstrip()}".replace("192.0.2.1:3128", "127.0.0.1:0"), tmp_path) as url:
        command = [path_of("curl"), "-sv", "-x", url.replace("http://", "https://"), "--proxy-cacert", str(files.authority)]
        own = ["--proxy-cert", str(files.client_chain), "--proxy-key", str(files.client_key)]
        for words, answered in (([], False), (own, True)):
            asked = [*command, *words, "https://127.0.0.1/"]
            done = subprocess.run(asked, capture_output=True, env=environment(), timeout=RUN_SECONDS)
            assert (b"error=destination_ip_prohibited" in done.stderr) == answered, done.stderr


def test_serve_with_v_shows_its_decisions() -> None:
    """The log lines that the README and the manual describe for -v, from the events that the server reports."""

    def script(peer: Conversation) -> None:
        peer.send(peer.read_to_end())

    with ScriptedServer(script) as target, Serve("-v") as proxy:
        assert connect(proxy.url, target.authority, stdin=b"1234567").stdout == b"1234567"
        assert connect(proxy.url, "127.0.0.2:22").returncode == 69
    log = proxy.log()
    opened = rf"tunnel to {target.authority} open, at {target.authority} \(allow 127\.0\.0\.1:\*\)\n"
    assert re.search(rf"client 127\.0\.0\.1:\d+: {opened}", log)
    assert re.search(rf"tunnel to {target.authority} ended by the client \(eof\) after [\d.]+ s; sent 7 B, received 7 B\n", log)
    assert re.search(r"tunnel to 127\.0\.0\.2:22 refused: 403 destination_ip_prohibited", log)
