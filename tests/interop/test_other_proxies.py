"""`connect` through proxies of other makers: squid, tinyproxy, Apache mod_proxy_connect, ncat."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.peers import proxies
from tests.peers.openssh import HOST, Sshd
from tests.peers.program import connect, echoed, environment, proxy_command
from tests.peers.proxies import PASSWORD, USER, Proxy, Rules
from tests.peers.scripted import Conversation, ScriptedServer, refusing_port, sample

Start = Callable[[Rules], AbstractContextManager[Proxy]]

MIB = 1 << 20
pytestmark = pytest.mark.peer("squid", "basic_ncsa_auth", "tinyproxy", "apache2", "ncat", "openssl")


def only(*starters: Start) -> pytest.MarkDecorator:
    """Runs a test with these proxies instead of all four."""
    return pytest.mark.parametrize("start", starters, ids=lambda start: start.__name__, scope="module")


@pytest.fixture(
    scope="module",
    params=[proxies.squid, proxies.tinyproxy, proxies.apache, proxies.ncat],
    ids=lambda start: start.__name__,
)
def start(request: pytest.FixtureRequest) -> Start:
    return request.param


@pytest.fixture(scope="module")
def proxy(start: Start) -> Iterator[Proxy]:
    """A proxy that allows everything."""
    with start(Rules()) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(start: Start) -> Iterator[Proxy]:
    """A proxy that requires a password."""
    with start(Rules(password=True)) as running:
        yield running


@pytest.mark.peer("ssh", "sshd", "ssh-keygen")
@pytest.mark.parametrize("fdpass", [False, True], ids=["relayed", "passed"])
def test_ssh_session_through_each_proxy(proxy: Proxy, sshd: Sshd, fdpass: bool) -> None:
    """The server speaks first here, and data flows in both directions."""
    data = sample(MIB)
    options = [f"ProxyCommand {proxy_command(proxy.url, options='--fdpass' if fdpass else '')}"]
    options += ["ProxyUseFdpass yes"] if fdpass else []
    command = [*sshd.client("ssh", *options), HOST, "cat; exit 3"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, env=environment())
    assert (done.returncode, done.stdout == data, done.stderr) == (3, True, b"")


def test_each_proxy_echoes_bytes(proxy: Proxy, echo_target: ScriptedServer) -> None:
    data = sample(MIB)
    done = echoed(data, "-x", proxy.url, echo_target.authority)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


@only(proxies.apache)
def test_half_close_passes_through_apache(proxy: Proxy) -> None:
    """The other three close both directions when one ends."""
    data = sample(MIB)

    def answer_after_the_end(peer: Conversation) -> None:
        question = peer.read_to_end()
        peer.send(question[::-1])

    with ScriptedServer(answer_after_the_end) as target:
        done = connect(proxy.url, target.authority, stdin=data)
    assert (done.returncode, done.stdout == data[::-1], done.stderr) == (0, True, b"")


@only(proxies.squid, proxies.tinyproxy, proxies.apache)
def test_a_forbidden_port_is_refused(start: Start, echo_target: ScriptedServer) -> None:
    """ncat has no rules on targets."""
    with start(Rules(ports=(443,))) as strict:
        done = connect(strict.url, echo_target.authority)
    error = done.stderr.decode()
    assert (done.returncode, done.stdout) == (69, b"")
    assert "403" in error
    assert echo_target.authority in error
    assert "it says" in error  # introduces the excerpt of the proxy's page
    assert "<" not in error  # as text, not as markup
    assert echo_target.conversations == []


def test_a_target_that_refuses_fails_with_status_69(proxy: Proxy) -> None:
    sock, port = refusing_port()
    with sock:
        done = connect(proxy.url, f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (69, b"")
    assert done.stderr.startswith(b"tunnelctl: ")


def assert_echo(*words: str, env: dict[str, str] | None = None) -> None:
    done = echoed(b"hello", *words, env=env)
    assert (done.returncode, done.stdout) == (0, b"hello")


def test_the_right_password_opens_a_tunnel(guarded: Proxy, echo_target: ScriptedServer) -> None:
    assert_echo("-x", guarded.url_with_credentials, echo_target.authority)


def test_the_password_may_come_from_the_environment(guarded: Proxy, echo_target: ScriptedServer) -> None:
    words = ["-x", guarded.url, "--proxy-user", USER, echo_target.authority]
    assert_echo(*words, env={"TUNNELCTL_PROXY_PASSWORD": PASSWORD})


@pytest.mark.parametrize("credentials", ["none", "wrong"])
def test_a_missing_or_wrong_password_fails_with_a_hint(guarded: Proxy, echo_target: ScriptedServer, credentials: str) -> None:
    url = guarded.url if credentials == "none" else guarded.url_with_wrong_password
    done = connect(url, echo_target.authority)
    assert (done.returncode, done.stdout) == (77, b"")
    assert b"hint: " in done.stderr
    assert b"wrong:" not in done.stderr
    assert echo_target.conversations == []


def test_two_proxies_of_one_kind_form_a_chain(proxy: Proxy, guarded: Proxy, echo_target: ScriptedServer) -> None:
    """The second requires a password, the first does not."""
    chain = ["-x", proxy.url, "-x", guarded.url_with_credentials]
    assert_echo(*chain, echo_target.authority)
