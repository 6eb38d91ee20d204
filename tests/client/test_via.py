"""Tests `connect --via`: tunnels through a running forward, and what `auto` does without one."""

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest

from tests.client.forwarding import via
from tests.client.harness import AMPLE, BRIEF, TARGET, Ended, connect, holds
from tests.options import connect_options
from tests.peers import certificates
from tests.peers.certificates import Certificates
from tests.peers.process import wait_until
from tests.peers.program import SOON, Bytes, Forward, Serve, at_end_soon, echoed, handed_over, read_soon, run, started
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo, sample
from tunnelctl.cli.render.hints import hint_of, line_of
from tunnelctl.client import via as module
from tunnelctl.errors import MalformedAnswer, Refused, TimedOut, TunnelctlError, Unreachable, UsageProblem
from tunnelctl.proto.http1.render import CONTINUE
from tunnelctl.server.access.users import hash_password
from tunnelctl.status import ExitStatus
from tunnelctl.stream.unix_stream import connect_unix

DATA = sample(3 << 20)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory for XDG_RUNTIME_DIR. The one of tmp_path would be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as directory:
        yield Path(directory)


@pytest.fixture
def env(runtime: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(runtime)}


def echoes(peer: Conversation) -> None:
    peer.accept_tunnel()
    echo(peer)


@pytest.fixture
def proxy() -> Iterator[ScriptedServer]:
    with ScriptedServer(echoes) as server:
        yield server


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(files: Certificates) -> Iterator[Serve]:
    with Serve("--tls-cert", str(files.chain), "--tls-key", str(files.key)) as server:
        yield server


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    """How long a forward may take to say that it is working: here, more than a real one takes on a busy machine."""
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    return 1.0


def through(name: str, environ: dict[str, str], stdin: bytes = b"hello", **options: Any) -> Ended:
    """Runs `connect --via NAME` in this process."""
    return connect(connect_options(TARGET, via=name, **options), environ, stdin)


def fails(kind: type[TunnelctlError], name: str, environ: dict[str, str], **options: Any) -> TunnelctlError:
    with pytest.raises(kind) as caught:
        through(name, environ, **options)
    return caught.value


def work(env: dict[str, str], proxy: ScriptedServer | Serve, *words: str) -> Forward:
    """A forward of the name `work`."""
    return Forward("--name", "work", "-x", proxy.url, "-v", *words, env=env)


def socket_of(env: dict[str, str], name: str = "work") -> str:
    return f"{env['XDG_RUNTIME_DIR']}/tunnelctl/{name}.sock"


def tunnels(forward: Serve) -> int:
    """How many the forward has opened."""
    return forward.log().count(" open after ")


@contextmanager
def listening(runtime: Path, name: str, backlog: int = 8, fingerprint_of: str = "") -> Iterator[socket.socket]:
    """A control socket that the test serves, or leaves alone. fingerprint_of: the forward whose file it gets"""
    directory = runtime / "tunnelctl"
    directory.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(SOON)
        listener.bind(str(directory / f"{name}.sock"))
        listener.listen(backlog)
        if fingerprint_of:
            claim(directory, name, fingerprint_of)
        yield listener


def claim(directory: Path, name: str, of: str) -> None:
    """Gives the socket the fingerprint of another one."""
    _, _, text = (directory / f"{of}.route").read_text().partition("\n")
    (directory / f"{name}.route").write_text(f"{(directory / f'{name}.sock').stat().st_ino}\n{text}")


# --- by name and by path


def test_a_tunnel_through_a_forward(proxy: ScriptedServer, env: dict[str, str]) -> None:
    with work(env, proxy) as forward:
        for name in ("work", socket_of(env)):
            done = through(name, env)
            assert (done.status, done.stdout) == (0, b"hello")
            assert done.trace.named("route") == [{"proxies": [f"unix:{socket_of(env)}"], "origin": "--via"}]
            assert done.trace.names == ["route", "connected", "request", "response", "opened", "closed"]
    assert tunnels(forward) == 2
    assert forward.log().count("tunnel to target.test:22 ended by the client (eof)") == 2
    assert [head.partition(b"\r\n")[0] for head in proxy.heads] == [b"CONNECT target.test:22 HTTP/1.1"] * 2


def refuses(peer: Conversation) -> None:
    peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")


def test_the_refusal_of_the_proxy_is_passed_on(env: dict[str, str]) -> None:
    with ScriptedServer(refuses) as proxy, work(env, proxy):
        error = fails(Refused, "work", env)
    assert f"proxy {proxy.authority} refused a tunnel to target.test:22" in error.cause
    assert error.detail["code"] == 403


def test_a_name_that_nobody_has_is_an_error_with_a_hint(runtime: Path, env: dict[str, str]) -> None:
    error = fails(Unreachable, "work", env)
    assert line_of(error) == f"cannot connect to proxy unix:{runtime}/tunnelctl/work.sock: no such file or directory"
    assert "`tunnelctl forward --name work` starts it" in hint_of(error)
    with listening(runtime, "work"):
        pass
    assert "connection refused" in fails(Unreachable, "work", env).cause
    assert hint_of(fails(Unreachable, f"{runtime}/x", env)) == "does a forward listen there?"
    with pytest.raises(UsageProblem):
        through("a b", env)


def test_the_directory_of_a_name_must_be_safe(runtime: Path, env: dict[str, str]) -> None:
    directory = runtime / "tunnelctl"
    with listening(runtime, "work"):
        directory.chmod(0o755)
        error = fails(Unreachable, "work", env)
        assert line_of(error) == f"control directory {directory}: other users have access to it (mode 0755)"
        assert f"chmod 700 {directory}" in hint_of(error)


def test_the_forward_of_another_user_gets_nothing(runtime: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_same_user", lambda _: False)
    with listening(runtime, "work") as listener:
        error = fails(Unreachable, "work", env)
        assert error.cause == "it belongs to another user"
        with listener.accept()[0] as accepted:
            assert accepted.recv(100) == b""


def test_a_forward_that_closes_without_an_answer(proxy: ScriptedServer, env: dict[str, str]) -> None:
    with work(env, proxy, "--max-connections", "1") as forward, socket.socket(socket.AF_UNIX) as held:
        held.connect(socket_of(env))
        held.sendall(b"CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n\r\n")
        wait_until(lambda: tunnels(forward))
        error = fails(Unreachable, "work", env)
        assert "--max-connections" in hint_of(error)
        done = through("auto", env, proxy=via(proxy))
        assert (done.status, done.stdout) == (0, b"hello")


def test_a_socket_of_another_program(runtime: Path, env: dict[str, str]) -> None:
    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as accepted:
            accepted.sendall(b"SSH-2.0-x\r\n")
            accepted.recv(1000)

    with listening(runtime, "work") as listener:
        server = Thread(target=serve, args=(listener,))
        server.start()
        assert "not HTTP" in fails(MalformedAnswer, "work", env).cause
        server.join(SOON)


def test_the_time_limit_holds_for_the_proxies_behind_the_forward(env: dict[str, str], patience: float) -> None:
    with ScriptedServer(holds()) as proxy, work(env, proxy):
        error = fails(TimedOut, "work", env, timeout=1.0)
        assert line_of(error) == f"waiting for proxy unix:{socket_of(env)} to reach target.test:22: no answer within 1 s"
        # With auto too: there is no time left for another attempt.
        error = fails(TimedOut, "auto", env, proxy=via(proxy), timeout=2 * patience)
        assert error.what.startswith("waiting for proxy unix:")


def test_a_dynamic_port_at_a_path_serves_as_well(proxy: ScriptedServer, runtime: Path, env: dict[str, str]) -> None:
    path = str(runtime / "dynamic")
    with Forward("-D", path, "-x", proxy.url, env=env):
        done = through(path, {})
    assert (done.status, done.stdout) == (0, b"hello")


def test_tls_to_the_target_is_inside_the_tunnel(files: Certificates, secure: Serve, env: dict[str, str]) -> None:
    """`serve` with TLS is the target; it answers in the clear, inside TLS, that the request is none."""
    with Serve() as proxy, work(env, proxy):
        words = ["--via", "work", "--tls", "--tls-cacert", str(files.authority), "--tls-name", certificates.HOST]
        done = run("connect", *words, f"127.0.0.1:{secure.port}", stdin=b"nonsense\r\n\r\n", env=env)
    assert done.stdout.startswith(b"HTTP/1.1 400 ")


@contextmanager
def busy(runtime: Path) -> Iterator[socket.socket]:
    """The control socket of a forward whose backlog is full: Linux takes one connection more than it is told."""
    with listening(runtime, "work", backlog=0) as listener, socket.socket(socket.AF_UNIX) as queued:
        queued.connect(str(runtime / "tunnelctl/work.sock"))
        yield listener


def test_a_forward_that_is_busy_is_waited_for(runtime: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    full = Event()

    def noticing(path: str) -> socket.SocketType:
        try:
            return connect_unix(path)
        except BlockingIOError:
            full.set()
            raise

    def serve(listener: socket.socket) -> None:
        full.wait(SOON)
        listener.accept()[0].close()
        with listener.accept()[0] as accepted:
            peer = Conversation(accepted)
            peer.accept_tunnel()
            echo(peer)

    monkeypatch.setattr(module, "connect_unix", noticing)
    with busy(runtime) as listener:
        server = Thread(target=serve, args=(listener,))
        server.start()
        done = through("work", env)
        server.join(SOON)
    assert full.is_set()
    assert (done.status, done.stdout) == (0, b"hello")


def test_waiting_for_a_forward_that_is_busy_ends_at_the_time_limit(runtime: Path, env: dict[str, str]) -> None:
    with busy(runtime):
        error = fails(Unreachable, "work", env, timeout=BRIEF)
    assert line_of(error) == f"cannot connect to proxy unix:{runtime}/tunnelctl/work.sock: its backlog was full for 0.2 s"
    assert (
        hint_of(error)
        == "the forward runs, but is overloaded or stopped: try again later, or give the flags for the proxy in place of --via"
    )


# --- auto


def test_auto_without_a_socket_goes_the_usual_way(proxy: ScriptedServer, env: dict[str, str]) -> None:
    done = through("auto", env, proxy=via(proxy))
    assert (done.status, done.stdout) == (0, b"hello")
    assert done.trace.named("route") == [{"proxies": [proxy.url], "origin": "-x"}]


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("same", [True, False])
def test_auto_uses_a_forward_only_if_it_leads_to_the_same_proxies(proxy: ScriptedServer, env: dict[str, str], same: bool) -> None:
    with ScriptedServer(echoes) as other, work(env, proxy if same else other) as forward:
        done = through("auto", env, proxy=via(proxy))
        assert (done.status, done.stdout) == (0, b"hello")
        # A variable may name a proxy for fewer targets than a flag does.
        assert through("auto", {**env, "https_proxy": proxy.url, "no_proxy": "other.test"}).status == 0
    assert tunnels(forward) == same
    assert other.heads == []


@pytest.mark.usefixtures("patience")
def test_auto_takes_the_first_by_name_and_skips_the_dead(proxy: ScriptedServer, runtime: Path, env: dict[str, str]) -> None:
    with (
        Forward("--name", "two", "-x", proxy.url, "-v", env=env) as two,
        Forward("--name", "three", "-x", proxy.url, "-v", env=env) as three,
    ):
        with listening(runtime, "one", fingerprint_of="two"):
            pass  # nobody listens there any more
        done = through("auto", env, proxy=via(proxy))
        assert (done.status, done.stdout) == (0, b"hello")
        (skipped,) = done.trace.named("skipped")
        assert "one.sock: connection refused" in str(skipped["cause"])
    assert "tunnel to" in three.log()
    assert "tunnel to" not in two.log()


@pytest.mark.parametrize("accepts", [True, False])
def test_auto_does_not_wait_for_a_forward_that_hangs(
    proxy: ScriptedServer, runtime: Path, env: dict[str, str], accepts: bool
) -> None:
    """Stopped programs accept nothing; the backlog of one may even be full."""
    with Forward("--name", "real", "-x", proxy.url, env=env):
        route = (runtime / "tunnelctl/real.route").read_text()
    with listening(runtime, "hangs", backlog=8 if accepts else 0), suppress(OSError):
        (runtime / "tunnelctl/real.sock").touch()
        (runtime / "tunnelctl/real.route").write_text(route)
        claim(runtime / "tunnelctl", "hangs", "real")
        with socket.socket(socket.AF_UNIX) as queued:
            queued.connect(str(runtime / "tunnelctl/hangs.sock"))
            begun = monotonic()
            done = through("auto", env, proxy=via(proxy))
    assert (done.status, done.stdout) == (0, b"hello")
    assert done.trace.named("route")[-1] == {"proxies": [proxy.url], "origin": "-x"}
    (skipped, *_) = done.trace.named("skipped")
    assert ("no answer within 0.25 s" if accepts else "its backlog is full") in str(skipped["cause"])
    assert monotonic() - begun < AMPLE


def test_auto_gives_a_forward_that_has_answered_all_the_time_that_its_proxies_take(env: dict[str, str], patience: float) -> None:
    """100 (Continue) tells a slow proxy from a forward that hangs."""

    def slow(peer: Conversation) -> None:
        peer.read_head()
        begun.wait(2 * patience)  # is never set: a proxy that takes its time
        peer.send(ESTABLISHED)
        echo(peer)

    begun = Event()
    with ScriptedServer(slow) as proxy, work(env, proxy):
        done = through("auto", env, proxy=via(proxy))
        assert (done.status, done.stdout) == (0, b"hello")
    assert done.trace.named("skipped") == []
    assert len(proxy.heads) == 1


@pytest.mark.usefixtures("patience")
def test_auto_fails_as_it_would_without_a_forward(env: dict[str, str]) -> None:
    """A refusal is asked for once more, and is then that of the proxy itself."""
    with ScriptedServer(refuses) as proxy, work(env, proxy):
        error = fails(Refused, "auto", env, proxy=via(proxy))
        alone = fails(Refused, "auto", {}, proxy=via(proxy))
    assert line_of(error) == line_of(alone)
    assert len(proxy.heads) == 3


def test_auto_ignores_an_unsafe_directory_and_files_of_another_socket(
    proxy: ScriptedServer, runtime: Path, env: dict[str, str]
) -> None:
    with work(env, proxy) as forward:
        directory = runtime / "tunnelctl"
        route = directory / "work.route"
        text = route.read_text()
        for change in (lambda: directory.chmod(0o711), lambda: route.write_text(f"1{text}"), route.unlink):
            change()
            assert through("auto", env, proxy=via(proxy)).status == 0
            directory.chmod(0o700)
    assert tunnels(forward) == 0


def test_auto_never_takes_a_forward_if_a_secret_field_is_given(proxy: ScriptedServer, env: dict[str, str]) -> None:
    secret = "Proxy-Authorization: Basic x"
    with work(env, proxy, "--header", secret) as forward:
        assert through("auto", env, proxy=via(proxy), header=(secret,)).status == 0
    assert tunnels(forward) == 0


# --- the end of a tunnel


def test_half_close_passes_in_both_directions(secure: Serve, files: Certificates, env: dict[str, str]) -> None:
    """The target reads to the end of its input before it answers."""

    def script(peer: Conversation) -> None:
        peer.send(b"got %d" % len(peer.read_to_end()))

    with ScriptedServer(script) as target, over_tls("work", secure, files, env):
        done = run("connect", "--via", "work", target.authority, stdin=DATA, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"got %d" % len(DATA), b"")


def over_tls(name: str, secure: Serve, files: Certificates, env: dict[str, str]) -> Forward:
    """A forward over an https:// proxy."""
    url = secure.url.replace("http:", "https:")
    return Forward("--name", name, "-x", url, "--proxy-cacert", str(files.authority), env=env)


def is_reported_as_broken(done: "tuple[int, bytes]") -> bool:
    status, said = done
    return status == ExitStatus.BROKEN and b"connection reset by peer" in said


@pytest.mark.parametrize("ended", [False, True], ids=["stdin open", "stdin ended"])
def test_a_reset_of_the_target_is_no_clean_end(env: dict[str, str], ended: bool) -> None:
    def script(peer: Conversation) -> None:
        peer.read_to_end() if ended else peer.read_exactly(5)
        peer.send(b"part")
        assert peer.sock.recv(1) == b"" if ended else True
        told.wait(SOON)
        peer.reset()

    told = Event()
    with ScriptedServer(script) as target, Serve() as proxy, Forward("--name", "work", "-x", proxy.url, env=env):
        with started("connect", "--via", "work", target.authority, env=env) as process:
            process.stdin.write(b"hello")
            if ended:
                process.stdin.close()
            assert read_soon(process.stdout, 4) == b"part"
            told.set()
            assert at_end_soon(process.stdout)
            assert is_reported_as_broken((process.wait(SOON), process.stderr.read()))


@pytest.mark.parametrize("ended", [False, True], ids=["stdin open", "stdin ended"])
def test_a_forward_that_is_killed_is_no_clean_end(env: dict[str, str], ended: bool) -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.read_to_end() if ended else peer.read_exactly(5)
        peer.send(b"part")
        killed.wait(SOON)  # it does not end the tunnel before

    killed = Event()
    with ScriptedServer(script) as proxy, work(env, proxy) as forward:
        with started("connect", "--via", "work", "target.test:22", env=env) as process:
            process.stdin.write(b"hello")
            if ended:
                process.stdin.close()
            assert read_soon(process.stdout, 4) == b"part"
            os.kill(forward.process.pid, signal.SIGKILL)
            forward.ended_on_purpose = True
            assert at_end_soon(process.stdout)
            killed.set()
            assert is_reported_as_broken((process.wait(SOON), process.stderr.read()))


def test_a_connect_that_is_killed_resets_the_tunnel(env: dict[str, str]) -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.read_exactly(5)
        peer.send(b"x")
        with pytest.raises(ConnectionResetError):
            peer.read()
        was_reset.set()

    was_reset = Event()
    with ScriptedServer(script) as proxy, Forward("--name", "work", "-x", proxy.url, env=env):
        with started("connect", "--via", "work", "target.test:22", env=env) as process:
            process.stdin.write(b"hello")
            assert read_soon(process.stdout, 1) == b"x"
            process.kill()
            process.wait(SOON)
            assert was_reset.wait(SOON)


# --- through every kind of route, and handed over


def echoes_through(env: dict[str, str], target: ScriptedServer) -> bool:
    """Whether a tunnel through the forward `work` carries everything: relayed, and with the socket handed over."""
    done: Bytes = echoed(DATA, "--via", "work", target.authority, env=env)
    with handed_over("--via", "work", target.authority, env=env) as tunnel:
        assert tunnel.family == socket.AF_UNIX
        tunnel.sendall(b"over")
        tunnel.shutdown(socket.SHUT_WR)
        back = b""
        while piece := tunnel.recv(100):
            back += piece
    return (done.returncode, done.stdout == DATA, done.stderr, back) == (0, True, b"", b"over")


def test_an_https_proxy(secure: Serve, files: Certificates, env: dict[str, str]) -> None:
    with ScriptedServer(echo) as target, over_tls("work", secure, files, env):
        assert echoes_through(env, target)


def test_a_chain_with_a_login(secure: Serve, files: Certificates, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"{hash_password('alice', 'x')}\n")
    with Serve("--users", str(tmp_path / "users")) as inner, ScriptedServer(echo) as target:
        words = ["-x", secure.url.replace("http:", "https:"), "-x", inner.url.replace("//", "//alice:x@")]
        with Forward("--name", "work", *words, "--proxy-cacert", str(files.authority), env=env):
            assert echoes_through(env, target)


def test_a_socks_proxy(env: dict[str, str]) -> None:
    """The SOCKS proxy is another forward."""
    with ScriptedServer(echo) as target, Forward("-x", "direct", "-D", "0", env=env) as socks:
        with Forward("--name", "work", "-x", f"socks5://127.0.0.1:{socks.port}", env=env):
            assert echoes_through(env, target)


def test_the_banner_of_the_target_is_handed_over_whole(env: dict[str, str]) -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + b"banner " + DATA[:200_000])
        peer.wait_gone()

    with ScriptedServer(script) as proxy, Forward("--name", "work", "-x", proxy.url, env=env):
        with handed_over("--via", "work", "target.test:22", env=env) as tunnel:
            back = b""
            while len(back) < 200_007 and (piece := tunnel.recv(1 << 16)):
                back += piece
    assert back == b"banner " + DATA[:200_000]


def test_fdpass_with_tls_to_the_target_is_refused(env: dict[str, str]) -> None:
    done = run("connect", "--via", "work", "--fdpass", "--tls", "host.test:22", env=env)
    # stdout is no socket either, which is noticed first.
    assert done.returncode == ExitStatus.USAGE
    ours, theirs = socket.socketpair()
    words = ["connect", "--via", "work", "--fdpass", "--tls", "host.test:22"]
    with ours, theirs, started(*words, env=env, stdout=theirs.fileno()) as process:
        assert process.wait(SOON) == ExitStatus.USAGE
        said = process.stderr.read().decode()
    assert said == "tunnelctl: --fdpass: the route includes TLS, so tunnelctl must keep running\nhint: leave --fdpass out\n"


def test_fdpass_with_an_https_proxy_names_the_way_out(secure: Serve, env: dict[str, str]) -> None:
    ours, theirs = socket.socketpair()
    words = ["connect", "--fdpass", "-x", secure.url.replace("http:", "https:"), "host.test:22"]
    with ours, theirs, started(*words, env=env, stdout=theirs.fileno()) as process:
        assert process.wait(SOON) == ExitStatus.USAGE
        assert b"`tunnelctl forward --name NAME`, and --via NAME in their place" in process.stderr.read()


# --- the command line


@pytest.mark.parametrize(
    "words", [["-x", "http://p"], ["--pac", "p"], ["--auth", "basic"], ["-4"], ["--retry", "2"], ["--header", "A: b"]]
)
def test_a_name_excludes_the_flags_for_the_proxies(words: list[str], env: dict[str, str]) -> None:
    done = run("connect", "--via", "work", *words, "host.test:22", env=env)
    assert done.returncode == ExitStatus.USAGE
    assert b"and --via 'work' cannot be used together" in done.stderr


def test_auto_does_not_exclude_them_nor_does_the_environment_a_name(proxy: ScriptedServer, env: dict[str, str]) -> None:
    done = run("connect", "--via", "auto", "-x", proxy.url, "--retry", "1", "target.test:22", stdin=b"hello", env=env)
    assert (done.returncode, done.stdout) == (0, b"hello")
    with Forward("--name", "work", "-x", proxy.url, env=env):
        again = run("connect", "--via", "work", "target.test:22", stdin=b"hello", env={**env, "https_proxy": "http://127.0.0.1:9"})
    assert (again.returncode, again.stdout) == (0, b"hello")


def test_a_proxy_on_the_command_line_overrules_a_forward_in_the_settings(
    proxy: ScriptedServer, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tunnelctl").mkdir()
    (tmp_path / "tunnelctl/config.toml").write_text('[defaults]\nvia = "work"\n')
    settings = {**env, "XDG_CONFIG_HOME": str(tmp_path)}
    assert run("connect", "target.test:22", env=settings).returncode == ExitStatus.UNREACHABLE
    done = run("connect", "-x", proxy.url, "target.test:22", stdin=b"hello", env=settings)
    assert (done.returncode, done.stdout) == (0, b"hello")


def test_the_answer_before_the_answer_is_a_valid_one() -> None:
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"
