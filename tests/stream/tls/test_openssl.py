"""The security of `_ssl` without Python's ssl over it, which a session of `connect` does without."""

import ssl

import pytest

from tunnelctl.stream.tls.openssl import Context, offer, session_of


def test_a_client_context_is_as_strict_as_that_of_pythons_ssl() -> None:
    plain, pythons = Context(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert (plain.verify_mode, plain.check_hostname) == (ssl.CERT_REQUIRED, True)
    for name in ("verify_mode", "verify_flags", "check_hostname", "options", "security_level", "_host_flags"):
        assert getattr(plain, name) == getattr(pythons, name), name
    for name in ("minimum_version", "maximum_version"):
        assert getattr(plain, name) == getattr(pythons, name), name
    assert plain.get_ciphers() == pythons.get_ciphers()


@pytest.mark.parametrize(("name", "refusal"), [(None, ssl.SSLError), ("", ValueError), (".test", ValueError)])
def test_no_client_can_leave_out_the_name_to_check(name: str | None, refusal: type[Exception]) -> None:
    with pytest.raises(refusal, match=r"PROTOCOL_TLS_CLIENT|server_hostname"):
        session_of(Context(ssl.PROTOCOL_TLS_CLIENT), ssl.MemoryBIO(), ssl.MemoryBIO(), name)


def test_a_session_sends_the_name_and_the_protocols_offered() -> None:
    context, incoming, outgoing = Context(ssl.PROTOCOL_TLS_CLIENT), ssl.MemoryBIO(), ssl.MemoryBIO()
    offer(context, ("h2", "http/1.1"))
    with pytest.raises(ssl.SSLWantReadError):
        session_of(context, incoming, outgoing, "proxy.test").do_handshake()
    hello = outgoing.read()
    assert b"\x00\x0aproxy.test" in hello
    assert b"\x02h2\x08http/1.1" in hello
