"""`setup`: what goes to stdout and to stderr, and with which status. interop/setup has the tools themselves."""

import json
import re
import shlex
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.peers.process import free_port
from tests.peers.program import MODULE, RUN_SECONDS, Bytes, environment, run
from tests.peers.scripted import Conversation, ScriptedServer
from tunnelctl.cli.main import main
from tunnelctl.cli.setup.tools import TOOLS

SECRET = "swordfish"
IN_URL = "the URL has a password, which must not be in a configuration file"


def setup(home: Path, *words: str, **variables: str) -> Bytes:
    done = run("setup", *words, env={"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/.config", **variables})
    assert SECRET.encode() not in done.stdout + done.stderr
    return done


def test_without_a_tool_it_lists_them(tmp_path: Path) -> None:
    done = setup(tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.findall(r"^  (\S+)", done.stdout.decode(), re.MULTILINE) == [tool.name for tool in TOOLS]
    assert max(map(len, done.stdout.decode().splitlines())) <= 80


def test_the_lines_go_to_stdout_and_what_to_do_with_them_to_stderr(tmp_path: Path) -> None:
    done = setup(tmp_path, "npm", "-x", "http://p:3128")
    assert done.returncode == 0
    lines = "proxy=http://p:3128\nhttps-proxy=http://p:3128\nnoproxy=localhost,127.0.0.1,::1\n"
    assert done.stdout.decode() == f"\n# Printed by tunnelctl setup npm\n{lines}"
    assert done.stderr.startswith(b"add these lines to ~/.npmrc, which send npm through http://p:3128:\n")
    assert max(map(len, done.stderr.splitlines())) <= 80


def test_json_has_everything_in_one_object(tmp_path: Path) -> None:
    done = setup(tmp_path, "wget", "-x", f"http://alice:{SECRET}@p", "--json", "--check", NO_PROXY="10.0.0.0/8")
    assert (done.returncode, done.stderr) == (78, b"")
    found = json.loads(done.stdout)
    assert {key: found[key] for key in ("tool", "file", "proxy", "origin", "there", "left_out")} == {
        "tool": "wget", "file": "~/.wgetrc", "proxy": "http://127.0.0.1:8080", "origin": "-x", "there": False,
        "left_out": ["10.0.0.0/8"],
    }  # fmt: skip
    assert found["start"] == "tunnelctl forward --background --name tools -x http://alice@p:80 -D 8080"
    assert found["lines"][0] == "http_proxy = http://127.0.0.1:8080"
    assert found["missing"] == ["http_proxy", "https_proxy", "no_proxy"]


def test_the_printed_command_starts_a_forward_that_reaches_the_proxy(tmp_path: Path) -> None:
    """It is typed as it was printed; `stop` finds the forward by the name in it."""

    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with ScriptedServer(refuse) as proxy, tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as runtime:
        port, places = free_port(), {"XDG_RUNTIME_DIR": runtime}
        printed = setup(tmp_path, "npm", "-x", proxy.url, "-D", str(port), **places)
        (command,) = re.findall(r"^    (tunnelctl forward .*)$", printed.stderr.decode(), re.MULTILINE)
        program = shlex.join(MODULE)
        env = environment({**places, "HOME": str(tmp_path)})
        start = ["/bin/sh", "-c", f'tunnelctl() {{ {program} "$@"; }}; {command}']
        try:
            assert subprocess.run(start, env=env, timeout=RUN_SECONDS).returncode == 0
            with socket.create_connection(("127.0.0.1", port), RUN_SECONDS) as client:
                client.sendall(b"CONNECT host.test:443 HTTP/1.1\r\nHost: host.test:443\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 403 ")
        finally:
            stopped = run("stop", "tools", env=places)
        assert stopped.returncode == 0, stopped.stderr
        assert proxy.heads[0].startswith(b"CONNECT host.test:443 ")


@pytest.mark.parametrize("tool", [tool.name for tool in TOOLS if tool.name not in ("keyring", "pass", "ssh")])
def test_no_tool_is_told_the_password(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tool: str) -> None:
    monkeypatch.setenv("https_proxy", f"http://alice:{SECRET}@p:3128")
    assert main(["setup", tool]) == 0
    lines, notes = capfd.readouterr()
    assert SECRET not in lines + notes
    assert "127.0.0.1" in lines
    assert "tunnelctl forward --background --name tools -D 8080\n" in notes


@pytest.mark.parametrize("tool", ["keyring", "pass"])
def test_a_store_of_passwords_gets_an_entry_for_proxy_and_user(tmp_path: Path, tool: str) -> None:
    done = setup(tmp_path, tool, "-x", f"http://al%20ice:{SECRET}@p:3128")
    assert b'proxy-user = "al ice"\npassword-command = "' in done.stdout
    assert b"p:3128" in done.stdout
    assert f"\n    {tool} ".encode() in done.stderr, "the command that stores it"


def test_a_login_names_the_stores_of_passwords(tmp_path: Path) -> None:
    assert b"tunnelctl setup keyring" in setup(tmp_path, "npm", "-x", "http://alice@p").stderr
    assert b"tunnelctl setup keyring" not in setup(tmp_path, "npm", "-x", "http://p").stderr


def test_ssh_has_the_block_of_ssh_config(tmp_path: Path) -> None:
    done = setup(tmp_path, "ssh", "-x", "http://p:3128", "--port-443", "github.com", "other.example")
    printed = done.stdout.decode()
    assert "Host github.com\n    Hostname ssh.github.com\n    Port 443\n    ProxyCommand " in printed
    assert " connect --fdpass -x http://p:3128 %h %p\n" in printed
    assert "Host github.com gitlab.com bitbucket.org\n" in setup(tmp_path, "ssh", "-x", "http://p").stdout.decode()
    assert "-x http://127.0.0.1:8080 %h" in setup(tmp_path, "ssh", "-x", "http://alice@p", "-D", "8080").stdout.decode()


def test_check_finds_the_block_of_ssh_config(tmp_path: Path) -> None:
    words = ("ssh", "-x", "http://p:3128", "github.com")
    assert setup(tmp_path, *words, "--check").returncode == 78
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_bytes(b"Host x\n    User y" + setup(tmp_path, *words).stdout)
    assert setup(tmp_path, *words, "--check").returncode == 0
    assert setup(tmp_path, "ssh", "-x", "http://q", "github.com", "--check").returncode == 78


def test_the_settings_file_names_the_proxy_but_not_the_port(tmp_path: Path) -> None:
    """`dynamic` in it is for `forward`."""
    (tmp_path / ".config/tunnelctl").mkdir(parents=True)
    (tmp_path / ".config/tunnelctl/config.toml").write_text('[defaults]\nproxy = "http://p:3128"\ndynamic = "1080"\n')
    done = setup(tmp_path, "npm")
    assert b"\nproxy=http://p:3128\n" in done.stdout
    assert "through http://p:3128 (from defaults, line 2 of " in " ".join(done.stderr.decode().split())
    assert b"defaults, line 2" in setup(tmp_path, "npm", "--json").stdout


@pytest.mark.parametrize(("exists", "verb"), [(False, b"write "), (True, b"merge these lines into ")])
def test_a_file_with_tables_is_written_or_merged(tmp_path: Path, exists: bool, verb: bytes) -> None:
    if exists:
        (tmp_path / ".cargo").mkdir()
        (tmp_path / ".cargo/config.toml").touch()
    assert setup(tmp_path, "cargo", "-x", "p").stderr.startswith(verb)


FIND_PROXY = "run `tunnelctl check` to find a proxy, and give it with -x URL, or a port of `tunnelctl forward` with -D PORT"


@pytest.mark.parametrize(
    ("words", "line", "hint"),
    [
        (("nmp", "-x", "p"), "setup: unknown tool `nmp`", "did you mean npm?"),
        (("xyzzy", "-x", "p"), "setup: unknown tool `xyzzy`", "`tunnelctl setup` lists the tools"),
        ((f"a:{SECRET}@b",), "setup: unknown tool `a:***@b`", "`tunnelctl setup` lists the tools"),
        (("npm", "pip", "-x", "p"), "setup: takes TOOL, got 2 arguments", "tunnelctl setup --help"),
        (("--check",), "setup: missing argument TOOL", "tunnelctl setup TOOL"),
        (
            ("npm", "--check"),
            "setup: no proxy is configured to compare with; ~/.npmrc has no proxy settings",
            FIND_PROXY,
        ),
        (
            ("npm",),
            "setup: no proxy is configured",
            FIND_PROXY,
        ),
        (("pass", "-x", "http://a%0Ab%1b[31m@p"), "setup: the user name has a control character", None),
        (("ssh", "-x", f"http://a:{SECRET}@p"), f"ssh-config: {IN_URL}", None),
    ],
)
def test_errors(tmp_path: Path, words: tuple[str, ...], line: str, hint: str | None) -> None:
    done = setup(tmp_path, *words)
    said = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, said[0]) == (2, b"", f"tunnelctl: {line}")
    assert hint is None or said[1] == f"hint: {hint}"


def test_check_without_a_proxy_says_whether_the_tool_has_one(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("proxy=http://other:1\n")
    done = setup(tmp_path, "npm", "--check")
    assert done.returncode == 2
    assert b"to compare with; ~/.npmrc has proxy settings\n" in done.stderr


def test_a_second_run_says_that_the_file_has_the_lines(tmp_path: Path) -> None:
    file = tmp_path / ".npmrc"
    file.write_bytes(setup(tmp_path, "npm", "-x", "p").stdout)
    done = setup(tmp_path, "npm", "-x", "p")
    assert done.stderr.startswith(b"note: ~/.npmrc already has these lines\n")
    assert b"add these lines" not in done.stderr
    assert b"add these lines" in setup(tmp_path, "npm", "-x", "q").stderr
    file.write_bytes(b"\xff")
    assert b"add these lines" in setup(tmp_path, "npm", "-x", "p").stderr, "a file that cannot be read is not known to have them"


@pytest.mark.parametrize(
    ("tool", "note"),
    [
        ("git", "names more than one level below a NO_PROXY domain still use the proxy"),
        ("apt", "apt cannot exempt domains: only the hosts that NO_PROXY names are exempt"),
    ],
)
def test_a_note_on_domains_appears_only_with_one(tmp_path: Path, tool: str, note: str) -> None:
    def said(no_proxy: str) -> str:
        return " ".join(setup(tmp_path, tool, "-x", "p", NO_PROXY=no_proxy).stderr.decode().split())

    assert f"note: {note}" in said(".corp.example")
    assert "NO_PROXY" not in said("")
    assert "NO_PROXY" not in said("localhost,127.0.0.1,10.1.2.3")
    assert note in json.loads(setup(tmp_path, tool, "-x", "p", "--json", NO_PROXY="a.example").stdout)["notes"]


def test_nothing_typed_reaches_the_terminal_unescaped(tmp_path: Path) -> None:
    done = setup(tmp_path, "npm", "-x", "p", "--password-command", "echo \x1b[31m")
    assert b"\x1b" not in done.stderr
    assert b"\\x1b[31m" in done.stderr


def test_in_a_container_loopback_is_another(tmp_path: Path) -> None:
    assert b"in a container, 127.0.0.1 is the container itself" in setup(tmp_path, "docker", "-D", "8080").stderr
    assert b"in a container" not in setup(tmp_path, "docker", "-x", "p").stderr
