"""TLS settings: whom to trust, our own certificate, and the OpenSSL contexts made from them."""

from __future__ import annotations

import _ssl as ssl  # see `stream.tls.openssl`
import os
import stat

from tunnelctl.errors import SettingsError, reason
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.tls.pin import fits, pin_of
from tunnelctl.stream.tls.errors import PinMismatch
from tunnelctl.stream.tls.openssl import MAX_PROTOCOL as MAX_PROTOCOL
from tunnelctl.stream.tls.openssl import Context, offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext

MAX_CONTEXTS = 32  # that are kept: one for each group of settings, and for each reading of their files
_contexts: dict[TLSClient, Context] = {}


class TLSClient(NamedTuple):
    """The TLS settings for one peer.

    A pin identifies the peer exactly, so a pin alone replaces all other checks: issuer, name and dates. Together with `cacert`,
    both have to match.
    """

    server_name: str  # the name or address that the certificate must be for; a name is also sent (SNI)
    cacert: str | None = None  # the file with the authorities to trust, instead of the system's
    cert: str | None = None  # files of the client certificate, with its chain, and of its key
    key: str | None = None  # None: in the same file
    pin: bytes | None = None
    insecure: bool = False  # accept any certificate, unless one is pinned
    alpn: tuple[str, ...] = ()
    reading: int = 0  # which reading of the files; another number reads them anew
    options: str = "proxy"  # prefix of the fields of the options record that gave these settings


def client_context(settings: TLSClient) -> Context:
    """Returns the context for these settings, which is kept. Raises SettingsError for an unusable file."""
    settings = settings._replace(server_name="")
    found = _contexts.get(settings)
    if found is None:
        found = _client_context(settings)
        if len(_contexts) == MAX_CONTEXTS:
            _contexts.pop(next(iter(tuple(_contexts))), None)  # the oldest, unless a reload, in a thread, has just dropped it
        _contexts[settings] = found
    return found


def _client_context(settings: TLSClient) -> Context:
    prefix = settings.options
    context = Context(ssl.PROTOCOL_TLS_CLIENT)  # which checks certificate and name
    _harden(context)
    if settings.insecure or (settings.pin is not None and settings.cacert is None):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.cacert is None:
        _trust_system(context)
    else:
        _trust(context, f"{prefix}_cacert", settings.cacert)
    if settings.cert is not None:
        _identify(context, (f"{prefix}_cert", settings.cert), (f"{prefix}_key", settings.key))
    if settings.alpn:
        offer(context, settings.alpn)
    return context


def server_context(cert: str, key: str | None, client_ca: str | None) -> SSLContext:
    """Makes a listener's context. client_ca: the authorities whose clients are accepted, and no others. Raises SettingsError."""
    from ssl import SSLContext, VerifyMode  # which a server has loaded anyway

    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # For TLS 1.2 only forward secrecy and AEAD, as in Mozilla's intermediate profile; TLS 1.3 has nothing else. As a client we
    # accept OpenSSL's defaults: a company's gateway may be old.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["h2", "http/1.1"])
    _identify(context, ("tls_cert", cert), ("tls_key", key))
    if client_ca is not None:
        _trust(context, "client_ca", client_ca)
        context.verify_mode = VerifyMode.CERT_REQUIRED
    return context


def check_pin(settings: TLSClient, certificate: bytes) -> None:
    """Raises PinMismatch if the certificate is not the pinned one."""
    if settings.pin is not None and not fits(settings.pin, certificate):
        raise PinMismatch(pin_of(certificate))


def _harden(context: Context) -> None:
    context.minimum_version = ssl.PROTO_TLSv1_2
    # Renegotiation, which TLS 1.3 does not have, could make a write wait for the peer.
    context.options |= ssl.OP_NO_RENEGOTIATION


def _trust_system(context: Context) -> None:
    """Trusts OpenSSL's default authorities: those in one file, and those in a directory, each of which is read on demand.

    Reading the whole file takes 17 ms, more than the rest of a start. It is skipped if the directory covers it, unless the
    environment names one of them: then the two need not belong to one system.
    """
    file_variable, file, directory_variable, directory = ssl.get_default_verify_paths()
    named = {file_variable, directory_variable} & os.environ.keys()
    if not named and stands_for(directory, file):
        context.load_verify_locations(capath=directory)
    else:
        context.set_default_verify_paths()


def stands_for(directory: str, file: str) -> bool:
    """Whether `directory` has a hash for each authority of `file`, judging by their number: systems write both from one source.

    An authority added to the file alone makes the file the larger of the two.
    """
    try:
        with open(file, "rb") as bundle:
            count = bundle.read().count(b"-----BEGIN ")
        return sum(map(_is_hash, os.listdir(directory))) >= count
    except OSError:
        return False


def _is_hash(name: str) -> bool:
    """Whether a name is like 5ed36f99.0, by which OpenSSL finds an authority; a revocation list has an r before the last number."""
    digits, _, number = name.partition(".")
    return len(digits) == 8 and number.isdigit()


def _trust(context: Context, option: str, file: str) -> None:
    _check_readable(option, file)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        raise SettingsError(file, "it contains no certificate", "no-certificate", option=option) from None


def _identify(context: Context, cert: tuple[str, str], key: tuple[str, str | None]) -> None:
    """Loads a certificate and its key, each given as option and file; a key without a file is in that of the certificate."""
    together = key[1] is None
    option, file = (cert[0] if together else key[0]), key[1] or cert[1]
    _check_readable(*cert)
    _check_readable(option, file)
    encrypted = False

    def ask() -> bytes:
        nonlocal encrypted
        encrypted = True
        return b""

    try:
        context.load_cert_chain(cert[1], file, password=ask)
    except ssl.SSLError as error:
        if encrypted:
            cause = "the key is encrypted, and tunnelctl does not ask for its passphrase"
            raise SettingsError(file, cause, "key-encrypted", option=option) from None
        if error.reason == "KEY_VALUES_MISMATCH":
            apart, beside = f"the key does not match the certificate in {cert[1]}", "the key in it does not match its certificate"
            cause = beside if together else apart
            raise SettingsError(file, cause, "key-mismatch", option=option) from None
        # OpenSSL does not report which of the two files is at fault.
        if not _holds_certificate(cert[1]):
            raise SettingsError(cert[1], "it contains no certificate", "no-certificate", option=cert[0]) from None
        facts = {"key": key[0] if together else ""}
        raise SettingsError(file, "it contains no private key", "no-private-key", option=option, facts=facts) from None


def _holds_certificate(file: str) -> bool:
    try:
        Context(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return False
    return True


def _check_readable(option: str, file: str) -> None:
    """Raises SettingsError: OpenSSL confuses which file it could not open, and would wait forever for a writer of a FIFO."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(file, reason(error), "unreadable", option=option) from error
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise SettingsError(file, "a pipe, but it must be read more than once", "pipe", option=option)
    finally:
        os.close(fd)
