"""Files that are replaced by switching a link, as Kubernetes and certbot do it, are read again without a signal."""

import os
from pathlib import Path

import pytest

from tests.peers.kubelet import mount
from tests.peers.process import wait_until
from tests.peers.program import Serve, patched
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Client, connect_request
from tunnelctl.engine.kernel import run
from tunnelctl.server.process import file_switch
from tunnelctl.server.process.file_switch import FileSwitch

SOON = patched("from tunnelctl.server.process import file_switch\nfile_switch.LOOK_SECONDS = 0.05")
RULES = "[[allow]]\ntargets = ['127.0.0.1:*']\n"
NO_RULE = "[[deny]]\ntargets = ['*:*']\n"


def answer(port: int, target: str) -> int:
    """Returns the status of one request."""
    with Client(("127.0.0.1", port)) as client:
        client.send(connect_request(target))
        return int(client.head()[9:12])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_switched_link_puts_the_new_rules_in_force_in_every_process(workers: str, tmp_path: Path) -> None:
    mount(tmp_path, "1", policy=RULES)
    with ScriptedServer(echo) as target:
        with Serve("--policy", str(tmp_path / "policy"), "--workers", workers, allow=(), program=SOON) as serve:
            with Client(("127.0.0.1", serve.port)) as client:
                client.tunnel(target.authority)
                mount(tmp_path, "2", policy=NO_RULE)
                serve.wait_for_log("the policy was read again: ")
                wait_until(lambda: {answer(serve.port, target.authority) for _ in range(20)} == {403}, SECONDS, "the new rules")
                assert client.echoes(), "an open tunnel stays open"
            mount(tmp_path, "3", policy="nonsense")
            serve.wait_for_log("warning: the old policy stays in force: ")
            mount(tmp_path, "4", policy=RULES)
            serve.wait_for_log("the policy was read again: ", 2)
            wait_until(lambda: {answer(serve.port, target.authority) for _ in range(20)} == {200}, SECONDS, "the last rules")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_where_sighup_is_ignored_a_warning_says_that_nothing_is_read_again(workers: str, tmp_path: Path) -> None:
    mount(tmp_path, "1", policy=RULES)
    nohup = patched(
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from tunnelctl.server.process import file_switch\nfile_switch.LOOK_SECONDS = 0.05"
    )
    with Serve("--policy", str(tmp_path / "policy"), "--workers", workers, allow=(), program=nohup) as serve:
        mount(tmp_path, "2", policy=NO_RULE)
        serve.wait_for_log("warning: files were replaced, and are not read again: SIGHUP is ignored")


def test_a_file_that_is_written_in_place_waits_for_the_signal(tmp_path: Path) -> None:
    """It may be half written. Meanwhile a link beside it is switched, and so shows that the looks go on."""
    policy, users = tmp_path / "policy", tmp_path / "users"
    policy.write_text(RULES)
    paths = [str(policy), str(users)]
    (tmp_path / "one").touch()
    users.symlink_to("one")
    found = Looks(paths)
    policy.write_text(NO_RULE)
    other = tmp_path / "other"
    other.write_text(NO_RULE)
    other.replace(policy)
    found.look(3)
    assert found.times == 0
    users.unlink()
    users.symlink_to("policy")
    found.look(3)
    assert found.times == 1


class Looks:
    """A FileSwitch, and how often it has had the files read again."""

    def __init__(self, paths: list[str]) -> None:
        self.times = 0
        self._switch = FileSwitch(paths)

    def look(self, count: int) -> None:
        """Lets it look that many times."""
        left = count

        async def sleep(_: float) -> None:
            nonlocal left
            if not left:
                raise EndError
            left -= 1

        async def looked() -> None:
            with pytest.raises(EndError):
                await self._switch.run(self._read_again)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_switch, "sleep", sleep)
            run(looked)

    def _read_again(self) -> None:
        self.times += 1


class EndError(Exception):
    pass


def test_several_links_that_are_switched_one_after_the_other_are_read_once(tmp_path: Path) -> None:
    """As certbot switches the certificate and its key."""
    for name in ("cert1", "key1", "cert2", "key2"):
        (tmp_path / name).touch()
    links = [tmp_path / "cert", tmp_path / "key"]
    for link in links:
        link.symlink_to(f"{link.name}1")
    found = Looks([str(link) for link in links])
    for link in links:
        link.unlink()
        found.look(1)
        link.symlink_to(f"{link.name}2")
        found.look(1)
    assert found.times == 0
    found.look(2)
    assert found.times == 1


def test_a_change_before_the_first_look_is_noticed(tmp_path: Path) -> None:
    mount(tmp_path, "1", policy=RULES)
    found = Looks([str(tmp_path / "policy")])
    mount(tmp_path, "2", policy=NO_RULE)
    found.look(2)
    assert found.times == 1


def test_a_pipe_is_never_read_again(tmp_path: Path) -> None:
    """It leads to another path in each process, and whoever reads it again finds nothing."""
    reader, writer = os.pipe()
    found = Looks([f"/dev/fd/{reader}", str(tmp_path / "missing")])
    os.close(reader)
    os.close(writer)
    (tmp_path / "missing").touch()
    found.look(3)
    assert found.times == 0
