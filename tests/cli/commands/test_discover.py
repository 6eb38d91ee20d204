"""`tunnelctl check` without a target, as a program."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.client.check.findings import greet
from tests.peers.program import Serve, environment, run
from tests.peers.scripted import Conversation, ScriptedServer
from tests.peers.tree import in_tree
from tunnelctl.cli.commands.discover import report_for
from tunnelctl.cli.render.discovery import DiscoveryReport


@pytest.fixture(scope="module")
def target() -> Iterator[ScriptedServer]:
    with ScriptedServer(greet) as server:
        yield server


@pytest.fixture(scope="module")
def proxy() -> Iterator[Serve]:
    with Serve() as server:
        yield server


def search(root: Path, *words: str, **env: str) -> tuple[int, str, str]:
    env = environment({"HOME": "/home/u", **env})
    done = subprocess.run([*in_tree(root), "check", *words], capture_output=True, env=env, timeout=30)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def tree(root: Path, proxy: Serve) -> None:
    (root / "home/u").mkdir(parents=True)
    (root / "home/u/.gitconfig").write_text(f"[http]\nproxy = {proxy.url.replace('//', '//alice:swordfish@')}\n")


def test_the_report_in_a_pipe(tmp_path: Path, proxy: Serve, target: ScriptedServer) -> None:
    tree(tmp_path, proxy)
    status, out, err = search(tmp_path, "--target", target.authority, https_proxy=proxy.url)
    assert (status, err) == (0, "")
    assert all(line.isprintable() for line in out.splitlines())
    lines = out.splitlines()
    assert lines[0].split() == ["environment", "https_proxy", proxy.url]
    assert f"works    {proxy.url}   <- tunnelctl uses this" in lines
    assert "swordfish" not in out
    assert lines[-1].startswith("works    no proxy; ")


def test_the_report_as_json(tmp_path: Path, proxy: Serve, target: ScriptedServer) -> None:
    tree(tmp_path, proxy)
    status, out, _ = search(tmp_path, "--json", "--target", target.authority)
    told = [json.loads(line) for line in out.splitlines()]
    assert (status, told[0]["tool"], told[0]["place"], told[0]["line_number"]) == (0, "git", "~/.gitconfig", 2)
    assert (told[-1]["event"], told[-1]["ok"]) == ("outcome", True)
    assert "swordfish" not in out


def test_the_origin_of_a_proxy_in_the_settings_file(tmp_path: Path, proxy: Serve, target: ScriptedServer) -> None:
    settings = tmp_path / "xdg/tunnelctl"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text(f'[defaults]\nproxy = "{proxy.url}"\n')
    status, out, _ = search(tmp_path, "--target", target.authority, XDG_CONFIG_HOME=str(tmp_path / "xdg"))
    assert status == 0
    assert "tunnelctl" in out.splitlines()[0]
    assert f"line 2 of {settings / 'config.toml'}" in out.splitlines()[0]
    assert out.splitlines()[0].endswith(proxy.url)


@pytest.mark.parametrize("flag", [["--get", "/"], ["--count", "2"], ["--idle", "1"], ["--expect", "00"], ["--wait", "1"]])
def test_a_flag_for_one_target_needs_it(flag: list[str]) -> None:
    done = run("check", *flag)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, b"tunnelctl: check: missing arguments HOST PORT")


@pytest.mark.parametrize("flag", [["--wpad"], ["--target", "h:1"]])
def test_a_flag_of_the_search_excludes_a_target(flag: list[str]) -> None:
    done = run("check", *flag, "h", "1")
    assert (done.returncode, done.stderr) == (
        2,
        f"tunnelctl: usage error: {flag[0]} and HOST PORT cannot be used together\n".encode(),
    )


def test_a_wrong_flag_is_an_error() -> None:
    assert run("check", "-x", "http://").returncode == 2
    assert run("check", "--target", "h").returncode == 2


def test_the_report_that_suits_stdout() -> None:
    assert not isinstance(report_for(True, "always"), DiscoveryReport)
    assert isinstance(report_for(False, "auto"), DiscoveryReport)
    assert isinstance(report_for(False, "always"), DiscoveryReport)


def on_terminal(root: Path, columns: int, *words: str, **env: str) -> str:
    """Returns the output on a terminal of that width."""
    program, *rest = in_tree(root)
    child = pexpect.spawn(
        program,
        [*rest, "check", *words],
        env=environment({"TERM": "xterm", "HOME": "/home/u", **env}),
        dimensions=(24, columns),
        encoding="utf-8",
        timeout=20,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    return str(child.before)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_report_fits_the_terminal(columns: int, tmp_path: Path, proxy: Serve, target: ScriptedServer) -> None:
    tree(tmp_path, proxy)
    env = {"https_proxy": proxy.url, "no_proxy": "localhost,127.0.0.1,.corp.example.com", "LC_ALL": "C"}
    text = re.sub("\x1b\\[[0-9;]*m", "", on_terminal(tmp_path, columns, "--target", target.authority, **env))
    assert text.isascii()
    folded = [line for line in text.replace("\r", "").split("\n") if not line.startswith(" " * 9 + target.authority)]
    assert max(map(len, folded)) <= max(columns, 70)
    assert proxy.url in text


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)], ids=str)
def test_colour_follows_the_environment(
    env: dict[str, str], coloured: bool, tmp_path: Path, proxy: Serve, target: ScriptedServer
) -> None:
    text = on_terminal(tmp_path, 80, "--target", target.authority, https_proxy=proxy.url, **env)
    assert ("\x1b[32m" in text) == coloured


def test_ctrl_c_leaves_what_was_found(tmp_path: Path, proxy: Serve, target: ScriptedServer) -> None:
    def mute(peer: Conversation) -> None:
        peer.wait_gone()

    with ScriptedServer(mute) as silent:
        program, *rest = in_tree(tmp_path)
        env = environment({"TERM": "xterm", "HOME": "/home/u", "https_proxy": silent.url, "ALL_PROXY": proxy.url})
        words = [*rest, "check", "--target", target.authority]
        child = pexpect.spawn(program, words, env=env, dimensions=(24, 80), encoding="utf-8", timeout=20)
        child.expect_exact(f"{proxy.url}\r\n")
        child.expect_exact("works")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
    assert child.signalstatus == signal.SIGINT
    assert "Traceback" not in child.before
