"""Tests TLS to a proxy, to the target, and one inside the other; and untrusted certificates."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client.harness import TARGET, Ended, TraceLog, connect, prepared
from tests.options import connect_options
from tests.peers.certificates import Certificates, another_authority, another_issue, issue, make
from tests.peers.program import Serve
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


def pin_of_proxy(files: Certificates) -> str:
    first, end, _ = files.chain.read_text().partition("-----END CERTIFICATE-----\n")
    return pin_of(ssl.PEM_cert_to_DER_cert(first + end))


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
    pin = pin_of_proxy(files)
    with ScriptedServer(speaking_tls(files, upper)) as proxy:
        assert through(proxy, proxy_pin=pin).stdout == b"SAID."
        error = fails(proxy, proxy_pin="00" * 32)
    assert pin in error.cause


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


# --- the second https:// proxy of a chain


@contextmanager
def two_proxies(
    files: Certificates, second: Certificates, client_ca: bool = False, script: Script = upper
) -> Iterator[tuple[str, str]]:
    """Two https:// proxies, the second of which has a certificate of its own, and runs `script`. Yields their URLs."""
    with (
        ScriptedServer(speaking_tls(second, script, client_ca)) as last,
        Serve("--tls-cert", str(files.chain), "--tls-key", str(files.key)) as first,
    ):
        yield f"https://localhost:{first.port}", f"https://{last.authority}"


def chained(urls: tuple[str, ...], **options: object) -> Ended:
    return connect(connect_options(TARGET, urls, family=4, **options), stdin=b"said.")


def chained_fails(urls: tuple[str, ...], **options: object) -> str:
    """Returns the hint for an error about the second proxy."""
    with pytest.raises(TunnelctlError) as caught:
        chained(urls, **options)
    assert caught.value.hop == 1
    return hint_of(caught.value)


@pytest.fixture
def others(files: Certificates, tmp_path: Path) -> Certificates:
    """The files of a proxy whose certificate is from another authority."""
    chain, key = another_issue(tmp_path, "second", "127.0.0.1")
    return files._replace(chain=chain, key=key)


def test_the_hint_about_a_later_issuer_keeps_the_first_proxy_trusted(
    files: Certificates, others: Certificates, tmp_path: Path
) -> None:
    """--proxy-cacert replaces the authorities that the first proxy was trusted by, and --proxy-pin is for that proxy alone."""
    pin, issuer = pin_of_proxy(files), another_authority(tmp_path)[0]
    both = tmp_path / "both.pem"
    both.write_text(issuer.read_text() + files.authority.read_text())
    with two_proxies(files, others) as urls:
        assert chained_fails(urls, proxy_pin=pin) == (
            "if you trust its issuer, give --proxy-cacert FILE with the issuer's certificate, "
            "and with the authorities of the other https:// proxies of the chain"
        )
        with pytest.raises(TLSFailed) as caught:
            chained(urls, proxy_pin=pin, proxy_cacert=str(issuer))
        assert caught.value.hop == 0, "the issuer alone does not do"
        assert chained(urls, proxy_pin=pin, proxy_cacert=str(both)).stdout == b"SAID."


def test_the_hint_about_a_later_issuer_adds_to_the_given_authorities(files: Certificates, others: Certificates) -> None:
    with two_proxies(files, others) as urls:
        hint = chained_fails(urls, proxy_cacert=str(files.authority))
    assert hint.endswith("; if you trust its issuer, add the issuer's certificate to that file")


def test_the_hint_about_the_first_issuer_of_a_chain_offers_its_pin(files: Certificates) -> None:
    with ScriptedServer(speaking_tls(files, upper)) as proxy, pytest.raises(TLSFailed) as caught:
        chained((f"https://localhost:{proxy.port}", "https://second.test"))
    assert hint_of(caught.value) == (
        "if you trust its issuer, give --proxy-cacert FILE with the issuer's certificate, "
        "and with the authorities of the other https:// proxies of the chain; "
        f"or, if the proxy's operator confirms this pin, --proxy-pin {pin_of_proxy(files)}"
    )


def test_a_chain_with_one_https_proxy_has_the_usual_hint(files: Certificates) -> None:
    with ScriptedServer(speaking_tls(files, upper)) as last, Serve() as first:
        hint = chained_fails((first.url, f"https://{last.authority}"))
    assert "of the chain" not in hint
    assert hint.endswith(f"--proxy-pin {pin_of_proxy(files)}")


def test_the_hint_about_a_later_client_certificate_asks_for_another_order(files: Certificates, tmp_path: Path) -> None:
    """The second proxy receives none, whatever the flags say: --proxy-cert is for the first one."""
    chain, key = issue(tmp_path, "second", "127.0.0.1")
    ours = {"proxy_cert": str(files.client_chain), "proxy_key": str(files.client_key)}
    with two_proxies(files, files._replace(chain=chain, key=key), client_ca=True) as urls:
        for given in ({}, ours):
            hint = chained_fails(urls, proxy_cacert=str(files.authority), **given)
            assert hint == "--proxy-cert is for the first https:// proxy of a chain, and this is a later one: can it come first?"


def test_a_later_proxy_that_leaves_may_require_a_certificate_which_it_cannot_have(files: Certificates, tmp_path: Path) -> None:
    """Some servers of TLS 1.3 close the connection when they miss it, which is after our handshake."""
    chain, key = issue(tmp_path, "second", "127.0.0.1")

    def leave(peer: Conversation) -> None:
        peer.read_head()
        peer.reset()
        raise ConnectionAbortedError  # nothing is left of TLS to end

    with two_proxies(files, files._replace(chain=chain, key=key), script=leave) as urls:
        hint = chained_fails(urls, proxy_cacert=str(files.authority))
    assert hint.startswith("it may require a client certificate; --proxy-cert is for the first https:// proxy of a chain")


# --- peers that speak something else


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
