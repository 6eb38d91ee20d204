"""Messages about logins and TLS: exit status 77."""

from __future__ import annotations

from tunnelctl.cli.spec.messages.model import ASKED, LATER_CERTIFICATE, LOGIN_REQUIRED, PORT, WITHOUT_TLS, When, declare
from tunnelctl.errors import AuthenticationFailed, NotTLS, SpeaksTLS, TLSFailed

_LOGIN = "give --proxy-user NAME and --proxy-password-file FILE"
_PYSPNEGO = "{scheme} needs the package pyspnego: {install}"
_CLOCK = "is the clock of this machine right?"
_ISSUER = "if you trust its issuer, give {tls}-cacert FILE with the issuer's certificate"
# --proxy-cacert counts for each https:// proxy, and in place of the system's authorities. A pin is for the first of them.
_ISSUER_IN_CHAIN = f"{_ISSUER}, and with the authorities of the other https:// proxies of the chain"
_PIN = "or, if the proxy's operator confirms this pin, --proxy-pin {seen}"
_TRUST = (
    When(
        "cacert",
        "none of the authorities of {tls}-cacert has issued it; if you trust its issuer, add the issuer's certificate to that file",
    ),
    When("target", _ISSUER),
    When("later_tls", _ISSUER_IN_CHAIN),
    When("tls_chain", f"{_ISSUER_IN_CHAIN}; {_PIN}"),
    When("tls_chain", _ISSUER_IN_CHAIN),
    f"{_ISSUER}; {_PIN}",
    _ISSUER,
)
_NAME = (
    When("target", "if you expect the certificate to be for another name, give it with --tls-name NAME"),
    "the URL must have the name that the certificate was issued for",
)
# For a target, this comes first: the flags of a client certificate are for proxies.
_NO_CLIENT_CERTIFICATE = When(
    "target", "tunnelctl sends targets no client certificate: leave TLS to the program that uses the tunnel"
)
_OTHER_CERTIFICATE = "the certificate of --proxy-cert must be from an authority that the peer trusts"

LOGIN = (
    declare(
        AuthenticationFailed,
        "not-accepted",
        "proxy {proxy} did not accept the login for a tunnel to {target}: {cause}",
        When("token", "is the token right, and still valid?"),
        "are the user name and the password right?",
    ),
    declare(
        AuthenticationFailed,
        "login-missing",
        (f"{LOGIN_REQUIRED}: {{cause}}", f"{ASKED}: it requires a user and a password"),
        f"{_LOGIN}, or a --proxy-auth-file",
    ),
    declare(
        AuthenticationFailed,
        "login-without-user",
        (f"{LOGIN_REQUIRED}: {{cause}}", f"{ASKED}: it requires a user and a password"),
        "TUNNELCTL_PROXY_PASSWORD is set, but there is no user name: give --proxy-user NAME",
    ),
    declare(
        AuthenticationFailed,
        "inner-login-missing",
        (f"{LOGIN_REQUIRED}: {{cause}}", f"{ASKED}: it requires a user and a password"),
        "the login flags are for the nearest proxy only; put the login of this one into ~/.netrc, or into its URL",
    ),
    declare(
        AuthenticationFailed,
        "no-scheme",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "the proxy names no authentication scheme; --auth basic sends the password anyway, unencrypted unless the proxy URL is https://",
    ),
    declare(
        AuthenticationFailed,
        "no-challenge",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "the proxy names no authentication scheme, and {scheme} requires a challenge",
    ),
    declare(
        AuthenticationFailed,
        "other-scheme",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "it requires {offered} authentication, not {scheme}: leave --auth out",
    ),
    declare(
        AuthenticationFailed,
        "only-basic",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "the proxy offers only basic, not {scheme}; --auth basic sends the password unencrypted unless the proxy URL is https://",
    ),
    declare(
        AuthenticationFailed,
        "first-step-refused",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "it refused {offered} at the first step: it may accept Kerberos tickets only, or may not keep the connection open",
    ),
    declare(
        AuthenticationFailed,
        "unknown-scheme",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "it requires {offered} authentication, which tunnelctl does not support",
    ),
    declare(
        AuthenticationFailed,
        "token-missing",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "it requires a token: give --auth bearer and --proxy-password-file FILE, without a user",
    ),
    declare(AuthenticationFailed, "scheme-unusable", f"{LOGIN_REQUIRED}: {{cause}}", "{problem}"),
    declare(
        AuthenticationFailed,
        "login-cut-off",
        f"{ASKED}: it closed the connection in the middle of the login, which must stay on one connection",
        "NTLM and Negotiate require a connection that stays open: does a load balancer or another proxy close it?",
    ),
    declare(
        AuthenticationFailed,
        "ntlm-credentials",
        "NTLM login to proxy {proxy}: it requires a user and a password",
        f"{_LOGIN}; {_PYSPNEGO}",
        _LOGIN,
    ),
    declare(
        AuthenticationFailed,
        "pyspnego-missing",
        (
            "NTLM login to proxy {proxy}: the package pyspnego is not installed",
            "Negotiate login to proxy {proxy}: the package pyspnego is not installed",
        ),
        _PYSPNEGO,
    ),
    declare(
        AuthenticationFailed,
        "negotiate-failed",
        ("NTLM login to proxy {proxy}: {cause}", "Negotiate login to proxy {proxy}: {cause}"),
        When("ticket", f"run kinit to get a Kerberos ticket; or {_LOGIN}"),
        _PYSPNEGO,
    ),
    declare(
        AuthenticationFailed,
        "digest-unproven",
        "the login for {target}: the proxy accepted it, but did not prove that it knows the password",
        "this may be an on-path attacker that poses as the proxy",
    ),
    declare(
        AuthenticationFailed, "login-refused", f"{ASKED}: it did not accept the login", "are the user name and the password right?"
    ),
    declare(AuthenticationFailed, "no-method", f"{ASKED}: no authentication method in common with tunnelctl"),
    declare(AuthenticationFailed, "no-method-without-login", f"{ASKED}: no authentication method in common with tunnelctl", _LOGIN),
    declare(
        AuthenticationFailed,
        "socks4-login",
        f"{ASKED}: it does not admit this user ({{n}})",
        "SOCKS4 has no passwords; use socks5:// if the proxy supports it",
    ),
    declare(
        AuthenticationFailed,
        "socks4-password",
        "password for a SOCKS4a proxy: SOCKS4a has no passwords",
        "use socks5:// if the proxy supports it",
    ),
    declare(AuthenticationFailed, "socks4-user", "user for a SOCKS4a proxy: at most {n} bytes are allowed, and no NUL"),
    declare(
        AuthenticationFailed,
        "socks-login-length",
        (
            "user for a SOCKS proxy: it has {n} bytes, and 1 to {most} are allowed",
            "password for a SOCKS proxy: it has {n} bytes, and 1 to {most} are allowed",
        ),
    ),
    declare(AuthenticationFailed, "colon-in-user", "proxy credentials: the user name has a colon, which Basic cannot carry"),
    declare(AuthenticationFailed, "control-character", "proxy credentials: user name or password contains a control character"),
    declare(AuthenticationFailed, "not-text", "proxy credentials: user name and password are not valid text"),
    declare(AuthenticationFailed, "token-character", "bearer token: it contains a character that a token cannot have"),
    declare(
        AuthenticationFailed,
        "login-needs-http1",
        f"{ASKED}: its authentication is bound to a connection, and HTTP/2 shares a connection among tunnels",
        "--http 1.1 opens a connection for each tunnel; or choose another scheme that the proxy offers with --auth",
    ),
    declare(SpeaksTLS, "speaks-tls", f"{ASKED}: it speaks TLS, not plain HTTP", "its URL is https://{peer}"),
    declare(NotTLS, "plain-http", "{what}: it responds in plain HTTP, not in TLS", PORT, WITHOUT_TLS),
    declare(NotTLS, "not-tls", "{what}: the peer does not speak TLS", PORT, "are scheme and port right?"),
    declare(TLSFailed, "certificate-early", "{what}: its certificate is not valid yet", _CLOCK),
    declare(TLSFailed, "certificate-expired", "{what}: its certificate has expired", _CLOCK),
    declare(TLSFailed, "self-signed", "{what}: its certificate is self-signed", *_TRUST),
    declare(
        TLSFailed,
        "unknown-authority",
        (
            "{what}: its certificate was issued by an authority that is not known here",
            "{what}: its certificate was issued by an authority that is not trusted here",
        ),
        *_TRUST,
    ),
    declare(TLSFailed, "certificate-revoked", "{what}: its certificate was revoked"),
    declare(
        TLSFailed,
        "certificate-name",
        (
            "{what}: its certificate is for another name",
            "{what}: its certificate is for another address",
            "{what}: it does not know this server name",
        ),
        *_NAME,
    ),
    declare(TLSFailed, "certificate-not-accepted", "{what}: its certificate is not accepted: {reason}"),
    declare(
        TLSFailed,
        "pin-mismatch",
        "{what}: its certificate is not the pinned one, but {seen}",
        "if the operator confirms that this certificate is right, give its pin with --proxy-pin",
    ),
    declare(
        TLSFailed,
        "client-certificate-missing",
        (
            "{what}: it requires a client certificate",
            "{what}: it did not accept the client certificate, or requires one",
        ),
        _NO_CLIENT_CERTIFICATE,
        When("later_tls", LATER_CERTIFICATE),
        When("cert", _OTHER_CERTIFICATE),
        "--proxy-cert FILE and --proxy-key FILE give one",
    ),
    declare(
        TLSFailed,
        "handshake-refused",
        "{what}: it refused the handshake",
        _NO_CLIENT_CERTIFICATE,
        When("later_tls", f"it may require a client certificate; {LATER_CERTIFICATE}"),
        When("cert", _OTHER_CERTIFICATE),
        "it may require a client certificate: --proxy-cert",
    ),
    declare(
        TLSFailed,
        "client-certificate-refused",
        (
            "{what}: it does not know the issuer of the client certificate",
            "{what}: it did not accept the client certificate",
            "{what}: it does not support this type of client certificate",
            "{what}: the client certificate has expired",
            "{what}: the client certificate was revoked",
            "{what}: it denied access to this client certificate",
        ),
        _NO_CLIENT_CERTIFICATE,
        When("later_tls", LATER_CERTIFICATE),
        _OTHER_CERTIFICATE,
    ),
    declare(
        TLSFailed,
        "renegotiation",
        "{what}: it requires a renegotiation, which tunnelctl does not do",
        "TLS 1.3 has none: does the peer support it?",
    ),
    declare(TLSFailed, "shredded", "{what}: its handshake is split into too many records"),
    declare(TLSFailed, "tls-version", "{what}: no TLS version in common"),
    declare(TLSFailed, "no-protocol", "{what}: it supports none of the protocols offered"),
    declare(TLSFailed, "peer-in-the-clear", "{what}: the peer speaks plain HTTP"),
    declare(TLSFailed, "peer-without-certificate", "{what}: the peer gave no certificate"),
    declare(TLSFailed, "tls-failed", "{what}: {reason}"),
)
