"""Reports about NO_PROXY: each invalid entry once, with -v; none without -v, and none where NO_PROXY has no effect."""

import json

import pytest

from tests.peers.program import run, started
from tests.peers.scripted import Conversation, ScriptedServer

ENVIRON = {"no_proxy": "10.*,http://a.test;corp.test:ssh", "https_proxy": "http://127.0.0.1:9"}
TOLD = [
    "http://*** in no_proxy: a URL: an entry is a host, without a scheme",
    "corp.test:ssh in no_proxy: port 'ssh' is not a number from 1 to 65535",
]


def hello(peer: Conversation) -> None:
    peer.accept_tunnel()
    peer.send(b"hello")


def ignored(output: bytes) -> list[str]:
    """The texts after the word "ignored", in output for people."""
    return [line.partition("ignored")[2].lstrip(": ") for line in output.decode().splitlines() if "ignored" in line]


def test_connect_reports_ignored_entries_only_with_v() -> None:
    with ScriptedServer(hello) as proxy:
        env = {**ENVIRON, "https_proxy": proxy.url}
        told = run("connect", "-v", "target.test", "22", env=env)
        silent = run("connect", "target.test", "22", env=env)
        explicit = run("connect", "-v", "-x", proxy.url, "target.test", "22", env=env)
        objects = run("connect", "--json", "target.test", "22", env=env).stderr.splitlines()
    assert ignored(told.stderr) == TOLD
    assert (silent.returncode, silent.stderr) == (0, b"")
    assert ignored(explicit.stderr) == []
    events = [event for event in map(json.loads, objects) if event["event"] == "ignored"]
    assert [event["entry"] for event in events] == ["http://***", "corp.test:ssh"]
    assert {event["variable"] for event in events} == {"no_proxy"}


@pytest.mark.parametrize("proxy", [{}, {"TUNNELCTL_PROXY": "direct"}])
def test_without_a_proxy_no_entry_is_reported(proxy: dict[str, str]) -> None:
    done = run("connect", "-v", "127.0.0.1", "9", env={"no_proxy": ENVIRON["no_proxy"], **proxy})
    assert ignored(done.stderr) == []


@pytest.mark.parametrize("verbose", [True, False])
def test_run_and_check_report_ignored_entries_only_with_v(verbose: bool) -> None:
    flags = ["-v"] if verbose else []
    with ScriptedServer(hello) as proxy:
        env = {**ENVIRON, "https_proxy": proxy.url}
        assert ignored(run("run", *flags, "--", "true", env=env).stderr) == (TOLD if verbose else [])
        assert ignored(run("check", *flags, "target.test", "22", env=env).stdout) == (TOLD if verbose else [])


def test_forward_reports_ignored_entries_once_at_start() -> None:
    with started("forward", "-v", "-D", "127.0.0.1:0", env=ENVIRON) as process:
        assert process.stderr is not None
        said = b""
        while b"listening on" not in said:
            said += process.stderr.read(1)
    assert ignored(said) == TOLD
