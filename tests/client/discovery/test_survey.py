"""The whole search, on a tree of files and with proxies on loopback."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.check.findings import greet
from tests.peers.events import check_event
from tests.peers.program import SOON, Serve
from tests.peers.scripted import Conversation, ScriptedServer, refusing_port
from tunnelctl.cli.render.hints import in_words
from tunnelctl.cli.render.text import plain
from tunnelctl.client.discovery import survey as module
from tunnelctl.client.discovery import wpad
from tunnelctl.client.discovery.options import TARGETS, DiscoverOptions
from tunnelctl.client.discovery.settings.machine import Machine
from tunnelctl.client.discovery.survey import run_survey
from tunnelctl.client.discovery.waits import Awaited
from tunnelctl.errors import UsageProblem
from tunnelctl.events import Event
from tunnelctl.options import ReachOptions

Told = list[dict[str, object]]


@pytest.fixture(scope="module")
def target() -> Iterator[ScriptedServer]:
    with ScriptedServer(greet) as server:
        yield server


@pytest.fixture(scope="module")
def works() -> Iterator[Serve]:
    with Serve() as server:
        yield server


def machine(root: Path, files: dict[str, str] | None = None, **environ: str) -> Machine:
    for name, text in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Machine(environ, "/home/u", str(root))


def survey(where: Machine, *targets: str, wpad: bool = False, **reach: object) -> tuple[int, Told]:
    """Returns the status and the events, which the schema describes."""
    told: Told = []

    def report(event: Event, /) -> None:
        name, facts = in_words(event)
        line = json.dumps({"event": name, **plain(facts)})
        check_event(line)
        told.append(json.loads(line))

    options = DiscoverOptions(reach=ReachOptions(**reach), targets=targets, wpad=wpad)  # type: ignore[arg-type]
    return run_survey(options, where, report), told


def of(name: str, told: Told) -> Told:
    return [event for event in told if event["event"] == name]


def names(told: Told) -> list[object]:
    return [event["name"] for event in of("finding", told)]


def test_a_proxy_of_the_environment(tmp_path: Path, target: ScriptedServer, works: Serve) -> None:
    status, told = survey(machine(tmp_path, https_proxy=works.url), target.authority)
    assert (status, names(told)) == (0, [])
    assert [event["event"] for event in told][:2] == ["named", "trying"]
    direct, proxy = sorted(of("proxy", told), key=lambda event: str(event["number"]))
    assert (direct["proxy"], direct["selected"], proxy["proxy"], proxy["selected"]) == ([], False, [works.url], True)
    assert proxy["named_by"] == ["https_proxy"]
    assert told[-1] == {"event": "outcome", "ok": True, "exit_status": 0, "working": ["", works.url]}


def test_a_machine_without_settings(tmp_path: Path, target: ScriptedServer) -> None:
    status, told = survey(machine(tmp_path), target.authority)
    assert (status, names(told), of("trying", told)[0]["proxies"]) == (0, ["no-proxy-named"], [])


def test_a_machine_with_no_way_out(tmp_path: Path) -> None:
    sock, port = refusing_port()
    with sock:
        status, told = survey(machine(tmp_path), f"127.0.0.1:{port}")
    assert (status, told[-1]["ok"]) == (75, False)


def test_no_password_is_reported(tmp_path: Path, target: ScriptedServer, works: Serve) -> None:
    """Neither from settings that are understood, nor from those that are not."""
    files = {
        "home/u/.gitconfig": f"[http]\nproxy = {works.url.replace('//', '//alice:swordfish@')}\n",
        "home/u/.curlrc": "proxy = alice:swordfish\nnoproxy = http://alice:swordfish@x\n",
        "home/u/.npmrc": "proxy = http://alice:swordfish\nhttps-proxy=://swordfish@\n",
        "home/u/.wgetrc": "https_proxy = http://alice:swordfish@\n",
        "home/u/.ssh/config": "ProxyCommand ncat --proxy-auth alice:swordfish %h\nHost x\nProxyCommand nc -P a -x swordfish:@ %h\n",
        "home/u/.docker/config.json": '{"proxies": "swordfish"}',
        "etc/docker/daemon.json": '{"auth": "swordfish"',
        "home/u/.config/kioslaverc": "[Proxy Settings]\nProxyType=2\nProxy Config Script=http://alice:swordfish@127.0.0.1:9/\n",
    }
    environ = {"no_proxy": "http://alice:swordfish@h", "TUNNELCTL_PROXY": "http://alice:swordfish@127.0.0.1:9,alice:swordfish"}
    _, told = survey(machine(tmp_path, files, **environ), target.authority)
    assert "swordfish" not in json.dumps(told)
    assert len(of("named", told)) == 11
    assert of("unread", told)[0]["cause"] == "it is not JSON"


def test_escapes_are_not_an_error(tmp_path: Path, target: ScriptedServer) -> None:
    (tmp_path / "home/u").mkdir(parents=True)
    (tmp_path / "home/u/.curlrc").write_bytes(b"proxy = http://\x1b[31m\xff:1\nnoproxy = \x1b]0;x\x07\xe9\n")
    _, told = survey(machine(tmp_path), target.authority)
    assert [event["kind"] for event in of("named", told)] == ["proxy", "exempt"]
    assert names(told)[-1] == "setting-malformed"


def test_flags_come_first_and_are_tunnelctls_own(tmp_path: Path, target: ScriptedServer, works: Serve) -> None:
    status, told = survey(machine(tmp_path, https_proxy="http://127.0.0.1:9"), target.authority, proxy=(works.url,))
    assert status == 0
    assert [(event["tool"], event["key"]) for event in of("named", told)] == [("tunnelctl", "-x"), ("environment", "https_proxy")]
    assert [event["selected"] for event in of("proxy", told) if event["proxy"] == [works.url]] == [True]
    assert set(names(told)) == {"dead-setting", "proxies-differ"}


def test_a_chain_is_tried_as_one(tmp_path: Path, target: ScriptedServer, works: Serve) -> None:
    with Serve() as second:
        status, told = survey(machine(tmp_path), target.authority, proxy=(works.url, second.url))
    assert status == 0
    assert of("trying", told)[0]["proxies"] == [f"{works.url}, then {second.url}"]


def test_wrong_flags_are_errors_and_a_wrong_variable_is_a_finding(tmp_path: Path, target: ScriptedServer) -> None:
    with pytest.raises(UsageProblem):
        survey(machine(tmp_path), target.authority, proxy=("http://",))
    with pytest.raises(UsageProblem):
        survey(machine(tmp_path), "no-port")
    status, told = survey(machine(tmp_path, https_proxy="'http://p:1'"), target.authority)
    assert (status, names(told)) == (0, ["no-proxy-named", "setting-malformed"])


def test_direct_is_no_proxy(tmp_path: Path, target: ScriptedServer) -> None:
    status, told = survey(machine(tmp_path), target.authority, proxy=("direct",))
    assert (status, of("named", told)) == (0, [])


def test_no_more_than_some_proxies_are_tried(tmp_path: Path, target: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRIED", 3)
    config = "".join(f'[http "u{n}"]\nproxy=127.0.0.1:{n + 1}\n' for n in range(5))
    _, told = survey(machine(tmp_path, {"home/u/.gitconfig": config}), target.authority)
    assert (len(of("named", told)), len(of("proxy", told))) == (5, 4)
    assert of("warning", told)[0]["text"] == "only the first 3 of 5 proxies are tried"


def test_settings_that_take_too_long_to_read(tmp_path: Path, target: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home directory on a server that is gone."""
    reading, writing = os.pipe()
    monkeypatch.setattr(module, "GATHER", 0.05)
    monkeypatch.setattr(module, "gather", lambda machine: os.read(reading, 1))
    try:
        _, told = survey(machine(tmp_path, no_proxy="x"), target.authority)
    finally:
        os.close(writing)
        os.close(reading)
    assert of("unread", told)[0]["cause"] == "the settings were not read within 0.05 s"
    assert of("named", told)[0]["key"] == "no_proxy"


# --- PAC and WPAD


def serving(script: str) -> ScriptedServer:
    def answer(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(script), script.encode()))
        peer.end_output()
        peer.wait_gone()

    return ScriptedServer(answer)


def test_the_proxies_of_a_pac_file_are_tried(tmp_path: Path, target: ScriptedServer, works: Serve) -> None:
    script = f"function FindProxyForURL(url, host) {{ return 'PROXY 127.0.0.1:{works.port}; DIRECT' }}"
    with serving(script) as server:
        config = f"[Proxy Settings]\nProxyType=2\nProxy Config Script={server.url}/p.pac\n"
        status, told = survey(machine(tmp_path, {"home/u/.config/kioslaverc": config}), target.authority)
    assert (status, names(told)) == (0, [])
    assert of("script", told) == [
        {"event": "script", "url": f"{server.url}/p.pac", "target": target.authority, "proxies": [works.url, "direct"]}
    ]
    assert [event["named_by"] for event in of("proxy", told) if event["proxy"]] == [
        ["KDE Proxy Config Script (~/.config/kioslaverc, line 3)"]
    ]


def test_a_pac_file_that_cannot_be_used(tmp_path: Path, target: ScriptedServer) -> None:
    with serving("not a script") as server:
        status, told = survey(machine(tmp_path), target.authority, pac=f"{server.url}/p.pac")
    assert (status, names(told)) == (0, ["no-proxy-named", "pac-unusable"])


def test_a_pac_file_that_never_comes(tmp_path: Path, target: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that fetches it is abandoned, and keeps the connection."""
    monkeypatch.setattr(module, "ATTEMPT", 0.2)
    surveyed = threading.Event()

    def mute(peer: Conversation) -> None:
        peer.read_head()
        assert surveyed.wait(SOON)

    with ScriptedServer(mute) as server:
        _, told = survey(machine(tmp_path), target.authority, pac=f"{server.url}/p.pac")
        surveyed.set()
    (finding,) = [event for event in of("finding", told) if event["name"] == "pac-unusable"]
    assert finding["text"] == "--pac: the PAC file has not answered within 0.2 s"


def test_wpad_is_shown_and_not_looked_up(tmp_path: Path, target: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(name: str, port: int) -> None:
        raise AssertionError("a lookup that nobody asked for")

    monkeypatch.setattr(module, "resolve", refuse)
    _, told = survey(machine(tmp_path, {"etc/resolv.conf": "search corp.example\n"}), target.authority)
    (named,) = of("named", told)
    assert (named["kind"], named["value"], named["place"]) == ("wpad", ["wpad.corp.example"], "/etc/resolv.conf")


def test_wpad_is_looked_up_on_demand(tmp_path: Path, target: ScriptedServer, works: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def resolve(name: str, port: int) -> None:
        asked.append(name)
        if name != "wpad.corp.example":
            raise socket.gaierror

    monkeypatch.setattr(module, "resolve", resolve)
    script = f"function FindProxyForURL(url, host) {{ return 'PROXY 127.0.0.1:{works.port}' }}"
    with serving(script) as server:
        monkeypatch.setattr(wpad, "URL", f"{server.url}/wpad.dat#{{name}}")
        files = {"etc/resolv.conf": "search corp.example other.example\n"}
        status, told = survey(machine(tmp_path, files), target.authority, wpad=True)
    assert (status, asked) == (0, ["wpad.corp.example", "wpad.other.example"])
    assert of("unread", told)[0]["place"] == "wpad.other.example"
    assert of("script", told)[0]["proxies"] == [works.url]


@pytest.mark.parametrize("files", [{}, {"etc/resolv.conf": "nameserver 127.0.0.1\n"}], ids=["no file", "no domain"])
def test_wpad_without_a_search_domain(tmp_path: Path, target: ScriptedServer, files: dict[str, str]) -> None:
    """It is said only to somebody who asked for it."""
    where = machine(tmp_path, files)
    _, told = survey(where, target.authority, wpad=True)
    assert of("unread", told) == [{"event": "unread", "tool": "WPAD", "place": "/etc/resolv.conf", "cause": "has no search domain"}]
    assert of("unread", survey(where, target.authority)[1]) == []


@pytest.mark.parametrize(("wpad", "search", "proposed"), [(False, "corp.example", True), (False, "", False), (True, "", False)])
def test_the_hint_about_wpad(tmp_path: Path, wpad: bool, search: str, proposed: bool) -> None:
    sock, port = refusing_port()
    with sock:
        _, told = survey(machine(tmp_path, {"etc/resolv.conf": f"search {search}\n"}), f"127.0.0.1:{port}", wpad=wpad)
    (finding,) = of("finding", told)
    assert ("--wpad" in str(finding["hint"])) == proposed


def test_a_signal_ends_the_search_with_what_was_found(tmp_path: Path, target: ScriptedServer, works: Serve) -> None:
    """The silent proxy opens the first tunnel. Live rows show what it is asked for then."""
    first = threading.Event()

    def half_mute(peer: Conversation) -> None:
        if not first.is_set():
            first.set()
            peer.accept_tunnel()
        peer.wait_gone()

    def live(waits: list[Awaited]) -> None:
        if [(wait.name, wait.what) for wait in waits] == [(silent.url, "127.0.0.2:2")]:
            os.kill(os.getpid(), signal.SIGINT)

    told: Told = []

    def report(event: Event, /) -> None:
        name, facts = in_words(event)
        told.append({"event": name, **plain(facts)})

    with ScriptedServer(half_mute) as silent:
        where = machine(tmp_path, https_proxy=silent.url, ALL_PROXY=works.url)
        status = run_survey(DiscoverOptions(targets=(target.authority, "127.0.0.2:2")), where, report, live)
    assert status == 130
    assert [(event["number"], event["target"]) for event in of("trial", told) if event["number"] == 1] == [(1, target.authority)]
    assert sorted(str(event["number"]) for event in of("proxy", told)) == ["0", "2"]
    (interrupted,) = of("interrupted", told)
    assert (interrupted["phase"], interrupted["text"]) == ("proxy", f"{silent.url} had not answered")
    assert told[-1] == {"event": "outcome", "ok": False, "exit_status": 130, "working": ["", works.url]}


def test_the_default_targets_are_addresses() -> None:
    assert TARGETS == ("example.com:443", "github.com:22")
