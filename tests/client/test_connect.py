"""Tests `connect` from its options to its exit status, inside this process; and, as a process, the secrets it must not show."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.harness import CANARY, TARGET, Ended, TraceLog, connect, descriptor_is, next_head, prepared
from tests.options import connect_options, forward_options, reach_options
from tests.peers import program
from tests.peers.messages import hint_for_login
from tests.peers.scripted import ESTABLISHED, Conversation, Script, ScriptedServer, echo, refusing_port
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client import connect as under_test
from tunnelctl.client import retry as tries
from tunnelctl.client.auth.exchange import MISSING, MISSING_LATER, MISSING_USER
from tunnelctl.client.forward.forwarder import run_forward
from tunnelctl.client.forward.run_command import run_command
from tunnelctl.client.options import ConnectOptions
from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.engine.kernel import run
from tunnelctl.errors import (
    AddressError,
    AuthenticationFailed,
    MalformedAnswer,
    Refused,
    SettingsError,
    TimedOut,
    TunnelBroken,
    TunnelctlError,
    Unreachable,
    UsageProblem,
)
from tunnelctl.events import Event
from tunnelctl.proto.address import Address
from tunnelctl.proto.auth.basic import decode_basic, encode_basic
from tunnelctl.rare_events import Retry
from tunnelctl.status import ExitStatus

BRIEF = 0.2  # seconds: a time limit that is meant to expire


def options(*proxies: str, **others: object) -> ConnectOptions:
    return connect_options(TARGET, proxies, **others)


def echoes(peer: Conversation) -> None:
    peer.accept_tunnel()
    echo(peer)


def refuses(answer: bytes) -> Script:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(answer)

    return script


def authorization(head: bytes) -> tuple[str, str] | None:
    """The user and password in a request."""
    values = [line[21:] for line in head.decode("latin-1").split("\r\n") if line.startswith("Proxy-Authorization: ")]
    assert len(values) <= 1
    return decode_basic(values[0]) if values else None


# --- the route and the tunnel


def test_the_tunnel_relays_stdin_to_stdout_and_reports_events() -> None:
    with ScriptedServer(echoes) as proxy:
        ended = connect(options(proxy.url), stdin=b"there and back")
    assert (ended.status, ended.stdout) == (ExitStatus.OK, b"there and back")
    assert ended.trace.names == ["route", "lookup", "dial", "connected", "request", "response", "opened", "closed"]
    assert ended.trace.named("route") == [{"proxies": [proxy.url], "origin": "-x"}]
    (tunnel,), (end,) = ended.trace.named("opened"), ended.trace.named("closed")
    assert (tunnel["target"], tunnel["via"]) == (str(TARGET), [proxy.authority])
    assert (end["sent"], end["received"], end["cause"], end["closed_by"]) == (14, 14, "eof", "client")


def test_leftover_is_written_before_later_data() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + b"early ")
        echo(peer)

    with ScriptedServer(script) as proxy:
        assert connect(options(proxy.url), stdin=b"late").stdout == b"early late"


def test_https_proxy_selects_the_proxy() -> None:
    with ScriptedServer(echoes) as proxy:
        ended = connect(options(), {"https_proxy": proxy.url, "no_proxy": "other.test"}, b"x")
    assert ended.stdout == b"x"
    assert ended.trace.named("route")[0]["origin"] == "https_proxy"


def test_no_proxy_bypasses_the_proxy() -> None:
    def script(peer: Conversation) -> None:
        peer.send(b"direct")
        peer.end_output()
        assert peer.wait_gone() == b"payload"

    with ScriptedServer(script) as target:
        straight = connect_options(Address(target.host, target.port))
        ended = connect(straight, {"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.0/8"}, b"payload")
    assert ended.stdout == b"direct"
    assert ended.trace.named("route") == [{"proxies": [], "origin": "no_proxy has 127.0.0.0/8"}]
    assert ended.trace.named("opened")[0]["via"] == []


def test_an_ignored_http_proxy_variable_is_reported() -> None:
    """Both the failure and the route that -v shows mention it."""
    held, port = refusing_port()
    with held:
        words = ("connect", "-v", "127.0.0.1", str(port))
        unset = dict.fromkeys(("TUNNELCTL_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), "")
        done = program.run(*words, env={**unset, "http_proxy": "http://proxy.test:3128"})
    route, *_, error, hint = done.stderr.decode().splitlines()
    assert route.endswith(" route: no proxy (no proxy is configured: http_proxy is set, but ignored)")
    assert error == f"tunnelctl: cannot connect to target 127.0.0.1:{port}: connection refused"
    assert hint == "hint: http_proxy is set, but tunnelctl ignores it: set https_proxy, or give -x URL"
    assert done.returncode == 75


# --- secrets: where they are sent


def heads_of_a_chain(*proxies: str, environ: dict[str, str] | None = None, **others: object) -> list[bytes]:
    """Returns the requests of a chain of three; adds the first proxy."""
    heads: list[bytes] = []

    def script(peer: Conversation) -> None:
        for _ in range(len(proxies)):
            heads.append(next_head(peer))
            peer.send(ESTABLISHED)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as first:
        connect(options(*(url.replace("FIRST", first.authority) for url in proxies), auth="basic", **others), environ)
    return heads


def test_each_hop_gets_the_credentials_of_its_url() -> None:
    heads = heads_of_a_chain("http://a:one@FIRST", "http://b:two@b.test:1", "http://c.test:2")
    assert [authorization(head) for head in heads] == [("a", "one"), ("b", "two"), None]


def test_flags_fields_and_variables_apply_to_the_nearest_hop_only(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(CANARY)
    password.chmod(0o600)
    heads = heads_of_a_chain(
        "http://FIRST",
        "http://user:@b.test:1",
        "http://c.test:2",
        environ={"TUNNELCTL_PROXY_PASSWORD": CANARY},
        proxy_user="user",
        proxy_password_file=str(password),
        header=(f"X-Key: {CANARY}", "User-Agent: mine"),
    )
    assert [authorization(head) for head in heads] == [("user", CANARY), ("user", ""), None]
    assert [head.count(CANARY.encode()) for head in heads] == [1, 0, 0]
    assert [head.count(b"\r\nUser-Agent: mine\r\n") for head in heads] == [1, 0, 0]


def test_no_hop_sees_the_secret_of_another() -> None:
    """Encoded or not, on the wire."""
    secrets = [f"{CANARY}{place}" for place in range(3)]
    hosts = ("FIRST", "b.test", "c.test")
    heads = heads_of_a_chain(*(f"http://u:{secret}@{host}" for secret, host in zip(secrets, hosts, strict=True)))
    forms = [(secret.encode(), encode_basic("u", secret).encode()) for secret in secrets]
    for place, head in enumerate(heads):
        assert [other for other, (plain, encoded) in enumerate(forms) if plain in head or encoded in head] == [place]


def test_no_secret_enters_the_tunnel() -> None:
    """C15: the last request ends where the tunnel begins."""
    payload: list[bytes] = []

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        payload.append(peer.read_to_end())

    with ScriptedServer(script) as proxy:
        connect(options(f"http://u:{CANARY}@{proxy.authority}", auth="basic", header=(f"X-Key: {CANARY}",)), stdin=b"payload")
    assert payload == [b"payload"]


@pytest.mark.parametrize(("userinfo", "wanted"), [("u:p@", ("u", "p")), ("u:@", ("u", "")), (":token@", ("", "token")), ("", None)])
def test_credentials_in_the_url_are_sent(userinfo: str, wanted: tuple[str, str] | None) -> None:
    with ScriptedServer(echoes) as proxy:
        connect(options(f"http://{userinfo}{proxy.authority}", auth="basic"))
    assert authorization(proxy.heads[0]) == wanted


def test_proxy_auth_file_supplies_the_credentials(tmp_path: Path) -> None:
    path = tmp_path / "auth"
    path.write_text("user:pass word\n")
    with ScriptedServer(echoes) as proxy:
        ended = connect(options(proxy.url, auth="basic", proxy_auth_file=str(path)))
    assert authorization(proxy.heads[0]) == ("user", "pass word")
    assert len(ended.trace.named("warning")) == 1  # the umask of this process leaves the file readable by others


# --- errors: their class, and that they precede any connection


@pytest.mark.parametrize(
    "others",
    [
        {"header": ("no colon",)},
        {"header": ("A: b\r\nC: d",)},
        {"header": ("Host: x", "Host: y")},
        {"header": ("Content-Length: 1",)},
        {"proxy_user": "u"},
    ],
)
def test_usage_errors_are_found_before_connecting(others: dict[str, object]) -> None:
    with ScriptedServer(echoes) as proxy, pytest.raises(UsageProblem):
        connect(options(proxy.url, **others))
    assert proxy.conversations == []


def test_a_missing_auth_file_is_found_before_connecting() -> None:
    with ScriptedServer(echoes) as proxy, pytest.raises(SettingsError):
        connect(options(proxy.url, proxy_auth_file="/nonexistent"))
    assert proxy.conversations == []


def test_timeout_error_names_the_configured_limit() -> None:
    def script(peer: Conversation) -> None:
        peer.wait_gone()

    with ScriptedServer(script) as proxy, pytest.raises(TimedOut, match=r"no answer within 0\.2 s$"):
        connect(options(proxy.url, timeout=BRIEF))


def test_idle_timeout_ends_the_tunnel() -> None:
    reader, writer = os.pipe()  # a stdin that stays open

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.wait_gone()

    try:
        with ScriptedServer(script) as proxy, pytest.raises(TimedOut, match=r"no byte moved for 0\.2 s") as caught:
            connect_with_stdin(options(proxy.url, idle_timeout=BRIEF), reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert proxy.authority in caught.value.what


def connect_with_stdin(chosen: ConnectOptions, stdin: int) -> Ended:
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with descriptor_is(0, stdin), descriptor_is(1, null):
            trace = TraceLog()
            return Ended(under_test.run_connect(chosen, {}, trace), b"", trace)
    finally:
        os.close(null)


def test_a_reset_in_the_tunnel_is_tunnel_broken() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.read()
        peer.reset()

    with ScriptedServer(script) as proxy, pytest.raises(TunnelBroken, match="connection reset by peer") as caught:
        connect(options(proxy.url), stdin=b"x")
    assert caught.value.what == f"tunnel to {TARGET} via proxy {proxy.authority}"


# --- tunnels that end without data


NOTHING = (
    "tunnelctl: warning: tunnel to target.test:22 via proxy {}: ended by the proxy or the target after {} s, 0 bytes received: "
    "many proxies allow only TLS, and some open a tunnel before they reach the target; "
    "`tunnelctl check target.test 22`, with the same flags for the proxy, tells more"
)


def leaves_at_once(peer: Conversation) -> None:
    """Ends the tunnel as proxies do that answer 200 before they have connected, and then fail to."""
    peer.accept_tunnel()
    peer.end_output()
    peer.wait_gone()


def socks_and_leaves(peer: Conversation) -> None:
    peer.read_exactly(3)
    peer.send(b"\x05\x00")
    peer.read_exactly(4 + 1 + len("target.test") + 2)
    peer.send(b"\x05\x00\x00\x01" + bytes(6))
    peer.end_output()
    peer.wait_gone()


def ended(script: Script, *options: str, scheme: str = "http", target: str = "target.test:22") -> tuple[str, int, str]:
    """Returns the proxy's address, and status and stderr of a connect whose stdin stays open until its stdout has ended, as
    ssh's does.
    """
    with ScriptedServer(script) as proxy:
        with program.started("connect", "-x", f"{scheme}://{proxy.authority}", *options, target) as process:
            assert program.at_end_soon(process.stdout)
            process.stdin.close()
            return proxy.authority, process.wait(program.SOON), process.stderr.read().decode()


@pytest.mark.parametrize(("scheme", "script"), [("http", leaves_at_once), ("socks5", socks_and_leaves)], ids=["HTTP", "SOCKS"])
def test_a_tunnel_closed_at_once_without_data_gives_a_warning(scheme: str, script: Script) -> None:
    """Such an end is valid, so the status stays 0; and the warning is all that a user of ssh learns."""
    proxy, status, said = ended(script, scheme=scheme)
    assert status == 0
    assert re.fullmatch(re.escape(NOTHING).replace(r"\{\}", "{}").format(re.escape(proxy), r"\d+\.\d{3}") + r"\n", said), said


def test_the_warning_about_an_empty_tunnel_in_json() -> None:
    proxy, status, said = ended(leaves_at_once, "--json")
    *_, end, warning = map(json.loads, said.splitlines())
    assert (status, end["event"], end["cause"], end["received"]) == (0, "closed", "eof", 0)
    assert warning["event"] == "warning"
    assert f"tunnel to target.test:22 via proxy {proxy}: ended by the proxy or the target after " in warning["text"]


def test_quiet_suppresses_the_warning_about_an_empty_tunnel() -> None:
    assert ended(leaves_at_once, "-q")[1:] == (0, "")


def test_without_a_proxy_the_warning_names_the_target() -> None:
    def script(peer: Conversation) -> None:
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as target:
        with program.started("connect", "-x", "direct", target.authority) as process:
            assert program.at_end_soon(process.stdout)
            process.stdin.close()
            status, said = process.wait(program.SOON), process.stderr.read().decode()
    assert status == 0
    assert said.startswith(f"tunnelctl: warning: tunnel to {target.authority}: ended by the target after ")
    hint = f"does the target let this client in? `tunnelctl check {target.host} {target.port}` tells more"
    assert said.endswith(f" s, 0 bytes received: {hint}\n")


def test_sending_a_whole_file_without_a_response_gives_no_warning() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        assert peer.read_to_end() == b"a file"

    with ScriptedServer(script) as proxy:
        done = program.connect(proxy.url, "target.test:22", stdin=b"a file")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("early", [True, False])
def test_a_tunnel_that_delivered_a_byte_gives_no_warning(early: bool) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(ESTABLISHED + b"x" if early else ESTABLISHED)
        if not early:
            peer.send(b"x")
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as proxy, program.started("connect", "-x", proxy.url, "target.test:22") as process:
        assert program.read_soon(process.stdout, 2) == b"x"
        process.stdin.close()
        assert (process.wait(program.SOON), process.stderr.read()) == (0, b"")


def test_the_warning_about_an_empty_tunnel_is_printed_despite_sighup() -> None:
    """ssh closes its pipes and sends SIGHUP as soon as it reads the end."""
    with ScriptedServer(leaves_at_once) as proxy, program.started("connect", "-x", proxy.url, "target.test:22") as process:
        assert program.at_end_soon(process.stdout)
        process.send_signal(signal.SIGHUP)
        assert process.wait(program.SOON) in (0, -signal.SIGHUP)  # SIGHUP may come while the program exits
        assert b"0 bytes received" in process.stderr.read()


def test_an_empty_tunnel_closed_later_hints_at_an_idle_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "AT_ONCE", 0.0)
    reader, writer = os.pipe()
    try:
        with ScriptedServer(leaves_at_once) as proxy:
            monkeypatch.setattr(under_test, "AFTER_REMOTE_EOF", 0.0)
            (warning,) = connect_with_stdin(options(proxy.url), reader).trace.named("warning")
    finally:
        os.close(reader)
        os.close(writer)
    hint = "`tunnelctl check --idle 1 target.test 22`, with the same flags for the proxy, tells how long a tunnel may be silent"
    assert str(warning["text"]).endswith(f": {hint}")


DROPPED = NOTHING.rpartition("received: ")[2]
PAGED = "the tunnel delivered a web page: a captive portal or a filter may require a login with a browser"


@pytest.mark.parametrize(
    ("early", "hint"), [(b"", DROPPED), (b"<!DOCTYPE html>", PAGED), (b"HTTP/1.1 403 No\r\n\r\n", PAGED), (b"SSH-2.0-x\r\n", "")]
)
def test_hint_for_a_tunnel_reset_at_once(early: bytes, hint: str) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(ESTABLISHED + early)
        peer.read()
        peer.reset()

    with ScriptedServer(script) as proxy, pytest.raises(TunnelBroken, match="connection reset by peer") as caught:
        connect(options(proxy.url), stdin=b"x")
    assert hint_of(caught.value) == hint


def test_hint_for_a_broken_direct_tunnel_names_the_ignored_variable() -> None:
    def script(peer: Conversation) -> None:
        peer.read()
        peer.reset()

    with ScriptedServer(script) as target, pytest.raises(TunnelBroken) as caught:
        connect(connect_options(Address(target.host, target.port)), {"http_proxy": "http://a:1"}, stdin=b"x")
    assert hint_of(caught.value) == "http_proxy is set, but tunnelctl ignores it: set https_proxy, or give -x URL"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
@pytest.mark.parametrize("phase", ["answer", "tunnel"])
def test_a_signal_ends_connect_with_its_exit_status(number: signal.Signals, status: int, phase: str) -> None:
    """While it waits for the proxy's response, and in the tunnel."""
    reader, writer = os.pipe()

    def script(peer: Conversation) -> None:
        peer.read_head()
        if phase == "tunnel":
            peer.send(ESTABLISHED)
        os.kill(os.getpid(), number)
        peer.wait_gone()

    try:
        with ScriptedServer(script) as proxy:
            assert connect_with_stdin(options(proxy.url), reader).status == status
    finally:
        os.close(reader)
        os.close(writer)


# --- retries


class AtRetry(TraceLog):
    """Starts an action when a retry is announced, that is between two attempts."""

    def __init__(self, action: threading.Thread) -> None:
        super().__init__()
        self._action = action

    def __call__(self, event: Event, /) -> None:
        super().__call__(event)
        if isinstance(event, Retry) and not self._action.ident:
            self._action.start()


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "FIRST_RETRY", 0.01)


@pytest.mark.usefixtures("_at_once")
def test_a_retry_reaches_a_proxy_that_came_up_meanwhile() -> None:
    held, port = refusing_port()
    listening = threading.Event()

    def come_up() -> None:
        held.listen()
        listening.set()
        sock, _ = held.accept()
        with sock:
            peer = Conversation(sock)
            peer.accept_tunnel()
            peer.end_output()
            peer.wait_gone()

    proxy = threading.Thread(target=come_up)
    trace = AtRetry(proxy)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        with held, descriptor_is(0, null), descriptor_is(1, null):
            assert under_test.run_connect(options(f"http://127.0.0.1:{port}", retry=20), {}, trace) == 0
            proxy.join(10)
    finally:
        os.close(null)
    retries = trace.named("retry")
    assert retries[0] == {"attempt": 1, "delay": 0.01, "cause": f"cannot connect to proxy 127.0.0.1:{port}: connection refused"}
    assert [fields["attempt"] for fields in retries] == list(range(1, len(retries) + 1))


def attempts(chosen: ConnectOptions, kind: type[Exception]) -> tuple[int, list[object]]:
    """Returns how many times the proxy was dialled until the failure, and the delays between the attempts."""
    trace = TraceLog()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        with descriptor_is(0, null), descriptor_is(1, null), pytest.raises(kind):
            under_test.run_connect(chosen, {}, trace)
    finally:
        os.close(null)
    return len(trace.named("dial")), [fields["delay"] for fields in trace.named("retry")]


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("retry", [0, 1, 3])
def test_the_number_of_retries_is_honoured(retry: int) -> None:
    held, port = refusing_port()
    with held:
        dials, pauses = attempts(options(f"http://127.0.0.1:{port}", retry=retry), Unreachable)
    assert dials == retry + 1
    assert pauses == [0.01 * 2**number for number in range(retry)]


def test_retry_delays_double_up_to_a_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(tries, "LONGEST_RETRY", 0.02)
    held, port = refusing_port()
    with held:
        assert attempts(options(f"http://127.0.0.1:{port}", retry=4), Unreachable)[1] == [0.01, 0.02, 0.02, 0.02]


def test_retries_stop_within_the_timeout() -> None:
    """`--timeout` covers all attempts; a delay that would end after it is not begun."""
    held, port = refusing_port()
    begun = time.monotonic()
    with held:
        dials, _ = attempts(options(f"http://127.0.0.1:{port}", retry=1000, timeout=1.4), Unreachable)
    assert dials == 2  # at 0 and 0.5; the next pause would be 1 s
    assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("_at_once")
def test_a_connection_lost_before_the_response_is_retried() -> None:
    """The TLS probe follows only the last attempt."""
    asked: list[bool] = []

    def script(peer: Conversation) -> None:
        asked.append(peer.hears_tls())
        peer.reset()

    with ScriptedServer(script) as proxy:
        assert attempts(options(proxy.url, retry=2), Unreachable)[0] == 3
    assert asked == [False, False, False, True]


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", Refused),
        (b"HTTP/1.1 503 No\r\n\r\n", Refused),
        (b"HTTP/1.1 407 No\r\n\r\n", AuthenticationFailed),
        (b"HTTP/1.1 504 No\r\nProxy-Status: p; error=connection_timeout\r\n\r\n", TimedOut),
        (b"SSH-2.0-x\r\n", MalformedAnswer),
    ],
)
def test_a_response_is_never_followed_by_a_retry(answer: bytes, kind: type[Exception]) -> None:
    """The proxy was reached and refused; wrong credentials sent again could lock the account."""
    with ScriptedServer(refuses(answer)) as proxy:
        assert attempts(options(proxy.url, retry=3), kind)[0] == 1


# --- secrets: where they must not appear


CREDENTIALS = f"user:{CANARY}@"
ENCODED = encode_basic("user", CANARY).removeprefix("Basic ")


def silent(peer: Conversation) -> None:
    peer.read_head()
    peer.wait_gone()


def repeats(peer: Conversation) -> None:
    """A proxy that echoes the request in its error page, as Squid did (CVE-2025-62168)."""
    head = peer.read_head()
    peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n" + head[head.index(b"Proxy-Auth") :])


def repeats_in_its_head(peer: Conversation) -> None:
    """A proxy that echoes secrets in its response head, all of which -vv shows."""
    secrets = [line for line in peer.read_head().split(b"\r\n") if line.startswith((b"Proxy-Auth", b"Cookie"))]
    peer.send(b"HTTP/1.1 403 %b\r\nX-You-Sent: %b\r\n\r\n" % (secrets[0], b", ".join(secrets)))


@pytest.mark.parametrize("shape", ["-vv", "--json"])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(echoes, id="success"),
        pytest.param(refuses(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"), id="407"),
        pytest.param(refuses(b"HTTP/1.1 403 No\r\n\r\nbody"), id="403"),
        pytest.param(refuses(b"garbage\r\n"), id="malformed"),
        pytest.param(refuses(b""), id="closed"),
        pytest.param(silent, id="silent"),
        pytest.param(repeats, id="repeated by the proxy"),
        pytest.param(repeats_in_its_head, id="repeated in its head"),
    ],
)
def test_no_output_shows_a_secret(script: Script, shape: str) -> None:
    """V18."""
    with ScriptedServer(script) as proxy:
        url = f"http://{CREDENTIALS}{proxy.authority}"
        limit = "0.5" if script is silent else "20"
        done = program.connect(url, "target.test 22", shape, "--auth", "basic", "--timeout", limit, "--header", f"Cookie: {CANARY}")
    assert ENCODED.encode() in proxy.heads[0]
    for output in (done.stdout, done.stderr):
        assert CANARY.encode() not in output
        assert ENCODED.encode() not in output
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["http://{}proxy.test:0", "http://{}", "ftp://{}a", "http://{}a/b", "{}a b"])
def test_no_usage_error_shows_a_secret(url: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        connect(options(url.format(CREDENTIALS)))
    shown = f"{caught.value!r} {caught.value} {hint_of(caught.value)} {caught.value.detail} {caught.value.__cause__}"
    assert CANARY not in shown


def test_an_unreachable_proxy_is_named_with_its_port() -> None:
    """The port shows where to look when the proxy's own log has nothing."""
    held, port = refusing_port()
    with held, pytest.raises(Unreachable, match=rf"proxy 127\.0\.0\.1:{port}"):
        connect(options(f"http://127.0.0.1:{port}"))


# --- logins and header fields along the route


@pytest.mark.parametrize("proxy", [("http://a.test", "http://b.test,http://c.test"), ("http://a.test,http://a.test",)])
def test_chains_that_share_a_proxy_prompt_for_its_password_once(proxy: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def ask(what: str, prompt: str) -> str:
        asked.append(prompt)
        return "secret"

    monkeypatch.setattr("tunnelctl.stream.tty_prompt.ask", ask)
    run(prepared, forward_options(proxy=proxy, proxy_user="u", ask_password=True), {}, TraceLog())
    assert len(asked) == 1


def test_creating_a_planner_reads_no_file_and_prompts_nobody() -> None:
    """`prepare` reports the errors, and one of them is enough."""
    wrong = {"proxy_user": "u", "proxy_password_file": "/nowhere/file", "proxy_cacert": "/nowhere/ca", "header": ("no field",)}
    fine = {"proxy_user": "u", "ask_password": True}  # but there is no terminal
    for given in ({**wrong, "header": ()}, wrong, fine):
        planner = RoutePlanner(reach_options(proxy=("https://a.test",), **given), {}, TraceLog())
        with pytest.raises(TunnelctlError):
            run(planner.prepare, ask_now=True)


def test_connect_prompts_only_when_the_proxy_requires_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(what: str, prompt: str) -> str:
        raise AssertionError("prompted although the proxy required no login")

    monkeypatch.setattr("tunnelctl.stream.tty_prompt.ask", ask)
    with ScriptedServer(echoes) as proxy:
        assert connect(options(proxy.url, proxy_user="u", ask_password=True)).status == ExitStatus.OK


@pytest.mark.parametrize(("command", "more"), [(run_forward, ()), (run_command, ({},))])
def test_listeners_open_only_after_the_password_prompt(
    command: Callable[..., int], more: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier client would wait for a person to type, and the command would use the terminal at the same time."""
    order = []

    async def ask(what: str, prompt: str) -> str:
        order.append("asked")
        return "secret"

    def open_listeners(*_: object) -> None:
        order.append("opened")
        raise UsageProblem("test", "far enough", "syntax")

    monkeypatch.setattr("tunnelctl.stream.tty_prompt.ask", ask)
    monkeypatch.setattr(f"{command.__module__}.open_listeners", open_listeners)
    given = forward_options(dynamic=("0",), command=("true",), proxy=("http://a.test",), proxy_user="u", ask_password=True)
    with pytest.raises(UsageProblem, match="far enough"):
        command(given, {}, TraceLog(), *more)
    assert order == ["asked", "opened"]


def test_with_a_pac_file_the_password_prompt_comes_at_the_first_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which proxy the password is for is known only when a connection is opened."""

    async def ask(what: str, prompt: str) -> str:
        return "secret"

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.end_output()

    monkeypatch.setattr("tunnelctl.stream.tty_prompt.ask", ask)
    with ScriptedServer(script) as proxy:
        file = tmp_path / "proxy.pac"
        file.write_text(f'function FindProxyForURL() {{ return "PROXY {proxy.authority}" }}')

        async def main() -> None:
            ways = await prepared(forward_options(pac=str(file), proxy_user="u", ask_password=True, auth="basic"), {}, TraceLog())
            tunnel, _ = await open_with_retries(ways, TARGET, 0, TraceLog())
            tunnel.stream.close()

        run(main)
    assert authorization(proxy.heads[0]) == ("u", "secret")


def test_the_timeout_does_not_apply_to_the_password_command() -> None:
    with ScriptedServer(echoes) as proxy:
        chosen = options(proxy.url, proxy_user="u", password_command="sleep 2.1; echo secret", auth="basic", timeout=2.0)
        assert connect(chosen).status == ExitStatus.OK
    assert authorization(proxy.heads[0]) == ("u", "secret")


def test_a_proxy_authorization_field_from_the_user_replaces_other_logins(tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    (tmp_path / ".netrc").chmod(0o600)
    with ScriptedServer(refuses(refusal)) as proxy, pytest.raises(AuthenticationFailed):
        connect(options(proxy.url, header=("Proxy-Authorization: Bearer mine",)), {"HOME": str(tmp_path)})
    assert len(proxy.heads) == 1


def test_a_netrc_readable_by_others_gives_one_warning(tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x, Bearer, Foo\r\nContent-Length: 0\r\n\r\n"
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    (tmp_path / ".netrc").chmod(0o644)
    trace = TraceLog()
    with ScriptedServer(refuses(refusal)) as proxy:
        ways = run(prepared, options(proxy.url), {"HOME": str(tmp_path)}, trace)
        with pytest.raises(AuthenticationFailed):
            run(open_with_retries, ways, TARGET, 0, trace)
        with pytest.raises(AuthenticationFailed):
            run(open_with_retries, ways, TARGET, 0, trace)
    assert len(trace.named("warning")) == 1


@pytest.mark.parametrize(
    ("proxies", "environ", "reason"),
    [
        (["http://FIRST"], {}, MISSING),
        (["http://FIRST"], {"TUNNELCTL_PROXY_PASSWORD": CANARY}, MISSING_USER),
        (["http://FIRST", "http://b.test:1"], {"TUNNELCTL_PROXY_PASSWORD": CANARY}, MISSING_LATER),
        (["socks5://FIRST"], {}, MISSING),
        (["socks5://FIRST"], {"TUNNELCTL_PROXY_PASSWORD": CANARY}, MISSING_USER),
        (["http://FIRST", "socks5://b.test:1"], {}, MISSING_LATER),
    ],
)
def test_hint_for_a_proxy_that_requires_a_login(proxies: list[str], environ: dict[str, str], reason: str) -> None:
    """The last proxy requires the login. Flags apply to the nearest hop, and a password without a user applies to no hop."""

    def script(peer: Conversation) -> None:
        for url in proxies:
            last = url == proxies[-1]
            if url.startswith("socks5"):
                peer.read_exactly(3)
                peer.send(b"\x05\xff")
            else:
                next_head(peer)
                peer.send(b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=x\r\n\r\n" if last else ESTABLISHED)

    with ScriptedServer(script) as proxy, pytest.raises(AuthenticationFailed) as caught:
        connect(options(*(url.replace("FIRST", proxy.authority) for url in proxies)), environ)
    assert hint_of(caught.value) == hint_for_login(reason)
    assert CANARY not in f"{caught.value} {hint_of(caught.value)}"


def socks_and_then_http(peer: Conversation) -> None:
    """A SOCKS5 proxy that supports logins, and an HTTP proxy behind it."""
    assert peer.read_exactly(4) == b"\x05\x02\x00\x02"
    peer.send(b"\x05\x00")
    peer.read_exactly(10)
    peer.send(b"\x05\x00\x00\x01" + bytes(6))
    peer.read_head()
    peer.send(ESTABLISHED)
    peer.end_output()
    peer.wait_gone()


def test_the_auth_flag_does_not_apply_to_socks_logins() -> None:
    """Basic could not carry the colon in the user name; --auth is for proxies that have schemes to choose from."""
    with ScriptedServer(socks_and_then_http) as proxy:
        assert connect(options(f"socks5://u%3Ax:p@{proxy.authority}", "http://10.0.0.1:1", auth="basic")).status == ExitStatus.OK


def test_header_fields_for_a_socks_proxy_give_a_warning_and_reach_no_hop() -> None:
    """The fields are for the nearest hop, and may be secret. Nor do they log in to a proxy that never receives them."""
    with ScriptedServer(socks_and_then_http) as proxy:
        fields = ("Proxy-Authorization: Bearer mine", "X-Team: a")
        ended = connect(options(f"socks5://u:p@{proxy.authority}", "http://10.0.0.1:1", header=fields))
    assert ended.status == ExitStatus.OK
    assert b"mine" not in proxy.heads[0]
    assert b"X-Team" not in proxy.heads[0]
    (warning,) = ended.trace.named("warning")
    assert warning == {"text": f"proxy {proxy.authority} is sent no header fields: SOCKS has none"}


HOST = "Host is 'edge.example' for the nearest proxy, and not the target, which RFC 9112 requires"


def test_a_custom_host_field_reaches_only_the_nearest_hop_with_a_warning() -> None:
    heads: list[bytes] = []

    def script(peer: Conversation) -> None:
        for _ in range(3):
            heads.append(next_head(peer))
            peer.send(ESTABLISHED)

    with ScriptedServer(script) as proxy:
        chain = (proxy.url, "http://b.test:1", "http://c.test:2")
        ended = connect(options(*chain, header=("Host: edge.example",)))
    hosts = [[line for line in head.split(b"\r\n") if line.lower().startswith(b"host:")] for head in heads]
    assert hosts == [[b"Host: edge.example"], [b"Host: c.test:2"], [b"Host: target.test:22"]]
    assert ended.trace.named("warning") == [{"text": HOST}]


def test_the_host_warning_appears_once_and_only_where_host_is_sent() -> None:
    for proxies, count in ((("http://a.test,http://b.test", "http://c.test"), 1), (("socks5://a.test",), 0), (("direct",), 0)):
        trace = TraceLog()
        run(prepared, options(*proxies, header=("Host: edge.example",)), {}, trace)
        assert [fields["text"] for fields in trace.named("warning")].count(HOST) == count


def test_header_fields_are_sent_as_the_octets_typed() -> None:
    with ScriptedServer(echoes) as proxy:
        program.connect(proxy.url, "target.test:22", "--header", "X-Name: Jürgen", "--header", "X-Raw: \udcfc")
    assert "\r\nX-Name: Jürgen\r\nX-Raw: ".encode() + b"\xfc\r\n" in proxy.heads[0]


@pytest.mark.parametrize("proxies", [("http://127.0.0.1:9",), ("socks5://127.0.0.1:9", "http://b.test,http://c.test")])
def test_a_pin_without_tls_on_the_route_is_a_usage_error(proxies: tuple[str, ...]) -> None:
    """Otherwise the attack that the pin protects against would go unnoticed."""
    with pytest.raises(UsageProblem, match="proxy_pin: no proxy on the route speaks TLS"):
        connect(options(*proxies, proxy_pin="00" * 32))


def test_a_proxy_key_without_a_certificate_is_a_usage_error() -> None:
    with pytest.raises(UsageProblem, match="proxy_key"):
        connect(options("https://127.0.0.1:9", proxy_key="/nonexistent"))


def test_a_password_for_socks4a_is_an_error() -> None:
    with ScriptedServer(Conversation.wait_gone) as proxy, pytest.raises(AuthenticationFailed) as caught:  # type: ignore[arg-type]
        connect(options(f"socks4a://u:p@{proxy.authority}"))
    assert str(caught.value) == "password for a SOCKS4a proxy: SOCKS4a has no passwords"


def test_an_invalid_tls_name_is_an_error() -> None:
    with pytest.raises(AddressError):
        connect(options("http://127.0.0.1:9", tls=True, tls_name=".foo"))
