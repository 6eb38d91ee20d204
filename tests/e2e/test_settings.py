"""The settings file as in real use: the program, a file, a scripted proxy."""

import json
from base64 import b64encode
from pathlib import Path

import pytest

from tests.client.harness import CANARY
from tests.peers.program import Bytes, connect, run
from tests.peers.scripted import Conversation, ScriptedServer
from tunnelctl.status import ExitStatus

FORMS = (CANARY.encode(), b64encode(f"alice:{CANARY}".encode()))


def answer(peer: Conversation) -> None:
    peer.accept_tunnel()
    peer.send(b"hello\n")
    peer.end_output()
    peer.read_to_end()


def settings(directory: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    (directory / "tunnelctl").mkdir()
    path = directory / "tunnelctl/config.toml"
    path.write_text(text)
    path.chmod(mode)
    return {"XDG_CONFIG_HOME": str(directory)}


def assert_hello(done: Bytes) -> None:
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr


@pytest.mark.parametrize("words", [["connect", "target.test", "22"], ["target.test", "22"], ["connect", "--", "target.test", "22"]])
def test_the_proxy_of_the_settings_file_is_used_by_either_parser(tmp_path: Path, words: list[str]) -> None:
    with ScriptedServer(answer) as proxy:
        env = settings(tmp_path, f'[defaults]\nproxy = "http://{proxy.authority}"\nheader = "X-Ours: yes"\n')
        assert_hello(run(*words, env={**env, "https_proxy": "http://127.0.0.1:9", "NO_PROXY": "*"}))
    assert proxy.heads[0].startswith(b"CONNECT target.test:22 HTTP/1.1\r\n")
    assert b"X-Ours: yes\r\n" in proxy.heads[0]


def test_a_profile_is_used_and_its_origin_is_reported(tmp_path: Path) -> None:
    with ScriptedServer(answer) as proxy:
        env = settings(tmp_path, f'[profiles.work]\nproxy = "http://{proxy.authority}"\n')
        done = run("connect", "--profile", "work", "-vv", "target.test", "22", env=env)
    assert_hello(done)
    path = tmp_path / "tunnelctl/config.toml"
    assert f"settings: {path}, profile work\n" in done.stderr.decode()
    assert f"route: http://{proxy.authority} (profile work, line 2 of {path})\n" in done.stderr.decode()


def test_tunnelctl_proxy_takes_precedence_over_the_settings_file(tmp_path: Path) -> None:
    with ScriptedServer(answer) as proxy:
        env = settings(tmp_path, '[defaults]\nproxy = "http://127.0.0.1:9"\n')
        assert_hello(run("connect", "target.test", "22", env={**env, "TUNNELCTL_PROXY": f"http://{proxy.authority}"}))


MISTAKES = [
    ("[defaults]\ntimeot = 3\n", "line 2: unknown key `timeot`", "hint: did you mean timeout?"),
    (
        "[defaults]\nproxy-pasword-file = 'x'\n",
        "line 2: unknown key `proxy-pasword-file`",
        "hint: did you mean proxy-password-file?",
    ),
    ("[defaults\n", "line 1: ", ""),
    ("[defaults]\ntimeout = 'soon'\n", "line 2: `timeout` takes a number of seconds", ""),
]


@pytest.mark.parametrize(("text", "cause", "hint"), MISTAKES)
@pytest.mark.parametrize(
    "words", [["connect", "-x", "http://127.0.0.1:9", "host", "22"], ["forward", "-D", "0"], ["serve"]], ids=" ".join
)
def test_a_mistake_in_the_settings_file_is_one_line_and_status_78(
    tmp_path: Path, words: list[str], text: str, cause: str, hint: str
) -> None:
    done = run(*words, env=settings(tmp_path, text))
    assert (done.returncode, done.stdout) == (ExitStatus.SETTINGS, b"")
    first, *rest = done.stderr.decode().splitlines()
    assert first.startswith(f"tunnelctl: settings file {tmp_path}/tunnelctl/config.toml, {cause}")
    assert rest == ([hint] if hint else [])


def test_an_unknown_profile_is_an_error_with_a_hint(tmp_path: Path) -> None:
    done = run("connect", "--profile", "wrok", "host", "22", env=settings(tmp_path, "[profiles.work]\n[profiles.home]\n"))
    assert (done.returncode, done.stdout) == (ExitStatus.SETTINGS, b"")
    assert done.stderr.decode().splitlines()[1] == "hint: its profiles are work and home"


def test_a_login_from_the_settings_file_shows_no_secret(tmp_path: Path) -> None:
    """The file names a password command, and a URL with the password; the secret appears nowhere, at any verbosity."""
    (tmp_path / "secret").write_text(f"{CANARY}\n")
    shown: list[bytes] = []

    def look(peer: Conversation) -> None:
        peer.read_head()
        shown.extend(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
        answer(peer)

    with ScriptedServer(look) as proxy:
        env = settings(
            tmp_path,
            f'[defaults]\nproxy = "http://{proxy.authority}"\nproxy-user = "alice"\nauth = "basic"\n'
            f'password-command = "cat {tmp_path}/secret"\n'
            f'[profiles.url]\nauth = "basic"\nproxy = "http://alice:{CANARY}@{proxy.authority}"\n',
            0o644,
        )
        for more in (["-vv"], ["--json"], ["-vv", "--profile", "url"], ["--json", "--profile", "url"]):
            done = run("connect", *more, "target.test", "22", env=env)
            assert_hello(done)
            assert not any(form in done.stderr for form in FORMS)
            assert (b"others can read it" in done.stderr) == ("--profile" in more)
    assert len(proxy.heads) == 4
    assert all(FORMS[1] in head for head in proxy.heads)
    assert not any(form in line for form in FORMS for line in shown)


def wants_login(peer: Conversation) -> None:
    peer.accept_tunnel(b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')


def test_a_password_command_that_fails_is_reported_in_one_line(tmp_path: Path) -> None:
    command = f"echo {CANARY}; exit 3"
    with ScriptedServer(wants_login) as proxy:
        done = connect(proxy.url, "host 22", "--proxy-user", "alice", "--password-command", command)
    assert (done.returncode, done.stdout) == (ExitStatus.SETTINGS, b"")
    assert done.stderr == b"tunnelctl: password command: exited with status 3\n"


def test_the_settings_are_reported_as_a_json_object(tmp_path: Path) -> None:
    with ScriptedServer(answer) as proxy:
        env = settings(tmp_path, f'[defaults]\njson = true\nproxy = "http://{proxy.authority}"\n')
        done = run("connect", "target.test", "22", env=env)
    assert_hello(done)
    first = json.loads(done.stderr.splitlines()[0])
    assert (first["event"], first["file"], first["profile"]) == ("settings", f"{tmp_path}/tunnelctl/config.toml", "")


def test_serve_and_run_read_the_settings_file_too(tmp_path: Path) -> None:
    with ScriptedServer(answer) as proxy:
        env = settings(tmp_path, f'[defaults]\nproxy = "http://{proxy.authority}"\nlisten = "nonsense"\n')
        script = "exec 3<>/dev/tcp/127.0.0.1/$TUNNELCTL_PORT_1; cat <&3"
        done = run("run", "-L", "0:target.test:22", "--", "bash", "-c", script, env=env)
        assert_hello(done)
    done = run("serve", env=env)
    assert done.returncode == ExitStatus.SETTINGS
    assert f"{tmp_path}/tunnelctl/config.toml, line 3: `listen`: " in done.stderr.decode()
