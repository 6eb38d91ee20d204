"""Tests `check --tls` with and without an on-path attacker that replaces the certificate."""

import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client.check.findings import all_of, check, only, tls_server
from tests.peers import certificates
from tests.peers.program import Serve, run
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer
from tunnelctl.client.check.check import NOWHERE
from tunnelctl.proto.tls.certificate import decode, fingerprint
from tunnelctl.proto.tls.pin import pin_of


def interceptor(certificate: tuple[Path, Path]) -> ScriptedServer:
    """A proxy that plays the target itself, as an intercepting proxy does before it connects."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def script(peer: Conversation) -> None:
        if NOWHERE.encode() in peer.read_head():
            peer.send(b"HTTP/1.1 502 No\r\n\r\n")
            return
        peer.send(ESTABLISHED)
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as secure:
            peer.sock = secure
            secure.recv(1)

    return ScriptedServer(script)


def der(certificate: tuple[Path, Path]) -> bytes:
    return ssl.PEM_cert_to_DER_cert(
        certificate[0].read_text().partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    )


@pytest.fixture
def theirs(tmp_path: Path) -> tuple[Path, Path]:
    """The certificate of the target."""
    return certificates.issue(tmp_path, "target", "127.0.0.1")


@pytest.fixture
def forged(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that another authority issued for the same name."""
    return certificates.another_issue(tmp_path, "forged", "127.0.0.1")


@pytest.fixture
def trusting(tmp_path: Path) -> list[str]:
    return ["--tls", "--tls-cacert", str(certificates.authority(tmp_path))]


def test_the_same_certificate_with_and_without_the_proxy_is_no_finding(theirs, trusting):
    with tls_server(theirs) as target, Serve() as proxy:
        status, found = check(*trusting, "-x", proxy.url, target=(target.authority,))
    record, expected = only("certificate", found), decode(der(theirs))
    assert (status, all_of("finding", "name", found)) == (0, [])
    assert (record["trusted"], record["public"], record["direct"], record["expected"]) == (True, False, "same", None)
    assert (record["issuer"], record["expires"]) == (expected.issuer, expected.ends.isoformat())
    assert (record["sha256"], record["pin"]) == (fingerprint(der(theirs)), pin_of(der(theirs)))
    tls = [phase for phase in found if phase["event"] == "phase"][-1]
    assert (tls["name"], tls["chain"]) == ("tls", ["127.0.0.1", "tunnelctl's tests"])


def test_an_untrusted_replaced_certificate_is_diagnosed(theirs, forged, trusting):
    with tls_server(theirs) as target, interceptor(forged) as proxy:
        status, found = check(*trusting, "-x", proxy.url, target=(target.authority,))
    names = all_of("finding", "name", found)
    assert (status, names) == (77, ["not-trusted", "intercepted"])
    finding = [record for record in found if record["event"] == "finding"][1]
    assert "the certificate was replaced on the path" in finding["text"]
    assert "another company" in finding["text"]
    assert (only("certificate", found)["trusted"], only("certificate", found)["direct"]) == (False, "other")


def test_a_certificate_replaced_by_a_trusted_authority_is_diagnosed(theirs, forged, tmp_path):
    """As a company does: connect accepts it, and so does every browser there."""
    authority = certificates.another_authority(tmp_path)[0]
    with tls_server(theirs) as target, interceptor(forged) as proxy:
        words = ("--tls", "--tls-cacert", str(authority), "-x", proxy.url)
        status, found = check(*words, target=(target.authority,))
    assert (status, only("finding", found)["name"]) == (77, "intercepted")
    assert (only("certificate", found)["trusted"], only("certificate", found)["public"]) == (True, False)


def test_interception_is_unknown_without_a_direct_route(forged, tmp_path):
    authority = certificates.another_authority(tmp_path)[0]
    with interceptor(forged) as proxy:
        status, found = check("--tls", "--tls-cacert", str(authority), "-x", proxy.url, target=("127.0.0.1", "1"))
    assert (status, only("finding", found)["name"]) == (0, "private-issuer")
    assert only("certificate", found)["direct"] == "unknown"


@pytest.mark.parametrize("form", [fingerprint, lambda data: fingerprint(data).upper(), pin_of], ids=["hex", "HEX", "pin"])
def test_the_expected_certificate_is_accepted(theirs, trusting, form):
    with tls_server(theirs) as target, Serve() as proxy:
        status, found = check(*trusting, "--expect", form(der(theirs)), "-x", proxy.url, target=(target.authority,))
    assert (status, only("certificate", found)["expected"], all_of("finding", "name", found)) == (0, True, [])


def test_another_certificate_than_the_expected_one_is_a_finding(theirs, forged, trusting):
    with tls_server(theirs) as target, Serve() as proxy:
        status, found = check(*trusting, "--expect", fingerprint(der(forged)), "-x", proxy.url, target=(target.authority,))
    assert (status, only("finding", found)["name"]) == (77, "unexpected-certificate")


def test_get_over_https_through_the_tunnel(theirs, trusting):
    with tls_server(theirs) as target, Serve() as proxy:
        status, found = check(*trusting, "--get", "/", "-x", proxy.url, target=(target.authority,))
    assert (status, only("reply", found)["status"]) == (0, 200)


def test_get_from_a_server_with_another_tls_name(tmp_path):
    words = ["--tls", "--tls-cacert", str(certificates.authority(tmp_path)), "--tls-name", "name.example"]
    with tls_server(certificates.issue(tmp_path, "named", "name.example")) as target, Serve() as proxy:
        status, found = check(*words, "--get", "/", "-x", proxy.url, target=(target.authority,))
    assert (status, only("reply", found)["status"]) == (0, 200)


def test_get_requires_a_path():
    done = run("check", "--get", "page", "host", "80")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, b"tunnelctl: --get 'page': it is not a path")


def test_expect_requires_tls_and_a_sha_256():
    done = run("check", "--expect", "00", "host", "22")
    assert (done.returncode, done.stderr) == (2, b"tunnelctl: --expect: it requires TLS to the target\nhint: add --tls\n")
    done = run("check", "--tls", "--expect", "00", "host", "22")
    assert done.returncode == 2
    assert b"not a SHA-256" in done.stderr
