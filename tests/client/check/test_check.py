"""Tests `check` against proxies broken in common ways, each with its diagnosis, and against one that works."""

import json
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client.check.findings import TARGET, Found, all_of, check, greet, only
from tests.options import check_options
from tests.peers import certificates
from tests.peers.program import Serve, run
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo, refusing_port
from tunnelctl import events
from tunnelctl import rare_events as rare
from tunnelctl.cli.render.hints import in_words
from tunnelctl.client import tunnel
from tunnelctl.client.check.check import NOWHERE, Check, spread
from tunnelctl.client.check.probe import PhaseTimer
from tunnelctl.client.route.route import Route
from tunnelctl.engine.kernel import run as run_engine
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.errors import Refused, TLSFailed, TunnelctlError, Unreachable
from tunnelctl.events import Event
from tunnelctl.packages import install_command
from tunnelctl.proto.address import Address


def broken(*answers: tuple[bytes, bytes]) -> ScriptedServer:
    """A proxy that sends the response paired with the first word found in the request, and closes the connection."""

    def script(peer: Conversation) -> None:
        head = peer.read_head()
        peer.send(next(answer for word, answer in answers if word in head))
        peer.end_output()
        peer.wait_gone()

    return ScriptedServer(script)


def honest(head: bytes, answer: bytes) -> bytes:
    """The response of a proxy that resolves names before it responds."""
    return b"HTTP/1.1 502 Bad Gateway\r\n\r\n" if NOWHERE.encode() in head else answer


# --- broken proxies


def test_a_required_login_is_diagnosed() -> None:
    answer = b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Foo\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n'
    with broken((b"", answer)) as proxy:
        status, found = check("-x", proxy.url)
    finding = only("finding", found)
    assert (status, finding["name"]) == (77, "login-wanted")
    assert "(Foo or Basic)" in finding["text"]
    assert "--proxy-password-file" in finding["hint"]
    assert all_of("phase", "ok", found) == [True, True, True, False]


@pytest.fixture
def without_spnego(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python that finds another module named spnego first, one that cannot be loaded."""
    (tmp_path / "spnego.py").write_text("raise ImportError('spnego')")
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate"])
@pytest.mark.parametrize("named", [True, False])
def test_a_login_that_needs_a_missing_package_is_diagnosed(scheme: str, named: bool, without_spnego: dict[str, str]) -> None:
    """The user gave a login, so the hint does not ask for one: it is the same as connect's."""
    package = "pyspnego" if scheme == "NTLM" else "pyspnego[kerberos]"
    with broken((b"", b"HTTP/1.1 407 Login\r\nProxy-Authenticate: %b\r\n\r\n" % scheme.encode())) as proxy:
        words = ("-x", proxy.url.replace("//", "//anna:secret@"), *(["--auth", scheme.lower()] if named else []))
        status, found = check(*words, target=TARGET, **without_spnego)
        told = run("connect", *words, *TARGET, env=without_spnego).stderr.decode().splitlines()[1]
    finding = only("finding", found)
    assert (status, finding["name"]) == (77, "login-failed" if named else "login-wanted")
    assert finding["hint"] == f"{scheme} needs the package pyspnego: {install_command(package)}"
    assert told == f"hint: {finding['hint']}"
    assert "none was given" not in finding["text"]


def test_a_refused_login_is_diagnosed() -> None:
    with broken((b"", b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n')) as proxy:
        status, found = check("-x", proxy.url.replace("//", "//anna:secret@"))
    assert (status, only("finding", found)["name"]) == (77, "login-refused")
    assert "secret" not in json.dumps(found)


@pytest.mark.parametrize("other", [ESTABLISHED, b"HTTP/1.1 502 Bad Gateway\r\n\r\n"], ids=["200", "502"])
def test_a_refused_port_is_diagnosed(other: bytes) -> None:
    with broken((b":443 ", other), (b"", b"HTTP/1.1 403 Forbidden\r\n\r\n")) as proxy:
        status, found = check("-x", proxy.url)
    finding = only("finding", found)
    assert (status, finding["name"]) == (69, "port-refused")
    assert finding["text"] == "the proxy refuses port 22, and lets 443 pass"
    assert proxy.heads[1].startswith(b"CONNECT target.test:443 ")


def test_for_a_refused_port_22_of_a_known_site_port_443_is_named() -> None:
    with broken((b":443 ", ESTABLISHED), (b"", b"HTTP/1.1 403 Forbidden\r\n\r\n")) as proxy:
        status, found = check("-x", proxy.url, target=("github.com", "22"))
    assert status == 69
    hint = "github.com has ssh on port 443 too, at ssh.github.com: `tunnelctl ssh-config --port-443 github.com`, with the flags"
    assert only("finding", found)["hint"] == f"{hint} for the proxy, prints the lines"


def test_a_refused_target_is_diagnosed() -> None:
    with broken((b"", b"HTTP/1.1 403 Forbidden\r\n\r\n")) as proxy:
        status, found = check("-x", proxy.url)
    assert (status, only("finding", found)["name"]) == (69, "refused")


def test_a_tls_proxy_with_an_http_url_is_diagnosed(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue(tmp_path, "proxy", "127.0.0.1"))

    def script(peer: Conversation) -> None:
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True, suppress_ragged_eofs=True) as secure:
            peer.sock = secure
            peer.send(honest(peer.read_head(), ESTABLISHED))

    with ScriptedServer(script) as proxy:
        status, found = check("-x", f"http://anna:secret@{proxy.authority}")
    assert (status, only("finding", found)["name"]) == (77, "tls-wanted")
    assert all_of("phase", "name", found)[-1] == "proxy"
    assert only("finding", found)["hint"] == f"its URL is https://{proxy.authority}"
    assert not [head for head in proxy.heads if b"uthorization" in head], "sent a password to an unauthenticated peer"


def test_a_tls_proxy_with_a_socks5_url_is_diagnosed(tmp_path: Path) -> None:
    """The three octets of the SOCKS greeting are not yet a TLS record, so the proxy waits for more and sends nothing at all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue(tmp_path, "proxy", "127.0.0.1"))

    def script(peer: Conversation) -> None:
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as secure:
            peer.sock = secure

    with ScriptedServer(script) as proxy:
        status, found = check("--timeout", "1", "-x", f"socks5://{proxy.authority}")
    finding = only("finding", found)
    assert (status, finding["name"], finding["hint"]) == (75, "tls-wanted", f"its URL is https://{proxy.authority}")


def test_the_warnings_of_connect_appear_once(tmp_path: Path) -> None:
    """Once each, however many further connections check opens."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o644)
    login = ("--auth", "basic", "--proxy-user", "anna", "--proxy-password-file", str(file))
    with broken((b"", b"HTTP/1.1 403 No\r\n\r\n")) as proxy:
        _, found = check("-x", proxy.url, "-x", "https://inner.test:1", "--proxy-insecure", *login)
    readable, insecure = all_of("warning", "text", found)
    assert "inner.test:1 is not checked" in insecure
    assert str(file) in readable


def test_a_plain_proxy_with_an_https_url_is_diagnosed() -> None:
    def script(peer: Conversation) -> None:
        if peer.hears_tls():
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        else:
            peer.send(honest(peer.read_head(), ESTABLISHED))
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        status, found = check("-x", f"https://anna:secret@{proxy.authority}")
    finding = only("finding", found)
    assert (status, finding["name"]) == (77, "no-tls")
    assert finding["hint"].startswith(f"if this proxy is meant to be used without TLS, its URL is http://{proxy.authority}; ")
    assert not [head for head in proxy.heads if b"uthorization" in head], "sent a password in the clear"


@pytest.mark.parametrize("spoken", [True, False])
@pytest.mark.parametrize("status", [b"301 Moved", b"404 Not Found", b"421 Misdirected"])
def test_a_tls_proxy_that_hangs_up_is_not_diagnosed_as_plain(spoken: bool, status: bytes, tmp_path: Path) -> None:
    """Whatever a web server on the same port responds in plain text: a user who trusted it would send a login unprotected."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue(tmp_path, "proxy", "localhost"))

    def script(peer: Conversation) -> None:
        if not peer.hears_tls():
            peer.accept_tunnel(b"HTTP/1.1 %b\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n" % status)
        elif spoken:
            with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as secure:
                peer.sock = secure
                peer.read_head()
        else:
            peer.reset()

    with ScriptedServer(script) as proxy:
        trusted = str(certificates.authority(tmp_path))
        _, found = check("-x", f"https://localhost:{proxy.port}", "--proxy-cacert", trusted)
    finding = only("finding", found)
    assert finding["name"] != "no-tls"
    assert ("http://" in finding["hint"]) <= ("anyone on the path can then read the login" in finding["hint"])


# The response of Go's net/http to a plain-text request on a TLS port.
GO_400 = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


def tls_proxy(files: tuple[Path, Path]) -> ScriptedServer:
    """A proxy that speaks TLS with that certificate, and reports it to a client that does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)

    def script(peer: Conversation) -> None:
        if not peer.hears_tls():
            peer.accept_tunnel(GO_400)
            return
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as secure:
            peer.sock = secure
            peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")

    return ScriptedServer(script)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    chain, key = directory / "self.pem", directory / "self.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", *subject]
    subprocess.run([*made, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True, timeout=30)
    return chain, key


def bad_certificate(kind: str, directory: Path) -> tuple[tuple[Path, Path], tuple[str, ...]]:
    """An unacceptable certificate with its key, and the flags that leave exactly that reason."""
    trusted = ("--proxy-cacert", str(certificates.authority(directory)))
    match kind:
        case "self-signed":
            return self_signed(directory), ()
        case "unknown issuer":
            return certificates.issue(directory, "proxy", "localhost"), ()
        case "issuer not among those named":
            return certificates.another_issue(directory, "proxy", "localhost"), trusted
        case "wrong name":
            return certificates.issue(directory, "proxy", "other.test"), trusted
        case "expired":
            return certificates.issue(directory, "proxy", "localhost", expired=True), trusted
    raise AssertionError(kind)


BAD = {
    "self-signed": "its certificate is self-signed",
    "unknown issuer": "its certificate was issued by an authority that is not known here",
    "issuer not among those named": "its certificate was issued by an authority that is not known here",
    "wrong name": "its certificate is for another name",
    "expired": "its certificate has expired",
}


@pytest.mark.parametrize("ours", [True, False], ids=["serve", "as Go answers"])
@pytest.mark.parametrize("kind", BAD)
def test_an_untrusted_certificate_gives_no_advice_to_leave_tls_out(kind: str, ours: bool, tmp_path: Path) -> None:
    """The error and the hint are the same as connect's."""
    files, flags = bad_certificate(kind, tmp_path)
    with Serve("--tls-cert", str(files[0]), "--tls-key", str(files[1])) if ours else tls_proxy(files) as proxy:
        words = ("-4", *flags, "-x", f"https://localhost:{proxy.port}")
        status, found = check(*words)
        told = run("connect", *words, *TARGET).stderr.decode().splitlines()
    finding = only("finding", found)
    assert (status, finding["name"]) == (77, "not-trusted")
    assert finding["text"].endswith(f": {BAD[kind]}")
    assert told == [f"tunnelctl: {finding['text']}", f"hint: {finding['hint']}"]
    assert "http://" not in json.dumps(found)


@pytest.mark.parametrize("url", ["https", "socks5", "socks4a"])
def test_an_http_proxy_that_waits_for_a_line_end_is_diagnosed(url: str) -> None:
    """As tinyproxy and squid do on a TLS or SOCKS greeting, which never contains one."""

    def script(peer: Conversation) -> None:
        if peer.sock.recv(1, socket.MSG_PEEK) == b"C":
            peer.send(honest(peer.read_head(), ESTABLISHED))
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        status, found = check("--timeout", "1", "-x", f"{url}://{proxy.authority}")
    finding = only("finding", found)
    assert (status, finding["name"]) == (75, "no-tls" if url == "https" else "other-protocol")
    assert f"URL is http://{proxy.authority}" in finding["hint"]


def test_a_socks_proxy_with_an_http_url_is_diagnosed() -> None:
    """It closes the connection, or waits for a greeting of its own protocol."""

    def script(peer: Conversation) -> None:
        if peer.read(2)[:1] == b"\x05":
            peer.send(b"\x05\xff")

    with ScriptedServer(script) as proxy:
        status, found = check("-x", proxy.url)
    finding = only("finding", found)
    assert (status, finding["name"]) == (75, "other-protocol")
    assert finding["hint"] == f"its URL is socks5://{proxy.authority}"


def test_of_alternatives_the_one_that_failed_last_is_diagnosed() -> None:
    greeted = []

    def closing(peer: Conversation) -> None:
        peer.read_head()

    def silent(peer: Conversation) -> None:
        if peer.read(1) == b"\x05":
            greeted.append(True)
            peer.send(b"\x05\x00")
        peer.wait_gone()

    with ScriptedServer(silent) as first, ScriptedServer(closing) as last:
        status, found = check("--timeout", "2", "-x", f"{first.url},{last.url}")
    finding = only("finding", found)
    assert (status, finding["name"]) == (76, "not-a-proxy")
    assert f"proxy {last.authority}" in finding["text"]
    assert greeted == []


def test_a_proxy_whose_name_has_no_address_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def no_address(host: str, *_: object) -> list[SocketAddress]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(tunnel, "resolve", no_address)
    found: list[str] = []
    options = check_options(Address("target.test", 22), ("http://proxy.test:3128",))
    status = run_engine(Check(options, {}, lambda event: found.append(in_words(event)[0])).run)
    assert (status, found[-3:]) == (75, ["failure", "finding", "verdict"])
    assert asked == ["proxy.test"]


def test_a_missing_client_certificate_is_the_fault_of_the_proxy_not_of_the_target(tmp_path: Path) -> None:
    """TLS 1.3 reports it only when the request has been sent: the target's certificate has nothing to do with it."""
    files = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.server)
    context.load_verify_locations(files.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    connections = []

    def script(peer: Conversation) -> None:
        connections.append(True)
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True):
            pass

    with ScriptedServer(script) as proxy:
        status, found = check("--tls", "-x", f"https://localhost:{proxy.port}", "--proxy-cacert", str(files.authority))
    assert (status, len(connections)) == (77, 1)
    assert "--proxy-cert" in only("finding", found)["hint"]


@pytest.mark.parametrize(
    ("url", "answer", "scheme"),
    [
        ("http", b"\x05\xff", "socks5"),
        ("socks", b"HTTP/1.1 400 Bad Request\r\n\r\n", "http"),
        ("socks4a", b"HTTP/1.0 501 No\r\n\r\n", "http"),
    ],
)
@pytest.mark.parametrize("place", ["alone", "second"])
def test_a_response_in_another_protocol_than_the_url_names_is_diagnosed(url: str, answer: bytes, scheme: str, place: str) -> None:
    def script(peer: Conversation) -> None:
        if place == "second":
            peer.accept_tunnel()
        peer.read(8)
        peer.send(answer)
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        named = proxy.authority if place == "alone" else "inner.test:1080"
        chain = ("-x", proxy.url) if place == "second" else ()
        status, found = check(*chain, "-x", f"{url}://{named}")
    finding = only("finding", found)
    assert (status, finding["name"], finding["hint"]) == (76, "other-protocol", f"its URL is {scheme}://{named}")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n<html>", 69),
        (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n<html>", 69),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<!DOCTYPE html><title>Welcome", 76),
    ],
    ids=["302", "511", "200"],
)
def test_a_captive_portal_is_diagnosed(answer: bytes, status: int) -> None:
    with broken((NOWHERE.encode(), b"HTTP/1.1 502 No\r\n\r\n"), (b"", answer)) as proxy:
        found_status, found = check("-x", proxy.url)
    assert (found_status, only("finding", found)["name"]) == (status, "captive-portal")
    assert "browser" in only("finding", found)["hint"]


def test_a_proxy_that_answers_200_to_everything_is_diagnosed() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        status, found = check("-x", proxy.url)
    assert (status, only("finding", found)["name"]) == (0, "answers-everything")
    assert proxy.heads[1].startswith(f"CONNECT {NOWHERE}:22 ".encode())


def test_a_target_that_keeps_sending_is_reported_as_never_silent() -> None:
    def chatter(peer: Conversation) -> None:
        peer.send(honest(peer.read_head(), ESTABLISHED))
        peer.sock.settimeout(0.02)
        with suppress(ConnectionError):
            while True:
                try:
                    if not peer.read():
                        return
                except TimeoutError:
                    peer.send(b"tick\n")

    with ScriptedServer(chatter) as proxy:
        status, found = check("--idle", "0.8", "-x", proxy.url)
    assert (status, only("finding", found)["name"], all_of("idle", "ok", found)) == (0, "never-silent", [])


def test_cut_idle_tunnels_are_diagnosed() -> None:
    def script(peer: Conversation) -> None:
        peer.send(honest(peer.read_head(), ESTABLISHED))
        peer.sock.settimeout(1.0)
        with suppress(TimeoutError):
            peer.read()

    with ScriptedServer(script) as proxy:
        status, found = check("--idle", "20", "-x", proxy.url)
    finding, idle = only("finding", found), only("idle", found)
    assert (status, finding["name"], idle["ok"]) == (74, "idle-cut", False)
    assert 0.2 < idle["seconds"] < 15
    assert "ServerAliveInterval" in finding["hint"]


def test_a_tunnel_that_survives_the_idle_time_is_reported() -> None:
    """Bytes from the target restart the idle time."""

    def script(peer: Conversation) -> None:
        peer.send(honest(peer.read_head(), ESTABLISHED + b"hello\r\n"))
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        status, found = check("--idle", "0.2", "-x", proxy.url)
    assert (status, only("idle", found)["ok"], all_of("finding", "name", found)) == (0, True, [])


def test_no_proxy_that_prevents_the_use_of_a_proxy_is_diagnosed() -> None:
    sock, port = refusing_port()
    with sock:
        status, found = check(target=("127.0.0.1", str(port)), https_proxy="http://proxy.test", no_proxy="127.0.0.0/8")
    finding = only("finding", found)
    assert (status, finding["name"], finding["hint"]) == (75, "no-proxy", "-x URL overrules NO_PROXY")
    assert "no_proxy has 127.0.0.0/8" in finding["text"]


NO_VARIABLES = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "TUNNELCTL_PROXY", "http_proxy"), "")


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_variable_that_tunnelctl_ignores_is_diagnosed(name: str) -> None:
    sock, port = refusing_port()
    with sock:
        env = {**NO_VARIABLES, name: "http://proxy.test:3128"}
        status, found = check(target=("127.0.0.1", str(port)), **env)
    finding = only("finding", found)
    assert (status, finding["name"]) == (75, "unused-proxy")
    assert finding["hint"] == f"{name} is set, but tunnelctl ignores it: set https_proxy, or give -x URL"
    assert f"({UNUSED.format(name)})" in all_of("phase", "detail", found)[0]


UNUSED = "no proxy is configured: {} is set, but ignored"


def test_a_failure_without_any_configured_proxy_is_diagnosed() -> None:
    status, found = check(target=("name.invalid", "22"), **NO_VARIABLES)
    assert (status, only("finding", found)["name"]) == (68, "name-not-found")
    assert (
        only("finding", found)["hint"] == "no proxy is configured: run `tunnelctl check` to find a proxy, and give it with -x URL"
    )


@pytest.mark.parametrize(
    ("answer", "name", "status"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not-a-proxy", 76),
        (b"HTTP/1.1 504 Gateway Timeout\r\nProxy-Status: p; error=dns_error\r\n\r\n", "name-not-found", 68),
    ],
)
def test_errors_of_connect_are_findings_too(answer: bytes, name: str, status: int) -> None:
    with broken((b"", answer)) as proxy:
        found_status, found = check("-x", proxy.url)
    assert (found_status, only("finding", found)["name"]) == (status, name)
    assert only("finding", found)["hint"]
    failure = only("failure", found)
    assert only("finding", found)["text"] == f"{failure['what']}: {failure['cause']}"


def test_a_refused_connection_to_the_proxy_is_diagnosed() -> None:
    sock, port = refusing_port()
    with sock:
        status, found = check("-x", f"127.0.0.1:{port}")
    assert (status, only("finding", found)["name"]) == (75, "unreachable")
    assert [phase["name"] for phase in found if phase["event"] == "phase"] == ["route", "dns", "connect"]


def test_a_target_that_closes_at_once_is_diagnosed() -> None:
    def script(peer: Conversation) -> None:
        peer.send(honest(peer.read_head(), ESTABLISHED))

    with ScriptedServer(script) as proxy:
        status, found = check("-x", proxy.url)
    assert (status, all_of("finding", "name", found)) == (0, ["target-left"])
    assert "`tunnelctl check --tls HOST 443`" in only("finding", found)["hint"]
    with ScriptedServer(lambda peer: None) as target:
        _, found = check("-x", "direct", target=(target.authority,))
    assert only("finding", found)["hint"] == "does the target let this client in?"


def test_an_ipv6_address_that_does_not_work_is_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses are those of a name that has both families; nothing listens on ::1 at this port."""
    found: Found = []

    async def both(host: str, port: int) -> list[SocketAddress]:
        return [resolved("::1", port), resolved("127.0.0.1", port)]

    def resolved(host: str, port: int) -> SocketAddress:
        return SocketAddress(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)

    monkeypatch.setattr("tunnelctl.client.check.check.resolve", both)
    with ScriptedServer(echo) as server:
        options = check_options(Address("name.test", server.port), ("direct",))

        def report(event: Event) -> None:
            name, facts = in_words(event)
            found.append({"event": name, **facts})

        checker = Check(options, {}, report)
        run_engine(lambda: checker._try_addresses(Route(options.target, ())))
    assert only("finding", found)["name"] == "ipv6-broken"
    assert {record["address"]: record["ok"] for record in found if record["event"] == "address"} == {
        "::1": False,
        "127.0.0.1": True,
    }


# --- phases, derived from the events of an opening


def watched(*story: Event, error: TunnelctlError | None = None) -> list[tuple[str, float, bool]]:
    """Name, seconds and success of each phase, with one event a second."""
    times = iter(range(100))
    watch = PhaseTimer(clock=lambda: float(next(times)))
    for event in story:
        watch(event)
    watch.finish(error)
    return [(phase.name, phase.seconds, phase.ok) for phase in watch.phases]


ROUTE = events.Route(["http://p"], "-x")
LOOKUP = events.Lookup("p")
DIAL = events.Dial("p:80", ["192.0.2.1"])
CONNECTED = events.Connected("p:80", "192.0.2.1:80")
REQUEST = events.Request("h:1", "HTTP/1.1", ())


def agreed(subject: str = "", issuer: str = "", expires: str = "", chain: tuple[str, ...] = ()) -> rare.TLS:
    return rare.TLS("p:443", "proxy", "TLSv1.3", "c", "", subject, issuer, expires, "sha256//k=", chain)


def answered(status: int) -> events.Response:
    return events.Response("HTTP/1.1", status, "", ())


STOOD = [("route", 1.0, True), ("dns", 1.0, True), ("connect", 1.0, True)]
UNTIL_TCP = (ROUTE, LOOKUP, DIAL, CONNECTED)


def test_each_leg_of_a_login_is_a_phase():
    again = (LOOKUP, DIAL, CONNECTED, REQUEST, answered(200))
    found = watched(*UNTIL_TCP, REQUEST, answered(407), *again)
    assert found == [*STOOD, ("proxy", 1.0, False), ("dns", 1.0, True), ("connect", 1.0, True), ("proxy", 1.0, True)]


@pytest.mark.parametrize(
    ("story", "name"),
    [
        ((), "route"),
        ((ROUTE,), "dns"),
        ((ROUTE, LOOKUP), "dns"),
        ((ROUTE, LOOKUP, DIAL), "connect"),
        (UNTIL_TCP, "proxy"),
        ((*UNTIL_TCP, REQUEST, answered(407), LOOKUP, DIAL), "connect"),
    ],
)
def test_an_error_belongs_to_the_phase_in_progress(story, name):
    found = watched(*story, error=Unreachable("a", "b", "not-connected"))
    assert (found[-1][0], found[-1][2]) == (name, False)


@pytest.mark.parametrize(("chain", "shown"), [(("a", "b", "c"), "a by b by c"), (("a",), "a by b"), ((), "a by b")])
def test_the_tls_phase_shows_the_certificate_chain(chain, shown):
    watch = PhaseTimer()
    watch(agreed("a", "b", "Dec 28 02:14:32 2026 GMT", chain))
    assert watch.phases[0].chain == chain
    assert watch.phases[0].detail.endswith(f"; {shown}, until 2026-12-28")


@pytest.mark.parametrize(
    ("story", "word", "text"),
    [
        ((), "route", "finding the proxies for the target"),
        ((ROUTE, LOOKUP), "dns", "looking up p"),
        ((ROUTE, LOOKUP, DIAL), "connect", "connecting to p:80"),
        (UNTIL_TCP, "proxy", "p:80 has not answered yet"),
        ((events.Route(["https://p"], "-x"), LOOKUP, DIAL, CONNECTED), "tls", "TLS with p:80"),
        ((events.Route([], "-x direct"), LOOKUP, DIAL, CONNECTED), "tls", "TLS with p:80"),
        ((*UNTIL_TCP, agreed()), "proxy", "p:80 has not answered yet"),
        ((*UNTIL_TCP, REQUEST), "proxy", "p:80 has not answered yet"),
        ((*UNTIL_TCP, REQUEST, answered(407)), "proxy", "p:80 has not answered yet"),
        ((*UNTIL_TCP, REQUEST, answered(200)), "tls", "TLS with h:1"),
        ((*UNTIL_TCP, REQUEST, answered(200), events.Request("t:22", "HTTP/1.1", ())), "proxy", "h:1 has not answered yet"),
    ],
)
def test_the_phase_in_progress_is_what_is_awaited(story, word, text):
    times = iter(range(100))
    watch = PhaseTimer(clock=lambda: float(next(times)))
    for event in story:
        watch(event)
    awaited = watch.awaited()
    assert (awaited.word, awaited.text, awaited.seconds) == (word, text, 1.0)
    assert awaited.begin == sum(phase.seconds for phase in watch.phases) or LOOKUP in story


def test_each_phase_is_reported_when_it_ends_and_warnings_at_once():
    found: list[Event] = []
    watch = PhaseTimer(found.append)
    for event in (ROUTE, events.Warning("w"), LOOKUP, DIAL):
        watch(event)
    assert found == [watch.phases[0], events.Warning("w"), watch.phases[1]]


def test_what_follows_a_challenge_says_that_it_has_a_login():
    watch = PhaseTimer()
    for event in (*UNTIL_TCP, REQUEST, answered(407), REQUEST, answered(407), LOOKUP, DIAL, CONNECTED):
        watch(event)
    details = [phase.detail for phase in watch.phases]
    assert [detail.startswith("again, with a login: ") for detail in details] == [False] * 4 + [True, True, False]


def test_a_tls_error_belongs_to_the_tls_phase():
    failed = TLSFailed("a", "b", "tls-failed")
    assert watched(*UNTIL_TCP, error=failed)[-1][::2] == ("tls", False)
    assert watched(*UNTIL_TCP, agreed(), REQUEST, answered(200), error=failed)[-1][::2] == ("tls", False)


def test_a_refusal_adds_no_further_phase():
    assert watched(*UNTIL_TCP, REQUEST, answered(403), error=Refused("a", "b", "refused")) == [*STOOD, ("proxy", 1.0, False)]


# --- a route that works


def test_a_working_route_reports_each_phase_and_the_greeting() -> None:
    with ScriptedServer(greet) as target, Serve() as proxy:
        status, found = check("-x", proxy.url, target=(target.host, str(target.port)))
    assert status == 0
    assert [phase["name"] for phase in found if phase["event"] == "phase"] == ["route", "dns", "connect", "proxy"]
    assert only("greeting", found)["text"] == "220 this target speaks first\r\n"
    assert all_of("finding", "name", found) == []
    assert only("verdict", found)["via"] == [f"127.0.0.1:{proxy.port}"]
    ends = [phase["begin"] + phase["seconds"] for phase in found if phase["event"] == "phase"]
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(only("verdict", found)["seconds"], abs=1e-4)


def test_check_without_a_proxy() -> None:
    with ScriptedServer(greet) as target:
        status, found = check("-x", "direct", target=(target.authority,))
    assert (status, only("verdict", found)["via"]) == (0, [])


def test_verbose_shows_the_origin_of_each_setting(tmp_path: Path) -> None:
    (tmp_path / "tunnelctl").mkdir()
    (tmp_path / "tunnelctl/config.toml").write_text("[defaults]\ntimeout = 9\n")
    with ScriptedServer(greet) as target:
        words = ("-v", "-4")
        _, found = check(*words, target=(target.authority,), TUNNELCTL_PROXY="direct", XDG_CONFIG_HOME=str(tmp_path))
    origins = {record["name"]: record["origin"] for record in found if record["event"] == "setting"}
    assert origins.pop("--timeout") == f"defaults, line 2 of {tmp_path}/tunnelctl/config.toml"
    assert origins == {"--proxy": "TUNNELCTL_PROXY", "-4": "flag", "--verbose": "flag", "--json": "flag"}


def test_wait_repeats_until_the_tunnel_works() -> None:
    attempts = []

    def script(peer: Conversation) -> None:
        head = peer.read_head()  # a TLS probe has no request head, and ends here
        attempts.append(peer)
        if len(attempts) == 1:
            peer.reset()
        else:
            peer.send(honest(head, ESTABLISHED + b"hello\n"))
            peer.wait_gone()

    with ScriptedServer(script) as proxy:
        status, found = check("--wait", "20", "-x", proxy.url)
    assert (status, len(all_of("waiting", "cause", found))) == (0, 1)


def test_wait_does_not_repeat_after_a_refusal() -> None:
    with broken((b"", b"HTTP/1.1 407 Login\r\n\r\n")) as proxy:
        status, found = check("--wait", "20", "-x", proxy.url)
    assert (status, all_of("waiting", "cause", found)) == (77, [])


def test_count_reports_a_series() -> None:
    with ScriptedServer(greet) as target:
        _, found = check("--count", "4", "--interval", "0", "-x", "direct", target=(target.authority,))
    record = only("series", found)
    assert (record["count"], record["failed"], len(record["times"])) == (4, 0, 4)
    assert 0 < record["min"] <= record["median"] <= record["p99"] <= record["max"]


@pytest.mark.parametrize(
    ("times", "figures"),
    [
        ([], (None, None, None, None)),
        ([2.0], (2.0, 2.0, 2.0, 2.0)),
        ([3.0, 1.0, 2.0], (1.0, 2.0, 3.0, 3.0)),
        ([float(number) for number in range(1, 201)], (1.0, 100.0, 198.0, 200.0)),
    ],
)
def test_figures_of_a_series(times, figures):
    assert tuple(spread(times).values()) == figures


# --- HTTP over the tunnel


def web(peer: Conversation) -> None:
    with suppress(AssertionError):  # the check before it sends no request
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


def test_get_fetches_a_page_over_the_tunnel() -> None:
    with ScriptedServer(web) as target, Serve() as proxy:
        status, found = check("--get", "/path?query", "-x", proxy.url, target=(target.authority,))
    reply = only("reply", found)
    assert (status, reply["ok"], reply["status"], reply["size"], reply["line"]) == (0, True, 200, 5, "HTTP/1.1 200 OK")
    assert target.heads[-1].startswith(b"GET /path?query HTTP/1.1\r\n")


def test_get_from_a_target_that_is_no_web_server_fails() -> None:
    with ScriptedServer(lambda peer: peer.send(b"SSH-2.0-server\r\n\r\n")) as target:
        status, found = check("--get", "/", "-x", "direct", target=(target.authority,))
    assert (status, only("reply", found)["ok"]) == (74, False)
    assert only("reply", found)["cause"]
