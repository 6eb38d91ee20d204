"""What TLS is told: whom to trust, who we are, and the OpenSSL contexts that come of it."""

from __future__ import annotations

import os
import ssl
import stat
from functools import lru_cache

from tunnelctl.errors import SettingsError, reason
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.tls.pin import fits, pin_of
from tunnelctl.stream.tls.errors import PinMismatch


class TLSClient(NamedTuple):
    """How one peer is spoken to.

    A pin says exactly whom to expect, so that alone nothing else is asked: neither issuer nor name nor dates. Together with
    `cacert` both have to be right.
    """

    server_name: str  # a name, which is sent as well (SNI), or an address: whom the certificate has to be for
    cacert: str | None = None  # the file with the authorities to trust, instead of the system's
    cert: str | None = None  # files of the client certificate, with its chain, and of its key
    key: str | None = None  # None: in the same file
    pin: bytes | None = None
    insecure: bool = False  # take any certificate, unless it is pinned
    alpn: tuple[str, ...] = ()
    flags: str = "--proxy"  # what the names of the flags begin with that said all this


def client_context(settings: TLSClient) -> ssl.SSLContext:
    """The context for these settings, made once. Raises SettingsError for a file."""
    return _client_context(settings._replace(server_name=""))


@lru_cache(32)
def _client_context(settings: TLSClient) -> ssl.SSLContext:
    flags = settings.flags
    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if settings.insecure or (settings.pin is not None and settings.cacert is None):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.cacert is None:
        _trust_system(context)
    else:
        _trust(context, f"{flags}-cacert", settings.cacert)
    if settings.cert is not None:
        _identify(context, (f"{flags}-cert", settings.cert), (f"{flags}-key", settings.key))
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    return context


def server_context(cert: str, key: str | None, client_ca: str | None) -> ssl.SSLContext:
    """The context of a listener. client_ca: the authorities whose clients are let in, and no others. Raises SettingsError."""
    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    # Of TLS 1.2 forward secrecy and AEAD, as Mozilla's intermediate profile has it; TLS 1.3 has nothing else. As a client we take
    # what OpenSSL takes by default: a company's gateway may be old.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    _identify(context, ("--tls-cert", cert), ("--tls-key", key))
    if client_ca is not None:
        _trust(context, "--client-ca", client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def check_pin(settings: TLSClient, certificate: bytes) -> None:
    """Raises PinMismatch if it is not the certificate that was pinned."""
    if settings.pin is not None and not fits(settings.pin, certificate):
        raise PinMismatch(pin_of(certificate))


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation, which TLS 1.3 has not, could make a write wait for the peer.
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _trust_system(context: ssl.SSLContext) -> None:
    """Trusts whom OpenSSL trusts by default: the authorities in one file, and those in a directory, each read when it is wanted.

    Reading the whole file takes 17 ms, more than the rest of a start. It is left out where the directory stands for it, unless
    the environment names one of them: then the two need not be of one system.
    """
    paths = ssl.get_default_verify_paths()
    named = {paths.openssl_cafile_env, paths.openssl_capath_env} & os.environ.keys()
    if not named and stands_for(paths.openssl_capath, paths.openssl_cafile):
        context.load_verify_locations(capath=paths.openssl_capath)
    else:
        context.load_default_certs()


def stands_for(directory: str, file: str) -> bool:
    """Whether `directory` has a hash for each authority of `file`, going by their number: systems write both from one source.

    An authority that somebody has added to the file alone makes it the larger of the two.
    """
    try:
        with open(file, "rb") as bundle:
            count = bundle.read().count(b"-----BEGIN ")
        return sum(map(_is_hash, os.listdir(directory))) >= count
    except OSError:
        return False


def _is_hash(name: str) -> bool:
    """As 5ed36f99.0 is, by which OpenSSL finds an authority; a list of what is revoked has an r before the last number."""
    digits, _, number = name.partition(".")
    return len(digits) == 8 and number.isdigit()


def _trust(context: ssl.SSLContext, flag: str, file: str) -> None:
    _check_readable(flag, file)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        raise SettingsError(f"{flag} {file}", "no certificate in it", "it has to be in PEM") from None


def _identify(context: ssl.SSLContext, cert: tuple[str, str], key: tuple[str, str | None]) -> None:
    """Loads a certificate and its key, each given as flag and file; without one for the key it is in that of the certificate."""
    together = key[1] is None
    flag, file = (cert[0] if together else key[0]), key[1] or cert[1]
    _check_readable(*cert)
    _check_readable(flag, file)
    encrypted = False

    def ask() -> bytes:
        nonlocal encrypted
        encrypted = True
        return b""

    what = f"{flag} {file}"
    try:
        context.load_cert_chain(cert[1], file, password=ask)
    except ssl.SSLError as error:
        if encrypted:
            hint = "openssl pkey -in FILE -out FILE writes it without; only its owner should be able to read that"
            raise SettingsError(what, "the key is encrypted, and nobody is asked for its password", hint) from None
        if error.reason == "KEY_VALUES_MISMATCH":
            apart, beside = f"not the key of the certificate in {cert[1]}", "the key in it is not that of its certificate"
            cause = beside if together else apart
            raise SettingsError(what, cause) from None
        # OpenSSL does not say which of the two files it is about.
        if not _holds_certificate(cert[1]):
            raise SettingsError(f"{cert[0]} {cert[1]}", "no certificate in it", "it has to be in PEM") from None
        hint = f"{key[0]} FILE names its key" if together else "it has to be in PEM"
        raise SettingsError(what, "no private key in it", hint) from None


def _holds_certificate(file: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return False
    return True


def _check_readable(flag: str, file: str) -> None:
    """OpenSSL mixes up which file it could not open, and waits for ever for somebody to write to a FIFO."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"{flag} {file}", reason(error)) from error
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise SettingsError(f"{flag} {file}", "it is a pipe, and is read more than once", "give a file that stays")
    finally:
        os.close(fd)
