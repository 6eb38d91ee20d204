"""TLS to proxies of four makers: squid and Apache (OpenSSL), nghttpx in front of a squid, Envoy (BoringSSL)."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.peers import certificates, proxies, tls_proxies
from tests.peers.certificates import Certificates
from tests.peers.process import scratch_directory
from tests.peers.program import Bytes, connect, echoed, started
from tests.peers.proxies import Proxy, Tls
from tests.peers.scripted import Conversation, ScriptedServer, sample
from tunnelctl.cli.spec.messages.model import WITHOUT_TLS

Start = Callable[[Tls], AbstractContextManager[Proxy]]

MIB = 1 << 20
DATA = sample(4 * MIB)
pytestmark = [
    pytest.mark.once,  # test_chains covers all of these on both pollers
    pytest.mark.peer("squid", "security_file_certgen", "apache2", "nghttpx", "envoy"),
]


def squid(tls: Tls) -> AbstractContextManager[Proxy]:
    return proxies.squid(tls=tls)


def apache(tls: Tls) -> AbstractContextManager[Proxy]:
    return proxies.apache(tls=tls)


STARTERS: tuple[Start, ...] = (squid, apache, tls_proxies.nghttpx, tls_proxies.envoy)


@pytest.fixture(scope="module", params=STARTERS, ids=lambda start: start.__name__)
def start(request: pytest.FixtureRequest) -> Start:
    return request.param


def only(*starters: Start) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("start", starters, ids=lambda start: start.__name__, scope="module")


@pytest.fixture(scope="module")
def company() -> Iterator[Certificates]:
    with scratch_directory() as directory:
        yield certificates.make(directory)


@pytest.fixture(scope="module")
def proxy(start: Start, company: Certificates) -> Iterator[Proxy]:
    with start(Tls(company)) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(start: Start, company: Certificates) -> Iterator[Proxy]:
    """A proxy that requires a certificate of the company."""
    with start(Tls(company, of_client=True)) as running:
        yield running


def assert_complete(done: Bytes, start: Start) -> None:
    """Asserts that all of DATA and its end arrived.

    Apache closes tunnels without close_notify, whatever its settings. An on-path attacker could have truncated the stream
    likewise: we deliver the bytes and report the missing close_notify.
    """
    assert done.stdout == DATA
    if start is apache:
        assert done.returncode == 74
        assert b"close_notify" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, b"")


def assert_turned_down(url: str, target: ScriptedServer, *words: str) -> str:
    """Asserts that there is no tunnel, status 77, one line and a hint; returns the text."""
    done = connect(url, target.authority, *words)
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (77, b""), text
    assert text.startswith("tunnelctl: ")
    assert "\nhint: " in text
    assert target.conversations == []
    return text


def test_each_proxy_echoes_bytes_over_tls(proxy: Proxy, start: Start, company: Certificates, echo_target: ScriptedServer) -> None:
    done = echoed(DATA, "-x", proxy.url, "--proxy-cacert", str(company.authority), echo_target.authority)
    assert_complete(done, start)


def test_a_client_certificate_opens_a_tunnel(
    guarded: Proxy, start: Start, company: Certificates, echo_target: ScriptedServer
) -> None:
    trust = ("--proxy-cacert", str(company.authority))
    shown = ("--proxy-cert", str(company.client_chain), "--proxy-key", str(company.client_key))
    done = echoed(DATA, "-x", guarded.url, *trust, *shown, echo_target.authority)
    assert_complete(done, start)


def test_a_missing_client_certificate_is_reported(guarded: Proxy, company: Certificates, echo_target: ScriptedServer) -> None:
    text = assert_turned_down(guarded.url, echo_target, "--proxy-cacert", str(company.authority))
    assert "--proxy-cert" in text


def test_a_client_certificate_of_another_authority_is_refused(
    guarded: Proxy, company: Certificates, echo_target: ScriptedServer
) -> None:
    with scratch_directory() as directory:
        _, (chain, key) = certificates.another_authority(directory)
        shown = ("--proxy-cert", str(chain), "--proxy-key", str(key))
        assert_turned_down(guarded.url, echo_target, "--proxy-cacert", str(company.authority), *shown)


def test_an_unknown_issuer_is_refused(proxy: Proxy, echo_target: ScriptedServer) -> None:
    with scratch_directory() as directory:
        other, _ = certificates.another_authority(directory)
        text = assert_turned_down(proxy.url, echo_target, "--proxy-cacert", str(other))
    assert "--proxy-cacert" in text


def test_the_trust_store_of_the_system_does_not_suffice(proxy: Proxy, echo_target: ScriptedServer) -> None:
    assert_turned_down(proxy.url, echo_target)


def test_proxy_insecure_connects_with_a_warning(proxy: Proxy, echo_target: ScriptedServer) -> None:
    done = echoed(b"hello", "-x", proxy.url, "--proxy-insecure", echo_target.authority)
    assert done.stdout == b"hello"
    assert b"warning" in done.stderr.splitlines()[0]


@pytest.mark.parametrize("expired", [False, True], ids=["for another name", "expired"])
def test_an_expired_or_foreign_certificate_is_refused(company: Certificates, echo_target: ScriptedServer, expired: bool) -> None:
    """With one proxy only, because the verification is ours."""
    with scratch_directory() as directory:
        name = certificates.HOST if expired else "proxy.example.test"
        chain, key = certificates.issue(directory, "shown", name, expired=expired)
        with squid(Tls(company._replace(chain=chain, key=key))) as proxy:
            text = assert_turned_down(proxy.url, echo_target, "--proxy-cacert", str(company.authority))
    assert ("expired" if expired else certificates.HOST) in text


def test_http_to_a_tls_port_is_reported(proxy: Proxy, echo_target: ScriptedServer) -> None:
    """http:// in place of https://. These proxies close silently or send a plain 400; to a ClientHello they answer in TLS."""
    plain = proxy._replace(scheme="http")
    text = assert_turned_down(plain.url, echo_target)
    what = f"proxy {plain.url.removeprefix('http://')}, asked for a tunnel to {echo_target.authority}"
    assert text == f"tunnelctl: {what}: it speaks TLS, not plain HTTP\nhint: its URL is {proxy.url}\n"


@pytest.mark.parametrize("kind", [proxies.squid, proxies.apache, proxies.ncat], ids=lambda kind: kind.__name__)
@pytest.mark.peer("ncat")
def test_https_to_a_plain_port_is_reported(kind: Callable[[], AbstractContextManager[Proxy]], echo_target: ScriptedServer) -> None:
    """https:// in place of http://."""
    with kind() as plain:
        text = assert_turned_down(plain._replace(scheme="https").url, echo_target)
    assert "http://" in text


@pytest.mark.peer("tinyproxy")
def test_https_to_a_silent_plain_port_is_reported(echo_target: ScriptedServer) -> None:
    """tinyproxy waits for the end of the line."""
    with proxies.tinyproxy() as plain:
        done = connect(plain._replace(scheme="https").url, echo_target.authority, "--timeout", "1")
    assert (done.returncode, done.stdout) == (75, b"")
    said = WITHOUT_TLS.format(peer=f"{plain.host}:{plain.port}")
    assert done.stderr.decode().splitlines()[1] == f"hint: {said}"


@only(apache)
def test_half_close_passes_through_apache(proxy: Proxy, start: Start, company: Certificates) -> None:
    """Apache passes our close_notify on as EOF to the target, and the target's answer still arrives."""

    def answer_after_the_end(peer: Conversation) -> None:
        peer.send(peer.read_to_end()[::-1])

    with ScriptedServer(answer_after_the_end) as target:
        done = connect(proxy.url, target.authority, "--proxy-cacert", str(company.authority), stdin=DATA[::-1])
    assert_complete(done, start)


def test_a_target_may_speak_first_and_close(proxy: Proxy, start: Start, company: Certificates) -> None:
    """stdin stays open meanwhile."""
    with ScriptedServer(lambda peer: peer.send(DATA)) as target:
        words = ("-x", proxy.url, "--proxy-cacert", str(company.authority), target.authority)
        with started("connect", *words) as process:
            received = process.stdout.read()
            process.stdin.close()
            done = Bytes(process.args, process.wait(20), received, process.stderr.read())
    assert_complete(done, start)
