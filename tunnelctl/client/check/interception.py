"""`check --tls`: detects whether a proxy replaces the certificate of the target.

An intercepting proxy presents a certificate that it has made itself, issued by an authority that the company has installed on its
machines. So the certificate is trusted here and nowhere else, and a client that bypasses the proxy sees another one.
"""

import ssl

from tunnelctl.client.check.diagnosis import Diagnosis
from tunnelctl.client.check.events import Certificate
from tunnelctl.client.check.probe import Open
from tunnelctl.client.route.route import Route
from tunnelctl.engine.kernel import TooSlowError, fail_after
from tunnelctl.errors import TunnelctlError
from tunnelctl.proto.tls.certificate import Certificate as Decoded
from tunnelctl.proto.tls.certificate import decode, fingerprint
from tunnelctl.proto.tls.pin import fits, parse_pin, pin_of
from tunnelctl.status import ExitStatus
from tunnelctl.stream.tls.stream import TLSStream

SECONDS = 10.0  # for each of the further handshakes


async def judge(
    route: Route, expect: str | None, trusted: bool, open_tunnel: Open
) -> tuple[Certificate | None, Diagnosis | None, ExitStatus]:
    """Returns the facts of the target's certificate, a finding, and a status. They are None if it has shown none.

    expect: the fingerprint or pin that it should have
    trusted: whether the authorities of this machine, or those that the user named, vouch for it
    open_tunnel: raises TunnelctlError
    """
    seen = await shown_certificate(route, open_tunnel)
    if seen is None:
        return None, None, ExitStatus.OK
    public = trusted and await publicly_trusted(route, open_tunnel)
    direct = await shown_certificate(route._replace(hops=(), chain=()), open_tunnel) if route.hops else seen
    certificate = decode(seen)
    facts = Certificate(
        subject=certificate.subject,
        issuer=certificate.issuer,
        expires=certificate.ends.isoformat(),
        sha256=fingerprint(seen),
        pin=pin_of(seen),
        trusted=trusted,
        public=public,
        direct="unknown" if direct is None else "same" if direct == seen else "other",
        expected=fits(parse_pin(expect), seen) if expect is not None else None,
    )
    finding = _verdict(facts, certificate, decode(direct) if direct is not None else None)
    replaced = finding is not None and finding.name in ("unexpected-certificate", "intercepted")
    return facts, finding, ExitStatus.AUTHENTICATION if replaced else ExitStatus.OK


def _verdict(facts: Certificate, seen: Decoded, direct: Decoded | None) -> Diagnosis | None:
    if facts.expected is False:
        what = f"the certificate is not the expected one: it is issued by {seen.issuer}, and its fingerprint is {facts.sha256}"
        return Diagnosis("unexpected-certificate", f"{what}; it may have been replaced on the path")
    if facts.expected or facts.public:
        return None
    if facts.direct == "other" and direct is not None:
        what = "the certificate was replaced on the path: through the proxy it is issued by"
        text = f"{what} {seen.issuer}, without the proxy by {direct.issuer}"
        return Diagnosis("intercepted", text)
    if facts.direct == "unknown":
        what = f"the issuer {seen.issuer} is " + ("trusted here, and not publicly" if facts.trusted else "not trusted")
        text = f"{what}: a company's own server, or a proxy that intercepts TLS"
        return Diagnosis("private-issuer", text)
    return None


async def shown_certificate(route: Route, open_tunnel: Open) -> bytes | None:
    """The certificate that the target presents on this route, whoever issued it; None if the tunnel fails."""
    assert route.tls is not None
    settings = route.tls._replace(insecure=True, pin=None, cacert=None)
    try:
        tunnel = await open_tunnel(route._replace(tls=settings, timeout=min(route.timeout, SECONDS)))
    except TunnelctlError:
        return None
    assert isinstance(tunnel.stream, TLSStream)
    certificate = tunnel.stream.session.getpeercert(True)
    tunnel.stream.close()
    return certificate


async def publicly_trusted(route: Route, open_tunnel: Open) -> bool:
    """Whether the authorities that browsers know vouch for it. httpx brings their list, whatever else this machine trusts."""
    import httpx

    assert route.tls is not None
    context = httpx.create_ssl_context(trust_env=False)
    try:
        tunnel = await open_tunnel(route._replace(tls=None, timeout=min(route.timeout, SECONDS)))
    except TunnelctlError:
        return False
    stream = TLSStream(tunnel.stream, context, route.tls.server_name, tunnel.early)
    try:
        with fail_after(SECONDS):
            await stream.handshake(tunnel.early)
    except (ssl.SSLError, OSError, TooSlowError):
        return False
    finally:
        stream.close()
    return True
