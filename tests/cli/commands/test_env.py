"""`env`: its lines in real shells, and what it refuses to print."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client.forwarding import Forwarding
from tests.peers.process import path_of
from tests.peers.program import MODULE, Bytes, Forward, Serve, environment, run
from tests.peers.scripted import Conversation, ScriptedServer
from tunnelctl.cli.commands.env import SHELLS

UNSET = dict.fromkeys(
    ("TUNNELCTL_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"),
    "",
)
NAMES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
EXEMPTIONS = ["export no_proxy='localhost,127.0.0.1,::1'", "export NO_PROXY='localhost,127.0.0.1,::1'"]

SHOW = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
EVALUATE = {
    "sh": 'eval "$({command})"; {show}',
    "bash": 'eval "$({command})"; {show}',
    "dash": 'eval "$({command})"; {show}',
    "zsh": 'eval "$({command})"; {show}',
    "fish": "{command} --shell fish | source; {show}",
}
every_shell = pytest.mark.parametrize(
    "shell", ["sh", "bash", *(pytest.param(name, marks=pytest.mark.peer(name)) for name in ("dash", "zsh", "fish"))]
)


def env(*flags: str, directory: Path | None = None, **environ: Any) -> Bytes:
    more = {"XDG_CONFIG_HOME": str(directory), "XDG_RUNTIME_DIR": str(directory)} if directory else {}
    return run("env", *flags, env={**UNSET, **more, **environ})


def url_in(done: Bytes) -> str:
    """The URL that every variable has."""
    assert (done.returncode, done.stderr) == (0, b"")
    *lines, no_proxy, in_capitals, last = done.stdout.decode().splitlines()
    assert [no_proxy, in_capitals, last] == [*EXEMPTIONS, "export NODE_USE_ENV_PROXY='1'"]
    values = {line.partition("=")[2] for line in lines}
    assert [line.removeprefix("export ").partition("=")[0] for line in lines] == list(NAMES)
    (value,) = values
    return value.strip("'")


def evaluated(shell: str, script: str) -> dict[str, str]:
    done = subprocess.run([path_of(shell), "-c", script], capture_output=True, env=environment(UNSET), timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    found: dict[str, str] = json.loads(done.stdout)
    return found


@every_shell
def test_each_shell_takes_the_lines(shell: str) -> None:
    command = " ".join([*MODULE, "env", "-x", "http://proxy.test:3128"])
    found = evaluated(shell, EVALUATE[shell].format(command=command, show=SHOW))
    assert {found[name] for name in NAMES} == {"http://proxy.test:3128"}
    assert found["NODE_USE_ENV_PROXY"] == "1"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_a_list_of_the_user_stays_as_it_is(name: str) -> None:
    given: dict[str, Any] = {name: "b.test"}
    assert b"no_proxy" not in env("-x", "a.test", **given).stdout.lower()


FROM_CURL = 'eval "$({env})"; exec curl -sS {url}'
FROM_URLLIB = f'eval "$({{env}})"; exec {sys.executable} -c "import urllib.request as r; print(r.urlopen(\'{{url}}\').read())"'


@pytest.mark.parametrize(
    ("script", "host"),
    [
        *(pytest.param(FROM_CURL, host, marks=pytest.mark.peer("curl")) for host in ("localhost", "127.0.0.1", "::1")),
        *((FROM_URLLIB, host) for host in ("localhost", "127.0.0.1")),  # urllib compares [::1], and finds only ::1
    ],
)
def test_programs_reach_this_machine_without_the_proxy(script: str, host: str) -> None:
    def answer(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlocal")

    with ScriptedServer(answer, host="::1" if host == "::1" else "127.0.0.1") as server, ScriptedServer(refuse) as proxy:
        command = " ".join([*MODULE, "env", "-x", proxy.url])
        at = f"[{host}]" if ":" in host else host
        assert b"local" in shell_output(script.format(env=command, url=f"http://{at}:{server.port}/"))
        assert not proxy.conversations


@pytest.mark.peer("curl")
def test_curl_asks_the_proxy_for_other_hosts() -> None:
    with ScriptedServer(refuse) as proxy:
        command = " ".join([*MODULE, "env", "-x", proxy.url])
        assert shell_output(FROM_CURL.format(env=command, url="http://host.test/")) == b"no"
        assert proxy.heads[0].startswith(b"GET http://host.test/ ")


def refuse(peer: Conversation) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")


def shell_output(script: str) -> bytes:
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, env=environment(UNSET), timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


HOSTILE = [
    "a'b",
    "'; touch owned; '",
    "$(touch owned) `touch owned` $HOME",
    '"\\" \\\' \\',
    "a\nb",
    "é ü",
    "%! * ? ~ {a,b} [x] <y>",
    "\\",
]


@every_shell
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_are_only_values(shell: str, value: str, tmp_path: Path) -> None:
    line = SHELLS["fish" if shell == "fish" else "sh"]("VALUE", value)
    words, home = [path_of(shell), "-c", f"{line}\n{SHOW}"], environment({"HOME": str(tmp_path)})
    done = subprocess.run(words, capture_output=True, env=home, timeout=30, cwd=tmp_path)
    assert json.loads(done.stdout)["VALUE"] == value
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("http://a.test:1", "http://a.test:1"),
        ("a.test", "http://a.test:80"),
        ("https://a.test", "https://a.test:443"),
        ("socks5://a.test", "socks5h://a.test:1080"),
        ("socks4://[::1]:1", "socks4a://[::1]:1"),
    ],
)
def test_the_proxy_may_come_from_a_flag_a_variable_or_the_settings_file(given: str, printed: str, tmp_path: Path) -> None:
    assert url_in(env("-x", given)) == printed
    assert url_in(env(https_proxy=given)) == printed
    assert url_in(env(TUNNELCTL_PROXY=given)) == printed
    settings(tmp_path, f'[profiles.work]\nproxy = "{given}"\n')
    assert url_in(env("--profile", "work", directory=tmp_path)) == printed


def settings(directory: Path, text: str) -> None:
    (directory / "tunnelctl").mkdir(exist_ok=True, mode=0o700)
    (directory / "tunnelctl" / "config.toml").write_text(text)


NEEDS_FORWARD = {
    "a login": ["-x", "http://anna:s3cret@a.test:1"],
    "a user": ["-x", "http://anna@a.test:1"],
    "a chain": ["-x", "http://a.test:1", "-x", "http://b.test:1"],
    "a list": ["-x", "http://a.test:1,http://b.test:1"],
    "a way out": ["-x", "http://a.test:1,direct"],
}


@pytest.mark.parametrize("flags", NEEDS_FORWARD.values(), ids=NEEDS_FORWARD.keys())
def test_what_no_variable_can_hold_is_an_error_with_the_remedy(flags: list[str]) -> None:
    done = env(*flags)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"\nhint: run tunnelctl forward -D 8080" in done.stderr
    assert re.search(b"has a login, which every program of the shell could read|which these variables cannot express", done.stderr)
    assert b"s3cret" not in done.stderr


@pytest.mark.parametrize(
    "text",
    ['proxy-user = "anna"', 'proxy-auth-file = "/f"', 'header = "X: y"', 'proxy-cacert = "/f"', "proxy-insecure = true"],
)
def test_settings_beside_the_proxy_need_a_forward_too(text: str, tmp_path: Path) -> None:
    settings(tmp_path, f'[defaults]\nproxy = "https://a.test:1"\n{text}\n')
    assert b"tunnelctl: env: the route has " in env(directory=tmp_path).stderr
    settings(tmp_path, '[defaults]\npac = "/f.pac"\n')
    assert b"the route has a PAC file" in env(directory=tmp_path).stderr


@pytest.mark.parametrize(
    ("flags", "environ", "cause"),
    [
        ([], {"http_proxy": "http://a.test:1"}, "no proxy is configured: http_proxy is set, but ignored"),
        (["-x", "direct"], {}, "-x is direct"),
        ([], {"TUNNELCTL_PROXY": "direct"}, "TUNNELCTL_PROXY is direct"),
    ],
)
def test_a_proxy_that_cannot_be_printed_is_an_error(flags: list[str], environ: dict[str, Any], cause: str) -> None:
    done = env(*flags, **environ)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"tunnelctl: env: {cause}\nhint: give one with -x URL\n"


def test_without_a_proxy_there_is_nothing_to_print() -> None:
    done = env()
    assert (done.returncode, done.stdout) == (2, b"")
    hint = "run `tunnelctl check` to find a proxy, and give it with -x URL"
    assert done.stderr.decode() == f"tunnelctl: env: no proxy is configured\nhint: {hint}\n"


def test_a_port_of_this_machine_needs_no_other_setting() -> None:
    assert url_in(env("--port", "8080")) == "http://127.0.0.1:8080"
    done = env("--port", "0")
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.fixture
def runtime(tmp_path: Path) -> dict[str, str]:
    return {**UNSET, "XDG_RUNTIME_DIR": str(tmp_path)}


def test_a_running_forward_is_found_by_its_name_and_by_its_proxies(tmp_path: Path, runtime: dict[str, str]) -> None:
    with Forward("-x", "http://a.test:1", "-L", "0:t.test:1", "-D", "0", "--name", "work", env=runtime) as forward:
        ours = f"http://127.0.0.1:{forward.ports[1]}"
        assert url_in(env("--via", "work", directory=tmp_path)) == ours
        assert url_in(env("--via", str(tmp_path / "tunnelctl/work.sock"), directory=tmp_path)) == ours
        assert url_in(env("--via", "auto", "-x", "http://a.test:1", directory=tmp_path)) == ours
        assert url_in(env("--via", "auto", "-x", "http://b.test:1", directory=tmp_path)) == "http://b.test:1"
    done = env("--via", "work", directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"forward 'work': it is not running\nhint: tunnelctl forward" in done.stderr


def test_a_killed_forward_is_not_found(tmp_path: Path, runtime: dict[str, str]) -> None:
    with Forward("-x", "http://a.test:1", "-D", "0", "--name", "work", env=runtime) as forward:
        forward.ended_on_purpose = True
        forward.process.kill()
        forward.process.wait(20)
        assert (tmp_path / "tunnelctl/work.route").exists()
        assert b"it is not running" in env("--via", "work", directory=tmp_path).stderr
        assert url_in(env("--via", "auto", "-x", "http://a.test:1", directory=tmp_path)) == "http://a.test:1"


def test_a_port_open_to_all_is_named_by_loopback(tmp_path: Path, runtime: dict[str, str]) -> None:
    with Forward("-x", "http://a.test:1", "-D", "*:0", "--open-proxy", "--name", "work", env=runtime) as forward:
        assert url_in(env("--via", "work", directory=tmp_path)) == f"http://127.0.0.1:{forward.port}"


def test_a_forward_without_a_usable_port_is_an_error(tmp_path: Path, runtime: dict[str, str]) -> None:
    async def check(user: str, password: str, client: str) -> bool:
        return True

    for words, dynamic, login in ((("0:t.test:1",), (), None), ((), ("0",), check), ((), (str(tmp_path / "s"),), None)):
        with Forwarding(*words, dynamic=dynamic, check=login, name="work", proxy=("http://a.test:1",), environ=runtime):
            done = env("--via", "work", directory=tmp_path)
            assert (done.returncode, done.stdout) == (2, b"")
            assert b"it has no -D port without a login\nhint: start it with -D PORT\n" in done.stderr


def test_flags_for_proxies_contradict_the_name_of_a_forward() -> None:
    assert b"cannot be used together" in env("--via", "work", "-x", "http://a.test:1").stderr


@pytest.mark.peer("curl")
def test_curl_in_the_shell_uses_the_forward(tmp_path: Path, runtime: dict[str, str]) -> None:
    def page(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with ScriptedServer(page) as target, Serve("-v") as proxy:
        with Forward("-x", proxy.url, "-D", "0", "--name", "work", env=runtime):
            script = f'eval "$({" ".join(MODULE)} env --via work)"; {path_of("curl")} -sSp {target.url}/'
            through_it = environment({**runtime, "no_proxy": "other.test"})  # the target is on this machine
            done = subprocess.run(["sh", "-c", script], capture_output=True, env=through_it, timeout=30)
        assert (done.stdout, done.stderr) == (b"hi", b"")
        proxy.wait_for_log("open, at")
