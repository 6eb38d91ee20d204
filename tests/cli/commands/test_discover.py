"""`tunnelctl check` without a target, as a program."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.client.check.findings import greet
from tests.peers.program import SOON, Serve, environment, run
from tests.peers.scripted import Conversation, ScriptedServer
from tests.peers.tree import in_tree
from tunnelctl.cli.commands.discover import report_for
from tunnelctl.cli.render.discovery import DiscoveryReport
from tunnelctl.client.discovery.options import DiscoverOptions
from tunnelctl.options import OutputOptions


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
    assert not isinstance(report_for(DiscoverOptions(output=OutputOptions(json=True))), DiscoveryReport)
    assert type(report_for(DiscoverOptions(color="always"))) is DiscoveryReport


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
    # What follows an erased region begins a line.
    text = re.sub("\r\x1b\\[", "\n\x1b[", on_terminal(tmp_path, columns, "--target", target.authority, **env))
    text = re.sub("\x1b\\[[0-9;]*[mAJ]", "", text)
    assert text.isascii()
    assert max(map(len, text.replace("\r", "").split("\n"))) <= columns
    assert proxy.url in text


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)], ids=str)
def test_colour_follows_the_environment(
    env: dict[str, str], coloured: bool, tmp_path: Path, proxy: Serve, target: ScriptedServer
) -> None:
    text = on_terminal(tmp_path, 80, "--target", target.authority, https_proxy=proxy.url, **env)
    assert ("\x1b[32m" in text) == coloured


def mute(peer: Conversation) -> None:
    peer.wait_gone()


@contextmanager
def silent_proxy_on_terminal(root: Path, working: Serve, target: ScriptedServer, term: str) -> Iterator[tuple[pexpect.spawn, str]]:
    """A search on a terminal that has tried all but one proxy. Yields the URL of that one too."""
    with ScriptedServer(mute) as silent:
        program, *rest = in_tree(root)
        env = environment({"TERM": term, "HOME": "/home/u", "https_proxy": silent.url, "ALL_PROXY": working.url})
        words = [*rest, "check", "--target", target.authority]
        child = pexpect.spawn(program, words, env=env, dimensions=(24, 80), encoding="utf-8", timeout=20)
        for text in ("TLS inside", "works", "works", "none "):
            child.expect_exact(text)
        yield child, silent.url
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
        assert child.signalstatus == signal.SIGINT
        assert "Traceback" not in child.before


def test_a_row_counts_on_a_terminal(tmp_path: Path, proxy: Serve, target: ScriptedServer) -> None:
    with silent_proxy_on_terminal(tmp_path, proxy, target, "xterm") as (child, url):
        seen: list[float] = []
        while len(set(seen)) < 3:
            child.expect(f"waiting  {re.escape(url)} +([0-9.]+) s  {target.authority}")
            seen.append(float(child.match[1]))
    assert seen == sorted(seen)
    assert child.before.endswith(f"{url} had not answered\r\n")
    assert "waiting" not in child.before.rpartition("\x1b[J")[2]


def test_nothing_is_redrawn_on_a_dumb_terminal(tmp_path: Path, proxy: Serve, target: ScriptedServer) -> None:
    with silent_proxy_on_terminal(tmp_path, proxy, target, "dumb") as (child, url):
        pass
    lines = child.before.splitlines()
    assert lines[-1] == f"stopped: {url} had not answered"
    assert lines[-2] in (f"works    no proxy; {proxy.url}", f"works    {proxy.url}")
    assert "\x1b" not in child.before


def test_a_signal_in_a_pipe(tmp_path: Path, proxy: Serve, target: ScriptedServer) -> None:
    with ScriptedServer(mute) as silent:
        env = environment({"HOME": "/home/u", "https_proxy": silent.url, "ALL_PROXY": proxy.url})
        words = [*in_tree(tmp_path), "check", "--json", "--target", target.authority]
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=env, text=True) as child:
            assert child.stdout is not None
            told = []
            while [event["event"] for event in told].count("proxy") < 2:
                told.append(json.loads(child.stdout.readline()))
            child.send_signal(signal.SIGTERM)
            told += map(json.loads, child.stdout)
            status = child.wait(SOON)
    assert status in (143, -signal.SIGTERM)
    assert (told[-2]["event"], told[-2]["text"]) == ("interrupted", f"{silent.url} had not answered")
    assert (told[-1]["event"], told[-1]["exit_status"]) == ("outcome", 143)
