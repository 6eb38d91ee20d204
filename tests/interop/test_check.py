"""`check` through proxies of other makers and our own, over HTTP and HTTPS; and through one that intercepts TLS, mitmproxy."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.client.check.findings import all_of, check, greet, only, tls_server
from tests.peers import certificates, proxies, tls_proxies
from tests.peers.program import Serve, connect
from tests.peers.proxies import Proxy, Rules, Tls
from tests.peers.scripted import ScriptedServer
from tunnelctl.status import ExitStatus

Start = Callable[[certificates.Certificates], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@contextmanager
def ours(_: certificates.Certificates) -> Iterator[str]:
    with Serve() as proxy:
        yield proxy.url


@contextmanager
def ours_over_tls(files: certificates.Certificates) -> Iterator[str]:
    with Serve("--tls-cert", str(files.chain), "--tls-key", str(files.key)) as proxy:
        yield f"https://127.0.0.1:{proxy.port}"


@contextmanager
def squid(_: certificates.Certificates) -> Iterator[str]:
    with proxies.squid() as proxy:
        yield proxy.url


@contextmanager
def squid_over_tls(files: certificates.Certificates) -> Iterator[str]:
    with proxies.squid(tls=Tls(files)) as proxy:
        yield proxy.url


@contextmanager
def apache(_: certificates.Certificates) -> Iterator[str]:
    with proxies.apache() as proxy:
        yield proxy.url


@contextmanager
def apache_over_tls(files: certificates.Certificates) -> Iterator[str]:
    with proxies.apache(tls=Tls(files)) as proxy:
        yield proxy.url


@contextmanager
def envoy(_: certificates.Certificates) -> Iterator[str]:
    with tls_proxies.envoy() as proxy:
        yield proxy.url


@contextmanager
def envoy_over_tls(files: certificates.Certificates) -> Iterator[str]:
    with tls_proxies.envoy(Tls(files)) as proxy:
        yield proxy.url


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(ours, id="ours"),
        pytest.param(ours_over_tls, id="ours over TLS"),
        pytest.param(squid, id="squid", marks=pytest.mark.peer("squid")),
        pytest.param(squid_over_tls, id="squid over TLS", marks=pytest.mark.peer("squid")),
        pytest.param(apache, id="apache", marks=pytest.mark.peer("apache2")),
        pytest.param(apache_over_tls, id="apache over TLS", marks=pytest.mark.peer("apache2")),
        pytest.param(envoy, id="envoy", marks=pytest.mark.peer("envoy")),
        pytest.param(envoy_over_tls, id="envoy over TLS", marks=pytest.mark.peer("envoy")),
    ],
)
def test_a_working_route_passes_all_phases(start: Start, files: certificates.Certificates) -> None:
    with start(files) as url, ScriptedServer(greet) as target:
        words = ["-4", "-x", url, *(["--proxy-cacert", str(files.authority)] if url.startswith("https") else [])]
        status, found = check(*words, target=(target.authority,))
    names = [phase["name"] for phase in found if phase["event"] == "phase"]
    assert (status, names) == (0, ["route", "dns", "connect", *(["tls"] if url.startswith("https") else []), "proxy"])
    assert only("greeting", found)["text"] == "220 this target speaks first\r\n"
    assert all_of("finding", "name", found) == []


@contextmanager
def nghttpx_over_tls(files: certificates.Certificates) -> Iterator[str]:
    with tls_proxies.nghttpx(Tls(files)) as proxy:
        yield proxy.url


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(ours_over_tls, id="ours"),
        pytest.param(squid_over_tls, id="squid", marks=pytest.mark.peer("squid")),
        pytest.param(apache_over_tls, id="apache", marks=pytest.mark.peer("apache2")),
        pytest.param(nghttpx_over_tls, id="nghttpx", marks=pytest.mark.peer("nghttpx", "squid")),
        pytest.param(envoy_over_tls, id="envoy", marks=pytest.mark.peer("envoy")),
    ],
)
def test_an_unknown_issuer_does_not_lead_to_a_hint_without_tls(start: Start, files: certificates.Certificates) -> None:
    """Whether the proxy answers a plain-text request with 400 or with nothing. The pin in the hint is accepted."""
    with start(files) as url:
        status, found = check("-4", "-x", url)
        finding = only("finding", found)
        assert (status, finding["name"]) == (77, "not-trusted")
        assert "http://" not in str(found)
        pin = finding["hint"].partition("--proxy-pin ")[2].partition(",")[0]
        with ScriptedServer(greet) as target:
            status, found = check("-4", "-x", url, "--proxy-pin", pin, target=(target.authority,))
        assert (status, only("verdict", found)["ok"]) == (0, True)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(proxies.squid, id="squid", marks=pytest.mark.peer("squid")),
        pytest.param(proxies.tinyproxy, id="tinyproxy", marks=pytest.mark.peer("tinyproxy")),
        pytest.param(proxies.apache, id="apache", marks=pytest.mark.peer("apache2")),
    ],
)
@pytest.mark.parametrize("scheme", ["https", "socks5", "socks4a"])
def test_the_hint_names_the_scheme_that_the_proxy_speaks(start: Callable[[], AbstractContextManager[Proxy]], scheme: str) -> None:
    """Some proxies answer a TLS or SOCKS greeting in HTTP, others close, and tinyproxy waits for the end of the line."""
    with start() as proxy, ScriptedServer(greet) as target:
        status, found = check("--timeout", "2", "-x", proxy._replace(scheme=scheme).url, target=(target.authority,))
        told = connect(proxy._replace(scheme=scheme).url, target.authority, "--timeout", "2")
    finding = only("finding", found)
    if start is proxies.tinyproxy and scheme == "https":  # it answers if the random octets of a ClientHello end a line
        assert {status, told.returncode} <= {ExitStatus.UNREACHABLE, ExitStatus.AUTHENTICATION}
    else:
        assert status == told.returncode != 0
    assert "http" in finding["hint"]
    assert b"http" in told.stderr.splitlines()[1]


@pytest.mark.peer("squid", "basic_ncsa_auth")
def test_squid_with_a_password_gives_a_login_finding() -> None:
    with proxies.squid(Rules(password=True)) as proxy:
        assert only("finding", check("-x", proxy.url)[1])["name"] == "login-wanted"
        assert only("finding", check("-x", proxy.url_with_wrong_password)[1])["name"] == "login-refused"


@pytest.mark.peer("mitmdump")
def test_mitmproxy_is_detected_whether_trusted_or_not(files: certificates.Certificates, tmp_path: Path) -> None:
    with tls_proxies.mitmproxy(tmp_path) as url, tls_server(files.server) as target:
        host = (target.authority,)
        status, found = check("--tls", "--tls-cacert", str(files.authority), "-x", url, target=host)
        assert (status, all_of("finding", "name", found)[-1]) == (77, "intercepted")
        assert only("certificate", found)["issuer"] == "mitmproxy"
        # As on a machine where a company has installed the authority of its proxy.
        trusting = ("--tls", "--tls-cacert", str(tmp_path / "mitmproxy-ca-cert.pem"))
        status, found = check(*trusting, "-x", url, target=host)
        assert (status, all_of("finding", "name", found)[-1]) == (77, "intercepted")
        assert (only("certificate", found)["trusted"], only("certificate", found)["public"]) == (True, False)
