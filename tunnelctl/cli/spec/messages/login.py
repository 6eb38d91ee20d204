"""Logins and TLS: exit status 77."""

from __future__ import annotations

from tunnelctl.cli.spec.messages.model import ASKED, LOGIN_REQUIRED, PORT, WITHOUT_TLS, When, declare
from tunnelctl.errors import AuthenticationFailed, NotTLS, SpeaksTLS, TLSFailed

_LOGIN = "give --proxy-user NAME and --proxy-password-file FILE"
_PYSPNEGO = "{scheme} needs the package pyspnego: {install}"
_CLOCK = "is the clock of this machine right?"
_TRUST = (
    When("cacert", "none of the authorities of {tls}-cacert has issued it"),
    When("target", "{tls}-cacert FILE names the authority to trust"),
    "{tls}-cacert FILE names the authority to trust; or, if somebody you trust confirms that this is the right one, "
    "--proxy-pin {seen}",
    "{tls}-cacert FILE names the authority to trust",
)
_NAME = (
    When("target", "is this the name that the certificate was issued for? --tls-name NAME expects another"),
    "is this the name that the certificate was issued for? The URL has to use it",
)
_OTHER_CERTIFICATE = "it has to be one that the peer's authority issued: see {tls}-cert"
_NO_CLIENT_CERTIFICATE = When("target", "a target is shown no certificate of yours: leave TLS to the program that uses the tunnel")

LOGIN = (
    declare(
        AuthenticationFailed,
        "not-accepted",
        "proxy {proxy} did not accept the login for a tunnel to {target}: {cause}",
        When("token", "it did not accept these credentials: wrong token?"),
        "it did not accept these credentials: wrong user or password?",
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
        "TUNNELCTL_PROXY_PASSWORD is set: --proxy-user NAME says whose password it is",
    ),
    declare(
        AuthenticationFailed,
        "inner-login-missing",
        (f"{LOGIN_REQUIRED}: {{cause}}", f"{ASKED}: it requires a user and a password"),
        "the flags are for the nearest proxy; give this one its login in its own URL or in ~/.netrc",
    ),
    declare(
        AuthenticationFailed,
        "no-scheme",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "it names no scheme to log in with: --auth basic sends the password all the same, unprotected without https://",
    ),
    declare(
        AuthenticationFailed,
        "no-challenge",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "it names no scheme to log in with, and {scheme} answers a challenge",
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
        "it offers basic alone, not {scheme}: --auth basic sends the password as it is, unprotected without https://",
    ),
    declare(
        AuthenticationFailed,
        "first-step-refused",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "it refused {offered} at the first step: perhaps it takes Kerberos tickets alone, or the connection is not kept",
    ),
    declare(
        AuthenticationFailed,
        "unknown-scheme",
        f"{LOGIN_REQUIRED}: {{cause}}",
        "it requires {offered} authentication, which tunnelctl does not have",
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
        f"{ASKED}: it closed the connection in the middle of the login, which is bound to it",
        "NTLM and Negotiate need a connection that stays open: is there a load balancer, or another proxy, that ends it?",
    ),
    declare(
        AuthenticationFailed,
        "ntlm-credentials",
        "NTLM login to proxy {proxy}: there is no user and password for it",
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
        When("ticket", f"kinit gets a Kerberos ticket; or {_LOGIN}"),
        _PYSPNEGO,
    ),
    declare(
        AuthenticationFailed,
        "digest-unproven",
        "the login for {target}: the proxy accepted it, but cannot prove that it knows the password",
        "this may be a man-in-the-middle attack",
    ),
    declare(AuthenticationFailed, "login-refused", f"{ASKED}: wrong user or password", "it did not accept these credentials"),
    declare(AuthenticationFailed, "no-method", f"{ASKED}: it accepts no authentication method that tunnelctl has"),
    declare(
        AuthenticationFailed, "no-method-without-login", f"{ASKED}: it accepts no authentication method that tunnelctl has", _LOGIN
    ),
    declare(
        AuthenticationFailed,
        "socks4-login",
        f"{ASKED}: it does not let this user in ({{n}})",
        "version 4 has no password; socks5:// has",
    ),
    declare(AuthenticationFailed, "socks4-password", "password for a SOCKS4a proxy: that version has none", "socks5:// has"),
    declare(AuthenticationFailed, "socks4-user", "user for a SOCKS4a proxy: it takes up to {n} octets without NUL"),
    declare(
        AuthenticationFailed,
        "socks-login-length",
        (
            "user for a SOCKS proxy: {n} octets, and it takes 1 to {most}",
            "password for a SOCKS proxy: {n} octets, and it takes 1 to {most}",
        ),
    ),
    declare(AuthenticationFailed, "colon-in-user", "proxy credentials: the user name has a colon, which Basic cannot carry"),
    declare(AuthenticationFailed, "control-character", "proxy credentials: a control character in the user name or password"),
    declare(AuthenticationFailed, "not-text", "proxy credentials: user name and password are not valid text"),
    declare(AuthenticationFailed, "token-character", "bearer token: a character in it that a token cannot have"),
    declare(SpeaksTLS, "speaks-tls", f"{ASKED}: it speaks TLS, not HTTP in the clear", "its URL is https://{peer}"),
    declare(NotTLS, "plain-http", "{what}: it answers in plain HTTP, not in TLS", PORT, WITHOUT_TLS),
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
        "if that is the right one, {tls}-pin takes it",
    ),
    declare(
        TLSFailed,
        "client-certificate-missing",
        (
            "{what}: it requires a client certificate",
            "{what}: it did not accept our certificate, or requires one",
        ),
        When("cert", _OTHER_CERTIFICATE),
        _NO_CLIENT_CERTIFICATE,
        "{tls}-cert FILE and {tls}-key FILE give one",
    ),
    declare(
        TLSFailed,
        "handshake-refused",
        "{what}: it refused the handshake",
        When("cert", _OTHER_CERTIFICATE),
        _NO_CLIENT_CERTIFICATE,
        "it may require a client certificate: {tls}-cert",
    ),
    declare(
        TLSFailed,
        "client-certificate-refused",
        (
            "{what}: it does not know the issuer of our certificate",
            "{what}: it did not accept our certificate",
            "{what}: it did not accept this kind of certificate",
            "{what}: our certificate has expired",
            "{what}: our certificate was revoked",
            "{what}: it does not let this client certificate in",
        ),
        _NO_CLIENT_CERTIFICATE,
        _OTHER_CERTIFICATE,
    ),
    declare(
        TLSFailed,
        "renegotiation",
        "{what}: it requires a renegotiation, which tunnelctl does not do",
        "TLS 1.3 has none: can the peer speak that?",
    ),
    declare(TLSFailed, "shredded", "{what}: its handshake is cut into too many records"),
    declare(TLSFailed, "tls-version", "{what}: no version of TLS that both ends allow"),
    declare(TLSFailed, "no-protocol", "{what}: it speaks none of the protocols that were offered"),
    declare(TLSFailed, "peer-in-the-clear", "{what}: the peer speaks HTTP in the clear"),
    declare(TLSFailed, "peer-without-certificate", "{what}: the peer gave no certificate"),
    declare(TLSFailed, "tls-failed", "{what}: {reason}"),
)
