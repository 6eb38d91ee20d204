"""SIGHUP on `forward`: the configuration is replaced as a whole or not at all, and open tunnels go on."""

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.client.forwarding import socks5
from tests.client.harness import TraceLog
from tests.options import forward_options
from tests.peers import certificates
from tests.peers.https import make_certificate
from tests.peers.manager import Manager
from tests.peers.process import wait_until
from tests.peers.program import Forward, Serve, connect, run
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Client, basic, connect_request, users_file
from tunnelctl.cli.render.hints import hint_of, what_of
from tunnelctl.client.forward.setup import SetupReader
from tunnelctl.errors import SettingsError

# Starts tunnelctl without a controlling terminal, as a service manager does: the tests may have one.
WITHOUT_TERMINAL = (
    sys.executable,
    "-c",
    "import os, sys; os.setsid(); os.execv(sys.executable, [sys.executable, '-m', 'tunnelctl', *sys.argv[1:]])",
)

UNSET = dict.fromkeys(("TUNNELCTL_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"), "")


class Reloading:
    """A forward with a settings file. What it says after a reload begins with `tunnelctl: `."""

    def __init__(self, directory: Path, forward: Forward, environ: dict[str, str]) -> None:
        self.file, self.forward, self.environ = settings_file(directory), forward, environ

    def open(self) -> Client:
        return Client(("127.0.0.1", self.forward.port))

    def lines(self) -> list[str]:
        return [line for line in self.forward.log().splitlines() if "was read again" in line or "warning" in line]

    def reload(self) -> str:
        """Sends the signal; returns the first line that follows."""
        before = len(self.lines())
        self.forward.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self.lines()) > before, what="the outcome of a reload")
        return self.lines()[before]


def settings_file(directory: Path) -> Path:
    path = directory / "tunnelctl" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    return path


@contextmanager
def reloading(directory: Path, settings: str, *flags: str, **environ: str) -> Iterator[Reloading]:
    settings_file(directory).write_text(settings)
    (directory / "run").mkdir(mode=0o700)
    env = {**UNSET, "XDG_CONFIG_HOME": str(directory), "XDG_RUNTIME_DIR": str(directory / "run"), **environ}
    with Forward(*flags, env=env, program=WITHOUT_TERMINAL) as forward:
        wait_until(lambda: "control:" in forward.log())  # then the signal is received
        assert isinstance(forward, Forward)
        yield Reloading(directory, forward, env)


def proxied(url: str, more: str = "") -> str:
    return f'[defaults]\nproxy = "{url}"\n{more}'


def test_new_tunnels_use_the_new_proxy_and_open_ones_go_on(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Serve("-v") as old, Serve("-v") as new:
        with reloading(tmp_path, proxied(old.url), "-L", f"0:{target.authority}", "-v") as forward:
            with forward.open() as before:
                assert before.echoes()
                forward.file.write_text(proxied(new.url))
                assert forward.reload() == f"tunnelctl: the configuration was read again: {new.url}"
                with forward.open() as after:
                    assert after.echoes()
                    assert before.echoes()
        old.wait_for_log("open, at")
        new.wait_for_log("open, at")


def test_connect_via_auto_finds_the_forward_by_its_new_proxy(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Serve("-v") as old, Serve("-v") as new:
        with reloading(tmp_path, proxied(old.url), "--name", "work", "-L", f"0:{target.authority}") as forward:
            forward.file.write_text(proxied(new.url))
            forward.reload()
            forward.file.unlink()
            for proxy, route in ((old, "route: http://"), (new, "route: unix:")):
                done = connect(proxy.url, target.authority, "--via", "auto", "-v", stdin=b"x", env=forward.environ)
                assert done.stdout == b"x"
                assert route in done.stderr.decode()


MISTAKES = {
    "no TOML": "[defaults\n",
    "an unknown key": proxied("http://127.0.0.1:1", "proxi = 1\n"),
    "a proxy that is none": proxied("ftp://127.0.0.1:1"),
    "a missing PAC file": '[defaults]\npac = "/nonexistent/proxy.pac"\n',
    "a missing password": proxied("http://127.0.0.1:1", 'proxy-user = "anna"\nproxy-password-file = "/nonexistent/password"\n'),
    "a missing users file": proxied("http://127.0.0.1:1", 'users = "/nonexistent/users"\n'),
    "a missing authority": proxied("https://127.0.0.1:1", 'proxy-cacert = "/nonexistent/ca.pem"\n'),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_anywhere_changes_nothing(tmp_path: Path, mistake: str) -> None:
    with ScriptedServer(echo) as target, Serve() as proxy:
        with reloading(tmp_path, proxied(proxy.url), "-L", f"0:{target.authority}") as forward:
            forward.file.write_text(mistake)
            assert forward.reload().startswith("tunnelctl: warning: the old configuration stays in force: ")
            with forward.open() as client:
                assert client.echoes()
            forward.file.write_text(proxied(proxy.url))
            assert forward.reload() == f"tunnelctl: the configuration was read again: {proxy.url}"


def test_its_own_port_is_refused_as_the_new_proxy(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Serve() as proxy:
        with reloading(tmp_path, proxied(proxy.url), "-L", f"0:{target.authority}") as forward:
            forward.file.write_text(proxied(forward.forward.url))
            assert "tunnelctl itself listens on this address" in forward.reload()
            with forward.open() as client:
                assert client.echoes()


def test_users_come_and_go(tmp_path: Path) -> None:
    users, others = users_file(tmp_path, anna="one"), tmp_path / "others"
    others.mkdir()
    more = users_file(others, berta="two")
    with ScriptedServer(echo) as target, Serve() as proxy:
        with reloading(tmp_path, proxied(proxy.url), "-D", "0", "--users", str(users)) as forward:

            def admitted(user: str, password: str) -> bool:
                with forward.open() as client:
                    client.send(connect_request(target.authority, basic(user, password)))
                    return client.exactly(12) == b"HTTP/1.1 200"

            assert (admitted("anna", "one"), admitted("berta", "two")) == (True, False)
            shutil.copy(more, users)
            forward.reload()
            assert (admitted("anna", "one"), admitted("berta", "two")) == (False, True)


def test_a_login_can_become_required(tmp_path: Path) -> None:
    users = users_file(tmp_path, anna="one")
    with ScriptedServer(echo) as target, Serve() as proxy:
        with reloading(tmp_path, proxied(proxy.url), "-D", "0") as forward:
            host, _, port = target.authority.rpartition(":")
            with forward.open() as client:
                assert socks5(client, host, int(port)) == 0
            forward.file.write_text(proxied(proxy.url, f'users = "{users}"\n'))
            forward.reload()
            with forward.open() as client:
                client.send(connect_request(target.authority))
                assert client.answer().status == 407


def test_certificates_are_read_again(tmp_path: Path) -> None:
    right, (wrong, _), authority = certificates.make(tmp_path), make_certificate(tmp_path), tmp_path / "ca.pem"
    shutil.copy(wrong, authority)
    tls = ("--tls-cert", str(right.chain), "--tls-key", str(right.key))
    with ScriptedServer(echo) as target, Serve(*tls) as proxy:
        settings = proxied(f"https://localhost:{proxy.port}", f'proxy-cacert = "{authority}"\n')
        with reloading(tmp_path, settings, "-L", f"0:{target.authority}") as forward:
            with pytest.raises(ConnectionResetError), forward.open() as client:
                client.exactly(1)
            shutil.copy(right.authority, authority)
            forward.reload()
            with forward.open() as client:
                assert client.echoes()


def test_what_counts_at_the_start_only_is_named(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Serve() as proxy:
        with reloading(tmp_path, proxied(proxy.url), "-L", f"0:{target.authority}") as forward:
            forward.file.write_text(
                proxied(proxy.url, f'dynamic = "0"\ndrain = 1\nkeepalive = 7\nlocal = "0:{target.authority}"\n')
            )
            forward.reload()
            said = "tunnelctl: warning: what has changed in dynamic, drain, keepalive takes effect at the next start"
            wait_until(lambda: said in forward.lines())


def test_warm_connections_lead_to_the_new_proxy(tmp_path: Path) -> None:
    with ExitStack() as stack:
        old, new = (stack.enter_context(ScriptedServer(lambda peer: peer.wait_gone())) for _ in range(2))
        settings = proxied(old.url, "warm = 2\n")
        with reloading(tmp_path, settings, "-L", "0:target.test:1") as forward:
            wait_until(lambda: len(old.conversations) == 2)
            forward.file.write_text(proxied(new.url, "warm = 1\n"))
            forward.reload()
            wait_until(lambda: len(new.conversations) == 1)
            wait_until(lambda: all(conversation.sock.fileno() < 0 for conversation in old.conversations), what="their end")


def test_limits_are_those_of_the_new_configuration(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Serve() as proxy:
        with reloading(tmp_path, proxied(proxy.url), "-L", f"0:{target.authority}") as forward, forward.open() as first:
            assert first.echoes()
            forward.file.write_text(proxied(proxy.url, "max-connections = 1\n"))
            forward.reload()
            # The reset may arrive even before `connect` has returned.
            with pytest.raises(ConnectionResetError), forward.open() as client:
                client.exactly(1)
            assert first.echoes()


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with Manager(tmp_path) as manager, Serve() as proxy:
        with reloading(tmp_path, proxied(proxy.url), "-L", "0:target.test:1", **manager.environ) as forward:
            manager.wait_for("READY=1")
            forward.reload()
            (since,) = manager.wait_for("RELOADING=1")
            assert since.startswith("MONOTONIC_USEC=")
            manager.wait_for("READY=1")


def test_the_password_of_a_proxy_is_masked(tmp_path: Path) -> None:
    with Serve() as proxy:
        with reloading(tmp_path, proxied(proxy.url), "-L", "0:target.test:1") as forward:
            forward.file.write_text(proxied("http://anna:s3cret@127.0.0.1:1"))
            forward.file.chmod(0o600)
            assert forward.reload() == "tunnelctl: the configuration was read again: http://anna:***@127.0.0.1:1"


def test_a_signal_that_was_ignored_at_the_start_stays_ignored(tmp_path: Path) -> None:
    ignoring = WITHOUT_TERMINAL[2].replace("os.setsid();", "os.setsid(); import signal; signal.signal(1, signal.SIG_IGN);")
    with Forward("-x", "direct", "-L", "0:target.test:1", program=(*WITHOUT_TERMINAL[:2], ignoring)) as forward:
        forward.process.send_signal(signal.SIGHUP)
        forward.process.send_signal(signal.SIGTERM)
        assert forward.process.wait(20) == 0
        forward.ended_on_purpose = True
        assert "read again" not in forward.log()


def test_a_password_that_was_typed_is_not_asked_for_again() -> None:
    """The one who typed it may have left. Without it, no new tunnel would work."""
    given = forward_options(proxy=("http://anna@127.0.0.1:1",), ask_password=True)
    reader = SetupReader(lambda: (given, None), given, [], {}, TraceLog())
    with pytest.raises(SettingsError, match="typed at the start") as caught:
        reader.load()
    assert what_of(caught.value) == "--ask-password"
    assert hint_of(caught.value) == "start it again"


def test_run_passes_the_signal_on_to_its_command() -> None:
    done = run("run", "-q", "-x", "direct", "--", "sh", "-c", "kill -HUP $PPID; exec sleep 20")
    assert done.returncode == 128 + signal.SIGHUP
