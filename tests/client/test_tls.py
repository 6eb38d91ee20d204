"""Tests TLS to a proxy, to the target, and one inside the other; and untrusted certificates."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.harness import TARGET, Ended, TraceLog, connect, prepared
from tests.options import connect_options
from tests.peers.certificates import Certificates, another_authority, issue, make
from tests.peers.scripted import Conversation, Script, ScriptedServer
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.engine.kernel import run
from tunnelctl.errors import SettingsError, TLSFailed, TunnelctlError, UsageProblem
from tunnelctl.proto.address import Address
from tunnelctl.proto.tls.pin import pin_of
from tunnelctl.status import ExitStatus

Wrap = Callable[[Script], Script]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def speaking_tls(files: Certificates, script: Script, client_ca: bool = False) -> Script:
    """Runs the same script inside TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.server)
    if client_ca:
        context.load_verify_locations(files.authority)
        context.verify_mode = ssl.CERT_REQUIRED

    def wrapped(peer: Conversation) -> None:
        try:
            with context.wrap_socket(peer.sock, server_side=True) as tls:
                asked = Conversation(tls)
                script(asked)
                tls.unwrap()
        except (ssl.SSLError, ConnectionError, AssertionError):
            pass  # a client that does not trust the certificate leaves; most of these tests are about that

    return wrapped


def upper(peer: Conversation) -> None:
    """A proxy and its target in one: returns the data in capitals."""
    peer.accept_tunnel()
    peer.send(shout(peer))


def shout(peer: Conversation) -> bytes:
    data = b""
    while not data.endswith(b"."):
        data += peer.read()
    return data.upper()


def through(server: ScriptedServer, **options: object) -> Ended:
    url = f"https://localhost:{server.port}"
    return connect(connect_options(TARGET, (url,), family=4, **options), stdin=b"said.")


def fails(server: ScriptedServer, **options: object) -> TunnelctlError:
    with pytest.raises(TunnelctlError) as caught:
        through(server, **options)
    return caught.value


def test_a_tunnel_through_an_https_proxy(files: Certificates) -> None:
    with ScriptedServer(speaking_tls(files, upper)) as proxy:
        ended = through(proxy, proxy_cacert=str(files.authority))
    assert (ended.status, ended.stdout) == (ExitStatus.OK, b"SAID.")
    (tls,) = ended.trace.named("tls")
    assert (tls["to"], tls["role"], tls["version"]) == (f"localhost:{proxy.port}", "proxy", "TLSv1.3")
    assert str(tls["pin"]).startswith("sha256//")
    assert ended.trace.named("warning") == []


def test_tls_to_the_target_inside_the_tunnel(files: Certificates) -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        speaking_tls(files, lambda inner: inner.send(shout(inner)))(peer)

    with ScriptedServer(script) as proxy:
        target = Address("localhost", 443)
        options = connect_options(target, (proxy.url,), tls=True, tls_cacert=str(files.authority))
        assert connect(options, stdin=b"said.").stdout == b"SAID."
        wrong = options._replace(target_tls=options.target_tls._replace(tls_name="elsewhere.test"))
        with pytest.raises(TLSFailed) as caught:
            connect(wrong)
    assert caught.value.what == "TLS with target localhost:443"
    assert caught.value.exit_status is ExitStatus.AUTHENTICATION


def test_tls_to_the_target_without_a_proxy(files: Certificates) -> None:
    with ScriptedServer(speaking_tls(files, lambda inner: inner.send(shout(inner)))) as target:
        options = connect_options(Address("127.0.0.1", target.port), ("direct",), tls=True, tls_cacert=str(files.authority))
        assert connect(options, stdin=b"said.").stdout == b"SAID."


# --- untrusted certificates


def test_an_untrusted_issuer_is_an_error_with_a_hint(files: Certificates, tmp_path: Path) -> None:
    with ScriptedServer(speaking_tls(files, upper)) as proxy:
        unknown = fails(proxy)
        other = fails(proxy, proxy_cacert=str(another_authority(tmp_path)[0]))
    for error in (unknown, other):
        assert isinstance(error, TLSFailed)
        assert hint_of(error)
        assert error.what == f"TLS with proxy localhost:{proxy.port}"


@pytest.mark.parametrize("case", ["expired", "wrong name"])
def test_an_expired_certificate_or_a_wrong_name_is_an_error(case: str, files: Certificates, tmp_path: Path) -> None:
    names = ("localhost",) if case == "expired" else ("elsewhere.test",)
    chain, key = issue(tmp_path, "bad", *names, expired=case == "expired")
    with ScriptedServer(speaking_tls(files._replace(chain=chain, key=key), upper)) as proxy:
        error = fails(proxy, proxy_cacert=str(files.authority))
    assert isinstance(error, TLSFailed)
    assert hint_of(error)


def test_a_pin_alone_establishes_trust(files: Certificates) -> None:
    first, end, _ = files.chain.read_text().partition("-----END CERTIFICATE-----\n")
    der = ssl.PEM_cert_to_DER_cert(first + end)
    with ScriptedServer(speaking_tls(files, upper)) as proxy:
        assert through(proxy, proxy_pin=pin_of(der)).stdout == b"SAID."
        error = fails(proxy, proxy_pin="00" * 32)
    assert pin_of(der) in error.cause


def test_insecure_gives_a_warning(files: Certificates) -> None:
    with ScriptedServer(speaking_tls(files, upper)) as proxy:
        ended = through(proxy, proxy_insecure=True)
    assert ended.stdout == b"SAID."
    (warning,) = ended.trace.named("warning")
    assert "is not checked: an on-path attacker" in str(warning["text"])


def test_a_client_certificate_is_sent(files: Certificates) -> None:
    trust = {"proxy_cacert": str(files.authority)}
    with ScriptedServer(speaking_tls(files, upper, client_ca=True)) as proxy:
        ended = through(proxy, **trust, proxy_cert=str(files.client_chain), proxy_key=str(files.client_key))
        error = fails(proxy, **trust)
    assert ended.stdout == b"SAID."
    assert "--proxy-cert" in hint_of(error)


def test_hints_for_http_instead_of_tls_and_tls_instead_of_http(files: Certificates) -> None:
    with ScriptedServer(lambda peer: peer.send(b"HTTP/1.1 400 Bad\r\n\r\n")) as proxy:
        error = fails(proxy)
    assert isinstance(error, TLSFailed)
    assert "http://" in hint_of(error)
    alert = b"\x15\x03\x01\x00\x02\x02\x46"
    with ScriptedServer(lambda peer: peer.accept_tunnel(alert)) as proxy, pytest.raises(TLSFailed) as caught:
        connect(connect_options(TARGET, (proxy.url,)))
    assert caught.value.what == f"proxy {proxy.authority}, asked for a tunnel to {TARGET}"
    assert "https://" in hint_of(caught.value)
    with ScriptedServer(speaking_tls(files, upper)) as proxy, pytest.raises(TunnelctlError) as silent:
        connect(connect_options(TARGET, (proxy.url,)))  # Python's own server sends nothing, and closes
    assert "https://" in hint_of(silent.value)


def test_the_tls_server_name_has_no_scope_id() -> None:
    route = run(prepared, connect_options(TARGET, ("https://[fe80::1%25lo]:3128",)), {}, TraceLog()).default()
    assert route is not None
    hop = route.hops[0]
    assert hop.address == Address("fe80::1%lo", 3128)
    assert hop.tls is not None
    assert hop.tls.server_name == "fe80::1"


# --- usage errors


def test_a_socket_inside_tls_cannot_be_passed_on() -> None:
    for options in (connect_options(TARGET, ("https://p.test",)), connect_options(TARGET, ("direct",), tls=True)):
        with pytest.raises(UsageProblem, match="fdpass"):
            run(prepared, options, {}, TraceLog(), no_readahead=True).default()


@pytest.mark.parametrize("flag", ["proxy_cacert", "proxy_cert"])
def test_a_missing_certificate_file_is_an_error(flag: str) -> None:
    with pytest.raises(SettingsError, match=f"{flag} /nowhere"):
        connect(connect_options(TARGET, ("https://p.test",), **{flag: "/nowhere"}))
